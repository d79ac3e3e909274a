"""What went wrong in a program, in terms of its own lines.

Frames of libraries and paths of the machine are left out: the code cannot mend them.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple, cast

from langchain_ptc.errors import (
    CodeSyntaxError,
    LimitExceeded,
    PolicyError,
    ToolCallError,
    closest,
    count,
    cut,
    did_you_mean,
    with_article,
)
from langchain_ptc.sandbox.api import Failure, Status
from langchain_ptc.sandbox.language.policy import CODE_FILENAME
from langchain_ptc.sandbox.language.scopes import SyntaxTree
from langchain_ptc.sandbox.worker.output import TextTarget

MAX_MESSAGE_CHARS = 4_000
MAX_FRAMES = 12
MAX_ERRORS_SHOWN = 3
"""Of a group of errors, so many with their frames."""
_HEAD_FRAMES = 4
_MAX_ALIKE = 2
_MANY = 100
_INNER_FRAMES = "<listcomp>", "<setcomp>", "<dictcomp>", "<generic parameters of ", "__annotate__"
"""Beginnings of the names of frames that some versions of Python have; rendered as if there were none."""
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
_NO_ERROR = "NoneType: None"
"""What `traceback` writes where there is none."""


def describe(
    error: BaseException, source: str, names: tuple[str, ...] = (), tools: tuple[str, ...] = ()
) -> tuple[Status, Failure]:
    """Describe why a program ended; `names` of the code and qualified `tools` are for suggestions."""
    if isinstance(error, PolicyError):
        line = error.violations[0].line
        return "refused", Failure(
            kind="PolicyError",
            message=_cut(str(error)),
            line=line,
            source_line=_line(source, line),
            violations=error.violations,
        )
    if isinstance(error, CodeSyntaxError):
        place = f"line {error.line}: " if error.line else ""
        caret = _point_at(error.source_line, error.column)
        return "error", Failure(
            kind="SyntaxError",
            message=_cut(str(error)),
            line=error.line,
            source_line=error.source_line,
            traceback=f"{place}SyntaxError: {_cut(str(error))}{caret}",
        )
    culprit = next(_leaves(error))
    places = _places(culprit.__traceback__) or _places(error.__traceback__)
    line = places[-1].line if places else 0
    limit, allowed, used = _limit_of(culprit)
    operands = (
        _describe_operands(culprit, places[-1].frame, places[-1].position, source) if places else ""
    )
    hint = _hint(culprit, names, tools) or operands
    failure = Failure(
        kind="LimitExceeded" if limit else type(error).__name__,
        message=_message(error),
        line=line,
        source_line=_line(source, line),
        traceback=render_error(error, source, has_keys=bool(operands)),
        hint=_cut(hint),
        limit=limit,
        allowed=allowed,
        used=used,
    )
    return ("limit" if limit else "error"), failure


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, of groups in it too; an error that is not a group, itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _limit_of(error: BaseException) -> tuple[str | None, float | None, float | None]:
    if isinstance(error, LimitExceeded | ToolCallError):
        return error.limit, error.allowed, error.used
    if isinstance(error, MemoryError):
        return "memory_bytes", None, None
    return None, None, None


def _message(error: BaseException) -> str:
    try:
        is_key = isinstance(error, KeyError) and len(error.args) > 0
        text = repr(error.args[0]) if is_key else str(error)
    except Exception as broken:  # noqa: BLE001  # the code's own __str__ may raise anything
        text = f"<its text cannot be read: {type(broken).__name__}>"
    if isinstance(error, BaseExceptionGroup):
        text = f"{error.message}: {'; '.join(_headline(e) for e in islice(_leaves(error), 5))}"
    notes = [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]
    cause = error.__cause__
    if isinstance(cause, Exception):
        notes.append(f"caused by {_cut(_headline(cause), 500)}")
    return _cut("\n".join([text, *notes]).strip())


def _headline(error: BaseException) -> str:
    text = _message(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _cut(text: str, most: int = MAX_MESSAGE_CHARS) -> str:
    if len(text) <= most:
        return text
    return (
        f"{text[: most // 2]} … [{count(len(text) - most, 'character')} cut] … {text[-most // 2 :]}"
    )


# --- frames -------------------------------------------------------------------------------------

_NOWHERE: _Position = (None, None, None, None)


class _Place(NamedTuple):
    frame: FrameType
    position: _Position
    line: int


def _places(trace: TracebackType | None) -> list[_Place]:
    places: list[_Place] = []
    while trace is not None:
        frame, code = trace.tb_frame, trace.tb_frame.f_code
        if code.co_filename == CODE_FILENAME:
            if code.co_name.startswith(_INNER_FRAMES) and places:
                frame = places.pop().frame
            places.append(_Place(frame, _position(code, trace.tb_lasti), trace.tb_lineno))
        trace = trace.tb_next
    return places


def _position(code: CodeType, instruction: int) -> _Position:
    found = islice(code.co_positions(), instruction // 2, None) if instruction >= 0 else ()
    return next(iter(found), _NOWHERE)


def build_traceback_names(source: str, stderr: TextTarget) -> dict[str, object]:
    """Build the names of `traceback` for a program: its own frames, and no paths of the machine."""

    def format_exception(exc: object, /, value: object = None, *_: object, **__: Any) -> list[str]:
        error = exc if isinstance(exc, BaseException) else value
        return f"{render_error(error, source)}\n".splitlines(keepends=True)

    def format_exception_only(exc: object, /, value: object = None, **_: object) -> list[str]:
        error = exc if isinstance(exc, BaseException) else value
        return [f"{_headline(error)}\n" if isinstance(error, BaseException) else f"{_NO_ERROR}\n"]

    def format_exc(*_: object, **__: object) -> str:
        return render_error(sys.exception(), source)

    def print_exception(exc: object, /, *rest: object, file: object = None, **_: object) -> None:
        target = cast("TextTarget", stderr if file is None else file)
        target.write("".join(format_exception(exc, *rest[:1])))

    def print_exc(*_: object, file: object = None, **__: object) -> None:
        print_exception(sys.exception(), file=file)

    return {
        "format_exc": format_exc,
        "format_exception": format_exception,
        "format_exception_only": format_exception_only,
        "print_exc": print_exc,
        "print_exception": print_exception,
    }


def describe_stack(frame: FrameType | None, source: str) -> tuple[int, str]:
    """Return the line where the code is, and its frames as text; for a program that is stopped."""
    places: list[_Place] = []
    while frame is not None:
        if frame.f_code.co_filename == CODE_FILENAME:
            places.append(_Place(frame, _NOWHERE, frame.f_lineno))
        frame = frame.f_back
    places.reverse()
    return (places[-1].line if places else 0), _render_frames(places, source)


def render_error(error: object, source: str, *, has_keys: bool = False) -> str:
    """Return frames and text of an error and of those in it, without the keys if the hint has them."""
    if not isinstance(error, BaseException):
        return _NO_ERROR
    headline = _headline(error)
    if has_keys:
        headline = _KEYS.sub("", headline)
    text = _render_frames(_places(error.__traceback__), source) + headline
    if isinstance(error, BaseExceptionGroup):
        leaves = [leaf for leaf in islice(_leaves(error), MAX_ERRORS_SHOWN) if leaf.__traceback__]
        parts = dict.fromkeys(render_error(leaf, source, has_keys=has_keys) for leaf in leaves)
        text += "".join(f"\n\nin it: {part}" for part in parts)
    return text


def _render_frames(places: list[_Place], source: str) -> str:
    if not places:
        return ""
    shown = _fold([_render_frame(place, source) for place in places])
    if len(shown) > MAX_FRAMES:
        tail = MAX_FRAMES - _HEAD_FRAMES
        left_out = f"  … {count(len(shown) - MAX_FRAMES, 'more frame')} …\n"
        shown = [*shown[:_HEAD_FRAMES], left_out, *shown[-tail:]]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _fold(frames: list[str]) -> list[str]:
    folded: list[str] = []
    for frame, same in itertools.groupby(frames):
        number = len(list(same))
        folded += [frame] * min(number, _MAX_ALIKE)
        if number > _MAX_ALIKE:
            left = number - _MAX_ALIKE
            times = "many times" if left >= _MANY else count(left, "time")
            folded.append(f"  … the same {times} more …\n")
    return folded


def _render_frame(place: _Place, source: str) -> str:
    frame, position, line = place
    _, end_line, start, end = _narrow(position, source)
    name = frame.f_code.co_name
    where = f"  line {line}" + ("" if name.startswith("<module") else f", in {name}") + "\n"
    text = _line(source, line)
    stripped = text.strip()
    if not stripped:
        return where
    where += f"    {stripped}\n"
    if end_line is not None and start is not None and end is not None:
        data = text.encode("utf-8", "surrogatepass")
        if end_line > line:  # the rest of it is on further lines
            end = len(data.rstrip())
        first = len(data[:start].decode(errors="replace"))
        last = len(data[:end].decode(errors="replace"))
        indent = len(text) - len(text.lstrip())
        if (first, last) != (indent, len(text.rstrip())):
            where += f"    {' ' * (first - indent)}{'^' * max(1, last - first)}\n"
    return where


def _point_at(text: str, column: int) -> str:
    """Return a line with a caret under one of its columns, from 1; 0 for none."""
    stripped, at = text.strip(), column - 1 - (len(text) - len(text.lstrip()))
    caret = f"\n    {' ' * at}^" if 0 <= at <= len(stripped) else ""
    return f"\n    {stripped}{caret}" if stripped else ""


def _line(source: str, line: int) -> str:
    lines = source.split("\n")
    return lines[line - 1][:300] if 0 < line <= len(lines) else ""


_KEYS = re.compile(r"(?:\n|; )its keys are: .*")
"""What a record says of itself; see `sandbox.values`."""
_FROM_TOOLS = re.compile(
    r"cannot import name '(?P<name>\w+)' from 'tools|"
    r"module 'tools[.\w]*' has no attribute '(?P<attribute>\w+)'"
)


def _suggest(missing: str, names: tuple[str, ...], tools: tuple[str, ...]) -> str:
    """Say which name was meant, or in which domain a tool of that name is."""
    domains = {tool.rpartition(".")[0] for tool in tools if tool.rpartition(".")[2] == missing}
    if domains:
        places = [f"from tools{f'.{d}' if d else ''} import {missing}" for d in sorted(domains)]
        return f"write `{'` or `'.join(places)}`"
    known = dict.fromkeys([*(tool.rpartition(".")[2] for tool in tools), *names])
    return did_you_mean(closest(missing, known, limit=3)).strip(" ()")


# --- hints --------------------------------------------------------------------------------------

_OF_TYPE_ERRORS = {
    "can't be used in 'await' expression": "only tool calls and asyncio calls are awaited: remove this `await`",
    "'builtin_function_or_method'": "a method is used as a value: call it, or read a record's field as record['name']",
    "the JSON object must be str": "this is data already: use it as it is, without `json.loads`",
    "is not JSON serializable": "write `json.dumps(..., default=str)`, and `list(...)` for a set",
}
"""By a part of their text."""


def _hint(error: BaseException, names: tuple[str, ...], tools: tuple[str, ...]) -> str:
    text = _message(error)
    if isinstance(error, TypeError | AttributeError) and "coroutine" in text:
        return (
            "a tool call gives its value only when it is awaited: `await tool(...)`, and in "
            "parentheses where more follows: `(await tool(...))[0]`"
        )
    if isinstance(error, TypeError):
        return next((hint for part, hint in _OF_TYPE_ERRORS.items() if part in text), "")
    if isinstance(error, NameError) and (missing := re.search(r"name '(\w+)'", text)):
        return _suggest(missing[1], names, tools)
    if isinstance(error, ImportError | AttributeError) and (missing := _FROM_TOOLS.search(text)):
        return _suggest(missing["name"] or missing["attribute"], (), tools)
    if isinstance(error, RecursionError):
        return "the functions call each other without an end"
    return ""


# --- the operands of what failed --------------------------------------------------------------------

# They are looked up where that runs nothing of the code's: names, and the items of plain containers.
# Their keys and types are shown, never their values.


def _describe_operands(
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
        if isinstance(values[0], ModuleType):
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
    seen = list(islice(items, _MAX_ITEMS_SEEN))
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
    code, given = function.__code__, function.__code__.co_argcount
    names = code.co_varnames[: given + code.co_kwonlyargcount]
    optional = {*names[given - len(function.__defaults__ or ()) : given]}
    optional |= {*(function.__kwdefaults__ or ())}
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


def _narrow(position: _Position, source: str) -> _Position:
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
        case ast.Subscript(value=value) | ast.Attribute(value=value) | ast.Await(value=value):
            return [value]
        case ast.UnaryOp(operand=value):
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
