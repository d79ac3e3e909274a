import dataclasses
import datetime
import enum
import json
import math
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import BaseModel

from langchain_ptc.sandbox.wire import values
from langchain_ptc.sandbox.wire.decoding import decode_value, read_bounded
from langchain_ptc.sandbox.wire.values import (
    AttrDict,
    MalformedValue,
    UnsendableValue,
    ValueTooLarge,
    encode_sized,
    encode_value,
    unique_names,
)
from tests.support.wire import pack


def across(value: object, record: type[dict] = dict) -> object:
    return decode_value(encode_value(value), record)


UTC = datetime.UTC
SAME = [
    None,
    True,
    0,
    -1,
    2**63,
    10**5000,
    -(10**5000),
    1.5,
    math.inf,
    "",
    "grüße ✓",
    "\ud800 a lone surrogate",
    [],
    [1, [2, [3]]],
    {},
    {"a": {"b": [1]}},
    {"$": 1},
    {"$": {"$": ["tuple", []]}},
    {"\ud800": {"\udfff": 1, "a": 2}},
    [2**64 - 1, 2**64, -(2**63), -(2**63) - 1],
    {"a": [{"b": (1, {"c": [{"d": 2**70}]})}]},
    {"$": 1, "b": 2},
    {1: "a", (1, 2): "b", None: "c", True: "d"},
    (),
    (1, ("a",)),
    {1, 2},
    frozenset({"a"}),
    b"\x00\xff",
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5),
    datetime.datetime(2024, 2, 29, tzinfo=UTC),
    datetime.date(2024, 2, 29),
    datetime.time(23, 59, 1),
    datetime.timedelta(days=-1, seconds=3, microseconds=7),
    Decimal("1.50"),
    Decimal("NaN").copy_sign(Decimal(-1)),
    UUID(int=7),
    1 + 2j,
    range(2, 10, 3),
]


@pytest.mark.parametrize(
    "value",
    SAME,
    ids=lambda v: (
        f"{type(v).__name__}-{str(v)[:20]!a}"
        if not isinstance(v, int) or abs(v) < 10**100
        else "huge-int"
    ),
)
def test_a_plain_value_arrives_as_it_was(value):
    """What the table of `values` calls the same is equal and of the same type on the other side."""
    arrived = across(value)
    assert type(arrived) is type(value)
    assert arrived == value or str(arrived) == str(value)


def test_nan_arrives_as_nan():
    """NaN, which JSON has no word for, arrives."""
    assert math.isnan(across(float("nan")))


class Level(enum.Enum):
    HIGH = "high"


class Number(enum.IntEnum):
    ONE = 1


class Person(BaseModel):
    name: str
    born: datetime.date
    level: Level = Level.HIGH


@dataclasses.dataclass
class Team:
    lead: Person
    members: tuple[str, ...] = ()


Point = namedtuple("Point", "x y")


class NumpyLike:
    """Stands in for a numpy scalar: a dtype and `tolist`."""

    dtype = "float64"

    def tolist(self):
        return 2.5


class WithText:
    def __str__(self):
        return "a text of its own"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(Level.HIGH, "high", id="enum"),
        pytest.param(Number.ONE, 1, id="int-enum"),
        pytest.param(
            Person(name="Ada", born="1815-12-10"),
            {"name": "Ada", "born": datetime.date(1815, 12, 10), "level": "high"},
            id="pydantic",
        ),
        pytest.param(
            Team(Person(name="Ada", born="1815-12-10"), ("a",)),
            {
                "lead": {"name": "Ada", "born": datetime.date(1815, 12, 10), "level": "high"},
                "members": ("a",),
            },
            id="dataclass",
        ),
        pytest.param(Point(1, 2), (1, 2), id="namedtuple"),
        pytest.param(OrderedDict(a=1), {"a": 1}, id="mapping"),
        pytest.param(Counter("aab"), {"a": 2, "b": 1}, id="counter"),
        pytest.param({"b": 1}.keys(), ["b"], id="keys"),
        pytest.param(NumpyLike(), 2.5, id="numpy-like"),
        pytest.param([NumpyLike()], [2.5], id="numpy-like-in-list"),
        pytest.param(bytearray(b"x"), b"x", id="bytearray"),
        pytest.param(ValueError("no"), "ValueError: no", id="exception"),
        pytest.param(WithText(), "a text of its own", id="text-of-its-own"),
    ],
)
def test_other_values_arrive_as_data(value, expected):
    """Objects of libraries arrive as the data that they hold."""
    assert across(value) == expected


def cycle():
    value: list = [1]
    value.append({"a": value})
    return value


def deep():
    value: list = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(cycle(), "holds a reference to itself", id="cycle"),
        pytest.param(deep(), "nested more than 200 levels", id="deep"),
        pytest.param(object(), "an object of class object cannot cross", id="object"),
        pytest.param(len, "is not plain data", id="function"),
        pytest.param([{"a": int}], "is not plain data", id="class"),
    ],
)
def test_what_cannot_cross_is_refused(value, told):
    """A value without a mapping is refused with a reason, however deep it lies."""
    with pytest.raises(UnsendableValue, match=told):
        encode_value(value)


def test_the_same_object_twice_is_no_cycle():
    """A value that is shared, but does not hold itself, crosses as two copies."""
    shared = {"a": (1,)}
    assert across([shared, shared]) == [{"a": (1,)}, {"a": (1,)}]


@pytest.mark.parametrize(
    ("value", "size"), [("é" * 3, 6), ("abc", 3), ([1, 2], 3), ({"a": "é"}, 6)]
)
def test_size_is_told_and_held(value, size):
    """A string is measured in UTF-8 and anything else as MessagePack, to the byte."""
    assert encode_sized(value, size)[1] == size
    with pytest.raises(ValueTooLarge) as caught:
        encode_sized(value, size - 1)
    assert caught.value.size == size


@pytest.mark.parametrize(
    "text",
    [
        '{"$":1}',
        '{"$":["unknown",1]}',
        '{"$":["set",[[1]]]}',
        '{"$":["decimal","x"]}',
        '{"$":["range",[1,2,0]]}',
        '{"$":["datetime",5]}',
        '{"$":["dict",[1]]}',
    ],
)
def test_a_forged_extension_is_a_value_error(text):
    """Whatever a worker sends in place of an extension, the host sees a `ValueError`."""
    with pytest.raises(MalformedValue):
        read_bounded(pack(text))


def test_encoding_calls_nothing_that_could_change_what_is_encoded():
    """`ormsgpack` reads containers in place: an object that empties its own list does no harm."""

    class Greedy:
        def __str__(self):
            rows.clear()
            return "text"

    rows: list = [Greedy(), *([number] for number in range(10_000))]
    assert across(rows)[:2] == ["text"]


@pytest.mark.parametrize("levels", [199, 200, 201, 254, 255, 256])
def test_two_hundred_levels_and_no_more(levels):
    """The limit is ours, whatever `ormsgpack` accepts, for small values and for large ones."""
    for inner in (1, [0] * 6_000):
        value: object = inner
        for _ in range(levels - isinstance(inner, list)):
            value = [value]
        if levels <= 200:
            assert across(value) == value
        else:
            with pytest.raises(UnsendableValue, match="nested more than 200 levels deep"):
                encode_value(value)


@pytest.mark.parametrize(
    "value",
    [
        [{"a": n, "é": "ü\n"} for n in range(7_000)],
        {"rows": [[n, None, 1.5] for n in range(7_000)], "n": 1},
        {str(n): {"n": n} for n in range(7_000)},
        [dict.fromkeys(map(str, range(30)), 1) for _ in range(1_000)],
        [[[list(range(6_000))], 1], "x"],
        [[]] * 70_000,
        [{}] * 6_000,
        {n: (n, {"a": {n}}) for n in range(6_000)},
    ],
    ids=[
        "rows",
        "a record of rows",
        "records by name",
        "wide rows",
        "deep",
        "empty lists",
        "empty records",
        "tuples",
    ],
)
def test_encoding_in_slices_is_encoding_at_once(value, monkeypatch):
    """What is encoded in slices is what is encoded in one piece, and is the same on the other side."""
    packed = encode_value(value)
    monkeypatch.setattr(values, "is_large", lambda _: False)
    assert decode_value(packed) == decode_value(encode_value(value)) == value


def test_a_record_reads_both_ways():
    """In the code a record has its keys as attributes too, and is a dict in every other way."""
    record = across({"id": 1, "items": [{"name": "a"}]}, AttrDict)
    assert isinstance(record, dict)
    assert record["id"] == record.id == 1
    assert record["items"][0].name == "a"
    assert callable(record.items)
    record.total = 3
    assert record == {"id": 1, "items": [{"name": "a"}], "total": 3}
    assert json.loads(json.dumps(record)) == record


def test_a_missing_key_names_the_keys_there_are():
    """The error of a wrong key or attribute tells which would have been right."""
    record = AttrDict(name="Ada", team="x")
    with pytest.raises(KeyError) as caught:
        record["nmae"]
    assert caught.value.__notes__ == ["its keys are: 'name', 'team'"]
    with pytest.raises(AttributeError, match="no field 'nmae'; its keys are: 'name', 'team'"):
        _ = record.nmae


def frame():
    import pandas as pd

    return pd.DataFrame({"a": ["x", "y"], "due": [pd.Timestamp("2024-01-01"), None]})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(
            frame,
            [{"a": "x", "due": datetime.datetime(2024, 1, 1)}, {"a": "y", "due": None}],
            id="frame-with-a-missing-date",
        ),
        pytest.param(
            lambda: frame().groupby("a").count(),
            [{"a": "x", "due": 1}, {"a": "y", "due": 0}],
            id="frame-with-an-index",
        ),
        pytest.param(lambda: frame()["a"], ["x", "y"], id="series"),
        pytest.param(
            lambda: frame()["a"].value_counts(), {"x": 1, "y": 1}, id="series-with-an-index"
        ),
        pytest.param(lambda: frame()["due"].iloc[1], None, id="not-a-time"),
        pytest.param(lambda: frame().index.to_numpy(), [0, 1], id="array"),
    ],
)
def test_values_of_pandas_and_numpy(make, expected):
    """Frames, series and arrays arrive as data, with the index where it says something."""
    assert across(make()) == expected


class Odd(datetime.datetime):
    def isoformat(self, *_):
        return "never"


def test_a_subclass_cannot_write_itself_otherwise():
    """A class of somebody's own crosses as what it is a kind of."""
    assert across(Odd(2024, 1, 1)) == datetime.datetime(2024, 1, 1)


def test_names_of_duplicate_columns():
    """Columns are told apart as pandas does it, and a name that is there already is left alone."""
    assert unique_names(["a", "a", "a.1", "a"]) == ["a", "a.2", "a.1", "a.3"]
    assert unique_names([1, 1, (1,)]) == [1, "1.1", (1,)]
