"""Python's parser for code that nobody trusts, in a process that others share.

The parser is C: it holds the interpreter until it is done, and it shows its warnings by filters that
belong to the whole process. So what it takes long for is found before, and what it would warn of is
put out of its sight and back into the tree afterwards.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import unicodedata

MAX_PATH_PARTS = 100
"""Parts of the name of a module: CPython joins them in time that grows with their square."""

_PATH = rf"(?:\w++[\s\\]*+\.[\s\\]*+){{{MAX_PATH_PARTS}}}"
_LONG_IMPORT = re.compile(rf"(?:(?:\bimport|\bfrom)[\s\\]|,)[\s\\]*+{_PATH}")
_ESCAPE = re.compile(r"\\([4-7][0-7]{2}|.)", re.DOTALL)
_JOINED = re.compile(
    r"(?<![\w.])(?:0[xX][0-9a-fA-F_]++|0[oObB][0-7_]++|\d[\d_.]*+(?:[eE][+-]?\d++)?+)[jJ]?+"
    r"(?:and|else|for|if|in|is|not|or)"
)
_TEXT = re.compile(
    r"""\#[^\n]*+ | (?P<prefix>(?<!\w)[a-zA-Z]{0,2}+)(?:
    \'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+\'\'\' | \"\"\"(?:[^"\\]|\\.|"(?!""))*+\"\"\"
    | '(?:[^'\\\n]|\\.)*+' | "(?:[^"\\\n]|\\.)*+" )""",
    re.VERBOSE | re.DOTALL,
)
"""Comments and strings."""
_BYTES = re.compile(r"[bB][rR]?['\"]")
_KNOWN_ESCAPES = frozenset("\n\r\\'\"abfnrtvxuUN01234567")
_NUMBERED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3}))")
_NAMED = re.compile(r"\\N\{([^{}]+)\}")
_MARKS = tuple(map(chr, (*range(1, 9), *range(14, 28))))
"""One of these replaces a backslash that starts no escape sequence, which Python leaves as it is: one that the
code has not, neither itself nor as an escape. All of them may be in bytes, too."""


class TooCostly(ValueError):
    """The parser would take long for the code, or emit a warning."""


def parse_quietly(code: str) -> ast.Module:
    """Parse `code` without a warning, and without touching the filters of warnings.

    Raises:
        SyntaxError: It is not valid Python.
        ValueError: It has a null byte, or an integer of too many digits.
        TooCostly: CPython's parser would take quadratic time, or would warn.
        RecursionError: It is nested too deeply.
        MemoryError: Likewise.
    """
    if has_long_import(code):
        raise TooCostly(f"an import has a name of more than {MAX_PATH_PARTS} parts")
    if "\\" not in code:
        _refuse_joined_numbers(code)
        return parse(code)
    mark = _choose_mark(code)
    quiet = _ESCAPE.sub(functools.partial(_hide, mark), code)
    _refuse_joined_numbers(code)
    if _BYTES.search(code) and re.search(r"\\[uUN]", code):
        raise TooCostly("bytes with an escape that only text has")
    tree = parse(quiet)
    if mark in quiet:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                if isinstance(node.value, str):
                    node.value = node.value.replace(mark, "\\")
                elif isinstance(node.value, bytes):
                    node.value = node.value.replace(mark.encode(), b"\\")
    return tree


def parse(code: str, filename: str = "<unknown>") -> ast.Module:
    """Do what `ast.parse` does, where other threads do the same.

    Python 3.11 counts the depth of all its trees in one place, and raises a `SystemError` where two
    threads make one at the same time.
    """
    for _ in range(_MAX_TRIES):
        with contextlib.suppress(SystemError):
            return ast.parse(code, filename)
    return ast.parse(code, filename)


_MAX_TRIES = 20


def has_long_import(code: str) -> bool:
    """Whether an import has a name so long that CPython's parser takes quadratic time for it."""
    return _LONG_IMPORT.search(code) is not None


def _choose_mark(code: str) -> str:
    """Return a character that no constant of the code has.

    Raises:
        TooCostly: It has each of those that may be chosen.
    """
    used = set(code)
    for hexadecimal in _NUMBERED.finditer(code):
        *digits, octal = hexadecimal.groups()
        number = int(octal, 8) if octal else int("".join(filter(None, digits)), 16)
        used.add(chr(min(number, 0x10FFFF)))
    for name in _NAMED.findall(code):  # control characters have names, too
        with contextlib.suppress(KeyError):
            used.add(unicodedata.lookup(name))
    mark = next((mark for mark in _MARKS if mark not in used), None)
    if mark is None:
        raise TooCostly("the code has every control character")
    return mark


def _hide(mark: str, escape: re.Match[str]) -> str:
    what = escape[1]
    if len(what) > 1:
        raise TooCostly("an octal escape is over \\377")
    return escape[0] if what in _KNOWN_ESCAPES else mark + what


def _refuse_joined_numbers(code: str) -> None:
    """Refuse `1if x else y`, of which Python warns; in a string, as in `"a%20and"`, it does not."""
    if _JOINED.search(code) and _JOINED.search(_TEXT.sub(_drop, code)):
        raise TooCostly("a keyword follows a number without a space")


def _drop(text: re.Match[str]) -> str:
    """Return nothing for a comment or string, but f-strings: they hold code."""
    return text[0] if "f" in (text["prefix"] or "").lower() else "''"
