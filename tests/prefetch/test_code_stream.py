"""The code of a reply while it arrives: for each way to cut the reply, a growing prefix of the program."""

from __future__ import annotations

import json
import random
import time

import pytest

from langchain_ptc.prefetch.code_stream import CodeStream, FencedCode, JsonCode
from tests.support.replies import program_of

CODE = 'name = "Zoë 😀 \\u00e9 \\\\n"\nrows = await get(q="a\\"b", path=\'C:\\\\x\')\nprint(f"{name}\\t")  # ü\n'


def feed_all(stream: CodeStream, pieces: list[str]) -> str:
    """Feed pieces, checking that each adds to the code what it says; return the code at the end."""
    code = ""
    for piece in pieces:
        code += stream.feed(piece)
        assert stream.code == code
        assert not any("\ud800" <= char <= "\udfff" for char in code)
    code += stream.close()
    assert stream.code == code
    return code


def cut(text: str, rng: random.Random, longest: int = 6) -> list[str]:
    """Cut a text into pieces of random length, some of them empty."""
    pieces, at = [], 0
    while at < len(text):
        size = rng.randint(0, longest)
        pieces.append(text[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_every_cut(ensure_ascii: bool) -> None:
    """Wherever arguments are cut, what comes before gives a prefix of the code, and all of it the code."""
    arguments = json.dumps({"code": CODE}, ensure_ascii=ensure_ascii)
    for at in range(len(arguments) + 1):
        stream = JsonCode()
        assert CODE.startswith(stream.feed(arguments[:at]))
        stream.feed(arguments[at:])
        assert stream.code == CODE


def test_random_arguments() -> None:
    """20,000 random arguments, cut at random places, give the code that a JSON parser finds in them."""
    rng = random.Random(1)
    alphabet = "ab\n\t\"\\/é😀\u2028{}[]:,' "
    for _ in range(20_000):
        code = "".join(rng.choices(alphabet, k=rng.randint(0, 30)))
        arguments: dict[str, object] = {}
        if rng.random() < 0.3:
            arguments["thought"] = '"code": "x' + code
        if rng.random() < 0.2:
            arguments["more"] = [1, {"code": "no"}, "code"]
        arguments[rng.choice(["code", "program", "source"])] = code
        if rng.random() < 0.2:
            arguments["timeout"] = 1
        text = json.dumps(
            arguments, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1])
        )
        stream = JsonCode()
        grown = ""
        for piece in cut(text, rng):
            grown += stream.feed(piece)
            assert code.startswith(grown)
        assert grown == code == stream.code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"code": "a = 1\nb = \'\t\'"}', "a = 1\nb = '\t'"),
        ('  {\n "code"\n:\n"x"', "x"),
        ('{"c\\u006fde": "x"}', "x"),
        ('{"code": ["x"], "z": "code"}', ""),
        ('{"code": null}', ""),
        ('{"kind": "code", "args": {"code": "x"}}', ""),
        ('{"Code": "x"}', ""),
        ('["code", "x"]', ""),
        ('"code"', ""),
        ("", ""),
        ('{"code": "a\\q"}', "a"),
        ('{"code": "a\\u00g1"}', "a"),
        ('{"code": "a\\ud83d', "a"),
        ('{"code": "a\\ud83d\\u', "a"),
        ('{"code": "x"} {"code": "y"}', "x"),
        ('{} {"code": "y"}', ""),
    ],
)
def test_arguments(arguments: str, code: str) -> None:
    """The code is the string under a code key of the outer object, up to an escape that is not JSON."""
    assert feed_all(JsonCode(), list(arguments)) == code
    assert feed_all(JsonCode(), [arguments]) == code


def test_half_a_character() -> None:
    """Half of a surrogate pair is held back, unless its other half does not follow."""
    stream = JsonCode()
    assert stream.feed('{"code": "\\ud83d') == ""
    assert stream.feed("\\ude") == ""
    assert stream.feed("00") == "😀"
    assert stream.feed("\\ud83d") == ""
    assert stream.feed("!") == "\ud83d!"


@pytest.mark.parametrize("make", [JsonCode, FencedCode])
def test_linear_time(make: type[CodeStream]) -> None:
    """A megabyte that arrives in small pieces is read in seconds, wherever in it the code is."""
    line = "x = 1 \\\\ 'a' " * 10
    body = "\\n".join([line] * 4_000)
    text = json.dumps({"thought": body}) if make is JsonCode else "y" * 400_000
    if make is JsonCode:
        text = f'{text[:-1]}, "code": "{body}"}}'
    else:
        text += "\n```python\n" + body.replace("\\n", "\n") + "\n```"
    stream = make()
    began = time.process_time()
    for at in range(0, len(text), 4):
        stream.feed(text[at : at + 4])
    assert time.process_time() - began < 10
    assert len(stream.code) > 400_000


TEXTS = [
    "Sure:\n```python\nx = 1\ns = '''\n```` no\n'''\nprint(x)\n```\nand\n```py\ny = 2\n```\nbye",
    "```python\n\n\nx = 1\n\n\n\ny = 2\n\n\n```\n\n```json\n{}\n```\n```py\n\nz = 3\n```",
    "- so:\n  ```python\n  for a in b:\n      print(a)\n  ```\n> ```python\n> c\n> print(d)\n> ```\n",
    "~~~python title=x.py\r\nprint(1)\r\n\r\nprint(2)\r\n~~~\r\n",
    "<think>\n```python\nprint('no')\n```\n</think>\n```python\nprint('yes')\n```",
    "````python\nprint('''\n```\n''')\n````\n",
    "```tool_code\nprint(1)",
    "```python\nprint(1)\n```python\nprint(2)\n```",
    "no code at all, but `print(1)`",
]


@pytest.mark.parametrize("text", TEXTS)
def test_fenced_text(text: str) -> None:
    """However a text is cut, the code so far is a prefix of the program that is found in the end."""
    program = program_of(text) if "```" in text or "~~~" in text else ""
    for seed in range(50):
        code = feed_all(FencedCode(), cut(text, random.Random(seed), 9))
        assert code.rstrip("\n") == program
        assert len(code) - len(program) <= 1
    for at in range(len(text) + 1):
        assert f"{program}\n".startswith(FencedCode().feed(text[:at]))


def test_last_line_may_be_a_fence() -> None:
    """A line counts when it is whole, empty ones when more follows."""
    stream = FencedCode()
    assert stream.feed("```python\nx = 1") == ""
    assert stream.feed("\n\n") == "x = 1\n"
    assert stream.feed("``") == ""
    assert stream.feed("`\n") == ""
    assert stream.feed("```python\ny = 2\n") == "\ny = 2\n"


def test_draft() -> None:
    """The end of a reasoning without a beginning makes a draft of what was read: nothing is added."""
    text = "```python\nprint('draft')\n```\n</think>\n```python\nprint('program')\n```\n"
    stream = FencedCode()
    assert feed_all(stream, list(text)) == "print('draft')\n"
    assert program_of(text) == "print('program')"


def test_other_labels() -> None:
    """Blocks of other languages, and those without a label, are not known to be the program."""
    text = "```sh\nls\n```\n```\nprint(1)\n```\n```run_code\nprint(2)\n```\n"
    assert feed_all(FencedCode(), [text]) == ""
    assert feed_all(FencedCode(frozenset({"run_code"})), [text]) == "print(2)\n"
