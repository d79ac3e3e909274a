"""What is learned of results: types and names of fields, never values, and no more than is bounded."""

from __future__ import annotations

import ast
import datetime
import json
import string
import threading
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel

from langchain_ptc import CatalogError, ObservedShapes, ToolCatalog
from langchain_ptc.catalog.observed import (
    MAX_FIELDS,
    MAX_TEXT_CHARS,
    Shape,
    is_known,
    looks_like_data,
    render_shape,
    widen,
)
from langchain_ptc.catalog.stubs import render_type
from langchain_ptc.catalog.types import is_vague


def shape(*values: object, arguments: object = None) -> str:
    """Return the text of what is learned from some results of one tool."""
    seen = ObservedShapes()
    for value in values:
        seen.observe("t", value, arguments=arguments)
    return seen.text("t")


class Color(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Line:
    price: float
    note: str | None = None


class Order(BaseModel):
    order_id: int
    lines: list[Line]


# --- one result ---------------------------------------------------------------------------------

ONE = {
    "none": (None, "None"),
    "bool": (True, "bool"),
    "text": ("text", "str"),
    "bytes": (b"x", "bytes"),
    "datetime": (datetime.datetime(2026, 1, 2), "datetime"),
    "date": (datetime.date(2026, 1, 2), "date"),
    "decimal": (Decimal(1), "Decimal"),
    "uuid": (UUID(int=1), "UUID"),
    "enum": (Color.RED, "str"),
    "list": ([1, 2], "list[int]"),
    "empty-list": ([], "list[Any]"),
    "mixed-list": ([1, "a", None], "list[int | str | None]"),
    "numbers": ([1, 2.5], "list[float]"),
    "tuple": ((1, "a"), "tuple[int | str, ...]"),
    "a-name-with-a-number": (
        {"name": "b", "s3": {"bucket": "x"}, "top10": [1]},
        "{'name': str, 's3': {'bucket': str}, 'top10': list[int]}",
    ),
    "named-tuple": (Point(1, 2), "tuple[int, ...]"),
    "set": ({"a"}, "set[str]"),
    "frozenset": (frozenset({1}), "frozenset[int]"),
    "object": (object(), "Any"),
    "record": ({"id": 1, "name": "x"}, "{'id': int, 'name': str}"),
    "one-kind-of-value": ({"name": "Ada", "email": "x"}, "{'name': str, 'email': str}"),
    "unknown-words": (
        {"id": 1, "flurb": 1, "gnorp": "x"},
        "{'id': int, 'flurb': int, 'gnorp': str}",
    ),
    "quarters": ({"q1": 1, "q2": 2}, "{'q1': int, 'q2': int}"),
    "list-of-records": (
        [{"id": 1}, {"id": 2, "note": "x"}],
        "list[{'id': int, 'note': NotRequired[str]}]",
    ),
    "nested": (
        {"total": 2, "items": [{"id": 1, "tags": ["a"]}]},
        "{'total': int, 'items': list[{'id': int, 'tags': list[str]}]}",
    ),
    "dataclass": (Line(1.0), "{'price': float, 'note': None}"),
    "model": (
        Order(order_id=1, lines=[Line(2.0, "n")]),
        "{'order_id': int, 'lines': list[{'price': float, 'note': str}]}",
    ),
    "json-text": ('{"id": 1, "name": "x"}', "str (JSON: {'id': int, 'name': str})"),
    "broken-json-text": ('{"id": 1,', "str"),
    "capitals": (
        {"InstanceId": "i", "State": {"Name": "x", "Code": 16}},
        "{'InstanceId': str, 'State': {'Name': str, 'Code': int}}",
    ),
    "header-keys": ({"content-type": "x", "length": 3}, "{'content-type': str, 'length': int}"),
    "address-lines": ({"line1": "x", "line2": "y"}, "{'line1': str, 'line2': str}"),
    "empty-dict": ({}, "dict[str, Any]"),
}


@pytest.mark.parametrize(("value", "text"), ONE.values(), ids=ONE)
def test_one_result(value: object, text: str) -> None:
    """Each kind of value has a text of types, records with their fields."""
    assert shape(value) == text


TABLES = {
    "people": ({"alice": 3, "bob": 4}, "dict[str, int]"),
    "people-with-records": (
        {"alice": {"age": 3}, "bob": {"age": 4}},
        "dict[str, {'age': int}]",
    ),
    "people-of-several-kinds": ({"alice": 3, "bob": "away"}, "dict[str, int | str]"),
    "one-id": ({"u1": {"id": 1}}, "dict[str, {'id': int}]"),
    "letters-and-digits": ({"A1B2": "x", "C3D4": "y"}, "dict[str, str]"),
    "a-name-with-a-code": ({"name": 1, "name_X7Q2": "x"}, "dict[str, int | str]"),
    "mail-addresses": ({"ada@x.org": 1}, "dict[str, int]"),
    "hosts": ({"status.net": 1, "example.com": 2}, "dict[str, int]"),
    "numbered-ids": ({"u1": {"id": 1}, "u2": {"id": 2}}, "dict[str, {'id': int}]"),
    "numbered-records": ({"user1": {"id": 1}, "user2": {"id": 2}}, "dict[str, {'id': int}]"),
    "numbered-names": ({"total": 2, "emp17": "ok", "emp18": "failed"}, "dict[str, int | str]"),
    "long-numbers": ({"order 4711": "x", "name": 1}, "dict[str, int | str]"),
    "uuids": ({str(UUID(int=7)): {"ok": True}}, "dict[str, {'ok': bool}]"),
    "dates": ({"2026-01-02": 1.5}, "dict[str, float]"),
    "currencies": ({"USD": 1.0, "EUR": 0.9}, "dict[str, float]"),
    "codes": ({"B08N5WRWNW": "x", "title": 1}, "dict[str, int | str]"),
    "sentences": ({"How are you?": "fine", "n": 1}, "dict[str, int | str]"),
    "paths": ({"/home/ada/notes.txt": 3}, "dict[str, int]"),
    "words": ({"the": 12, "cat": 2, "sat": 1}, "dict[str, int]"),
    "whole-numbers": ({1: "a", 2: "b"}, "dict[int, str]"),
    "pairs": ({(1, 2): 3}, "dict[Any, int]"),
    "within-a-record": (
        {"total": 2, "users": {"alice": 1, "bob": 2}},
        "{'total': int, 'users': dict[str, int]}",
    ),
    "many-keys": (
        {f"field_{c}{d}": 1 for c in string.ascii_lowercase for d in "ab"},
        "dict[str, int]",
    ),
}


@pytest.mark.parametrize(("value", "text"), TABLES.values(), ids=TABLES)
def test_keys_that_are_data(value: object, text: str) -> None:
    """A dictionary whose keys are data is a table: its keys are not shown."""
    assert shape(value) == text


def test_a_key_that_was_passed_is_data() -> None:
    """What the code passed in and got back as a key is data, unless fields are called so."""
    value = {"berlin": {"x": 1}, "note": "x"}
    assert "berlin" in shape(value)
    assert "berlin" not in shape(value, arguments={"cities": ["berlin", "oslo"]})
    fields = {"name": "Ada", "age": 3}
    assert "name" in shape(fields, arguments={"fields": ["name", "age"]})


# --- several results ----------------------------------------------------------------------------


def test_optional_fields() -> None:
    """A field that is missing from one result may be missing; one that is None may be None."""
    assert shape({"id": 1, "name": "x"}, {"id": 2}) == "{'id': int, 'name': NotRequired[str]}"
    assert shape({"id": 1}, {"id": None}) == "{'id': int | None}"
    assert shape({"id": 1}, None) == "{'id': int} | None"


def test_unions() -> None:
    """Results of several types are a union."""
    assert shape(1, "a", [1]) == "int | str | list[int]"
    assert shape([1], ["a"]) == "list[int | str]"
    assert shape([], [{"id": 1}]) == "list[{'id': int}]"
    assert shape(1, 2.0) == "float"


def test_keys_that_come_and_go() -> None:
    """Keys that differ from result to result are those of a table."""
    rng = Random(5)
    seen = ObservedShapes()
    for _ in range(20):
        word = "".join(rng.choices(string.ascii_lowercase, k=7))
        seen.observe("t", {word: 1, "note": "x", "total": 2})
    assert seen.text("t") == "dict[str, int | str]"


def test_words_that_come_and_go() -> None:
    """A table of words that could be fields is known by how they come and go."""
    words = ["name", "title", "status", "total", "market", "team", "price", "city", "color", "note"]
    assert shape(*({word: 1} for word in words)) == "dict[str, int]"
    assert "NotRequired" in shape(*({word: 1} for word in words[:5]))


def test_a_table_stays_a_table() -> None:
    """What was taken for a table once is never shown by its keys."""
    assert shape({"alice": 3}, {"id": 1, "name": "x"}) == "dict[str, int | str]"
    assert shape({"id": 1, "name": "x"}, {"ada@x.org": 3}) == "dict[str, int | str]"


def test_text_that_is_json_no_more() -> None:
    """Only where all texts hold JSON is it said that they do."""
    assert shape('{"id": 1}', '{"id": 2, "name": "x"}') == (
        "str (JSON: {'id': int, 'name': NotRequired[str]})"
    )
    assert shape('{"id": 1}', "not found") == "str"
    assert shape("not found", '{"id": 1}') == "str"
    assert shape('{"id": 1}', 5) == "int | str (JSON: {'id': int})"


def test_order_of_results_does_not_matter_for_types() -> None:
    """Merging forgets nothing and is the same whichever result came first, but for the order."""
    values: list[object] = [{"id": 1}, {"id": "a", "name": None}, [1], None, {"id": 2, "name": "x"}]
    rng = Random(1)
    learned = []
    for _ in range(10):
        rng.shuffle(values)
        seen = ObservedShapes()
        for value in values:
            seen.observe("t", value)
        learned.append(seen.to_dict())
    assert all(one == learned[0] for one in learned)


# --- what never happens -------------------------------------------------------------------------


def random_value(rng: Random, depth: int, secret: str) -> Any:
    """Return a value that is full of a secret, also in keys."""
    kind = rng.randrange(8 if depth else 4)
    if kind < 4:
        return [secret, f"{secret}@example.com", rng.random(), rng.randrange(10**9)][kind]
    count = rng.randrange(4)
    if kind == 4:
        return [random_value(rng, depth - 1, secret) for _ in range(count)]
    keys: list[Any] = [f"{secret}-{n}" for n in range(count)]
    if kind == 5:
        keys = ["id", "name", "items", "status"][:count]
    return {key: random_value(rng, depth - 1, secret) for key in keys}


def test_values_are_nowhere(tmp_path: Path) -> None:
    """Whatever comes back, nothing of it is in the text, in the data, or in the file."""
    rng = Random(11)
    seen = ObservedShapes()
    for number in range(300):
        seen.observe(f"t{number % 7}", random_value(rng, 4, "s3cr3t"))
    seen.save(tmp_path / "shapes.json")
    texts = [seen.text(f"t{number}") for number in range(7)]
    assert all(texts)
    assert "s3cr3t" not in "".join(texts) + (tmp_path / "shapes.json").read_text("utf-8")


def test_the_text_is_one_line_of_types() -> None:
    """The text of every value fits a comment and is an expression of types."""
    rng = Random(3)
    for _ in range(300):
        text = shape(random_value(rng, 4, "x\ny"))
        assert "\n" not in text
        assert text.isprintable()
        ast.parse(text.replace("str (JSON: ", "JSON("), mode="eval")


def test_size_is_bounded() -> None:
    """A large result is looked at in part, and its text is bounded."""
    deep: Any = {"id": 1, "name": "x"}
    for _ in range(50):
        deep = {"id": 1, "items": [deep], "name": "x"}
    wide = {
        f"{a}_{b}": {f"{c}_id": 1, f"{c}_name": "x"}
        for a in ("user", "order", "item", "team")
        for b in ("name", "status", "owner", "date", "type")
        for c in ("first", "last")
    }
    huge = [{"id": n, "items": [{"id": m} for m in range(100)]} for n in range(2_000)]
    for value in (deep, wide, huge, "x" * 10_000_000, list(range(10**6))):
        assert 0 < len(shape(value)) <= MAX_TEXT_CHARS
    assert shape({f"{word}_id": 1 for word in string.ascii_lowercase}).startswith("{")
    names = {f"name_{n}{m}": 1 for n in "abcdefgh" for m in "abcdefgh"}
    assert len(names) > MAX_FIELDS
    assert shape(names) == "dict[str, int]"


def test_a_list_is_looked_at_from_end_to_end() -> None:
    """What is rare in a long list of records is seen if it stands at either end."""
    rows: list[dict[str, object]] = [{"id": n} for n in range(10_000)]
    rows[0]["name"], rows[-1]["note"] = "x", "y"
    assert shape(rows) == "list[{'id': int, 'name': NotRequired[str], 'note': NotRequired[str]}]"


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("id", False),
        ("createdAt", False),
        ("first-name", False),
        ("@type", False),
        ("$ref", False),
        ("address.city", False),
        ("sha256", False),
        ("q1", False),
        ("größe", False),
        ("", True),
        ("4711", True),
        ("a b c", True),
        ("anna maria", True),
        ("ada@example.org", True),
        ("status.com", True),
        ("AAPL", True),
        ("DE89370400440532013000", True),
        ("550e8400-e29b-41d4-a716-446655440000", True),
        ("x\ny", True),
        ("id" * 40, True),
        ("'; DROP TABLE", True),
    ],
)
def test_looks_like_data(key: str, data: bool) -> None:
    """Ids, codes, addresses and sentences look like data; names of fields do not."""
    assert looks_like_data(key) is data


def test_known_words() -> None:
    """Fields of APIs are known in every spelling; names of people are not."""
    for key in ("id", "userId", "USER_NAME", "created-at", "Last Modified", "lineItems", "q1"):
        assert is_known(key), key
    for key in ("alice", "Bob", "schmidt", "berlin", "AAPL"):
        assert not is_known(key), key


# --- in the catalog -----------------------------------------------------------------------------


@tool
def get_user(user_id: int) -> Any:
    """Look a user up."""
    return {"id": user_id}


@tool
def count_users() -> int:
    """Count the users."""
    return 1


@tool
def list_raw() -> list[dict[str, Any]]:
    """List what there is."""
    return []


async def nothing(**arguments: object) -> object:
    """Do nothing."""
    return arguments


BARE = StructuredTool(
    name="bare", description="", args_schema={"type": "object"}, coroutine=nothing
)


def test_shown_in_the_next_prompt() -> None:
    """A result's shape stands below the signature of its tool, in a comment, in valid Python."""
    catalog = ToolCatalog([get_user, count_users, BARE])
    before = catalog.render()
    assert "observed" not in before
    catalog.observe("get_user", {"id": 1, "name": "Ada"})
    catalog.observe("bare", [1])
    text = catalog.render()
    assert (
        "async def get_user(user_id: int) -> Any:\n"
        "    # observed: {'id': int, 'name': str}\n"
        '    """Look a user up."""\n'
    ) in text
    assert "async def bare() -> Any:\n    # observed: list[int]\n    ...\n" in text
    assert "Ada" not in text
    ast.parse(text)
    assert "".join(x for x in text.splitlines(True) if "observed" not in x).count("async def") == 3
    assert "    # observed: {'id': int, 'name': str}" in catalog.describe("get_user")
    assert "    # observed: {'id': int, 'name': str}" in catalog.render("signatures")
    assert "observed" not in catalog.render("names") + catalog.render("full", observed=False)


def test_only_where_the_type_says_nothing() -> None:
    """A tool whose return type says what it holds is not observed."""
    catalog = ToolCatalog([get_user, count_users, list_raw])
    for name in catalog.names:
        catalog.observe(name, [{"id": 1}])
    assert "count_users" not in catalog.shapes
    assert {"get_user", "list_raw"} == {n for n in catalog.names if n in catalog.shapes}
    types = {d.name: render_type(d.returns, {}) for d in catalog}
    assert types["list_raw"] == "list[dict[str, Any]]"
    assert [d.name for d in catalog if is_vague(d.returns)] == ["get_user", "list_raw"]


def test_the_right_one_of_two_alike() -> None:
    """Two tools of the same name and text in two domains are told apart."""
    catalog = ToolCatalog({"a": [get_user], "b": [get_user]})
    catalog.observe("b.get_user", {"id": 1})
    first, second = catalog.render().split("# from tools.b")
    assert "observed" not in first
    assert "# observed: {'id': int}" in second


def test_the_text_changes_only_with_a_shape() -> None:
    """The same results again leave the text and the version as they are: the prompt cache holds."""
    catalog = ToolCatalog([get_user])
    versions = []
    for value in ({"id": 1}, {"id": 2}, {"id": 3, "name": "x"}, {"id": 4}, {"id": 5, "name": "y"}):
        catalog.observe("get_user", value)
        versions.append(catalog.shapes.version)
    assert versions == [1, 1, 2, 2, 2]
    assert catalog.render() == catalog.render()


def test_changes_end() -> None:
    """However results vary, the text of a tool changes a bounded number of times."""
    rng = Random(2)
    seen = ObservedShapes()
    words = ["id", "name", "status", "items", "total", "owner"]
    for _ in range(2_000):
        keys = rng.sample(words, rng.randrange(len(words)))
        seen.observe("t", {k: rng.choice([1, "a", None, 2.5, [1], {"id": 1}]) for k in keys})
    assert seen.version < 80
    before = seen.version
    seen.observe("t", {"id": 1})
    assert seen.version == before


def test_learning_can_be_switched_off() -> None:
    """Shapes that are only shown do not change."""
    learned = ObservedShapes()
    learned.observe("get_user", {"id": 1})
    fixed = ObservedShapes.from_dict(learned.to_dict(), learning="off")
    catalog = ToolCatalog([get_user], shapes=fixed)
    catalog.observe("get_user", {"id": "a"})
    assert fixed.text("get_user") == "{'id': int}"
    assert "# observed: {'id': int}" in catalog.render()
    with pytest.raises(ValueError, match="learning must be 'on' or 'off', got 'no'"):
        ObservedShapes(learning="no")  # type: ignore[arg-type]  # wrong on purpose


# --- kept ---------------------------------------------------------------------------------------


def test_saved_and_loaded(tmp_path: Path) -> None:
    """Every shape comes back from its file as it was, and can be learned on."""
    seen = ObservedShapes()
    for name, (value, _) in {**ONE, **TABLES}.items():
        seen.observe(name, value)
    path = tmp_path / "shapes.json"
    seen.save(path)
    seen.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["shapes.json"]
    loaded = ObservedShapes.load(path)
    assert loaded.to_dict() == seen.to_dict()
    assert all(loaded.text(name) == seen.text(name) for name in {**ONE, **TABLES})
    assert len(loaded) == len(seen)
    loaded.observe("record", {"id": 1})
    assert loaded.text("record") == "{'id': int, 'name': NotRequired[str]}"


BROKEN = {
    "no-json": ("{", r"shapes.json: Expecting"),
    "a-list": ("[]", "this is not what ObservedShapes.to_dict"),
    "another-format": ('{"format": 9, "shapes": {}}', "at 'format': Input should be 3"),
    "unknown-part": (
        '{"format": 3, "shapes": {"t": {"table": [1]}}}',
        r"at 'shapes\.t\.table': Unexpected keyword",
    ),
    "no-shape": ('{"format": 3, "shapes": {"t": 5}}', r"at 'shapes\.t': Input should be"),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file(tmp_path: Path, text: str, told: str) -> None:
    """A file that holds something else is refused with what is wrong, and cannot smuggle text in."""
    path = tmp_path / "shapes.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=told):
        ObservedShapes.load(path)


def test_a_file_cannot_smuggle_text_in() -> None:
    """Keys that are data are forgotten as those of a result are; names of no type are not shown."""
    shapes = {
        "key": {"fields": {"ada@x.org": {"types": ["int"]}}},
        "type": {"types": ["os.system"], "items": {"eval": {}}},
    }
    found = ObservedShapes.from_dict({"format": 3, "shapes": shapes})
    assert found.text("key") == "dict[str, int]"
    assert found.text("type") == "Any"
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": {"dict": deep}}
    text = ObservedShapes.from_dict({"format": 3, "shapes": {"t": deep}}).text("t")
    assert len(text) <= MAX_TEXT_CHARS


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is an ordinary error."""
    with pytest.raises(FileNotFoundError):
        ObservedShapes.load(tmp_path / "none.json")


def test_the_data_is_json() -> None:
    """`to_dict` is plain JSON, in an order that does not depend on the calls."""
    one, other = ObservedShapes(), ObservedShapes()
    one.observe("a", {"id": 1})
    one.observe("b", [None])
    other.observe("b", [None])
    other.observe("a", {"id": 1})
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


def test_from_many_threads() -> None:
    """Results of calls side by side are all learned."""
    seen = ObservedShapes()
    words = ["id", "name", "status", "total", "owner", "type", "date", "count"]

    def observe(word: str) -> None:
        for _ in range(200):
            seen.observe("t", {word: 1, "label": "x"})

    threads = [threading.Thread(target=observe, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"'{word}': NotRequired[int]" in seen.text("t") for word in words)
    assert "'label': str" in seen.text("t")


def test_rendering_cuts_what_is_too_long() -> None:
    """A limit leaves out deep levels first, then the end."""
    value = {"items": [{"id": 1, "name": "x"}], "total": 1}
    whole = Shape()
    assert widen(whole, value)
    assert render_shape(whole, limit=50) == "{'items': list[dict[str, Any]], 'total': int}"
    assert render_shape(whole, limit=40) == "{'items': list[Any], 'total': int}"
    assert render_shape(whole, limit=20) == "dict[str, Any]"
    assert render_shape(whole, limit=5) == "dict…"
