"""The arguments of one call, compared with the tool's parameters. Pure: nothing is validated.

Values must have the types of the stub, but only as strictly as the tools are: pydantic takes `"5"` for an `int`
and `5` for a `float`, and a tool may convert what it is given before it looks at the type.
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
)
from langchain_ptc.errors import closest, cut, did_you_mean, with_article

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

Wrong: TypeAlias = tuple[ast.AST, str]  # a mistake in a call: the node and the message
_BOOLS = frozenset("0 off f false n no 1 on t true y yes".split())  # noqa: SIM905
_FAMILIES: Mapping[str | None, str] = {
    **dict.fromkeys(("int", "float", "bool"), "number"),
    **dict.fromkeys(("record", "dict"), "record"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), "list"),
    **{kind: kind for kind in ("str", "None")},
}
"""The general kind of each type; types that may be of several kinds are left out."""
MAX_MISTAKES = 5  # the maximum number of mistakes that are reported for one call
_MAX_SHOWN_CHARS = 60
_MAX_PATH_CHARS = 200
_MAX_OPTIONS = 20


def check_arguments(
    call: ast.Call, definition: ToolDefinition, lenient: Leniency, inference: Inference
) -> Found | None:
    """Return what is wrong with the arguments of `call`: the names first, then the values."""
    given, is_complete, named = call.args, True, {}
    for number, argument in enumerate(call.args):
        if isinstance(argument, ast.Starred):
            given, is_complete = call.args[:number], False
            break
    for name, place, value in _keywords(call):
        if name is None:
            is_complete = False
        else:
            named[name] = (place, value)
    bound, mistakes = definition.match(given, {name: value for name, (_, value) in named.items()})
    wrong: list[Wrong] = []
    for name, message in mistakes:
        if name:
            wrong.append((named[name][0], message))
        elif name is not None:
            wrong.append((given[len(definition.parameters)], message))
        elif is_complete:
            wrong.append((call, message))
    mark = "" if wrong else ":"
    for parameter in () if lenient.accepts_anything else definition.parameters:
        if parameter.tool_name in bound:
            values = _Values(definition, parameter, lenient, inference)
            wrong += values.check(bound[parameter.tool_name], parameter.type, parameter.name)
    if not wrong:
        return None
    messages = "; ".join(dict.fromkeys(message for _, message in wrong[:MAX_MISTAKES]))
    return Found(wrong[0][0], f"{definition.name}(){mark} {messages}", (), definition)


def _keywords(call: ast.Call) -> Iterator[tuple[str | None, ast.AST, ast.expr]]:
    """Yield name, place and value of the keyword arguments, including those in a `**{"name": value}`."""
    for keyword in call.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                name = key.value if isinstance(key, ast.Constant) else None
                yield name if isinstance(name, str) else None, key or value, value
        else:
            yield keyword.arg, keyword, keyword.value


@dataclass(frozen=True, slots=True)
class _Values:
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
        if missing and None not in keys and not self._lenient.has_aliases:
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
            return wanted == "number" or self._lenient.is_by_contract
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
            return is_json and self._lenient.is_by_contract
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

_KNOWN = frozenset(
    {
        *("any", "none", "bool", "int", "float", "str", "bytes", "date", "time", "datetime"),
        *("timedelta", "decimal", "uuid", "url", "literal", "enum", "list", "tuple", "set"),
        *("frozenset", "dict", "nullable", "union", "tagged-union", "typed-dict", "model"),
        *("model-fields", "model-field", "typed-dict-field", "dataclass", "dataclass-args"),
        *("dataclass-field", "default", "definitions", "definition-ref", "function-after"),
        *("is-instance", "is-subclass", "callable"),
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
        self.is_by_contract = not isinstance(own, type)  # only the tool validates: maybe JSON text
        config = getattr(own, "model_config", {})
        self.takes_numbers_as_text = bool(config.get("coerce_numbers_to_str"))
        parts = list(_parts(getattr(own, "__pydantic_core_schema__", None)))
        is_known = bool(parts) and len(parts) < _MAX_PARTS and all(map(_is_known, parts))
        self.accepts_anything = not (self.is_by_contract or is_known)
        """Whether a parameter may accept values that its type excludes."""
        self.has_aliases = any("validation_alias" in part for part in parts)
        """Whether a field of a record may have several names."""


def _is_known(part: Mapping[str, object]) -> bool:
    kind = part.get("cls")
    if part.get("type") == "enum" and isinstance(kind, type) and issubclass(kind, enum.Enum):
        # Such a class may make a member from any value.
        return getattr(kind._missing_, "__func__", None) is enum.Enum.__dict__["_missing_"].__func__
    return part.get("type") in _KNOWN and not part.get("custom_init")


def _parts(schema: object) -> Iterator[Mapping[str, object]]:
    """Yield up to `_MAX_PARTS` of the schemas in a schema of pydantic's core."""
    waiting, seen = [schema], 0
    for part in waiting:
        if isinstance(part, Mapping):
            if isinstance(part.get("type"), str):
                seen += 1
                yield part
            if seen == _MAX_PARTS:
                return
            waiting.extend(value for key, value in part.items() if key not in _UNREAD)
        elif isinstance(part, list | tuple):
            waiting.extend(part)
