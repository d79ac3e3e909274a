"""The messages in an agent's schemas, as what a person would say of them.

LangChain's schema of one message is a union of twelve classes and 20,000 characters. To code a
message is a small dict; what graphs accept and what they give is written down here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

_CONTENT = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
    "description": "Text, or a list of content blocks.",
}
_TOOL_CALL = {
    "type": "object",
    "title": "MessageToolCall",
    "properties": {
        "name": {"type": "string"},
        "args": {"type": "object"},
        "id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name", "args", "id"],
}
NEW_MESSAGE: Mapping[str, Any] = {
    "title": "NewMessage",
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "system"]},
        "content": _CONTENT,
    },
    "required": ["role", "content"],
}
MESSAGE: Mapping[str, Any] = {
    "title": "Message",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "`human`, `ai`, `tool`, `system` or another."},
        "content": _CONTENT,
        "name": {"type": "string"},
        "id": {"type": "string"},
        "tool_calls": {"type": "array", "items": _TOOL_CALL},
        "tool_call_id": {"type": "string"},
        "status": {"type": "string"},
    },
    "required": ["type", "content"],
}
MESSAGE_MARKS = frozenset({"content", "additional_kwargs", "response_metadata", "type"})
"""Fields that every class of messages has, and hardly anything else."""


def show_messages(
    schema: Mapping[str, Any], direction: Literal["input", "output"]
) -> dict[str, Any]:
    """Return `schema` with one small record in place of LangChain's classes of messages.

    A graph takes new messages, and those that a graph gave.

    Args:
        schema: A JSON Schema with its definitions under `$defs` or `definitions`.
        direction: Whether it is of what a graph takes or of what it gives.
    """
    keyword = "$defs" if "$defs" in schema else "definitions"
    definitions = schema.get(keyword)
    if not isinstance(definitions, Mapping):
        return dict(schema)
    prefix = f"#/{keyword}/"
    classes = {f"{prefix}{name}" for name, part in definitions.items() if _is_message(part)}
    if not classes:
        return dict(schema)
    rest = {key: part for key, part in definitions.items() if f"{prefix}{key}" not in classes}
    message = _add(rest, MESSAGE, prefix)
    if direction == "input":
        both = [{"$ref": _add(rest, NEW_MESSAGE, prefix)}, {"$ref": message}]
        message = _add(rest, {"title": "AnyMessage", "anyOf": both}, prefix)
    made = _rewrite({k: v for k, v in schema.items() if k != keyword}, classes, message)
    rest = {key: _rewrite(part, classes, message) for key, part in rest.items()}
    used = _reached(made, rest, prefix)
    return {**made, keyword: {key: part for key, part in rest.items() if key in used}}


def _add(definitions: dict[str, Any], part: Mapping[str, Any], prefix: str) -> str:
    """Add a definition under a name that is free, and return the reference to it."""
    name = part["title"]
    while name in definitions:
        name += "_"
    definitions[name] = part
    return f"{prefix}{name}"


def _is_message(part: object) -> bool:
    properties = part.get("properties") if isinstance(part, Mapping) else None
    return isinstance(properties, Mapping) and set(properties) >= MESSAGE_MARKS


def _rewrite(part: Any, classes: set[str], message: str) -> Any:
    """Return a part of a schema with the classes of messages replaced by a reference to `message`."""
    if isinstance(part, list):
        return [_rewrite(item, classes, message) for item in part]
    if not isinstance(part, Mapping):
        return part
    if part.get("$ref") in classes:
        return {**{k: v for k, v in part.items() if k == "description"}, "$ref": message}
    made = {key: _rewrite(value, classes, message) for key, value in part.items()}
    for keyword in ("oneOf", "anyOf"):
        branches = made.get(keyword)
        if isinstance(branches, list) and {"$ref": message} in branches:
            kept = [b for n, b in enumerate(branches) if b not in branches[:n]]
            made.pop("discriminator", None)
            made[keyword] = kept
            if len(kept) == 1:
                made = {**{k: v for k, v in made.items() if k != keyword}, **kept[0]}
    return made


def _reached(schema: object, definitions: Mapping[str, Any], prefix: str) -> set[str]:
    """Return the names of the definitions that `schema` reaches."""
    reached: set[str] = set()
    queue = list(_references(schema))
    for reference in queue:
        name = reference.removeprefix(prefix)
        if name not in reached and name in definitions:
            reached.add(name)
            queue.extend(_references(definitions[name]))
    return reached


def _references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)
