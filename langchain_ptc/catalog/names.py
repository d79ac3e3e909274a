"""Names: made identifiers, taken apart into their words, and distinguished from data."""

from __future__ import annotations

import builtins
import functools
import keyword
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

STUB_VOCABULARY = frozenset(
    {
        *("Any", "Literal", "NotRequired", "TypedDict", "Sequence"),
        *("date", "datetime", "time", "timedelta", "Decimal", "UUID"),
        *("tools", "self"),
    }
)
"""Names that the stubs themselves use, so that no tool, domain or record may take them."""
RESERVED = STUB_VOCABULARY | frozenset(dir(builtins)) | {*keyword.kwlist, "match", "case", "type"}
"""Names that a tool, a domain or a record must not take: code that uses both would break."""
MAX_NAME_CHARS = 100


def is_normal(name: str) -> bool:
    """Whether Python reads the identifier `name` back as it is: it normalizes those in source."""
    return name.isascii() or unicodedata.normalize("NFKC", name) == name


def to_identifier(name: str, *, fallback: str) -> str:
    """Return `name` as an identifier that Python reads back as it is; keywords get an underscore.

    Args:
        name: Any text.
        fallback: What to call it if nothing of `name` can stand in an identifier; also put in front
            of a leading digit.
    """
    normal = unicodedata.normalize("NFKC", name[: 4 * MAX_NAME_CHARS])
    kept = "".join(char if f"a{char}".isidentifier() else "_" for char in normal)
    # Leading underscores are private to Python, and the sandbox's language refuses them.
    kept = re.sub(r"__+", "_", kept).strip("_") if kept != normal else kept.lstrip("_")
    kept = kept[:MAX_NAME_CHARS]
    if not kept:
        return fallback
    if not kept.isidentifier():
        kept = f"{fallback}_{kept}"
    return f"{kept}_" if keyword.iskeyword(kept) else kept


def to_public_identifier(name: str, *, fallback: str) -> str:
    """Return `name` as an identifier that hides neither a builtin nor a name of the stubs."""
    kept = to_identifier(name, fallback=fallback)
    return f"{kept}_" if kept in RESERVED else kept


def to_class_name(name: str) -> str:
    """Return `name` in the form of a class name: `line-items` becomes `LineItems`."""
    words = re.split(r"[_\W]+", to_identifier(name, fallback="Record"))
    return to_identifier("".join(word[:1].upper() + word[1:] for word in words), fallback="Record")


def unique(name: str, taken: Collection[str]) -> str:
    """Return `name`, or the first of `name_2`, `name_3`, … that is not taken."""
    number = 1
    found = name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_CLITIC = re.compile(r"(?<=\w)['\u2019](?:s|t|re|ve|ll|d|m)\b")
_WIDE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]")
"""Scripts that put no spaces between words: each character stands for itself."""


def split_words(text: str) -> list[str]:
    """Return the words of a name or a text, in small letters and without accents.

    `getHTTPResponse_v2` gives `get`, `http`, `response`, `v`, `2`; `it's` gives `it`.
    """
    plain = _CLITIC.sub("", text)
    if plain.isascii():
        return [word.lower() for word in _PART.findall(plain)]
    words = (word.lower() for word in _PART.findall(_without_accents(plain)))
    return [part for word in words for part in (word if _WIDE.search(word) else [word])]


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return unicodedata.normalize("NFKC", "".join(c for c in parts if not unicodedata.combining(c)))


MAX_KEY_CHARS = 40
"""Length of a key that may be the name of a field."""
_SAFE = re.compile(r"[@$]?[^\W\d][\w:. -]*")
_PLAIN = re.compile(r"[^\W\d]\w*")
_HOST = re.compile(r"\.(?:app|biz|com|dev|edu|gov|info|io|net|org)$", re.IGNORECASE)
_ID = re.compile(r"\d{3}|\d[A-Za-z]+\d")
"""Long numbers, and letters between digits."""
_CODE = re.compile(r"[A-Z\d_]+")
"""Nothing but capitals: currencies, shares, airports."""


@functools.cache
def _field_words() -> frozenset[str]:
    """Return what fields of records are called, in lower case."""
    return frozenset(Path(__file__).with_name("field_words.txt").read_text("utf-8").split())


def is_known(key: str) -> bool:
    """Return whether a key is made of words that fields are called."""
    known = _field_words()
    words = [word for word in split_words(key) if len(word) > 1 and not word.isdigit()]
    if not words:
        return len(key) == 1 or key.lower() in known
    return known.issuperset(words) or "".join(words) in known


def looks_like_data(key: str) -> bool:
    """Return whether a key is an id, a code, a date, an address, a sentence, and no name of a field."""
    if key.lower() in _field_words():
        return False
    if not key.isprintable() or len(key) > MAX_KEY_CHARS or _ID.search(key):
        return True
    if is_known(key) and _SAFE.fullmatch(key) and not _HOST.search(key):
        return False
    return _CODE.fullmatch(key) is not None or _PLAIN.fullmatch(key) is None
