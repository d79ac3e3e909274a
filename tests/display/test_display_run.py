"""Runs of graphs, and executions while they run: what a person sees of them."""

from __future__ import annotations

import io
import re
import sys
import textwrap
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_to_dict
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from rich.console import Console
from rich.live import Live

from langchain_ptc import ProgrammaticToolExecutor, ToolPolicy, as_programmatic
from langchain_ptc.display import LiveProgress, show_run
from langchain_ptc.display.progress import MAX_OPEN, Watch
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.display_data import HOSTILE, UNSEEN, Page, call, record
from tests.support.waiting import SECONDS


@tool
def list_invoices() -> list[dict]:
    """List the open invoices. And more about that."""
    return [{"id": "i1", "eur": 40}, {"id": "i2", "eur": 9000}]


@tool
def pay(invoice: str, eur: int) -> str:
    """Pay an invoice."""
    return f"paid {eur} for {invoice}"


CODE = 'for invoice in list_invoices():\n    print(pay(invoice["id"], invoice["eur"]))\n'


def build_agent(code: str = CODE, **options: Any) -> Any:
    """Return an agent that runs `code`, and then says what it read."""

    def reply(messages: list[Any]) -> Any:
        if messages[-1].type == "tool":
            return f"Done: {messages[-1].text}"
        return tool_call_message("run_code", {"code": code}, id="call_1")

    tools = as_programmatic([list_invoices, pay], **options)
    return create_agent(ScriptedChatModel(script=reply), tools, checkpointer=InMemorySaver())


QUESTION = {"messages": [("user", "Pay what is <b>open</b>.")]}


def on_terminal(shown: object, width: int = 100) -> str:
    """Return what rich prints on a terminal of some width."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, legacy_windows=False).print(shown)
    return file.getvalue()


# --- runs -----------------------------------------------------------------------------------------


def test_a_run_shows_its_messages_and_executions() -> None:
    """The state of a graph, its snapshot and its messages show the same conversation."""
    agent, config = build_agent(), {"configurable": {"thread_id": "t"}}
    state = agent.invoke(QUESTION, config)
    snapshot = agent.get_state(config)
    for given in (state, snapshot, state["messages"], [m.model_dump() for m in state["messages"]]):
        view = show_run(given)
        assert repr(view) == "<run: 4 messages · 1 execution with 3 tool calls>"
        page = Page(view._repr_html_())
        assert "Pay what is <b>open</b>." in page.shown
        assert "→ run_code(…)" in page.shown
        assert "for invoice in list_invoices():" in page.shown
        assert "Done: paid 40 for i1\npaid 9000 for i2" in page.shown
        assert "2 inferences instead of 4" in page.shown
        assert len(re.findall("<style>", view._repr_html_())) == 1
        text = on_terminal(view)
        assert "✓ success" in text
        assert "pay(invoice='i2', eur=9000)" in text


def test_a_run_that_waits_shows_its_questions() -> None:
    """A pause shows what a person is asked, and the resumed run what they decided."""
    agent, config = build_agent(interrupt_on={"pay": True}), {"configurable": {"thread_id": "t"}}
    state = agent.invoke(QUESTION, config)
    for given in (state, agent.get_state(config)):
        page = Page(show_run(given)._repr_html_())
        assert "A person is asked to approve:→ pay(invoice='i1', eur=40)" in page.shown
    assert "waiting" in on_terminal(show_run(state))
    for decision in ({"type": "approve"}, {"type": "reject", "message": "no"}):
        state = agent.invoke(Command(resume={"decisions": [decision]}), config)
    page = Page(show_run(state)._repr_html_())
    assert "· approved" in page.shown
    assert "· denied" in page.shown
    assert "⊖ denied" in page.shown


def test_a_run_whose_calls_began_early() -> None:
    """Its timeline begins with the first call, and says how many began early, and each how much."""
    options: dict[str, Any] = {
        "prefetch": "calls",
        "policies": {"look": ToolPolicy(read_only=True)},
    }
    together = threading.Barrier(3)

    @tool
    def look(number: int) -> int:
        """Look a number up; returns when three do."""
        together.wait(SECONDS)
        return number

    def reply(messages: list[Any]) -> Any:
        if messages[-1].type == "tool":
            return "Done."
        return tool_call_message("run_code", {"code": code}, id="call_1")

    code = "for number in range(3):\n    print(look(number))\n"
    agent = create_agent(ScriptedChatModel(script=reply), as_programmatic([look], **options))
    view = show_run(agent.invoke(QUESTION))
    for shown in (Page(view._repr_html_()).shown, on_terminal(view)):
        assert "3 tool calls, 2 begun early, up to 3 at once" in shown
        assert len(re.findall(r"begun [^ ]+ [mµ]?s early", shown)) == 2


def test_calls_that_the_model_makes_itself_are_told_apart() -> None:
    """Other tools show their arguments and results, with errors told in a sign."""
    view = show_run(
        [
            HumanMessage("hi"),
            AIMessage("", tool_calls=[{"name": "pay", "args": {"invoice": "i1"}, "id": "c1"}]),
            ToolMessage("no such invoice", tool_call_id="c1", name="pay", status="error"),
            AIMessage([{"type": "text", "text": "It failed."}, {"type": "image", "url": "x"}]),
        ]
    )
    assert view.summary == "4 messages · 1 other tool call by the model"
    page = Page(view._repr_html_())
    assert "→ pay(invoice='i1')" in page.shown
    assert "pay ✗" in page.shown
    assert "It failed.\n[image]" in page.shown


def test_hostile_messages() -> None:
    """No message, name, call or record can break the page or send a terminal a control code."""
    text = HOSTILE.replace("\ud800", "")
    data = record(call(1, 0, 0.1, tool=HOSTILE), output=HOSTILE, code=HOSTILE, status=HOSTILE)
    view = show_run(
        [
            {"role": HOSTILE, "content": HOSTILE, "name": HOSTILE},
            AIMessage(text, tool_calls=[{"name": text, "args": {text: text}, "id": text}]),
            ToolMessage(text, tool_call_id=text, name=text, artifact=data),
            {"type": "tool", "content": [{"type": HOSTILE}, HOSTILE], "name": HOSTILE},
            {"type": "ai", "content": "", "tool_calls": [{"name": HOSTILE, "args": HOSTILE}]},
        ]
    )
    assert "<script>alert(1)</script>" in Page(view._repr_html_()).shown
    assert not UNSEEN.search(on_terminal(view))
    assert not UNSEEN.search(repr(view))


def test_a_run_is_bounded() -> None:
    """Hundreds of messages, and executions that are each as large as can be, make a page of a bound."""
    data = record(
        *(call(n, n / 10, 0.1, tool="x" * 90) for n in range(1, 500)), output="&" * 100_000
    )
    pair = [
        AIMessage("x" * 100_000),
        ToolMessage("x" * 100_000, tool_call_id="c", name="run_code", artifact=data),
    ]
    view = show_run(pair * 200)
    html = view._repr_html_()
    assert len(html.encode()) < 800_000
    page = Page(html)
    assert "340 messages left out" in page.shown
    assert "left out here: show it by itself" in page.shown


@pytest.mark.parametrize(
    "wrong",
    [None, 1, "text", b"bytes", {}, {"messages": None}, [1, 2], {"msgs": [HumanMessage("x")]}],
)
def test_what_is_no_run_is_refused(wrong: object) -> None:
    """Whoever passes something else is told what to pass."""
    with pytest.raises(
        TypeError, match=r"found no messages in the .*pass the state .*messages_key"
    ):
        show_run(wrong)


def test_messages_under_another_key() -> None:
    """A state may keep its messages elsewhere, and be an object."""

    class State:
        chat = [message_to_dict(HumanMessage("hi"))["data"]]

    assert len(show_run({"chat": [HumanMessage("hi")]}, messages_key="chat").steps) == 1
    assert len(show_run(State(), messages_key="chat").steps) == 1
    assert repr(show_run([])) == "<run: 0 messages>"


# --- while it runs --------------------------------------------------------------------------------


class Tty(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def color(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that can draw."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


PROGRAM = "print('one')\npay('i1', 1)\nprint('two')\npay('i2', 2)\n"


def test_a_pipe_gets_lines_and_no_control_codes() -> None:
    """Outside a terminal each execution is one line of plain text."""
    file = io.StringIO()
    progress = LiveProgress(file=file)
    executor = ProgrammaticToolExecutor([list_invoices, pay], on_event=progress)
    executor.execute(PROGRAM)
    assert file.getvalue() == ""  # not shown yet
    with progress as shown:
        assert shown is progress
        executor.execute(PROGRAM)
        executor.execute("pay('i1', 'x')[0]['y']")
    executor.execute(PROGRAM)
    first, second = file.getvalue().splitlines()
    assert re.fullmatch(r"✓ success · 2 tool calls · [\d.]+ m?s · printed 8 characters", first)
    assert second.startswith("⊘ refused · no tool calls · ")
    assert second.endswith("it could not have worked.")


def test_a_terminal_is_drawn_anew(color: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the calls in flight are drawn, and one line stays of each execution."""
    file = Tty()
    drawn: list[Live] = []
    start = Live.start

    def starting(self: Live, refresh: bool = False) -> None:
        drawn.append(self)
        start(self, refresh)

    monkeypatch.setattr(Live, "start", starting)
    seen: list[str] = []

    @tool
    def look() -> str:
        """Look at what is drawn."""
        drawn[0].refresh()
        seen.append(file.getvalue())
        return "ok"

    progress = LiveProgress(file=file)
    executor = ProgrammaticToolExecutor([look], on_event=progress)
    with progress:
        executor.execute("print('hello \\x1b[2J')\nlook()\nlook()")
    assert "running" in seen[1]
    assert "1 done, 1 in flight" in seen[1]
    assert "hello ⟨U+001B⟩[2J" in seen[1]
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", file.getvalue())
    assert plain.count("✓ success · 2 tool calls") == 1
    assert "\x1b[2J" not in file.getvalue()
    assert file.getvalue().rstrip().endswith("\x1b[2K")  # nothing stays below the line
    assert "\x1b[?25h" in file.getvalue()  # the cursor is back


@pytest.mark.parametrize("terminal", [False, True])
def test_executions_of_several_threads(color: None, terminal: bool) -> None:
    """Events from many threads at once give one line for each execution, whole."""
    file = Tty() if terminal else io.StringIO()
    progress = LiveProgress(file=file)
    executor = ProgrammaticToolExecutor([list_invoices, pay], on_event=progress)
    with progress:
        threads = [threading.Thread(target=executor.execute, args=(PROGRAM,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", file.getvalue())
    lines = re.findall(r"✓ success · 2 tool calls · [\d.]+ m?s · printed 8 characters", plain)
    assert len(lines) == 4


def test_a_pause_and_what_follows_it() -> None:
    """A run that waits for a person says so, and goes on when it is resumed."""
    file = io.StringIO()
    progress = LiveProgress(file=file)
    agent = build_agent(interrupt_on={"pay": True}, on_event=progress)
    config = {"configurable": {"thread_id": "t"}}
    with progress:
        agent.invoke(QUESTION, config)
        for _ in range(2):
            agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    lines = file.getvalue().splitlines()
    assert lines[0] == "paused: 1 question for a person · 1 done"
    assert lines[-1].startswith("✓ success · 3 tool calls")


def test_what_hangs_is_told_of_in_a_log() -> None:
    """Where nothing can be drawn, a line every five seconds says that it goes on."""
    file = io.StringIO()
    progress = LiveProgress(file=file)
    base = {"execution_id": "e", "tool": "t", "domain": None}
    with progress:
        progress({**base, "event": "execution_start", "at": 100.0})
        for second in range(1, 12):
            progress({**base, "event": "call_start", "call_id": f"c{second}", "at": 100.0 + second})
        progress({**base, "event": "limit_reached", "limit": "max_tool_calls", "at": 112.0})
    assert file.getvalue().splitlines() == [
        "running 5.00 s · 0 done, 5 in flight",
        "running 10.0 s · 0 done, 10 in flight",
        "limit reached: max_tool_calls",
    ]


def test_hostile_and_strange_events() -> None:
    """No event can send control codes, and events of others are passed over."""
    file, watch = io.StringIO(), Watch()
    events: list[dict[str, Any]] = [
        {"event": "call_start"},
        {"event": HOSTILE, "execution_id": HOSTILE},
        {"hello": 1},
        {"event": "execution_start", "execution_id": HOSTILE, "at": HOSTILE},
        {"event": "call_start", "execution_id": HOSTILE, "tool": HOSTILE, "domain": HOSTILE},
        {"event": "output", "execution_id": HOSTILE, "text": HOSTILE * 100},
        {"event": "breaker_open", "execution_id": HOSTILE, "tool": HOSTILE},
        {"event": "limit_reached", "execution_id": HOSTILE, "limit": HOSTILE},
        {"event": "execution_end", "execution_id": HOSTILE, "status": HOSTILE, "error": HOSTILE},
    ]
    with LiveProgress(file=file) as progress:
        for event in events:
            progress(event)
            list(watch.take(event))
            for watched in watch.running.values():
                told = [watched.headline(1.0), *watched.lines()]
                assert not UNSEEN.search("".join(told))
    assert len(file.getvalue().splitlines()) == 3
    assert not UNSEEN.search(file.getvalue())


def test_executions_that_never_end_are_let_go_of() -> None:
    """What is kept of executions whose end never comes is bounded."""
    watch = Watch()
    for number in range(MAX_OPEN * 2):
        assert not list(watch.take({"event": "execution_start", "execution_id": str(number)}))
    assert len(watch.running) == MAX_OPEN


def test_a_file_that_cannot_write_every_letter() -> None:
    """A log in ASCII gets signs in place of letters that it lacks, and no error."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    with LiveProgress(file=file) as progress:
        progress({"event": "execution_start", "execution_id": "e", "at": 1.0})
        progress({"event": "execution_end", "execution_id": "e", "status": "success", "at": 2.0})
    assert raw.getvalue().startswith(b"? success ? no tool calls")


def test_misuse_of_live_progress(color: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering it twice, or drawing without rich, is told with what to do."""
    progress = LiveProgress(file=io.StringIO())
    with progress, pytest.raises(RuntimeError, match="make another one"):
        progress.__enter__()
    with progress:
        pass  # it can be used again
    monkeypatch.setitem(sys.modules, "rich", None)
    LiveProgress(file=io.StringIO())  # lines need no rich
    with pytest.raises(ImportError, match=r"pip install 'langchain-ptc\[display\]'"):
        LiveProgress(file=Tty())


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a terminal cannot draw, as in Emacs, lines are written."""
    monkeypatch.setenv("TERM", "dumb")
    file = Tty()
    with LiveProgress(file=file) as progress:
        progress({"event": "execution_start", "execution_id": "e", "at": 1.0})
        progress({"event": "execution_end", "execution_id": "e", "status": "success", "at": 2.0})
    assert "\x1b" not in file.getvalue()


# --- in a notebook --------------------------------------------------------------------------------

CELL = """
from langchain_core.tools import tool
from langchain_ptc import ProgrammaticToolExecutor
from langchain_ptc.display import LiveProgress

@tool
def double(n: int) -> int:
    "Double a number."
    return 2 * n

progress = LiveProgress()
executor = ProgrammaticToolExecutor([double], on_event=progress)
with progress:
    result = executor.execute("print(double(21))")
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("default")  # of the Jupyter packages in this process, not of ours
def test_in_a_notebook(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real kernel a result shows itself, and progress is one output."""
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [textwrap.dedent(CELL), "result"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    (live,), (result,) = (cell.outputs for cell in notebook.cells)
    assert "✓ success · 1 tool call" in Page(live["data"]["text/html"]).shown
    assert "42" in Page(result["data"]["text/html"]).shown
