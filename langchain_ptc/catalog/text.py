"""Names and text of other people, made safe to stand in Python source. Pure.

They come from tools and servers, and are not trusted. Descriptions, whatever they contain (quotes, backslashes,
newlines, control characters, code), stay inside their string or comment.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

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
    """Return `name` as an identifier that Python reads back as it is, with `fallback` where nothing else will do."""
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
_WIDE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]")  # scripts in which each character is a word


def split_words(text: str) -> list[str]:
    """Return the words of `getHTTPResponse_v2` or a text, in small letters and without accents."""
    plain = _CLITIC.sub("", text)
    if plain.isascii():
        return [word.lower() for word in _PART.findall(plain)]
    parts = unicodedata.normalize("NFKD", plain.replace("ß", "ss"))
    bare = "".join(char for char in parts if not unicodedata.combining(char))
    words = (word.lower() for word in _PART.findall(unicodedata.normalize("NFKC", bare)))
    return [part for word in words for part in (word if _WIDE.search(word) else [word])]


# --- descriptions -------------------------------------------------------------------------------

MAX_TOOL_CHARS = 1_500  # length of a tool's description in its stub; the rest is cut
MAX_LINE_CHARS = 500  # length of the description of a parameter or field in its stub

MAX_BRIEF_CHARS = 88  # the same, in the text that a model reads
MAX_PROMPT_TOOL_CHARS = 1_000  # length of a tool's description in the text that a model reads

_JOINERS = "\u200c\u200d"  # some scripts, and emoji, need these invisible ones


def _clean(text: str) -> str:
    """Return `text` without characters that control terminals, hide text or reorder it (CVE-2021-42574)."""
    if text.isascii() and text.replace("\n", " ").isprintable():
        return text
    return "".join(
        char
        for char in text
        if char in "\n\t" or char in _JOINERS or unicodedata.category(char) not in _UNSEEN
    )


_UNSEEN = frozenset({"Cc", "Cf", "Cs"})


def cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning up to the end of a word, with `…`."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ")
    return f"{(head[:space] if space > limit * 3 // 4 else head).rstrip()}…"


def _is_plain_line(text: str, limit: int) -> bool:
    """Whether `text` can stand as it is; the common case, and a catalog asks thousands of times."""
    return (
        len(text) <= limit
        and text.isascii()
        and text.isprintable()
        and "  " not in text
        and text[:1] != " " != text[-1:]
    )


def one_line(text: str, *, limit: int = MAX_LINE_CHARS) -> str:
    """Return `text` on one line, cut at `limit` characters: fit for a comment."""
    if _is_plain_line(text, limit):
        return text
    # Far more than can be shown is not even read: descriptions of many megabytes exist.
    return cut(" ".join(_clean(_newlines(text[: 4 * limit])).split()), limit)


def brief(text: str, *, limit: int = MAX_BRIEF_CHARS) -> str:
    """Return `text` on one line in few characters: whole sentences, no article, no last period."""
    line = one_line(text)
    if line.startswith(_ARTICLES):
        line = line[line.index(" ") + 1 :]
    if len(line) > limit:
        end = line.rfind(". ", limit // 2, limit)
        line = line[:end] if end > 0 else cut(line, limit)
    return line[:-1] if line.endswith(".") and not line.endswith("..") else line


_ARTICLES = ("The ", "A ", "An ")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z\"'`(])")


def first_sentence(text: str) -> str:
    """Return the first sentence of `text`, or its first paragraph if that ends without a period."""
    start = text[:MAX_TOOL_CHARS].strip().partition("\n\n")[0]
    return _SENTENCE_END.split(start, maxsplit=1)[0]


def paragraphs(text: str, *, limit: int = MAX_TOOL_CHARS) -> str:
    """Return `text` with its lines, without blank ones in a row, cut at `limit` characters."""
    if _is_plain_line(text, limit):
        return text
    # Docstrings are indented from their second line on.
    cleaned = inspect.cleandoc(_clean(_newlines(text[: 4 * limit])).expandtabs(4))
    lines = [line.rstrip() for line in cleaned.split("\n")]
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip())
    return cut(re.sub(r"(?<=\S) {2,}", " ", joined), limit)


def _newlines(text: str) -> str:
    return "\n".join(text.splitlines())


def docstring(text: str, *, indent: str) -> str:
    """Return `text` as a docstring in source, without its indentation on the first line."""
    if _is_plain_line(text, len(text)) and "\\" not in text and '"' not in text:
        return f'"""{text}"""'
    escaped = text.replace("\\", "\\\\")
    # Three quotes would end it, and so would one at its end.
    escaped = re.sub(r'"{3,}|"+\Z', lambda run: '\\"' * len(run[0]), escaped)
    lines = [f"{indent}{line}" if line.strip() else "" for line in escaped.split("\n")]
    lines[0] = lines[0].strip()
    end = f"\n{indent}" if len(lines) > 1 else ""
    body = "\n".join(lines)
    return f'"""{body}{end}"""'


# --- records and errors --------------------------------------------------------------------------

_MAX_ERROR_BLOCKS = 100  # blocks of an error's content that are read


def read_field(record: object, name: str, default: Any = None) -> Any:
    """Return a field of a record of `mcp`, or of a dict of its fields, by its name in camel case."""
    other = re.sub(r"([A-Z])", r"_\1", name).lower()
    if isinstance(record, Mapping):
        return record.get(other, record.get(name, default))
    # Records of later versions have both, and warn of the camel case.
    return getattr(record, other) if hasattr(record, other) else getattr(record, name, default)


def describe_error(content: object) -> str:
    """Return the text of an error message, or a description of content blocks without text."""
    blocks = content if isinstance(content, list) else [content]
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    texts, others = [], set()
    for block in blocks[:_MAX_ERROR_BLOCKS]:
        text = block if isinstance(block, str) else read_field(block, "text")
        if isinstance(text, str) and text:
            texts.append(text)
        else:
            others.add(str(read_field(block, "type")))
    if texts:
        return "\n".join(texts)
    kinds = ", ".join(sorted(others))
    return f"its error message has no text, only {kinds}" if kinds else "its error message is empty"
