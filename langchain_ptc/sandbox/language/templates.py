"""`str.format` reads attributes by names in its text: those are checked here.

Source: CVE-2023-41039 (`format`, `format_map`), CVE-2026-76825 (`string.Formatter`).
"""

from __future__ import annotations

import string
import types
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.wire.values import DICT_METHODS, read_attribute


@lru_cache(maxsize=512)
def check_template(template: str) -> bool:
    """Check that no replacement field of a format string reads a refused attribute.

    Returns:
        Whether one reads an attribute that is the field of a record, where a dict has a method of
        that name.

    Raises:
        AttributeError: One reads a refused attribute.
    """
    try:
        fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template)]
    except ValueError:
        return False  # str.format raises the same, with the same words
    reads_fields = False
    for field, spec in fields:
        if field and ("." in field or "[" in field):
            first, steps = split_field(field)
            for is_attribute, name in steps:
                check_step(is_attribute, name)
                # Before Python 3.14 only `str.format` itself numbers a field like `{.name}`.
                reads_fields |= is_attribute and name in DICT_METHODS and first != ""
        if spec and "{" in spec:
            reads_fields |= check_template(spec)
    return reads_fields


def check_step(is_attribute: bool, name: object) -> None:
    """Check one `.name` or `[name]` of a replacement field.

    Raises:
        AttributeError: It reads a refused attribute.
    """
    if is_attribute and (
        type(name) is not str
        or name.startswith("_")
        or names.is_refused(name)
        or name in names.GUARDED_NAMES
    ):
        raise AttributeError(
            f"attribute {name!r} is not available in a format string; use an f-string"
        )


def split_field(field: str) -> tuple[object, Iterable[tuple[bool, object]]]:
    """Split `a.b[c]` into `a` and its steps, as `str.format` does."""
    import _string  # type: ignore[import-not-found]  # what the string module itself uses

    first, rest = _string.formatter_field_name_split(field)
    return first, list(rest)


def _get_field(
    self: string.Formatter, field_name: str, args: Any, kwargs: Any
) -> tuple[object, object]:
    """Do what `string.Formatter.get_field` does, for attributes that code may read."""
    first, rest = split_field(field_name)
    value: Any = self.get_value(cast("int | str", first), args, kwargs)
    for is_attribute, name in rest:
        check_step(is_attribute, name)
        value = read_attribute(value, cast("str", name)) if is_attribute else value[name]
    return value, first


def _build_formatter() -> type[string.Formatter]:
    """Copy `string.Formatter` with the `get_field` above."""
    parts = {n: v for n, v in vars(string.Formatter).items() if type(v) is types.FunctionType}
    return cast(
        "type[string.Formatter]",
        type("Formatter", (), {**parts, "get_field": _get_field, "__module__": "string"}),
    )


FORMATTER = _build_formatter()
"""`string.Formatter` of the code."""


def checked_format(name: str, value: object) -> object:
    """Return `value`, or what does the same with its template checked if it is `str.format`."""
    if type(value) is types.BuiltinMethodType and issubclass(type(value.__self__), str):
        template = str.__str__(value.__self__)
        return lambda *args, **kwargs: _format_checked(template, name, args, kwargs)
    if type(value) is types.MethodDescriptorType and issubclass(value.__objclass__, str):

        def unbound(template: str, /, *args: object, **kwargs: object) -> str:
            if not issubclass(type(template), str):
                raise TypeError(f"descriptor {name!r} requires a 'str' object")
            return _format_checked(template, name, args, kwargs)

        return unbound
    return value


def _format_checked(
    template: str, name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    """Do what `str.format` or `str.format_map` does, for a template that reads nothing refused.

    Raises:
        AttributeError: The template reads a refused attribute.
    """
    text = str.__str__(template)  # whatever a class of the code makes of it
    if check_template(text):
        values = cast("Mapping[str, object]", args[0]) if name == "format_map" else kwargs
        return FORMATTER().vformat(text, () if name == "format_map" else args, values)
    return cast("str", getattr(text, name)(*args, **kwargs))
