"""Every exception of the package, by who caused it, and the wording that messages share.

```
PTCError(Exception)
├─ CatalogError(ValueError)   the developer's tools; raised at construction
├─ CodeError                  the model's code; never raised through a graph, rendered as output
│  ├─ CodeSyntaxError         it is not Python
│  ├─ PolicyError             it is Python that the sandbox does not run
│  ├─ CheckError              it calls tools in a way that cannot work; nothing of it has run
│  ├─ CodeRuntimeError        it raised
│  └─ LimitExceeded           it used more than it was allowed
├─ ToolCallError              raised inside the code, at the call; the code may catch it
├─ ReplayError                the code took another path when it was resumed
├─ ConcurrentResumeError      two runs resumed one execution; raised through the graph of the second
└─ SandboxError               the operator's machine: no start, crashed, closed, protocol broken
   └─ MachineLost             another machine was lost with an execution on it
```

The module imports nothing but the standard library: the worker uses it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args


class PTCError(Exception):
    """Base of every error that this package raises."""


class CatalogError(PTCError, ValueError):
    """The tools that the developer passed cannot be offered to code: names, schemas, duplicates."""


class SandboxError(PTCError):
    """The machine cannot run code: the sandbox did not start, crashed, or was closed."""


class MachineLost(SandboxError):
    """A machine was lost with an execution on it. What its code had asked for may have been done.

    An execution that has a journal goes on elsewhere, and this is raised only if machines keep being lost.
    """


class CodeError(PTCError):
    """The model's code failed. It is rendered for the model and never raised through a graph."""


def _number(value: int | float) -> str:  # noqa: PYI041  # they are written differently
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One place in the code that the sandbox's language does not accept."""

    line: int
    """Line in the code, from 1; 0 where no single line is at fault."""
    message: str
    """What is not accepted, and what to write instead where there is something."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class CodeSyntaxError(CodeError):
    """The code is not valid Python.

    Attributes:
        line: Line in the code, from 1; 0 if unknown.
        column: Column in the line, from 1; 0 if unknown.
        source_line: The text of that line, or an empty string.
    """

    def __init__(
        self, message: str, *, line: int = 0, column: int = 0, source_line: str = ""
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.source_line = source_line


class PolicyError(CodeError):
    """The code is Python that the sandbox does not run; nothing of it has run.

    Attributes:
        violations: Every place that is not accepted, in order of line; never empty.
    """

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__("\n".join(map(str, violations)))
        self.violations = violations


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One place in the code that could not have worked, found before anything ran."""

    line: int
    """Line in the code, from 1."""
    column: int
    """Column in the line, from 1, in characters."""
    message: str
    """What is wrong, with the values, and what was probably meant."""
    source_line: str
    """The text of the line."""
    signature: str = ""
    """How the tool is called, as its stub says it; empty where no tool is concerned."""
    module: str = ""
    """The module that the sandbox does not have; empty for other problems."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class CheckError(CodeError):
    """The code uses tools in a way that cannot work; nothing of it has run.

    Attributes:
        problems: Every such place, in order of line; never empty.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class CodeRuntimeError(CodeError):
    """The code raised an exception.

    Attributes:
        exc_type: Name of the exception's class, for example `KeyError`.
        line: Line in the code, from 1; 0 if unknown.
        source_line: The text of that line, or an empty string.
    """

    def __init__(
        self, message: str, *, exc_type: str, line: int = 0, source_line: str = ""
    ) -> None:
        super().__init__(message)
        self.exc_type = exc_type
        self.line = line
        self.source_line = source_line


class LimitExceeded(CodeError):
    """The code used more than it was allowed.

    Attributes:
        limit: The field of `Limits`, for example `wall_seconds`.
        allowed: What the field allows, in the field's unit.
        used: What was used when the limit was hit, in the same unit; None where it is not known.
    """

    def __init__(self, *, limit: str, allowed: float, used: float | None = None) -> None:
        usage = "" if used is None else f", used {_number(used)}"
        super().__init__(f"limit {limit} was reached: allowed {_number(allowed)}{usage}")
        self.limit = limit
        self.allowed = allowed
        self.used = used


class ToolCallError(PTCError):
    """A tool call failed: unknown tool, bad arguments, the tool raised, or it took too long.

    It is raised inside the code at the call, and the code may catch it.

    Attributes:
        tool: Name of the tool as the code calls it.
        limit: The field of `Limits` that the call hit, or None.
        allowed: What that field allows, in its unit, or None.
        used: What the call used of it, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        tool: str = "",
        limit: str | None = None,
        allowed: float | None = None,
        used: float | None = None,
    ) -> None:
        super().__init__(message)
        self.tool = tool
        self.limit = limit
        self.allowed = allowed
        self.used = used


class ReplayError(PTCError):
    """The code took another path when it was resumed than before the pause.

    What was recorded before the pause belongs to another path, so the execution ends. It is told in
    the result; `ExecutionResult.raise_for_status` raises it.

    Attributes:
        call: The call at which the paths part, as `number:tool`; empty if it is the code itself.
    """

    def __init__(self, message: str, *, call: str = "") -> None:
        super().__init__(message)
        self.call = call


class ConcurrentResumeError(PTCError):
    """Two runs resumed one paused execution, and this is not the one that goes on with it.

    It is raised out of the graph's run: the answer that this run brought is refused, and nothing was
    done for it. Read the state of the thread anew before you answer again.
    """


# --- wording: suggestions, choices, and text cut to length ------------------------------------------

MAX_COMPARED_CHARS = 100
"""A longer name is like no other: to compare names takes the product of their lengths."""
MAX_COMPARED_NAMES = 1_000


def closest(name: str, known: Iterable[str], *, limit: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return those of `known` that were probably meant by `name`, the likeliest first.

    Upper and lower case are alike. Where no name is like it by `cutoff`, from 0 to 1, one that shares a word with it
    (`id` and `user_id`) is returned.
    """
    import difflib  # a worker needs it only where something went wrong

    folded = {other.casefold(): other for other, _ in zip(known, range(MAX_COMPARED_NAMES))}  # noqa: B905
    if len(name) > MAX_COMPARED_CHARS:
        return []
    close = difflib.get_close_matches(name.casefold(), folded, n=limit, cutoff=cutoff)
    if not close:
        words = set(name.casefold().split("_"))
        close = [other for other in folded if words & set(other.split("_"))][:1]
    return [folded[other] for other in close]


def did_you_mean(close: Sequence[str]) -> str:
    """Return ` (did you mean 'a' or 'b'?)` for what `closest` found; an empty string for nothing."""
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def count(number: float, noun: str) -> str:
    """Return `1 call`, `1,000 calls`, `0.5 seconds`."""
    if isinstance(number, int):
        shown = f"{number:,}"
    else:
        shown = f"{number:.3g}" if number < 1_000 else f"{number:,.0f}"
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


def with_article(name: str) -> str:
    """Return `name` after `a` or `an`; `None` has none."""
    return name if name == "None" else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `ValueError` if an option is none of the values of the `Literal` type that it is declared with."""
    *others, last = allowed = get_args(choices)
    if value not in allowed:
        expected = f"{', '.join(map(repr, others))} or {last!r}"
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning with `…`: at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
