"""Checks what a server answers against its own `outputSchema`, in bounded time and off the event loop.

The schema is the server's, and so is the value: both may be made to be expensive. The `mcp` package
checks on the event loop of the session, and evaluates patterns with `re`, which holds the interpreter.
Here a check ends when its time is over, and patterns are evaluated in a process.
"""

from __future__ import annotations

import contextvars
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import ToolException

CHECK_SECONDS = 5.0
"""Processor time for the check of one answer, in a thread."""
QUICK_SECONDS = 0.02
"""The same on the event loop, where an answer is small."""
PATTERN_SECONDS = 1.0
"""Time for all the patterns that one answer is held against, process included."""
MAX_ROUNDS = 10
"""Times that an answer is checked anew with what is known of its patterns by then."""
MAX_MESSAGE_CHARS = 500
_SEARCH = """
import json, re, sys
def search(pattern, text):
    try:
        return re.search(pattern, text) is not None
    except re.error:  # another dialect
        return True
json.dump([search(*pair) for pair in json.load(sys.stdin)], sys.stdout)
"""


@dataclass(slots=True)
class _Check:
    """One check: the time that it has, and what it knows of patterns."""

    end: float
    is_quick: bool
    known: dict[tuple[str, str], bool] = field(default_factory=dict)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def search(self, pattern: object, text: str) -> bool:
        """Whether a pattern is found in a text; true until it is known."""
        if not isinstance(pattern, str):
            return True
        if (pattern, text) not in self.known:
            if self.is_quick:
                raise NeedsThreadError
            self.asked.add((pattern, text))
        return self.known.get((pattern, text), True)

    def spend(self) -> None:
        if time.thread_time() > self.end:
            if self.is_quick:
                raise NeedsThreadError
            raise ToolException(
                f"the server's answer could not be checked against its output schema in "
                f"{CHECK_SECONDS:g} seconds"
            )


_check: contextvars.ContextVar[_Check] = contextvars.ContextVar("ptc_mcp_check")


class NeedsThreadError(Exception):
    """A check takes longer than the event loop can wait for it."""


def check_structure(value: object, schema: Mapping[str, Any], tool: str, *, is_quick: bool) -> None:
    """Check the structured content of an answer against the tool's `outputSchema`.

    With `is_quick` it ends after `QUICK_SECONDS` and evaluates no patterns; else call it in a thread.

    Raises:
        NeedsThreadError: It is to be quick, and cannot be.
        ToolException: The value is not as the schema says, or that cannot be found out in time.
    """
    seconds = QUICK_SECONDS if is_quick else CHECK_SECONDS
    check = _Check(time.thread_time() + seconds, is_quick)
    for _ in range(MAX_ROUNDS):
        problem = _first_problem(value, schema, tool, check)
        if problem is not None:
            raise ToolException(f"{tool} gave what its output schema does not allow: {problem}")
        if not check.asked:
            return
        check.known.update(_search_all(sorted(check.asked), tool))
        check.asked.clear()
    raise ToolException(f"the output schema of {tool} has too many patterns to check its answer")


def _first_problem(
    value: object, schema: Mapping[str, Any], tool: str, check: _Check
) -> str | None:
    from jsonschema import validators
    from referencing import Registry

    base = validators.validator_for(schema, default=validators.Draft202012Validator)
    registry: Registry[Any] = Registry()  # references lead nowhere but into the schema itself
    token = _check.set(check)
    try:
        validator = _bounded(base)(schema, registry=registry)
        error = next(iter(validator.iter_errors(value)), None)
    except (ToolException, NeedsThreadError):
        raise
    except (Exception, RecursionError) as error:  # a schema may be anything
        raise ToolException(
            f"the output schema of {tool} cannot be used: {type(error).__name__}: "
            f"{str(error)[:MAX_MESSAGE_CHARS]}"
        ) from error
    finally:
        _check.reset(token)
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))[:MAX_MESSAGE_CHARS]
    return f"{error.message[:MAX_MESSAGE_CHARS]}{f' (at {place})' if place else ''}"


@functools.cache
def _bounded(base: Any) -> Any:
    """Return a class of validators whose keywords take the time and the patterns of the check."""
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
        "unevaluatedProperties": _unevaluated_properties(base.VALIDATORS),
    }
    kept = {name: own.get(name, function) for name, function in base.VALIDATORS.items()}
    return validators.extend(base, {name: _timed(function) for name, function in kept.items()})


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    def keyword(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _check.get().spend()
        yield from function(validator, rule, instance, schema) or ()

    return keyword


def _pattern(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _check.get().search(rule, instance):
        yield ValidationError(f"{instance!r} does not match {rule!r}")


def _pattern_properties(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in rule.items():
        for name, value in instance.items():
            if _check.get().search(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    search = _check.get().search
    for name, value in instance.items():
        if name in known or any(search(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError(f"{name!r} is not among the properties that it may have")
        elif validator.is_type(rule, "object"):
            yield from validator.descend(value, rule, path=name)


def _unique_items(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if rule and validator.is_type(instance, "array"):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("its items are not unique")


def _unevaluated_properties(validators: Mapping[str, Any]) -> Callable[..., Any]:
    function = validators.get("unevaluatedProperties")

    def keyword(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
        # It evaluates the patterns of the whole schema itself.
        if function is not None and "patternProperties" not in json.dumps(schema):
            yield from function(validator, rule, instance, schema) or ()

    return keyword


def _search_all(pairs: list[tuple[str, str]], tool: str) -> dict[tuple[str, str], bool]:
    """Search for patterns in texts, in a process that is killed when its time is over."""
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    try:
        done = subprocess.run(  # noqa: S603  # our own program; what is hostile is its input
            command,
            input=json.dumps(pairs).encode(),
            capture_output=True,
            timeout=PATTERN_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise ToolException(
            f"the patterns in the output schema of {tool} could not be checked in "
            f"{PATTERN_SECONDS:g} s"
        ) from error
    return dict(zip(pairs, found, strict=True))
