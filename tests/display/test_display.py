"""What a result shows of itself in a notebook: all of it, safely, and bounded."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest
from langchain_core.tools import ToolException, tool

from langchain_ptc import (
    Cache,
    ExecutionResult,
    InProcessSandbox,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.display.html import render_html
from langchain_ptc.display.record import choose, compare, read_timeline
from langchain_ptc.display.text import (
    one_line,
    render_bytes,
    render_seconds,
    round_figure,
    visible,
)
from tests.support.display_data import HOSTILE, START, UNSEEN, Page, call, failure, record

MAX_BYTES = 200_000


@tool
async def get_rows(page: int) -> list[dict]:
    """Get a page of rows."""
    await asyncio.sleep(0.02)
    return [{"id": number, "note": "x" * 50} for number in range(20)]


@tool
def pay(to: str, eur: float) -> str:
    """Pay somebody."""
    if eur > 100:
        raise ToolException(f"too much for {to}")
    return "ok"


CATALOG = ToolCatalog(
    {"shop": [get_rows], "bank": [pay]},
    policies={"get_rows": ToolPolicy(read_only=True, cache=Cache(), max_concurrent_calls=2)},
)


@pytest.fixture(scope="module")
def executor() -> ProgrammaticToolExecutor:
    """An executor in the default sandbox: worker processes."""
    return ProgrammaticToolExecutor(CATALOG)


# --- real executions ----------------------------------------------------------------------------


def test_a_success_shows_code_output_calls_and_what_it_saved(
    executor: ProgrammaticToolExecutor,
) -> None:
    """A page has the coloured code, the output, a bar for each call, and the comparison."""
    result = executor.execute(
        "import asyncio\n"
        "pages = await asyncio.gather(*(get_rows(page=n) for n in range(6)))\n"
        "again = await get_rows(page=1)\n"
        "print('rows:', sum(map(len, pages)))\n"
    )
    assert result.status == "success", result.report()
    page = Page(result._repr_html_())
    assert "✓ success" in page.shown
    assert "7 tool calls, up to 6 at once" in page.shown
    assert "rows: 120" in page.shown
    assert {"import", "await"} <= {
        text for text in page.text if text in ("import", "await", "asyncio")
    }
    assert page.classes("ptc-k")
    assert len(page.classes("ptc-returned")) == 6
    assert len(page.classes("ptc-cached")) == 1
    assert len(page.classes("ptc-wait")) >= 4  # two at a time: four waited
    assert "cached" in page.shown
    assert "2 inferences instead of 3 to 8" in page.shown
    assert "Estimated from the record." in page.shown


def test_an_error_is_marked_at_its_line(executor: ProgrammaticToolExecutor) -> None:
    """The line of the code that failed is marked, with the error below it, and so is the call."""
    code = "def settle(eur):\n    pay(to='ada', eur=eur)\n\nsettle(20)\nsettle(200)\n"
    result = executor.execute(code)
    assert result.status == "error"
    page = Page(result._repr_html_())
    assert [attrs["class"] for attrs in page.classes("ptc-hit")] == ["ptc-l ptc-hit"]
    assert "↑ ToolCallError: bank.pay failed: too much for ada" in page.shown
    assert "line 2: ToolCallError" in page.shown
    assert "Traceback, as the model read it" in page.shown
    assert len(page.classes("ptc-failed")) == 1
    assert "· failed" in page.shown
    assert "Against direct calls" not in page.shown  # nothing was saved


def test_refused_code_is_marked_at_each_place(executor: ProgrammaticToolExecutor) -> None:
    """Every mistake that the check found stands below its line."""
    result = executor.execute("import os\nget_rows(pag=1)\npay(to='ada')\n")
    page = Page(result._repr_html_())
    assert "⊘ refused" in page.shown
    assert len(page.classes("ptc-hit")) == len(result.error.problems) == 3
    assert "did you mean 'page'" in page.shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        pytest.param("result = {'a': [1, 2]}", "Value nothing was printed", id="value"),
        pytest.param("x = 1", "Output nothing was printed", id="nothing"),
        pytest.param("", "Code 0 lines", id="no-code"),
        pytest.param("get_rows(page=1)\nx = 1", "1 tool call ·", id="one-call"),
        pytest.param("return None", "success", id="none"),
    ],
)
def test_whatever_came_of_it_shows(
    executor: ProgrammaticToolExecutor, code: str, shown: str
) -> None:
    """A value, nothing at all, no code, a call whose result nobody used: each makes a page."""
    assert shown in Page(executor.execute(code)._repr_html_()).shown


def test_hostile_execution(executor: ProgrammaticToolExecutor) -> None:
    """A program that prints, passes and raises markup and control codes changes no page."""
    hostile = HOSTILE.replace("\ud800", "")  # which no code can hold
    code = (
        f"text = {hostile!r}\nprint(text)\n"
        "try:\n    pay(to=text, eur=1000)\nexcept Exception as error:\n    print(error)\n"
        "raise ValueError(text)\n"
    )
    result = executor.execute(code)
    assert result.status == "error"
    page = Page(result._repr_html_())
    assert "<script>alert(1)</script>" in page.shown  # as text
    assert "⟨U+202E⟩" in page.shown


# --- hostile and odd records --------------------------------------------------------------------


def test_hostile_text_anywhere_in_a_record() -> None:
    """No field of a record can end an element, begin one, or hide what is shown."""
    hostile_call = call(
        1,
        0.1,
        0.2,
        tool=HOSTILE,
        domain=HOSTILE,
        arguments={HOSTILE: HOSTILE, "nested": {"a": [HOSTILE]}},
        status="failed",
        error=HOSTILE,
        approval=HOSTILE,
        approved_by=HOSTILE,
        limit=HOSTILE,
    )
    page = Page(
        render_html(
            record(
                hostile_call,
                call(2, 0.1, 0.2, status=HOSTILE),
                execution_id=HOSTILE,
                started_at=HOSTILE,
                status=HOSTILE,
                code=HOSTILE,
                output=HOSTILE,
                notes=[HOSTILE],
                error=failure(
                    kind=HOSTILE,
                    message=HOSTILE,
                    hint=HOSTILE,
                    line=1,
                    traceback=f"Traceback\n  line 1\n  line 2\n{HOSTILE}",
                ),
            )
        )
    )
    assert page.shown.count("<script>alert(1)</script>") >= 6


def test_odd_numbers_and_times_are_drawn_all_the_same() -> None:
    """Times before the start, without end, endless or missing give bars within the page."""
    page = Page(
        render_html(
            record(
                call(1, -5, 0.2),
                call(2, 0.1, float("inf")),
                call(3, 0.2, -1),
                call(4, 0.2, 0.1, waited_seconds=99, started_at="never"),
                call(5, 0, 1e12),
                "no call",
                duration_seconds=float("nan"),
                paused_seconds=1e30,
            )
        )
    )
    widths = [
        float(match)
        for _, attrs in page.found
        for match in re.findall(r"(?:left|width):([\d.e-]+)%", attrs.get("style") or "")
    ]
    assert widths
    assert all(0 <= width <= 100 for width in widths)


def test_a_record_from_a_checkpoint_is_shown_alike() -> None:
    """Plain data with times instead of texts, and without what can be computed, shows the same."""
    texts = record(call(1, 0.1, 0.4), call(2, 0.2, 0.5))
    times = {**texts, "started_at": START}
    times["tool_calls"] = [{**c, "started_at": START} for c in texts["tool_calls"]]
    assert read_timeline(times).seconds == read_timeline(texts).seconds
    Page(render_html(times))
    result = ExecutionResult.from_dict(texts)
    assert Page(result._repr_html_()).shown.count("shop.get_rows") == 2


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "char", [pytest.param(c, id=f"U+{ord(c):04X}") for c in ("a", "&", "\u202e", "漢", "\n", '"')]
)
def test_a_page_is_bounded(char: str) -> None:
    """10,000 calls, 8 MB of output, the longest code and the longest errors make a small page."""
    many = [
        call(
            number,
            number / 100,
            0.5,
            tool=char * 300,
            arguments={char * 100: char * 10_000},
            error=char * 5_000 if number % 3 else None,
            status="failed" if number % 3 else "returned",
        )
        for number in range(1, 10_001)
    ]
    html = render_html(
        record(
            *many,
            code=f"{char * 90}\n" * 1_000 + char * 10_000,
            output=char * 8_000_000,
            status="error",
            error=failure(message=char * 100_000, hint=char * 100_000, line=500),
            notes=[char * 100_000] * 3,
        )
    )
    assert len(html.encode()) < MAX_BYTES
    page = Page(html)
    assert "10,000 tool calls" in page.shown
    assert re.search(r"[\d,]+ more calls, [\d,]+ of them with notes", page.shown)
    if char != "\n":
        assert re.search(r"[\d,]+ of 8,000,000 characters are left out here", page.shown)
        assert re.search(r"[\d,]+ lines left out here", page.shown)
        assert "of which the model was shown 20,000 characters" in page.shown
        assert len(page.classes("ptc-hit")) == 1  # the line that failed is among those shown


def test_what_is_special_is_shown_among_many() -> None:
    """Of many calls the first, the last and those that failed are shown, and gaps are counted."""
    many = [call(n, n, 0.5, status="failed" if n == 500 else "returned") for n in range(1, 1_001)]
    chosen = choose(read_timeline(record(*many)).bars, 20)
    shown = [each.number for each in chosen if hasattr(each, "number")]
    assert shown == [*range(1, 11), 500, *range(997, 1_001)]
    assert [tuple(each) for each in chosen if not hasattr(each, "number")] == [(489, 0), (496, 0)]


# --- the page among others ----------------------------------------------------------------------


def test_two_pages_do_not_touch_each_other_or_the_notebook() -> None:
    """There are no ids and no scripts, nothing is loaded, and each rule of the style begins with ours."""
    html = render_html(record(call(1, 0.1, 0.4)))
    assert " id=" not in html
    assert "url(" not in html
    assert "http" not in html
    assert "@import" not in html
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    without_blocks = re.sub(r"\{[^{}]*\}", ";", re.sub(r"@(media|container) [^{]*\{", "", style))
    selectors = [s.strip() for part in without_blocks.split(";") for s in part.split(",")]
    told = [selector.strip("} \n") for selector in selectors if selector.strip("} \n")]
    assert len(told) > 50
    theme = r"(\[data-jp-theme-light=\"(true|false)\"\]|\.vscode-[\w:().-]+|html\[theme=\w+\]|body\[data-theme=\"\w+\"\]) "
    for selector in told:
        assert re.match(rf"({theme})?\.ptc\b", selector), selector


@pytest.mark.parametrize(
    "rule",
    [
        "@media (prefers-color-scheme:dark){.ptc{",
        '[data-jp-theme-light="false"] .ptc',
        '[data-jp-theme-light="true"] .ptc',
        ".vscode-dark .ptc",
        ".vscode-light .ptc",
    ],
)
def test_light_and_dark(rule: str) -> None:
    """The page follows the system, JupyterLab and VS Code."""
    assert rule in render_html(record())


def test_colour_tells_nothing_alone() -> None:
    """Each way for a call to end is told in words beside its bar."""
    ends = {
        "failed": {"status": "failed"},
        "denied by ada": {"status": "denied", "approval": "reject", "approved_by": "ada"},
        "cancelled": {"status": "cancelled"},
        "refused": {"status": "refused"},
        "cached": {"is_cache_hit": True},
        "approved by ada": {"approval": "approve", "approved_by": "ada"},
        "edited": {"approval": "edit"},
        "answered by a person": {"approval": "respond"},
        "3 tries": {"attempts": 3},
        "breaker open": {"status": "refused", "breaker": "open"},
        "tool_seconds": {"status": "failed", "limit": "tool_seconds"},
    }
    calls = [call(n, 0.1, 0.2, **changes) for n, changes in enumerate(ends.values(), 1)]
    page = Page(render_html(record(*calls)))
    for words in ends:
        assert f"· {words}" in page.shown


def test_without_pygments_the_code_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pygments is not installed the code is there without colours."""
    coloured = Page(render_html(record()))
    monkeypatch.setitem(sys.modules, "pygments.lexers.python", None)
    plain = Page(render_html(record()))
    assert coloured.classes("ptc-k")
    assert not plain.classes("ptc-k")
    assert plain.shown == coloured.shown


# --- times ----------------------------------------------------------------------------------------


def test_a_pause_is_taken_out_of_the_timeline() -> None:
    """An hour in which a person thought is a line, and no length."""
    timeline = read_timeline(
        record(
            call(1, 0.1, 0.2),
            call(2, 3600.4, 0.3, approval="approve"),
            duration_seconds=0.8,
            paused_seconds=3600.0,
        )
    )
    assert timeline.seconds == pytest.approx(0.8)
    [pause] = timeline.pauses
    assert (pause.at, pause.seconds) == (pytest.approx(0.3), pytest.approx(3600))
    assert timeline.bars[1].begin == pytest.approx(0.4)
    assert timeline.bars[1].seconds == pytest.approx(0.3)


def test_waiting_is_told_apart_from_running() -> None:
    """What a call waited is drawn before what it ran, and both are told."""
    page = Page(render_html(record(call(1, 0.0, 1.0, waited_seconds=0.75))))
    styles = [attrs["style"] for attrs in page.classes("ptc-wait")]
    assert styles[0] == "left:0%;width:75%"
    assert page.classes("ptc-returned")[0]["style"] == "left:75%;width:25%"
    assert any("waited 750 ms, ran 250 ms" in (a.get("title") or "") for _, a in page.found)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (0.0001, "<1 ms"),
        (0.0421, "42 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3_725, "1 h 2 min"),
        (200_000, "2.3 days"),
    ],
)
def test_seconds(seconds: float, told: str) -> None:
    """Times are told in the unit that a person would use."""
    assert render_seconds(seconds) == told


def test_sizes_and_figures() -> None:
    """Sizes have two or three digits, estimates three."""
    assert [render_bytes(size) for size in (0, 999, 1_000, 123_456, 8_000_000, 3e9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "123 kB",
        "8.0 MB",
        "3.0 GB",
    ]
    assert [round_figure(n) for n in (0, 999, 12_345, 987_654_321)] == [
        "0",
        "999",
        "12,300",
        "988,000,000",
    ]


# --- what it saved ------------------------------------------------------------------------------


def test_saving_is_counted_from_the_record() -> None:
    """One call and 45 side by side: 2 inferences against 3 by rounds and 47 one by one."""
    calls = [call(1, 0.0, 0.1), *(call(n, 0.1, 0.5 + n / 1_000) for n in range(2, 47))]
    data = record(*calls, code="x" * 400, report_bytes=200, duration_seconds=0.9)
    tokens = 2 * 1_000 + 45 * 1_000, 1_000 * sum(range(1, 47))
    assert tokens == (47_000, 1_081_000)
    assert compare(data, read_timeline(data)) == (
        "2 inferences instead of 3 to 47, about 150 tokens instead of 47,000 to 1,080,000"
    )


def test_where_direct_calling_wins_it_says_so() -> None:
    """One call with a small result costs no less by code, and the page does not claim it."""
    data = record(call(1, 0.0, 0.1, arguments_bytes=10, result_bytes=10))
    assert compare(data, read_timeline(data)) == "a direct call would have cost no more"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"status": "error", "error": failure()}, id="failed"),
        pytest.param({"tool_calls": []}, id="no-calls"),
        pytest.param({"tool_calls": [call(1, 0, 0.1, status="refused")]}, id="refused-calls"),
    ],
)
def test_nothing_is_compared_where_nothing_was_done(changes: dict[str, object]) -> None:
    """A failed execution, or one without calls, is not praised for what it saved."""
    data = {**record(call(1, 0.0, 0.1)), **changes}
    assert compare(data, read_timeline(data)) == ""


def test_calls_one_after_another_are_a_round_each() -> None:
    """A loop that awaits each call is no more parallel for a model either."""
    data = record(*(call(n, n / 10, 0.1) for n in range(1, 6)))
    assert compare(data, read_timeline(data)) == (
        "2 inferences instead of 6, about 21 tokens instead of 15,000"
    )


# --- text -----------------------------------------------------------------------------------------


def test_visible_keeps_what_people_write() -> None:
    """Letters of all scripts, emoji with joiners, tabs and line ends stay; the rest becomes signs."""
    for text in ("naïve\tcafé\n", "日本語", "مرحبا", "👩‍💻 👍🏽", "a\u200cb", "0€"):
        assert visible(text) == text
    assert visible("a\r\nb") == "a\nb"
    assert not UNSEEN.search(visible(HOSTILE))
    assert visible("\x1b[0m\u202e") == "⟨U+001B⟩[0m⟨U+202E⟩"
    assert one_line("a\n\n  b\x00", 20) == "a b⟨U+0000⟩"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


def test_display_is_imported_when_it_is_needed() -> None:
    """Neither `langchain_ptc.display` nor a record brings rich or Pygments along."""
    code = (
        "import sys, langchain_ptc.display as d, langchain_ptc.run.record\n"
        "d.show_run, d.LiveProgress\n"
        "print([m for m in ('rich', 'pygments', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_files_of_a_forged_record():
    """Names and content of files in a record from elsewhere lead to no markup."""
    with InProcessSandbox() as sandbox:
        data = ProgrammaticToolExecutor([], sandbox=sandbox).execute("1").to_dict()
    data["files"] = [
        {"name": '"><script>alert(1)</script>', "size": "x", "data": '"><script>'},
        {"name": None, "size": None, "data": None},
    ]
    page = render_html(data)
    assert "<script" not in page
    assert "download=" not in page
