"""What users wait for, each figure beside the least that the same work needs in the same run.

    python -m benchmarks.speed [ROW ...] [--against TREE] [--processes N] [--write]

Every figure is a pair: ours, and a floor measured in turns with it in the same process, so that a busy
machine is as busy for both; what counts is their ratio. A row is measured in fresh processes, and the
figures are medians over them. `--against TREE` measures another checkout too, with that checkout's own
`.venv/bin/python`, in the order before, after, after, before; `change` is after over before, by the
ratios of neighbouring processes. A ROW is the beginning of the name of a row: `python -m
benchmarks.speed records sqlite`. Without one, all rows are measured. `--write` stores the figures in
`benchmarks/results/` and writes them into `docs/benchmark.md`.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
POSTGRES = "LANGCHAIN_PTC_TEST_POSTGRES"
CALLS = 500


class Sample(NamedTuple):
    """One measurement and its floor, in the unit of the row."""

    ours: float
    floor: float
    cpu: float = 0.0
    """Processor time of the host's process, ours over that of the floor; 0 if it says nothing."""


Measure = Callable[[], AsyncIterator[Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    title: str
    measure: Measure
    floor: str
    unit: str = "ms"
    goal: float = 0.0
    """Upper bound of ours, in the unit, or of the ratio if `is_ratio`; 0 if there is none."""
    is_ratio: bool = True
    processes: int = 4
    needs_postgres: bool = False


class Clock(NamedTuple):
    """How long something took, in milliseconds."""

    wall: float
    cpu: float


async def clock(run: Callable[[], Awaitable[object]]) -> Clock:
    """Measure one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return Clock((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3)


async def in_turns(
    ours: Callable[[], Awaitable[object]], floor: Callable[[], Awaitable[object]], rounds: int
) -> AsyncIterator[Sample]:
    """Measure both in turns, after one run of each that does not count."""
    await floor()
    await ours()
    for _ in range(rounds):
        least, whole = await clock(floor), await clock(ours)
        yield Sample(whole.wall, least.wall, whole.cpu / least.cpu if least.cpu > 1 else 0.0)


# --- tools and programs -----------------------------------------------------------------------------


def build_limits(**given: Any) -> Any:
    """Return limits that no row meets."""
    from langchain_ptc import Limits

    wide = {
        "wall_seconds": 300,
        "cpu_seconds": 200,
        "memory_bytes": 8 << 30,
        "max_tool_calls": 1_000_000,
        "max_concurrent_calls": 1_000,
        "tool_seconds": 300,
        "result_bytes": 1 << 30,
    }
    return Limits(**(wide | given))


def build_add() -> Any:
    """Return a LangChain tool that does next to nothing."""
    from langchain_core.tools import tool

    @tool
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return add


def build_records(count: int) -> list[dict[str, Any]]:
    """Return records of about 100 bytes as JSON."""
    return [
        {"id": i, "name": f"name of record {i}", "team": i % 97, "amount": i * 37 % 10_007 / 4}
        | {"city": ("Berlin", "Lagos", "Lima")[i % 3], "paid": i % 5 > 0}
        for i in range(count)
    ]


def build_reader(value: object) -> Any:
    """Return a LangChain tool that returns a value."""
    from langchain_core.tools import tool

    @tool
    async def read() -> Any:
        """Read it."""
        return value

    return read


def build_runner(tools: Any, **options: Any) -> Callable[[str], Awaitable[Any]]:
    """Return a function that executes code, and raises if it fails."""
    from langchain_ptc import ProgrammaticToolExecutor

    executor = ProgrammaticToolExecutor(tools, limits=build_limits(), **options)

    async def run(code: str) -> Any:
        result = await executor.aexecute(code)
        result.raise_for_status()
        return result

    return run


SEQUENTIAL = f"for i in range({CALLS}):\n    await add(i, 1)"
GATHERED = f"import asyncio\nawait asyncio.gather(*[add(i, 1) for i in range({CALLS})])"


async def invoke_all(add: Any, *, gathered: bool) -> None:
    """Call a tool without us, as often as the programs do."""
    if gathered:
        await asyncio.gather(*[add.ainvoke({"a": i, "b": 1}) for i in range(CALLS)])
    else:
        for i in range(CALLS):
            await add.ainvoke({"a": i, "b": 1})


# --- large results ----------------------------------------------------------------------------------


async def measure_records(*, packed: bool) -> AsyncIterator[Sample]:
    """100,000 records to the code, which sums a field."""
    import ormsgpack

    records = build_records(100_000)
    run = build_runner([build_reader(records)])

    async def floor() -> None:
        if packed:
            ormsgpack.unpackb(ormsgpack.packb(records))
        else:
            json.loads(json.dumps(records))

    code = "rows = await read()\nprint(sum(row['amount'] for row in rows))"
    async for sample in in_turns(lambda: run(code), floor, 5):
        yield sample


async def measure_string() -> AsyncIterator[Sample]:
    """A long string to the code, beside the same string to a bare process and read there."""
    text = "lorem ipsum dolor sit amet, " * (10_000_000 // 28)
    size = len(text)
    with forked(partial(swallow, size)) as sock:  # before there is any thread
        run = build_runner([build_reader(text)])

        async def floor() -> None:
            sock.sendall(text.encode())
            assert sock.recv(1) == b"."

        code = "print(len(await read()))"
        async for sample in in_turns(lambda: run(code), floor, 9):
            yield sample


@contextlib.contextmanager
def forked(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Fork a process that serves a socket until it is closed."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        try:
            ours.close()
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


def swallow(size: int, sock: socket.socket) -> None:
    """Read texts of a size, and say so after each."""
    while True:
        text = bytearray()
        while len(text) < size:
            if not (part := sock.recv(1 << 20)):
                return
            text += part
        assert len(text.decode()) == size
        sock.sendall(b".")


def echo(sock: socket.socket) -> None:
    """Send back whatever comes."""
    while data := sock.recv(4096):
        sock.sendall(data)


# --- many calls -------------------------------------------------------------------------------------


async def measure_calls(*, gathered: bool) -> AsyncIterator[Sample]:
    """Calls of a LangChain tool from code, beside its `ainvoke`."""
    add = build_add()
    run = build_runner([add])
    code = GATHERED if gathered else SEQUENTIAL
    floor = partial(invoke_all, add, gathered=gathered)
    async for sample in in_turns(lambda: run(code), floor, 7):
        yield sample


@contextlib.asynccontextmanager
async def open_saver(kind: str) -> AsyncIterator[Any]:
    """Open a checkpointer."""
    if kind == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
    elif kind == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        with tempfile.TemporaryDirectory() as folder:
            async with AsyncSqliteSaver.from_conn_string(str(Path(folder, "db"))) as saver:
                yield saver
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(os.environ[POSTGRES]) as saver:
            await saver.setup()
            yield saver


def build_graph(tools: list[Any], saver: Any) -> Callable[[str], Awaitable[None]]:
    """Return a function that runs code in a graph of one node, in a new thread each time."""
    from langchain_core.messages import AIMessage, HumanMessage
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    from langchain_ptc import as_programmatic

    made = as_programmatic(tools, limits=build_limits())
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(made)).add_edge(START, "tools")
    compiled = graph.compile(checkpointer=saver)

    async def run(code: str) -> None:
        call = {"name": "run_code", "args": {"code": code}, "id": "1", "type": "tool_call"}
        request = [HumanMessage("go"), AIMessage("", tool_calls=[call])]
        thread = {"configurable": {"thread_id": os.urandom(8).hex()}}
        state = await compiled.ainvoke({"messages": request}, thread)
        artifact = state["messages"][-1].artifact
        assert artifact["status"] == "success", artifact["error"]

    return run


async def measure_journal(kind: str, *, gathered: bool) -> AsyncIterator[Sample]:
    """Calls of a LangChain tool from code in a graph with a checkpointer, beside its `ainvoke`."""
    add = build_add()
    async with open_saver(kind) as saver:
        run = build_graph([add], saver)
        code = GATHERED if gathered else SEQUENTIAL
        floor = partial(invoke_all, add, gathered=gathered)
        samples = [sample async for sample in in_turns(lambda: run(code), floor, 9)]
        # A full garbage collection takes as long as all calls, and falls into every second or third run.
        yield Sample(*map(statistics.fmean, zip(*samples, strict=True)))


def build_slow(seconds: float) -> Any:
    """Return a tool that takes its time."""
    from langchain_core.tools import tool

    @tool
    async def slow() -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    return slow


async def measure_slow() -> AsyncIterator[Sample]:
    """100 calls of 50 ms in one gather."""
    slow = build_slow(0.05)
    run = build_runner([slow])

    async def floor() -> None:
        await asyncio.gather(*[slow.ainvoke({}) for _ in range(100)])

    code = "import asyncio\nawait asyncio.gather(*[slow() for _ in range(100)])"
    async for sample in in_turns(lambda: run(code), floor, 7):
        yield sample


async def measure_graphs() -> AsyncIterator[Sample]:
    """50 graphs at once, each with a journal in memory and a program that makes one call of 0.2 s."""
    slow = build_slow(0.2)
    async with open_saver("memory") as saver:
        run = build_graph([slow], saver)

        async def ours() -> None:
            await asyncio.gather(*[run("await slow()") for _ in range(50)])

        async def floor() -> None:
            await asyncio.gather(*[slow.ainvoke({}) for _ in range(50)])

        async for sample in in_turns(ours, floor, 3):
            yield sample


async def measure_policies() -> AsyncIterator[Sample]:
    """Microseconds of processor time that all policies of a tool add to a call."""
    from langchain_ptc import Breaker, Cache, RateLimit, Retry, ToolCatalog, ToolPolicy

    every = ToolPolicy(
        read_only=True,
        timeout_seconds=10.0,
        total_seconds=20.0,
        retry=Retry(),
        breaker=Breaker(),
        cache=Cache(scope="executor", max_bytes=200_000),
        rate_limit=RateLimit(calls=1_000_000),
        max_concurrent_calls=10,
        max_calls=1_000_000,
        before=lambda _: None,
        after=lambda _, value: value,
    )
    add = build_add()
    bare, guarded = build_runner([add]), build_runner(ToolCatalog([add], policies={"add": every}))
    for turn in range(10):  # each call is a new one: it is made, and cached
        code = SEQUENTIAL.replace("add(i, 1)", f"add(i, {turn})")
        bare_call, ours = await clock(lambda: bare(code)), await clock(lambda: guarded(code))  # noqa: B023
        if turn:
            yield Sample((ours.cpu - bare_call.cpu) / CALLS * 1e3, 0)


async def measure_computing() -> AsyncIterator[Sample]:
    """Code that only computes, beside the same code in this process."""
    run = build_runner([])

    async def floor() -> None:
        exec(compile(COMPUTING, "<plain>", "exec"), {})

    async for sample in in_turns(lambda: run(COMPUTING), floor, 9):
        yield sample


COMPUTING = """
rows = [{"id": i, "team": i % 7, "amount": (i * 37) % 1000 / 10} for i in range(150_000)]
totals = {}
for row in rows:
    if row["amount"] > 5:
        totals[row["team"]] = totals.get(row["team"], 0) + row["amount"]
names = sorted(rows, key=lambda r: (-r["amount"], r["id"]))
total = sum(r["amount"] for r in names[:1000])
"""


async def measure_loop() -> AsyncIterator[Sample]:
    """The longest pause of the host's event loop while code sends it records, beside reading them."""
    make = "[{'id': i, 'name': f'n{i}', 'v': i / 7} for i in range(40_000)]"
    text = json.dumps(eval(make))
    run = build_runner([build_add()])
    await run("pass")
    for _ in range(7):
        running = asyncio.ensure_future(run(f"return {make}"))
        longest, before = 0.0, time.perf_counter()
        while not running.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, before = max(longest, now - before - 0.001), now
        assert len((await running).value) == 40_000
        started = time.perf_counter()
        json.loads(text)
        yield Sample(longest * 1e3, (time.perf_counter() - started) * 1e3)


# --- starts -----------------------------------------------------------------------------------------


async def start_python() -> None:
    """Start an interpreter and wait for its end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    assert await process.wait() == 0


async def measure_first(ahead: float) -> AsyncIterator[Sample]:
    """The first program of a process, its executor made so many seconds before; -1: timed too."""
    add = build_add()
    from langchain_ptc import ProgrammaticToolExecutor

    started = time.perf_counter()
    executor = ProgrammaticToolExecutor([add])
    if ahead >= 0:
        await asyncio.sleep(ahead)
        started = time.perf_counter()
    result = await executor.aexecute("print(1)")
    ours = (time.perf_counter() - started) * 1e3
    assert result.output == "1\n"
    yield Sample(ours, (await clock(start_python)).wall)


async def measure_print(*, forked_for_it: bool) -> AsyncIterator[Sample]:
    """`print(1)` in the sandbox alone, beside a message to a process and back.

    Both after a pause: a process that has slept takes longer to wake than one of many messages in a row.
    """
    from langchain_ptc import ProcessSandbox
    from langchain_ptc.sandbox import Program

    limits = build_limits()
    with (
        forked(echo) as sock,
        ProcessSandbox(waiting_workers=1 if forked_for_it else 4) as sandbox,
    ):

        async def run() -> float:
            program = Program(code="print(1)", limits=limits)
            started = time.perf_counter()
            done = await sandbox.session().run(program, lambda _: None)
            assert done.output == "1\n", done
            return (time.perf_counter() - started) * 1e3

        async def run_beside() -> float:
            """Run it while another program has the one worker that waited."""
            is_held = asyncio.Event()
            program = Program(code="await f()", tools=("tools.f",), limits=limits)
            holder = asyncio.create_task(sandbox.session().run(program, lambda _: is_held.set()))
            await is_held.wait()
            try:
                return await run()
            finally:
                holder.cancel()
                await asyncio.wait([holder])

        await run()
        for _ in range(25):
            await asyncio.sleep(0.05)  # a waiting worker is made meanwhile
            started = time.perf_counter()
            sock.sendall(b"x" * 100)
            sock.recv(4096)
            floor = (time.perf_counter() - started) * 1e3
            await asyncio.sleep(0.05)
            yield Sample(await (run_beside() if forked_for_it else run()), floor)


async def measure_throughput() -> AsyncIterator[Sample]:
    """`print(1)`, 4 at a time, beside starting as many interpreters; for each."""
    run = build_runner([])

    async def several(start: Callable[[], Awaitable[object]], times: int) -> None:
        for _ in range(times):
            await start()

    async def four(start: Callable[[], Awaitable[object]], times: int) -> float:
        taken = await clock(lambda: asyncio.gather(*[several(start, times) for _ in range(4)]))
        return taken.wall / times / 4

    await run("print(1)")
    for _ in range(3):
        yield Sample(await four(lambda: run("print(1)"), 25), await four(start_python, 3))


async def measure_held() -> AsyncIterator[Sample]:
    """300 workers at once: how long until each has called a tool that answers when all have called."""
    from langchain_core.tools import tool

    from langchain_ptc import ProcessSandbox

    waiting, all_are_there = 0, asyncio.Event()

    @tool
    async def meet() -> None:
        """Wait for the others."""
        nonlocal waiting
        waiting += 1
        if waiting == 300:
            all_are_there.set()
        await all_are_there.wait()

    with ProcessSandbox(max_workers=300) as sandbox:
        run = build_runner([meet], sandbox=sandbox)
        await run("print(1)")
        ours = await clock(lambda: asyncio.gather(*[run("await meet()") for _ in range(300)]))
    yield Sample(ours.wall / 300, (await clock(start_python)).wall)


async def measure_import() -> AsyncIterator[Sample]:
    """Processor time of importing LangChain's agents and what else we need, with and without us.

    With us means with every public name: `import langchain_ptc` alone loads nothing.
    """
    needed = (
        "langchain.agents langchain_core.tools langgraph.graph langgraph.prebuilt RestrictedPython"
    )
    started = time.process_time()
    for name in needed.split():
        importlib.import_module(name)
    needs = time.process_time()
    import langchain_ptc

    for name in langchain_ptc.__all__:
        getattr(langchain_ptc, name)
    yield Sample((time.process_time() - started) * 1e3, (needs - started) * 1e3)


async def measure_memory() -> AsyncIterator[Sample]:
    """Private memory of a waiting worker."""
    from langchain_ptc import ProcessSandbox
    from langchain_ptc.sandbox import Program

    with ProcessSandbox(waiting_workers=8) as sandbox:
        await sandbox.session().run(Program(code="print(1)"), lambda _: None)
        await asyncio.sleep(1)  # until all have made themselves ready
        yield Sample(statistics.median(map(private_mib, leaves(os.getpid()))), 0)


def leaves(pid: int) -> list[int]:
    """Return the descendants of a process that have no children: its workers."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, pending = [], children.get(pid, [])
    while pending:
        one = pending.pop()
        pending += children.get(one, [])
        if one not in children:
            found.append(one)
    return found


def private_mib(pid: int) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


# --- the host's work --------------------------------------------------------------------------------

TWO_LINES = "x = await add(3, 4)\nprint(x)"
TWENTY_LINES = """
import asyncio
from collections import Counter

async def total(person, start):
    parts = await asyncio.gather(*[add(start, n) for n in range(3)])
    return person, sum(parts)

people = [f"person {n}" for n in range(4)]
totals = dict(await asyncio.gather(*[total(p, n) for n, p in enumerate(people)]))
limits = {name: await add(n, 1) for n, name in enumerate(people)}
over = []
for name, spent in sorted(totals.items(), key=lambda pair: -pair[1]):
    if spent > limits[name]:
        over.append({"name": name, "by": spent - limits[name]})
    elif not spent:
        continue
shares = Counter(row["by"] // 2 for row in over)
print(f"{len(over)} of {len(people)} over: {over}")
print(shares.most_common(2))
"""


async def measure_host_work(code: str) -> AsyncIterator[Sample]:
    """Processor time of the host for a program, beside that of parsing the program once."""
    add = build_add()
    run = build_runner([add])
    for _ in range(5):
        await run(code)
    for _ in range(20):
        started = time.process_time()
        for _ in range(20):
            ast.parse(code)
        floor = (time.process_time() - started) / 20 * 1e3
        started = time.process_time()
        for _ in range(5):
            await run(code)
        yield Sample((time.process_time() - started) / 5 * 1e3, floor)


async def measure_host_calls(code: str) -> AsyncIterator[Sample]:
    """Calls of our functions on the host for a program, in the thread of the event loop."""
    import langchain_ptc

    root = str(Path(langchain_ptc.__file__).parent)
    run = build_runner([build_add()])
    for _ in range(3):
        await run(code)
    called = 0

    def profile(frame: Any, event: str, _: object) -> None:
        nonlocal called
        called += event == "call" and frame.f_code.co_filename.startswith(root)

    sys.setprofile(profile)
    try:
        await run(code)
    finally:
        sys.setprofile(None)
    yield Sample(called, 0)


# --- the table --------------------------------------------------------------------------------------

_AINVOKE = f"{CALLS} `ainvoke` of the tool"
_PLACES = {"memory": (2, 1.3), "sqlite": (3, 1.5), "postgres": (3, 1.5)}

ROWS: dict[str, Row] = {
    "records": Row(
        title="100,000 records (10 MB) to the code",
        measure=partial(measure_records, packed=False),
        floor="json.dumps + loads",
        goal=0.5,
    ),
    "records-packed": Row(
        title="100,000 records (10 MB) to the code",
        measure=partial(measure_records, packed=True),
        floor="ormsgpack both ways",
    ),
    "string": Row(
        title="a string of 10 MB to the code",
        measure=measure_string,
        floor="encode, socket, decode",
        goal=40,
        is_ratio=False,
    ),
    "sequential": Row(
        title=f"{CALLS} calls one after another",
        measure=partial(measure_calls, gathered=False),
        floor=_AINVOKE,
        goal=1.2,
    ),
    "gather": Row(
        title=f"{CALLS} calls in one gather",
        measure=partial(measure_calls, gathered=True),
        floor=f"gather of {_AINVOKE}",
        goal=0.8,
    ),
    **{
        f"{kind}-{'gather' if gathered else 'sequential'}": Row(
            title=f"journal in {kind}, {'one gather' if gathered else 'one after another'}",
            measure=partial(measure_journal, kind, gathered=gathered),
            floor=f"gather of {_AINVOKE}" if gathered else _AINVOKE,
            goal=goals[gathered],
            needs_postgres=kind == "postgres",
        )
        for kind, goals in _PLACES.items()
        for gathered in (False, True)
    },
    "slow": Row(
        title="100 calls of 50 ms in one gather",
        measure=measure_slow,
        floor="gather of 100 `ainvoke`",
        goal=1.15,
    ),
    "graphs": Row(
        title="50 graphs at once, a call of 0.2 s each",
        measure=measure_graphs,
        floor="gather of 50 `ainvoke`",
    ),
    "policies": Row(
        title="CPU that all policies add to a call",
        measure=measure_policies,
        floor="",
        unit="us",
        goal=30,
        is_ratio=False,
        processes=2,
    ),
    "computing": Row(
        title="code that computes",
        measure=measure_computing,
        floor="CPython's exec",
        goal=1.05,
    ),
    "loop": Row(
        title="longest pause of the event loop, 40,000 rows returned",
        measure=measure_loop,
        floor="json.loads of them",
        goal=1,
    ),
    "first": Row(
        title="first program after import",
        measure=partial(measure_first, -1),
        floor="python -c pass",
        goal=100,
        is_ratio=False,
        processes=10,
    ),
    "first-made": Row(
        title="… its executor made 0.3 s before",
        measure=partial(measure_first, 0.3),
        floor="python -c pass",
        goal=15,
        is_ratio=False,
        processes=10,
    ),
    "waiting": Row(
        title="print(1) in a waiting worker",
        measure=partial(measure_print, forked_for_it=False),
        floor="ping-pong of processes",
        goal=15,
    ),
    "forked": Row(
        title="print(1) in a worker forked for it",
        measure=partial(measure_print, forked_for_it=True),
        floor="ping-pong of processes",
        goal=110,
    ),
    "throughput": Row(
        title="print(1), 4 at a time",
        measure=measure_throughput,
        floor="python -c pass",
    ),
    "held": Row(
        title="300 workers at once, each",
        measure=measure_held,
        floor="python -c pass",
        processes=2,
    ),
    "import": Row(
        title="CPU of the import, all public names",
        measure=measure_import,
        floor="langchain.agents and other needs",
        goal=1.2,
        processes=10,
    ),
    "worker-memory": Row(
        title="private memory of a waiting worker",
        measure=measure_memory,
        floor="",
        unit="MiB",
        goal=2.5,
        is_ratio=False,
        processes=2,
    ),
    "host-2": Row(
        title="host's CPU for a program of 2 lines",
        measure=partial(measure_host_work, TWO_LINES),
        floor="ast.parse of it",
    ),
    "host-20": Row(
        title="host's CPU for a program of 20 lines",
        measure=partial(measure_host_work, TWENTY_LINES),
        floor="ast.parse of it",
    ),
    "host-calls-2": Row(
        title="our functions called, 2 lines",
        measure=partial(measure_host_calls, TWO_LINES),
        floor="",
        unit="",
        processes=1,
    ),
    "host-calls-20": Row(
        title="our functions called, 20 lines",
        measure=partial(measure_host_calls, TWENTY_LINES),
        floor="",
        unit="",
        processes=1,
    ),
}


class Figures(NamedTuple):
    """Medians of one process, or over several."""

    ours: float
    floor: float
    ratio: float
    cpu: float


def settle(figures: list[Figures]) -> Figures:
    """Return the medians."""
    return Figures(*map(statistics.median, zip(*figures, strict=True)))


async def measure_here(name: str) -> Figures:
    """Measure a row in this process."""
    samples = [sample async for sample in ROWS[name].measure()]
    return settle([Figures(s.ours, s.floor, s.ours / (s.floor or s.ours), s.cpu) for s in samples])


def measure_in(tree: Path, name: str) -> Figures | str:
    """Measure a row in a fresh process on a checkout; return why it failed if it did."""
    python = tree / ".venv" / "bin" / "python"
    done = subprocess.run(
        [str(python if python.exists() else sys.executable), "-P", __file__, "--here", name],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return Figures(*json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def postgres() -> Iterator[str | None]:
    """Start a Postgres server, unless one is named; None if there is none to start."""
    if POSTGRES in os.environ:
        yield os.environ[POSTGRES]
        return
    from tests.support import postgres as helper

    if helper.programs() is None:
        yield None
        return
    with helper.server() as connection:
        os.environ[POSTGRES] = connection
        yield connection


def measure_row(name: str, trees: list[Path], processes: int) -> list[list[Figures]] | str:
    """Measure a row on one checkout or two: before, after, after, before."""
    found: list[list[Figures]] = [[] for _ in trees]
    for turn in range(processes):
        order = list(enumerate(trees))
        for place, tree in order if turn % 2 == 0 else reversed(order):
            figures = measure_in(tree, name)
            if isinstance(figures, str):
                return f"{tree.name}: {figures}"
            found[place].append(figures)
    return found


def write_figures(unit: str, ours: float, ratio: float, floor: float) -> str:
    """Write a figure and its ratio to the floor."""
    digits = 0 if ours >= 100 or not unit else 1 if ours >= 10 else 2
    times = f"{ratio:7.2f}x" if floor else ""
    return f"{ours:,.{digits}f} {unit}".rjust(12) + times.rjust(9)


def summarize(row: Row, found: list[list[Figures]]) -> dict[str, Any]:
    """Return what is printed and stored of a row."""
    *before, after = [settle(figures) for figures in found]
    change = None
    if before:
        of = "ratio" if after.floor else "ours"
        pairs = [[getattr(each, of) for each in pair] for pair in zip(*found, strict=True)]
        change = statistics.median(now / earlier for earlier, now in pairs)
    return {
        "title": row.title,
        "floor": row.floor,
        "unit": row.unit,
        "goal": row.goal,
        "is_ratio": row.is_ratio,
        "is_met": (after.ratio if row.is_ratio else after.ours) <= row.goal,
        "before": before[0] if before else None,
        "after": after,
        "change": change,
    }


def write_row(name: str, row: dict[str, Any]) -> str:
    """Write one line."""
    unit, after = row["unit"], row["after"]
    text = f"{name:<20}"
    for each in (row["before"], after):
        text += write_figures(unit, each.ours, each.ratio, each.floor) if each else ""
    text += f"{row['change']:9.2f}" if row["change"] else ""
    text += f"{write_figures(unit, after.floor, 0, 0) if after.floor else '':>14}"
    text += f"{f'{after.cpu:.2f}x' if after.cpu else '':>9}"
    bound = (
        f"<= {row['goal']:g}{'x' if row['is_ratio'] else ' ' + unit}{'' if row['is_met'] else ' !'}"
    )
    return f"{text}  {bound if row['goal'] else '':<12} {row['title']} / {row['floor']}".rstrip(
        " /"
    )


def name_tree(tree: Path) -> str:
    """Return the commit of a checkout: its folder is nobody's business."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout: before")
    parser.add_argument("--processes", type=int, help="fresh processes for each row and checkout")
    parser.add_argument("--write", action="store_true", help="store the figures, write the page")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(asyncio.run(measure_here(options.here))))
        return 0
    names = [name for name in ROWS if name.startswith(tuple(options.rows) or "")]
    if not names:
        parser.error(f"no row begins with {options.rows}: {', '.join(ROWS)}")
    trees = [*([options.against.resolve()] if options.against else []), ROOT]
    columns = [f"{way + ', x floor':>21}" for way in ("before", "after")[-len(trees) :]]
    columns += [f"{'change':>9}"] * (len(trees) - 1)
    print(f"{'':<20}{''.join(columns)}{'floor':>14}{'host CPU':>9}  goal")
    rows = {}
    with contextlib.ExitStack() as stack:
        server = any(ROWS[name].needs_postgres for name in names) and stack.enter_context(
            postgres()
        )
        for name in names:
            row = ROWS[name]
            if row.needs_postgres and not server:
                print(f"{name:<20} skipped: initdb is not installed, and {POSTGRES} is not set")
                continue
            found = measure_row(name, trees, options.processes or row.processes)
            if isinstance(found, str):
                print(f"{name:<20} failed in {found}", flush=True)
                continue
            rows[name] = summarize(row, found)
            print(write_row(name, rows[name]), flush=True)
    if options.write:
        from benchmarks.page import read_results, store_part

        stored = {**read_results().get("speed", {}).get("rows", {}), **rows}
        against = f" --against {name_tree(trees[0])}" if options.against else ""
        store_part(
            "speed",
            f"python -m benchmarks.speed{against}",
            {"rows": {name: stored[name] for name in ROWS if name in stored}},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
