"""Some of the random programs under random losses; `python -m tests.cluster.trials` runs any number."""

from __future__ import annotations

from tests.cluster.trials import run_trials


async def test_no_program_notices_that_nodes_are_lost(cluster, sandbox):
    """Each of 20 programs, with interrupts, has the output of an undisturbed run, and each effect once."""
    assert await run_trials(cluster, sandbox, range(20)) == []
