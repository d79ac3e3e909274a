"""Keep secrets out of what is told of a call: its record, its events, and the report to the model.

The tool gets its arguments as they are, and a person who approves a call sees them as they are. Only
arguments are looked at: the code and what it prints are kept as they are.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any, Literal, TypeAlias

Redact: TypeAlias = Literal["secrets", "none"] | Callable[[str, Mapping[str, Any]], Any]
"""What is hidden of the arguments of a call: `secrets` hides what its name calls a secret, `none`
nothing; a function is given the tool's qualified name and the arguments, and returns what to show."""

REDACTED = "[redacted]"
_MIN_SECRET_CHARS = 6
"""Shorter texts are not looked for in an error: they would be found everywhere."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "passcode",
        "secret",
        "secrets",
        "token",
        "tokens",
        "authorization",
        "credential",
        "credentials",
        "apikey",
        "apikeys",
        "accesskey",
        "secretkey",
        "privatekey",
        "bearer",
        "jwt",
        "cookie",
        "cookies",
        "cvv",
        "cvc",
        "otp",
    ]
)
_SECRET_PAIRS = frozenset(
    f"{first} {last}"
    for first in [
        "api",
        "access",
        "private",
        "secret",
        "signing",
        "encryption",
        "auth",
        "client",
        "master",
        "session",
        "ssh",
    ]
    for last in ("key", "keys")
)
_COUNTING_WORDS = frozenset(
    [
        "max",
        "min",
        "maximum",
        "minimum",
        "count",
        "counts",
        "limit",
        "total",
        "num",
        "number",
        "budget",
        "used",
        "size",
        "length",
    ]
)

logger = logging.getLogger("langchain_ptc")


def checked_redact(redact: Redact) -> Redact:
    """Return the option if it is one.

    Raises:
        ValueError: It is neither `secrets` nor `none` nor a function.
    """
    if redact in ("secrets", "none") or callable(redact):
        return redact
    raise ValueError(f"redact must be 'secrets', 'none' or a function, got {redact!r}")


def redact_arguments(tool: str, arguments: Mapping[str, Any], redact: Redact) -> Mapping[str, Any]:
    """Return the arguments as they are shown.

    A function that raises, or returns no mapping, hides everything: what it was to hide is unknown.
    """
    if redact == "none":
        return arguments
    if redact == "secrets":
        hidden: Mapping[str, Any] = _hide(arguments)
        return hidden
    assert callable(redact)
    try:
        shown = redact(tool, _copy(arguments))  # the tool is to get what was passed
    except Exception:  # the developer's own function may raise anything
        logger.exception("redact failed for %s: all of its arguments are hidden", tool)
        return dict.fromkeys(arguments, REDACTED)
    if not isinstance(shown, Mapping):
        logger.error(
            "redact must return a mapping, and returned %s for %s: all of its arguments are hidden",
            type(shown).__name__,
            tool,
        )
        return dict.fromkeys(arguments, REDACTED)
    return shown


def redact_text(text: str, arguments: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """Return a text with what was hidden of the arguments hidden there too."""
    if shown is arguments:
        return text
    hidden = set(_texts(arguments)) - set(_texts(shown))
    for secret in sorted(hidden, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARS:
            text = text.replace(secret, REDACTED)
    return text


def is_secret(name: str, value: object) -> bool:
    """Whether the name of a field says that it holds a secret.

    `api_key`, `apiKey`, `X-Api-Key` and `user_password` do; `max_tokens=100` and `has_password=True`
    do not.
    """
    if value is None or isinstance(value, bool):
        return False
    kind = _kind_of(name)
    return kind == "secret" or (kind == "counted" and not isinstance(value, int | float))


@functools.lru_cache(maxsize=4096)  # a regular expression costs more than all else at a call
def _kind_of(name: str) -> Literal["secret", "counted", "none"]:
    """Return what a name says of its field; of `counted` ones, that it is a secret or a number."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not _SECRET_WORDS.isdisjoint(words):
        return "secret" if _COUNTING_WORDS.isdisjoint(words) else "counted"
    is_pair = any(f"{a} {b}" in _SECRET_PAIRS for a, b in pairwise(words))
    return "secret" if is_pair else "none"


def _hide(value: Any) -> Any:
    """Return a value with its secrets hidden; the same value if it has none."""
    if isinstance(value, Mapping):
        shown = {
            name: REDACTED if isinstance(name, str) and is_secret(name, held) else _hide(held)
            for name, held in value.items()
        }
        return value if all(shown[name] is value[name] for name in shown) else shown
    if isinstance(value, list | tuple):
        items = [_hide(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    return value


def _copy(value: Any) -> Any:
    """Return a value whose containers are new ones."""
    if isinstance(value, Mapping):
        return {name: _copy(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for held in value.values():
            yield from _texts(held)
    elif isinstance(value, list | tuple | AbstractSet):
        for item in value:
            yield from _texts(item)
