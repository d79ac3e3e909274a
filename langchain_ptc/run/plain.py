"""Values as plain JSON data: for people, models, dashboards and the graph's state.

Everything that leaves an execution goes through `as_plain`: the artifact of a message, records, events
and questions. Every serializer that such data meets accepts what it returns: `json`, orjson,
LangGraph's msgpack (whose integers have 64 bits, and whose keys must be valid UTF-8), SQLite and JSON
columns. It is the same after a round trip through any of them.
"""

from __future__ import annotations

import base64
import datetime
import heapq
import json
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

from langchain_ptc.sandbox.wire.values import is_large

_MAX_INT = 2**63
"""Integers that do not fit into 64 bits with a sign are written as text."""
_MAX_LEVELS = 150
"""LangChain reads no message that is nested more than 200 levels deep."""
_SLICE_ITEMS = 10_000
"""Items that are sorted in one call of C code, during which no other thread runs."""
_MAX_PLAIN_INT = 10**4000
"""Python refuses to print integers of over 4,300 digits; larger ones are shown as hexadecimal."""
_ENCODED_ITEMS = 500
"""Items of a container that are encoded in one call of C code."""
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
