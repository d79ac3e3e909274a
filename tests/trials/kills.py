"""Trials on servers that are killed, stopped and started meanwhile: `python -m tests.trials.kills [COUNT] [FIRST_SEED]`.

Each random program runs in a graph with a checkpointer, with its questions answered bit by bit. While it runs,
servers, parents of workers and workers are killed, and servers stopped for longer than a host waits. It must
have the output of an undisturbed run, and each effect once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from langgraph.checkpoint.memory import InMemorySaver

from langchain_ptc import RemoteSandbox
from langchain_ptc.sandbox import Sandbox
from tests.support.remote import ServerProcess
from tests.support.sandboxes import TOKEN
from tests.trials.programs import make_program
from tests.trials.trial import choose, compare, undisturbed
from tests.trials.world import REQUEST, make_agent

_MAX_PASSES = 60
_HANGS_SECONDS = 35.0 + 30.0
"""The wall limit and five seconds, and the longest that a run may wait for a machine."""
_STOPPED_SECONDS = 3.5
MAX_HARM = 3
"""Times that harm is done to one program: an execution may lose so many machines, and ends with one more."""
_CONFIG: Any = {"configurable": {"thread_id": "trial"}}


class Harm(Protocol):
    """What is done to machines while a program runs."""

    async def harm_while(self, running: asyncio.Future[str]) -> None:
        """Do harm, to one machine at a time, until the program has ended."""


class Chaos:
    """Two servers, one of which is harmed now and then.

    Args:
        chance: Says when, which and how.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.servers = [ServerProcess(), ServerProcess()]
        self.counts: Counter[str] = Counter()

    async def harm_while(self, running: asyncio.Future[str]) -> None:
        """Do harm while a program runs, to one server at a time."""
        for _ in range(MAX_HARM):
            await asyncio.wait([running], timeout=self._chance.random() ** 2 * 0.3)
            if running.done():
                return
            server = self._chance.choice(self.servers)
            how = self._chance.choices(
                ["server", "parent", "worker", "stop"], weights=[4, 2, 8, 0.5]
            )[0]
            self.counts[how] += 1
            if how == "server":
                server.kill()
                await asyncio.to_thread(server.start)
            elif how == "stop":
                server.stop()
                await asyncio.sleep(_STOPPED_SECONDS)
                server.resume()
            else:
                parents = list(children(server.pid))
                victims = parents if how == "parent" else [w for p in parents for w in children(p)]
                if victims:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self._chance.choice(victims), signal.SIGKILL)
        await asyncio.wait([running])

    def close(self) -> None:
        """End both servers."""
        for server in self.servers:
            server.kill()


def children(pid: int) -> Iterator[int]:
    """Yield the child processes of a process."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, file.read_text().split())


async def answered(seed: int, log: Path, sandbox: Sandbox) -> str:
    """Run the program of a seed with its questions answered bit by bit; return its output."""
    chance, saver = random.Random(-seed), InMemorySaver()
    given: Any = REQUEST
    for _ in range(_MAX_PASSES):
        agent = make_agent(make_program(seed), log, saver, approve=True, sandbox=sandbox)
        state = await agent.ainvoke(given, _CONFIG)
        interrupts = list(state.get("__interrupt__", ()))
        if not interrupts:
            return str(state["messages"][-1].content)
        given = choose(chance, interrupts)
    return "it never ended"


async def run_trial(seed: int, sandbox: Sandbox, chaos: Harm) -> list[str]:
    """Run one trial; return what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        expected = await undisturbed(seed, Path(folder, "expected"))
        log = Path(folder, "effects")
        log.touch()
        began = time.monotonic()
        running = asyncio.ensure_future(
            asyncio.wait_for(answered(seed, log, sandbox), _HANGS_SECONDS)
        )
        await chaos.harm_while(running)
        try:
            final = running.result()
        except Exception as error:  # the trial says what happened
            final = f"{error!r} after {time.monotonic() - began:.1f} s"
        return compare(expected, final, log.read_text().splitlines())


async def main(count: int, first: int) -> int:
    """Run the trials and print what was wrong."""
    chaos = Chaos(random.Random(first))
    wrong = 0
    addresses = [server.address for server in chaos.servers]
    try:
        with RemoteSandbox(addresses, token=TOKEN) as sandbox:
            for seed in range(first, first + count):
                faults = await run_trial(seed, sandbox, chaos)
                wrong += bool(faults)
                for fault in faults:
                    print(f"seed {seed}: {fault}", flush=True)
                if (seed - first + 1) % 50 == 0:
                    print(
                        f"{seed - first + 1} trials, {wrong} wrong, {dict(chaos.counts)}",
                        flush=True,
                    )
    finally:
        chaos.close()
    print(f"{count} programs, harm done: {dict(chaos.counts)}, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(asyncio.run(main(*(numbers + [500, 0][len(numbers) :]))))
