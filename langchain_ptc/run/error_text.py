"""The text in which code sees an exception of the host: as much as the developer allows."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from langchain_core.tools import ToolException
from pydantic import ValidationError

from langchain_ptc.catalog.mcp.results import describe_error
from langchain_ptc.run.redaction import REDACTED, hide_named, is_secret

OnToolError: TypeAlias = Literal["message", "type", "hide"]
"""What code sees when a tool raises: the exception's class and text, its class, or only that the tool
failed. The text of a `ToolException` is written for the model: it is shown without its class, and
hidden only by `hide`."""

_KEY_OF_INTERRUPT = "__pregel_scratchpad"
"""What LangGraph's `interrupt` raises as a KeyError outside a graph."""
MAX_ERROR_CHARS = 2_000
_MAX_PROBLEMS = 10
_MAX_INPUT_CHARS = 200


def describe_failure(
    name: str, error: BaseException, on_tool_error: OnToolError, *, is_reached: bool = True
) -> str:
    """Describe the failure of a tool.

    Args:
        name: What the code calls it.
        error: What it raised.
        on_tool_error: How much to show.
        is_reached: Whether the tool's own code has begun: what is wrong with the arguments that the
            code passed is not a secret to it.
    """
    if isinstance(error, ValidationError) and not is_reached:
        return f"{name} failed: {_describe_arguments(error)}"
    if on_tool_error == "hide":
        return f"{name} failed"
    text = _text_of(error)
    if isinstance(error, ToolException):
        return f"{name} failed: {text}" if text else f"{name} failed"
    if type(error) is KeyError and error.args == (_KEY_OF_INTERRUPT,):
        return f"{name} failed: it asks a person by interrupt(), and this code runs in no graph"
    kind = type(error).__name__
    if on_tool_error == "type" or not text:
        return f"{name} failed: {kind}"
    return f"{name} failed: {kind}: {text}"


def describe_message(name: str, content: object, on_tool_error: OnToolError) -> str:
    """Describe an error message with which a tool, or a middleware before it, has answered."""
    if on_tool_error == "hide":
        return f"{name} failed"
    return f"{name} failed: {describe_error(content)}"


def cut(text: str, limit: int = MAX_ERROR_CHARS) -> str:
    """Cut a text that is too long, and say how much is cut."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} characters cut]"


def _text_of(error: BaseException) -> str:
    """Return the text of an exception; of a group, also what the exceptions in it say."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the tool's own exception may raise anything
        return ""
    if not isinstance(error, BaseExceptionGroup):
        return text
    leaves: list[str] = []
    groups: list[BaseExceptionGroup[Any]] = [error]
    while groups and len(leaves) < _MAX_PROBLEMS:
        for inner in groups.pop().exceptions:
            if isinstance(inner, BaseExceptionGroup):
                groups.append(inner)
            else:
                leaves.append(f"{type(inner).__name__}: {_text_of(inner)}")
    return f"{text}: {'; '.join(leaves[:_MAX_PROBLEMS])}"


def _describe_arguments(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False)[:_MAX_PROBLEMS]:
        place = ".".join(map(str, problem["loc"])) or "arguments"
        value = problem["input"]
        if any(is_secret(name, value) for name in problem["loc"]):
            value = REDACTED
        given = cut(repr(hide_named(value)), _MAX_INPUT_CHARS)
        parts.append(f"{place}: {problem['msg']} (got {given})")
    return "bad arguments: " + "; ".join(parts)
