"""Check the sets, and the keys of dicts, that a tool's schema would build, before pydantic builds them.

Items of equal hash are compared with each other, which is quadratic, in one call of C code. The hash of
an item is known only when the item exists, since a schema builds tuples, records and numbers of what
code sends, and a record may define its own hash. So each set of a schema is first built as a list.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from langchain_core.tools import ToolException
from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator

from langchain_ptc.sandbox.wire.bounded import MAX_COMPARISONS

_MAX_UNCHECKED = 16
"""With at most this many items, a set is always cheap."""
_CHARS_COMPARED = 8
"""Characters of an item that are compared in the time of two small numbers."""
_DATA = frozenset({"cls", "config", "default", "expected", "function", "metadata", "serialization"})
"""Keys of a schema that contain no schemas."""
_NAMED = frozenset({"fields", "choices"})
"""Keys that contain schemas by names of the user's."""


class TooManyOfOneHash(ToolException):
    """A set takes too long to build; not a `ValueError`, which pydantic would catch."""


def check_sets(model: type[BaseModel], passed: Mapping[str, Any]) -> None:
    """Refuse arguments from which a schema would build a set, or a dict, that takes too long.

    Args:
        model: The schema.
        passed: The arguments.

    Raises:
        TooManyOfOneHash: They are such.
        Exception: What a validator of the schema raised, but for its refusals.
    """
    validator = set_validator(model)
    if validator is not None:
        with contextlib.suppress(ValidationError):  # which the schema itself reports better
            validator.validate_python(dict(passed))


@functools.lru_cache(maxsize=256)
def set_validator(model: type[BaseModel]) -> SchemaValidator | None:
    """Return what checks the sets of a schema; None for a schema that builds none of its arguments."""
    model.model_rebuild()  # where it was put off
    schemas = _Schemas()
    checked = schemas.with_checks(model.__pydantic_core_schema__)
    return SchemaValidator(checked, _use_prebuilt=False) if schemas.has_checks else None


class _Schemas:
    """Changes the schemas of pydantic's core."""

    has_checks = False

    def with_checks(self, schema: Any) -> Any:
        """Return a schema that checks the items of each set, and the keys of each dict, first."""
        if isinstance(schema, list | tuple):
            return type(schema)(map(self.with_checks, schema))
        if not isinstance(schema, dict):
            return schema
        inner = {key: self._inside(key, value) for key, value in schema.items()}
        items = inner.get("keys_schema")
        if schema.get("type") in ("set", "frozenset"):
            items = inner.get("items_schema", {"type": "any"})
        if items is None or items["type"] == "str":  # whose hashes nobody can predict
            return inner
        self.has_checks = True
        each = {"type": "default", "schema": items, "default": None, "on_error": "default"}
        check = {
            "type": "function-wrap",
            "function": {"type": "no-info", "function": _check},
            "schema": {"type": "list", "items_schema": each, "strict": False},
        }
        named = {"ref": inner.pop("ref")} if "ref" in inner else {}
        return {"type": "chain", "steps": [check, inner], **named}

    def _inside(self, key: str, value: Any) -> Any:
        if key in _NAMED and isinstance(value, dict):
            return {name: self.with_checks(schema) for name, schema in value.items()}
        return value if key in _DATA else self.with_checks(value)


def _check(given: Any, validate: Callable[[list[Any]], list[Any]]) -> Any:
    """Check what a set, or a dict, is made of; return it as it is."""
    if (
        isinstance(given, Collection)
        and len(given) > _MAX_UNCHECKED
        and not isinstance(given, str | bytes)
    ):
        raw = [*given]
        _check_hashes(raw, validate(raw))
    return given


def _check_hashes(raw: list[Any], items: list[Any]) -> None:
    """Refuse items too many of which differ and have one hash.

    Args:
        raw: What each was built of; its text shows how long a comparison takes.
        items: The items of a set.

    Raises:
        TooManyOfOneHash: They are too many.
    """
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        with contextlib.suppress(TypeError):  # no hash: it comes into no set
            groups[hash(item)].append(place)
    left = MAX_COMPARISONS
    for places in groups.values():
        distinct: list[Any] = []
        for place in places:
            if len(distinct) > 1:
                left -= len(distinct) * (4 + len(repr(raw[place])) // _CHARS_COMPARED)
                if left < 0:
                    raise TooManyOfOneHash(
                        "a set, or the keys of a dict, of which too many items have one hash; "
                        "send fewer"
                    )
            if items[place] not in distinct:
                distinct.append(items[place])
