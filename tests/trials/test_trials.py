"""Some of the randomised trials; `make trials` runs all of them."""

from __future__ import annotations

import pytest

from tests.trials.early import run_trials
from tests.trials.trial import run_trial

IN_PROCESS = 30
FRESH = 2
EARLY = 10


@pytest.mark.parametrize("first", range(0, IN_PROCESS, 10))
def test_no_program_notices_that_it_was_paused(first):
    """Whatever is answered when, nothing happens twice and the output is that of an unpaused run."""
    trials = [run_trial(seed, fresh_processes=False) for seed in range(first, first + 10)]
    assert [(trial.seed, trial.faults) for trial in trials if trial.faults] == []
    assert sum(trial.passes for trial in trials) > len(trials)


@pytest.mark.parametrize("seed", range(FRESH))
def test_no_program_notices_that_it_was_resumed_elsewhere(seed):
    """The same holds where each run of the graph is in a process of its own."""
    assert run_trial(seed, fresh_processes=True).faults == ()


async def test_no_program_notices_that_its_calls_began_early():
    """With prefetching a random program comes to the same end, by the same calls and effects."""
    trials = await run_trials(range(EARLY))
    assert [trial.faults for trial in trials if trial.faults] == []
    assert sum(trial.hits for trial in trials) > 0
