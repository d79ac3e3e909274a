"""What went wrong in a program, in terms of its own lines.

Frames of libraries and paths of the machine are left out: the code cannot mend them.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import NamedTuple, cast

from langchain_ptc.errors import CodeSyntaxError, LimitExceeded, PolicyError, ToolCallError
from langchain_ptc.sandbox.api import Failure, Status
from langchain_ptc.sandbox.language.policy import CODE_FILENAME
from langchain_ptc.sandbox.worker.operands import describe_operands, narrow
from langchain_ptc.sandbox.worker.output import TextTarget
from langchain_ptc.wording import closest, did_you_mean

MAX_MESSAGE_CHARS = 4_000
MAX_FRAMES = 12
MAX_ERRORS_SHOWN = 3
"""Of a group of errors, so many with their frames."""
_HEAD_FRAMES = 4
_MAX_ALIKE = 2
_MANY = 100
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
"""Frames of their own until Python 3.11; rendered as if they had none."""


def describe(
    error: BaseException, source: str, names: tuple[str, ...] = (), tools: tuple[str, ...] = ()
) -> tuple[Status, Failure]:
    """Describe why a program ended; `names` of the code and qualified `tools` are for suggestions."""
    if isinstance(error, PolicyError):
        first = error.violations[0]
        return "refused", Failure(
            kind="PolicyError",
            message=_cut(str(error)),
            line=first.line,
            source_line=_line(source, first.line),
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
    return _describe_raised(error, source, names, tools)


def _describe_raised(
    error: BaseException, source: str, names: tuple[str, ...], tools: tuple[str, ...]
) -> tuple[Status, Failure]:
    culprit = next(_leaves(error))
    places = _places(culprit.__traceback__) or _places(error.__traceback__)
    line = places[-1].line if places else 0
    limit, allowed, used = _limit_of(culprit)
    operands = (
        describe_operands(culprit, places[-1].frame, places[-1].position, source) if places else ""
    )
    hint = _hint(culprit, names, tools) or operands
    failure = Failure(
        kind="LimitExceeded" if limit else type(error).__name__,
        message=_message(error),
        line=line,
        source_line=_line(source, line),
        traceback=_render_error(error, source, has_keys=bool(operands)),
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
    return f"{text[: most // 2]} … [{len(text) - most:,} characters cut] … {text[-most // 2 :]}"


# --- frames -------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where the code was, in one of its frames."""

    frame: FrameType
    position: tuple[int | None, int | None, int | None, int | None]
    """Line, end line, column and end column."""
    line: int


def _places(trace: TracebackType | None) -> list[_Place]:
    places: list[_Place] = []
    while trace is not None:
        frame, code = trace.tb_frame, trace.tb_frame.f_code
        if code.co_filename == CODE_FILENAME:
            if code.co_name in _COMPREHENSIONS and places:
                frame = places.pop().frame
            places.append(_Place(frame, _position(code, trace.tb_lasti), trace.tb_lineno))
        trace = trace.tb_next
    return places


def _position(
    code: CodeType, instruction: int
) -> tuple[int | None, int | None, int | None, int | None]:
    if instruction < 0:
        return (None, None, None, None)
    return next(islice(code.co_positions(), instruction // 2, None), (None, None, None, None))


def build_traceback_names(source: str, stderr: TextTarget) -> dict[str, object]:
    """Build the names of `traceback` for a program: its own frames, and no paths of the machine."""

    def format_exception(
        exc: object, /, value: object = None, *_: object, **__: object
    ) -> list[str]:
        """Return an exception with the frames of the code, as lines."""
        error = exc if isinstance(exc, BaseException) else value
        if not isinstance(error, BaseException):
            return ["NoneType: None\n"]
        return f"{_render_error(error, source)}\n".splitlines(keepends=True)

    def format_exception_only(exc: object, /, value: object = None, **_: object) -> list[str]:
        """Return the last line of an exception's traceback."""
        error = exc if isinstance(exc, BaseException) else value
        return [f"{_headline(error)}\n" if isinstance(error, BaseException) else "NoneType: None\n"]

    def format_exc(*_: object, **__: object) -> str:
        """Return the exception that is handled as text."""
        return "".join(format_exception(sys.exception())).rstrip("\n")

    def print_exception(exc: object, /, *rest: object, file: object = None, **_: object) -> None:
        """Print an exception."""
        target = cast("TextTarget", stderr if file is None else file)
        target.write("".join(format_exception(exc, *rest[:1])))

    def print_exc(*_: object, file: object = None, **__: object) -> None:
        """Print the exception that is handled."""
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
            places.append(_Place(frame, (None, None, None, None), frame.f_lineno))
        frame = frame.f_back
    places.reverse()
    return (places[-1].line if places else 0), _render_frames(places, source)


def _render_error(error: BaseException, source: str, *, has_keys: bool = False) -> str:
    """Return frames and text of an error and of those in it, without the keys that the hint has."""
    headline = _headline(error)
    if has_keys:
        headline = _KEYS.sub("", headline)
    text = _render_frames(_places(error.__traceback__), source) + headline
    if isinstance(error, BaseExceptionGroup):
        leaves = [leaf for leaf in islice(_leaves(error), MAX_ERRORS_SHOWN) if leaf.__traceback__]
        parts = dict.fromkeys(_render_error(leaf, source, has_keys=has_keys) for leaf in leaves)
        text += "".join(f"\n\nin it: {part}" for part in parts)
    return text


def _render_frames(places: list[_Place], source: str) -> str:
    if not places:
        return ""
    shown = _fold([_render_frame(place, source) for place in places])
    if len(shown) > MAX_FRAMES:
        tail = MAX_FRAMES - _HEAD_FRAMES
        left_out = f"  … {len(shown) - MAX_FRAMES} more frames …\n"
        shown = [*shown[:_HEAD_FRAMES], left_out, *shown[-tail:]]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _fold(frames: list[str]) -> list[str]:
    """Return frames with repetitions folded into one line."""
    folded: list[str] = []
    for frame, same in itertools.groupby(frames):
        count = len(list(same))
        folded += [frame] * min(count, _MAX_ALIKE)
        if count > _MAX_ALIKE:
            left = count - _MAX_ALIKE
            times = "many times more" if left >= _MANY else f"{left} times more"
            folded.append(f"  … the same {times} …\n")
    return folded


def _render_frame(place: _Place, source: str) -> str:
    frame, position, line = place
    _, end_line, start, end = narrow(position, source)
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
    stripped = text.strip()
    if not stripped:
        return ""
    at = column - 1 - (len(text) - len(text.lstrip()))
    caret = f"\n    {' ' * at}^" if 0 <= at <= len(stripped) else ""
    return f"\n    {stripped}{caret}"


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


def _hint(error: BaseException, names: tuple[str, ...], tools: tuple[str, ...]) -> str:
    text = _message(error)
    if isinstance(error, TypeError | AttributeError) and "coroutine" in text:
        return (
            "a tool call gives its value only when it is awaited: `await tool(...)`, and in "
            "parentheses where more follows: `(await tool(...))[0]`"
        )
    if isinstance(error, TypeError) and "can't be used in 'await' expression" in text:
        return "only tool calls and asyncio calls are awaited: remove this `await`"
    if isinstance(error, TypeError) and "'builtin_function_or_method'" in text:
        return "a method is used as a value: call it, or read a record's field as record['name']"
    if isinstance(error, TypeError) and text.startswith("the JSON object must be str"):
        return "this is data already: use it as it is, without `json.loads`"
    if isinstance(error, NameError) and (missing := re.search(r"name '(\w+)'", text)):
        return _suggest(missing[1], names, tools)
    if isinstance(error, ImportError | AttributeError) and (missing := _FROM_TOOLS.search(text)):
        return _suggest(missing["name"] or missing["attribute"], (), tools)
    if isinstance(error, RecursionError):
        return "the functions call each other without an end"
    return ""
