"""What `import langchain_ptc` costs beside the import of what it needs.

    python benchmarks/import_time.py [ROUNDS]

Every round is a fresh Python. Alone, `import langchain_ptc` loads nothing: its names are loaded when
they are first used. So the ratio that counts is taken with all of them: a Python imports what the
package needs, and then every public name on top; both times are of one process, so that a busy moment
of the machine hits both. Compiled files are kept in a folder of their own, whatever the environment
says.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

ALONE = """
import time
start = time.perf_counter()
import langchain_ptc
print(time.perf_counter() - start)
"""
SANDBOX = """
import time
start = time.perf_counter()
from langchain_ptc import Limits, ProcessSandbox
print(time.perf_counter() - start)
"""
NEEDS_THEN_OURS = """
import time
start = time.perf_counter()
import langchain_core.tools, langchain_core.language_models, langgraph.graph, langgraph.prebuilt
import pydantic, RestrictedPython
needs = time.perf_counter()
import langchain_ptc
for name in langchain_ptc.__all__:
    getattr(langchain_ptc, name)
print(needs - start, time.perf_counter() - needs)
"""
TARGET = 1.2


def measure(code: str, cache: str) -> list[float]:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPYCACHEPREFIX": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(float, done.stdout.split()))


def show(name: str, seconds: list[float]) -> None:
    print(f"{name:34}{statistics.median(seconds) * 1000:8.1f} ms{min(seconds) * 1000:10.1f} ms")


def main(rounds: int = 11) -> int:
    with tempfile.TemporaryDirectory() as cache:
        programs = (ALONE, SANDBOX, NEEDS_THEN_OURS)
        for code in programs:
            measure(code, cache)  # once to compile, and for the disk
        found = [[measure(code, cache) for code in programs] for _ in range(rounds)]
    needs = [third[0] for _, _, third in found]
    ours = [third[1] for _, _, third in found]
    ratio = statistics.median((n + o) / n for n, o in zip(needs, ours, strict=True))
    print(f"{rounds} rounds, Python {sys.version.split()[0]}{'median':>19}{'fastest':>13}")
    show("import langchain_ptc", [first[0] for first, _, _ in found])
    show("from langchain_ptc import a sandbox", [second[0] for _, second, _ in found])
    show("what the package needs", needs)
    show("all public names on top of that", ours)
    print(f"\nratio: {ratio:.2f} (at most {TARGET})")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
