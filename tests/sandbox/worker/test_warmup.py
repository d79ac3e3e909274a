"""What the parent of workers does before it forks them."""

import subprocess
import sys

GATHER = """
from langchain_ptc.sandbox.worker import zygote
from langchain_ptc.sandbox.worker.program import ProgramRun
first = ProgramRun.run.__code__
zygote.gather_code(())
assert ProgramRun.run.__code__ == first
assert ProgramRun.run.__code__ is not first
assert first in zygote._moved
zygote.rehearse(())
print("still runs")
"""


def test_code_that_was_gathered_is_the_same_code():
    """The functions that a program calls get copies of their code, which do what the originals did."""
    done = subprocess.run(
        [sys.executable, "-c", GATHER], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("still runs\n", "")
