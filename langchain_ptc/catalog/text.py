"""Text of other people made safe to stand in Python source. Pure.

Descriptions come from tools and servers that nobody here wrote. Whatever they hold (quotes,
backslashes, newlines, control characters, code), they stay inside their string or comment.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Collection

MAX_TOOL_CHARS = 1_500
"""Length of a tool's description in its stub; the rest is cut."""
MAX_LINE_CHARS = 500
"""Length of the description of one parameter or field in its stub; the rest is cut."""

MAX_BRIEF_CHARS = 88
"""Length of the description of one parameter or field in the text that a model reads."""
MAX_PROMPT_TOOL_CHARS = 1_000
"""Length of a tool's description in the text that a model reads."""

_JOINERS = "\u200c\u200d"
"""Characters without a form of their own that some scripts, and emoji, need."""


def _clean(text: str) -> str:
    """Return `text` without characters that nobody sees.

    Some of them control terminals, some hide text, and some show it in another order than it is in
    (CVE-2021-42574).
    """
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
    if "whether " in line:
        line = _PREAMBLE.sub("", line)
    if len(line) > limit:
        end = line.rfind(". ", limit // 2, limit)
        line = line[:end] if end > 0 else cut(line, limit)
    return line[:-1] if line.endswith(".") and not line.endswith("..") else line


_ARTICLES = ("The ", "A ", "An ")
_PREAMBLE = re.compile(
    r"^(?:boolean |optional )*(?:flag|option|parameter|value)?(?: that| which| to| used to)* ?"
    r"(?:indicat|specif|determin|control)(?:e|es|s|y|ies|ing) (?=whether )",
    re.IGNORECASE,
)
"""How the descriptions of switches begin before they say something."""
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z\"'`(])")
_LISTS_VALUES = re.compile(r"(?i)default|value|option|choice|one of|either|optional|\bor\b")
_WORD = re.compile(r"[^\W_]+")
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W_A-Z]+")
_EMPTY_WORDS = frozenset(
    {*("the", "a", "an", "of", "for", "to", "this", "that", "its", "it", "is", "be", "value")}
)
_VALUE_WORDS = _EMPTY_WORDS | {
    *("default", "defaults", "optional", "possible", "allowed", "valid", "accepted", "supported"),
    *("available", "values", "options", "choices", "enum", "one", "either", "must", "can", "may"),
    *("are", "include", "or", "and", "if", "not", "specified", "provided", "set", "omitted"),
    *("given", "none", "null", "using", "use", "used"),
}
"""Words of sentences that only list values."""


def unsaid(text: str, *, name: str, values: Collection[object]) -> str:
    """Return the sentences of a description that say more than a signature does.

    Args:
        text: The description of a parameter or a field.
        name: Its name: a description that only repeats it says nothing.
        values: The default and the choices that the signature shows; a sentence that only lists
            them says nothing.
    """
    if values and len(text) <= 4 * MAX_LINE_CHARS and _LISTS_VALUES.search(text):
        known = _VALUE_WORDS.union(*(_words(str(v)[:MAX_LINE_CHARS]) for v in values))
        sentences = _SENTENCE_END.split(text)
        if any(_words(sentence) <= known for sentence in sentences):
            text = " ".join(s for s in sentences if not _words(s) <= known)
    if len(text) <= 2 * len(name) + 16:
        parts = _words(" ".join(_NAME_PART.findall(name)))
        if _words(text) <= parts | _EMPTY_WORDS:
            return ""
    return text


def first_sentence(text: str) -> str:
    """Return the first sentence of `text`, or its first paragraph if that ends without a period."""
    start = text[:MAX_TOOL_CHARS].strip().partition("\n\n")[0]
    return _SENTENCE_END.split(start, maxsplit=1)[0]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


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
