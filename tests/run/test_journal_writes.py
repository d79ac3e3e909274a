"""What a journal writes to the checkpoints, and when: few writes, in order, as the durability says."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import task
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, interrupt

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.run.calls import StartedCall
from tests.run.test_concurrent_resume import PROCESSES
from tests.support.hosts import CONFIG, REQUEST, agent, output, run

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


class Watched(InMemorySaver):
    """Notes each write of entries: how many there were, and the numbers of the calls in them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.written: list[list[str]] = []
        self.gate: asyncio.Event | None = None

    def put_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
        entries = [value for channel, value in writes if channel == "ptc_entry"]
        if entries:
            events = [event for entry in entries for event in entry.get("events", ())]
            self.written.append([event["key"].partition("#")[0] for event in events])
        return super().put_writes(config, writes, *given, **options)

    async def aput_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
        if self.gate is not None and writes[0][0] == "ptc_entry":
            await self.gate.wait()
        return self.put_writes(config, writes, *given, **options)

    @property
    def calls(self) -> list[str]:
        """The calls that were written, in order."""
        return [call for written in self.written for call in written]


# --- few writes -------------------------------------------------------------------------------------


async def test_results_that_arrive_together_are_one_write():
    """A hundred calls that end at once are recorded in one write, and the end in another."""
    begun, saver = 0, Watched()
    all_begun = asyncio.Event()

    @tool
    async def get(n: int) -> int:
        """Wait for all others."""
        nonlocal begun
        begun += 1
        if begun == 100:
            all_begun.set()
        await all_begun.wait()
        return n

    code = "import asyncio\nprint(sum(await asyncio.gather(*[get(n) for n in range(100)])))"
    graph = agent([get], code, saver, limits=Limits(max_concurrent_calls=100, max_tool_calls=100))
    assert output(await run(graph, REQUEST)) == "4950"
    assert len(saver.written) <= 2


@both
async def test_a_large_result_is_written_once(sync):
    """Of a large result there is one copy among all that a thread has stored."""
    marker, saver = "0123456789" * 10_000, Watched()

    @tool
    def get() -> str:
        """Get much."""
        return marker

    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("?"))

    graph = agent([get, ask], "text = await get()\nprint(len(text), await ask())", saver)
    await run(graph, REQUEST, sync=sync)
    state = await run(graph, Command(resume="yes"), sync=sync)
    assert output(state) == "100000 yes"
    stored = [value[1] for kept in saver.writes.values() for _, _, value, _ in kept.values()]
    stored += [value[1] for value in saver.blobs.values()]
    assert sum(value.count(marker.encode()) for value in stored) == 1


# --- durability -------------------------------------------------------------------------------------

THREE = "for n in range(3): await look(n)\nprint(await ask())"


def looking(saver: Watched, seen: list[list[str]]) -> list[Any]:
    """Tools of which one notes what is written when it is called."""

    @tool
    def look(n: int) -> int:
        """Look."""
        seen.append(list(saver.calls))
        return n

    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("?"))

    return [look, ask]


@both
async def test_durability_sync(sync):
    """With `sync` each result is in the checkpoints before the code goes on with it."""
    saver, seen = Watched(), []
    graph = agent(looking(saver, seen), THREE, saver)
    await run(graph, REQUEST, sync=sync, durability="sync")
    assert seen == [[], ["1:look"], ["1:look", "2:look"]]


@both
async def test_durability_exit(sync):
    """With `exit` nothing is written before a pause, and all of it then; the calls are made once."""
    saver, seen = Watched(), []
    graph = agent(looking(saver, seen), THREE, saver)
    await run(graph, REQUEST, sync=sync, durability="exit")
    assert seen == [[], [], []]
    assert saver.written == [["1:look", "2:look", "3:look"]]
    state = await run(graph, Command(resume="yes"), sync=sync, durability="exit")
    assert output(state) == "yes"
    assert len(seen) == 3


async def test_durability_async():
    """With `async` a slow write holds nothing up, and what comes meanwhile is the next write."""
    saver, made = Watched(), []
    saver.gate = asyncio.Event()

    @tool
    async def get(n: int) -> int:
        """Get."""
        made.append(n)
        if n == 9:
            assert saver.written == []
            saver.gate.set()
        return n

    graph = agent([get], "for n in range(10): await get(n)\nprint('end')", saver)
    assert output(await run(graph, REQUEST, durability="async")) == "end"
    assert made == list(range(10))
    assert len(saver.written) <= 4


# --- a crash ----------------------------------------------------------------------------------------

BATCH = """\
import asyncio
print(await pay(0))
print(await asyncio.gather(*[pay(n) for n in (1, 2, 3)]))
"""


class Dying(SqliteSaver):
    """Kills the process instead of recording the batch."""

    def put_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
        if any("'2:pay" in str(value) for _, value in writes):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().put_writes(config, writes, *given, **options)


def _logged(log: Path) -> Any:
    paid, all_paid = [], asyncio.Event()

    @tool
    async def pay(n: int, runtime: ToolRuntime) -> int:
        """Pay; all but the first at once."""
        with log.open("a") as file:
            file.write(f"{n} {runtime.tool_call_id}\n")
        if n:
            paid.append(n)
            if len(paid) == 3:
                all_paid.set()
            await all_paid.wait()
        return n

    return pay


def _die(path: Path, log: Path) -> None:
    with Dying.from_conn_string(str(path)) as saver:
        agent([_logged(log)], BATCH, saver).invoke(REQUEST, CONFIG, durability="sync")


def test_a_crash_between_the_effects_of_a_batch_and_its_write(tmp_path: Path):
    """What was not recorded is made again, each call under the id that it had; what was is not."""
    path, log = tmp_path / "checkpoints", tmp_path / "log"
    other = PROCESSES.Process(target=_die, args=(path, log))
    other.start()
    other.join(60)
    assert other.exitcode == -signal.SIGKILL
    before = log.read_text().splitlines()
    assert sorted(line[0] for line in before) == ["0", "1", "2", "3"]
    with SqliteSaver.from_conn_string(str(path)) as saver:
        state = agent([_logged(log)], BATCH, saver).invoke(None, CONFIG)
    assert output(state) == "0\n[1, 2, 3]"
    after = log.read_text().splitlines()[len(before) :]
    assert sorted(after) == sorted(line for line in before if line[0] != "0")


# --- what belongs to a thread -----------------------------------------------------------------------


@both
async def test_a_deleted_thread_has_no_journal(sync):
    """Who deletes a thread deletes the journals of its executions."""
    saver, seen = Watched(), []
    graph = agent(looking(saver, seen), THREE, saver)
    await run(graph, REQUEST, sync=sync)
    assert any("|" in place[1] for place in saver.writes)
    saver.delete_thread(CONFIG["configurable"]["thread_id"])
    assert not saver.writes
    assert not saver.storage
    assert not saver.blobs


@both
async def test_a_fork_has_a_journal_of_its_own(sync):
    """From an older checkpoint the calls are made again, under their ids; the paused run goes on as it was."""
    saver, keys = InMemorySaver(), []

    @tool
    def pay(runtime: ToolRuntime) -> str:
        """Pay."""
        keys.append(runtime.tool_call_id)
        return "paid"

    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("?"))

    graph = agent([pay, ask], "print(await pay(), await ask())", saver)
    await run(graph, REQUEST, sync=sync)
    history = list(graph.get_state_history(CONFIG))
    assert all(state.config["configurable"]["checkpoint_ns"] == "" for state in history)
    assert [state.next for state in history] == [("tools",), ("model",), ("__start__",)]
    forked = await run(graph, None, history[0].config, sync=sync)
    assert forked["__interrupt__"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    state = await run(graph, Command(resume="yes"), sync=sync)
    assert output(state) == "paid yes"
    assert len(keys) == 2


class Xor:
    """A cipher that hides what is stored from whoever does not look twice."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the name of the cipher, and what is stored."""
        return "xor", bytes(byte ^ 0x55 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Return what was encrypted."""
        return bytes(byte ^ 0x55 for byte in ciphertext)


async def test_the_journal_is_encrypted_as_the_thread_is():
    """A checkpointer that encrypts encrypts the journal, and a resumed run reads it."""
    saver, seen = Watched(serde=EncryptedSerializer(Xor())), []
    graph = agent(looking(saver, seen), THREE, saver)
    await run(graph, REQUEST)
    stored = [value[1] for kept in saver.writes.values() for _, _, value, _ in kept.values()]
    assert stored
    assert not any(b"look" in value for value in stored)
    assert output(await run(graph, Command(resume="yes"))) == "yes"
    assert len(seen) == 3


# --- tools that use LangGraph themselves ------------------------------------------------------------


@both
async def test_an_answer_by_id_reaches_its_question(sync):
    """Two concurrent tools ask twice each: each answer reaches its question, in any order, once."""
    done: list[str] = []

    @tool
    def fill(name: str) -> str:
        """Ask for two things."""
        got = [interrupt(f"{name}{n}") for n in (1, 2)]
        done.append(name)
        return " ".join(map(str, got))

    code = "import asyncio\nprint(*await asyncio.gather(fill('a'), fill('b')))"
    graph = agent([fill], code, InMemorySaver())
    state = await run(graph, REQUEST, sync=sync)
    for expected, name in [("a1 b1", "b1"), ("a1 b2", "a1"), ("a2 b2", "b2"), ("a2", "a2")]:
        asked = {one.value: one.id for one in state["__interrupt__"]}
        assert " ".join(sorted(asked)) == expected
        state = await run(graph, Command(resume={asked[name]: f"<{name}>"}), sync=sync)
    assert output(state) == "<a1> <a2> <b1> <b2>"
    assert sorted(done) == ["a", "b"]


@both
async def test_a_task_in_a_tool_keeps_its_result(sync):
    """LangGraph's own `@task` in concurrent tools runs once, and gives each tool its own result."""
    ran: list[str] = []

    @task
    def fetch(name: str) -> str:
        ran.append(name)
        return f"fetched {name}"

    @tool
    def first(name: str) -> str:
        """Fetch."""
        return fetch(name).result()

    @tool
    def second(name: str) -> str:
        """Fetch, and ask."""
        return f"{fetch(name).result()} {interrupt('?')}"

    code = "import asyncio\nprint(*await asyncio.gather(second('b'), first('a'), second('c')))"
    graph = agent([first, second], code, InMemorySaver())
    state = await run(graph, REQUEST, sync=sync)
    for _ in range(2):
        asked = state["__interrupt__"][-1].id
        state = await run(graph, Command(resume={asked: "yes"}), sync=sync)
    assert output(state) == "fetched b yes fetched a fetched c yes"
    assert sorted(ran) == ["a", "b", "c"]


# --- what is left in memory -------------------------------------------------------------------------


async def _in_a_graph(program: str, sandbox: Any) -> None:
    await run(agent([count_up], program, InMemorySaver(), sandbox=sandbox), REQUEST)


async def _directly(program: str, sandbox: Any) -> None:
    result = await ProgrammaticToolExecutor([count_up], sandbox=sandbox).aexecute(program)
    assert result.output == "45\n"


@tool
async def count_up(n: int) -> int:
    """Return a number."""
    return n


@pytest.mark.parametrize("execute", [_in_a_graph, _directly])
@pytest.mark.parametrize("kind", [ProcessSandbox, InProcessSandbox])
async def test_the_calls_of_an_execution_that_has_ended_need_no_garbage_collection(execute, kind):
    """Nothing that an execution leaves behind refers to itself: its calls are gone when it is."""
    program = "import asyncio\nprint(sum(await asyncio.gather(*[count_up(n) for n in range(10)])))"
    gc.collect()
    before = {id(one) for one in gc.get_objects() if isinstance(one, StartedCall)}
    gc.disable()
    try:
        with kind() as sandbox:
            await execute(program, sandbox)
            await asyncio.sleep(0)  # the tasks of the calls are told of their end
            left = [one for one in gc.get_objects() if isinstance(one, StartedCall)]
    finally:
        gc.enable()
    assert not [one for one in left if id(one) not in before]
