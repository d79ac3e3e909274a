"""The end of a program as its worker tells it; the host takes only an end that it could have given.

A worker that was taken over may claim anything. So an end names a limit only with the figures that
the host has set, or has told the worker at a call; lines lie within the code; texts are bounded and
printable; and what does not belong to the status is refused. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from langchain_ptc.errors import Violation
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.api import Done, Failure, Status
from langchain_ptc.sandbox.wire.framing import ProtocolViolation

_ENDINGS: tuple[Status, ...] = ("success", "error", "refused", "limit")
_TEXTS = ("kind", "message", "source_line", "traceback", "hint")
_MAX_CHARS = {"kind": 200, "source_line": 1_000}
_MAX_TEXT_CHARS = 50_000
_MAX_NOTES, _MAX_VIOLATIONS, _MAX_NOTE_CHARS = 20, 1_000, 2_000
"""Many times what an honest worker says. More is left out."""
_MAX_USED = 1e18
_LIMITS = frozenset(field.name for field in fields(Limits))
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for line feed and tab, marks that turn the direction of text, surrogates."""


class ToldLimit(NamedTuple):
    """That a limit was hit, with its figures."""

    limit: str | None
    allowed: float | None
    used: float | None


def is_known_limit(hit: ToldLimit, limits: Limits, told: Container[ToldLimit]) -> bool:
    """Return whether a program may end by this limit.

    Args:
        hit: What the end says.
        limits: What the program was allowed.
        told: The limits that calls have hit, as the host has told them.
    """
    if hit.limit is None:
        return False
    if hit in told:
        return True
    if hit.limit not in _LIMITS or hit.allowed != getattr(limits, hit.limit):
        return False
    used = hit.used
    return used is None or (math.isfinite(used) and 0 <= used <= _MAX_USED)


def printable(text: str, most: int) -> str:
    """Return at most `most` characters of a text, with what nobody should print as escapes."""
    return _UNPRINTABLE.sub(_escape, text[:most])


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class EndingReader:
    """Reads the end of one program.

    Args:
        limits: What the program was allowed.
        code_chars: Length of its code.
    """

    def __init__(self, limits: Limits, code_chars: int) -> None:
        self._limits = limits
        self._most_lines = max(code_chars, limits.code_chars) + 1
        self.told: set[ToldLimit] = set()
        """The limits that calls have hit, as the host has told the worker."""

    def is_line(self, line: object) -> bool:
        """Return whether this may be a line of the code, or 0 for an unknown one."""
        return type(line) is int and 0 <= line <= self._most_lines

    def read(self, ending: Mapping[str, object], output: str, kept: bytes | None) -> Done:
        """Return the end.

        Args:
            ending: What the worker said.
            output: What was printed.
            kept: The variables that it has sent.

        Raises:
            ProtocolViolation: No honest worker ends so.
        """
        status, value = ending.get("status"), ending.get("value")
        failure, notes = ending.get("failure"), ending.get("notes", [])
        known = next((known for known in _ENDINGS if known == status), None)
        if known is None or type(notes) is not list:
            raise ProtocolViolation("a malformed end")
        if not all(type(note) is str for note in notes):
            raise ProtocolViolation("a malformed end: notes")
        if (failure is None) != (known == "success"):
            raise ProtocolViolation("an end whose status and failure disagree")
        if known != "success" and value is not None:
            raise ProtocolViolation("an end without success that has a value")
        return Done(
            status=known,
            output=output,
            value=value,
            failure=None if failure is None else self._read_failure(known, failure),
            notes=tuple(printable(note, _MAX_NOTE_CHARS) for note in notes[:_MAX_NOTES]),
            kept=kept if known in ("success", "error") else None,
        )

    def _read_failure(self, status: Status, failure: object) -> Failure:
        if type(failure) is not dict or not all(type(failure.get(key)) is str for key in _TEXTS):
            raise ProtocolViolation("a malformed failure")
        line: Any = failure.get("line")
        if not self.is_line(line):
            raise ProtocolViolation("a malformed failure: line")
        texts: dict[str, Any] = {
            key: printable(failure[key], _MAX_CHARS.get(key, _MAX_TEXT_CHARS)) for key in _TEXTS
        }
        hit = self._read_limit(status, failure)
        return Failure(
            **texts,
            line=line,
            limit=hit.limit,
            allowed=hit.allowed,
            used=hit.used,
            violations=self._read_violations(status, failure.get("violations", [])),
        )

    def _read_limit(self, status: Status, failure: Mapping[str, object]) -> ToldLimit:
        limit, allowed, used = (failure.get(key) for key in ("limit", "allowed", "used"))
        if status != "limit":
            if (limit, allowed, used) != (None, None, None):
                raise ProtocolViolation(f"a failure by a limit, in an end with status {status}")
            return ToldLimit(None, None, None)
        if type(limit) is not str or not all(
            number is None or type(number) is int or type(number) is float
            for number in (allowed, used)
        ):
            raise ProtocolViolation("a malformed failure: limit")
        hit = ToldLimit(limit, allowed, used)  # type: ignore[arg-type]  # as was checked
        if not is_known_limit(hit, self._limits, self.told):
            raise ProtocolViolation("a failure by a limit that was not set so")
        return hit

    def _read_violations(self, status: Status, told: object) -> tuple[Violation, ...]:
        if type(told) is not list or bool(told) != (status == "refused"):
            raise ProtocolViolation("a malformed failure: violations")
        violations = []
        for violation in told[:_MAX_VIOLATIONS]:
            if (
                type(violation) is not list
                or len(violation) != 2
                or not self.is_line(violation[0])
                or type(violation[1]) is not str
            ):
                raise ProtocolViolation("a malformed violation")
            message = printable(violation[1], _MAX_NOTE_CHARS)
            violations.append(Violation(line=violation[0], message=message))
        return tuple(violations)
