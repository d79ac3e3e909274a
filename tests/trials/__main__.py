"""Run many trials: `python -m tests.trials [COUNT] [FIRST_SEED] [--fresh]`; exits 1 if one is wrong."""

from __future__ import annotations

import sys

from tests.trials.trial import run_trial


def main(arguments: list[str]) -> int:
    """Run the trials and print what was wrong."""
    fresh = "--fresh" in arguments
    numbers = [int(a) for a in arguments if a.isdigit()]
    count, first = (numbers + [1_000, 0][len(numbers) :])[:2]
    wrong = passes = 0
    for seed in range(first, first + count):
        trial = run_trial(seed, fresh_processes=fresh)
        passes += trial.passes
        wrong += bool(trial.faults)
        for fault in trial.faults:
            print(f"seed {seed}: {fault}", flush=True)
        if (seed - first + 1) % 100 == 0:
            print(f"{seed - first + 1} trials, {passes} runs, {wrong} wrong", flush=True)
    print(f"{count} trials, {passes} runs of the graph, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
