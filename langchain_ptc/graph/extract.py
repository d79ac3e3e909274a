"""Find the code in a model's answer: a tool call, a fenced block, or the JSON of a call as text.

Small models cannot call tools, but write blocks; some write the call itself as text. All of these
say the same.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from langchain_core.messages import AIMessage

Protocol = Literal["auto", "tool", "text"]

_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON_NAMES = frozenset({"", "python", "py", "python3", "tool_code", "repl"})
_CODE_KEYS = ("code", "program", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCall:
    """One program that the model wants to run."""

    id: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's answer, taken apart."""

    calls: tuple[CodeCall, ...]
    """The programs in it; empty if it is prose."""
    message: AIMessage
    """The answer as a message whose tool calls are exactly these programs."""


def extract_code(reply: AIMessage, *, tool_name: str, protocol: Protocol) -> Answer:
    """Take a model's answer apart."""
    if protocol != "text":
        calls = _from_tool_calls(reply, tool_name)
        if calls:
            return Answer(calls=calls, message=_with_calls(reply, calls, tool_name))
    if protocol == "tool":
        return Answer(calls=(), message=reply)
    text = reply.text
    code, prose = _from_text(text, tool_name)
    if code is None:
        return Answer(calls=(), message=reply)
    calls = (CodeCall(id=f"call_{uuid4().hex[:24]}", code=code),)
    return Answer(
        calls=calls,
        message=_with_calls(reply.model_copy(update={"content": prose}), calls, tool_name),
    )


def _with_calls(reply: AIMessage, calls: tuple[CodeCall, ...], tool_name: str) -> AIMessage:
    return reply.model_copy(
        update={
            "tool_calls": [
                {"name": tool_name, "args": {"code": c.code}, "id": c.id, "type": "tool_call"}
                for c in calls
            ],
            "invalid_tool_calls": [],
        }
    )


def _from_tool_calls(reply: AIMessage, tool_name: str) -> tuple[CodeCall, ...]:
    found = []
    for call in reply.tool_calls:
        code = _code_in(call["args"])
        if call["name"] == tool_name and code is not None:
            found.append(CodeCall(id=call["id"] or f"call_{uuid4().hex[:24]}", code=code))
    for broken in reply.invalid_tool_calls:
        if broken["name"] == tool_name and broken["args"]:
            code = _code_in(_loads(broken["args"])) or broken["args"]
            found.append(CodeCall(id=broken["id"] or f"call_{uuid4().hex[:24]}", code=code))
    return tuple(found)


def _from_text(text: str, tool_name: str) -> tuple[str | None, str]:
    """Return the code and what was written around it."""
    blocks = list(_FENCE.finditer(text))
    programs = [b for b in blocks if b[2].lower() in _PYTHON_NAMES and not _called(b[3], tool_name)]
    if programs:
        prose = text
        for block in programs:
            prose = prose.replace(block[0], "")
        return "\n\n".join(block[3].strip("\n") for block in programs), prose.strip()
    for candidate in [*(block[3] for block in blocks), text]:
        code = _called(candidate, tool_name)
        if code is not None:
            return code, ""
    return (text, "") if _is_program(text) else (None, text)


def _called(text: str, tool_name: str) -> str | None:
    """Return the code of a tool call that is written as JSON text."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    told = _loads(text[start : end + 1])
    if not isinstance(told, dict):
        return None
    inner = told.get("function", told)
    if not isinstance(inner, dict):
        return None
    name = inner.get("name", tool_name)
    arguments = inner.get("arguments", inner.get("parameters", inner.get("args", inner)))
    if isinstance(arguments, str):
        arguments = _loads(arguments) or {"code": arguments}
    if name != tool_name and "name" in inner and _code_in(arguments) is None:
        return None
    return _code_in(arguments)


def _code_in(arguments: Any) -> str | None:
    if not isinstance(arguments, dict):
        return None
    for key in _CODE_KEYS:
        code = arguments.get(key)
        if isinstance(code, str) and code.strip():
            return code
    return None


def _loads(text: str) -> Any:
    try:
        return json.loads(text, strict=False)  # models put real line breaks into strings
    except ValueError:
        return None


def _is_program(text: str) -> bool:
    """Whether a text is Python that does something, and so no prose."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    doing = (ast.Assign, ast.Call, ast.Import, ast.ImportFrom, ast.For, ast.FunctionDef)
    return any(isinstance(node, doing) for node in ast.walk(tree))
