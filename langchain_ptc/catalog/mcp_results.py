"""What an MCP tool says of itself, is asked and answers -> schemas, policies and plain values.

Pure. The records are those of the `mcp` package, read by their fields: versions before 2 name them in
camel case (`inputSchema`), later ones in snake case.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import inspect
import json
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, get_origin

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from langchain_ptc.catalog.annotations import own_annotations, return_annotation
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.catalog.schemas import read_result_schema
from langchain_ptc.catalog.text import describe_error, read_field
from langchain_ptc.catalog.types import (
    Alternatives,
    Choice,
    Container,
    Named,
    RecordRef,
    RecordTable,
    RecordType,
    TypeTree,
    outline,
)

Approve: TypeAlias = Literal["never", "destructive", "writes"]  # see `ToolCatalog.from_mcp`
Progress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None]]
MAX_BLOCKS = 10_000  # blocks of content in one answer
QUICK_BLOCKS = 20
QUICK_SIZE = 1_000  # values, and hundreds of characters, that are read on the event loop
RESULT_NOTE = "text (str); a list of dicts if it holds images or files"
"""What a tool without an `outputSchema` gives, but for the few that give structure undeclared."""


class CallAnswer(BaseModel):
    """What a server answers to a call, its content as plain data."""

    model_config = ConfigDict(extra="allow")

    content: list[Any]
    structured_content: Any = Field(default=None, alias="structuredContent")
    is_error: bool = Field(default=False, alias="isError")

    def as_result(self) -> Any:
        """Return the same as a `CallToolResult` of `mcp`, as interceptors take it."""
        from mcp.types import CallToolResult

        check_length(self.content)
        try:
            return CallToolResult.model_validate(self.model_dump(by_alias=True, exclude_unset=True))
        except ValidationError as error:
            raise ToolException(f"the answer is not valid: {str(error)[:500]}") from error


def check_length(content: Sequence[object]) -> None:
    """Raise a `ToolException` for an answer of more parts than can be read in a short time."""
    if len(content) > MAX_BLOCKS:
        raise ToolException(
            f"the answer has {len(content):,} parts; at most {MAX_BLOCKS:,} are read"
        )


def policy_of(tool: object, approve: Approve) -> ToolPolicy:
    """Return what an MCP tool's annotations say; one that says nothing may change and destroy things."""
    hints = read_field(tool, "annotations")
    read_only = read_field(hints, "readOnlyHint") is True
    destructive = not read_only and read_field(hints, "destructiveHint") is not False
    needs = {"never": False, "destructive": destructive, "writes": not read_only}
    return ToolPolicy(
        read_only=read_only,
        idempotent=read_field(hints, "idempotentHint") is True,
        requires_approval=needs[approve],
    )


def describe(tool: object) -> str:
    """Return an MCP tool's description, or else its title."""
    hints = read_field(tool, "annotations")
    texts = (read_field(tool, "description"), read_field(tool, "title"), read_field(hints, "title"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def unwrap_schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the schema of the value that code gets.

    The protocol only knows objects: SDKs wrap any other value in one with the single field `result`.
    """
    if schema is None:
        return None
    if not is_wrapper(schema):
        return dict(schema)
    inner = schema["properties"]["result"]
    if not isinstance(inner, Mapping):
        return {}
    # Its references are resolved in the whole document, so its definitions come along.
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    made = {**inner, **definitions}
    if made.get("title") == "Result":
        del made["title"]  # pydantic's, from the name of the field
    return made


def is_wrapper(schema: Mapping[str, Any] | None) -> bool:
    """Return whether an `outputSchema` only wraps a value: an object with the field `result` alone."""
    properties = None if schema is None else schema.get("properties")
    return isinstance(properties, Mapping) and list(properties) == ["result"]


def value_of(result: object, schema: Mapping[str, Any] | None) -> Any:
    """Return the value of a `CallToolResult` of a tool with an `outputSchema`, or with none.

    It is the structured content, unwrapped as by `unwrap_schema`; or else the text; or else, where there is more than
    text, a list of records: `{"type": "image", "data": b"...", "mime_type": "image/png"}` and the like.
    """
    content = read_field(result, "content") or []
    if read_field(result, "isError"):
        raise ToolException(describe_error(list(content)))
    structured = read_field(result, "structuredContent")
    if structured is not None:
        return _unwrap(structured, schema)
    return _choose([as_record(block) for block in content], schema)


def value_of_message(content: object, artifact: object, schema: Mapping[str, Any] | None) -> Any:
    """Return the value of a result that another package has made a message of: see `value_of`."""
    structured = read_field(artifact, "structuredContent") if artifact is not None else None
    if structured is None and not isinstance(content, str | list):
        return content
    if structured is not None:
        return _unwrap(structured, schema)
    blocks = content if isinstance(content, list) else [content]
    return _choose([_block_as_record(block) for block in blocks], schema)


def _unwrap(structured: Any, schema: Mapping[str, Any] | None) -> Any:
    if is_wrapper(schema) and isinstance(structured, Mapping) and set(structured) == {"result"}:
        return structured["result"]
    return structured


def _choose(records: Sequence[dict[str, Any]], schema: Mapping[str, Any] | None) -> Any:
    if not all(record.get("type") == "text" for record in records):
        return list(records)
    text = "\n".join(str(record.get("text")) for record in records)
    if schema is not None:  # a declared value that came as its JSON alone
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _block_as_record(block: object) -> dict[str, Any]:
    """Return one of LangChain's content blocks as `as_record` gives those of `mcp`."""
    if not isinstance(block, Mapping):
        return {"type": "text", "text": str(block)}
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": block.get("text")}
    known = {name: block.get(name) for name in ("url", "base64", "mime_type")}
    if kind not in ("image", "audio", "video", "file") or known["url"] == known["base64"]:
        return {name: value for name, value in block.items() if name != "id"}
    if known["url"] is not None:
        record = {"type": "resource_link", "uri": known["url"]}
    else:
        record = {"type": "resource" if kind == "file" else kind, "data": _decode(known["base64"])}
    return without_none({**record, "mime_type": known["mime_type"]})


def read_result(
    result: object,
    *,
    listed: ResultType | None,
    declared: Mapping[str, Any] | None,
    tool: str,
    steps: int,
) -> Any:
    """Check a tool's `CallToolResult` in so many steps, or raise `TooManySteps`, and return its value.

    `listed` is the type of the tool that was called, `declared` the `outputSchema` that the catalog shows.
    """
    content = read_field(result, "content") or []
    structured = read_field(result, "structuredContent")
    # FastMCP repeats each item of a list as a part; where there is structure, the parts are not read.
    if structured is None:
        check_length(content)
    if listed is not None and not read_field(result, "isError"):
        if structured is None and "structured_content" not in getattr(
            result, "model_fields_set", ()
        ):
            raise ToolException(f"{tool} has an output schema, and gave no structured content")
        problem = listed.problem(structured, steps=steps)
        if problem is not None:
            raise ToolException(f"{tool} gave what its output schema does not allow: {problem}")
    return value_of(result, declared)


# --- the check of an answer -----------------------------------------------------------------------

# The schema is the server's, and so is the value: both may be made to be expensive. The `mcp` package
# checks on the event loop of the session, and evaluates patterns with `re`, which holds the interpreter.
# Here an answer is held against the types that code relies on, those that the stub shows, once for each
# pair of a value and a type.

MAX_STEPS = 5_000_000
QUICK_STEPS = 20_000  # pairs of a value and a type: in a thread, and on the event loop


class TooManySteps(Exception):
    """A value takes more than its share of steps to check."""


class ResultType:
    """The type of a tool's structured content, from its `outputSchema`."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        table = RecordTable()
        self._tree = read_result_schema(schema, "tool", table)
        self._records = {record.key: record for record in table.records()}

    def problem(self, value: object, *, steps: int) -> str | None:
        """Return what is wrong with a value, or None; raises `TooManySteps` where that takes more of them."""
        try:
            return _Check(self._records, steps).problem(self._tree, value, "")
        except RecursionError:
            return "it is nested too deeply"


_WithParts: TypeAlias = Alternatives | Choice | Container | RecordRef


class _Check:
    def __init__(self, records: Mapping[str, RecordType], steps: int) -> None:
        self._records = records
        self._left = steps
        self._known: dict[tuple[int, int], str | None] = {}

    def problem(self, tree: TypeTree, value: Any, place: str) -> str | None:
        self._left -= 1
        if self._left < 0:
            raise TooManySteps
        if isinstance(tree, Named):
            return None if _is_of(tree.name, value) else _wrong(outline(tree), value, place)
        pair = id(tree), id(value)
        if pair not in self._known:
            self._known[pair] = self._look(tree, value, place)
        return self._known[pair]

    def _look(self, tree: _WithParts, value: Any, place: str) -> str | None:
        if isinstance(tree, Alternatives):
            found = [self.problem(option, value, place) for option in tree.options]
            return None if None in found else _wrong(outline(tree), value, place)
        if isinstance(tree, Choice):
            is_one = any(
                v == value and isinstance(v, bool) is isinstance(value, bool) for v in tree.values
            )
            return None if is_one else _wrong(outline(tree), value, place)
        if isinstance(tree, RecordRef):
            return self._look_at_fields(self._records.get(tree.key), value, place)
        if not isinstance(value, dict if tree.name == "dict" else list):
            return _wrong(outline(tree), value, place)
        inner = tree.args[-1]
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return self._first((inner, part, f"{place}.{key}") for key, part in parts)

    def _look_at_fields(self, record: RecordType | None, value: Any, place: str) -> str | None:
        if record is None:
            return None
        if not isinstance(value, dict):
            return _wrong("an object", value, place)
        for field in record.fields:
            if field.required and field.name not in value:
                return f"{field.name[:100]!r} is missing{_at(place)}"
        known = [field for field in record.fields if field.name in value]
        return self._first((f.type, value[f.name], f"{place}.{f.name}") for f in known)

    def _first(self, parts: Iterable[tuple[TypeTree, Any, str]]) -> str | None:
        found = (self.problem(*part) for part in parts)
        return next((problem for problem in found if problem is not None), None)


def _is_of(name: str, value: Any) -> bool:
    if name in ("int", "float"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (name == "float" or value == value // 1)
    kind = {"str": str, "bool": bool, "None": type(None)}.get(name, object)
    return isinstance(value, kind)


def _wrong(expected: str, value: object, place: str) -> str:
    is_short = isinstance(value, bool | float | None) or (type(value) is int and value < 10**30)
    shown = repr(value[:60] if isinstance(value, str) else value if is_short else type(value))
    return f"{shown} is not {expected[:200]}{_at(place)}"


def _at(place: str) -> str:
    return f" (at {place[1:301]})" if place else ""


def is_small(result: object) -> bool:
    """Whether there is little in a `CallToolResult`, found out with little work."""
    if len(read_field(result, "content") or []) > QUICK_BLOCKS:
        return False
    left, waiting = QUICK_SIZE, [read_field(result, "structuredContent")]
    while waiting and left > 0:
        one = waiting.pop()
        left -= 1
        if isinstance(one, str):
            left -= len(one) // 100
        elif isinstance(one, dict | list):
            left -= len(one)
            if left > 0:
                waiting.extend(one.values() if isinstance(one, dict) else one)
    return left > 0


def as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as JSON has them, or raise a `ToolException`.

    A session that meets what it cannot write ends, and with it the calls of everybody else.
    """
    try:
        plain: dict[str, Any] = to_jsonable_python(dict(arguments))
        json.dumps(plain, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ToolException(
            f"the arguments cannot be sent, as they are not valid JSON: {str(error)[:500]}"
        ) from error
    return plain


def request_call(
    session: Any, tool: str, arguments: Mapping[str, Any], progress: Progress | None
) -> Coroutine[Any, Any, CallAnswer]:
    """Return the request of a call, for a session of either line of `mcp`.

    The session's own `call_tool` would check the answer on the event loop.
    """
    from mcp import types

    # The answer is not made into the package's records, of which large ones hold the interpreter.
    call: Any = types.CallToolRequest(
        params=types.CallToolRequestParams(name=tool, arguments=as_json(arguments))
    )
    if isinstance(types.ClientRequest, type):  # line 1 has a class around all requests
        call = types.ClientRequest(call)
    request: Coroutine[Any, Any, CallAnswer] = session.send_request(
        call, CallAnswer, progress_callback=progress
    )
    return request


def as_record(block: object) -> dict[str, Any]:
    """Return one block of content as a record of plain data, its base64 as bytes."""
    kind = read_field(block, "type")
    if kind == "text":
        return {"type": "text", "text": str(read_field(block, "text"))}
    if kind in ("image", "audio"):
        data = _decode(read_field(block, "data"))
        return {"type": kind, "data": data, "mime_type": read_field(block, "mimeType")}
    if kind == "resource":
        resource = read_field(block, "resource")
        record = {"type": kind, "uri": str(read_field(resource, "uri"))}
        blob = read_field(resource, "blob")
        text = read_field(resource, "text")
        content = {"data": _decode(blob)} if blob is not None else {"text": text}
        return without_none({**record, **content, "mime_type": read_field(resource, "mimeType")})
    if kind == "resource_link":
        fields = ("name", "title", "description", "size")
        known_fields = {name: read_field(block, name) for name in fields}
        mime = read_field(block, "mimeType")
        uri = str(read_field(block, "uri"))
        return without_none({"type": kind, "uri": uri, **known_fields, "mime_type": mime})
    if not isinstance(kind, str):
        raise ToolException(f"the server sent a part without a type: {str(block)[:100]!r}")
    if isinstance(block, Mapping):  # a kind that is newer than this code
        return dict(block)
    dump = getattr(block, "model_dump", None)
    return dump(mode="json", exclude_none=True) if dump else {"type": str(kind)}


def _decode(data: object) -> bytes:
    try:
        return base64.b64decode(str(data), validate=False)
    except binascii.Error as error:
        raise ToolException(f"the server sent data that is not base64: {error}") from error


def without_none(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record that are not None."""
    return {key: value for key, value in record.items() if value is not None}


def as_message_content(content: object) -> object:
    """Return the content of a tool's message with LangChain's blocks, with base64, in place of records with bytes."""
    if not isinstance(content, list):
        return content
    return [_as_block(item) if isinstance(item, dict) else item for item in content]


def _as_block(record: dict[str, Any]) -> dict[str, Any]:
    data = record.get("data")
    if record.get("type") != "image" or not isinstance(data, bytes):
        return record
    rest = {key: value for key, value in record.items() if key != "data"}
    return {**rest, "base64": base64.b64encode(data).decode()}


# --- tools that another package made: `MultiServerMCPClient.get_tools()`, `langchain.mcp` -----------

# To LangChain such a tool is a function that returns content blocks and an artifact. What its server
# declared is recognised by what the tool carries, whatever its class: the server's own record of the
# tool among the variables of its function, `mcp` metadata, or an artifact with `structured_content`.

HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
UNDECLARED_NOTE = f"structured data as the server gives it, or {RESULT_NOTE}"
"""What a tool gives of which no output schema can be had."""


@dataclass(frozen=True, slots=True)
class AdaptedTool:
    """What an MCP tool that another package made carries of its server's declaration."""

    output_schema: dict[str, Any] | None  # the server's; None if it cannot be had
    is_wrapped: bool  # a wrapper is around the adapter's function, and may change values
    description: str
    note: str  # the description of the value, if it has no schema

    @property
    def result_schema(self) -> dict[str, Any] | None:
        """The schema of the value that code gets; None where it would only be a guess."""
        return None if self.is_wrapped else unwrap_schema(self.output_schema)


def read_adapted(tool: BaseTool) -> AdaptedTool | None:
    """Return what `tool` carries of its server's declaration; None if it is not such a tool."""
    if tool.response_format != "content_and_artifact":
        return None
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None) or tool._run
    declared = _find_declaration(inspect.unwrap(function))
    is_wrapped = declared is not None and _find_declaration(function) is None
    metadata = read_field(read_field(tool.metadata, "mcp"), "tool")
    is_known = declared is not None or metadata is not None or _has_hints(tool.metadata)
    if not is_known and not _gives_structure(function):
        return None
    schema = read_field(declared, "outputSchema", read_field(metadata, "outputSchema"))
    return AdaptedTool(
        output_schema=dict(schema) if isinstance(schema, Mapping) else None,
        is_wrapped=is_wrapped,
        description=tool.description or describe(declared),
        note=UNDECLARED_NOTE if declared is None or is_wrapped else RESULT_NOTE,
    )


def read_hints(tool: BaseTool) -> ToolPolicy:
    """Return the policy that the MCP annotations of a tool stand for, those in its metadata first."""
    metadata = tool.metadata
    own = read_field(read_field(read_field(metadata, "mcp"), "tool"), "annotations")
    for hints in (own, metadata):
        if _has_hints(hints):
            return policy_of({"annotations": hints}, "never")
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    if tool.response_format != "content_and_artifact" or function is None:
        return ToolPolicy()
    return policy_of(_find_declaration(inspect.unwrap(function)), "never")


def _has_hints(record: object) -> bool:
    return any(isinstance(read_field(record, name), bool) for name in HINTS)


def _find_declaration(function: object) -> object | None:
    """Return the server's record of the tool that `function` calls, from its enclosing scope."""
    while isinstance(function, functools.partial):
        function = function.func
    cells = getattr(function, "__closure__", None) or ()
    for cell in cells:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if _is_declaration(value):
            return value  # type: ignore[no-any-return]
    return None


def _is_declaration(value: object) -> bool:
    return (
        not isinstance(value, BaseTool | Mapping | type)
        and isinstance(read_field(value, "name"), str)
        and isinstance(read_field(value, "inputSchema"), Mapping)
        and any(hasattr(value, name) for name in ("output_schema", "outputSchema"))
    )


def _gives_structure(function: Callable[..., Any]) -> bool:
    """Whether its annotation says that it returns an artifact with `structured_content`."""
    pair = return_annotation(function)
    if get_origin(pair) is not tuple or len(get_args(pair)) != 2:
        return False
    artifact = get_args(pair)[1]
    is_union = get_origin(artifact) in (typing.Union, types.UnionType)
    members = get_args(artifact) if is_union else (artifact,)
    return any("structured_content" in own_annotations(m) for m in members)
