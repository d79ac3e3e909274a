"""What MCP tools say and answer, as schemas, policies and plain values, for both kinds of records."""

from __future__ import annotations

import base64
from types import SimpleNamespace as Record
from typing import Any

import pytest
from langchain_core.tools import ToolException

from langchain_ptc import ToolPolicy
from langchain_ptc.catalog.mcp_results import (
    as_message_content,
    as_record,
    describe,
    is_wrapper,
    policy_of,
    read_field,
    unwrap_schema,
    value_of,
)

DATA = base64.b64encode(b"\x00\xff").decode()
TEXT = Record(type="text", text="hi")


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (Record(outputSchema={"a": 1}), {"a": 1}),
        (Record(output_schema={"a": 1}), {"a": 1}),
        (Record(), None),
        (None, None),
    ],
)
def test_fields_in_both_cases(record: object, found: object) -> None:
    """A field is read in camel case, as `mcp` 1 names it, or in snake case, as later versions do."""
    assert read_field(record, "outputSchema") == found


WRAPPED = {"type": "object", "properties": {"result": {"type": "integer"}}}
PLAIN = {"type": "object", "properties": {"result": {}, "more": {}}}

RESULTS: dict[str, tuple[Record, Any, Any]] = {
    "structured": (Record(content=[TEXT], structuredContent={"a": 1}), PLAIN, {"a": 1}),
    "snake case": (
        Record(content=[], structured_content={"result": 1}, is_error=False),
        WRAPPED,
        1,
    ),
    "wrapped": (Record(content=[], structuredContent={"result": None}), WRAPPED, None),
    "not as it was declared": (
        Record(content=[], structuredContent={"result": 1, "x": 2}),
        WRAPPED,
        {"result": 1, "x": 2},
    ),
    "undeclared": (Record(content=[TEXT], structuredContent={"result": 1}), None, {"result": 1}),
    "text": (Record(content=[TEXT, TEXT]), None, "hi\nhi"),
    "nothing": (Record(content=[]), None, ""),
    "no content at all": (Record(content=None), None, ""),
    "mixed": (
        Record(content=[TEXT, Record(type="image", data=DATA, mime_type="image/png")]),
        None,
        [
            {"type": "text", "text": "hi"},
            {"type": "image", "data": b"\x00\xff", "mime_type": "image/png"},
        ],
    ),
}


@pytest.mark.parametrize("case", RESULTS)
def test_value_of(case: str) -> None:
    """A result's value is its structure, unwrapped as declared, or its text, or its parts."""
    result, schema, value = RESULTS[case]
    assert value_of(result, schema) == value


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([TEXT, TEXT], "hi\nhi"),
        ([Record(type="image", data=DATA, mimeType="image/png")], "has no text, only image"),
        ([], "is empty"),
    ],
)
def test_errors(content: list[Any], told: str) -> None:
    """An error is raised with its text, or says that it has none."""
    with pytest.raises(ToolException, match=told):
        value_of(Record(content=content, isError=True), None)


def test_data_that_is_no_base64() -> None:
    """Broken data is an error of the call, not a wrong value."""
    with pytest.raises(ToolException, match="data that is not base64"):
        as_record(Record(type="audio", data="a", mimeType="audio/wav"))


def test_kinds_that_are_not_known() -> None:
    """Content of a kind that is newer than this code is shown as it came."""

    class Newer(Record):
        def model_dump(self, **options: Any) -> dict[str, Any]:
            return {"type": "video", "frames": 2}

    assert as_record(Newer(type="video")) == {"type": "video", "frames": 2}
    assert as_record(Record(type="video")) == {"type": "video"}


def test_unwrapped_schema_keeps_its_definitions() -> None:
    """The schema in a wrapper still finds what it refers to, and loses the name of the wrapper."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    schema = {
        "type": "object",
        "properties": {
            "result": {"title": "Result", "type": "array", "items": {"$ref": "#/$defs/Node"}}
        },
        "$defs": {"Node": node},
    }
    assert is_wrapper(schema)
    assert unwrap_schema(schema) == {
        "type": "array",
        "items": {"$ref": "#/$defs/Node"},
        "$defs": {"Node": node},
    }
    assert unwrap_schema(PLAIN) == PLAIN
    assert unwrap_schema({"properties": {"result": True}}) == {}
    assert unwrap_schema(None) is None


@pytest.mark.parametrize(
    ("hints", "never", "destructive", "writes"),
    [
        (None, False, True, True),
        (Record(readOnlyHint=True), False, False, False),
        (Record(read_only_hint=True, destructive_hint=True), False, False, False),
        (Record(destructiveHint=False), False, False, True),
        (Record(destructiveHint=True, idempotentHint=True), False, True, True),
        (Record(readOnlyHint="yes"), False, True, True),
    ],
)
def test_policies(hints: Any, never: bool, destructive: bool, writes: bool) -> None:
    """What a tool does not say of itself is taken as the protocol takes it: it may destroy things."""
    tool = Record(annotations=hints)
    assert policy_of(tool, "never").requires_approval is never
    assert policy_of(tool, "destructive").requires_approval is destructive
    assert policy_of(tool, "writes").requires_approval is writes
    assert policy_of(Record(), "never") == ToolPolicy()


def test_descriptions() -> None:
    """A tool's description is its own, or its title, or that of its hints, or nothing."""
    hints = Record(title="C")
    assert describe(Record(description="A", title="B", annotations=hints)) == "A"
    assert describe(Record(description=" ", title="B", annotations=hints)) == "B"
    assert describe(Record(description=None, title=None, annotations=hints)) == "C"
    assert describe(Record()) == ""


def test_message_content() -> None:
    """Images go to a model as LangChain's blocks, and everything else as it is."""
    image = {"type": "image", "data": b"\x00\xff", "mime_type": "image/png"}
    text = {"type": "text", "text": "hi"}
    block = {"type": "image", "base64": DATA, "mime_type": "image/png"}
    assert as_message_content([text, image, "x"]) == [text, block, "x"]
    assert as_message_content("text") == "text"
