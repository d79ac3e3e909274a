"""A checkpointer that fails now and then: what was not recorded is told, and nothing is made twice unseen."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command, interrupt

from langchain_ptc.testing import ScriptedChatModel
from tests.support.hosts import CONFIG, HOSTS, REQUEST, agent, message_of, output

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
DURABILITIES = ["async", "sync", "exit"]
durabilities = pytest.mark.parametrize("durability", DURABILITIES)


class Made:
    """Tools that note what was made."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    def tools(self) -> list[Any]:
        @tool
        def effect(key: str) -> str:
            """Effect."""
            self.effects.append(key)
            return key

        @tool
        def ask(question: str) -> str:
            """Ask."""
            return str(interrupt(question))

        return [effect, ask]


class Failing(InMemorySaver):
    """Fails once: the write that `fails` chooses of all, by the name of the method and its arguments."""

    def __init__(self, fails: Any) -> None:
        super().__init__()
        self._fails = fails
        self.failed = 0

    def _look(self, method: str, *given: Any) -> None:
        if not self.failed and self._fails(method, *given):
            self.failed = 1
            raise OSError("No space left on device")

    def put(self, config: Any, *given: Any, **options: Any) -> Any:
        self._look("put", config, *given)
        return super().put(config, *given, **options)

    def put_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
        self._look("put_writes", config, writes)
        return super().put_writes(config, writes, *given, **options)


def is_journal(config: Any) -> bool:
    return "|" in config["configurable"]["checkpoint_ns"]


def record_of(key: str) -> Any:
    """Choose the record of an event."""

    def fails(method: str, config: Any, *given: Any) -> bool:
        return method == "put_writes" and any(
            event["key"].startswith(key)
            for channel, value in given[0]
            if channel == "ptc_entry"
            for event in value.get("events", ())
        )

    return fails


def opening(method: str, config: Any, *given: Any) -> bool:
    """Choose the journal's first checkpoint."""
    return method == "put" and is_journal(config)


def pause(method: str, config: Any, *given: Any) -> bool:
    """Choose the entry of the pause, with what was in flight."""
    return method == "put_writes" and "in_flight" in str(given)


def claim(method: str, config: Any, *given: Any) -> bool:
    """Choose the claim of a run."""
    return method == "put_writes" and given[0][0][0] == "ptc_claim"


def release(method: str, config: Any, *given: Any) -> bool:
    """Choose the end of a claim."""
    return method == "put_writes" and given[0][0][0] == "ptc_release"


async def invoke(graph: Any, given: Any, *, sync: bool, **options: Any) -> Any:
    if sync:
        return graph.invoke(given, CONFIG, **options)
    return await graph.ainvoke(given, CONFIG, **options)


CODE = "for k in 'abc': await effect(k)\nprint(await ask('q'))"
LOST = {
    "first": record_of("1:effect"),
    "second": record_of("2:effect"),
    "last": record_of("3:effect"),
    "opening": opening,
    "pause": pause,
    "claim": claim,
    "release": release,
}


def again(name: str) -> Any:
    """Return options with which the model of a node writes the code again when it is asked again."""
    if not name.startswith("node"):
        return {}
    return {"model": ScriptedChatModel(script=lambda messages: message_of(CODE))}


@both
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(
    ("name", "durability"),
    [*(("agent", durability) for durability in DURABILITIES)]
    # What a graph does with an error is the same with each.
    + [(name, "sync") for name in ("tool-node", "node-tool", "subgraph")],
)
async def test_lost_record_at_a_pause(name, lost, durability, sync):
    """A record that was not taken raises; a pause that returns has lost nothing."""
    made, saver = Made(), Failing(LOST[lost])
    graph = HOSTS[name](made.tools(), CODE, saver, **again(name))
    with pytest.raises(OSError, match="No space left") as raised:
        await invoke(graph, REQUEST, sync=sync, durability=durability)
    assert saver.failed
    if lost in ("first", "second", "last"):
        assert "did not record" in "".join(raised.value.__notes__)
    before = list(made.effects)
    state = await invoke(graph, None, sync=sync, durability=durability)
    assert state["__interrupt__"]  # this pause was recorded, so nothing is made after it
    paused = list(made.effects)
    state = await invoke(graph, Command(resume="yes"), sync=sync, durability=durability)
    assert output(state).strip().endswith("yes")
    assert made.effects == paused
    assert set(before) <= set("abc")


@both
async def test_nothing_more_is_done_once_a_record_is_lost(sync):
    """A program whose first call was not recorded does not make its other hundred."""
    made, saver = Made(), Failing(record_of("1:effect"))
    graph = agent(made.tools(), "for k in range(100): await effect(str(k))", saver)
    with pytest.raises(OSError, match="No space left"):
        await invoke(graph, REQUEST, sync=sync)
    assert len(made.effects) < 50


async def test_a_cancelled_run_stays_cancelled():
    """A run that is cancelled, and cannot give its claim back, ends as cancelled; the thread goes on."""
    saver, begun = Failing(release), asyncio.Event()
    made: list[str] = []

    @tool
    async def effect(key: str) -> str:
        """Effect."""
        made.append(key)
        begun.set()
        await asyncio.sleep(20 if len(made) == 1 else 0)
        return key

    graph = agent([effect], "print(await effect('a'))", saver)
    running = asyncio.ensure_future(invoke(graph, REQUEST, sync=False))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert saver.failed
    assert output(await invoke(graph, None, sync=False)) == "a"


class Flaky(InMemorySaver):
    """Fails at a rate."""

    def __init__(self, seed: int, rate: float) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self.rate = rate

    def put(self, *given: Any, **options: Any) -> Any:
        self._fail()
        return super().put(*given, **options)

    def put_writes(self, *given: Any, **options: Any) -> Any:
        self._fail()
        return super().put_writes(*given, **options)

    def _fail(self) -> None:
        if self._chance.random() < self.rate:
            raise OSError("lost connection")


MANY = """\
import asyncio
for n in range(3):
    await asyncio.gather(*(effect(f"{n}{k}") for k in "abc"))
    print(await ask(str(n)))
"""


@both
@durabilities
@pytest.mark.parametrize("seed", range(8))
async def test_no_call_is_repeated_without_an_error(seed, durability, sync):
    """However a checkpointer fails: what was made before a question that was shown is not made again.

    A run that fails may have made more; if it was not recorded, the question before is shown again.
    """
    made, saver = Made(), Flaky(seed, 0.04)
    graph = agent(made.tools(), MANY, saver)
    given: Any = REQUEST
    settled: Counter[str] = Counter()
    shown = ""
    raised = 0
    for _ in range(40):
        try:
            state = await invoke(graph, given, sync=sync, durability=durability)
        except OSError:
            raised += 1
            given = None if graph.get_state(CONFIG).values.get("messages") else REQUEST
            continue
        assert all(made.effects.count(key) == count for key, count in settled.items())
        if not (asked := state.get("__interrupt__")):
            break
        if asked[0].id != shown:
            shown, settled = asked[0].id, Counter(made.effects)
        given = Command(resume={asked[0].id: "yes"})
    if not raised:
        assert set(Counter(made.effects).values()) == {1}


@both
async def test_a_lost_record_over_sqlite(sync, tmp_path):
    """A file that is full for a moment: the error is the database's own, and the graph can go on."""
    path, made = str(tmp_path / "checkpoints"), Made()
    lost = record_of("2:effect")

    class Sync(SqliteSaver):
        failed = False

        def put_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
            if not self.failed and lost("put_writes", config, writes):
                self.failed = True
                raise OSError("database or disk is full")
            return super().put_writes(config, writes, *given, **options)

    class Async(AsyncSqliteSaver):
        failed = False

        async def aput_writes(self, config: Any, writes: Any, *given: Any, **options: Any) -> Any:
            if not self.failed and lost("put_writes", config, writes):
                self.failed = True
                raise OSError("database or disk is full")
            return await super().aput_writes(config, writes, *given, **options)

    async def drive(saver: Any) -> Any:
        graph = agent(made.tools(), CODE, saver)
        with pytest.raises(OSError, match="disk is full"):
            await invoke(graph, REQUEST, sync=sync)
        state = await invoke(graph, None, sync=sync)
        assert state["__interrupt__"]
        paused = list(made.effects)
        state = await invoke(graph, Command(resume="yes"), sync=sync)
        assert made.effects == paused
        assert output(state).strip() == "yes"

    if sync:
        with Sync.from_conn_string(path) as saver:
            await drive(saver)
    else:
        async with Async.from_conn_string(path) as opened:
            await drive(opened)
