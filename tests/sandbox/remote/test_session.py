"""An execution that loses its machine, at each frame in turn: nobody notices who can be spared it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import Limits, MachineLost, ProgrammaticToolExecutor, ReplayError
from langchain_ptc.sandbox import Call, Done, Moment, Program, Replay, Result, Shown
from langchain_ptc.sandbox.remote.sandbox import MAX_LOST
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.losing import LosingSandbox
from tests.support.pictures import png
from tests.support.pools import PoolSandbox
from tests.trials.world import REQUEST, answer_to, make_agent

START = Moment(1_700_000_000.0, 0.0)
TINY = "print('a')\nreturn await get('x')"
SMALL = """
print("a")
x = await get("x", n=1)
print(x)
return [x, await get("y")]
"""
WIDE = """
import asyncio, random, time, uuid
async def chain(i):
    a = await get(f"{i}")
    await asyncio.sleep(random.random() / 100)
    print(i, a, time.monotonic())
    return await get(f"{i}-{random.randint(0, 9)}", who=str(uuid.uuid4()))
print(await asyncio.gather(*[chain(i) for i in range(2)]))
try:
    await asyncio.wait_for(get("slow"), 0.5)
except TimeoutError:
    print("late")
for name in {"p", "q"}:
    print(await get(name))
"""
FAILS = "print(await get('a'))\nraise ValueError(await get('b'))"
LIMITED = "for i in range(9):\n    print(await get(str(i)))"
PRINTS = "for i in range(9):\n    print('x' * 100)\n    await get(str(i))"
SHOWS = f"show({png()!r})\nprint(await get('a'))\nshow({png(7)!r})\nprint(await get('b'))"


@dataclass
class Run:
    """What whoever drove a session saw of it."""

    done: Done | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    waits: list[float | None] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    shown: list[Sequence[Shown]] = field(default_factory=list)


async def drive(
    sandbox: LosingSandbox, code: str, *, pick: int = 0, limits: Limits | None = None
) -> Run:
    """Run a program in steps; answer the first (0) or the last (-1) of the calls in flight at each wait."""
    run, session = Run(), sandbox.session()
    in_flight: list[Call] = []
    clock = itertools.count(1)
    loop = asyncio.get_running_loop()

    def on_calls(calls: Sequence[Call]) -> None:
        run.asked += calls
        in_flight.extend(calls)

    def answer(due: float | None) -> None:
        now = Moment(START.unix, next(clock) / 8 if due is None else due)
        timely = [call for call in in_flight if call.args != ("slow",)]
        if not timely:
            session.resume([], now)
            return
        call = timely[pick]
        in_flight.remove(call)
        session.resume([Result(id=call.id, payload=encode_value(f"got {call.args[0]}"))], now)

    def on_idle(due: float | None) -> None:
        run.waits.append(due)
        run.outputs.append(session.output)
        run.shown.append(session.shown)
        loop.call_later(0.001, answer, due)

    replay = Replay(seed=7, start=START)
    program = Program(code=code, tools=("get",), limits=limits or Limits(), replay=replay)
    run.done = await session.run(program, on_calls, on_idle)
    run.shown.append(session.shown)
    return run


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolSandbox]:
    """Workers, of which some are lost."""
    with PoolSandbox(waiting=4) as pool:
        yield pool


@pytest.mark.parametrize(
    ("code", "pick", "limits", "status"),
    [
        pytest.param(SMALL, 0, Limits(), "success", id="calls-one-by-one"),
        pytest.param(WIDE, 0, Limits(), "success", id="calls-in-flight"),
        pytest.param(WIDE, -1, Limits(), "success", id="answers-in-reverse"),
        pytest.param(FAILS, 0, Limits(), "error", id="code-that-raises"),
        pytest.param(LIMITED, 0, Limits(max_tool_calls=3), "limit", id="limit-of-calls"),
        pytest.param(PRINTS, 0, Limits(output_chars=350), "success", id="output-that-is-cut"),
        pytest.param(SHOWS, 0, Limits(), "success", id="pictures"),
    ],
)
async def test_a_program_in_steps_does_not_notice_a_loss_at_any_frame(
    pool: PoolSandbox, code: str, pick: int, limits: Limits, status: str
) -> None:
    """Calls, waits, output and pictures as they came, and the end, are the same wherever the machine is lost."""
    undisturbed = LosingSandbox(pool)
    expected = await drive(undisturbed, code, pick=pick, limits=limits)
    assert expected.done is not None
    assert expected.done.status == status
    for frame in range(1, undisturbed.pool.frames + 1):
        sandbox = LosingSandbox(pool, [frame])
        assert await drive(sandbox, code, pick=pick, limits=limits) == expected, frame
        assert sandbox.pool.lost == 1


async def test_a_program_in_steps_does_not_notice_a_loss_while_it_is_replayed(
    pool: PoolSandbox,
) -> None:
    """The same holds for two losses, the second at each frame of the second machine."""
    undisturbed = LosingSandbox(pool)
    expected = await drive(undisturbed, TINY)
    frames = range(1, undisturbed.pool.frames + 1)
    for first, more in itertools.product(frames, frames):
        sandbox = LosingSandbox(pool, [first, first + more])
        assert await drive(sandbox, TINY) == expected, (first, more)
        assert sandbox.pool.lost == 2


async def test_machines_that_keep_being_lost_end_the_execution(pool: PoolSandbox) -> None:
    """A program does not take all machines with it: after some it raises, and is not said to have ended."""
    sandbox = LosingSandbox(pool, range(4, 1000, 4))
    with pytest.raises(MachineLost):
        await drive(sandbox, SMALL)
    assert sandbox.pool.lost == MAX_LOST + 1


@pytest.mark.parametrize(
    ("code", "how"),
    [
        pytest.param("print(await get('here'))\nawait get('b')", "it called", id="another-call"),
        pytest.param("await get('a')\nprint('here')\nawait get('b')", "", id="another-output"),
    ],
)
async def test_a_program_on_another_path_is_ended(pool: PoolSandbox, code: str, how: str) -> None:
    """A result never reaches another call than the one that was made for it."""
    undisturbed = LosingSandbox(pool)
    expected = await drive(undisturbed, code)
    sandbox = LosingSandbox(pool, [undisturbed.pool.frames], afterwards=(b"here", b"else"))
    if how:
        with pytest.raises(ReplayError, match=f"on another machine: {how}"):
            await drive(sandbox, code)
    else:  # what it prints is its own
        run = await drive(sandbox, code)
        assert (run.asked, run.waits) == (expected.asked, expected.waits)
    assert sandbox.pool.lost == 1


@pytest.mark.parametrize("at", [None, START])
async def test_a_step_too_many_is_refused(pool: PoolSandbox, at: Moment | None) -> None:
    """What is no event is refused as by a local session, and not kept for another machine."""
    session = LosingSandbox(pool).session()
    refused: list[str] = []

    def on_idle(_: float | None) -> None:
        if at is not None:
            session.resume([], START)
        with pytest.raises(ValueError, match="pass at" if at is None else "not more") as caught:
            session.resume([], at)
        refused.append(str(caught.value))
        if at is None:
            session.resume([], START)

    program = Program(
        code="import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(1)",
        replay=Replay(seed=7, start=START),
    )
    running = asyncio.ensure_future(session.run(program, lambda _: None, on_idle))
    while not refused:
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait([running])


# --- without steps ------------------------------------------------------------------------------------


async def run_freely(sandbox: LosingSandbox) -> tuple[str, list[str]]:
    """Run a program of two calls; return its output and the calls that were made."""
    session, made = sandbox.session(), list[str]()

    def on_calls(calls: Sequence[Call]) -> None:
        made.extend(str(call.args[0]) for call in calls)
        session.resume([Result(id=call.id, payload=encode_value("got")) for call in calls])

    code = "print(await get('a'))\nprint(await get('b'))"
    done = await session.run(Program(code=code, tools=("get",)), on_calls)
    assert done.status == "success", done
    return done.output, made


async def test_a_program_that_runs_freely_raises_unless_nothing_of_it_was_heard(
    pool: PoolSandbox,
) -> None:
    """It is begun anew as long as it cannot have had an effect; else the loss is raised, never returned."""
    undisturbed = LosingSandbox(pool)
    expected = await run_freely(undisturbed)
    outcomes = []
    for frame in range(1, undisturbed.pool.frames + 1):
        sandbox = LosingSandbox(pool, [frame])
        try:
            assert await run_freely(sandbox) == expected
            outcomes.append("ran")
        except MachineLost:
            outcomes.append("raised")
        assert sandbox.pool.lost == 1
    assert outcomes == ["ran"] + ["raised"] * (undisturbed.pool.frames - 1)


async def test_the_model_reads_which_calls_took_effect(pool: PoolSandbox) -> None:
    """Without a journal the loss is the end of the execution: its report lists the calls that were made."""

    async def post(key: str) -> str:
        """Write something."""
        return f"posted {key}"

    def run(sandbox: LosingSandbox) -> Any:
        executor = ProgrammaticToolExecutor([post], sandbox=sandbox)
        return executor.aexecute("print(await post('a'))\nprint(await post('b'))")

    undisturbed = LosingSandbox(pool)
    assert (await run(undisturbed)).status == "success"
    result = await run(LosingSandbox(pool, [undisturbed.pool.frames]))
    assert result.status == "sandbox"
    assert [call.status for call in result.tool_calls] == ["returned", "returned"]
    assert "the machine was lost" in result.report()
    assert "post" in result.report()


# --- in a graph with a checkpointer -------------------------------------------------------------------

ASKS = """
print(await get("a"))
print(await pay("b"))
print(await ask("c"))
print(await post("d"))
"""


async def answer_all(sandbox: LosingSandbox, log: Path) -> tuple[str, list[str]]:
    """Run a program that asks a person twice; return its output and its effects."""
    log.write_text("")
    agent = make_agent(ASKS, log, InMemorySaver(), approve=True, sandbox=sandbox)
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await agent.ainvoke(REQUEST, config)
    while asked := state.get("__interrupt__"):
        answers = {
            i.id: answer_to(i.value["question"]) if "question" in i.value else {"type": "approve"}
            for i in asked
        }
        state = await agent.ainvoke(Command(resume=answers), config)
    return str(state["messages"][-1].content), log.read_text().splitlines()


async def test_approvals_and_interrupts_survive_a_loss_at_any_frame(
    pool: PoolSandbox, tmp_path: Path
) -> None:
    """Each effect happens once, and each question is asked once, wherever the machine is lost."""
    undisturbed = LosingSandbox(pool)
    expected = await answer_all(undisturbed, tmp_path / "log")
    assert len(expected[1]) == 4
    for frame in range(1, undisturbed.pool.frames + 1):
        sandbox = LosingSandbox(pool, [frame])
        assert await answer_all(sandbox, tmp_path / "log") == expected, frame
        assert sandbox.pool.lost == 1
