"""What the operands of the expression that raised were: their keys and types, never their values.

They are looked up where that runs nothing of the code's: names, and the items of plain containers. Nothing here
calls a method that code may have written.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Iterator, Mapping
from types import FrameType, FunctionType, ModuleType
from typing import Any, cast

from langchain_ptc.sandbox.language.policy import CODE_FILENAME
from langchain_ptc.sandbox.language.scopes import SyntaxTree
from langchain_ptc.wording import closest, cut, did_you_mean, with_article

_MAX_KEYS = 20
_MAX_KEY_CHARS = 60
_MAX_SUBJECTS = 3
_MAX_NAME_CHARS = 60
_MAX_HINT_CHARS = 1_200
_MAX_ITEMS_SEEN = 50
_MAX_ITEMS_TRIED = 1_000
_KINDS = (KeyError, AttributeError, TypeError, IndexError)

_Position = tuple[int | None, int | None, int | None, int | None]
"""Line, end line, column and end column, in bytes."""


_UNKNOWN = object()
"""In place of a value that cannot be read without running code."""


def describe_operands(
    error: BaseException, frame: FrameType, position: _Position, source: str
) -> str:
    """Return what the operands of the expression at `position` look like; empty if it is not known."""
    if not isinstance(error, _KINDS):
        return ""
    try:
        described = list(_describe_all(error, frame, position, source))
    except Exception:  # noqa: BLE001  # classes of the code may raise anything when looked at
        return ""
    return "; ".join(dict.fromkeys(described[:_MAX_SUBJECTS]))[:_MAX_HINT_CHARS]


def _describe_all(
    error: BaseException, frame: FrameType, position: _Position, source: str
) -> Iterator[str]:
    node = _expressions(source).get(position)
    scope = _Scope(frame, {} if node is None else _loops_around(node, _parse(source)))
    if isinstance(error, AttributeError):
        yield from _describe_owner(error, node, source)
        return
    subjects = [] if node is None else _subjects_of(node)
    if isinstance(node, ast.Attribute) or (node and "not iterable" in str(error)):
        # Getting an attribute raises no such error: what was got is gone through, or unpacked.
        subjects = subjects if isinstance(node, ast.Call) else [node]
    if isinstance(error, KeyError):
        subjects = subjects[:1]
    for subject in subjects:
        values = [] if isinstance(subject, ast.Constant) else scope.values_of(subject)
        if isinstance(error, KeyError):
            values = [value for value in values if _misses(value, error)][:1]
        if not values or (callable(values[0]) and not isinstance(values[0], FunctionType)):
            continue
        value, name = values[0], _name(subject, source)
        kinds = sorted({_kind_of(one) for one in values})
        if isinstance(value, FunctionType):
            if value.__code__.co_filename == CODE_FILENAME:
                yield f"{value.__name__} takes ({_parameters_of(value)})"
        elif len(kinds) > 1:
            yield f"`{name}` is {' or '.join(kinds[:4])}"
        else:
            yield f"`{name}` is {_describe_value(value)}" + _meant_key(error, value)


def _misses(value: object, error: KeyError) -> bool:
    """Whether a value may be the one that has no such key."""
    key = error.args[0] if error.args else None
    return not (isinstance(value, dict) and type(key) in (str, int) and key in dict.keys(value))


def _describe_owner(error: AttributeError, node: ast.AST | None, source: str) -> Iterator[str]:
    """Describe what has no such attribute: Python itself says what it is."""
    owner = error.obj
    if not isinstance(node, ast.Attribute) or isinstance(owner, ModuleType | type):
        return
    if owner is None and "'NoneType'" not in str(error):
        return  # raised by the code itself
    name = _name(node.value, source)
    if type(owner).__module__ == "builtins" or isinstance(owner, dict):
        yield f"`{name}` is {_describe_value(owner)}" + _meant_key(error, owner)
    elif fields := _fields_of(owner):
        meant = did_you_mean(closest(error.name or "", fields))
        shown = ", ".join(map(repr, fields[:_MAX_KEYS]))
        yield f"`{name}` is {with_article(type(owner).__name__)} with the attributes {shown}{meant}"


def _fields_of(value: object) -> list[str]:
    """Return the names of what an object of a class of the code holds."""
    if isinstance(value, type) or type(value).__module__ in ("builtins", "datetime", "decimal"):
        return []
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return []
    return [str(name) for name in held if type(name) is str and not name.startswith("_")]


def _describe_value(value: object) -> str:
    """Return type and keys of a value, and the types of its values or items."""
    kind = type(value)
    if value is None:
        return "None"
    if isinstance(value, dict):
        return f"a dict with {_describe_keys(value)}" if value else "an empty dict"
    if kind not in (list, tuple, set, frozenset):
        return with_article(kind.__name__)
    items = cast("list[Any]", value)
    if not items:
        return f"an empty {kind.__name__}"
    seen = list(itertools.islice(items, _MAX_ITEMS_SEEN))
    kinds = sorted(set(map(_kind_of, seen)))
    text = f"a {kind.__name__} of {len(items):,}"
    if kinds == ["dict"]:
        return f"{text} dicts with {_describe_keys(seen[0], kinds=False)}"
    return f"{text} ({' or '.join(kinds[:4])})"


def _describe_keys(value: dict[Any, Any], *, kinds: bool = True) -> str:
    keys = list(dict.keys(value))
    shown = []
    for key in keys[:_MAX_KEYS]:
        text = repr(key) if type(key) in (str, int, float, bool) else type(key).__name__
        text = cut(text, _MAX_KEY_CHARS)
        shown.append(f"{text}: {_kind_of(dict.get(value, key))}" if kinds else text)
    more = f", … {len(keys) - _MAX_KEYS} more" if len(keys) > _MAX_KEYS else ""
    return f"{', '.join(shown)}{more}"


def _kind_of(value: object) -> str:
    if value is None:
        return "None"
    if type(value) is list and value:
        return f"list of {_kind_of(value[0])}"
    return "dict" if isinstance(value, dict) else type(value).__name__


def _meant_key(error: BaseException, value: object) -> str:
    """Return the key that was probably meant."""
    if not isinstance(value, dict):
        return ""
    missing: object = error.name if isinstance(error, AttributeError) else None
    if isinstance(error, KeyError) and error.args:
        missing = error.args[0]
    if isinstance(missing, str):
        keys = [key for key in dict.keys(value) if type(key) is str]
        return did_you_mean(closest(missing, keys))
    is_text = isinstance(missing, int) and dict.__contains__(value, str(missing))
    return did_you_mean([str(missing)] if is_text else [])


def _parameters_of(function: FunctionType) -> str:
    code = function.__code__
    given = code.co_argcount
    names = list(code.co_varnames[: given + code.co_kwonlyargcount])
    optional = set(names[given - len(function.__defaults__ or ()) : given])
    optional |= set(function.__kwdefaults__ or ())
    return ", ".join(f"{name}=…" if name in optional else name for name in names)


# --- the expression -----------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _parse(source: str) -> SyntaxTree:
    return SyntaxTree(ast.parse(source))


@functools.lru_cache(maxsize=1)
def _expressions(source: str) -> dict[_Position, ast.expr]:
    """Return the expressions by their positions, and by those of the statements that begin with them.

    One version of Python says where the `for`, `with` or `assert` is that failed, and another one
    where in it the expression is.
    """
    found: dict[_Position, ast.expr] = {}
    for node in _parse(source).nodes:
        match node:
            case ast.expr():
                found.setdefault(_position_of(node), node)
            case ast.For(iter=begin) | ast.AsyncFor(iter=begin) | ast.Assert(test=begin):
                found[_position_of(node)] = begin
            case ast.With(items=[item, *_]) | ast.AsyncWith(items=[item, *_]):
                found[_position_of(node)] = item.context_expr
    return found


def narrow(position: _Position, source: str) -> _Position:
    """Return the position of the expression that a statement begins with in place of the statement's."""
    try:
        node = _expressions(source).get(position)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return position
    return position if node is None else _position_of(node)


def _position_of(node: ast.stmt | ast.expr) -> _Position:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _subjects_of(node: ast.AST) -> list[ast.expr]:
    """Return the operands of an expression, the likeliest culprit first."""
    match node:
        case ast.Subscript(value=value):
            return [value]
        case ast.Attribute(value=value) | ast.UnaryOp(operand=value) | ast.Await(value=value):
            return [value]
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.Compare(left=left, comparators=rights):
            return [left, *rights]
        case ast.Call(func=func, args=args, keywords=keywords):
            called = func.value if isinstance(func, ast.Attribute) else func
            return [called, *args, *(keyword.value for keyword in keywords)]
        case ast.Name():
            return [node]
    return []


def _name(node: ast.AST, source: str) -> str:
    text = " ".join((ast.get_source_segment(source, node) or "").split())
    return cut(text, _MAX_NAME_CHARS)


class _Scope:
    """Finds the values of expressions without running anything."""

    def __init__(self, frame: FrameType, loops: Mapping[str, ast.expr]) -> None:
        self._locals: Mapping[str, Any] = frame.f_locals
        self._globals: Mapping[str, Any] = frame.f_globals
        self._loops = loops

    def values_of(self, node: ast.expr) -> list[Any]:
        """Return what an expression may have been: of each item, in a comprehension."""
        loops = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & set(self._loops)
        if not loops:
            found = [self._value_of(node, {})]
        else:
            items = self._value_of(self._loops[name := loops.pop()], {})
            if type(items) not in (list, tuple) or loops:
                return []
            found = [self._value_of(node, {name: item}) for item in items[:_MAX_ITEMS_TRIED]]
        return [value for value in found if value is not _UNKNOWN]

    def _value_of(self, node: ast.expr, item: Mapping[str, Any]) -> Any:
        match node:
            case ast.Name(id=name) if name in item or name in self._loops:
                return item.get(name, _UNKNOWN)
            case ast.Name(id=name):
                return self._locals.get(name, self._globals.get(name, _UNKNOWN))
            case ast.Constant(value=value):
                return value
            case ast.Attribute(value=owner, attr=name):
                held = self._value_of(owner, item)
                return dict.get(held, name, _UNKNOWN) if isinstance(held, dict) else _UNKNOWN
            case ast.Subscript(value=owner, slice=index):
                return _item(self._value_of(owner, item), self._value_of(index, item))
        return _UNKNOWN


def _item(owner: Any, index: Any) -> Any:
    if isinstance(owner, dict) and type(index) in (str, int):
        return dict.get(owner, index, _UNKNOWN)
    if type(owner) in (list, tuple) and type(index) is int and -len(owner) <= index < len(owner):
        return owner[index]
    return _UNKNOWN


def _loops_around(node: ast.AST, tree: SyntaxTree) -> dict[str, ast.expr]:
    """Return what the comprehensions around an expression iterate over, by the name of the item.

    Their variables are gone by the time that they have failed: since Python 3.12 they have no frame.
    """
    found: dict[str, ast.expr] = {}
    for outer in tree.outward(node):
        if isinstance(outer, ast.ListComp | ast.SetComp | ast.DictComp):
            for loop in reversed(outer.generators):
                names = [n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)]
                for name in names:
                    found.setdefault(name, loop.iter if names == [name] else ast.Tuple(elts=[]))
    return found
