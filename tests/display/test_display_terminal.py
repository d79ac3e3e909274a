# ruff: noqa: RUF001  # the crosses of failed calls
"""Terminal text of a result: the facts of the page, as safe, as bounded."""

from __future__ import annotations

import io

import pytest
import rich
from rich.console import Console

from langchain_ptc import ExecutionResult
from langchain_ptc.display.terminal import render_panel
from tests.support.display_data import HOSTILE, UNSEEN, Page, call, failure, record


def mixed() -> dict[str, object]:
    """A record with a call of each kind."""
    return record(
        call(1, 0.0, 0.2),
        call(2, 0.2, 0.4, waited_seconds=0.1, attempts=2),
        call(3, 0.2, 0.5, status="failed", error="no such page", tool="put_row"),
        call(4, 0.7, 0.0, is_cache_hit=True),
        call(5, 0.7, 0.0, status="denied", approval="reject", approved_by="ada", error="too much"),
        call(6, 0.7, 0.3, status="cancelled", error="the execution ended first"),
    )


def on_terminal(shown: object, width: int = 80, **options: object) -> str:
    """Return what rich prints on a terminal of some width."""
    file = io.StringIO()
    settings = {"color_system": None, "legacy_windows": False, **options}
    Console(file=file, width=width, **settings).print(shown)
    return file.getvalue()


def test_terminal_text() -> None:
    """A reviewer sees what a reader sees."""
    assert (
        on_terminal(render_panel(mixed()), 84)
        == """\
╭─ ✓ success ──────────────────────────────────────────────────────────────────────╮
│   1 rows = []                                                                    │
│   2 for page in range(3):                                                        │
│   3     rows += get_rows(page=page)                                              │
│   4 print(len(rows))                                                             │
│ output, 2 B ──────────────────────────────────────────────────────────────────── │
│ 3                                                                                │
│ tool calls ───────────────────────────────────────────────────────────────────── │
│ shop.get_rows(page=1)       ━━━━━━                                        200 ms │
│ shop.get_rows(page=2)             ╌╌╌━━━━━━━━━━                 400 ms · 2 tries │
│ shop.put_row(page=3)              ╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳               500 ms · failed │
│   no such page                                                                   │
│ shop.get_rows(page=4)                             ┅                 0 s · cached │
│ shop.get_rows(page=5)                             ○          0 s · denied by ada │
│   too much                                                                       │
│ shop.get_rows(page=6)                             ┄┄┄┄┄┄┄┄┄┄  300 ms · cancelled │
│ against direct calls, estimated ──────────────────────────────────────────────── │
│ 2 inferences instead of 4 to 7, about 21 tokens instead of 10,000 to 21,000      │
╰───────────────────────────────────────── 6 tool calls, up to 2 at once · 1.00 s ─╯
"""
    )


def test_error_on_a_terminal() -> None:
    """The line that failed is marked, and the error stands below the code."""
    text = on_terminal(render_panel(record(status="error", error=failure(hint="no such key"))))
    assert "❱ 3     rows += get_rows" in text
    assert "line 3: KeyError: 'id'" in text
    assert "hint: no such key" in text


def test_rich_prints_a_result() -> None:
    """`rich.print(result)` shows the panel."""
    file = io.StringIO()
    rich.print(ExecutionResult.from_dict(mixed()), file=file)
    assert "✓ success" in file.getvalue()
    assert "2 inferences instead of" in file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_hostile_text_on_a_terminal(width: int) -> None:
    """No record can send a terminal a control code, nor rich its markup."""
    data = record(
        call(
            1, 0.1, 0.2, tool=HOSTILE, arguments={HOSTILE: HOSTILE}, status="failed", error=HOSTILE
        ),
        call(2, 0.1, 0.2, status=HOSTILE, approval="approve", approved_by=HOSTILE),
        code=HOSTILE,
        output=HOSTILE,
        notes=[HOSTILE],
        status=HOSTILE,
        error=failure(kind=HOSTILE, message=HOSTILE, hint=HOSTILE, line=1),
    )
    text = on_terminal(render_panel(data), width)
    assert not UNSEEN.search(text)
    if width == 200:
        assert "[bold red]rich[/bold red]" in text
    assert "\x1b]8" not in on_terminal(render_panel(data), width, force_terminal=True)


def test_terminal_text_is_bounded() -> None:
    """10,000 calls and 8 MB of output fit on a few screens."""
    text = on_terminal(
        render_panel(
            record(
                *(call(n, n / 10, 0.3, error="x" * 9_000) for n in range(1, 10_001)),
                output="line\n" * 1_600_000,
                code="x = 1\n" * 10_000,
            )
        )
    )
    assert len(text.splitlines()) < 2_500
    assert "more calls" in text
    assert "characters are left out here" in text
    assert "9,880 lines left out here" in text


def test_a_terminal_without_unicode() -> None:
    """Bars are drawn in ASCII where nothing else can be written."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    Console(file=file, width=80, color_system=None).print(render_panel(mixed()))
    file.seek(0)
    assert "xxxx" in file.read()


def test_the_page_and_the_terminal_tell_the_same() -> None:
    """What is special about a call is told in the same words everywhere."""
    page, text = (
        Page(ExecutionResult.from_dict(mixed())._repr_html_()).shown,
        on_terminal(render_panel(mixed()), 200),
    )
    for words in ("400 ms · 2 tries", "500 ms · failed", "0 s · denied by ada", "0 s · cached"):
        assert words in page
        assert words in text
