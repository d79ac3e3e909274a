# ruff: noqa: SIM905  # lists of words are read better as text
"""Values as they leave an execution: plain JSON data, without the secrets that were passed to tools.

Everything that leaves an execution goes through `as_plain`: the artifact of a message, records, events
and questions. Every serializer that such data meets accepts what it returns: `json`, orjson,
LangGraph's msgpack (whose integers have 64 bits, and whose keys must be valid UTF-8), SQLite and JSON
columns. It is the same after a round trip through any of them.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import heapq
import html
import json
import logging
import math
import operator
import re
import shlex
import urllib.parse
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from langchain_core.tools import ToolException
from pydantic import ValidationError

from langchain_ptc.catalog.text import describe_error
from langchain_ptc.errors import count
from langchain_ptc.sandbox.wire.values import is_large

_MAX_INT = 2**63  # integers that do not fit into 64 bits with a sign are written as text
_MAX_LEVELS = 150  # LangChain reads no message that is nested more than 200 levels deep
_SLICE_ITEMS = 10_000
"""Items that are sorted in one call of C code, during which no other thread runs."""
_MAX_PLAIN_INT = 10**4000
"""Python refuses to print integers of over 4,300 digits; larger ones are shown as hexadecimal."""
_ENCODED_ITEMS = 500  # items of a container that are encoded in one call of C code
_SCALARS = frozenset({type(None), bool, int, float, str})
_CONTAINERS = frozenset({dict, list, tuple})
"""The common cases, known without asking about abstract classes."""


def as_plain(value: Any) -> Any:
    r"""Return `value` in terms of JSON: for reading, not for getting the value back.

    Sets and tuples become arrays; times ISO 8601; bytes text or base64; keys
    text; NaN, the infinities and integers of more than 64 bits their text (hexadecimal from 4,000 digits
    on). Lone surrogates become `\udXXX`. What is nested deeper than values may be is left out.
    """
    return _plain(value, _MAX_INT, _MAX_LEVELS)


def render_plain(value: Any) -> str:
    """Render a value for the model: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return _encode(_plain(value, _MAX_PLAIN_INT, _MAX_LEVELS))


def _build_encoder() -> Callable[[object], str]:
    """Return a function that encodes plain data as text, in a thread without stopping the others.

    `JSONEncoder.encode` builds its C encoder anew each time, which is half of the cost of a small
    value; where Python has one, it is built once here.
    """
    stock = json.JSONEncoder(ensure_ascii=False, check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return stock.encode
    text = json.encoder.encode_basestring
    in_c = make(None, stock.default, text, None, ": ", ", ", False, False, True)

    def encode(value: Any) -> str:
        if type(value) not in (list, dict) or not is_large(value):
            return "".join(in_c(value, 0))
        is_list = type(value) is list
        items: Any = value if is_list else list(value.items())
        pieces = []
        for at in range(0, len(items), _ENCODED_ITEMS):
            some = items[at : at + _ENCODED_ITEMS]
            part = some if is_list else dict(some)
            if not is_large(part):
                pieces.append("".join(in_c(part, 0))[1:-1])
            elif is_list:
                pieces += map(encode, part)
            else:
                pieces += [f"{encode(k)}: {encode(v)}" for k, v in part.items()]
        body = ", ".join(pieces)
        return f"[{body}]" if is_list else f"{{{body}}}"

    return encode


_encode = _build_encoder()


def clean_text(text: str) -> str:
    """Return `text` with its lone surrogates as escapes: no encoder of UTF-8 takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any, max_int: int, levels: int) -> Any:
    # One frame for each level: what is nested deeply is met on deep stacks.
    kind = type(value)
    if value is None or kind is bool or (kind is str and value.isascii()):
        return value
    if (kind is float and math.isfinite(value)) or (kind is int and -max_int <= value < max_int):
        return value
    if kind in _SCALARS or not (
        kind in _CONTAINERS or isinstance(value, Mapping | list | tuple | AbstractSet)
    ):
        return _plain_scalar(value, max_int)
    if not levels:
        return _deep_text(value)
    if kind is dict or isinstance(value, Mapping):
        record = {}
        for key, held in zip(_keys_as_text(value), value.values(), strict=True):
            record[key] = _plain(held, max_int, levels - 1)
        return record
    items = []
    for item in _sorted_items(value) if isinstance(value, AbstractSet) else value:
        items.append(_plain(item, max_int, levels - 1))  # noqa: PERF401  # see above
    return items


def _sorted_items(items: AbstractSet[Any]) -> Iterable[Any]:
    held = list(items)
    starts = range(0, len(held), _SLICE_ITEMS)
    slices = [sorted(held[at : at + _SLICE_ITEMS], key=_key_text) for at in starts]
    return slices[0] if len(slices) == 1 else heapq.merge(*slices, key=_key_text)


def _plain_scalar(value: Any, max_int: int) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str.__str__(value))
    if isinstance(value, int):
        return int(value) if -max_int <= value < max_int else _int_text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return _text_of(value)


def _keys_as_text(keys: Iterable[Any]) -> list[str]:
    """Return the keys as texts that differ where the keys do: 1 and "1" are `1` and `'1'`."""
    names = [key if type(key) is str and key.isascii() else _key_text(key) for key in keys]
    if len(set(names)) == len(names):
        return names
    names = [clean_text(repr(k)) if isinstance(k, str) else _key_text(k) for k in keys]
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        seen[name] = number = seen.get(name, 0) + 1
        if number > 1:
            names[at] = f"{name} ({number})"
    return names


def _key_text(key: Any) -> str:
    if isinstance(key, str):
        return clean_text(str.__str__(key))
    try:
        return clean_text(str(key))
    except Exception:  # noqa: BLE001  # Python prints no integer of over 4,300 digits, even in a tuple
        return json.dumps(as_plain(key))


def _deep_text(value: Any) -> str:
    try:
        return clean_text(json.dumps(value, ensure_ascii=False, default=_text_of))
    except (TypeError, ValueError, RecursionError):  # of a developer's own; it may contain itself
        return "…"


def _int_text(value: int) -> str:
    return str(int(value)) if -_MAX_PLAIN_INT < value < _MAX_PLAIN_INT else hex(value)


def _text_of(value: Any) -> str:
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    try:
        return clean_text(str(value))
    except Exception:  # noqa: BLE001  # an object's own text may raise anything
        return f"<{type(value).__name__}>"


# --- secrets ----------------------------------------------------------------------------------------
# The tool gets its arguments unchanged, and a person who approves a call sees them unchanged. Only
# arguments, and URLs in errors of tools, are redacted: the code and what it prints are not.

Redact: TypeAlias = Literal["secrets", "none"] | Callable[[str, Mapping[str, Any]], Any]
"""What is hidden of the arguments of a call: `secrets` hides what its name calls a secret, `none`
nothing; a function is given the tool's qualified name and the arguments, and returns what to show."""

REDACTED = "[redacted]"
_MIN_SECRET_CHARS = 6
"""Shorter secrets are searched for as whole words only: else they would be found everywhere."""
_MIN_WORD_CHARS = 3  # secrets that are shorter still are not searched for
_MAX_SECRET_TEXTS = 1_000  # with more secrets, or lines of them, a text is hidden as a whole
_MAX_JSON_CHARS = 100_000  # longer texts are not parsed
_MAX_NAME_CHARS = 200
_NAME_KEYS = ("name", "key", "header")
"""Fields with the name of what the field `value` beside them contains."""
_URL_PASSWORD = re.compile(r"(://[^\s/@:?#]*:)([^\s/@]+)@")
_URL_FIELD = re.compile(r"[?&;]([\w.-]{1,64})=([^&;\s#\"']+)")
_URL_SECRETS = frozenset({"key", "sig", "signature"})
"""Fields of URLs that are secrets there, and not elsewhere."""
_SCHEME = re.compile(r"(?:bearer|basic|token|apikey|bot)\s+(?=\S+\Z)", re.IGNORECASE)
"""The scheme before a credential in a header."""
_LETTERS = re.compile(r"[A-Za-z0-9]+")
NUMBERS = frozenset({int, float, bool, type(None)})
_URL_SAFE = str.maketrans("+/", "-_")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    "password passwords passwd pwd passphrase passcode secret secrets token tokens authorization "
    "credential credentials apikey apikeys accesskey secretkey privatekey bearer jwt cookie cookies "
    "cvv cvc otp totp passkey".split()
)
_KEY_WORDS = (
    "api access private secret signing encryption auth client master session ssh account "
    "subscription storage shared hmac".split()
)
_SECRET_PAIRS = {f"{word} {key}" for word in _KEY_WORDS for key in ("key", "keys")}
_SECRET_PAIRS.add("connection string")
_SECRET_ENDINGS = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "credentials"),
    *("apikey", "accesskey", "secretkey", "privatekey", "sshpass", "dbpass", "userpass"),
)
"""What a word may end with, as in `PGPASSWORD`, `SSHPASS` and `authtoken`."""
_COUNTING_WORDS = frozenset(
    "max min maximum minimum count counts limit total num number budget used size length".split()
)

logger = logging.getLogger("langchain_ptc")


def redact_arguments(tool: str, arguments: Mapping[str, Any], redact: Redact) -> Mapping[str, Any]:
    """Return the arguments as they are shown.

    A function that raises, or returns something other than a mapping, hides everything: nobody knows what it would
    have hidden.
    """
    if redact == "none":
        return arguments
    if redact == "secrets":
        hidden: Mapping[str, Any] = hide_named(arguments)
        return hidden
    assert callable(redact)
    try:
        shown = redact(tool, _copy(arguments))  # the tool is to get what was passed
        if isinstance(shown, Mapping):
            return shown
        logger.error(
            "redact must return a mapping, and returned %s for %s: all of its arguments are hidden",
            type(shown).__name__,
            tool,
        )
    except Exception:  # the developer's own function may raise anything
        logger.exception("redact failed for %s: all of its arguments are hidden", tool)
    return dict.fromkeys(arguments, REDACTED)


def redact_text(text: str, arguments: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """Return a text with what was hidden of the arguments hidden there too.

    A secret is found as it is, in upper and lower case, with other white space, as `repr`, JSON, HTML,
    shells and URLs write it, twice over, and in base64; of one with several lines each line is found.
    """
    if shown is arguments or not text:
        return text
    hidden = set(_leaves(arguments)) - set(_leaves(shown))
    fitting = range(_MIN_WORD_CHARS, len(text) + 1)
    texts = {one for secret in hidden for one in _texts_of(secret) if len(one) in fitting}
    if len(texts) > _MAX_SECRET_TEXTS:  # searching for so many would take long
        return REDACTED
    plain = _plainly(text)
    written = {form for one in texts for form in _forms_of(one, plain) if len(form) in fitting}
    for form in sorted(written, key=len, reverse=True):
        if _plainly(form) not in plain:
            continue
        pattern = r"\s+".join(map(re.escape, form.split()))
        if len(form) < _MIN_SECRET_CHARS:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, REDACTED, text, flags=re.IGNORECASE) if pattern else text
    return text


def _plainly(text: str) -> str:
    """Return a text in which case and white space make no difference."""
    return " ".join(text.lower().split())


def is_secret(name: object, value: object) -> bool:
    """Whether the name of a field says that its value is a secret.

    `api_key`, `apiKey`, `X-Api-Key` and `user_password` do; `max_tokens=100` and `has_password=True`
    do not.
    """
    if value is None or isinstance(value, bool):
        return False
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS:
        return False
    kind = kind_of_name(name)
    return kind == "secret" or (kind == "counted" and not isinstance(value, int | float))


@functools.lru_cache(maxsize=4096)  # a regular expression costs more than all else at a call
def kind_of_name(name: str) -> Literal["secret", "counted", "none"]:
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
    if isinstance(value, str):
        return _hide_in_text(value)
    if isinstance(value, Mapping):
        named = None
        if "value" in value:
            named = next((value[key] for key in _NAME_KEYS if key in value), None)
        shown, is_same = {}, True
        for name, held in value.items():
            if is_secret(name, held) or (name == "value" and is_secret(named, held)):
                shown[name] = REDACTED
            else:
                shown[name] = held if type(held) in NUMBERS else hide_named(held)
            is_same = is_same and shown[name] is held
        return value if is_same else shown
    if isinstance(value, list | tuple):
        items = [hide_named(item) for item in value]
        if len(items) == 2 and is_secret(*value):  # headers, as some clients take them
            items[1] = REDACTED
        return value if all(map(operator.is_, items, value)) else items
    return value


def _hide_in_text(text: str) -> str:
    """Return a text with the secrets of the JSON that it is, or of the URLs in it, hidden."""
    data = _json_in(text)
    if data is not None:
        hidden = hide_named(data)
        return text if hidden is data else json.dumps(hidden, ensure_ascii=False)
    return _hide_in_urls(text)


def _hide_in_urls(text: str) -> str:
    """Return a text with the passwords of the URLs in it hidden, and what fields of theirs are secrets."""
    if "://" not in text:
        return text
    shown = _URL_PASSWORD.sub(lambda found: f"{found[1]}{REDACTED}@", text)
    shown = _URL_FIELD.sub(
        lambda found: (
            found[0].removesuffix(found[2]) + REDACTED
            if is_secret(found[1], found[2]) or found[1].lower() in _URL_SECRETS
            else found[0]
        ),
        shown,
    )
    return text if shown == text else shown  # the same object says that nothing is hidden


def _json_in(text: str) -> Any:
    """Return the list or the mapping that a text is the JSON of."""
    if text[:1] not in ("{", "[") or len(text) > _MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copy(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    return value


def _leaves(value: Any) -> Iterator[Hashable]:
    """Yield the values in arguments that are not containers."""
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
    elif isinstance(value, str):
        yield value
        yield from _leaves(_json_in(value))
        if "://" in value:
            yield from (found[2] for found in _URL_PASSWORD.finditer(value))
            yield from (found[2] for found in _URL_FIELD.finditer(value))
    elif isinstance(value, int | float | complex) and not isinstance(value, bool):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _texts_of(secret: Hashable) -> Iterator[str]:
    """Yield the parts of a secret that can appear in a text by themselves."""
    if isinstance(secret, bytes):
        yield repr(secret)[2:-1]
        yield secret.decode("utf-8", "replace")
        yield secret.hex()
        yield ", ".join(map(str, secret))
        yield from _base64_of(secret)
    elif isinstance(secret, str):
        yield secret
        yield from (line.strip() for line in secret.splitlines())
        if (found := _SCHEME.match(secret)) is not None:
            yield secret[found.end() :]
    else:
        yield _number_text(secret)
        yield f"{secret:,}" if isinstance(secret, int | float) else ""


def _forms_of(text: str, within: str) -> set[str]:
    """Return the forms in which a text can appear in another one, which is given by `_plainly`."""
    encoded = set(_base64_of(text.encode("utf-8", "replace")))
    longest = max(_LETTERS.findall(text), key=len, default="")  # no way to quote it changes these
    if longest.lower() not in within:
        return encoded
    quoted = {*_quoted(text), *(() if text.isascii() else _quoted(text.upper()))}  # ß, SS
    return {*encoded, *quoted, *(form for one in quoted for form in _quoted(one))}


def _base64_of(secret: bytes) -> Iterator[str]:
    """Yield how base64 writes a text with a secret, wherever in it the secret begins."""
    for before in range(3):
        text = base64.b64encode(b"0" * before + secret).decode()
        whole = text[before and before + 1 :]  # without the characters that it shares with others
        ending = (before + len(secret)) % 3
        form = whole[:-3] if ending == 1 else whole[:-2] if ending == 2 else whole
        if len(form) >= _MIN_SECRET_CHARS:
            yield form
            yield form.translate(_URL_SAFE)


def _number_text(number: object) -> str:
    try:
        return str(number)
    except ValueError:  # Python prints no integer of over 4,300 digits
        return ""


def _quoted(text: str) -> Iterator[str]:
    yield text
    yield repr(text)[1:-1]
    yield repr("'\"" + text)[4:-1]  # as a part of a text that has both kinds of quotes
    yield ascii(text)[1:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield shlex.quote(text)[1:-1] if "'" in text else text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    with contextlib.suppress(UnicodeEncodeError):
        for safe in ("", "/", "!*'()", "!$&'()*+,;=", "!$&'()*+,;=:@/?#"):
            yield urllib.parse.quote(text, safe=safe)
        yield urllib.parse.quote_plus(text)


# --- errors ---------------------------------------------------------------------------------------

OnToolError: TypeAlias = Literal["message", "type", "hide"]
"""What code sees when a tool raises: the exception's class and text, its class, or only that the tool
failed. The text of a `ToolException` is written for the model: it is shown without its class, and
hidden only by `hide`."""

_KEY_OF_INTERRUPT = "__pregel_scratchpad"
"""What LangGraph's `interrupt` raises as a KeyError outside a graph."""
MAX_ERROR_CHARS = 2_000
_MAX_PROBLEMS = 10
_MAX_INPUT_CHARS = 200


def describe_failure(
    name: str, error: BaseException, on_tool_error: OnToolError, *, is_reached: bool = True
) -> str:
    """Describe the failure of a tool.

    Args:
        name: What the code calls it.
        error: What it raised.
        on_tool_error: How much to show.
        is_reached: Whether the tool's own code has begun: what is wrong with the arguments that the
            code passed is not a secret to it.
    """
    if isinstance(error, ValidationError) and not is_reached:
        return f"{name} failed: {_describe_arguments(error)}"
    if on_tool_error == "hide":
        return f"{name} failed"
    text = _error_text(error)
    if isinstance(error, ToolException):
        return f"{name} failed: {text}" if text else f"{name} failed"
    if type(error) is KeyError and error.args == (_KEY_OF_INTERRUPT,):
        return f"{name} failed: it calls interrupt(), which needs a graph, and this code runs outside of one"
    kind = type(error).__name__
    if on_tool_error == "type" or not text:
        return f"{name} failed: {kind}"
    return f"{name} failed: {kind}: {text}"


def describe_message(name: str, content: object, on_tool_error: OnToolError) -> str:
    """Describe an error message with which a tool, or a middleware before it, has answered."""
    if on_tool_error == "hide":
        return f"{name} failed"
    return f"{name} failed: {_hide_in_urls(describe_error(content))}"


def cut(text: str, limit: int = MAX_ERROR_CHARS) -> str:
    """Cut a text that is too long, and say how much is cut."""
    return (
        text
        if len(text) <= limit
        else f"{text[:limit]}… [{count(len(text) - limit, 'character')} cut]"
    )


def _error_text(error: BaseException) -> str:
    """Return the text of an exception; of a group, also what the exceptions in it say.

    HTTP clients put the whole URL into it, and many a service takes its key there.
    """
    try:
        text = _hide_in_urls(str(error))
    except Exception:  # noqa: BLE001  # the tool's own exception may raise anything
        return ""
    if not isinstance(error, BaseExceptionGroup):
        return text
    leaves: list[str] = []
    groups: list[BaseExceptionGroup[Any]] = [error]
    while groups and len(leaves) < _MAX_PROBLEMS:
        for inner in groups.pop().exceptions:
            if isinstance(inner, BaseExceptionGroup):
                groups.append(inner)
            else:
                leaves.append(f"{type(inner).__name__}: {_error_text(inner)}")
    return f"{text}: {'; '.join(leaves[:_MAX_PROBLEMS])}"


def _describe_arguments(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False)[:_MAX_PROBLEMS]:
        place = ".".join(map(str, problem["loc"]))
        value = problem["input"]
        if any(is_secret(name, value) for name in problem["loc"]):
            value = REDACTED
        given = cut(repr(hide_named(value)), _MAX_INPUT_CHARS)
        parts.append(f"{place}{': ' * bool(place)}{problem['msg']} (got {given})")
    return "bad arguments: " + "; ".join(parts)
