"""Python annotations become type trees: what the code may pass, and what it gets."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import pathlib
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
import typing_extensions
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.alias_generators import to_camel

from langchain_ptc.catalog.annotations import AnnotationReader
from langchain_ptc.catalog.stubs import render_type
from langchain_ptc.catalog.types import RecordTable


class Color(enum.Enum):
    RED = "red"
    TWO = 2


class Bits(enum.Flag):
    A = 1


class Address(BaseModel):
    street: str
    zip_code: str | None = Field(default=None, alias="zip")

    @computed_field
    @property
    def label(self) -> str:
        return self.street


class Node(BaseModel):
    value: int
    kids: list[Node] = []


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    items: list[Item]


@dataclasses.dataclass
class Box(Generic[Item]):
    content: Item
    weight: Decimal = Decimal(1)


class Row(typing.TypedDict, total=False):
    id: typing_extensions.Required[int]
    name: str


class Row2(typing_extensions.TypedDict):
    id: int
    note: typing_extensions.NotRequired[Annotated[str, "A note."]]


class Point(NamedTuple):
    x: int
    y: float


class Names(RootModel[list[str]]):
    pass


class Shown(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    amount: Decimal = Field(serialization_alias="theAmount")
    secret: str = Field(default="", exclude=True)
    when: dt.date

    @field_serializer("when")
    def _serialize_when(self, value: dt.date) -> str:
        return value.isoformat()


class UserId(str):
    __slots__ = ()


class Unknown:
    pass


class Priority(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Odd(enum.Enum):
    PAIR = (1, 2)
    HALF = 0.5


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(default=9, ge=0)


class Dog(BaseModel):
    kind: Literal["dog"]


class Pets(RootModel[dict[str, Cat | Dog]]):
    pass


class Frozen(typing_extensions.TypedDict):
    id: typing_extensions.ReadOnly[int]
    note: typing_extensions.ReadOnly[typing_extensions.NotRequired[str]]


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, serialize_by_alias=True)
    first_name: str


class Either(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    matrix: list[tuple[int, int]] = []
    parent: typing.Optional[Either] = None  # noqa: UP045


@dataclasses.dataclass
class Team:
    name: str
    lead: Address
    tags: frozenset[str] = frozenset()
    size: int = dataclasses.field(init=False, default=0)


class Wrong:
    """A class that only looks like one of attrs."""

    __attrs_attrs__ = ()


Number = TypeVar("Number", int, float)
Bound = TypeVar("Bound", bound=Address)
First = TypeVar("First")
Pair = typing_extensions.TypeAliasType("Pair", tuple[First, list[First]], type_params=(First,))
Meters = typing.NewType("Meters", float)
Alias = typing_extensions.TypeAliasType("Alias", list["Alias"] | int)


ANNOTATIONS: list[tuple[object, str, str]] = [
    (int, "int", "int"),
    (None, "None", "None"),
    (Any, "Any", "Any"),
    (bytes, "bytes", "bytes"),
    (dt.datetime, "datetime", "datetime"),
    (dt.date, "date", "date"),
    (dt.timedelta, "timedelta", "timedelta"),
    (Decimal, "Decimal", "Decimal"),
    (UUID, "UUID", "UUID"),
    (list[int], "list[int]", "list[int]"),
    (list, "list[Any]", "list[Any]"),
    (typing.List, "list[Any]", "list[Any]"),  # noqa: UP006
    (dict, "dict[str, Any]", "dict[str, Any]"),
    (dict[str, list[int]], "dict[str, list[int]]", "dict[str, list[int]]"),
    (Mapping[str, int], "dict[str, int]", "dict[str, int]"),
    (collections.Counter[str], "dict[str, int]", "dict[str, int]"),
    (set[int], "set[int]", "set[int]"),
    (frozenset[str], "frozenset[str]", "frozenset[str]"),
    (tuple[int, str], "tuple[int, str]", "tuple[int, str]"),
    (tuple[int, ...], "tuple[int, ...]", "tuple[int, ...]"),
    (tuple, "tuple[Any, ...]", "tuple[Any, ...]"),
    (Point, "tuple[int, float]", "tuple[int, float]"),
    (Sequence[int], "list[int]", "Sequence[int]"),
    (Iterable[int], "list[int]", "Any"),
    (int | None, "int | None", "int | None"),
    (typing.Optional[str], "str | None", "str | None"),  # noqa: UP045
    (None | int | str, "int | str | None", "int | str | None"),
    (int | Any, "Any", "Any"),
    (Literal["a", 1, None], "Literal['a', 1] | None", "Literal['a', 1] | None"),  # noqa: PYI061
    (Literal[Color.RED], "Literal['red']", "Literal['red']"),
    (Color, "Literal['red', 2]", "Literal['red', 2]"),
    (Bits, "int", "int"),
    (Annotated[int, Field(ge=1)], "int", "int"),
    (Meters, "float", "float"),
    (UserId, "str", "str"),
    (Item, "Any", "Any"),
    (Alias, "list[Any] | int", "list[Any] | int"),
    (Address, "Address", "Address"),
    (Names, "list[str]", "list[str]"),
    (Box[int], "BoxInt", "BoxInt"),
    (Page[int], "PageInt", "PageInt"),
    (Row, "Row", "Row"),
    (list[Row2], "list[Row2]", "list[Row2]"),
    (AnyUrl, "str", "str"),
    (Unknown, "Any", "Any"),
    (AIMessage, "Any", "Any"),
    (Callable[[int], int], "Any", "Any"),
    (type[int], "Any", "Any"),
    (Awaitable[int], "int", "int"),
    (Priority, "Literal[1]", "Literal[1]"),
    (Mode, "Literal['fast']", "Literal['fast']"),
    (Odd, "Any", "Any"),
    (Pets, "dict[str, Cat | Dog]", "dict[str, Cat | Dog]"),
    (Annotated[Cat | Dog, Field(discriminator="kind")], "Cat | Dog", "Cat | Dog"),
    (Frozen, "Frozen", "Frozen"),
    (Either, "Either", "Either"),
    (Team, "Team", "Team"),
    (Number, "int | float", "int | float"),
    (Bound, "Address", "Address"),
    (Pair[int], "tuple[int, list[int]]", "tuple[int, list[int]]"),
    (Page[list[Address]], "PageListAddress", "PageListAddress"),
    (pathlib.Path, "str", "str"),
    (ipaddress.IPv4Address, "str", "str"),
    (SecretStr, "str", "str"),
    (Fraction, "Any", "Any"),
    (Wrong, "Any", "dict[str, Any]"),
    (Command, "Any", "str | list[Any] | None"),
    (Command[Literal["next"]] | int, "Any", "str | list[Any] | int | None"),
    (ToolMessage, "Any", "str | list[Any]"),
    (typing.LiteralString, "str", "str"),
    (typing.NoReturn, "None", "None"),
    (Literal[b"x", True], "Literal[b'x', True]", "Literal[b'x', True]"),
    (collections.deque[int], "list[int]", "list[int]"),
    (dict[int, set[str]], "dict[int, set[str]]", "dict[int, set[str]]"),
    ("NotResolved", "Any", "Any"),
    ([1, 2], "Any", "Any"),
]


def read(annotation: object, direction: Literal["input", "output"]) -> tuple[str, dict[str, Any]]:
    """Return the text of an annotation's type, and its records' fields as text."""
    table = RecordTable()
    tree = AnnotationReader(table, direction=direction).read(annotation)
    names = {record.key: record.name for record in table.records()}
    fields = {
        record.name: {
            f.name: render_type(f.type, names) + ("" if f.required else "?") for f in record.fields
        }
        for record in table.records()
    }
    return render_type(tree, names), fields


@pytest.mark.parametrize(
    ("annotation", "goes_in", "comes_out"), ANNOTATIONS, ids=[str(a)[:50] for a, *_ in ANNOTATIONS]
)
def test_annotation_types(annotation: object, goes_in: str, comes_out: str) -> None:
    """Each kind of annotation becomes what the code may pass, or what it gets."""
    assert read(annotation, "input")[0] == goes_in
    assert read(annotation, "output")[0] == comes_out


@pytest.mark.parametrize(
    ("annotation", "direction", "fields"),
    [
        (Address, "input", {"street": "str", "zip": "str | None?"}),
        (Address, "output", {"street": "str", "zip_code": "str | None", "label": "str"}),
        (Box[int], "input", {"content": "int", "weight": "Decimal?"}),
        (Box[int], "output", {"content": "int", "weight": "Decimal"}),
        (Row, "output", {"id": "int", "name": "str?"}),
        (Row2, "output", {"id": "int", "note": "str?"}),
        (Node, "output", {"value": "int", "kids": "list[Node]"}),
        (Camel, "input", {"firstName": "str"}),
        (Camel, "output", {"firstName": "str"}),
        (Frozen, "output", {"id": "int", "note": "str?"}),
        (Cat, "input", {"kind": "Literal['cat']", "lives": "int?"}),
        (Shown, "output", {"theAmount": "Decimal", "when": "Any"}),
    ],
)
def test_record_fields(annotation: Any, direction: Any, fields: dict[str, str]) -> None:
    """Records have the keys under which values really go in and come out."""
    assert list(read(annotation, direction)[1].values()) == [fields]


def test_classes_of_one_name_are_kept_apart() -> None:
    """Two classes of one name and module are two records."""

    def make(kind: type) -> type:
        @dataclasses.dataclass
        class Same:
            x: int

        Same.__annotations__["x"] = kind
        return Same

    table = RecordTable()
    reader = AnnotationReader(table, direction="output")
    trees = {reader.read(make(int)), reader.read(make(str))}
    assert len(trees) == len(table.records()) == 2


def test_records_inside_records() -> None:
    """Records hold each other, themselves and containers of both; what is computed is only in them."""
    _, fields = read(Either, "output")
    assert fields["Either"] == {
        "pet": "Cat | Dog",
        "matrix": "list[tuple[int, int]]",
        "parent": "Either | None",
    }
    _, fields = read(Team, "input")
    assert fields["Team"] == {"name": "str", "lead": "Address", "tags": "frozenset[str]?"}
    _, fields = read(Team, "output")
    assert fields["Team"]["size"] == "int"
