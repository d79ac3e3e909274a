"""Calls that models write as text: JSON, and the markup that families of models were trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CODE_KEY = "code"
"""Name of the argument of the tool that runs code."""

_NAME_KEYS = ("name", "tool", "tool_name", "function_name", "action", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input", "action_input")
_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^<>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_FUNCTION_ARGUMENT = re.compile(
    r"<parameter=([^<>\n]+)>\n?(.*?)\n?(?:</parameter>\s*(?=<parameter=|\Z)|(?=<parameter=)|\Z)",
    re.DOTALL,
)
_SPACE = "(?:\\w+:|\uff5cDSML\uff5c)?"
"""The namespace of a tag: Anthropic's models sometimes write one, DeepSeek's always."""
_INVOKE = re.compile(
    rf"<{_SPACE}invoke\s+name=\"([^\"\n]+)\"\s*>(.*?)(?:</{_SPACE}invoke>|\Z)", re.DOTALL
)
_INVOKE_ARGUMENT = re.compile(
    rf"<{_SPACE}parameter\s+name=\"([^\"\n]+)\"[^<>\n]*>\n?(.*?)\n?"
    rf"(?:</{_SPACE}parameter>\s*(?=<{_SPACE}parameter\s|\Z)|\Z)",
    re.DOTALL,
)
_KEY_VALUE = re.compile(
    r"<arg_key>([^<>]*)</arg_key>\s*<arg_value>\n?(.*?)\n?(?:</arg_value>|\Z)", re.DOTALL
)
_PYTHON_TAG = re.compile(r"<\|python_tag\|>(?!\s*[{\[])(.*?)(?:<\|eo[mt]_id\|>|\Z)", re.DOTALL)
"""Llama's code for its built-in interpreter; JSON after the tag is a call."""
_DEEPSEEK = re.compile(
    "<\uff5ctool\u2581call\u2581begin\uff5c>(?:function<\uff5ctool\u2581sep\uff5c>)?([^\\s<>]+)"
    "(?:<\uff5ctool\u2581sep\uff5c>)?(.*?)(?:<\uff5ctool\u2581call\u2581end\uff5c>|\\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as the model wrote it; its arguments are a text if they are not valid JSON."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None
    position: int = 0


def read_arguments(arguments: str) -> Mapping[str, Any] | str:
    """Return the arguments in the JSON of a text; the text itself if it is not a JSON object."""
    parsed = load_json(arguments)
    return parsed if isinstance(parsed, dict) else arguments


def calls_in(data: Any) -> Iterator[WrittenCall]:
    """Return the calls in JSON data, in any of the shapes that models write."""
    if isinstance(data, list):
        for item in data:
            yield from calls_in(item)
    if not isinstance(data, dict):
        return
    if isinstance(data.get("tool_calls"), list):
        yield from calls_in(data["tool_calls"])
        return
    inner = data["function"] if isinstance(data.get("function"), dict) else data
    name = next((inner[key] for key in _NAME_KEYS if isinstance(inner.get(key), str)), None)
    if name is None and isinstance(inner.get("function"), str):
        name = inner["function"]
    if name is None:
        return
    given = next((inner[key] for key in _ARGUMENT_KEYS if key in inner), None)
    if given is None and CODE_KEY in inner:
        given = {CODE_KEY: inner[CODE_KEY]}
    if given is None:  # it has a name, but is not a call
        return
    if isinstance(given, str):
        parsed = load_json(given)
        given = parsed if isinstance(parsed, dict) else {"code": given}
    yield WrittenCall(name, given if isinstance(given, dict) else {})


def markup_calls(text: str) -> Iterator[WrittenCall]:
    """Find the calls that are written in the markup of a family of models, in order."""
    found: list[WrittenCall] = []
    for pattern, argument in ((_FUNCTION, _FUNCTION_ARGUMENT), (_INVOKE, _INVOKE_ARGUMENT)):
        for match in pattern.finditer(text):
            body = match[2].strip()
            arguments: Mapping[str, Any] | str = {
                m[1].strip(): m[2] for m in argument.finditer(body)
            }
            if not arguments and body:
                arguments = read_arguments(body)
            found.append(WrittenCall(match[1].strip(), arguments, None, match.start()))
    for match in _DEEPSEEK.finditer(text):
        body = re.sub(r"\A```\w*\n|\n?```\Z", "", match[2].strip())
        found.append(WrittenCall(match[1], read_arguments(body), None, match.start()))
    found += [
        WrittenCall("ipython", {CODE_KEY: match[1].strip()}, None, match.start())
        for match in _PYTHON_TAG.finditer(text)
    ]
    if not found:
        for match in _HERMES.finditer(text):
            found += _hermes_calls(match[1].strip(), match.start())
    yield from sorted(found, key=lambda call: call.position)


def _hermes_calls(body: str, position: int) -> Iterator[WrittenCall]:
    """Read the content of `<tool_call>`: JSON, or GLM's name and pairs of tags."""
    pairs = {m[1].strip(): m[2] for m in _KEY_VALUE.finditer(body)}
    if pairs:
        yield WrittenCall(body.partition("<")[0].strip(), pairs, None, position)
        return
    data = load_json(body)
    for call in calls_in(data):
        yield WrittenCall(call.name, call.arguments, None, position)
    if data is None and (named := re.search(r"\"name\"\s*:\s*\"([^\"\n]+)\"", body)):
        yield WrittenCall(named[1], body, None, position)


def load_json(text: str) -> Any:
    """Return the value of a JSON text; None if it is not valid JSON."""
    try:
        return json.loads(text, strict=False)  # models write raw line breaks in strings
    except (ValueError, RecursionError):
        return None


def decode_prefix(text: str) -> Any:
    """Return the JSON value at the start of a text; None if there is none."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
