"""What all policies of a tool, and a budget, add to a call when nothing goes wrong.

    python benchmarks/policies.py [CALLS]

The same asynchronous tool is called on the host's side with no policy; with all of them (a timeout,
retries, a breaker, kept results (each call is a new one, so it is made and kept), a rate limit, a
concurrency limit, hooks before and after); and with a budget for the execution and one for the run. They
take turns in short rounds, so that a busy machine is as slow for all; the numbers are medians over the
rounds, in processor time. The exit code is 1 if the policies take longer than 30 µs.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from pathlib import Path

from langchain_core.tools import tool

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` is no part of the package

from langchain_ptc import (  # noqa: E402
    Breaker,
    Budget,
    Cache,
    Limits,
    RateLimit,
    Retry,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.run.budgets import BudgetMeter, Usage  # noqa: E402
from langchain_ptc.run.call_runner import CallRunner, build_pipeline  # noqa: E402
from langchain_ptc.run.calls import StartedCall  # noqa: E402
from langchain_ptc.run.dispatch import Dispatcher  # noqa: E402
from langchain_ptc.run.events import Events  # noqa: E402
from langchain_ptc.run.policies.call_policy import CallPolicies  # noqa: E402
from langchain_ptc.sandbox.api import Call  # noqa: E402

CALLS = 4_000
ROUND = 50
MOST_MICROSECONDS = 30.0

ALL = ToolPolicy(
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

_numbers = itertools.count(1)


class Host:
    """The host's side of one execution with one tool."""

    def __init__(self, policy: ToolPolicy, meter: BudgetMeter | None) -> None:
        @tool
        async def work(key: int) -> int:
            """Do nothing."""
            return key

        (self._definition,) = ToolCatalog([work], policies={"work": policy})
        dispatcher = Dispatcher(self._definition)
        pipelines = {"work": build_pipeline(dispatcher, CallPolicies(), "message")}
        self._runner = CallRunner(pipelines, Limits(), Events(), meter=meter)

    async def call(self, number: int) -> None:
        """Make one call as an execution does."""
        started = StartedCall(
            Call(number, "work", (number,), {}, 1),
            self._definition,
            execution_id="e",
            call_id=f"e:{number}",
        )
        assert await self._runner.admit(started) is None
        answer = await self._runner.answer(started, {})
        self._runner.follow(started, answer)
        assert started.status == "returned"


async def measure(host: Host) -> float:
    """Return the microseconds of one call, over a round."""
    began = time.process_time()
    for _ in range(ROUND):
        await host.call(next(_numbers))
    return (time.process_time() - began) / ROUND * 1e6


async def main(calls: int) -> int:
    """Measure, print, and say whether it is quick enough."""
    budget = Budget(calls=10**9, cost=1e12, cost_of=lambda _: 1.0, calls_per_tool={"work": 10**9})
    hosts = [
        Host(ToolPolicy(), None),
        Host(ALL, None),
        Host(ToolPolicy(), BudgetMeter(budget, budget, before=Usage())),
    ]
    for host in hosts:
        await measure(host)
    rounds = [[await measure(host) for host in hosts] for _ in range(calls // ROUND)]
    bare = statistics.median(each[0] for each in rounds)
    policies = statistics.median(each[1] - each[0] for each in rounds)
    budgets = statistics.median(each[2] - each[0] for each in rounds)
    print(f"{calls} calls of each; one without policies takes {bare:.1f} µs")
    print(f"all policies add {policies:.1f} µs ({1 + policies / bare:.2f} times)")
    print(f"two budgets add {budgets:.1f} µs ({1 + budgets / bare:.2f} times)")
    return int(policies > MOST_MICROSECONDS)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)))
