"""The arguments of one call, held against the tool's parameters. Pure.

Names are held to what `ToolDefinition.bind` accepts. Values are held to the types of the stub, but only
as strictly as the tools are: pydantic takes `"5"` for an `int` and `5` for a `float`, and a tool may
convert what it is given before it looks at the type.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter
from langchain_ptc.catalog.types import (
    Alternatives,
    Choice,
    Container,
    Named,
    RecordRef,
    TypeTree,
)
from langchain_ptc.check.inference import Inference
from langchain_ptc.check.leniency import Leniency
from langchain_ptc.check.shapes import describe, kind_of
from langchain_ptc.check.values import Data, Items, Pending, Values
from langchain_ptc.check.words import clip, did_you_mean, value_meant

_BOOLS = frozenset("0 off f false n no 1 on t true y yes".split())  # noqa: SIM905
_NUMBERS = frozenset({"int", "float", "bool"})
_LISTS = frozenset({"list", "tuple", "set", "frozenset"})
_MAX_SHOWN = 60
_MOST_TOLD = 5
"""Unknown names of one call that are reported."""
_MAX_PATH = 200


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with a call."""

    node: ast.AST
    message: str


class Arguments:
    """Holds calls against the parameters of tools.

    Args:
        inference: What the expressions of the program are worth.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._lenient: dict[str, Leniency] = {}

    def check(self, call: ast.Call, definition: ToolDefinition) -> Iterator[Wrong]:
        """Yield what is wrong with the arguments of `call`: the names first, then the values."""
        given, wrong = _match(call, definition)
        yield from wrong
        key = definition.qualified_name
        if key not in self._lenient:
            self._lenient[key] = Leniency(definition)
        lenient = self._lenient[key]
        for parameter, value in given:
            if not lenient.accepts_anything(parameter):
                checker = _ValueChecker(definition, parameter, lenient, self._inference)
                yield from checker.check(value, parameter.type, parameter.name)


def _match(
    call: ast.Call, definition: ToolDefinition
) -> tuple[list[tuple[ToolParameter, ast.expr]], list[Wrong]]:
    """Return which parameter gets what, and what is wrong with the names."""
    parameters = definition.parameters
    name = definition.name
    given: dict[str, tuple[ToolParameter, ast.expr]] = {}
    wrong: list[Wrong] = []
    stars = [i for i, argument in enumerate(call.args) if isinstance(argument, ast.Starred)]
    certain = call.args[: stars[0]] if stars else call.args
    for parameter, value in zip(parameters, certain, strict=False):
        given[parameter.tool_name] = (parameter, value)
    if len(certain) > len(parameters):
        takes = "1 positional argument" if len(parameters) == 1 else f"{len(parameters)} positional"
        takes += "" if len(parameters) == 1 else " arguments"
        wrong.append(
            Wrong(
                certain[len(parameters)],
                f"{name}() takes {takes}, {len(certain)} {_were(len(certain))} given",
            )
        )
    own = {p.tool_name: p for p in parameters} | {p.name: p for p in parameters}
    unknown = []
    keywords = list(_keywords(call))
    for keyword in keywords:
        if keyword.arg is None:
            continue
        known = own.get(keyword.arg)
        if known is None:
            if definition.extra is None:
                unknown.append(keyword)
        elif known.tool_name in given:
            wrong.append(Wrong(keyword, f"{name}() gets {keyword.arg!r} twice"))
        else:
            given[known.tool_name] = (known, keyword.value)
    free = [p.name for p in parameters if p.tool_name not in given]
    for keyword in unknown[:_MOST_TOLD]:
        guess = did_you_mean(keyword.arg or "", free) or did_you_mean(keyword.arg or "", list(own))
        wrong.append(Wrong(keyword, f"{name}() has no parameter {keyword.arg!r}{guess}"))
    if not stars and all(keyword.arg is not None for keyword in keywords):
        missing = [p.name for p in parameters if p.required and p.tool_name not in given]
        if missing:
            named = "it" if wrong else f"{name}()"
            wrong.append(Wrong(call, f"{named} misses {', '.join(map(repr, missing))}"))
    return list(given.values()), wrong


def _keywords(call: ast.Call) -> Iterator[ast.keyword]:
    """Yield the keyword arguments, those in a `**{"name": value}` among them."""
    for keyword in call.keywords:
        display = keyword.value
        if keyword.arg is None and isinstance(display, ast.Dict):
            for key, value in zip(display.keys, display.values, strict=True):
                known = isinstance(key, ast.Constant) and isinstance(key.value, str)
                name = str(key.value) if known and isinstance(key, ast.Constant) else None
                yield ast.copy_location(ast.keyword(name, value), key or value)
        else:
            yield keyword


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


class _ValueChecker:
    """Holds one value against the type of one parameter."""

    def __init__(
        self,
        definition: ToolDefinition,
        parameter: ToolParameter,
        lenient: Leniency,
        inference: Inference,
    ) -> None:
        self._definition = definition
        self._parameter = parameter
        self._lenient = lenient
        self._inference = inference

    def check(self, node: ast.expr, tree: TypeTree, path: str) -> Iterator[Wrong]:
        """Yield what is wrong with `node` as a value of `tree`; `path` says where it stands."""
        self._inference.work.spend()
        path = clip(path, _MAX_PATH)
        if isinstance(tree, Alternatives):
            found = [list(self.check(node, option, path)) for option in tree.options]
            if all(found):
                # What went into the value is nearer to the mistake than that nothing fits.
                inner = [wrong for wrong in found if wrong[0].node is not node]
                constant = _constant(node)
                shown = _show(constant.value) if isinstance(constant, ast.Constant) else ""
                whole = self._misfit(node, tree, path, shown=shown)
                yield from inner[0] if len(inner) == 1 else [whole]
            return
        if isinstance(node, ast.IfExp):
            branches = [list(self.check(part, tree, path)) for part in (node.body, node.orelse)]
            if all(branches):
                yield branches[0][0]
            return
        if isinstance(node, ast.List | ast.Tuple | ast.Set) and _takes_items(tree):
            yield from self._check_items(node, tree, path)
        elif isinstance(node, ast.Dict) and (
            isinstance(tree, RecordRef) or (isinstance(tree, Container) and tree.name == "dict")
        ):
            yield from self._check_dict(node, tree, path)
        elif isinstance(constant := _constant(node), ast.Constant):
            if not self._fits_constant(constant.value, tree, path):
                yield self._misfit(node, tree, path, shown=_show(constant.value))
        elif not self._fits(self._inference.infer(node), tree, path):
            yield self._misfit(node, tree, path)

    def _check_items(
        self, node: ast.List | ast.Tuple | ast.Set, tree: TypeTree, path: str
    ) -> Iterator[Wrong]:
        assert isinstance(tree, Container)
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return
        if tree.name == "tuple" and not tree.variadic:
            if len(node.elts) == len(tree.args):
                for number, (element, arg) in enumerate(zip(node.elts, tree.args, strict=True)):
                    yield from self.check(element, arg, f"{path}[{number}]")
            return
        for number, element in enumerate(node.elts):
            if tree.args:
                yield from self.check(element, tree.args[0], f"{path}[{number}]")

    def _check_dict(self, node: ast.Dict, tree: TypeTree, path: str) -> Iterator[Wrong]:
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if isinstance(tree, Container):
            for key, value in zip(keys, node.values, strict=True):
                if key is not None:
                    yield from self.check(value, tree.args[1], f"{path}[{key!r}]")
            return
        assert isinstance(tree, RecordRef)
        fields = {field.name: field for field in self._definition.record(tree).fields}
        for key, value in zip(keys, node.values, strict=True):
            if isinstance(key, str) and key in fields:
                yield from self.check(value, fields[key].type, f"{path}[{key!r}]")
        missing = [f.name for f in fields.values() if f.required and f.name not in keys]
        if missing and None not in keys and not self._lenient.has_aliases(self._parameter):
            unknown = [key for key in keys if isinstance(key, str) and key not in fields]
            guess = did_you_mean(unknown[0], missing) if unknown else ""
            extra = f"; it has {unknown[0]!r}{guess}" if unknown and guess else ""
            yield Wrong(node, f"{path} misses {', '.join(map(repr, missing))}{extra}")

    # --- what fits ------------------------------------------------------------------------------

    def _misfit(self, node: ast.AST, tree: TypeTree, path: str, *, shown: str = "") -> Wrong:
        wanted = describe(tree, self._definition)
        if isinstance(tree, Choice):
            guess = ""
            if isinstance(constant := _constant(node), ast.Constant) and constant.value is not None:
                text = constant.value if isinstance(constant.value, str) else shown
                guess = value_meant(text, [str(v) for v in tree.values])
            options = ", ".join(map(repr, tree.values[:20]))
            more = ", …" if len(tree.values) > 20 else ""
            return Wrong(
                node, f"{path} must be one of {options}{more}, got {shown or 'another'}{guess}"
            )
        if not shown:
            shown = self._describe_value(node)
        return Wrong(node, f"{path} must be {wanted}, got {shown}{self._unpack(node, path)}")

    def _unpack(self, node: ast.AST, path: str) -> str:
        """Return a hint for one who passes all arguments as one dict, as a direct call has them."""
        names = {p.name for p in self._definition.parameters}
        keys = _constant_keys(node)
        if path != self._parameter.name or not keys or not set(keys) <= names:
            return ""
        return f"; pass its items by keyword: {self._definition.name}({keys[0]}=...)"

    def _describe_value(self, node: ast.AST) -> str:
        assert isinstance(node, ast.expr)
        displays = {
            ast.List: "a list",
            ast.ListComp: "a list",
            ast.Dict: "a dict",
            ast.DictComp: "a dict",
            ast.Set: "a set",
            ast.Tuple: "a tuple",
        }
        if type(node) in displays:
            return displays[type(node)]
        for value in self._inference.infer(node):
            if isinstance(value, Pending):
                return f"{value.source}, which is not awaited"
            if isinstance(value, Data):
                of = f" of {value.source}" if value.source else ""
                return f"{describe(value.tree, value.definition)}{of}"
            if isinstance(value, Items):
                return "a tuple" if value.is_tuple else "a list"
        return "another"

    def _fits(self, values: Values, tree: TypeTree, path: str) -> bool:
        """Whether one of the values may be of the type; what is not known may."""
        return any(self._fits_value(value, tree, path) for value in values)

    def _fits_value(self, value: object, tree: TypeTree, path: str) -> bool:
        wanted = _family(tree)
        if isinstance(value, Pending):
            return False  # no awaitable can be sent
        if wanted is None:
            return True
        if isinstance(value, Items):
            return wanted in ("list", "tuple")
        if not isinstance(value, Data):
            return True
        if isinstance(value.tree, Alternatives):
            return any(
                self._fits_value(Data(option, value.definition), tree, path)
                for option in value.tree.options
            )
        found = _family(value.tree)
        if found is None or found == wanted:
            return True
        if found == "None":
            return self._accepts_none(path)
        # A string may hold a number, and a JSON text a list: what it holds is not known.
        if found == "str":
            return wanted == "number" or self._lenient.reads_text
        if wanted == "str" and found == "number":
            return self._lenient.takes_numbers_as_text
        return {found, wanted} <= {"list", "tuple"}

    def _accepts_none(self, path: str) -> bool:
        parameter = self._parameter
        if path != parameter.name:
            return self._lenient.is_by_contract
        return parameter.default is None or (
            self._lenient.is_by_contract and not parameter.required
        )

    def _fits_constant(self, value: object, tree: TypeTree, path: str) -> bool:
        if value is None:
            nullable = tree == Named(name="None") or _family(tree) is None
            return nullable or self._accepts_none(path)
        if isinstance(tree, Choice):
            return self._fits_choice(value, tree)
        wanted = kind_of(tree)
        if isinstance(value, str):
            return self._fits_text(value, wanted, tree)
        if isinstance(value, bool | int | float):
            return self._fits_number(value, wanted, tree)
        return True

    def _fits_text(self, text: str, wanted: str | None, tree: TypeTree) -> bool:
        if wanted in ("int", "float"):
            return _is_number(text)
        if wanted == "bool":
            return text.lower() in _BOOLS
        if wanted == "None":
            return False
        if wanted == "record" or isinstance(tree, Container):
            return self._lenient.reads_text and text.lstrip()[:1] in ("[", "{")
        return True

    def _fits_number(self, value: float, wanted: str | None, tree: TypeTree) -> bool:
        if wanted == "str":
            return self._lenient.takes_numbers_as_text
        if wanted == "int":
            return isinstance(value, int) or value.is_integer()
        if wanted == "bool":
            return value in (0, 1)
        return not (wanted in ("record", "None") or isinstance(tree, Container))

    def _fits_choice(self, value: object, tree: Choice) -> bool:
        if any(value == other for other in tree.values):
            return True
        kinds = {type(other) for other in tree.values}
        if isinstance(value, str) and kinds == {str}:
            return False
        if isinstance(value, str):
            return not (kinds <= {int, str} and not _is_number(value))
        return not (isinstance(value, int | float) and kinds <= {int, str})


def _constant_keys(node: ast.AST) -> list[object]:
    if not isinstance(node, ast.Dict):
        return []
    return [key.value for key in node.keys if isinstance(key, ast.Constant)]


def _takes_items(tree: TypeTree) -> bool:
    return isinstance(tree, Container) and tree.name != "dict"


def _family(tree: TypeTree) -> str | None:
    """Return what kind of value a type is at the coarsest, or None if it may be several."""
    kind = kind_of(tree)
    if kind in _NUMBERS:
        return "number"
    if kind in ("record", "dict"):
        return "record"
    if kind in _LISTS:
        return "list"
    return kind


def _constant(node: ast.AST) -> ast.AST:
    """Return `node`, with `-5` as the number that it is."""
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and type(node.operand.value) in (int, float)
    ):
        return ast.Constant(-node.operand.value)  # type: ignore[operator]
    return node


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show(value: object) -> str:
    try:
        return clip(repr(value), _MAX_SHOWN)
    except ValueError:  # Python writes no integer of so many digits
        return "a number of very many digits"
