"""One run at a time goes on with a paused execution, in one process and in several."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command

from langchain_ptc import (
    ConcurrentResumeError,
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run import journal as journal_module
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import (
    CONFIG,
    HOSTS,
    REQUEST,
    agent,
    message_of,
    open_saver,
    output,
    run,
    writes,
)
from tests.support.postgres import open_postgres
from tests.support.processes import PROCESSES
from tests.support.waiting import SECONDS

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
OK: Any = {"decisions": [{"type": "approve"}]}
NO: Any = {"decisions": [{"type": "reject"}]}
CODE = "print(await pay(1))"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Runs that are refused wait less for the other one to leave."""
    monkeypatch.setattr(journal_module, "ENTER_SECONDS", 0.1)


class Till:
    """A tool that pays, and can be held while it does."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def tools(self) -> list[Any]:
        @tool
        async def pay(n: int) -> str:
            """Pay."""
            self.paid.append(n)
            self.begun.set()
            await asyncio.to_thread(self.go_on.wait, SECONDS)
            return "paid"

        return [pay]


def middleware_agent(tools: Any, code: str, saver: Any = None, **options: Any) -> Any:
    """`create_agent` with our middleware."""
    ours = ProgrammaticToolCallingMiddleware(**options)
    return create_agent(writes(code), tools, middleware=[ours], checkpointer=saver)


def refusals(outcomes: list[Any]) -> int:
    """Count the runs that were refused, of which none may have failed otherwise."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(error, ConcurrentResumeError) for error in errors), errors
    return len(errors)


@both
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("name", [*HOSTS, "middleware"])
async def test_two_answers_to_one_question(name, kind, sync, tmp_path: Path):
    """Two answers at the same moment: the call is made once, and the other answer is refused."""
    till = Till()
    build = HOSTS.get(name, middleware_agent)
    async with open_saver(kind, tmp_path, sync=sync) as saver:
        graph = build(till.tools(), CODE, saver, interrupt_on={"pay": True})
        await run(graph, REQUEST, sync=sync)
        runs = [asyncio.ensure_future(run(graph, Command(resume=OK), sync=sync)) for _ in range(2)]
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        till.go_on.set()
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
    assert till.paid == [1]
    assert refusals(outcomes) == 1


@both
async def test_a_second_answer_comes_while_the_first_is_followed(sync):
    """An answer that comes late is refused with what to do, whatever it says, and changes nothing."""
    till = Till()
    graph = agent(till.tools(), CODE, InMemorySaver(), interrupt_on={"pay": True})
    await run(graph, REQUEST, sync=sync)
    first = asyncio.ensure_future(run(graph, Command(resume=OK), sync=sync))
    await asyncio.to_thread(till.begun.wait, SECONDS)
    with pytest.raises(ConcurrentResumeError, match="one run at a time"):
        await run(graph, Command(resume=NO), sync=sync)
    till.go_on.set()
    assert output(await first) == "paid"
    assert till.paid == [1]


async def test_many_answers_at_once():
    """Of ten answers one is followed."""
    till = Till()
    till.go_on.set()
    graph = agent(till.tools(), CODE, InMemorySaver(), interrupt_on={"pay": True})
    await run(graph, REQUEST)
    outcomes = await asyncio.gather(
        *(run(graph, Command(resume=OK)) for _ in range(10)), return_exceptions=True
    )
    assert till.paid == [1]
    assert refusals(outcomes) in range(1, 10)


@both
@pytest.mark.parametrize("is_begun", [False, True], ids=["before", "while"])
async def test_a_run_that_read_before_another_went_on_is_refused(is_begun, sync):
    """A run that has read the journal, and is overtaken by another one up to its next pause, stops.

    It has read before the other one took the journal, or while that made a call.
    """
    overtaken, overtake = threading.Event(), threading.Event()

    class Slow(InMemorySaver):
        is_slow = False

        def get_tuple(self, config: Any) -> Any:
            found = super().get_tuple(config)
            if Slow.is_slow and "|" in config["configurable"].get("checkpoint_ns", ""):
                Slow.is_slow = False
                overtake.set()
                assert overtaken.wait(SECONDS)
            return found

        async def aget_tuple(self, config: Any) -> Any:
            return await asyncio.to_thread(self.get_tuple, config)

    till = Till()
    code = "print(await pay(1))\nprint(await pay(2))"
    graph = agent(till.tools(), code, Slow(), interrupt_on={"pay": True})
    await run(graph, REQUEST, sync=sync)
    first: Any = None
    if is_begun:
        first = asyncio.ensure_future(run(graph, Command(resume=OK), sync=sync))
        assert await asyncio.to_thread(till.begun.wait, SECONDS)
    Slow.is_slow = True
    late = asyncio.ensure_future(run(graph, Command(resume=OK), sync=sync))
    assert await asyncio.to_thread(overtake.wait, SECONDS)
    till.go_on.set()
    state = await (first or run(graph, Command(resume=OK), sync=sync))
    assert state["__interrupt__"]
    overtaken.set()
    with pytest.raises(ConcurrentResumeError, match="in the meantime"):
        await late
    assert till.paid == [1]
    state = await run(graph, Command(resume=OK), sync=sync)
    assert till.paid == [1, 2]
    assert output(state) == "paid\npaid"


@both
async def test_a_refusal_is_no_error_of_the_tool(sync):
    """Neither a node that handles errors nor a middleware that retries turns a refusal into a result."""
    till = Till()
    tools = as_programmatic(till.tools(), interrupt_on={"pay": True})
    retry = ToolRetryMiddleware(max_retries=3, initial_delay=0.0)
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    graph.add_edge(START, "tools")
    apps = [
        (graph.compile(checkpointer=InMemorySaver()), {"messages": [message_of(CODE)]}),
        (
            create_agent(writes(CODE), tools, middleware=[retry], checkpointer=InMemorySaver()),
            REQUEST,
        ),
    ]
    for app, request in apps:
        till.begun.clear()
        till.go_on.clear()
        await run(app, request, sync=sync)
        first = asyncio.ensure_future(run(app, Command(resume=OK), sync=sync))
        await asyncio.to_thread(till.begun.wait, SECONDS)
        with pytest.raises(ConcurrentResumeError):
            await run(app, Command(resume=OK), sync=sync)
        till.go_on.set()
        assert output(await first) == "paid"
    assert till.paid == [1, 1]


@both
async def test_answers_one_by_one_are_no_conflict(sync):
    """Each question of several may be answered by a run of its own, after the one before has paused."""
    till = Till()
    till.go_on.set()
    code = "import asyncio\nprint(await asyncio.gather(*(pay(n) for n in range(4))))"
    options: Any = {"interrupt_on": {"pay": True}, "interrupt_mode": "per_call"}
    graph = agent(till.tools(), code, InMemorySaver(), **options)
    state = await run(graph, REQUEST, sync=sync)
    while asked := state.get("__interrupt__"):
        answer = Command(resume={asked[-1].id: {"type": "approve"}})
        state = await run(graph, answer, sync=sync)
    assert sorted(till.paid) == [0, 1, 2, 3]


# --- first runs, and direct calls -------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", [*HOSTS, "middleware"])
async def test_a_first_run_claims_its_execution(name, sync):
    """A thread that is invoked with `None` while its first run goes on: nothing is made twice."""
    till = Till()
    graph = HOSTS.get(name, middleware_agent)(till.tools(), CODE, InMemorySaver())
    first = asyncio.ensure_future(run(graph, REQUEST, sync=sync))
    assert await asyncio.to_thread(till.begun.wait, SECONDS)
    with pytest.raises(ConcurrentResumeError, match="one run at a time"):
        await run(graph, None, sync=sync)
    till.go_on.set()
    assert output(await first) == "paid"
    assert till.paid == [1]
    assert not journal_module.own_claims  # a run that has ended leaves nothing behind


@both
async def test_two_first_runs_are_two_requests(sync):
    """Two messages to a thread that never ran, at once: both are served, under keys of their own."""
    keys: list[str] = []

    @tool
    async def pay(n: int, runtime: ToolRuntime) -> str:
        """Pay."""
        keys.append(str(runtime.tool_call_id))
        return "paid"

    graph = agent([pay], CODE, InMemorySaver())
    states = await asyncio.gather(*(run(graph, REQUEST, sync=sync) for _ in range(2)))
    assert [output(state) for state in states] == ["paid", "paid"]
    assert len(set(keys)) == 2


@both
async def test_a_cancelled_first_run_holds_nothing(sync):
    """A first run that fails or is cancelled gives its claim back, and the thread goes on."""
    till = Till()
    graph = agent(till.tools(), CODE, InMemorySaver())
    first = asyncio.ensure_future(run(graph, REQUEST))
    assert await asyncio.to_thread(till.begun.wait, SECONDS)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    till.go_on.set()
    assert output(await run(graph, None, sync=sync)) == "paid"
    assert till.paid == [1, 1]


@both
async def test_two_answers_to_a_direct_call(sync):
    """A call that the model makes itself and a person approves is made once, however often answered."""
    till = Till()
    policy = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)

    @tool
    def pay(n: int) -> str:
        """Pay."""
        till.paid.append(n)
        till.go_on.wait(SECONDS)
        return "paid"

    def reply(messages: list[Any]) -> Any:
        last = messages[-1]
        return last.text if last.type == "tool" else tool_call_message("pay", {"n": 1}, id="d")

    ours = ProgrammaticToolCallingMiddleware(policies={"pay": policy})
    graph = create_agent(
        ScriptedChatModel(script=reply), [pay], middleware=[ours], checkpointer=InMemorySaver()
    )
    assert (await run(graph, REQUEST, sync=sync))["__interrupt__"]
    runs = [asyncio.ensure_future(run(graph, Command(resume=OK), sync=sync)) for _ in range(3)]
    await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    till.go_on.set()
    outcomes = await asyncio.gather(*runs, return_exceptions=True)
    assert till.paid == [1]
    assert refusals(outcomes) == 2


# --- processes --------------------------------------------------------------------------------------


def _run(path: Path, log: Path, barrier: Any, how: str, is_first: bool = False) -> None:
    """Answer the question of a thread, or run it first, in a process of its own."""

    @tool
    def pay(n: int) -> str:
        """Pay."""
        with log.open("a") as file:
            file.write("paid\n")
        if how in ("die", "die-elsewhere"):
            os.kill(os.getpid(), signal.SIGKILL)
        barrier.wait(SECONDS)  # until the other one was refused
        return "paid"

    if how == "die-elsewhere":
        journal_module.name_host = lambda: "another machine"  # type: ignore[assignment]
    # In this process, for a start of workers takes seconds; claims are no concern of theirs.
    options: Any = {
        "interrupt_on": {} if is_first else {"pay": True},
        "sandbox": InProcessSandbox(),
    }
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent([pay], CODE, saver, **options)
        if how == "race":
            barrier.wait(SECONDS)
        try:
            graph.invoke(REQUEST if is_first else Command(resume=OK), CONFIG)
        except ConcurrentResumeError:
            barrier.wait(SECONDS)
            os._exit(3)
    os._exit(0)


@contextmanager
def paused(tmp_path: Path) -> Any:
    """A thread that waits for an approval in a file, and a log of what was paid."""
    path, log = tmp_path / "checkpoints", tmp_path / "log"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent([_quiet(log)], CODE, saver, interrupt_on={"pay": True})
        assert graph.invoke(REQUEST, CONFIG)["__interrupt__"]
        yield graph, path, log


def _quiet(log: Path) -> Any:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        with log.open("a") as file:
            file.write("paid\n")
        return "paid"

    return pay


def start(*given: Any) -> Any:
    other = PROCESSES.Process(target=_run, args=given)
    other.start()
    return other


def killed(*given: Any) -> None:
    """Run a thread in a process that is killed while it pays."""
    other = start(*given)
    other.join(SECONDS)
    assert other.exitcode == -signal.SIGKILL


def test_two_processes_answer_one_question(tmp_path: Path):
    """Two processes that answer at the same moment: one makes the call, the other is refused."""
    with paused(tmp_path) as (_, path, log):
        barrier = PROCESSES.Barrier(2)
        others = [start(path, log, barrier, "race") for _ in range(2)]
        for other in others:
            other.join(SECONDS)
        assert sorted(other.exitcode for other in others) == [0, 3]
        assert log.read_text().split() == ["paid"]


def test_a_first_run_of_another_process(tmp_path: Path):
    """A job that is delivered again while its first run still goes on elsewhere is refused."""
    path, log, barrier = tmp_path / "checkpoints", tmp_path / "log", PROCESSES.Barrier(2)
    other = start(path, log, barrier, "hold", True)
    while not log.exists():
        assert other.is_alive()
        other.join(0.01)
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent([_quiet(log)], CODE, saver)
        with pytest.raises(ConcurrentResumeError, match="one run at a time"):
            graph.invoke(None, CONFIG)
        barrier.wait(SECONDS)
        other.join(SECONDS)
    assert other.exitcode == 0
    assert log.read_text().split() == ["paid"]


def test_a_killed_process_holds_nothing(tmp_path: Path):
    """The claim of a process that was killed is void at once on its machine."""
    with paused(tmp_path) as (graph, path, log):
        killed(path, log, None, "die")
        assert output(graph.invoke(None, CONFIG)) == "paid"
        assert log.read_text().split() == ["paid", "paid"]


def test_a_first_run_that_was_killed_holds_nothing(tmp_path: Path):
    """The same of a process that was killed in the first run of a thread."""
    path, log = tmp_path / "checkpoints", tmp_path / "log"
    killed(path, log, None, "die", True)
    with SqliteSaver.from_conn_string(str(path)) as saver:
        assert output(agent([_quiet(log)], CODE, saver).invoke(None, CONFIG)) == "paid"
    assert log.read_text().split() == ["paid", "paid"]


def test_a_killed_process_elsewhere_holds_its_claim_for_a_time(tmp_path: Path, monkeypatch):
    """Of another machine it cannot be known what runs there: its claim ends with its time."""
    with paused(tmp_path) as (graph, path, log):
        killed(path, log, None, "die-elsewhere")
        now = journal_module.time.time()
        with pytest.raises(ConcurrentResumeError, match="run the thread again after 20"):
            graph.invoke(None, CONFIG)
        monkeypatch.setattr(journal_module.time, "time", lambda: now + 80)
        with pytest.raises(ConcurrentResumeError):  # 2 x 30 s of Limits.wall_seconds, and 30 s
            graph.invoke(None, CONFIG)
        monkeypatch.setattr(journal_module.time, "time", lambda: now + 91)
        assert output(graph.invoke(None, CONFIG)) == "paid"
        assert log.read_text().split() == ["paid", "paid"]


# --- Postgres ---------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["agent", "node-tool", "middleware"])
async def test_two_answers_over_postgres(name, sync, postgres):
    """The same holds over Postgres."""
    config: Any = {"configurable": {"thread_id": os.urandom(8).hex()}}
    till = Till()
    build = HOSTS.get(name, middleware_agent)
    async with open_postgres(postgres, sync=sync) as saver:
        graph = build(till.tools(), CODE, saver, interrupt_on={"pay": True})
        await run(graph, REQUEST, config, sync=sync)
        runs = [
            asyncio.ensure_future(run(graph, Command(resume=OK), config, sync=sync))
            for _ in range(2)
        ]
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        till.go_on.set()
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
    assert till.paid == [1]
    assert refusals(outcomes) == 1


@both
async def test_postgres_keeps_the_first_of_two_writes(sync, postgres):
    """What a claim rests on: of two writes under one id, a saver keeps the first."""
    place: Any = {"configurable": {"thread_id": os.urandom(8).hex(), "checkpoint_ns": ""}}
    async with open_postgres(postgres, sync=sync) as saver:
        given = (empty_checkpoint(), {}, {})
        place = saver.put(place, *given) if sync else await saver.aput(place, *given)
        for value in ("first", "second"):
            writes = ([("claim", value)], "one id")
            if sync:
                saver.put_writes(place, *writes)
            else:
                await saver.aput_writes(place, *writes)
        found = saver.get_tuple(place) if sync else await saver.aget_tuple(place)
    assert found.pending_writes == [("one id", "claim", "first")]
