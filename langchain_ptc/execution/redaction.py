"""Keep secrets out of what is told of a call: its record, its events, and the report to the model.

The tool gets its arguments as they are, and a person who approves a call sees them as they are. Only
arguments are looked at: the code and what it prints are kept as they are.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import urllib.parse
from collections.abc import Callable, Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any, Literal, TypeAlias

Redact: TypeAlias = Literal["secrets", "none"] | Callable[[str, Mapping[str, Any]], Any]
"""What is hidden of the arguments of a call: `secrets` hides what its name calls a secret, `none`
nothing; a function is given the tool's qualified name and the arguments, and returns what to show."""

REDACTED = "[redacted]"
_MIN_SECRET_CHARS = 6
"""Shorter secrets are looked for as whole words only: else they would be found everywhere."""
_MIN_WORD_CHARS = 3
"""Secrets that are shorter still are not looked for."""

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
_SECRET_ENDINGS = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "credentials"),
    *("apikey", "accesskey", "secretkey", "privatekey", "sshpass", "dbpass", "userpass"),
)
"""What a word may end with, as in `PGPASSWORD`, `SSHPASS` and `authtoken`."""
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
        hidden: Mapping[str, Any] = hide_named(arguments)
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
    """Return a text with what was hidden of the arguments hidden there too.

    A secret is found as it is, and as `repr`, JSON and URLs write it, twice over; of one with several
    lines each line is found.
    """
    if shown is arguments or not text:
        return text
    hidden = set(_leaves(arguments)) - set(_leaves(shown))
    written = {form for secret in hidden for form in _forms_of(secret) if len(form) <= len(text)}
    for form in sorted(written, key=len, reverse=True):
        if form not in text:
            continue
        if len(form) >= _MIN_SECRET_CHARS:
            text = text.replace(form, REDACTED)
        elif len(form) >= _MIN_WORD_CHARS:
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", REDACTED, text)
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
    if not _SECRET_WORDS.isdisjoint(words) or any(w.endswith(_SECRET_ENDINGS) for w in words):
        return "secret" if _COUNTING_WORDS.isdisjoint(words) else "counted"
    if words[-1:] == ["auth"] or words[-1:] == ["pass"]:  # `REDISCLI_AUTH`, `DB_PASS`
        return "secret"
    is_pair = any(f"{a} {b}" in _SECRET_PAIRS for a, b in pairwise(words))
    return "secret" if is_pair else "none"


def hide_named(value: Any) -> Any:
    """Return a value with what is named like a secret hidden; the same value if there is nothing."""
    if isinstance(value, Mapping):
        shown = {
            name: REDACTED if isinstance(name, str) and is_secret(name, held) else hide_named(held)
            for name, held in value.items()
        }
        return value if all(shown[name] is value[name] for name in shown) else shown
    if isinstance(value, list | tuple):
        items = [hide_named(item) for item in value]
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


def _leaves(value: Any) -> Iterator[Hashable]:
    """Return what arguments hold besides containers."""
    if isinstance(value, Mapping):
        for held in value.values():
            yield from _leaves(held)
    elif isinstance(value, list | tuple | AbstractSet):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, bytes | bytearray | memoryview):
        yield bytes(value)
    elif hasattr(value, "get_secret_value"):  # pydantic's, which hide themselves in texts only
        yield from _leaves(value.get_secret_value())
    elif isinstance(value, str | int | float | complex) and not isinstance(value, bool):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _forms_of(secret: Hashable) -> set[str]:
    """Return the texts as which a secret can stand in another text."""
    if isinstance(secret, bytes):
        texts = {repr(secret)[2:-1], secret.decode("utf-8", "replace"), secret.hex()}
    elif isinstance(secret, str):
        texts = {secret, *(line.strip() for line in secret.splitlines())}
    else:
        texts = {_number_text(secret), f"{secret:,}" if isinstance(secret, int | float) else ""}
    quoted = {form for text in texts for form in _quoted(text)}
    return {form for form in quoted | {f for text in quoted for f in _quoted(text)} if form}


def _number_text(number: object) -> str:
    try:
        return str(number)
    except ValueError:  # Python prints no integer of over 4,300 digits
        return ""


def _quoted(text: str) -> Iterator[str]:
    yield text
    yield repr(text)[1:-1]
    yield repr("'\"" + text)[4:-1]  # as a part of a text that has both kinds of quotes
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    with contextlib.suppress(UnicodeEncodeError):
        yield urllib.parse.quote(text, safe="")
        yield urllib.parse.quote_plus(text)
