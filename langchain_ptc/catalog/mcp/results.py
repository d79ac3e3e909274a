"""What an MCP tool says of itself, is asked and answers -> schemas, policies and plain values.

Pure. The records are those of the `mcp` package, read by their fields: versions before 2 name them in
camel case (`inputSchema`), later ones in snake case.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import contextvars
import functools
import inspect
import json
import re
import subprocess
import sys
import time
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args, get_origin

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from langchain_ptc.catalog.functions import own_annotations, return_annotation
from langchain_ptc.catalog.policy import ToolPolicy

Approve: TypeAlias = Literal["never", "destructive", "writes"]
"""Which tools of MCP servers a person approves: see `ToolCatalog.from_mcp`."""

Progress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None]]

MAX_BLOCKS = 10_000
"""Blocks of content in one answer."""
QUICK_BLOCKS = 20
QUICK_SIZE = 1_000
"""Values, and hundreds of characters, of an answer that is read on the event loop."""
MAX_ERROR_BLOCKS = 100
"""Blocks of an error's content that are read."""
RESULT_NOTE = "text (str); a list of dicts if it holds images or files"
"""What a tool without an `outputSchema` gives, but for the few that give structure undeclared."""


class CallAnswer(BaseModel):
    """What a server answers to a call, its content as plain data."""

    model_config = ConfigDict(extra="allow")

    content: list[Any]
    structured_content: Any = Field(default=None, alias="structuredContent")
    is_error: bool = Field(default=False, alias="isError")

    def as_result(self) -> Any:
        """Return the same as a `CallToolResult` of `mcp`, as interceptors take it.

        Raises:
            ToolException: It has too many parts, or is none.
        """
        from mcp.types import CallToolResult

        check_length(self.content)
        try:
            return CallToolResult.model_validate(self.model_dump(by_alias=True, exclude_unset=True))
        except ValidationError as error:
            raise ToolException(f"the answer is not valid: {str(error)[:500]}") from error


def check_length(content: Sequence[object]) -> None:
    """Check that an answer has no more parts than can be read in a short time.

    Raises:
        ToolException: It has too many.
    """
    if len(content) > MAX_BLOCKS:
        raise ToolException(
            f"the answer has {len(content):,} parts; at most {MAX_BLOCKS:,} are read"
        )


def read_field(record: object, name: str, default: Any = None) -> Any:
    """Return a field of a record of `mcp`, or of a dict of its fields, by its name in camel case."""
    other = re.sub(r"([A-Z])", r"_\1", name).lower()
    if isinstance(record, Mapping):
        return record.get(other, record.get(name, default))
    # Records of later versions have both, and warn of the camel case.
    return getattr(record, other) if hasattr(record, other) else getattr(record, name, default)


def policy_of(tool: object, approve: Approve) -> ToolPolicy:
    """Return what an MCP tool's annotations say, with the protocol's defaults for what they do not.

    A tool that says nothing may change things, and may destroy some.
    """
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

    It is the structured content, unwrapped as by `unwrap_schema`; or else the text; or else, where
    there is more than text, a list of records: `{"type": "image", "data": b"...", "mime_type":
    "image/png"}` and the like.

    Raises:
        ToolException: The result is an error.
    """
    content = read_field(result, "content") or []
    if read_field(result, "isError"):
        raise ToolException(describe_error(list(content)))
    structured = read_field(result, "structuredContent")
    if structured is not None:
        return _unwrap(structured, schema)
    return _choose([as_record(block) for block in content], schema)


def value_of_message(content: object, artifact: object, schema: Mapping[str, Any] | None) -> Any:
    """Return the value of a result that another package has made a message of: see `value_of`.

    The artifact is a dict with `structured_content`, or None; content that is neither text nor a list
    of LangChain's content blocks is returned as it is.
    """
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


def describe_error(content: object) -> str:
    """Return the text of an error message, or a description of content blocks without text."""
    blocks = content if isinstance(content, list) else [content]
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    texts, others = [], set()
    for block in blocks[:MAX_ERROR_BLOCKS]:
        text = block if isinstance(block, str) else read_field(block, "text")
        if isinstance(text, str) and text:
            texts.append(text)
        else:
            others.add(str(read_field(block, "type")))
    if texts:
        return "\n".join(texts)
    kinds = ", ".join(sorted(others))
    return f"its error message has no text, only {kinds}" if kinds else "its error message is empty"


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
    listed: Mapping[str, Any] | None,
    declared: Mapping[str, Any] | None,
    tool: str,
    is_quick: bool,
) -> Any:
    """Check a tool's `CallToolResult` and return its value.

    Args:
        result: The result.
        listed: The `outputSchema` of the tool that was called, or None.
        declared: The `outputSchema` that the catalog shows, or None.
        tool: The tool that was called.
        is_quick: Whether it is called on an event loop, and not in a thread.

    Raises:
        NeedsThreadError: It is to be quick, and the result is too large or too hard to check.
        ToolException: The result is an error, or not as it was declared, or has too many parts.
    """
    content = read_field(result, "content") or []
    structured = read_field(result, "structuredContent")
    # FastMCP repeats each item of a list as a part; where there is structure, the parts are not read.
    if structured is None:
        check_length(content)
    if is_quick and not (len(content) <= QUICK_BLOCKS and _is_small(structured)):
        raise NeedsThreadError
    if listed is not None and not read_field(result, "isError"):
        if structured is None and "structured_content" not in getattr(
            result, "model_fields_set", ()
        ):
            raise ToolException(f"{tool} has an output schema, and gave no structured content")
        check_structure(structured, listed, tool, is_quick=is_quick)
    return value_of(result, declared)


def _is_small(value: object) -> bool:
    """Whether there is little in a value of JSON, found out with little work."""
    left, waiting = QUICK_SIZE, [value]
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
    """Return arguments as JSON has them.

    A session that meets what it cannot write ends, and with it the calls of everybody else.

    Raises:
        ToolException: They cannot be written as JSON.
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

    The session's own `call_tool` would check the answer on the event loop: see `validation.py`.

    Raises:
        ToolException: The arguments cannot be sent.
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
    """Return the content of a tool's message with its images and files as models take them.

    Records hold bytes, for code; a message holds LangChain's content blocks, with base64.
    """
    if not isinstance(content, list):
        return content
    return [_as_block(item) if isinstance(item, dict) else item for item in content]


def _as_block(record: dict[str, Any]) -> dict[str, Any]:
    data = record.get("data")
    if record.get("type") != "image" or not isinstance(data, bytes):
        return record
    rest = {key: value for key, value in record.items() if key != "data"}
    return {**rest, "base64": base64.b64encode(data).decode()}


# --- the check of an answer -----------------------------------------------------------------------

# The schema is the server's, and so is the value: both may be made to be expensive. The `mcp` package
# checks on the event loop of the session, and evaluates patterns with `re`, which holds the interpreter.
# Here a check ends when its time is over, and patterns are evaluated in a process.

CHECK_SECONDS = 5.0
"""Processor time for the check of one answer, in a thread."""
QUICK_SECONDS = 0.02
"""The same on the event loop, where an answer is small."""
PATTERN_SECONDS = 1.0
"""Time for all the patterns that one answer is held against, process included."""
MAX_ROUNDS = 10
"""Times that an answer is checked anew with what is known of its patterns by then."""
MAX_MESSAGE_CHARS = 500
_SEARCH = """
import json, re, sys
def search(pattern, text):
    try:
        return re.search(pattern, text) is not None
    except re.error:  # another dialect
        return True
json.dump([search(*pair) for pair in json.load(sys.stdin)], sys.stdout)
"""


@dataclass(slots=True)
class _Check:
    """One check: the time that it has, and what it knows of patterns."""

    end: float
    is_quick: bool
    known: dict[tuple[str, str], bool] = field(default_factory=dict)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def search(self, pattern: object, text: str) -> bool:
        """Whether a pattern is found in a text; true until it is known."""
        if not isinstance(pattern, str):
            return True
        if (pattern, text) not in self.known:
            if self.is_quick:
                raise NeedsThreadError
            self.asked.add((pattern, text))
        return self.known.get((pattern, text), True)

    def spend(self) -> None:
        if time.thread_time() > self.end:
            if self.is_quick:
                raise NeedsThreadError
            raise ToolException(
                f"the server's answer could not be checked against its output schema in "
                f"{CHECK_SECONDS:g} seconds"
            )


_check: contextvars.ContextVar[_Check] = contextvars.ContextVar("ptc_mcp_check")


class NeedsThreadError(Exception):
    """A check takes longer than the event loop can wait for it."""


def check_structure(value: object, schema: Mapping[str, Any], tool: str, *, is_quick: bool) -> None:
    """Check the structured content of an answer against the tool's `outputSchema`.

    With `is_quick` it ends after `QUICK_SECONDS` and evaluates no patterns; else call it in a thread.

    Raises:
        NeedsThreadError: It is to be quick, and cannot be.
        ToolException: The value is not as the schema says, or that cannot be found out in time.
    """
    seconds = QUICK_SECONDS if is_quick else CHECK_SECONDS
    check = _Check(time.thread_time() + seconds, is_quick)
    for _ in range(MAX_ROUNDS):
        problem = _first_problem(value, schema, tool, check)
        if problem is not None:
            raise ToolException(f"{tool} gave what its output schema does not allow: {problem}")
        if not check.asked:
            return
        check.known.update(_search_all(sorted(check.asked), tool))
        check.asked.clear()
    raise ToolException(f"the output schema of {tool} has too many patterns to check its answer")


def _first_problem(
    value: object, schema: Mapping[str, Any], tool: str, check: _Check
) -> str | None:
    from jsonschema import validators
    from referencing import Registry

    base = validators.validator_for(schema, default=validators.Draft202012Validator)
    registry: Registry[Any] = Registry()  # references lead nowhere but into the schema itself
    token = _check.set(check)
    try:
        validator = _bounded(base)(schema, registry=registry)
        error = next(iter(validator.iter_errors(value)), None)
    except (ToolException, NeedsThreadError):
        raise
    except (Exception, RecursionError) as error:  # a schema may be anything
        raise ToolException(
            f"the output schema of {tool} cannot be used: {type(error).__name__}: "
            f"{str(error)[:MAX_MESSAGE_CHARS]}"
        ) from error
    finally:
        _check.reset(token)
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))[:MAX_MESSAGE_CHARS]
    return f"{error.message[:MAX_MESSAGE_CHARS]}{f' (at {place})' if place else ''}"


@functools.cache
def _bounded(base: Any) -> Any:
    """Return a class of validators whose keywords take the time and the patterns of the check."""
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
        "unevaluatedProperties": _unevaluated_properties(base.VALIDATORS),
    }
    kept = {name: own.get(name, function) for name, function in base.VALIDATORS.items()}
    return validators.extend(base, {name: _timed(function) for name, function in kept.items()})


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    def keyword(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _check.get().spend()
        yield from function(validator, rule, instance, schema) or ()

    return keyword


def _pattern(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _check.get().search(rule, instance):
        yield ValidationError(f"{instance!r} does not match {rule!r}")


def _pattern_properties(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in rule.items():
        for name, value in instance.items():
            if _check.get().search(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    search = _check.get().search
    for name, value in instance.items():
        if name in known or any(search(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError(f"{name!r} is not among the properties that it may have")
        elif validator.is_type(rule, "object"):
            yield from validator.descend(value, rule, path=name)


def _unique_items(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if rule and validator.is_type(instance, "array"):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("its items are not unique")


def _unevaluated_properties(validators: Mapping[str, Any]) -> Callable[..., Any]:
    function = validators.get("unevaluatedProperties")

    def keyword(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
        # It evaluates the patterns of the whole schema itself.
        if function is not None and "patternProperties" not in json.dumps(schema):
            yield from function(validator, rule, instance, schema) or ()

    return keyword


def _search_all(pairs: list[tuple[str, str]], tool: str) -> dict[tuple[str, str], bool]:
    """Search for patterns in texts, in a process that is killed when its time is over."""
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    try:
        done = subprocess.run(  # noqa: S603  # our own program; what is hostile is its input
            command,
            input=json.dumps(pairs).encode(),
            capture_output=True,
            timeout=PATTERN_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise ToolException(
            f"the patterns in the output schema of {tool} could not be checked in "
            f"{PATTERN_SECONDS:g} s"
        ) from error
    return dict(zip(pairs, found, strict=True))


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

    output_schema: dict[str, Any] | None
    """The server's `outputSchema`; None if there is none, or it cannot be had."""
    is_wrapped: bool
    """A wrapper is around the adapter's function (`functools.wraps`), and may change values."""
    description: str
    note: str
    """The description of the value, if it has no schema."""

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
    if tool.response_format != "content_and_artifact":
        return ToolPolicy()
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    declared = _find_declaration(inspect.unwrap(function)) if function else None
    return policy_of(declared, "never") if function else ToolPolicy()


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
