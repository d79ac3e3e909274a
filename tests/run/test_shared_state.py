"""Rate limits, breakers and cached results that several executors share through a store.

Each `CallPolicies` here stands for a process. Where time matters it is the event loop's own, which goes as
fast as nobody waits for anything but time: every access takes a random part of it, and every run is the same.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import logging
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias

import ormsgpack
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.store.base import Op, PutOp, Result
from langgraph.store.memory import InMemoryStore

from langchain_ptc import (
    Breaker,
    Cache,
    CallPolicies,
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    RateLimit,
    ToolCallError,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run.arguments import ArgumentReader
from langchain_ptc.run.call_policy import build_pipeline
from langchain_ptc.run.calls import CallContext, StartedCall
from langchain_ptc.run.dispatch import Dispatcher
from langchain_ptc.run.policy_state import (
    MAX_RESULT_BYTES,
    PAUSE_SECONDS,
    REFRESH_SECONDS,
    STORE_SECONDS,
    Clock,
)
from langchain_ptc.sandbox import Call
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.waiting import SECONDS

LATENCY = 0.008
"""The longest that an access takes each way, in seconds."""


class _Selector(selectors.SelectSelector):
    """Lets the time of a loop pass instead of waiting for it."""

    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:  # a thread is to wake the loop up
            ready = super().select(SECONDS)
            assert ready, "everything waits for something that never happens"
        elif not ready and timeout is not None:
            self.seconds += max(0.0, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._own_selector = _Selector()
        super().__init__(self._own_selector)

    def time(self) -> float:
        return self._own_selector.seconds


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run something to its end in time of its own."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


class SlowStore(InMemoryStore):
    """A store whose accesses take a random time there and back, and happen at once in between.

    One that has been sent happens, even if whoever sent it waits no longer.
    """

    def __init__(self, chance: random.Random, latency: float = LATENCY) -> None:
        super().__init__()
        self.chance = chance
        self.latency = latency
        self.accesses = 0
        self.fails = False
        self.sent: set[asyncio.Future[list[Result]]] = set()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        self.accesses += 1
        if self.fails:
            raise ConnectionError("connection refused")
        arriving = asyncio.ensure_future(self._arrive(list(ops)))
        self.sent.add(arriving)
        arriving.add_done_callback(self.sent.discard)
        done = await asyncio.shield(arriving)
        await asyncio.sleep(self.chance.uniform(0, self.latency))
        return done

    async def _arrive(self, ops: list[Op]) -> list[Result]:
        await asyncio.sleep(self.chance.uniform(0, self.latency))
        return await super().abatch(ops)


Caller: TypeAlias = Callable[..., Awaitable[tuple[StartedCall, Any]]]


def process(
    store: InMemoryStore, policy: ToolPolicy, work: Callable[[str], Any], **clock: Any
) -> Caller:
    """Return what makes calls of a tool as one process does: of its argument, for the call and its value."""
    loop = asyncio.get_running_loop()
    skew = clock.pop("skew", 0.0)
    chance = clock.pop("chance", random.Random(0))
    made = Clock(
        now=loop.time,
        wall=lambda: 1.8e9 + loop.time() + skew,
        sleep=asyncio.sleep,
        chance=chance.random,
    )

    @tool("work")
    async def working(key: str) -> str:
        """Do something."""
        return work(key)

    catalog = ToolCatalog([working], policies={"work": policy})
    definition = next(d for d in catalog.callables if d.name == "work")
    policies = CallPolicies(made, store=store, name="tests")
    make = build_pipeline(Dispatcher(definition), policies, "message", catalog)
    context = CallContext(readers={"work": ArgumentReader(definition)})

    async def call(key: str = "") -> tuple[StartedCall, Any]:
        made = StartedCall(Call(1, "work", (), {"key": key}, 0), context)
        made.settle()
        outcome = await make(made)
        return made, ormsgpack.unpackb(outcome.payload)

    return call


# --- rate limits --------------------------------------------------------------------------------


def most_within(times: list[float], seconds: float) -> int:
    """Return how many of some times are within any period of a length."""
    times = sorted(times)
    return max(sum(1 for t in times if start <= t < start + seconds) for start in times)


async def use_up(
    calls: int, processes: int, chance: random.Random, seconds: float, **clock: Any
) -> tuple[list[float], SlowStore]:
    """Let processes make as many calls as they may; return when these began, in seconds."""
    loop, times = asyncio.get_running_loop(), []
    store = SlowStore(chance)
    policy = ToolPolicy(rate_limit=RateLimit(calls=calls, seconds=1.0))

    async def keep_calling(call: Caller) -> None:
        while loop.time() < seconds:
            if chance.random() < 0.05:
                await asyncio.sleep(chance.uniform(0, 0.3))
            await call()

    callers = [
        process(store, policy, lambda _: times.append(loop.time()), chance=chance, **clock)
        for _ in range(processes)
    ]
    await asyncio.gather(*(keep_calling(call) for call in callers for _ in range(min(calls, 10))))
    return times, store


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("calls", "processes"), [(1, 3), (5, 2), (20, 4), (50, 3)])
def test_all_processes_together_begin_no_more_than_the_limit(
    seed: int, calls: int, processes: int
) -> None:
    """In no period do they begin more than the limit, whatever the order of their accesses; nor much less."""
    times, _ = run(use_up(calls, processes, random.Random(seed), seconds=6.0))
    assert most_within(times, 1.0 - 4 * LATENCY) <= calls
    assert len(times) >= 0.8 * calls * (max(times) - min(times))


def test_clocks_that_differ_shorten_the_period_by_no_more_than_that() -> None:
    """Two machines whose clocks are 0.2 seconds apart begin no more than the limit in 0.8 seconds."""
    times: list[float] = []

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), SlowStore(random.Random(1))
        policy = ToolPolicy(rate_limit=RateLimit(calls=5, seconds=1.0))
        callers = [
            process(store, policy, lambda _: times.append(loop.time()), skew=skew)
            for skew in (0.0, 0.2)
        ]
        await asyncio.gather(*(call() for _ in range(20) for call in callers))

    run(main())
    assert len(times) == 40
    assert most_within(times, 0.8 - 4 * LATENCY) <= 5


def test_calls_that_come_together_ask_once() -> None:
    """A hundred calls of a process that may all begin cost one access to write and one to read."""

    async def main() -> int:
        store = SlowStore(random.Random(1))
        call = process(store, ToolPolicy(rate_limit=RateLimit(calls=100, seconds=60.0)), str)
        await call()
        before = store.accesses
        await asyncio.gather(*(call() for _ in range(99)))
        return store.accesses - before

    assert run(main()) <= 4  # the first of them asks for itself alone


def test_a_cancelled_call_lets_the_next_ones_pass() -> None:
    """A call that is cancelled while it waits for the limit holds up no other, and takes nobody's place."""
    times: list[float] = []

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), SlowStore(random.Random(1))
        policy = ToolPolicy(rate_limit=RateLimit(calls=1, seconds=10.0))
        call = process(store, policy, lambda _: times.append(loop.time()))
        await call()
        waiting = [asyncio.ensure_future(call()) for _ in range(3)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        waiting[1].cancel()
        await waiting[2]

    run(main())
    assert len(times) == 2
    assert 10 <= times[1] - times[0] < 11


@pytest.mark.parametrize("seed", range(6))
def test_calls_that_are_cancelled_at_any_moment_break_no_limit(seed: int) -> None:
    """Calls that end in the middle of an access, and stores that fail now and then, let in none too many."""
    chance = random.Random(seed)
    times: list[float] = []

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), SlowStore(chance)
        policy = ToolPolicy(rate_limit=RateLimit(calls=8, seconds=1.0))

        async def keep_calling(call: Caller) -> None:
            while loop.time() < 20:
                store.fails = chance.random() < 0.02
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.uniform(1, 3))
                with contextlib.suppress(TimeoutError, ToolCallError):
                    async with asyncio.timeout(chance.choice([0.002, 0.005, 0.01, 0.02, 60])):
                        await call()

        callers = [
            process(store, policy, lambda _: times.append(loop.time()), chance=chance)
            for _ in range(3)
        ]
        await asyncio.gather(*(keep_calling(call) for call in callers for _ in range(4)))

    run(main())
    assert len(times) > 8 * 3
    assert most_within(times, 1.0 - 4 * LATENCY) <= 8


class LateStore(SlowStore):
    """A store at which the first write arrives when `gate` is opened."""

    def __init__(self) -> None:
        super().__init__(random.Random(1))
        self.gate: asyncio.Event | None = asyncio.Event()

    async def _arrive(self, ops: list[Op]) -> list[Result]:
        if (gate := self.gate) is not None and any(isinstance(op, PutOp) for op in ops):
            self.gate = None
            await gate.wait()
        return await super()._arrive(ops)


def test_a_write_that_arrives_late_hides_no_later_one() -> None:
    """What a cancelled call was writing does not take the place of what its process wrote since."""
    times: list[float] = []

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), LateStore()
        policy = ToolPolicy(rate_limit=RateLimit(calls=3, seconds=60))
        one, other = (process(store, policy, lambda _: times.append(loop.time())) for _ in range(2))
        gate, first = store.gate, asyncio.ensure_future(one())
        await asyncio.sleep(0.1)
        first.cancel()
        for _ in range(2):
            await one()
        assert gate is not None
        gate.set()
        await asyncio.sleep(0.1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.gather(other(), other())

    run(main())
    assert len(times) <= 3


FORGED = [
    {},
    {"tries": "many", "asked": "all", "until": "ever"},
    {
        "tries": [[1.8e9, "1"], [None, 1], [float("inf"), 5], 7, [1.8e9]],
        "asked": True,
        "until": None,
    },
    {"tries": [[1.8e9, -(10**9)]], "asked": -5, "until": 1.8e9},
    {"tries": [[-1e300, 10**400]] * 100_000, "asked": 10**400, "until": float("nan")},
    {"tries": [[1e300, 10**400]], "asked": 0, "until": 1.8e9},
    {"tries": [[2**52, 5]], "asked": 5, "until": 2**52},
]


@pytest.mark.parametrize("value", FORGED, ids=range(len(FORGED)))
def test_items_that_no_process_of_ours_wrote_do_no_harm(value: dict[str, Any]) -> None:
    """Whatever else is in the namespace, calls are made, within the limit; none is let in by a negative count."""
    times: list[float] = []

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), SlowStore(random.Random(1))
        for kind in ("rate", "breaker", "result"):
            for key in ("forged", "state"):
                await store.aput(("langchain_ptc", "tests", kind, "work"), key, value)
        policy = ToolPolicy(
            read_only=True,
            rate_limit=RateLimit(calls=2, seconds=1.0),
            breaker=Breaker(),
            cache=Cache(scope="executor"),
        )
        call = process(store, policy, lambda _: times.append(loop.time()))
        await asyncio.gather(*(call(str(n)) for n in range(6)))

    run(main())
    assert len(times) == 6
    assert most_within(times, 1.0 - 4 * LATENCY) <= 2


def test_items_of_processes_that_are_gone_are_deleted() -> None:
    """A process that has long since ended leaves nothing in the store."""

    async def main() -> int:
        store = SlowStore(random.Random(1))
        policy = ToolPolicy(rate_limit=RateLimit(calls=5, seconds=1.0))
        for _ in range(20):
            await process(store, policy, str)()
        await asyncio.sleep(100)
        await process(store, policy, str)()
        return len(await store.asearch(("langchain_ptc",), limit=100))

    assert run(main()) == 1


# --- breakers -----------------------------------------------------------------------------------


class Patient:
    """A tool that fails while it is ill."""

    def __init__(self) -> None:
        self.is_ill = True
        self.reached: list[float] = []

    def work(self, _: str) -> str:
        """Count a call, and make it."""
        self.reached.append(asyncio.get_running_loop().time())
        if self.is_ill:
            raise ConnectionError("connection reset")
        return "done"


async def outcome(call: Caller) -> str:
    """Return what became of a call: done, failed or refused."""
    try:
        await call()
    except ToolCallError as error:
        return "refused" if "is not called for now" in str(error) else "failed"
    return "done"


def test_a_breaker_that_opens_in_one_process_opens_in_the_others() -> None:
    """It is open in another process for every call from `REFRESH_SECONDS` later on."""

    async def main() -> None:
        store, patient = SlowStore(random.Random(1)), Patient()
        policy = ToolPolicy(breaker=Breaker(failures=3, reset_seconds=30))
        one, other = (process(store, policy, patient.work) for _ in range(2))
        patient.is_ill = False
        assert await outcome(other) == "done"  # what it knows now is as new as can be
        patient.is_ill = True
        assert [await outcome(one) for _ in range(4)] == ["failed", "failed", "failed", "refused"]
        await asyncio.sleep(REFRESH_SECONDS)
        assert [await outcome(other) for _ in range(3)] == ["refused"] * 3
        assert len(patient.reached) == 4

    run(main())


def test_one_process_probes_and_all_close() -> None:
    """When the time is up one process begins a probe; the others see that, and close when it succeeds."""

    async def main() -> None:
        store, patient = SlowStore(random.Random(1)), Patient()
        policy = ToolPolicy(breaker=Breaker(failures=1, reset_seconds=30))
        callers = [process(store, policy, patient.work) for _ in range(3)]
        assert await outcome(callers[0]) == "failed"
        await asyncio.sleep(REFRESH_SECONDS)
        assert [await outcome(call) for call in callers] == ["refused"] * 3
        await asyncio.sleep(30)
        assert await outcome(callers[1]) == "failed"  # the probe of all
        assert [await outcome(call) for call in callers] == ["refused"] * 3
        await asyncio.sleep(30)
        patient.is_ill = False
        assert await outcome(callers[2]) == "done"
        await asyncio.sleep(REFRESH_SECONDS)
        assert [await outcome(call) for call in callers] == ["done"] * 3
        assert len(patient.reached) == 6

    run(main())


def test_a_breaker_costs_one_access_a_second() -> None:
    """Calls of a tool that works read the store once in `REFRESH_SECONDS`, however many they are."""

    async def main() -> int:
        store = SlowStore(random.Random(1))
        call = process(store, ToolPolicy(breaker=Breaker()), str)
        for _ in range(1000):
            await call()
            await asyncio.sleep(0.01)
        return store.accesses

    assert run(main()) <= 11


# --- cached results -----------------------------------------------------------------------------

LASTING = ToolPolicy(read_only=True, cache=Cache(seconds=60, scope="executor"))


def test_a_cached_result_is_used_by_the_others() -> None:
    """Another process has the value, until it is too old; a third reads it from its memory again."""

    async def main() -> None:
        store, reached = SlowStore(random.Random(1)), []

        def work(key: str) -> str:
            reached.append(key)
            return f"the result of {key}"

        one, other = (process(store, LASTING, work) for _ in range(2))
        assert (await one("a"))[1] == "the result of a"
        call, value = await other("a")
        assert (call.is_cache_hit, value, reached) == (True, "the result of a", ["a"])
        before = store.accesses
        assert (await other("a"))[1] == value
        assert store.accesses == before
        await asyncio.sleep(61)
        assert not (await other("a"))[0].is_cache_hit

    run(main())


def test_nothing_of_the_arguments_is_in_the_store() -> None:
    """Keys are hashes, and namespaces have no more than the names of the service and the tool."""

    async def main() -> list[Any]:
        store = SlowStore(random.Random(1))
        policy = dataclasses.replace(
            LASTING, rate_limit=RateLimit(calls=5), breaker=Breaker(failures=1)
        )
        await process(store, policy, lambda _: "done")("a secret")
        return await store.asearch(("langchain_ptc", "tests"), limit=100)

    items = run(main())
    assert {item.namespace[2:] for item in items} == {("rate", "work"), ("result", "work")}
    assert "secret" not in str(items)


@pytest.mark.parametrize(
    "data",
    [
        None,
        17,
        "%%%",
        base64.b64encode(b"\xc1").decode(),
        base64.b64encode(b"\xc4\x01\xc1").decode(),
        base64.b64encode(ormsgpack.packb("not an encoded result")).decode(),
        base64.b64encode(ormsgpack.packb(b"\x91" * 100_000)).decode(),
        "A" * 4 * MAX_RESULT_BYTES,
    ],
    ids=["none", "number", "text", "no-value", "no-value-in-it", "other", "deep", "large"],
)
def test_a_result_that_was_tampered_with_is_not_used(
    data: object, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be a result is none: the tool is called, and its result takes the place of the other."""

    async def main() -> None:
        store = SlowStore(random.Random(1))
        await process(store, LASTING, str)("a")
        place = ("langchain_ptc", "tests", "result", "work")
        (item,) = await store.asearch(place)
        await store.aput(place, item.key, {**item.value, "data": data})
        call, value = await process(store, LASTING, str)("a")
        assert (call.is_cache_hit, value) == (False, "a")
        assert (await process(store, LASTING, str)("a"))[0].is_cache_hit

    run(main())


def test_large_results_stay_in_their_process() -> None:
    """A result over `MAX_RESULT_BYTES` is cached, and is not in the store."""

    async def main() -> None:
        store = SlowStore(random.Random(1))
        call = process(store, LASTING, lambda _: "x" * MAX_RESULT_BYTES)
        await call("a")
        assert (await call("a"))[0].is_cache_hit
        assert await store.asearch(("langchain_ptc",)) == []

    run(main())


def test_old_results_are_deleted_where_the_store_has_no_time_to_live() -> None:
    """What a process has stored does not grow without bound: it deletes what is too old or too much."""

    async def main() -> None:
        store = SlowStore(random.Random(1))
        policy = ToolPolicy(
            read_only=True, cache=Cache(seconds=60, scope="executor", max_bytes=10_000)
        )
        call = process(store, policy, lambda _: "x" * 1000)
        for n in range(50):
            await call(str(n))
        assert len(await store.asearch(("langchain_ptc",), limit=100)) <= 10
        await asyncio.sleep(61)
        await call("new")
        assert len(await store.asearch(("langchain_ptc",), limit=100)) == 1

    run(main())


class StoreWithTtl(SlowStore):
    """Notes the time to live of what is put."""

    supports_ttl = True

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.ttls: dict[str, float | None] = {}

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        self.ttls |= {op.namespace[2]: op.ttl for op in ops if isinstance(op, PutOp)}
        return await super().abatch(ops)


def test_items_have_a_time_to_live_where_the_store_has_one() -> None:
    """Each item lasts as long as it can be needed, in whole minutes."""

    async def main() -> dict[str, float | None]:
        store = StoreWithTtl(random.Random(1))
        policy = ToolPolicy(
            read_only=True,
            cache=Cache(seconds=300, scope="executor"),
            rate_limit=RateLimit(calls=5, seconds=600),
            breaker=Breaker(failures=1, reset_seconds=90),
        )
        patient = Patient()
        call = process(store, policy, patient.work)
        assert await outcome(call) == "failed"
        await asyncio.sleep(91)
        patient.is_ill = False
        assert await outcome(call) == "done"
        return store.ttls

    assert run(main()) == {"rate": 11, "breaker": 3, "result": 5}


# --- a store that fails -------------------------------------------------------------------------


def test_a_store_that_fails_stops_what_has_a_rate_limit_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call with a rate limit is refused before its tool; breakers and caches go on; the log has one line."""
    caplog.set_level(logging.INFO, "langchain_ptc")

    async def main() -> None:
        store, reached = SlowStore(random.Random(1)), []
        limited = process(store, ToolPolicy(rate_limit=RateLimit(calls=9)), reached.append)
        guarded = process(
            store, dataclasses.replace(LASTING, breaker=Breaker(failures=1)), lambda key: key
        )
        store.fails = True
        with pytest.raises(
            ToolCallError, match="was not called: its rate limit is shared"
        ) as raised:
            await limited()
        assert "connection refused" in str(raised.value)
        assert reached == []
        assert (await guarded("a"))[1] == "a"
        assert (await guarded("a"))[0].is_cache_hit
        store.fails = False
        await asyncio.sleep(PAUSE_SECONDS)
        await limited()
        assert len(reached) == 1

    run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert sum("has failed (connection refused)" in line for line in lines) == 2  # of two processes
    assert sum("answers again" in line for line in lines) == 1


def test_a_store_that_hangs_holds_up_one_call_for_two_seconds() -> None:
    """An access ends after `STORE_SECONDS`; the calls of the next `PAUSE_SECONDS` do not wait for the store."""

    async def main() -> list[float]:
        loop, store = asyncio.get_running_loop(), SlowStore(random.Random(1), latency=1e6)
        call = process(store, dataclasses.replace(LASTING, breaker=Breaker()), str)
        durations = []
        for _ in range(3):
            began = loop.time()
            await call(str(began))
            durations.append(loop.time() - began)
        return durations

    assert run(main()) == [pytest.approx(STORE_SECONDS), 0.0, 0.0]


def test_a_change_that_could_not_be_written_is_written_later() -> None:
    """A breaker that opened while the store was away opens in the others when that is back."""

    async def main() -> None:
        store, patient = SlowStore(random.Random(1)), Patient()
        policy = ToolPolicy(breaker=Breaker(failures=1, reset_seconds=600))
        one, other = (process(store, policy, patient.work) for _ in range(2))
        store.fails = True
        assert await outcome(one) == "failed"
        store.fails = False
        await asyncio.sleep(PAUSE_SECONDS)
        assert await outcome(one) == "refused"
        assert await outcome(other) == "refused"

    run(main())


# --- in a graph ---------------------------------------------------------------------------------

CODE = "print(await get_rate(currency='EUR'))"


def rates(reached: list[str]) -> Any:
    """Return a tool that looks a rate up, and counts."""

    @tool
    def get_rate(currency: str) -> float:
        """Return an exchange rate."""
        reached.append(currency)
        return 1.5

    return get_rate


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_the_store_of_the_graph(sync: bool) -> None:
    """With `store="graph"` agents whose graphs have the same store share results, by code and the model."""
    store, reached = InMemoryStore(), []
    policies = {"get_rate": dataclasses.replace(LASTING, rate_limit=RateLimit(calls=9))}

    def build() -> Any:
        shared = CallPolicies(store="graph", name="billing")
        script = [tool_call_message("run_code", {"code": CODE}), "Done."]
        tools = as_programmatic([rates(reached)], policies=policies, call_policies=shared)
        return create_agent(ScriptedChatModel(script=script), tools, store=store)

    for _ in range(2):
        request: Any = {"messages": [("user", "What is a euro?")]}
        state = build().invoke(request) if sync else await build().ainvoke(request)
        assert state["messages"][-2].text.strip() == "1.5"
    assert reached == ["EUR"]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_calls_of_the_model_itself(sync: bool) -> None:
    """The middleware's direct calls share results with those of other processes, as messages."""
    store, reached = InMemoryStore(), []
    policy = dataclasses.replace(LASTING, allowed_callers=("direct",))

    def build() -> Any:
        middleware = ProgrammaticToolCallingMiddleware(
            policies={"get_rate": policy},
            call_policies=CallPolicies(store=store, name="billing"),
        )
        script = [tool_call_message("get_rate", {"currency": "EUR"}, id="call_7"), "Done."]
        return create_agent(
            ScriptedChatModel(script=script), [rates(reached)], middleware=[middleware]
        )

    for _ in range(2):
        request: Any = {"messages": [("user", "What is a euro?")]}
        state = build().invoke(request) if sync else await build().ainvoke(request)
        message = state["messages"][-2]
        assert (message.text, message.tool_call_id, message.name) == ("1.5", "call_7", "get_rate")
    assert reached == ["EUR"]


def test_without_a_graph_there_is_no_store_of_it() -> None:
    """A tool with a rate limit is refused outside a graph, and the error says what is missing."""
    reached: list[str] = []
    executor = ProgrammaticToolExecutor(
        ToolCatalog(
            [rates(reached)], policies={"get_rate": ToolPolicy(rate_limit=RateLimit(calls=9))}
        ),
        sandbox=InProcessSandbox(),
        call_policies=CallPolicies(store="graph", name="billing"),
    )
    result = executor.execute(CODE)
    assert result.status == "error"
    assert "pass store= when it is compiled" in str(result.error)
    assert reached == []


def test_threads_share_with_themselves_only() -> None:
    """Results of the scope `thread` are used in the same thread, in other processes too, and nowhere else."""
    store, reached = InMemoryStore(), []
    policies = {"get_rate": ToolPolicy(read_only=True, cache=Cache(scope="thread"))}
    for thread in ("1", "2", "1"):
        executor = ProgrammaticToolExecutor(
            ToolCatalog([rates(reached)], policies=policies),
            sandbox=InProcessSandbox(),
            call_policies=CallPolicies(store=store, name="billing"),
        )
        executor.execute(CODE, config={"configurable": {"thread_id": thread}})
        executor.execute(CODE)  # without a thread nothing is shared
    assert len(reached) == 2 + 3
    assert len(store.search(("langchain_ptc",), limit=100)) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": "redis"}, "store must be a BaseStore or 'graph'"),
        ({"store": InMemoryStore()}, "name must be a text without a period"),
        ({"store": "graph", "name": "a.b"}, "name must be a text without a period"),
        ({"name": "a"}, "pass store= too"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], said: str) -> None:
    """A store that is none, and a name that is missing, are reported at once."""
    with pytest.raises(ValueError, match=said):
        CallPolicies(**options)
