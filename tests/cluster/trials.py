"""Random programs on a cluster whose nodes are lost at random meanwhile: `python -m tests.cluster.trials`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter

from langchain_ptc import RaySandbox
from tests.support.clusters import LocalCluster, Node, connected
from tests.trials.kills import MAX_HARM, run_trial

_STOPPED_SECONDS = 3.5
_KILLED = {
    "actor": Node.actors,
    "parent of workers": Node.parents_of_workers,
    "worker": Node.workers,
}


class NodeChaos:
    """Harms one node of a cluster at a time.

    Args:
        chance: Says when, which and how.
        cluster: Whose nodes are harmed.
        sandbox: Who uses them; no node is harmed before another one is of use.
    """

    def __init__(self, chance: random.Random, cluster: LocalCluster, sandbox: RaySandbox) -> None:
        self._chance, self._cluster, self._sandbox = chance, cluster, sandbox
        self.counts: Counter[str] = Counter()

    async def harm_while(self, running: asyncio.Future[str]) -> None:
        """Do harm while a program runs."""
        harmed = 0
        while harmed < MAX_HARM:
            await asyncio.wait([running], timeout=self._chance.random() ** 2)
            if running.done():
                return
            ways = [*_KILLED, "all actors", "stop"]
            how = self._chance.choices(ways, weights=[4, 2, 8, 0.3, 0.5])[0]
            if how != "worker" and len(connected(self._sandbox)) < len(self._cluster.nodes):
                continue  # Ray takes some seconds to start an actor again
            self.counts[how] += 1
            harmed += 1
            if how == "all actors":
                kill_some([pid for node in self._cluster.nodes for pid in node.actors()])
                continue
            node = self._chance.choice(self._cluster.nodes)
            if how == "stop":
                with node.stopped():
                    await asyncio.sleep(_STOPPED_SECONDS)
            elif victims := _KILLED[how](node):
                kill_some([self._chance.choice(victims)])
        await asyncio.wait([running])


def kill_some(pids: list[int]) -> None:
    """Kill processes that may have ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def run_trials(cluster: LocalCluster, sandbox: RaySandbox, seeds: range) -> list[str]:
    """Run the programs of some seeds; return what was wrong, and print how much harm was done."""
    chaos = NodeChaos(random.Random(seeds.start), cluster, sandbox)
    faults: list[str] = []
    for done, seed in enumerate(seeds, 1):
        found = await run_trial(seed, sandbox, chaos)
        faults += [f"seed {seed}: {fault}" for fault in found]
        if found or done % 10 == 0 or done == len(seeds):
            harm = dict(chaos.counts)
            print(f"{done} programs, harm: {harm}, {len(faults)} faults {found}", flush=True)
    return faults


def main(count: int = 250, first: int = 0) -> int:
    """Run the trials; return 1 if something was wrong."""
    with LocalCluster(2) as cluster, RaySandbox(cluster.address) as sandbox:
        return bool(asyncio.run(run_trials(cluster, sandbox, range(first, first + count))))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
