"""`time.sleep` in code without `await`: it lets the other threads of the code go on."""

import pytest

from langchain_ptc import Limits
from langchain_ptc.sandbox import Program, Result
from langchain_ptc.sandbox.wire.values import encode_value


async def run(sandbox, code: str, *, limits: Limits | None = None):
    session = sandbox.session()

    def on_calls(calls):
        session.resume([Result(id=call.id, payload=encode_value(call.id)) for call in calls])

    program = Program(code=code, tools=("get",), limits=limits or Limits())
    return await session.run(program, on_calls)


async def test_threads_sleep_side_by_side(sandbox):
    """Twenty threads that sleep take as long as one, as they do outside."""
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
def work(n):
    time.sleep(0.2)
    return get(n)
started = time.monotonic()
with ThreadPoolExecutor(20) as pool:
    print(len(list(pool.map(work, range(20)))))
time.monotonic() - started
"""
    done = await run(sandbox, code)
    assert (done.status, done.output) == ("success", "20\n"), done.failure
    assert 0.2 <= done.value < 2


async def test_asking_again_and_again_comes_to_an_end(sandbox):
    """A loop that sleeps until a future is done sees it done."""
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor() as pool:
    future = pool.submit(get, 1)
    while not future.done():
        time.sleep({pause})
    print(future.result())
"""
    for pause in ("0", "0.001"):
        assert (await run(sandbox, code.replace("{pause}", pause))).output == "1\n"


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [("-1", "ValueError"), ("float('nan')", "ValueError"), ("'1'", "TypeError"), ("1e300", "Over")],
)
async def test_what_cannot_be_slept_is_an_error(sandbox, seconds, kind):
    """Wrong lengths are refused as Python refuses them."""
    done = await run(sandbox, f"import time\ntime.sleep({seconds})")
    assert done.failure.kind.startswith(kind)
    assert done.failure.line == 2


async def test_a_long_sleep_ends_at_the_limit(sandbox):
    """The wall limit holds while the code sleeps, and what it printed is there."""
    code = "import time\nprint(1)\ntime.sleep(10**6)"
    done = await run(sandbox, code, limits=Limits(wall_seconds=0.3))
    assert (done.failure.limit, done.output) == ("wall_seconds", "1\n")
