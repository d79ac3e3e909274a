"""Programs that run in steps: the same events take them down the same path, in any sandbox."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox
from langchain_ptc.sandbox import Call, Done, Moment, Program, Replay, Result
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_arguments,
    encode_call,
    encode_idle,
    encode_output,
)
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.pools import PoolSandbox
from tests.support.wire import frames, frames_of, receive

START = Moment(1_700_000_000.25, 0.0)
TOOLS = ("get", "store.put")
Event = tuple[int | None, Moment]
"""A call that is answered, or None where only time passes; and what the clocks show then."""


@dataclass
class Path:
    """What a run did, as its host saw it."""

    done: Done | None = None
    steps: list[tuple[list[Call], float | None]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def told(self) -> tuple[object, ...]:
        """What must be the same in another run."""
        assert self.done is not None
        return (self.done.status, self.done.output, self.done.value, self.steps, self.events)


Choose = Callable[[list[int], float | None, list[Event]], int | None]
"""Says which of the outstanding calls is answered next, or None for time to pass."""


def first(outstanding: list[int], due: float | None, events: list[Event]) -> int | None:
    """Answer the oldest call; let time pass only where there is none."""
    return outstanding[0] if outstanding else None


def last(outstanding: list[int], due: float | None, events: list[Event]) -> int | None:
    """Answer the newest call; let time pass only where there is none."""
    return outstanding[-1] if outstanding else None


def timers(outstanding: list[int], due: float | None, events: list[Event]) -> int | None:
    """Let time pass wherever a timer is set; not for ever, since a busy program always sets one."""
    late = len(events) >= 5 and all(number is None for number, _ in events[-5:])
    return outstanding[0] if outstanding and (due is None or late) else None


async def drive(
    sandbox, code: str, choose: Choose = first, *, seed: int = 7, limits: Limits | None = None
) -> Path:
    """Run `code` in steps; each event comes a tenth of a second after the one before."""
    path, outstanding = Path(), []
    session, clock, new = sandbox.session(), [0.0], []

    def on_calls(calls):
        new.extend(calls)
        outstanding.extend(call.id for call in calls)

    def on_idle(due):
        path.steps.append((list(new), due))
        new.clear()
        number = choose(outstanding, due, path.events)
        clock[0] += 0.1
        if number is None:
            clock[0] = max(clock[0], due or 0.0)
        at = Moment(START.unix + clock[0], clock[0])
        path.events.append((number, at))
        if number is None:
            session.resume([], at)
        else:
            outstanding.remove(number)
            session.resume([Result(id=number, payload=encode_value(f"r{number}"))], at)

    program = Program(
        code=code,
        tools=TOOLS,
        limits=limits or Limits(wall_seconds=20),
        replay=Replay(seed=seed, start=START),
    )
    path.done = await session.run(program, on_calls, on_idle)
    return path


CODES = {
    "gather": """
import asyncio
async def one(n):
    a = await get(n)
    await asyncio.sleep(0.01 * (5 - n))
    return a, await get(n, again=True)
print(await asyncio.gather(*[one(n) for n in range(5)]))
""",
    "task group and queue": """
import asyncio
queue = asyncio.Queue()
async def work(name):
    while True:
        item = await queue.get()
        print(name, item, await get(item))
        queue.task_done()
async with asyncio.TaskGroup() as group:
    workers = [group.create_task(work(f"w{n}")) for n in range(3)]
    for n in range(7):
        queue.put_nowait(n)
    await queue.join()
    for worker in workers:
        worker.cancel()
""",
    "a task group that breaks": """
import asyncio
async def work(n):
    try:
        await get(n)
        if n == 2:
            raise ValueError(n)
        await get(n, 'more')
    except asyncio.CancelledError:
        print('cancelled', n)
        raise
try:
    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(work(n))
except* ValueError as errors:
    print(errors.exceptions)
""",
    "as completed, of coroutines and of a set": """
import asyncio
for one in asyncio.as_completed([get(n) for n in range(30)]):
    print(await one)
tasks = {asyncio.create_task(get(n), name=f"t{n}") for n in range(30)}
done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
print([t.get_name() for t in done], [t.get_name() for t in pending])
done, pending = await asyncio.wait(pending)
print([t.get_name() for t in done], len(pending), asyncio.current_task().get_name())
""",
    "time-outs": """
import asyncio, time
for seconds in (0.05, 5):
    try:
        print(await asyncio.wait_for(get(seconds), seconds))
    except TimeoutError:
        print('late')
try:
    async with asyncio.timeout(0.15):
        await get(1)
        await get(2)
        await get(3)
except TimeoutError:
    print('late', round(time.monotonic(), 1))
done, pending = await asyncio.wait([asyncio.create_task(get(9))], timeout=0.01)
print(len(done), len(pending))
""",
    "threads": """
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait, FIRST_COMPLETED
def work(n):
    time.sleep(0.01 * n)
    return get(n), time.monotonic()
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(work, range(6))))
    for future in as_completed([pool.submit(work, n) for n in range(6)]):
        print(future.result())
    futures = [pool.submit(get, n) for n in range(9)]
    done, pending = wait(futures, return_when=FIRST_COMPLETED)
    print([futures.index(f) for f in done], [futures.index(f) for f in pending])
    late = pool.submit(work, 30)
    try:
        print(late.result(timeout=0.05))
    except TimeoutError:
        print('late')
    while not late.done():
        time.sleep(0)
    print(late.result())
""",
    "to_thread and blocking sleep": """
import asyncio, time
async def slow(n):
    a = await asyncio.to_thread(get, n)
    time.sleep(0.02)
    return a
print(await asyncio.gather(*[slow(n) for n in range(4)]), time.monotonic())
""",
    "chance": """
import random, secrets, uuid, statistics
await get(1)
own = random.Random()
print(random.random(), own.random(), random.Random(5).random(), random.SystemRandom().random())
random.seed()
print(random.sample(range(99), 5), random.choice('abc'), random.gauss(0, 1))
print(secrets.token_hex(), secrets.randbelow(99), secrets.token_urlsafe(9), secrets.token_bytes(3))
print(uuid.uuid4(), uuid.uuid4().version, statistics.NormalDist(3, 1).samples(2))
print(isinstance(own, random.Random), secrets.choice([1, 2, 3]), secrets.randbits(30))
""",
    "clocks": """
import datetime, time, timeit, calendar
from datetime import date
from operator import methodcaller
class Later(datetime.datetime):
    pass
def show():
    print(time.time(), time.time_ns(), time.monotonic(), time.perf_counter_ns(), time.process_time())
    print(time.gmtime(), time.localtime().tm_year, time.strftime('%Y-%m'), time.ctime(), time.asctime())
    print(datetime.datetime.now(), datetime.datetime.now(tz=datetime.UTC), date.today())
    print(datetime.datetime.utcnow(), datetime.datetime.today(), datetime.date.today(), Later.now())
    print(getattr(datetime.datetime, 'now')(), methodcaller('now')(datetime.datetime))
    print(timeit.default_timer(), [f() for f in [datetime.datetime.now]], Later.now().now())
show()
await get(1)
show()
end = time.monotonic() + 0.02
while time.monotonic() < end:
    pass
show()
""",
    "sets of strings": """
names = {f"name{n}" for n in range(50)}
for name in names:
    get(name)
print(names, list({'a': 1, 'b': 2}), frozenset('hello world'))
""",
    "busy waiting": """
import asyncio
task = asyncio.create_task(get(1))
rounds = 0
while not task.done():
    rounds += 1
    await asyncio.sleep(0)
print(await task, rounds)
""",
    "left behind": """
import asyncio
async def forget(n):
    try:
        await get(n)
    finally:
        print('end', n)
async def numbers(n):
    try:
        while True:
            yield await get(n)
    finally:
        print('closed', n)
kept = []
for n in range(9):
    kept.append(asyncio.create_task(forget(n)))
    kept.append(numbers(n))
    await anext(kept[-1])
""",
}
SETS = {"sets of strings"}


@pytest.fixture(scope="module")
def sandboxes():
    """Two process sandboxes with a parent of workers each, and one in this process."""
    with (
        ProcessSandbox() as one,
        ProcessSandbox(waiting_workers=3) as other,
        InProcessSandbox() as inside,
    ):
        yield one, other, inside


@pytest.mark.parametrize("choose", [first, last, timers], ids=lambda choose: choose.__name__)
@pytest.mark.parametrize("name", CODES)
async def test_the_same_events_give_the_same_path(sandboxes, name, choose):
    """Calls, waits, output and value are the same in every run, whichever process it is in."""
    one, other, inside = sandboxes
    paths = [await drive(sandbox, CODES[name], choose) for sandbox in (one, one, other)]
    paths += [await drive(inside, CODES[name], choose) for _ in range(2)]
    assert paths[0].done.status == "success", paths[0].done.failure
    assert paths[0].told == paths[1].told == paths[2].told
    assert paths[3].told == paths[4].told
    if name not in SETS:  # the hash seed of this process is not the workers'
        assert paths[3].told == paths[0].told


@pytest.mark.parametrize("name", ["gather", "threads", "time-outs"])
async def test_another_order_is_another_path(sandbox, name):
    """The order of events decides where a program goes, as it does outside."""
    assert (await drive(sandbox, CODES[name], first)).told != (
        await drive(sandbox, CODES[name], last if name == "gather" else timers)
    ).told


async def test_another_seed_draws_otherwise(sandbox):
    """What is drawn by chance comes from the seed alone."""
    code = "import random, uuid\nprint(random.random(), uuid.uuid4())"
    outputs = {(await drive(sandbox, code, seed=seed)).done.output for seed in (1, 2, 3, 1)}
    assert len(outputs) == 3


async def test_calls_come_in_one_batch_and_then_the_wait(sandbox):
    """The host is told of all calls of a step together, then that the program waits, and how long."""
    code = """
import asyncio, time
print('x' * 100_000)
async def late():
    await asyncio.sleep(5)
task = asyncio.create_task(late())
await asyncio.gather(*[get('y' * 30_000, n) for n in range(90)])
"""
    path = await drive(sandbox, code)
    assert [len(calls) for calls, _ in path.steps] == [90] + [0] * 89
    assert path.steps[0][1] == pytest.approx(5, abs=0.01)


async def test_a_program_that_waits_for_nothing_but_calls_has_no_timer(sandbox):
    """`due` is None where no timer is set, and where one is set for ever."""
    path = await drive(sandbox, "await get(1)")
    assert path.steps == [([Call(1, "get", (1,), {}, 1)], None)]
    code = "import asyncio\nt = asyncio.create_task(asyncio.sleep(float('inf')))\nawait get(1)"
    assert (await drive(sandbox, code)).steps[0][1] is None


async def test_the_clock_is_the_hosts(sandbox):
    """The clocks show what the last event said, whatever time it is."""
    code = (
        "import time, datetime\na = time.time()\nawait get(1)\n[a, time.time(), time.monotonic()]"
    )
    path = await drive(sandbox, code)
    assert path.done.value == pytest.approx([START.unix, START.unix + 0.1, 0.1], abs=1e-4)


async def test_sleep_takes_no_time_of_its_own(sandbox):
    """A minute passes when the host says so."""
    code = "import time\ntime.sleep(60)\ntime.monotonic()"
    path = await drive(sandbox, code, limits=Limits(wall_seconds=5))
    assert path.done.value == pytest.approx(60, abs=0.01)
    assert [due for _, due in path.steps] == [pytest.approx(60, abs=0.01)]


async def test_an_answer_that_nobody_waits_for_is_harmless(sandbox):
    """A call whose task was cancelled may still be answered."""
    code = """
import asyncio
task = asyncio.create_task(get(1))
await asyncio.sleep(0.01)
task.cancel()
print(await get(2), await get(3))
"""
    path = await drive(
        sandbox, code, lambda calls, due, events: None if due and len(calls) == 1 else calls[0]
    )
    assert path.done.output == "r2 r3\n"
    assert [event[0] for event in path.events] == [None, 1, 2, 3]


async def test_a_step_with_several_results_hands_them_over_in_its_order(sandbox):
    """Results that come in one step reach the code together, in the order in which the host gave them."""
    code = """
import asyncio
tasks = [asyncio.create_task(get(n)) for n in range(4)]
for task in asyncio.as_completed(tasks):
    print(await task, end=" ")
"""
    for order in ([1, 2, 3, 4], [3, 1, 4, 2]):
        waits, session = [], sandbox.session()

        def on_idle(due, order=order, session=session, waits=waits):
            waits.append(due)
            session.resume([Result(id=n, payload=encode_value(f"r{n}")) for n in order], START)

        program = Program(code=code, tools=TOOLS, replay=Replay(seed=1, start=START))
        done = await session.run(program, lambda calls: None, on_idle)
        assert done.output.split() == [f"r{n}" for n in order]
        assert waits == [None]


async def test_calls_of_the_last_step_are_not_made(sandbox):
    """What a program asks for and does not wait for before it ends is never told."""
    path = await drive(
        sandbox, "import asyncio\nt = asyncio.create_task(get(1))\nawait asyncio.sleep(0)"
    )
    assert path.done.status == "success"
    assert path.steps == []


async def test_limits_hold_in_steps(sandbox):
    """A program that is given no event ends at its wall limit, and one that spins at its CPU limit."""
    session = sandbox.session()
    program = Program(
        code="print(1)\nawait get(1)",
        tools=TOOLS,
        limits=Limits(wall_seconds=0.5),
        replay=Replay(seed=1, start=START),
    )
    done = await session.run(program, lambda calls: None, lambda due: None)
    assert (done.status, done.failure.limit, done.output) == ("limit", "wall_seconds", "1\n")
    path = await drive(sandbox, "while True: pass", limits=Limits(cpu_seconds=1))
    assert path.done.failure.limit == "cpu_seconds"


async def test_too_many_waits_are_an_error_of_the_code(sandbox):
    """A program whose record would never end is told what to do instead."""
    code = "import asyncio\nwhile True:\n    await asyncio.sleep(0.000002)"
    path = await drive(sandbox, code, limits=Limits(wall_seconds=100))
    assert path.done.status == "error"
    assert "sleep longer" in path.done.failure.message
    assert len(path.steps) == 20_000


@pytest.mark.parametrize(
    ("events", "match"),
    [
        pytest.param([([], None)], "pass at", id="no-moment"),
        pytest.param([([1], START), ([2], START)], "after each on_idle", id="two-steps"),
    ],
)
async def test_a_host_that_breaks_step_is_told(sandbox, events, match):
    """Whoever drives a program in steps lets it go on once for each wait."""
    session, told = sandbox.session(), []

    def on_idle(due):
        try:
            for numbers, at in events:
                session.resume([Result(id=number) for number in numbers], at)
        except ValueError as error:
            told.append(str(error))
            task.cancel()

    program = Program(
        code="import asyncio\nawait asyncio.gather(get(1), get(2))",
        tools=TOOLS,
        replay=Replay(seed=1, start=START),
    )
    task = asyncio.ensure_future(session.run(program, lambda calls: None, on_idle))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told  # a worker that is on its way out may wait once more
    assert all(match in text for text in told)


async def test_options_that_do_not_fit_are_refused(sandbox):
    """A program in steps needs somebody who takes its waits; another one takes no moments."""
    program = Program(code="1", replay=Replay(seed=1, start=START))
    with pytest.raises(ValueError, match="pass on_idle"):
        await sandbox.session().run(program, lambda calls: None)
    session, told = sandbox.session(), []

    def on_calls(calls):
        try:
            session.resume([Result(id=1)], START)
        except ValueError as error:
            told.append(str(error))
            session.resume([Result(id=1)])

    done = await session.run(Program(code="await get(1)", tools=TOOLS), on_calls)
    assert done.status == "success"
    assert "real clock" in told[0]


STEPPED = Program(code="", tools=TOOLS, replay=Replay(seed=1, start=START))
CALL = encode_call(1, "get", encode_arguments([], {}), 1)
IDLE = encode_idle(None)


@pytest.mark.parametrize(
    ("program", "messages"),
    [
        pytest.param(Program(code="", tools=TOOLS), [IDLE], id="without-replay"),
        pytest.param(STEPPED, [IDLE, IDLE], id="two-waits"),
        pytest.param(STEPPED, [IDLE, CALL], id="a-call-after"),
        pytest.param(STEPPED, [IDLE, encode_output("x")], id="output-after"),
        pytest.param(
            STEPPED,
            [IDLE, '["d",{"status":"success","value":null,"failure":null,"notes":[]}]'],
            id="an-end-after",
        ),
        pytest.param(STEPPED, ['["i",1]'], id="no-fraction"),
        pytest.param(STEPPED, ['["i",true]'], id="no-number"),
        pytest.param(STEPPED, ['["i",1e999]'], id="no-finite-number"),
        pytest.param(STEPPED, ['["i",{"$":["decimal","1"]}]'], id="extension"),
        pytest.param(STEPPED, ['["i"]'], id="too-short"),
        pytest.param(STEPPED, ['["i",null,1]'], id="too-long"),
    ],
)
def test_forged_waits_are_violations(program, messages):
    """A wait from a program without steps, or anything where only an event may follow, ends it."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(program), frames(*messages))


def test_a_limit_may_end_a_wait():
    """The end by a limit comes by a signal, at any time."""
    failure = {"kind": "L", "message": "", "source_line": "", "traceback": "", "hint": ""}
    allowed = STEPPED.limits.cpu_seconds
    failure |= {"line": 0, "limit": "cpu_seconds", "allowed": allowed, "used": None}
    ending = {"status": "limit", "value": None, "failure": failure, "notes": []}
    conversation = HostProtocol(STEPPED)
    receive(conversation, frames(IDLE, json.dumps(["d", ending])))
    assert conversation.done.status == "limit"


def test_a_worker_that_waits_for_ever_is_ended():
    """Waits without end are not taken, since each may become a record."""
    conversation = HostProtocol(STEPPED)
    for _ in range(20_000):
        receive(conversation, frames(IDLE))
        conversation.go_on()
    with pytest.raises(ProtocolViolation, match="waits"):
        receive(conversation, frames(IDLE))


@pytest.mark.parametrize(
    "forged",
    ['[["i",1.5],["i",1.5]]', '[["i",null],["c",1,"get",[],{},1]]'],
    ids=["two-waits", "a-call-after-a-wait"],
)
async def test_a_worker_that_forges_waits_is_ended(forged):
    """Unrestricted code in a walled worker that breaks step ends its execution, and nothing else."""
    code = f"""
import os
os.write(3, {frames_of(forged)!r})
os.read(3, 1)
"""
    with PoolSandbox(policy=False) as unrestricted:
        path = await drive(unrestricted, code)
        assert path.done.status == "sandbox"
        assert "has said that it waits" in path.done.failure.message
        assert path.steps == []
        assert (await drive(unrestricted, "print(1)")).done.output == "1\n"


async def test_numpy_draws_from_the_seed():
    """In a worker process, what numpy draws comes from the seed too."""
    pytest.importorskip("numpy")
    code = "import numpy as np\nprint(np.random.rand(2), np.random.default_rng().random(2))"
    with ProcessSandbox(imports=["numpy"]) as sandbox:
        outputs = [(await drive(sandbox, code, seed=seed)).done.output for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]
