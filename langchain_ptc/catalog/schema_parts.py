"""The parts of a JSON Schema: where its references lead, what its keywords say, and how parts merge.

Pure. A merged schema accepts at least what all its parts accept together.

Source: https://json-schema.org/draft/2020-12/json-schema-core#section-8
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote, urldefrag, urljoin

from langchain_ptc.catalog.text import cut
from langchain_ptc.errors import CatalogError
from langchain_ptc.locks import cached_property

Schema: TypeAlias = Mapping[str, Any]

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
"""Keywords whose value is a reference."""
MAX_REFERENCE_CHARS = 120
"""Length of a reference or a place in a message."""


def reference_of(schema: Schema) -> str | None:
    """Return what `schema` refers to, or None."""
    for keyword in REFERENCES:
        if isinstance(schema.get(keyword), str):
            return str(schema[keyword])
    return None


def escape(name: str) -> str:
    """Return `name` as one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


class Resolver:
    """Follows the references of one document."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolve(self, reference: str, *, where: str = "#") -> object:
        """Return the schema that `reference` names, or `True` (anything) if it names nothing.

        Raises:
            CatalogError: It leads out of the document; the message says that it is at `where`.
        """
        try:
            url, fragment = urldefrag(reference)
            whole = urljoin(self._base, url) if url else ""
        except ValueError:  # no address at all
            url, fragment, whole = reference, "", reference
        resource = self._resources.get(whole, self._resources.get(url)) if url else self._root
        if resource is None:
            raise CatalogError(
                f"at {cut(where, MAX_REFERENCE_CHARS)} it refers to {cut(reference, MAX_REFERENCE_CHARS)!r}, which is outside of it; put that "
                "definition under '$defs' of the same schema and refer to it as '#/$defs/<name>'"
            )
        if fragment.startswith("/"):
            return _follow(resource, fragment)
        return self._anchors.get(fragment, True) if fragment else resource

    @cached_property
    def _base(self) -> str:
        return _identity(self._root) or ""

    @cached_property
    def _resources(self) -> dict[str, Schema]:
        """The schemas that have an address of their own, by it; the root has the empty one too."""
        found = {"": self._root}
        for part in _subschemas(self._root):
            own = _identity(part)
            if own is not None:
                found.setdefault(urldefrag(own)[0], part)
                found.setdefault(urldefrag(urljoin(self._base, own))[0], part)
        return found

    @cached_property
    def _anchors(self) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        for part in _subschemas(self._root):
            own = part.get("$id", part.get("id"))
            old = own[1:] if isinstance(own, str) and own.startswith("#") else None  # draft 7
            for name in (part.get("$anchor"), part.get("$dynamicAnchor"), old):
                if isinstance(name, str):
                    found.setdefault(name, part)
        return found


def _identity(schema: Schema) -> str | None:
    """Return the address of a schema. A property may be called `id`: only text is an address."""
    own = schema.get("$id", schema.get("id"))
    try:
        return own if isinstance(own, str) and own and urljoin("", own) else None
    except ValueError:
        return None


def _follow(resource: Schema, pointer: str) -> object:
    found: object = resource
    for step in pointer[1:].split("/"):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and len(key) < 9 and int(key) < len(found):
            found = found[int(key)]
        else:
            return True
    return found


def _subschemas(schema: object) -> Iterator[Schema]:
    stack = [schema]
    seen: set[int] = set()
    while stack:
        found = stack.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Mapping):
            yield found
            stack.extend(reversed([*found.values()]))
        elif isinstance(found, list):
            stack.extend(reversed(found))


# --- keywords -----------------------------------------------------------------------------------

SAYS_NO_TYPE = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "$comment"),
        *("readOnly", "writeOnly", "required", "not", "if", "then", "else", "dependentRequired"),
        *(
            "$defs",
            "definitions",
            "$id",
            "id",
            "$schema",
            "$anchor",
            "$dynamicAnchor",
            "$vocabulary",
        ),
        *("minProperties", "maxProperties", "unevaluatedProperties", "propertyNames", "nullable"),
        *("externalDocs", "xml", "$recursiveAnchor", "unevaluatedItems", "discriminator"),
    }
)
"""Keywords that leave the type as it is."""
MAX_SHOWN_CHARS = 60
"""Length of a pattern or a format that is shown; a longer one is left out."""
_MAX_SHOWN_NUMBER = 10**30


def says_no_type(schema: object) -> bool:
    """Return whether a schema leaves the type of its values as it is."""
    return isinstance(schema, Mapping) and all(keyword in SAYS_NO_TYPE for keyword in schema)


def bare_reference(schema: Schema) -> str | None:
    """Return the reference that stands alone in `schema`, bare or as the only part of an `allOf`."""
    parts = schema.get("allOf")
    alone = isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping)
    inner: Schema = parts[0] if alone and isinstance(parts, list) else schema
    beside = {**schema, **inner} if alone else schema
    own = {k: v for k, v in beside.items() if k not in (*REFERENCES, "allOf")}
    return reference_of(inner) if says_no_type(own) else None


def is_definition(path: str) -> bool:
    """Whether a schema stands alone: elsewhere its description is that of the field it is in."""
    return path.rpartition("/")[0].endswith(("/$defs", "/definitions", "/schemas"))


def guess_type(schema: Schema) -> str | None:
    """Return the type that a schema without `type` means: authors leave out what seems obvious."""
    if isinstance(schema.get("properties"), Mapping):
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if isinstance(schema.get("patternProperties"), Mapping):
        return "object"
    return None


_BOUNDS = {
    "minimum": ">= {}",
    "maximum": "<= {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
}
_SAID_BY_TYPES = frozenset({"int32", "int64", "uint32", "uint64", "float", "double"})
"""Formats that say nothing to Python."""


def constraints(schema: Schema) -> list[str]:
    """Return what `schema` demands beyond a type, in words."""
    found = []
    for keyword, template in _BOUNDS.items():
        value = schema.get(keyword)
        if is_shown_number(value):
            strict = schema.get(f"exclusive{keyword.capitalize()}") is True  # draft 4
            found.append(template.replace("=", "" if strict else "=").format(value))
    for keyword in ("format", "pattern"):
        value = schema.get(keyword)
        if _is_short(value) and value not in _SAID_BY_TYPES:
            found.append(f"{keyword} {value}")
    encoding = schema.get("contentEncoding")
    if _is_short(encoding):
        found.append(str(encoding))
    if schema.get("uniqueItems") is True:
        found.append("no item twice")
    names = schema.get("propertyNames")
    if isinstance(names, Mapping) and _is_short(names.get("pattern")):
        found.append(f"keys of pattern {names['pattern']}")
    return [*found, *_excluded(schema.get("not"))]


def _excluded(schema: object) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(values, list) or not 0 < len(values) <= 5:
        return []
    plain = all(value is None or is_shown_number(value) or _is_short(value) for value in values)
    return [f"not {' or '.join(map(repr, values))}"] if plain else []


def is_shown_number(value: object) -> bool:
    """Whether `value` is a number that can be shown; Python does not print very long integers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or -_MAX_SHOWN_NUMBER < value < _MAX_SHOWN_NUMBER


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_SHOWN_CHARS


def text(schema: Mapping[str, Any], keyword: str) -> str:
    """Return the value of `keyword` if it is text, otherwise an empty string."""
    value = schema.get(keyword)
    return value if isinstance(value, str) else ""


# --- several schemas that hold at once ----------------------------------------------------------

MAX_COMPARED = 1_000
"""Values of an `enum` that are compared with those of another one."""


def merge_all(parts: Sequence[Schema]) -> Schema:
    """Return one schema for the `parts` of an `allOf`."""
    merged: dict[str, Any] = {}
    for part in parts:
        for keyword, value in part.items():
            if keyword not in merged:
                merged[keyword] = value
            else:
                merged[keyword] = _MERGE.get(keyword, _keep_first)(merged[keyword], value)
    return merged


def conditional_properties(schema: Schema) -> dict[str, Any]:
    """Return the properties that a schema has only under some condition, which types cannot say."""
    parts: list[object] = [schema.get("then"), schema.get("else")]
    for keyword in ("dependentSchemas", "dependencies"):
        dependent = schema.get(keyword)
        parts.extend(dependent.values() if isinstance(dependent, Mapping) else ())
    found: dict[str, Any] = {}
    for part in parts:
        properties = part.get("properties") if isinstance(part, Mapping) else None
        for name, value in properties.items() if isinstance(properties, Mapping) else ():
            known = found.get(name)
            found[name] = value if known is None else {"anyOf": [known, value]}
    return found


def _keep_first(first: Any, _: Any) -> Any:
    return first


def _merge_properties(first: Any, second: Any) -> Any:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return first
    both = {
        name: {"allOf": [first[name], second[name]]}
        for name in first
        if name in second and not _is_same(first[name], second[name])
    }
    return {**first, **second, **both}


def _is_same(first: object, second: object) -> bool:
    try:
        return first == second
    except RecursionError:  # nested deeper than Python compares, or cyclic
        return first is second


def _merge_required(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    names = [name for name in (*first, *second) if isinstance(name, str)]
    return list(dict.fromkeys(names))


def _merge_types(first: Any, second: Any) -> Any:
    left = first if isinstance(first, list) else [first]
    right = second if isinstance(second, list) else [second]
    wide = [*right, *(["integer"] if "number" in right else [])]
    common = [t for t in left if t in wide] or [t for t in right if t == "integer"]
    return (common[0] if len(common) == 1 else common) if common else first


def _merge_values(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    if max(len(first), len(second)) > MAX_COMPARED:
        return first
    return [value for value in first if any(_is_same(value, other) for other in second)] or first


def _merge_extra(first: Any, second: Any) -> Any:
    """Join `additionalProperties`: a part that forbids them forbids only what it does not name."""
    return second if first is False or first is True else first


_MERGE: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _merge_properties,
    "required": _merge_required,
    "type": _merge_types,
    "enum": _merge_values,
    "additionalProperties": _merge_extra,
}
