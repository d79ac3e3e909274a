"""Tools that fail in every way, synchronous, asynchronous and of an MCP server, and what the code sees.

Every call that reaches a tool of `World` is counted. At the end of the module nothing that writes has
been called twice for one call of the code.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_ptc import (
    Breaker,
    Cache,
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    RateLimit,
    Retry,
    ToolCallInfo,
    ToolCallRecord,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.run.call_policy import CallPolicies
from langchain_ptc.run.policy_state import Clock
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support import SUPPORT
from tests.support.hosts import output
from tests.support.waiting import SECONDS

SERVERS = SUPPORT / "mcp_servers"
QUICK = Retry(attempts=3, wait_seconds=0.001, max_wait_seconds=0.001, jitter_seconds=0.0)
EAGER = Retry(
    attempts=3,
    wait_seconds=0.001,
    max_wait_seconds=0.001,
    jitter_seconds=0.0,
    on=(Exception,),
)


class Garbage:
    """What no code can be given."""


WRITES: Counter[str] = Counter()
"""How often each call of a tool that writes has reached it, over the whole module."""


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written_twice() -> Iterator[None]:
    """No tool that writes was called twice for one call of the code, in any test of this module."""
    yield
    assert WRITES, "no test has called a tool that writes"
    assert {key: times for key, times in WRITES.items() if times > 1} == {}


class FakeClock:
    """A clock that only its own sleepers move."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def call_policies(self, chance: float = 0.0) -> CallPolicies:
        """Return policies that go by this clock."""

        async def sleep(seconds: float) -> None:
            self.slept.append(round(seconds, 6))
            self.seconds += seconds
            await asyncio.sleep(0)

        return CallPolicies(Clock(now=lambda: self.seconds, sleep=sleep, chance=lambda: chance))


_numbers = itertools.count()


class World:
    """Tools that fail in one way each, and how often they were reached."""

    def __init__(self, way: str, kind: str) -> None:
        self.calls: Counter[str] = Counter()
        self.let_go = threading.Event()
        self._way = way
        self._kind = kind
        self._number = next(_numbers)
        self._is_written = True

    def tool(self, name: str = "work") -> BaseTool:
        """Return a tool that writes; it counts before it does anything."""

        def begin(key: str) -> int:
            WRITES[f"{self._number} {key}"] += self._is_written
            self.calls[key] += 1
            return self.calls[key]

        def work(key: str) -> Any:
            """Do something."""
            times = begin(key)
            if self._way == "hangs":
                self.let_go.wait(SECONDS)
            if self._way == "late":
                self.let_go.wait(0.3)
            return self._end(key, times)

        async def awork(key: str) -> Any:
            """Do something."""
            times = begin(key)
            if self._way == "hangs":
                await asyncio.sleep(60)
            if self._way == "late":
                await asyncio.sleep(0.3)
            return self._end(key, times)

        if self._kind == "sync":
            return StructuredTool.from_function(work, name=name)
        return StructuredTool.from_function(coroutine=awork, name=name, description="Do something.")

    def _end(self, key: str, times: int) -> Any:
        if self._way == "raises":
            raise ConnectionError(f"lost {key} to db.internal:5432")
        if self._way == "garbage":
            return Garbage
        if self._way == "twice" and times < 3:
            raise ConnectionError(f"not yet {key}")
        return {"calls": times}

    def read_only(self) -> World:
        """Count nothing as written: these tools only read."""
        self._is_written = False
        return self


def executor(
    tools: Any, policy: ToolPolicy | None = None, *, name: str = "work", **options: Any
) -> ProgrammaticToolExecutor:
    """Return an executor over tools, with a policy for one of them."""
    policies = None if policy is None else {name: policy}
    catalog = ToolCatalog(tools, policies=policies)
    return ProgrammaticToolExecutor(catalog, sandbox=InProcessSandbox(), **options)


CATCH = """\
try:
    print("got", await work(key={key!r}))
except ToolCallError as error:
    print(error)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the code is told of a tool that fails in one way."""

    way: str
    told: str
    status: str
    retried: str = ""
    """What it is told when the tool may be called again; the same if empty."""


TOLD = [
    Told(way="raises", told="failed: ConnectionError: lost k to db.internal:5432", status="failed",
         retried="failed: ConnectionError: lost k to db.internal:5432 (tried 3 times)"),
    Told(way="hangs", told="did not answer within 0.1 seconds; it may still take effect",
         status="failed", retried="did not answer within 0.1 seconds (tried 3 times)"),
    Told(way="late", told="did not answer within 0.1 seconds; it may still take effect",
         status="failed", retried="did not answer within 0.1 seconds (tried 3 times)"),
    Told(way="garbage", told="cannot be used", status="failed"),
    Told(way="twice", told="failed: ConnectionError: not yet k", status="failed",
         retried="got {'calls': 3}"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.way)
async def test_a_tool_that_writes_is_called_once_whatever_it_does(case: Told, kind: str) -> None:
    """A tool that writes is called once; how it failed is an error that the code can catch."""
    world = World(case.way, kind)
    run = executor([world.tool()], ToolPolicy(timeout_seconds=0.1, breaker=Breaker()))
    result = await run.aexecute(CATCH.format(key="k"))
    world.let_go.set()
    assert result.status == "success"
    assert case.told in result.output
    assert world.calls == {"k": 1}
    (call,) = result.tool_calls
    assert (call.status, call.attempts) == (case.status, 1)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.way)
async def test_a_tool_that_only_reads_is_tried_again(case: Told, kind: str) -> None:
    """A tool that only reads is called again, as often as its policy says and no more."""
    world = World(case.way, kind).read_only()
    policy = ToolPolicy(read_only=True, timeout_seconds=0.1, retry=QUICK)
    result = await executor([world.tool()], policy).aexecute(CATCH.format(key="k"))
    world.let_go.set()
    assert (case.retried or case.told) in result.output
    tries = 1 if case.way == "garbage" else 3
    assert world.calls == {"k": tries}
    assert result.tool_calls[0].attempts == tries


# --- an MCP server ------------------------------------------------------------------------------------


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[ToolCatalog]:
    """A server whose tools fail in every way."""
    pytest.importorskip("langchain_mcp_adapters")
    server = {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(SERVERS / "failing.py"), str(tmp_path / "babbled")],
    }
    async with ToolCatalog.from_mcp({"failing": server}) as catalog:
        yield catalog


MCP = """\
for way in ("raises", "hangs", "late", "twice"):
    try:
        print(way, await misbehave(way=way, key=way))
    except ToolCallError as error:
        print(way, error)
print([(await count(key=way))["calls"] for way in ("raises", "hangs", "late", "twice")])
"""


async def test_an_mcp_tool_that_writes_is_called_once(failing: ToolCatalog) -> None:
    """What a server does wrong is an error at the call, and no call is made twice."""
    result = await _over_mcp(failing, ToolPolicy(timeout_seconds=0.2))
    lines = result.output.splitlines()
    assert lines[0] == "raises failing.misbehave failed: Error executing tool misbehave: no raises"
    assert lines[1].startswith("hangs failing.misbehave did not answer within 0.2 seconds")
    assert lines[2].startswith("late failing.misbehave did not answer within 0.2 seconds")
    assert lines[3].startswith("twice failing.misbehave failed: ")
    assert lines[4] == "[1, 1, 1, 1]"


async def test_an_mcp_tool_that_may_be_called_again_is(failing: ToolCatalog) -> None:
    """With `on`, even what the server answers by itself is tried again."""
    policy = ToolPolicy(idempotent=True, timeout_seconds=0.2, retry=EAGER)
    result = await _over_mcp(failing, policy)
    lines = result.output.splitlines()
    assert lines[3] == "twice {'calls': 3}"
    assert lines[4] == "[3, 3, 3, 3]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Babble:
    """What the code is told of a server that says what the protocol does not allow."""

    way: str
    told: str


BABBLE = [
    Babble(way="noise", told="noise answered"),
    Babble(way="bytes", told="the MCP server 'failing' is gone (UnicodeDecodeError"),
    Babble(way="dies", told="the MCP server 'failing' is gone"),
]
BABBLED = """\
for way in ({way!r}, "fine"):
    try:
        print(await babble(way=way, key=way))
    except ToolCallError as error:
        print(error)
"""


@pytest.mark.parametrize("case", BABBLE, ids=lambda case: case.way)
async def test_a_server_that_returns_garbage_harms_no_other_call(
    case: Babble, failing: ToolCatalog, tmp_path: Path
) -> None:
    """Garbage on the wire is passed over or is an error at its call; the next call is answered."""
    result = await _over_mcp(
        failing, ToolPolicy(), tool="babble", code=BABBLED.format(way=case.way)
    )
    first, second = result.output.splitlines()
    assert case.told in first
    assert second == "fine answered"
    assert (tmp_path / "babbled").read_text().split() == [case.way, "fine"]


async def _over_mcp(
    catalog: ToolCatalog, policy: ToolPolicy, *, tool: str = "misbehave", code: str = MCP
) -> ExecutionResult:
    definitions = ToolCatalog(list(catalog), policies={f"failing.{tool}": policy})
    run = ProgrammaticToolExecutor(definitions, sandbox=InProcessSandbox())
    return await run.aexecute(code)


# --- what a policy may not say ------------------------------------------------------------------------


@pytest.mark.parametrize("part", [{"retry": Retry()}, {"cache": Cache()}], ids=["retry", "cache"])
def test_repeating_needs_a_word_that_it_may_be(part: dict[str, Any]) -> None:
    """Retries and kept results are refused for tools that do not say that they may be."""
    with pytest.raises(ValueError, match="pass read_only=True or idempotent=True"):
        ToolPolicy(**part)
    assert ToolPolicy(read_only=True, **part)
    assert ToolPolicy(idempotent=True, **part)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda: Retry(attempts=1), "Retry.attempts .* from 2, got 1", id="attempts"),
        pytest.param(lambda: Retry(wait_seconds=0), "Retry.wait_seconds", id="wait"),
        pytest.param(lambda: Retry(on=ValueError), "Retry.on must be a tuple", id="on"),  # type: ignore[arg-type]
        pytest.param(lambda: Breaker(failures=0), "Breaker.failures", id="failures"),
        pytest.param(lambda: Breaker(reset_seconds=float("inf")), "Breaker.reset", id="reset"),
        pytest.param(lambda: Cache(seconds=-1), "Cache.seconds", id="cache-seconds"),
        pytest.param(lambda: Cache(scope="all"), "Cache.scope must be", id="scope"),  # type: ignore[arg-type]
        pytest.param(lambda: Cache(key="id"), "Cache.key must be a function", id="key"),  # type: ignore[arg-type]
        pytest.param(lambda: RateLimit(calls=0), "RateLimit.calls", id="calls"),
        pytest.param(lambda: ToolPolicy(total_seconds=0), "ToolPolicy.total_seconds", id="total"),
        pytest.param(
            lambda: ToolPolicy(max_concurrent_calls=0), "max_concurrent_calls", id="concurrent"
        ),
        pytest.param(
            lambda: executor([World("", "sync").tool()], on_tool_error="all"),
            "on_tool_error must be 'message', 'type' or 'hide', got 'all'",
            id="on_tool_error",
        ),
    ],
)
def test_wrong_numbers_are_told_at_once(make: Callable[[], object], told: str) -> None:
    """What a policy cannot mean is a `ValueError` that names the field and the value."""
    with pytest.raises(ValueError, match=told):
        make()


# --- retries ------------------------------------------------------------------------------------------


async def test_pauses_double_and_have_an_end() -> None:
    """The pause doubles from try to try, with some chance in it, up to the longest one."""
    clock, world = FakeClock(), World("raises", "async").read_only()
    retry = Retry(attempts=5, wait_seconds=1.0, max_wait_seconds=5.0, jitter_seconds=0.5)
    run = executor(
        [world.tool()],
        ToolPolicy(read_only=True, retry=retry),
        call_policies=clock.call_policies(chance=0.5),
    )
    result = await run.aexecute(CATCH.format(key="k"))
    assert clock.slept == [1.25, 2.25, 4.25, 5.0]
    assert result.tool_calls[0].attempts == 5


async def test_no_try_begins_that_has_no_time() -> None:
    """The time of a call is for all its tries: a pause that would use it up is not made."""
    clock, world = FakeClock(), World("raises", "async").read_only()
    retry = Retry(attempts=9, wait_seconds=1.0, max_wait_seconds=60.0, jitter_seconds=0.0)
    policy = ToolPolicy(read_only=True, retry=retry, total_seconds=5.0)
    result = await executor([world.tool()], policy, call_policies=clock.call_policies()).aexecute(
        CATCH.format(key="k")
    )
    assert clock.slept == [1.0, 2.0]  # a third pause of 4 would end after 7 seconds
    assert result.tool_calls[0].attempts == 3


async def test_only_what_the_policy_names_is_tried_again() -> None:
    """A `ToolException` is the tool's own answer; wrong arguments are wrong again."""
    calls: Counter[str] = Counter()

    @tool
    async def work(key: str, size: int = 1) -> str:
        """Fail."""
        calls[key] += 1
        if key == "answer":
            raise ToolException("no such user")
        raise KeyError(key) if key == "key" else ConnectionError(key)

    code = """\
for key in ("answer", "key", "lost"):
    try:
        await work(key=key)
    except ToolCallError as error:
        print(error)
try:
    await work(**{"key": "bad", "size": "x"})
except ToolCallError as error:
    print(error)
"""
    policy = ToolPolicy(read_only=True, retry=QUICK)
    result = await executor([work], policy, check="off").aexecute(code)
    assert calls == {"answer": 1, "key": 3, "lost": 3}
    assert result.output.splitlines()[0] == "work failed: no such user"
    assert "bad arguments: size" in result.output
    assert [c.attempts for c in result.tool_calls] == [1, 3, 3, 0]
    assert [c.status for c in result.tool_calls] == ["failed", "failed", "failed", "refused"]

    named = Retry(
        attempts=3,
        wait_seconds=0.001,
        max_wait_seconds=0.001,
        jitter_seconds=0.0,
        on=(ToolException, KeyError),
    )
    calls.clear()
    await executor([work], ToolPolicy(read_only=True, retry=named), check="off").aexecute(code)
    assert calls == {"answer": 3, "key": 3, "lost": 1}


# --- the breaker --------------------------------------------------------------------------------------


class Patient:
    """A tool that fails until it is healed, or hangs."""

    def __init__(self) -> None:
        self.is_ill = True
        self.hangs = False
        self.calls = 0

    def tool(self) -> BaseTool:
        """Return the tool."""

        async def work(key: str) -> str:
            """Do something."""
            self.calls += 1
            if self.hangs:
                await asyncio.sleep(60)
            if self.is_ill:
                raise ConnectionError("down")
            return key

        return StructuredTool.from_function(coroutine=work, description="Do something.")


ONCE = CATCH.format(key="k")


async def test_a_breaker_opens_and_closes_again() -> None:
    """After failures in a row the tool is left alone, and tried by one call when the time is up."""
    clock, patient = FakeClock(), Patient()
    policy = ToolPolicy(breaker=Breaker(failures=3, reset_seconds=30))
    run = executor([patient.tool()], policy, call_policies=clock.call_policies())
    for _ in range(3):
        await run.aexecute(ONCE)
    open_ = await run.aexecute(ONCE)
    assert patient.calls == 3
    assert "has failed 3 times in a row, and is left alone for another 30 seconds" in open_.output
    assert (open_.tool_calls[0].status, open_.tool_calls[0].breaker) == ("refused", "open")

    clock.seconds += 31
    failed = await run.aexecute(ONCE)
    assert failed.tool_calls[0].breaker == "half_open"
    assert (await run.aexecute(ONCE)).tool_calls[0].breaker == "open"

    clock.seconds += 31
    patient.is_ill = False
    assert (await run.aexecute(ONCE)).output == "got k\n"
    assert (await run.aexecute(ONCE)).tool_calls[0].breaker == "closed"
    assert patient.calls == 6


async def test_a_probe_that_hangs_does_not_keep_the_breaker_half_open() -> None:
    """Of calls side by side one probes; when it hangs, another may when the time is up again."""
    clock, patient = FakeClock(), Patient()
    policy = ToolPolicy(breaker=Breaker(failures=1, reset_seconds=30))
    guards = clock.call_policies()
    run = executor([patient.tool()], policy, call_policies=guards)
    await run.aexecute(ONCE)
    clock.seconds += 31
    patient.hangs = True
    hanging = asyncio.ensure_future(run.aexecute(ONCE))
    while patient.calls < 2:
        await asyncio.sleep(0.005)
    assert (await run.aexecute(ONCE)).tool_calls[0].breaker == "open"
    clock.seconds += 31
    patient.hangs = patient.is_ill = False
    assert (await run.aexecute(ONCE)).output == "got k\n"
    hanging.cancel()
    await asyncio.wait([hanging])
    assert (await run.aexecute(ONCE)).tool_calls[0].breaker == "closed"


async def test_a_probe_that_is_cancelled_lets_the_next_one_probe() -> None:
    """An execution that ends during its probe has found out nothing, so the next call may."""
    clock, patient = FakeClock(), Patient()
    policy = ToolPolicy(breaker=Breaker(failures=1, reset_seconds=30))
    run = executor([patient.tool()], policy, call_policies=clock.call_policies())
    await run.aexecute(ONCE)
    clock.seconds += 31
    patient.hangs = True
    hanging = asyncio.ensure_future(run.aexecute(ONCE))
    while patient.calls < 2:
        await asyncio.sleep(0.005)
    hanging.cancel()
    await asyncio.wait([hanging])
    patient.hangs = patient.is_ill = False
    assert (await run.aexecute(ONCE)).tool_calls[0].breaker == "half_open"


async def test_answers_of_a_tool_do_not_open_its_breaker() -> None:
    """A `ToolException` and refused arguments say nothing against the tool."""

    @tool
    async def work(key: int) -> str:
        """Fail."""
        raise ToolException("no such user")

    run = executor([work], ToolPolicy(breaker=Breaker(failures=1)), check="off")
    for key, state in (("1", "closed"), ("'x'", None), ("2", "closed")):
        result = await run.aexecute(f"await work(key={key})")
        assert result.tool_calls[0].breaker == state  # refused arguments do not come that far


# --- kept results -------------------------------------------------------------------------------------


def counting() -> tuple[Counter[str], BaseTool]:
    """Return a tool that counts its calls by key, and the count."""
    calls: Counter[str] = Counter()

    @tool
    async def work(key: str, at: int = 0) -> dict[str, int]:
        """Count."""
        calls[key] += 1
        return {"calls": calls[key]}

    return calls, work


async def test_results_are_kept_for_their_time_and_scope() -> None:
    """A result is used again by whom it is for, for as long as it may be."""
    clock = FakeClock()
    code = "print((await work(key='k'))['calls'], (await work(key='k'))['calls'])"
    expected = {"execution": ["1 1", "2 2", "3 3"], "executor": ["1 1", "1 1", "2 2"]}
    for scope, printed in expected.items():
        _, work = counting()
        policy = ToolPolicy(read_only=True, cache=Cache(seconds=60, scope=scope))  # type: ignore[arg-type]
        run = executor([work], policy, call_policies=clock.call_policies())
        found = [(await run.aexecute(code)).output.strip()]
        clock.seconds += 59
        found.append((await run.aexecute(code)).output.strip())
        clock.seconds += 2
        result = await run.aexecute(code)
        found.append(result.output.strip())
        assert found == printed
        assert [c.is_cache_hit for c in result.tool_calls] == [False, True]
        assert [c.attempts for c in result.tool_calls] == [1, 0]


async def test_threads_of_a_graph_do_not_share_results() -> None:
    """By default a result is for the thread that asked: threads are persons."""
    calls, work = counting()
    run = executor([work], ToolPolicy(read_only=True, cache=Cache()))
    for thread in ("a", "b", "a"):
        await run.aexecute("await work(key='k')", config={"configurable": {"thread_id": thread}})
    assert calls == {"k": 2}


async def test_calls_with_one_key_are_one_call() -> None:
    """The developer says what calls with the same result have in common; failures are not kept."""
    calls, work = counting()
    cache = Cache(key=lambda arguments: arguments["key"], scope="executor")
    run = executor([work], ToolPolicy(idempotent=True, cache=cache))
    await run.aexecute("await work(key='k', at=1); await work(key='k', at=2); await work(key='x')")
    assert calls == {"k": 1, "x": 1}

    world = World("raises", "async").read_only()
    run = executor([world.tool()], ToolPolicy(read_only=True, cache=Cache(scope="executor")))
    await run.aexecute(ONCE)
    await run.aexecute(ONCE)
    assert world.calls == {"k": 2}


async def test_code_cannot_change_what_is_kept() -> None:
    """A kept result crosses by copy each time."""
    _, work = counting()
    run = executor([work], ToolPolicy(read_only=True, cache=Cache(scope="executor")))
    await run.aexecute("r = await work(key='k'); r['calls'] = 99")
    assert (await run.aexecute("print((await work(key='k'))['calls'])")).output == "1\n"


async def test_the_least_used_results_go_first() -> None:
    """What is kept has a size."""
    calls, work = counting()
    cache = Cache(scope="executor", max_bytes=2_000)
    run = executor([work], ToolPolicy(read_only=True, cache=cache))
    await run.aexecute("for k in 'abcd': await work(key=k)")
    await run.aexecute("await work(key='d'); await work(key='a')")
    assert calls == {"a": 2, "b": 1, "c": 1, "d": 1}


# --- how often, how many ------------------------------------------------------------------------------


async def test_no_more_begin_in_any_stretch_of_time_than_may() -> None:
    """Tries wait for their time, in the order in which they came, over all executions."""
    clock, times = FakeClock(), []

    @tool
    async def work(key: str) -> None:
        """Note the time."""
        times.append(round(clock.seconds - 1000, 3))

    policy = ToolPolicy(rate_limit=RateLimit(calls=2, seconds=10))
    run = executor([work], policy, call_policies=clock.call_policies())
    code = "for k in 'abc': await work(key=k)"
    waited = []
    for _ in range(2):
        result = await run.aexecute(code)
        waited += [round(c.waited_seconds) for c in result.tool_calls]
    assert times == [0, 0, 10, 10, 20, 20]


async def test_an_execution_that_ends_gives_its_times_back() -> None:
    """Calls that are cancelled while they wait for their time do not keep others waiting."""
    clock = FakeClock()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.Event().wait()

    guards = CallPolicies(Clock(now=lambda: clock.seconds, sleep=sleep))
    _, work = counting()
    run = executor(
        [work], ToolPolicy(rate_limit=RateLimit(calls=1, seconds=10)), call_policies=guards
    )
    many = "import asyncio\nawait asyncio.gather(*[work(key=str(k)) for k in range(20)])"
    waiting = asyncio.ensure_future(run.aexecute(many))
    while len(waits) < 19:
        await asyncio.sleep(0.001)
    assert max(waits) == 190
    waiting.cancel()
    await asyncio.wait([waiting])
    clock.seconds += 10
    assert (await run.aexecute("await work(key='next')")).status == "success"
    assert len(waits) == 19


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_more_are_on_their_way_than_may(kind: str) -> None:
    """Executions on many event loops together have no more calls on their way than the policy says."""
    lock, now, most = threading.Lock(), 0, 0

    def enter(step: int) -> None:
        nonlocal now, most
        with lock:
            now += step
            most = max(most, now)

    def work(key: str) -> str:
        """Be there for a moment."""
        enter(1)
        time.sleep(0.005)
        enter(-1)
        return key

    async def awork(key: str) -> str:
        """Be there for a moment."""
        enter(1)
        await asyncio.sleep(0.005)
        enter(-1)
        return key

    made = (
        StructuredTool.from_function(work)
        if kind == "sync"
        else StructuredTool.from_function(coroutine=awork, name="work", description="Be there.")
    )
    run = executor([made], ToolPolicy(max_concurrent_calls=3))
    code = "import asyncio\nprint(len(await asyncio.gather(*[work(key=str(k)) for k in range(8)])))"
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda: outputs.append(asyncio.run(run.aexecute(code)).output))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert outputs == ["8\n"] * 4
    assert 2 <= most <= 3


class Strained:
    """A tool that breaks when more than two calls are on their way at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0

    def tool(self, kind: str) -> BaseTool:
        """Return the tool, synchronous or asynchronous."""

        def work(key: str) -> str:
            """Fail under load."""
            self._begin()
            time.sleep(0.02)
            return self._end(key)

        async def awork(key: str) -> str:
            """Fail under load."""
            self._begin()
            await asyncio.sleep(0.02)
            return self._end(key)

        if kind == "sync":
            return StructuredTool.from_function(work, name="strain")
        return StructuredTool.from_function(coroutine=awork, name="strain", description="Fail.")

    def _begin(self) -> None:
        with self._lock:
            self._now += 1

    def _end(self, key: str) -> str:
        with self._lock:
            is_too_much = self._now > 2
            self._now -= 1
        if is_too_much:
            raise ConnectionError("too many connections")
        return key


STRAIN = """\
import asyncio
done = await asyncio.gather(*[strain(key=str(k)) for k in range(12)], return_exceptions=True)
print(sum(isinstance(d, str) for d in done))
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_tool_that_fails_only_under_load_works_behind_a_gate(kind: str) -> None:
    """What breaks with many calls at once does not with a concurrency limit."""
    policy = ToolPolicy(max_concurrent_calls=2)
    free = await executor([Strained().tool(kind)]).aexecute(STRAIN)
    gated = await executor([Strained().tool(kind)], policy, name="strain").aexecute(STRAIN)
    assert int(free.output) < 12
    assert gated.output == "12\n"
    assert all(call.attempts == 1 for call in (*free.tool_calls, *gated.tool_calls))


async def test_an_mcp_tool_that_fails_only_under_load_works_behind_a_gate(
    failing: ToolCatalog,
) -> None:
    """A server that breaks with many calls at once does not with a concurrency limit."""
    free = await _over_mcp(failing, ToolPolicy(), tool="strain", code=STRAIN)
    gated = await _over_mcp(failing, ToolPolicy(max_concurrent_calls=2), tool="strain", code=STRAIN)
    assert int(free.output) < 12
    assert gated.output == "12\n"


# --- hooks, and what is told ----------------------------------------------------------------------------


async def test_hooks_see_each_call_and_may_refuse_it() -> None:
    """`before` refuses by raising; `after` returns what the code gets; both may be asynchronous."""
    calls, work = counting()
    seen: list[ToolCallInfo] = []

    async def before(call: ToolCallInfo) -> None:
        seen.append(call)
        if call.arguments["key"] == "secret":
            raise ToolException("not for you")

    def after(call: ToolCallInfo, value: Any) -> Any:
        return {"calls": value["calls"] * 100}

    code = CATCH.format(key="k") + CATCH.format(key="secret")
    result = await executor([work], ToolPolicy(before=before, after=after)).aexecute(code)
    assert result.output == "got {'calls': 100}\nwork failed: not for you\n"
    assert calls == {"k": 1}
    assert [c.status for c in result.tool_calls] == ["returned", "refused"]
    assert [info.tool for info in seen] == ["work", "work"]
    assert {info.execution_id for info in seen} == {result.execution_id}


async def test_a_hook_that_breaks_after_the_call_says_that_it_took_effect() -> None:
    """The call is recorded as failed, not as refused: its tool was reached."""
    _, work = counting()

    def after(call: ToolCallInfo, value: Any) -> Any:
        raise LookupError("host secret")

    run = executor([work], ToolPolicy(after=after), on_tool_error="hide")
    result = await run.aexecute(CATCH.format(key="k"))
    assert result.output == "work failed\n"
    assert result.tool_calls[0].status == "failed"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            "message",
            ["work failed: ConnectionError: lost k to db.internal:5432", "say failed: sorry"],
        ),
        ("type", ["work failed: ConnectionError", "say failed: sorry"]),
        ("hide", ["work failed", "say failed"]),
    ],
)
async def test_the_code_is_told_what_the_developer_wants(how: Any, told: list[str]) -> None:
    """Of what a tool raises the code learns the text, the class, or nothing; never the object."""

    @tool
    def say() -> None:
        """Say sorry."""
        raise ToolException("sorry")

    code = CATCH.format(key="k") + "try:\n    await say()\nexcept ToolCallError as error:\n"
    code += "    print(error, error.__cause__, error.__context__)\n"
    world = World("raises", "async")
    result = await executor([world.tool(), say], on_tool_error=how).aexecute(code)
    assert result.output.splitlines() == [told[0], f"{told[1]} None None"]
    if how != "message":
        assert "db.internal" not in str(result.to_dict())


# --- interrupts, journal --------------------------------------------------------------------------------


async def test_an_interrupt_passes_through_all_of_it() -> None:
    """A question of a tool is no failure: it is not tried again, not timed, and opens no breaker."""
    asked, read = 0, Counter[str]()

    @tool
    async def ask(key: str) -> str:
        """Ask a person."""
        nonlocal asked
        asked += 1
        return str(interrupt({"question": key}))

    @tool
    async def look(key: str) -> int:
        """Fail once."""
        read[key] += 1
        if read[key] < 2:
            raise ConnectionError(key)
        return read[key]

    every: dict[str, Any] = {
        "retry": EAGER,
        "breaker": Breaker(failures=2, on=(Exception,)),
        "cache": Cache(),
        "rate_limit": RateLimit(calls=100),
        "max_concurrent_calls": 2,
        "timeout_seconds": 20.0,
    }
    policies = {name: ToolPolicy(read_only=True, **every) for name in ("ask", "look")}
    middleware = ProgrammaticToolCallingMiddleware(policies=policies, sandbox=InProcessSandbox())
    code = "print(await look(key='a'), await ask(key='q'), await look(key='b'))"
    agent = create_agent(
        ScriptedChatModel(script=[tool_call_message("run_code", {"code": code}), "done"]),
        [ask, look],
        middleware=[middleware],
        checkpointer=InMemorySaver(),
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    paused = await agent.ainvoke({"messages": [("user", "go")]}, config)
    assert [i.value for i in paused["__interrupt__"]] == [{"question": "q"}]
    done = await agent.ainvoke(Command(resume="yes"), config)
    assert output(done) == "2 yes 2"
    assert (asked, read) == (2, {"a": 2, "b": 2})


# --- all at once ----------------------------------------------------------------------------------------

LOAD = """\
import asyncio

async def one(name, key):
    try:
        await {"write": write, "read": read, "block": block}[name](key=key)
        return 1
    except ToolCallError:
        return 0

names = ["write", "read", "block", "write", "read"]
print(sum(await asyncio.gather(*[one(name, f"{n}") for n, name in enumerate(names)])))
"""


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_200_executions_with_faults_lose_no_call() -> None:
    """With faults in a fifth of the calls, every call of every execution is accounted for."""
    chance, lock = random.Random(5), threading.Lock()
    reached: Counter[str] = Counter()

    def fault(name: str) -> str:
        with lock:
            reached[name] += 1
            is_faulty = chance.random() < 0.2
            way = chance.choice(["raises", "tool", "garbage", "hangs"])
        if is_faulty and way == "raises":
            raise ConnectionError(name)
        if is_faulty and way == "tool":
            raise ToolException(name)
        return way if is_faulty else ""

    async def work(name: str) -> Any:
        way = fault(name)
        await asyncio.sleep(60 if way == "hangs" else 0.001)
        return Garbage if way == "garbage" else name

    @tool
    async def write(key: str) -> Any:
        """Write."""
        return await work("write")

    @tool
    async def read(key: str) -> Any:
        """Read."""
        return await work("read")

    @tool
    def block(key: str) -> Any:
        """Write, synchronously."""
        way = fault("block")
        time.sleep(0.12 if way == "hangs" else 0.0)
        return Garbage if way == "garbage" else key

    policies = {
        "write": ToolPolicy(timeout_seconds=0.5, max_concurrent_calls=50),
        "block": ToolPolicy(timeout_seconds=5.0),
        "read": ToolPolicy(read_only=True, timeout_seconds=0.5, retry=QUICK),
    }
    catalog = ToolCatalog([write, read, block], policies=policies)
    run = ProgrammaticToolExecutor(catalog)
    turns = asyncio.Semaphore(200)

    async def one() -> ExecutionResult:
        async with turns:
            return await run.aexecute(LOAD)

    results = await asyncio.gather(*[one() for _ in range(200)])
    assert {result.status for result in results} == {"success"}
    calls = [call for result in results for call in result.tool_calls]
    assert len(calls) == 200 * 5
    assert all(call.status in ("returned", "failed", "refused") for call in calls)
    for result in results:
        returned = sum(call.status == "returned" for call in result.tool_calls)
        assert int(result.output) == returned
        assert all((c.error is None) == (c.status == "returned") for c in result.tool_calls)
    assert reached["write"] == _tries(calls, "write") == 400
    assert reached["block"] == _tries(calls, "block") == 200
    assert reached["read"] == _tries(calls, "read") > 400
    assert (await run.aexecute("print(1)")).output == "1\n"


def _tries(calls: list[ToolCallRecord], name: str) -> int:
    return sum(call.attempts for call in calls if call.tool == name)


async def test_limits_of_an_execution_hold_over_the_policies() -> None:
    """`Limits.tool_seconds` is for the whole call, and is named when it is what ends it."""
    world = World("hangs", "async").read_only()
    policy = ToolPolicy(read_only=True, retry=QUICK, timeout_seconds=9.0)
    run = executor([world.tool()], policy, limits=Limits(tool_seconds=0.1))
    result = await run.aexecute("await work(key='k')")
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.allowed) == ("tool_seconds", 0.1)
    assert world.calls == {"k": 1}
