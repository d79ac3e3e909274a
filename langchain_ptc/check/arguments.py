"""The arguments of one call, compared with the tool's parameters. Pure: nothing is validated.

Names must be those that `ToolDefinition.bind` accepts. Values must have the types of the stub, but only
as strictly as the tools are: pydantic takes `"5"` for an `int` and `5` for a `float`, and a tool may
convert what it is given before it looks at the type.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from langchain_ptc.catalog.types import (
    NONE,
    Alternatives,
    Choice,
    Container,
    RecordRef,
    TypeTree,
    children,
)
from langchain_ptc.check.inference import (
    Data,
    Found,
    Inference,
    Items,
    Pending,
    Value,
    describe,
    kind_of,
    with_article,
)
from langchain_ptc.wording import closest, cut, did_you_mean

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

Wrong: TypeAlias = tuple[ast.AST, str]
"""A mistake in a call: the node and the message."""
_BOOLS = frozenset("0 off f false n no 1 on t true y yes".split())  # noqa: SIM905
_FAMILIES: Mapping[str | None, str] = {
    **dict.fromkeys(("int", "float", "bool"), "number"),
    **dict.fromkeys(("record", "dict"), "record"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), "list"),
    **{kind: kind for kind in ("str", "None")},
}
"""The general kind of each type; types that may be of several kinds are left out."""
MAX_MISTAKES = 5
"""The maximum number of mistakes that are reported for one call."""
_MAX_SHOWN_CHARS = 60
_MAX_PATH_CHARS = 200
_MAX_OPTIONS = 20


class Arguments:
    """Compares calls with the parameters of tools."""

    def __init__(self, inference: Inference, lenient: dict[str, Leniency]) -> None:
        self._inference = inference
        self._lenient = lenient

    def check(self, call: ast.Call, definition: ToolDefinition) -> Found | None:
        """Return what is wrong with the arguments of `call`: the names first, then the values."""
        star = next((i for i, a in enumerate(call.args) if isinstance(a, ast.Starred)), None)
        keywords = dict(_keywords(call))
        is_complete = star is None and None not in keywords
        named = {name: keyword for name, keyword in keywords.items() if name is not None}
        values = {name: keyword.value for name, keyword in named.items()}
        bound, mistakes = definition.match(call.args[:star], values)
        extra = call.args[len(definition.parameters) : star]
        wrong: list[Wrong] = [
            (named.get(name or "") or (extra[0] if name == "" else call), message)
            for name, message in mistakes
            if name is not None or is_complete
        ]
        mark = "" if wrong else ":"
        key = definition.qualified_name
        lenient = self._lenient[key] = self._lenient.get(key) or Leniency(definition)
        for parameter in definition.parameters:
            if parameter.tool_name in bound and not lenient.accepts_anything(parameter):
                checker = _Values(definition, parameter, lenient, self._inference)
                wrong += checker.check(bound[parameter.tool_name], parameter.type, parameter.name)
        messages = "; ".join(dict.fromkeys(message for _, message in wrong[:MAX_MISTAKES]))
        message = f"{definition.name}(){mark} {messages}"
        return Found(wrong[0][0], message, (), definition) if wrong else None


def _keywords(call: ast.Call) -> Iterator[tuple[str | None, ast.keyword]]:
    """Yield the keyword arguments, including those in a `**{"name": value}`."""
    for keyword in call.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                name = key.value if isinstance(key, ast.Constant) else None
                known = name if isinstance(name, str) else None
                yield known, ast.copy_location(ast.keyword(known, value), key or value)
        else:
            yield keyword.arg, keyword


@dataclass(frozen=True, slots=True)
class _Values:
    """Compares the values of one call with the type of one parameter."""

    _definition: ToolDefinition
    _parameter: ToolParameter
    _lenient: Leniency
    _inference: Inference

    def check(self, node: ast.expr, tree: TypeTree, path: str) -> Iterator[Wrong]:
        """Yield what is wrong with `node` as a value of `tree`; `path` says where it is."""
        self._inference.work.spend()
        constant = _constant(node)
        if isinstance(tree, Alternatives):
            found = [list(self.check(node, option, path)) for option in tree.options]
            if all(found):
                # The part that is wrong says more than the whole.
                inner = [wrong for wrong in found if wrong[0][0] is not node]
                yield from inner[0] if len(inner) == 1 else [self._misfit(node, tree, path)]
        elif isinstance(node, ast.IfExp):
            branches = [list(self.check(part, tree, path)) for part in (node.body, node.orelse)]
            if all(branches):
                yield branches[0][0]
        elif isinstance(node, ast.List | ast.Tuple | ast.Set) and (
            isinstance(tree, Container) and tree.name != "dict"
        ):
            yield from self._check_items(node, tree, path)
        elif isinstance(node, ast.Dict) and kind_of(tree) in ("record", "dict"):
            yield from self._check_dict(node, tree, path)
        elif constant is not None:
            if not self._fits_constant(constant.value, tree, path):
                yield self._misfit(node, tree, path)
        elif not self._fits(self._inference.infer(node), tree, path):
            yield self._misfit(node, tree, path)

    def _check_items(
        self, node: ast.List | ast.Tuple | ast.Set, tree: Container, path: str
    ) -> Iterator[Wrong]:
        is_fixed = tree.name == "tuple" and not tree.variadic
        if any(isinstance(element, ast.Starred) for element in node.elts) or not tree.args:
            return
        if is_fixed and len(node.elts) != len(tree.args):
            return
        for number, element in enumerate(node.elts):
            inner = cut(f"{path}[{number}]", _MAX_PATH_CHARS)
            yield from self.check(element, tree.args[number * is_fixed], inner)

    def _check_dict(self, node: ast.Dict, tree: TypeTree, path: str) -> Iterator[Wrong]:
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        is_record = isinstance(tree, RecordRef)
        fields = self._definition.record(tree).fields if isinstance(tree, RecordRef) else ()
        types = {field.name: field.type for field in fields}
        for key, value in zip(keys, node.values, strict=True):
            if key is not None and (key in types or not is_record):
                inner = types[key] if is_record else children(tree)[1]  # type: ignore[index]
                yield from self.check(value, inner, cut(f"{path}[{key!r}]", _MAX_PATH_CHARS))
        missing = [f.name for f in fields if f.required and f.name not in keys]
        if missing and None not in keys and not self._lenient.has_aliases(self._parameter):
            unknown = [key for key in keys if isinstance(key, str) and key not in types]
            guess = did_you_mean(closest(unknown[0], missing)) if unknown else ""
            extra = f"; it has {unknown[0]!r}{guess}" if guess else ""
            yield node, f"{path} is missing {', '.join(map(repr, missing))}{extra}"

    # --- messages -------------------------------------------------------------------------------

    def _misfit(self, node: ast.expr, tree: TypeTree, path: str) -> Wrong:
        constant = _constant(node)
        shown = self._describe(node) if constant is None else _show(constant.value)
        if not isinstance(tree, Choice):
            wanted = describe(tree, self._definition)
            return node, f"{path} must be {wanted}, got {shown}{self._unpack(node, path)}"
        guess: list[str] = []
        if constant is not None and constant.value is not None:
            text = constant.value if isinstance(constant.value, str) else shown
            guess = closest(text, [str(v) for v in tree.values], cutoff=0.75)
        options = ", ".join(map(repr, tree.values[:_MAX_OPTIONS]))
        more = ", …" if len(tree.values) > _MAX_OPTIONS else ""
        return node, f"{path} must be one of {options}{more}, got {shown}{did_you_mean(guess)}"

    def _unpack(self, node: ast.AST, path: str) -> str:
        """Return a hint for a call that passes all arguments as one dict."""
        names = {p.name for p in self._definition.parameters}
        keys = node.keys if isinstance(node, ast.Dict) else []
        given = [key.value for key in keys if isinstance(key, ast.Constant)]
        if path != self._parameter.name or not given or not set(given) <= names:
            return ""
        return f"; pass its items by keyword: {self._definition.name}({given[0]!s}=...)"

    def _describe(self, node: ast.expr) -> str:
        value = self._inference.infer(node)
        if isinstance(value, Pending):
            return f"{value.source}, which is not awaited"
        if isinstance(value, Data) and value.tool is not None:
            definition = value.tool.definition
            return f"{describe(value.tree, definition)} of {definition.name}()"
        if isinstance(value, Data):
            return with_article(kind_of(value.tree) or describe(value.tree, None))
        return value.kind if isinstance(value, Items) else "another"

    # --- what fits ------------------------------------------------------------------------------

    def _fits(self, value: Value, tree: TypeTree, path: str) -> bool:
        """Whether a value may have the type; an unknown value may."""
        wanted = _FAMILIES.get(kind_of(tree))
        if isinstance(value, Pending) or wanted is None:
            return wanted is None and not isinstance(value, Pending)  # no awaitable can be sent
        if isinstance(value, Items):
            return wanted == "list"
        if not isinstance(value, Data):
            return True
        if isinstance(value.tree, Alternatives):
            options = (Data(option, value.tool) for option in value.tree.options)
            return any(self._fits(option, tree, path) for option in options)
        found = _FAMILIES.get(kind_of(value.tree))
        if found == "None" != wanted:
            return self._accepts_none(path)
        if found == "str" != wanted:  # it may hold a number, or a list as JSON
            return wanted == "number" or self._lenient.reads_text
        if wanted == "str" and found == "number":
            return self._lenient.takes_numbers_as_text
        return found is None or found == wanted

    def _accepts_none(self, path: str) -> bool:
        parameter, is_by_contract = self._parameter, self._lenient.is_by_contract
        if path != parameter.name:
            return is_by_contract
        return parameter.default is None or (is_by_contract and not parameter.required)

    def _fits_constant(self, value: object, tree: TypeTree, path: str) -> bool:
        kind = kind_of(tree)
        if value is None:
            return tree == NONE or kind not in _FAMILIES or self._accepts_none(path)
        if not isinstance(value, str | int | float):
            return True
        if isinstance(tree, Choice):
            return _fits_choice(value, tree)
        if kind == "record" or isinstance(tree, Container):
            is_json = isinstance(value, str) and value.lstrip()[:1] in ("[", "{")
            return is_json and self._lenient.reads_text
        if kind is None or kind == "None":
            return kind is None
        if kind == "str":
            return isinstance(value, str) or self._lenient.takes_numbers_as_text
        if isinstance(value, str):
            return value.lower() in _BOOLS if kind == "bool" else _is_number(value)
        if kind == "int":
            return isinstance(value, int) or value.is_integer()
        return kind == "float" or value in (0, 1)


def _fits_choice(value: str | float, tree: Choice) -> bool:
    kinds = {type(other) for other in tree.values}
    if value in tree.values or not kinds <= {int, str}:
        return value in tree.values or not (isinstance(value, str) and kinds == {str})
    return isinstance(value, str) and kinds != {str} and _is_number(value)


def _constant(node: ast.AST) -> ast.Constant | None:
    """Return a constant, including negative numbers; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = getattr(node.operand, "value", None)
        is_number = isinstance(inner, int | float) and not isinstance(inner, bool)
        return ast.Constant(-inner) if is_number else None  # type: ignore[operator]
    return node if isinstance(node, ast.Constant) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show(value: object) -> str:
    try:
        return cut(repr(value), _MAX_SHOWN_CHARS)
    except ValueError:  # Python writes no integer of so many digits
        return "a number of very many digits"


# --- how strictly a tool takes its arguments ------------------------------------------------------

_Schema: TypeAlias = Mapping[str, object]
_KNOWN = frozenset(
    {
        *("any", "none", "bool", "int", "float", "str", "bytes", "date", "time", "datetime"),
        *("timedelta", "decimal", "uuid", "url", "literal", "enum", "list", "tuple", "set"),
        *("frozenset", "dict", "nullable", "union", "tagged-union", "typed-dict", "model"),
        *("model-fields", "model-field", "typed-dict-field", "dataclass", "dataclass-args"),
        *("dataclass-field", "default", "definitions", "definition-ref", "function-after"),
    }
)
"""Schemas of pydantic whose conversions are known here."""
_UNREAD = frozenset({"metadata", "serialization", "config", "function", "default", "cls"})
_MAX_PARTS = 5_000


class Leniency:
    """How strictly one tool takes its arguments.

    A validator may convert a value before its type is looked at: then the type says little about what is accepted.
    """

    def __init__(self, definition: ToolDefinition) -> None:
        own = definition.tool.args_schema
        self.is_by_contract = not isinstance(own, type)
        """Whether only the tool itself validates the values."""
        self.reads_text = self.is_by_contract
        """Whether a list or a record may be passed as JSON text, which some servers accept."""
        self.takes_numbers_as_text = bool(
            getattr(own, "model_config", {}).get("coerce_numbers_to_str")
        )
        schema = None if self.is_by_contract else getattr(own, "__pydantic_core_schema__", None)
        named = {p["ref"]: p for p in _parts(schema, {}) if isinstance(p.get("ref"), str)}
        whole = list(_parts(schema, named))
        place = next((i for i, p in enumerate(whole) if p.get("type") == "model-fields"), None)
        fields = {} if place is None else whole[place].get("fields")
        self._is_opaque = not all(map(_is_known, whole[:place]))
        self._fields = {
            str(name): list(_parts(field, named))
            for name, field in (fields.items() if isinstance(fields, Mapping) else ())
        }

    def accepts_anything(self, parameter: ToolParameter) -> bool:
        """Whether a parameter may accept values that its type excludes."""
        parts = self._fields.get(parameter.name)
        if self.is_by_contract or parts is None:
            return not self.is_by_contract
        return self._is_opaque or not all(map(_is_known, parts))

    def has_aliases(self, parameter: ToolParameter) -> bool:
        """Whether a field of a record in a parameter may have several names."""
        return any("validation_alias" in part for part in self._fields.get(parameter.name, ()))


def _is_known(part: _Schema) -> bool:
    kind = part.get("cls")
    if part.get("type") == "enum" and isinstance(kind, type) and issubclass(kind, enum.Enum):
        # Such a class may make a member from any value.
        return getattr(kind._missing_, "__func__", None) is enum.Enum.__dict__["_missing_"].__func__
    return part.get("type") in _KNOWN and not part.get("custom_init")


def _parts(schema: object, named: Mapping[object, object]) -> Iterator[_Schema]:
    """Yield every schema in a schema of pydantic's core, outer ones first; references are followed."""
    waiting = [schema]
    seen: set[int] = set()
    for part in waiting:
        if len(seen) == _MAX_PARTS:
            return
        if isinstance(part, Mapping) and id(part) not in seen:
            seen.add(id(part))
            if isinstance(part.get("type"), str):
                yield part
            if part.get("type") == "definition-ref":
                waiting.append(named.get(part.get("schema_ref")))
            waiting.extend(value for key, value in part.items() if key not in _UNREAD)
        elif isinstance(part, list | tuple):
            waiting.extend(part)
