"""A small soak: random programs and kills, and nothing is left over."""

import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.waiting import SECONDS

SOAK = ROOT / "benchmarks" / "soak.py"


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
def test_nothing_is_left_over():
    """150 random programs end as they should, in time, and leave no process, descriptor or memory."""
    done = subprocess.run(
        [sys.executable, SOAK, "--executions", "150", "--at-once", "4", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("150 executions in ")
    assert done.stdout.endswith("nothing is left over\n")
    assert done.stderr == ""
