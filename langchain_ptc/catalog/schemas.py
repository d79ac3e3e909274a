"""JSON Schema (draft 6 to 2020-12, and what OpenAPI and careless authors make of it) -> type trees.

Pure. What a schema says beyond a type tree is dropped or kept as a note: the type is then wider than
the schema, never narrower; and parts that are merged accept at least what they accept together.
Source: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import unquote, urljoin

from langchain_ptc.catalog.text import cut, to_class_name
from langchain_ptc.catalog.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    MAX_DEPTH,
    NONE,
    STR,
    RecordField,
    RecordRef,
    RecordTable,
    RecordType,
    TypeTree,
    choice,
    container,
    outline,
    union,
    widened,
)
from langchain_ptc.errors import CatalogError, count
from langchain_ptc.locks import cached_property

Schema: TypeAlias = Mapping[str, Any]

REFERENCES = ("$ref", "$dynamicRef")  # keywords whose value is a reference
MAX_REFERENCE_CHARS = 120  # length of a reference or a place in a message
_SCALARS = {"string": STR, "integer": INT, "number": FLOAT, "boolean": BOOL, "null": NONE}
MAX_TITLE_CHARS = 40  # a longer title is a sentence, not a name
MAX_SCHEMAS = 3_000  # that are read in one document: one may refer to itself without end
MAX_FIELDS = 500  # properties of one object that are shown; an object of more is a `dict`
MAX_KEY_CHARS = 200  # an object with a longer name of a property is a `dict`
MAX_PARTS = 200  # schemas that are merged into one
MAX_WORK = 200_000  # entries of objects and lists that are read in one document
_BRANCHES = ("anyOf", "oneOf")
MESSAGE_MARKS = frozenset({"content", "additional_kwargs", "response_metadata", "type"})
"""Fields that every class of messages of LangChain has, and hardly anything else."""


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
        self._base = text(root, "$id") or text(root, "id")

    def resolve(self, reference: str, *, where: str = "#") -> object:
        """Return the schema that `reference` names, or `True` (anything); it must not lead out of the document."""
        url, _, fragment = reference.partition("#")
        resource = self._named.get(_join(self._base, url)) if url else self._root
        if resource is None:
            raise CatalogError(
                f"at {cut(where, MAX_REFERENCE_CHARS)} it refers to {cut(reference, MAX_REFERENCE_CHARS)!r}, which is outside of it; put that "
                "definition under '$defs' of the same schema and refer to it as '#/$defs/<name>'"
            )
        if fragment.startswith("/"):
            return _follow(resource, fragment)
        return self._named.get(f"#{fragment}", True) if fragment else resource

    @cached_property
    def _named(self) -> dict[str, Schema]:
        """The schemas with an `$id` by it, and those that have a name by `#name`."""
        found: dict[str, Schema] = {}
        for part in _subschemas(self._root):
            own = part.get("$id", part.get("id"))  # a property may be called `id`: only text counts
            if isinstance(own, str):
                named = own if own.startswith("#") else _join(self._base, own.rstrip("#"))
                found.setdefault(named, part)
            for name in (part.get("$anchor"), part.get("$dynamicAnchor")):
                if isinstance(name, str):
                    found.setdefault(f"#{name}", part)
        return found


def _join(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:  # no address at all
        return url


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
        *("$defs", "definitions", "$id", "id", "$schema", "$anchor", "$dynamicAnchor"),
        *("minProperties", "maxProperties", "unevaluatedProperties", "propertyNames", "nullable"),
        *("externalDocs", "xml", "unevaluatedItems", "discriminator"),
    }
)
"""Keywords that leave the type as it is."""
MAX_SHOWN_CHARS = 60  # length of a pattern or a format that is shown; a longer one is left out
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
    if any(isinstance(schema.get(k), Mapping) for k in ("properties", "patternProperties")):
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else None


_BOUNDS = {
    "minimum": (">=", ""),
    "maximum": ("<=", ""),
    "multipleOf": ("a multiple of", ""),
    "minLength": ("at least", "character"),
    "maxLength": ("at most", "character"),
    "minItems": ("at least", "item"),
    "maxItems": ("at most", "item"),
    "minProperties": ("at least", "key"),
    "maxProperties": ("at most", "key"),
    "exclusiveMinimum": (">", ""),
    "exclusiveMaximum": ("<", ""),
}
_SAID_BY_TYPES = frozenset({"int32", "int64", "uint32", "uint64", "float", "double"})  # formats


def constraints(schema: Schema) -> list[str]:
    """Return what `schema` demands beyond a type, in words."""
    found = []
    for keyword, (words, noun) in _BOUNDS.items():
        value = schema.get(keyword)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if abs(value) < _MAX_SHOWN_NUMBER:  # Python does not print very long integers
            strict = schema.get(f"exclusive{keyword.capitalize()}") is True  # OpenAPI 3.0
            amount = count(value, noun) if noun else str(value)
            found.append(f"{words.replace('=', '' if strict else '=')} {amount}")
    for keyword in ("format", "pattern"):
        value = schema.get(keyword)
        if _is_short(value) and value not in _SAID_BY_TYPES:
            found.append(f"{keyword} {value}")
    if schema.get("uniqueItems") is True:
        found.append("no item twice")
    return found


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_SHOWN_CHARS


def text(schema: Mapping[str, Any], keyword: str) -> str:
    """Return the value of `keyword` if it is text, otherwise an empty string."""
    value = schema.get(keyword)
    return value if isinstance(value, str) else ""


# --- several schemas that hold at once ----------------------------------------------------------


def merge_all(parts: Sequence[Schema]) -> Schema:
    """Return one schema for the `parts` of an `allOf`."""
    merged: dict[str, Any] = {}
    for part in parts:
        for keyword, value in part.items():
            if keyword not in merged:
                merged[keyword] = value
            elif keyword in _MERGE:
                merged[keyword] = _MERGE[keyword](merged[keyword], value)
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


def _merge_extra(first: Any, second: Any) -> Any:
    """Join `additionalProperties`: a part that forbids them forbids only what it does not name."""
    return second if first is False or first is True else first


_MERGE: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _merge_properties,
    "required": _merge_required,
    "additionalProperties": _merge_extra,
}


# --- schemas -> types -----------------------------------------------------------------------------


class SchemaReader:
    """Reads the schemas of one document into one table of records.

    `scope` is put in front of the records' keys, so that several documents share a table. `message` stands in place of
    LangChain's classes of messages. A `$ref` out of the document is a `CatalogError`, wherever it is read.
    """

    def __init__(
        self, root: Schema, table: RecordTable, *, scope: str = "", message: TypeTree | None = None
    ) -> None:
        self._resolver = Resolver(root)
        self._table = table
        self._scope = scope
        self._message = message
        self._open: set[str] = set()  # references that are being read
        self._known: dict[str, TypeTree] = {}  # types of references that were read
        self._count = 0
        self._work = 0
        self._where = "#"
        """The place that is being read, for messages."""

    def read(self, schema: object, *, name: str, path: str, depth: int = 0) -> TypeTree:
        """Return the type of what `schema` accepts, or a wider one; a record without a title is called `name`."""
        self._count += 1
        if depth > MAX_DEPTH or self._is_spent():
            return widened("nested too deeply to show")
        if not isinstance(schema, Mapping):
            return widened("no value is accepted") if schema is False else ANY
        self._where = path
        # A reference with nothing beside it, bare or as the only part of an `allOf`, keeps its record.
        pointer = bare_reference(schema)
        if pointer is not None:
            tree = self._read_reference(pointer, name, depth)
            return union([tree, NONE]) if schema.get("nullable") is True else tree
        flat = self.flatten(schema)
        tree = self._read_flat(flat, name=name, path=path, depth=depth)
        return union([tree, NONE]) if flat.get("nullable") is True else tree

    # --- fields ---------------------------------------------------------------------------------

    def read_fields(
        self, schema: Schema, *, path: str, depth: int, limit: int = MAX_FIELDS
    ) -> tuple[RecordField, ...]:
        """Return the properties of a flat object schema; what is only required is a field of any type."""
        properties = schema.get("properties")
        known: Mapping[Any, Any] = properties if isinstance(properties, Mapping) else {}
        needed = schema.get("required")
        required = [n for n in needed if isinstance(n, str)] if isinstance(needed, list) else []
        names = set(required)
        place = f"{path}/properties"
        found = [
            self._read_field(str(name), value, str(name) in names, place, depth)
            for name, value in islice(known.items(), limit)
        ]
        if known and schema.get("additionalProperties") is not False:
            hidden = [n for n in dict.fromkeys(required) if n not in known]
            found.extend(RecordField(name=n, type=ANY) for n in hidden[: limit - len(found)])
        return tuple(found)

    def _read_field(
        self, name: str, schema: object, required: bool, path: str, depth: int
    ) -> RecordField:
        tree = self.read(schema, name=name, path=f"{path}/{escape(name)}", depth=depth + 1)
        if not isinstance(schema, Mapping):
            return RecordField(name=name, type=tree, required=required)
        return RecordField(
            name=name,
            type=tree,
            required=required or schema.get("required") is True,  # drafts 3 and before
            description=text(schema, "description"),
            constraints=tuple(constraints(schema)),
        )

    def read_parameters(self, schema: Schema) -> tuple[tuple[RecordField, ...], TypeTree | None]:
        """Return the fields of a whole document that describes arguments, and the type of others, if there may be.

        Branches of an `anyOf` are laid over each other, and what not every branch requires is optional.
        """
        fields = self._read_overlaid(schema, path="#", depth=0)
        flat = self.flatten(schema)
        patterns = flat.get("patternProperties")
        extra = flat.get("additionalProperties")
        if isinstance(patterns, Mapping) and patterns:
            return fields, self._read_open_values(flat, "value", "#", 0)
        if len(fields) >= MAX_FIELDS or self._is_spent():
            return fields, widened("there are more parameters than are shown")
        if extra is None or extra is False:
            return fields, None
        return fields, self.read(extra, name="value", path="#/additionalProperties", depth=1)

    def _is_spent(self) -> bool:
        return self._count > MAX_SCHEMAS or self._work > MAX_WORK

    def _read_overlaid(self, schema: Schema, *, path: str, depth: int) -> tuple[RecordField, ...]:
        self._count += 1
        flat = self.flatten(schema)
        fields = {field.name: field for field in self.read_fields(flat, path=path, depth=depth)}
        for keyword in _BRANCHES:
            branches = flat.get(keyword)
            if not isinstance(branches, list) or depth >= MAX_DEPTH or self._is_spent():
                continue
            variants = [
                self._read_overlaid(branch, path=f"{path}/{keyword}/{number}", depth=depth + 1)
                for number, branch in enumerate(branches[:MAX_PARTS])
                if isinstance(branch, Mapping) and branch.get("type") != "null"
            ]
            _overlay(fields, variants)
        return tuple(islice(fields.values(), MAX_FIELDS))

    # --- references -----------------------------------------------------------------------------

    def _read_reference(self, reference: str, name: str, depth: int) -> TypeTree:
        target = self._resolver.resolve(reference, where=self._where)
        if target is True:
            return widened(f"the schema does not define {reference[:80]!r}")
        if reference in self._known:
            return self._known[reference]
        if reference in self._open:
            key = f"{self._scope}{reference}"
            return RecordRef(key=key) if key in self._table else widened("recursive")
        self._open.add(reference)
        own = unquote(reference.rpartition("/")[2]) if is_definition(reference) else name
        tree = self.read(target, name=own, path=reference, depth=depth + 1)
        self._open.discard(reference)
        self._known[reference] = tree
        return tree

    def flatten(self, schema: Schema) -> Schema:
        """Return `schema` with its `$ref` and `allOf` merged into it: one plain schema."""
        parts: list[Schema] = []
        self._collect(schema, parts)
        self._work += sum(
            len(value)
            for part in parts
            for value in part.values()
            if isinstance(value, dict | list)
        )
        if self._work > MAX_WORK:
            return {}
        flat = parts[0] if len(parts) == 1 else merge_all(parts)
        conditional = conditional_properties(flat)
        if conditional:
            own = flat.get("properties")
            known = own if isinstance(own, Mapping) else {}
            flat = {**flat, "properties": {**known, **conditional, **known}}
        return flat

    def _collect(self, schema: Schema, parts: list[Schema]) -> None:
        stack: list[object] = [schema]
        seen: set[int] = set()
        while stack and len(parts) < MAX_PARTS:
            part = stack.pop()
            if not isinstance(part, Mapping) or id(part) in seen:
                continue
            seen.add(id(part))
            reference = reference_of(part)
            inner = part.get("allOf")
            if reference is None and inner is None:
                parts.append(part)
                continue
            parts.append({k: v for k, v in part.items() if k not in (*REFERENCES, "allOf")})
            stack.extend(reversed(inner[:MAX_PARTS]) if isinstance(inner, list) else ())
            if reference is not None:
                stack.append(self._resolver.resolve(reference, where=self._where))

    # --- one schema without references ----------------------------------------------------------

    def _read_flat(self, schema: Schema, *, name: str, path: str, depth: int) -> TypeTree:
        if "const" in schema:
            return choice([schema["const"]])
        values = schema.get("enum")
        if isinstance(values, list) and values:
            if schema.get("type") == "array" and not any(isinstance(v, list) for v in values):
                return container("list", choice(values))  # what its author meant
            return choice(values)
        for keyword in _BRANCHES:
            branches = schema.get(keyword)
            if isinstance(branches, list) and branches and not all(map(says_no_type, branches)):
                return self._read_branches(schema, keyword, branches, name, path, depth)
        kinds = schema.get("type", guess_type(schema))
        if isinstance(kinds, str):
            return self._read_kind(kinds, schema, name=name, path=path, depth=depth)
        if isinstance(kinds, list) and kinds:
            return union(
                [self._read_kind(k, schema, name=name, path=path, depth=depth) for k in kinds[:20]]
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
        if len(branches) > MAX_PARTS:
            return widened(f"one of {len(branches)} types")
        base = {k: v for k, v in schema.items() if k not in (*_BRANCHES, "nullable")}
        joined = not says_no_type(base)
        options = []
        for number, branch in enumerate(branches):
            place = f"{path}/{keyword}/{number}"
            if joined and isinstance(branch, Mapping):
                rest = {k: v for k, v in base.items() if k not in ("title", "description")}
                branch = {"allOf": [rest, branch]}  # noqa: PLW2901  # the same branch, completed
            title = text(branch, "title") if isinstance(branch, Mapping) else ""
            options.append(self.read(branch, name=title or name, path=place, depth=depth + 1))
        return union(options)

    def _read_kind(
        self, kind: object, schema: Schema, *, name: str, path: str, depth: int
    ) -> TypeTree:
        if kind == "array":
            return self._read_array(schema, name, path, depth)
        if kind == "object":
            return self._read_object(schema, name, path, depth)
        return _SCALARS.get(kind, ANY) if isinstance(kind, str) else ANY

    def _read_array(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        items = schema.get("items", True)
        leading = schema.get("prefixItems", items)

        def read(part: object, place: str) -> TypeTree:
            return self.read(part, name=f"{name} item", path=f"{path}/{place}", depth=depth + 1)

        if not isinstance(leading, list):
            return container("list", read(items, "items"))
        # JSON has no tuples: the value is a list, and Python has no type for the order of its items.
        types = [read(part, f"items/{number}") for number, part in enumerate(leading[:MAX_PARTS])]
        order = ", ".join(map(outline, types[:6])) + (", …" if len(types) > 6 else "")
        rest = schema.get("additionalItems", True) if leading is items else items
        closed = rest is False and len(leading) <= MAX_PARTS
        if not closed:
            types.append(read(rest, "rest"))
        note = f"in this order: {order}{'' if closed else ', then others'}" if order else ""
        return container("list", union(types) if types else ANY, note=note)

    def _read_object(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return container("dict", STR, self._read_open_values(schema, name, path, depth))
        if self._message is not None and properties.keys() >= MESSAGE_MARKS:
            return self._message
        if len(properties) > MAX_FIELDS:
            return container(
                "dict", STR, ANY, note=f"of {len(properties):,} keys, too many to show"
            )
        if any(len(str(key)) > MAX_KEY_CHARS for key in properties):
            return container("dict", STR, ANY, note="its keys are too long to show")
        title = text(schema, "title")
        own = title if 0 < len(title) <= MAX_TITLE_CHARS else name

        def build() -> RecordType:
            return RecordType(
                key=key,
                name=to_class_name(own),
                fields=self.read_fields(schema, path=path, depth=depth),
                description=text(schema, "description") if is_definition(path) else "",
            )

        key = f"{self._scope}{path}"
        return self._table.define(key, build)

    def _read_open_values(self, schema: Schema, name: str, path: str, depth: int) -> TypeTree:
        """Return the type of the values of an object whose keys are free."""
        given = schema.get("patternProperties")
        parts = list(islice(given.values(), MAX_PARTS)) if isinstance(given, Mapping) else []
        extra = schema.get("additionalProperties", True)
        parts += [extra] if extra is not False else []
        types = [
            self.read(part, name=f"{name} value", path=f"{path}/values/{number}", depth=depth + 1)
            for number, part in enumerate(parts)
        ]
        return union(types)


def read_result_schema(
    schema: Schema | None, tool_name: str, table: RecordTable, *, note: str = ""
) -> TypeTree:
    """Return the type of a tool's value; without a schema, `Any` with `note`."""
    if schema is None:
        return widened(note)
    reader = SchemaReader(schema, table, scope="output:")
    return reader.read(schema, name=f"{tool_name} result", path="#")


def _overlay(fields: dict[str, RecordField], variants: Sequence[Iterable[RecordField]]) -> None:
    """Add the fields of alternative objects to the `fields` that they share."""
    tables = [{field.name: field for field in variant} for variant in variants]
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table[name] for table in tables if name in table]
        required = len(found) == len(tables) and all(field.required for field in found)
        known = fields.get(name)
        if known is None:
            tree = union([field.type for field in found])
            fields[name] = replace(found[0], type=tree, required=required)
        elif required:
            fields[name] = replace(known, required=True)
