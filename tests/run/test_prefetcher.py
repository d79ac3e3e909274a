"""Calls that begin before the code makes them: what is claimed, what is dropped, and what never begins."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, interrupt

from langchain_ptc import (
    Breaker,
    Budget,
    Cache,
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    RateLimit,
    Retry,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.run.prefetcher import MAX_EARLY_CALLS

READS = ToolPolicy(read_only=True)
SECONDS = 20.0
"""What waits for something that does not come fails by then."""


class World:
    """Tools over some values that a program can read and write."""

    def __init__(self, together: int = 0) -> None:
        self.values: dict[str, Any] = {"a": 1, "b": 2}
        self.calls: list[str] = []
        self.cancelled: list[str] = []
        self.in_flight = self.most = 0
        self.barrier = asyncio.Barrier(together) if together else None

    async def read(self, key: str) -> Any:
        """Read a value."""
        self.calls.append(f"read {key}")
        return self.values.get(key)

    async def write(self, key: str, value: int) -> str:
        """Write a value."""
        self.calls.append(f"write {key}")
        self.values[key] = value
        return "written"

    async def count(self) -> int:
        """Return how often this was called."""
        self.calls.append("count")
        return self.calls.count("count")

    async def meet(self, key: str) -> str:
        """Return when enough calls are in flight."""
        self.calls.append(f"meet {key}")
        assert self.barrier is not None
        async with asyncio.timeout(SECONDS):
            await self.barrier.wait()
        return f"met {key}"

    async def busy(self, key: str) -> str:
        """Note how many calls run at once."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.005)
        self.in_flight -= 1
        return key

    async def hang(self, key: str) -> str:
        """Never return."""
        self.calls.append(f"hang {key}")
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        return key

    async def flaky(self, key: str) -> str:
        """Fail when it is called first."""
        self.calls.append(f"flaky {key}")
        if self.calls.count(f"flaky {key}") == 1:
            raise ConnectionError(f"lost {key}")
        return f"got {key}"

    def executor(self, prefetch: Any = "calls", **options: Any) -> ProgrammaticToolExecutor:
        functions = [self.read, self.write, self.count, self.meet, self.busy, self.hang, self.flaky]
        tools = [StructuredTool.from_function(coroutine=f, name=f.__name__) for f in functions]
        policies = {t.name: READS for t in tools if t.name != "write"}
        policies |= options.pop("policies", {})
        catalog = ToolCatalog(tools, policies=policies)
        return ProgrammaticToolExecutor(catalog, prefetch=prefetch, **options)


async def run(world: World, code: str, prefetch: str = "calls", **options: Any) -> ExecutionResult:
    """Run a program; for `stream` all of it is fed before it runs."""
    executor = world.executor(prefetch, **options)
    prefetcher = None
    if prefetch == "stream":
        prefetcher = executor.prefetch()
        for line in code.splitlines(keepends=True):
            prefetcher.feed(line)
            await asyncio.sleep(0.01)
    return await executor.aexecute(code, prefetcher=prefetcher)


# --- what is claimed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "for k in 'wxyz':\n    print(await meet(k))",
        "w = await meet('w')\nx = await meet('x')\ny = await meet('y')\nprint(w, x, y, await meet('z'), sep='\\n')",
        "import asyncio\nasync def main():\n    for k in 'wxyz':\n        print(await meet(k))\nawait main()",
        "async def one(k):\n    return await meet(k)\nfor k in 'wxyz':\n    print(await one(k))",
        "for k in 'wxyz':\n    print(meet(k))",
        "print(await meet('w'))\nprint(await meet('x'))\nprint(*[await meet(k) for k in 'yz'], sep='\\n')",
        "with_all = {k: await meet(k) for k in 'wxyz'}\nfor m in with_all.values():\n    print(m)",
    ],
    ids=["loop", "lines", "main", "helper", "sync", "mixed", "comprehension"],
)
async def test_calls_of_a_serial_program_are_in_flight_together(code):
    """Four calls that the code makes one after another meet, which without prefetching they never do."""
    result = await run(World(together=4), code)
    assert result.output == "met w\nmet x\nmet y\nmet z\n"
    assert result.prefetch is not None
    assert result.prefetch.hits + result.prefetch.misses == 4


async def test_calls_of_a_function_that_depend_on_a_result_that_is_there():
    """A loop that is written when what it goes through is already known makes its calls together, by a function too."""
    world = World(together=3)
    world.values["keys"] = "xyz"
    executor = world.executor("stream")
    prefetcher = executor.prefetch()
    code = "async def one(k):\n    return await meet(k)\nfor k in await read('keys'):\n"
    prefetcher.feed(code)
    await wait_for(lambda: world.calls)
    await asyncio.sleep(
        0.1
    )  # until its result is there; sooner, this would show less, and not fail
    rest = "    print(await one(k))\nprint('ended')\n"
    prefetcher.feed(rest)
    await wait_for(lambda: len(world.calls) == 4)
    result = await executor.aexecute(code + rest, prefetcher=prefetcher)
    assert result.output == "met x\nmet y\nmet z\nended\n"
    assert len(world.calls) == 4


@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_equal_calls_are_as_many_calls(prefetch):
    """A tool that counts gives a program the same numbers, and is called as often."""
    world = World()
    result = await run(world, "for _ in range(5):\n    print(await count())", prefetch)
    assert result.output == "1\n2\n3\n4\n5\n"
    assert world.calls == ["count"] * 5


@pytest.mark.parametrize("attempts", [1, 2], ids=["no retry", "retries"])
async def test_a_failure_is_not_claimed(attempts):
    """What failed early is called again by the program, with as many tries as its policy has."""
    world = World()
    retry = Retry(attempts=2, wait_seconds=0.001) if attempts == 2 else None
    policy = ToolPolicy(read_only=True, retry=retry)
    executor = world.executor("stream", policies={"flaky": policy})
    prefetcher = executor.prefetch()
    code = "print(await flaky('x'))\nprint('ended')\n"
    prefetcher.feed(code)
    await wait_for(lambda: len(world.calls) == attempts)
    result = await executor.aexecute(code, prefetcher=prefetcher)
    assert result.output == "got x\nended\n"
    assert [call.attempts for call in result.tool_calls] == [attempts]


async def test_record_of_a_call_that_began_early():
    """It says when the call began, how long before the code made it, and how long it took."""
    result = await run(World(), "print(await read('a'))\nprint('more')\n", "stream")
    (call,) = result.tool_calls
    assert call.started_at < result.started_at
    assert call.ahead_seconds > 0.001
    assert 0 <= call.duration_seconds < call.ahead_seconds
    assert (call.status, call.attempts, call.line) == ("returned", 1, 1)
    assert result.prefetch is not None
    assert (result.prefetch.hits, result.prefetch.misses, result.prefetch.wasted) == (1, 0, 0)
    assert result.prefetch.hidden_seconds == call.duration_seconds - call.waited_seconds
    assert ExecutionResult.from_dict(result.to_dict()).prefetch == result.prefetch


async def test_variables_of_a_session():
    """Parts of a program start with the variables that the program starts with."""
    world = World(together=2)
    executor = world.executor()
    first = await executor.start("keys = ['x', 'y']", kept=b"").arun()
    second = await executor.start(
        "for k in keys:\n    print(await meet(k))", kept=first.kept
    ).arun()
    assert second.result.output == "met x\nmet y\n"


# --- what is dropped ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "print(await read('a'))\nawait write('a', 7)\nprint(await read('a'))",
        "for n in (7, 8):\n    before = await read('a')\n    await write('a', n)\n    print(before, await read('a'))",
        "async def put(n):\n    await write('a', n)\nprint(await read('a'))\nawait put(5)\nprint(await read('a'))",
        "x = await read('a')\nif x == 1:\n    await write('b', 9)\nprint(x, await read('b'))",
        "try:\n    await write('b', 9)\nfinally:\n    print(await read('b'))",
        "w = write\nawait w('b', 9)\nprint(await read('b'))",
        "calls = [read, write]\nprint(await calls[0]('b'))\nawait calls[1]('b', 4)\nprint(await calls[0]('b'))",
        "import asyncio\nawait asyncio.gather(write('a', 3), write('b', 4))\nprint(await read('a'), await read('b'))",
        "import asyncio\nasync def put(k):\n    await write(k, 5)\nawait asyncio.gather(*map(put, 'ab'))\nprint(await read('a'))",
        "list(map(lambda k: write(k, 5), 'ab'))\nprint(read('a'), read('b'))",
    ],
)
@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_a_read_after_a_write_is_made_after_it(prefetch, code):
    """With prefetching the output, and the writes in their order, are those without."""
    expected, world = World(), World()
    without = await run(expected, code, "off")
    result = await run(world, code, prefetch)
    assert without.status == result.status == "success"
    assert result.output == without.output
    assert world.values == expected.values
    assert [c for c in world.calls if "write" in c] == [c for c in expected.calls if "write" in c]


async def test_another_code_than_was_written():
    """What was fetched for a code is not given to another one."""
    world = World()
    executor = world.executor("stream")
    prefetcher = executor.prefetch()
    prefetcher.feed("x = await read('a')\nprint(x)\n")
    await asyncio.sleep(0.2)
    result = await executor.aexecute("y = await read('a')\nprint(y)\n", prefetcher=prefetcher)
    assert result.prefetch is not None
    assert (result.output, result.prefetch.hits) == ("1\n", 0)
    assert result.tool_calls[0].ahead_seconds == 0


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def test_closing_cancels_what_is_in_flight():
    """A message that turns out to be something else leaves no call behind."""
    world = World()
    prefetcher = world.executor("stream").prefetch()
    prefetcher.feed("x = await hang('x')\ny = await hang('y')\n")
    await wait_for(lambda: len(world.calls) == 2)
    prefetcher.close()
    await wait_for(lambda: len(world.cancelled) == 2)


async def test_a_write_cancels_what_is_not_claimed():
    """The first call that is not read-only ends what was begun and is of no use any more."""
    world = World()
    code = "ok = await read('a')\nif ok == 2:\n    x = await hang('x')\nawait write('a', 2)\nprint('ended')"
    executor = world.executor("stream")
    prefetcher = executor.prefetch()
    prefetcher.feed("ok = await read('a')\ny = [await hang('x') for _ in range(0)]\n")
    prefetcher.close()
    result = await run(world, code, "stream")
    assert result.output == "ended\n"
    assert world.cancelled == [c.removeprefix("hang ") for c in world.calls if "hang" in c]


async def test_a_refused_program_calls_nothing_more():
    """A program that the check refuses has read at most what it was allowed to, and written nothing."""
    world = World()
    code = "x = await read('a')\nawait write('a', 2)\nprint(no_such_name)\n"
    result = await run(world, code, "stream")
    assert result.status == "refused"
    assert world.values["a"] == 1
    assert not any("write" in call for call in world.calls)


# --- what never begins -------------------------------------------------------------------------------

LOOP = "for k in 'ab':\n    print(await read(k))\n"


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (ToolPolicy(), {}),
        (ToolPolicy(idempotent=True), {}),
        (ToolPolicy(read_only=True, prefetch=False), {}),
        (ToolPolicy(read_only=True, max_calls=5), {}),
        (ToolPolicy(read_only=True, rate_limit=RateLimit(calls=50, seconds=1)), {}),
        (ToolPolicy(read_only=True, max_concurrent_calls=5), {}),
        (ToolPolicy(read_only=True, breaker=Breaker(failures=3)), {}),
        (ToolPolicy(read_only=True, cache=Cache(scope="executor")), {}),
        (READS, {"budget": Budget(calls_per_tool={"read": 5})}),
        (READS, {"run_budget": Budget(calls_per_tool={"read": 5})}),
        (READS, {"budget": Budget(calls=5)}),
        (READS, {"run_budget": Budget(calls=5)}),
        (READS, {"budget": Budget(cost=9.0, cost_of=lambda call: 1.0)}),
    ],
)
@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_tools_whose_calls_must_not_be_made_for_nothing(prefetch, policy, options):
    """Calls that share something with other calls, or are not known to only read, begin when the code makes them."""
    result = await run(World(), LOOP, prefetch, policies={"read": policy}, **options)
    assert result.output == "1\n2\n"
    assert all(call.ahead_seconds == 0 for call in result.tool_calls)


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nfor _ in range(3):\n    print(await now())\n    await asyncio.sleep(0.2)\n",
        "import time\nfor _ in range(3):\n    print(now())\n    time.sleep(0.2)\n",
        "from time import sleep as rest\nfor _ in range(3):\n    print(now())\n    rest(0.2)\n",
        "import time\ndef later():\n    time.sleep(0.2)\n    return now()\nprint(now())\nprint(later())\nprint(later())\n",
        "import asyncio\nfor _ in range(3):\n    print(await now())\n    try:\n        await asyncio.wait_for(asyncio.Event().wait(), 0.2)\n    except TimeoutError:\n        pass\n",
        "import asyncio\nfor _ in range(3):\n    print(await now())\n    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.2)\n",
        "import asyncio\nfor _ in range(3):\n    print(await now())\n    try:\n        async with asyncio.timeout(0.2):\n            await asyncio.Future()\n    except TimeoutError:\n        pass\n",
        "import asyncio, time\nfor _ in range(3):\n    print(await now())\n    await asyncio.to_thread(time.sleep, 0.2)\n",
        "import threading\nfor _ in range(3):\n    print(now())\n    threading.Event().wait(0.2)\n",
        "import queue\nfor _ in range(3):\n    print(now())\n    try:\n        queue.Queue().get(timeout=0.2)\n    except queue.Empty:\n        pass\n",
        "import time\nfor _ in range(3):\n    print(now())\n    end = time.monotonic() + 0.2\n    while time.monotonic() < end:\n        pass\n",
        "import asyncio\nasync def main():\n    print(await now())\n    await asyncio.sleep(0.2)\n    print(await now())\n    await asyncio.sleep(0.2)\n    print(await now())\nawait main()\n",
        "import asyncio\nasync def ring(bell):\n    await asyncio.sleep(0.2)\n    bell.set()\nfor _ in range(3):\n    print(await now())\n    bell = asyncio.Event()\n    ringing = asyncio.create_task(ring(bell))\n    await bell.wait()\n",
    ],
)
@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_a_read_after_a_sleep_is_made_after_it(prefetch, code):
    """A program that looks again after a while sees what has changed meanwhile."""
    first, second, third = await read_clock(code, prefetch)
    assert second - first >= 0.2
    assert third - second >= 0.2


MAIN = "async def main():\n    print(await now())\n    print(await now())\n    print(await now())\n"


@pytest.mark.parametrize(
    "code",
    [
        f"import asyncio, time\n{MAIN}time.sleep(0.5)\nawait main()\n",
        f"import asyncio, time\n{MAIN}await asyncio.sleep(0.5)\nasyncio.run(main())\n",
        f"import time\n{MAIN}def rest():\n    time.sleep(0.5)\nrest()\nawait main()\n",
        f"import time\n{MAIN}time.sleep(0.5)\nfor _ in range(1):\n    await main()\n",
        f"import asyncio, time\n{MAIN}if __name__ == '__main__':\n    time.sleep(0.5)\n    asyncio.run(main())\n",
        f"import time\n{MAIN}for _ in range(1):\n    time.sleep(0.5)\n    await main()\n",
        f"import time\n{MAIN}async def solve():\n    time.sleep(0.5)\n    await main()\nawait solve()\n",
    ],
)
async def test_a_function_that_is_called_after_a_sleep(code):
    """What `main` reads is read after a pause that comes before its call, though it is read early as a rule."""
    times = await read_clock(code, "stream")
    assert min(times) >= 0.5


async def read_clock(code, prefetch):
    """Run a program that prints what the tool `now` returns; return the seconds, from when it began to be written."""
    began = time.monotonic()

    async def now() -> float:
        """Return the time."""
        return time.monotonic() - began

    tool = StructuredTool.from_function(coroutine=now)
    catalog = ToolCatalog([tool], policies={"now": READS})
    executor = ProgrammaticToolExecutor(catalog, prefetch=prefetch)
    prefetcher = executor.prefetch() if prefetch == "stream" else None
    for line in code.splitlines(keepends=True) if prefetcher is not None else ():
        prefetcher.feed(line)
        await asyncio.sleep(0.02)
    result = await executor.aexecute(code, prefetcher=prefetcher)
    return list(map(float, result.output.split()))


@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_an_early_call_delays_no_call_of_the_program(prefetch):
    """Where no more calls may run at once, one that was begun for nothing ends for one of the program."""
    code = (
        "x = await read('a')\ntry:\n    y = {}['no']\n    y = await hang('y')\n"
        "except KeyError:\n    y = 0\nprint(y, await read('b' * x))\n"
    )
    world = World()
    limits = Limits(max_concurrent_calls=1, wall_seconds=SECONDS / 2)
    result = await run(world, code, prefetch, limits=limits)
    assert (result.status, result.output) == ("success", "0 2\n")
    await wait_for(lambda: world.calls.count("hang y") == len(world.cancelled))
    assert world.cancelled == [c.removeprefix("hang ") for c in world.calls if "hang" in c]


@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_a_program_that_is_cancelled(prefetch):
    """Early calls that it waits for end with it."""
    world = World()
    code = "for k in 'abc':\n    print(await hang(k))\n"
    before, events = asyncio.all_tasks(), []
    running = asyncio.ensure_future(run(world, code, prefetch, on_event=events.append))
    await wait_for(lambda: len(world.calls) == 3)
    await wait_for(lambda: any(e["event"] == "execution_start" for e in events))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await wait_for(lambda: sorted(world.cancelled) == ["a", "b", "c"])
    await wait_for(lambda: not asyncio.all_tasks() - before)


async def test_a_prefetcher_of_another_loop():
    """It is not used: the program has the turns, and the calls, of its own loop."""
    world = World()
    executor = world.executor("stream", limits=Limits(max_concurrent_calls=2))
    code = "for k in 'abcdef':\n    print(await busy(k))\n"
    prefetcher = await asyncio.to_thread(executor.prefetch)
    prefetcher.feed(code)
    await asyncio.sleep(0.1)
    result = await executor.aexecute(code, prefetcher=prefetcher)
    assert result.output == "a\nb\nc\nd\ne\nf\n"


async def test_a_part_that_cannot_run(caplog):
    """What is raised where parts of a program run is logged once, and the program runs on."""

    class Sandbox(InProcessSandbox):
        sessions = 0

        def session(self) -> Any:
            self.sessions += 1
            if self.sessions > 1:
                raise LookupError("no session")
            return super().session()

    with Sandbox() as sandbox:
        result = await run(World(), LOOP, sandbox=sandbox)
    assert (result.output, sandbox.sessions) == ("1\n2\n", 2)
    assert [r.exc_info and r.exc_info[0] for r in caplog.records] == [LookupError]


async def test_calls_that_cost_nothing_begin_early():
    """A budget in money keeps back what it gives a price, and only that."""
    free = Budget(cost=9.0, cost_of=lambda call: 0.0)
    result = await run(World(together=2), LOOP.replace("read", "meet"), budget=free)
    assert result.status == "success"


async def test_a_tool_that_is_given_the_state():
    """What a tool would be given of the graph is not known yet."""

    async def own(key: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Read the state."""
        return f"{key} of {len(state['messages'])}"

    tool = StructuredTool.from_function(coroutine=own)
    executor = ProgrammaticToolExecutor(
        ToolCatalog([tool], policies={"own": READS}), prefetch="calls"
    )
    records = []

    async def node(state: MessagesState) -> dict[str, Any]:
        records.append(await executor.aexecute("for k in 'ab':\n    print(await own(k))"))
        return {"messages": []}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    await graph.compile().ainvoke({"messages": [("user", "hi")]})
    assert records[0].output == "a of 1\nb of 1\n"
    assert all(call.ahead_seconds == 0 for call in records[0].tool_calls)


async def test_what_a_tool_asks_of_the_graph_is_asked_once():
    """A command is taken from a call of the program, and ends what began early: the state is another one."""
    made = []

    async def note(key: str) -> Command[Any]:
        """Note a key."""
        made.append(key)
        return Command(update={"noted": key})

    tool = StructuredTool.from_function(coroutine=note)
    executor = ProgrammaticToolExecutor(
        ToolCatalog([tool], policies={"note": READS}), prefetch="stream"
    )
    prefetcher = executor.prefetch()
    prefetcher.feed("x = await note('a')\nprint('x')\n")
    await wait_for(lambda: made)
    result = await executor.aexecute("x = await note('a')\nprint('x')\n", prefetcher=prefetcher)
    assert [call.ahead_seconds for call in result.tool_calls] == [0]


# --- limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_concurrent_calls_are_limited_with_those_that_began_early(prefetch):
    """Early calls and those of the program share `max_concurrent_calls`."""
    world = World()
    code = "for n in range(12):\n    print(await busy(str(n)))"
    result = await run(world, code, prefetch, limits=Limits(max_concurrent_calls=2))
    assert result.output == "".join(f"{n}\n" for n in range(12))
    assert world.most <= 2
    assert result.prefetch is not None
    running = sum(c.duration_seconds - c.waited_seconds for c in result.tool_calls)
    assert result.prefetch.hidden_seconds <= running


async def test_number_of_early_calls():
    """No program begins more than so many calls early."""
    world = World()
    code = (
        "for n in range(500):\n    x = await read(str(n))\n    if x:\n        break\nprint('ended')"
    )
    prefetcher = world.executor("stream").prefetch()
    prefetcher.feed(code + "\n")
    prefetcher.feed("print('more')\n")
    await asyncio.sleep(0.5)
    prefetcher.close()
    assert 0 < len(world.calls) <= MAX_EARLY_CALLS


async def test_code_that_computes_for_ever():
    """A beginning that never ends is stopped at the limits of an execution, and not tried again."""
    world = World()
    executor = world.executor("stream", limits=Limits(cpu_seconds=1, wall_seconds=60))
    prefetcher = executor.prefetch()
    code = "x = await read('a')\nwhile x:\n    pass\ny = await read('b')\nprint('ended')\n"
    for line in code.splitlines(keepends=True):
        prefetcher.feed(line)
        await asyncio.sleep(0.01)
    result = await executor.aexecute(code, prefetcher=prefetcher)
    assert (result.status, result.error and result.error.limit) == ("limit", "cpu_seconds")


async def test_no_part_runs_where_workers_are_scarce():
    """The only worker is the program's: nothing else waits for it, and nothing delays it."""
    with ProcessSandbox(waiting_workers=1, max_workers=1) as sandbox:
        world = World()
        result = await run(world, LOOP, sandbox=sandbox)
        assert result.output == "1\n2\n"


@pytest.mark.parametrize("kind", [ProcessSandbox, InProcessSandbox])
async def test_each_kind_of_sandbox(kind):
    """Parts run in whatever sandbox the program runs in."""
    with kind() as sandbox:
        result = await run(World(together=2), LOOP.replace("read", "meet"), sandbox=sandbox)
        assert result.output == "met a\nmet b\n"


def test_a_synchronous_caller():
    """From synchronous code the same happens, on the event loop of synchronous callers."""
    world = World()
    calls = []

    def get(key: str) -> str:
        """Get a value."""
        calls.append(key)
        return f"got {key}"

    tool = StructuredTool.from_function(get)
    catalog = ToolCatalog([tool], policies={"get": READS})
    executor = ProgrammaticToolExecutor(catalog, prefetch="stream")
    prefetcher = executor.prefetch()
    prefetcher.feed("x = get('a')\n")
    prefetcher.feed("print(x)\n")
    result = executor.execute("x = get('a')\nprint(x)\n", prefetcher=prefetcher)
    assert (result.output, calls, world.calls) == ("got a\n", ["a"], [])


async def test_events():
    """Each call that begins early is reported when it does, under an id of its own."""
    events: list[dict[str, Any]] = []
    result = await run(
        World(), "print(await read('a'))\nprint(1)\n", "stream", on_event=events.append
    )
    (early,) = [e for e in events if e["event"] == "prefetch"]
    assert (early["tool"], early["arguments"]) == ("read", {"key": "a"})
    assert early["call_id"] != result.tool_calls[0].call_id
    kinds = [e["event"] for e in events]
    assert kinds.index("prefetch") < kinds.index("execution_start") < kinds.index("call_end")
    assert kinds.count("call_start") == kinds.count("call_end") == 1


async def test_an_executor_that_does_not_read_along():
    """Only `stream` takes code while it is written."""
    with pytest.raises(ValueError, match="prefetch='stream'"):
        World().executor("calls").prefetch()


# --- in a graph with a checkpointer ------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", ["calls", "stream"])
async def test_a_question_of_a_tool_is_asked_once(prefetch):
    """A tool that asks a person asks in the program's own call: an early one does not count."""
    asked = []

    async def ask(key: str) -> str:
        """Ask a person."""
        asked.append(key)
        return str(interrupt({"question": key}))

    async def read(key: str) -> str:
        """Read a value."""
        return f"value of {key}"

    tools = [StructuredTool.from_function(coroutine=f) for f in (ask, read)]
    catalog = ToolCatalog(tools, policies={"ask": READS, "read": READS})
    executor = ProgrammaticToolExecutor(catalog, prefetch=prefetch)
    code = "x = await read('r')\na = await ask('a')\nb = await ask('b')\nprint(x, a, b)\n"
    results = []

    async def node(state: MessagesState) -> dict[str, Any]:
        prefetcher = executor.prefetch() if prefetch == "stream" else None
        if prefetcher is not None:
            prefetcher.feed(code)
            await asyncio.sleep(0.1)
        results.append(await executor.aexecute(code, prefetcher=prefetcher))
        return {"messages": []}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await app.ainvoke({"messages": [("user", "hi")]}, config)
    answers = []
    while question := state.get("__interrupt__"):
        assert len(question) == 1
        answers.append(question[0].value["question"])
        state = await app.ainvoke(Command(resume=f"answer to {answers[-1]}"), config)
    assert answers == ["a", "b"]
    assert results[-1].output == "value of r answer to a answer to b\n"
