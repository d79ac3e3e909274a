"""JSON Schema (draft 4 to 2020-12, and what OpenAPI and careless authors make of it) -> type trees.

Pure. What a schema says beyond a type tree is dropped or kept as a note: the type is then wider than
the schema, never narrower. Source: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from langchain_ptc.catalog.names import to_class_name
from langchain_ptc.catalog.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    MAX_DEPTH,
    NONE,
    STR,
    Record,
    RecordField,
    RecordRef,
    RecordTable,
    TypeTree,
    choice,
    container,
    union,
    widened,
)
from langchain_ptc.errors import CatalogError

Schema = Mapping[str, Any]

_SCALARS = {
    "string": STR,
    "integer": INT,
    "number": FLOAT,
    "boolean": BOOL,
    "null": NONE,
    # what authors who think in Python write
    "str": STR,
    "int": INT,
    "float": FLOAT,
    "double": FLOAT,
    "bool": BOOL,
    "none": NONE,
}
MAX_TITLE_CHARS = 40
"""A longer title is a sentence, not a name."""
MAX_SCHEMAS = 20_000
"""Schemas that are read in one document; one that refers to itself in many ways has no end."""
_ARRAYS = frozenset({"array", "list", "tuple", "set"})
_OBJECTS = frozenset({"object", "dict", "map"})
_SAYS_NO_TYPE = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "$comment"),
        *("readOnly", "writeOnly", "required", "not", "if", "then", "else", "dependentRequired"),
        *("$defs", "definitions", "$id", "id", "$schema", "$anchor", "minProperties", "nullable"),
        *("maxProperties", "unevaluatedProperties", "propertyNames", "externalDocs", "xml"),
    }
)
"""Keywords that leave the type as it is."""


class SchemaReader:
    """Reads the schemas of one document into one table of records.

    Args:
        root: The whole document; references are resolved in it.
        table: Takes the records.
        scope: Put in front of the records' keys, so that several documents share a table.
    """

    def __init__(self, root: Schema, table: RecordTable, *, scope: str = "") -> None:
        self._root = root
        self._table = table
        self._scope = scope
        self._open: set[str] = set()
        """References that are being read: one that meets itself has no record to end at."""
        self._known: dict[str, TypeTree] = {}
        """Types of references that were read."""
        self._count = 0

    def read(self, schema: object, *, name: str, path: str, depth: int = 0) -> TypeTree:
        """Return the type of the values that `schema` accepts, or a wider one.

        Args:
            schema: A JSON Schema: an object, or a boolean.
            name: What to call a record that has no name of its own.
            path: Where the schema stands, as a JSON pointer; identifies its record.
            depth: Levels above it.

        Raises:
            CatalogError: A `$ref` leads out of the document.
        """
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_SCHEMAS:
            return widened("nested too deeply to show")
        if not isinstance(schema, Mapping):
            return widened("no value is accepted") if schema is False else ANY
        # A reference with nothing beside it, bare or as the only part of an `allOf`, keeps its record.
        pointer = _bare_reference(schema)
        if pointer is not None:
            tree = self._read_reference(pointer, name, depth)
        else:
            flat = self.flatten(schema)
            tree = self._read_flat(flat, name=name, path=path, depth=depth)
        return union([tree, NONE]) if schema.get("nullable") is True else tree

    def read_fields(self, schema: Schema, *, path: str, depth: int) -> tuple[RecordField, ...]:
        """Return the properties of an object schema, in its order."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return ()
        required = schema.get("required")
        names = set(filter(_is_text, required)) if isinstance(required, list) else set()
        return tuple(
            self._read_field(str(name), value, str(name) in names, f"{path}/properties", depth)
            for name, value in properties.items()
        )

    def _read_field(
        self, name: str, schema: object, required: bool, path: str, depth: int
    ) -> RecordField:
        tree = self.read(schema, name=name, path=f"{path}/{_escape(name)}", depth=depth + 1)
        if not isinstance(schema, Mapping):
            return RecordField(name=name, type=tree, required=required)
        description = schema.get("description")
        return RecordField(
            name=name,
            type=tree,
            required=required or schema.get("required") is True,  # drafts 3 and before
            description=description if isinstance(description, str) else "",
            constraints=tuple(constraints(schema)),
        )

    # --- references -----------------------------------------------------------------------------

    def resolve(self, reference: str) -> object:
        """Return the schema that `reference` names, or `True` (anything) if it names nothing.

        Raises:
            CatalogError: It leads out of the document.
        """
        base = self._root.get("$id", self._root.get("id"))
        local = reference
        if isinstance(base, str) and base and reference.startswith(base):
            local = reference[len(base) :] or "#"
        if local in ("", "#"):
            return self._root
        if local.startswith("#/"):
            return self._follow(local)
        wanted = local.removeprefix("#")
        for part in _subschemas(self._root):
            if wanted in (part.get("$anchor"), part.get("$dynamicAnchor"), part.get("$id")):
                return part
        if local.startswith("#"):
            return True
        raise CatalogError(
            f"the schema refers to {reference!r}, which is outside of it; put the definition under "
            "'$defs' and refer to it as '#/$defs/<name>'"
        )

    def _follow(self, pointer: str) -> object:
        found: object = self._root
        for step in pointer[2:].split("/"):
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return True
        return found

    def _read_reference(self, reference: str, name: str, depth: int) -> TypeTree:
        target = self.resolve(reference)
        if target is True:
            return widened(f"the schema does not define {reference[:80]!r}")
        if reference in self._known:
            return self._known[reference]
        if reference in self._open:
            key = f"{self._scope}{reference}"
            return RecordRef(key=key) if key in self._table else widened("recursive")
        self._open.add(reference)
        own = unquote(reference.rpartition("/")[2]) if _is_definition(reference) else name
        tree = self.read(target, name=own, path=reference, depth=depth + 1)
        self._open.discard(reference)
        self._known[reference] = tree
        return tree

    def flatten(self, schema: Schema) -> Schema:
        """Return `schema` with its `$ref` and `allOf` merged into it: one plain schema."""
        parts: list[Schema] = []
        self._collect(schema, parts, set())
        return parts[0] if len(parts) == 1 else _merge_all(parts)

    def _collect(self, schema: object, parts: list[Schema], seen: set[int]) -> None:
        if not isinstance(schema, Mapping) or id(schema) in seen or len(seen) > 200:
            return
        seen.add(id(schema))
        reference = _reference(schema)
        inner = schema.get("allOf")
        own = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
        parts.append(own if reference is not None or inner is not None else schema)
        if reference is not None:
            self._collect(self.resolve(reference), parts, seen)
        for part in inner if isinstance(inner, list) else ():
            self._collect(part, parts, seen)

    # --- one schema without references ----------------------------------------------------------

    def _read_flat(self, schema: Schema, *, name: str, path: str, depth: int) -> TypeTree:
        if "const" in schema:
            return choice([schema["const"]])
        values = schema.get("enum")
        if isinstance(values, list) and values:
            if schema.get("type") == "array" and not any(isinstance(v, list) for v in values):
                return container("list", choice(values))  # what its author meant
            return choice(values)
        for keyword in ("anyOf", "oneOf"):
            branches = schema.get(keyword)
            if isinstance(branches, list) and branches and not all(map(_says_no_type, branches)):
                return self._read_branches(schema, keyword, branches, name, path, depth)
        kinds = schema.get("type", _guess_type(schema))
        if isinstance(kinds, str):
            return self._read_kind(kinds, schema, name=name, path=path, depth=depth)
        if isinstance(kinds, list) and kinds:
            return union(
                [self._read_kind(k, schema, name=name, path=path, depth=depth) for k in kinds]
            )
        return ANY

    def _read_branches(
        self,
        schema: Schema,
        keyword: str,
        branches: Sequence[object],
        name: str,
        path: str,
        depth: int,
    ) -> TypeTree:
        base = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf", "nullable")}
        joined = not _says_no_type(base)
        options = []
        for number, branch in enumerate(branches):
            place = f"{path}/{keyword}/{number}"
            if joined and isinstance(branch, Mapping):
                rest = {k: v for k, v in base.items() if k not in ("title", "description")}
                branch = {"allOf": [rest, branch]}  # noqa: PLW2901  # the same branch, completed
            title = branch.get("title") if isinstance(branch, Mapping) else None
            inner = title if isinstance(title, str) and title else name
            options.append(self.read(branch, name=inner, path=place, depth=depth + 1))
        return union(options)

    def _read_kind(
        self, kind: object, schema: Schema, *, name: str, path: str, depth: int
    ) -> TypeTree:
        word = kind.lower() if isinstance(kind, str) else ""
        if word in _SCALARS:
            return _SCALARS[word]
        if word in _ARRAYS:
            return self._read_array(schema, name, path, depth)
        if word in _OBJECTS:
            return self._read_object(schema, name, path, depth)
        return ANY

    def _read_array(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        items = schema.get("items", True)
        leading = schema.get("prefixItems", items)

        def read(part: object, place: str) -> TypeTree:
            return self.read(part, name=f"{name} item", path=f"{path}/{place}", depth=depth + 1)

        if not isinstance(leading, list):
            return container("list", read(items, "items"))
        # JSON has no tuples: the value is a list, and Python cannot say what stands where in it.
        types = [read(part, f"items/{number}") for number, part in enumerate(leading)]
        rest = schema.get("additionalItems", True) if leading is items else items
        if rest is not False:
            types.append(read(rest, "rest"))
        note = f"{len(leading)} items, in a fixed order of types" if rest is False else ""
        return container("list", union(types) if types else ANY, note=note)

    def _read_object(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return container("dict", STR, self._read_open_values(schema, name, path, depth))
        title = schema.get("title")
        own = title if isinstance(title, str) and 0 < len(title) <= MAX_TITLE_CHARS else name
        described = schema.get("description") if _is_definition(path) else None
        description = described if isinstance(described, str) else ""

        def build() -> Record:
            return Record(
                key=key,
                name=to_class_name(own),
                fields=self.read_fields(schema, path=path, depth=depth),
                description=description,
            )

        key = f"{self._scope}{path}"
        return self._table.define(key, build)

    def _read_open_values(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        """Return the type of the values of an object whose keys are free."""
        patterns = schema.get("patternProperties")
        parts = list(patterns.values()) if isinstance(patterns, Mapping) else []
        extra = schema.get("additionalProperties", not parts)
        if extra is not False:
            parts.append(extra)
        types = [
            self.read(part, name=f"{name} value", path=f"{path}/values/{n}", depth=depth + 1)
            for n, part in enumerate(parts)
        ]
        return union(types) if types else ANY


# --- merging ------------------------------------------------------------------------------------


def _merge_all(parts: Sequence[Schema]) -> Schema:
    merged: dict[str, Any] = {}
    for part in parts:
        for keyword, value in part.items():
            if keyword not in merged:
                merged[keyword] = value
            else:
                merged[keyword] = _MERGE.get(keyword, _keep_first)(merged[keyword], value)
    return merged


def _keep_first(first: Any, _: Any) -> Any:
    return first


def _merge_properties(first: Any, second: Any) -> Any:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return first
    both = {
        name: {"allOf": [first[name], second[name]]}
        for name in first
        if name in second and first[name] != second[name]
    }
    return {**first, **second, **both}


def _merge_required(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    return [*first, *(name for name in second if name not in first)]


def _merge_types(first: Any, second: Any) -> Any:
    left = first if isinstance(first, list) else [first]
    right = second if isinstance(second, list) else [second]
    wide = [*right, *(["integer"] if "number" in right else [])]
    common = [t for t in left if t in wide] or [t for t in right if t == "integer"]
    return (common[0] if len(common) == 1 else common) if common else first


def _merge_values(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    return [value for value in first if value in second] or first


_MERGE: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _merge_properties,
    "required": _merge_required,
    "type": _merge_types,
    "enum": _merge_values,
}


# --- what a schema says -------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _is_definition(path: str) -> bool:
    """Whether a schema stands alone: elsewhere its description is that of the field it is in."""
    return path.rpartition("/")[0].endswith(("/$defs", "/definitions", "/schemas"))


def _reference(schema: Schema) -> str | None:
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        if isinstance(schema.get(keyword), str):
            return str(schema[keyword])
    return None


def _bare_reference(schema: Schema) -> str | None:
    parts = schema.get("allOf")
    alone = isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping)
    inner: Schema = parts[0] if alone and isinstance(parts, list) else schema
    beside = {**schema, **inner} if alone else schema
    own = {k: v for k, v in beside.items() if k not in ("$ref", "allOf")}
    return _reference(inner) if "$ref" in inner and _says_no_type(own) else None


def _says_no_type(schema: object) -> bool:
    return isinstance(schema, Mapping) and all(keyword in _SAYS_NO_TYPE for keyword in schema)


def _guess_type(schema: Schema) -> str | None:
    """Return the type that a schema without `type` means: authors leave out what seems obvious."""
    if isinstance(schema.get("properties"), Mapping):
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return None


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
            stack.extend(found.values())
        elif isinstance(found, list):
            stack.extend(found)


_BOUNDS = {
    "minimum": ">= {}",
    "maximum": "<= {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


_SIZES = frozenset({"int32", "int64", "float", "double"})
"""Formats that say nothing to Python."""


def constraints(schema: Schema) -> list[str]:
    """Return what `schema` demands beyond a type, in words."""
    found = []
    for keyword, template in _BOUNDS.items():
        value = schema.get(keyword)
        if isinstance(value, int | float) and not isinstance(value, bool):
            strict = schema.get(f"exclusive{keyword.capitalize()}") is True  # draft 4
            found.append(template.replace("=", "" if strict else "=").format(value))
    for keyword, sign in (("exclusiveMinimum", ">"), ("exclusiveMaximum", "<")):
        value = schema.get(keyword)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(f"{sign} {value}")
    for keyword in ("format", "pattern"):
        value = schema.get(keyword)
        if isinstance(value, str) and 0 < len(value) <= 60 and value not in _SIZES:
            found.append(f"{keyword} {value}")
    return found
