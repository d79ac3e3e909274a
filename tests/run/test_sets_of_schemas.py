"""Sets that a tool's schema makes of what code sends cost no more than code may ask for."""

import time
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, create_model

from langchain_ptc import ProgrammaticToolExecutor
from langchain_ptc.run.arguments import TooManyOfOneHash, validate_arguments

MODULUS = 2**61 - 1
NUMBERS = [number * MODULUS for number in range(10**6, 10**6 + 3_000)]


class Point(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int
    y: int


@dataclass(frozen=True)
class Labelled:
    place: int
    label: str = field(default="", hash=False)


class Named:
    """A value of one's own, with a hash of its own."""

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return isinstance(other, Named) and self.name == other.name

    def __hash__(self):
        return len(self.name)


OwnHash = Annotated[Any, BeforeValidator(lambda text: Named(str(text)))]
Split = Annotated[set[int], BeforeValidator(lambda text: text.split(","))]


class Inner(BaseModel):
    default: set[tuple[tuple[int, int], int]] = Field(default_factory=set)
    metadata: int = 0


class Tree(BaseModel):
    ids: frozenset[int] = frozenset()
    children: list["Tree"] = []


class Tagged(BaseModel):
    kind: Literal["ids"]
    function: set[Decimal]


class Other(BaseModel):
    kind: Literal["none"]


class Root(RootModel[set[tuple[int, ...]]]):
    pass


NESTED = [[[number, number], 1] for number in NUMBERS]
TEXTS = [str(number) for number in NUMBERS]
WIDE = {ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}
CASES: dict[str, tuple[Any, Any]] = {
    "integers": (set[int], NUMBERS),
    "any": (set, NUMBERS),
    "frozen": (frozenset[int], NUMBERS),
    "abstract": (AbstractSet[int], NUMBERS),
    "decimals of texts": (set[Decimal], TEXTS),
    "decimals with zeros": (set[Decimal], [f"{number}.000" for number in NUMBERS]),
    "integers of texts": (set[int], TEXTS),
    "integers of bytes": (set[int], [text.encode() for text in TEXTS]),
    "wide digits": (set[Decimal], [text.translate(WIDE) for text in TEXTS]),
    "leading zeros": (set[int], ["0" * 4_200 + text for text in TEXTS[:700]]),
    "spaces around": (set[int], [f" {text} " for text in TEXTS]),
    "UUIDs": (set[UUID], [str(UUID(int=n)) for n in NUMBERS]),
    "UUIDs of hexadecimals": (set[UUID], [f"{n:032x}" for n in NUMBERS]),
    "UUIDs as URNs": (set[UUID], [f"urn:uuid:{UUID(int=n)}" for n in NUMBERS]),
    "UUIDs in braces": (set[UUID], [f"{{{UUID(int=n)}}}" for n in NUMBERS]),
    "UUIDs of bytes": (set[UUID], [n.to_bytes(16, "big") for n in NUMBERS]),
    "ids of rows": (set[tuple[tuple[str, int], ...]], [[["id", n]] for n in NUMBERS]),
    "either": (set[int | str], NUMBERS),
    "nested tuples": (set[tuple[tuple[int, int], int]], NESTED),
    "tuples of any length": (set[tuple[tuple[int, ...], int]], NESTED),
    "sets of sets": (set[frozenset[int]], [[number] for number in NUMBERS]),
    "records": (set[Point], [{"x": number, "y": 1} for number in NUMBERS]),
    "part of a record": (set[Labelled], [{"place": 1, "label": str(n)} for n in range(3_000)]),
    "own hash": (set[OwnHash], [f"{number:09}" for number in range(3_000)]),
    "text that is split": (Split, ",".join(TEXTS)),
    "optional": (set[int] | None, NUMBERS),
    "keys": (dict[Decimal, int], dict.fromkeys(TEXTS, 1)),
    "keys of a mapping": (Mapping[int, str], dict.fromkeys(TEXTS, "")),
    "counter": (Counter[int], dict.fromkeys(TEXTS, 1)),
    "inside a list": (list[set[int]], [NUMBERS]),
    "inside a record": (Inner, {"default": NESTED}),
    "inside of one that is recursive": (Tree, {"children": [{"children": [{"ids": NUMBERS}]}]}),
    "inside a tagged union": (
        Annotated[Tagged | Other, Field(discriminator="kind")],
        {"kind": "ids", "function": TEXTS},
    ),
    "root model": (Root, [[number, 1] for number in NUMBERS]),
    "one is wrong": (set[int], [*NUMBERS, "x"]),
    "limited": (Annotated[set[int], Field(max_length=10_000)], NUMBERS),
    "strict": (Annotated[set[int], Field(strict=True)], set(NUMBERS[:900])),
}


def tool_of(kind, **options):
    schema = create_model("given", given=(kind, ...))
    return StructuredTool.from_function(
        lambda given: "made", name="take", description="Take.", args_schema=schema, **options
    )


@pytest.mark.parametrize("case", CASES)
def test_sets_of_one_hash_are_refused_before_they_are_made(case):
    """Whatever the items are made into, and wherever in the schema the set is."""
    kind, given = CASES[case]
    for handled in (False, True):
        tool = tool_of(kind, handle_validation_error=handled)
        began = time.thread_time()
        with pytest.raises(TooManyOfOneHash, match="too many items have one hash; send fewer"):
            validate_arguments(tool, {"given": given})
        assert time.thread_time() - began < 1.0


HONEST: dict[str, tuple[Any, Any]] = {
    "many": (set[int], [*range(50_000)]),
    "equal": (set[tuple[tuple[int, int], int]], [[[1, 2], 3]] * 20_000),
    "in pairs": (set[tuple[int, int]], [[n, -1 - n % 2] for n in range(20_000)]),
    "few of one hash": (set[int], NUMBERS[:100]),
    "texts": (set[str], TEXTS),
    "numbers of texts": (set[Decimal], [str(n) for n in range(20_000)]),
    "keys": (dict[tuple[int, int], str], {(n, n): "" for n in range(10_000)}),
    "inside a record": (Inner, {"default": [[[n, 2], 3] for n in range(5_000)]}),
}


@pytest.mark.parametrize("case", HONEST)
def test_honest_sets_of_any_size_are_made(case):
    """Different values have different hashes, and equal ones are one."""
    kind, given = HONEST[case]
    made = validate_arguments(tool_of(kind), {"given": given}).complete["given"]
    assert made


def test_refusals_of_the_schema_are_told_as_it_tells_them():
    """A value that does not fit is the schema's affair, also beside a large set."""
    tool = tool_of(set[int])
    with pytest.raises(ValueError, match=r"given.100\n  Input should be a valid integer"):
        validate_arguments(tool, {"given": [*range(100), "x"]})
    with pytest.raises(ValueError, match=r"valid set"):
        validate_arguments(tool, {"given": 1})


async def test_the_code_is_told():
    """It can catch the error, and go on."""
    code = """\
items = [str(n * (2**61 - 1)) for n in range(10**6, 10**6 + 3_000)]
try:
    await take(items)
except ToolCallError as error:
    print(error)
"""
    executor = ProgrammaticToolExecutor([tool_of(set[Decimal])])
    result = await executor.aexecute(code)
    assert "of which too many items have one hash; send fewer" in result.output
