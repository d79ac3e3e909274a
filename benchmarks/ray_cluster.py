"""What an execution on a node of a Ray cluster costs, beside one in a worker of this machine.

    python -m benchmarks.ray_cluster

Needs the extra `ray`. It is `benchmarks.remote` with the nodes of a cluster on this machine for servers.
"""

from __future__ import annotations

import asyncio

from benchmarks.remote import AT_ONCE, HELD_SECONDS, WAITING, compare, hold, side_by_side
from examples.ray_cluster import Cluster
from langchain_ptc import ProcessSandbox, RaySandbox


async def scale(cluster: Cluster, count: int) -> None:
    """Print how long executions that wait take on the nodes of a cluster."""
    ideal = WAITING / AT_ONCE / count * HELD_SECONDS
    with RaySandbox(cluster.address, max_workers=AT_ONCE) as sandbox:
        while sum(server.is_connected for server in sandbox.stats()) < count:
            await hold(sandbox)
        await asyncio.gather(*[hold(sandbox) for _ in range(AT_ONCE * count)])
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*[hold(sandbox) for _ in range(WAITING)])
        taken = loop.time() - began
    print(f"| {count} nodes | {taken:.2f} s | {ideal:.2f} s | {taken / ideal:.2f} |", flush=True)


async def main() -> None:
    """Print all figures."""
    cluster = Cluster(nodes=1)
    try:
        with ProcessSandbox() as near, RaySandbox(cluster.address) as far:
            for sandbox in (near, far):
                await side_by_side(sandbox)
            await compare(near, far)
        print(
            f"\n| {WAITING} executions of {HELD_SECONDS} s, {AT_ONCE} at a time | | ideal | ratio |"
        )
        print("|---|---|---|---|")
        for count in (1, 2, 4):
            while cluster.size < count:
                cluster.add()  # in the main thread: Ray sets a signal handler
            await scale(cluster, count)
    finally:
        await asyncio.to_thread(cluster.close)


if __name__ == "__main__":
    asyncio.run(main())
