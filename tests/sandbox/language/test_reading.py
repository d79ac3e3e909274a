"""Code is read in bounded time, and without a warning."""

from __future__ import annotations

import ast
import warnings

import pytest

from langchain_ptc.sandbox.language.scopes import TooCostly, has_long_import, parse_quietly


@pytest.mark.parametrize(
    "code",
    ["import a.b.c", "x = a" + ".b" * 300, f"x = '{'1.' * 300}'", "import a" * 9000, "," * 9000],
)
def test_short_paths_are_no_long_imports(code: str) -> None:
    """Only an import's own name counts."""
    assert not has_long_import(code)


QUIET = [
    "print('\\d \\q \\\\d \\' \\n')",
    "import re\nprint(re.sub('\\s+', ' ', 'a  b'))",
    "print(r'\\d', b'\\d', '\\\n')",
    "x = 1\nprint(f'\\d{x}')",
    "'''\\w\n\\\\'''",
    "print('\\d \\x01 \\1 \\u0001 \\U00000001 \\N{START OF HEADING} \\N{BULLET}')",
    "print('\\d \\x01 \\x02', '\x03', b'\\d \\4 \\x05', r'\\d \\x06')",
]
QUIET += [
    """print('%20is', "a%20and%20b", "'5if", r'5in')  # 1if x""",
    "x = '''5if\n'5in' 5or'''\ny = '6if'",
    "x = 1 # it's 5if\ny = 'a' # '\nprint('7or')",
]


@pytest.mark.parametrize("code", QUIET)
def test_code_is_read_without_warnings(code: str) -> None:
    """The tree is that of `ast.parse`, and no filter of warnings is asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = ast.dump(ast.parse(code), include_attributes=True)
        warnings.simplefilter("error")
        assert ast.dump(parse_quietly(code), include_attributes=True) == plain


LOUD = [
    "x = 'a'\ny = 1if x else 2",
    "f'{1if x else 2}'",
    "# it's\ny = 1if x else 2 # it's",
    "'\\400'",
    "1if x else 2",
    "0x1for x in y",
    "b'\\u1234'",
    "[1_0or 2]",
    "1jif x else y",
]


@pytest.mark.parametrize("code", LOUD)
def test_code_that_would_warn_is_left_alone(code: str) -> None:
    """What cannot be read without a warning is not read on the host."""
    with pytest.raises((TooCostly, SyntaxError)):
        parse_quietly(code)
