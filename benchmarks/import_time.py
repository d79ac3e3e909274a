"""What `import langchain_ptc` costs beside the import of what it needs.

    python benchmarks/import_time.py [ROUNDS]

Every import is the first statement of a fresh Python. The kinds take turns, so that a busy moment of
the machine hits all of them, and the medians are compared. Compiled files are kept in a folder of
their own, so that no kind is compiled anew while another is not. "What it needs" is every module
outside the package that the public names load, imported in the order in which they load it: in
another order the same modules cost up to 15 % more or less, since the garbage collector runs at other
moments.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

EVERYTHING = "import langchain_ptc as p\nfor name in p.__all__:\n    getattr(p, name)"
LIST = f"""
{EVERYTHING}
import sys
print(",".join(name for name in sys.modules if name.partition(".")[0] != "langchain_ptc"))
"""
NEEDED = """
for name in {!r}.split(","):
    try:
        __import__(name)
    except ImportError:  # an entry that some library has written into sys.modules itself
        pass
"""
MEASURE = "import time\nstart = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
TARGET = 1.2


def run(code: str, cache: str) -> str:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPYCACHEPREFIX": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def build_kinds(cache: str) -> dict[str, str]:
    needed = run(LIST, cache)
    return {
        "import langchain_ptc": "import langchain_ptc",
        "the sandbox's names": "from langchain_ptc import ProcessSandbox, Limits",
        "what it needs": NEEDED.format(needed),
        "all public names": EVERYTHING,
    }


def main(rounds: int = 11) -> int:
    with tempfile.TemporaryDirectory() as cache:
        return report(rounds, cache)


def report(rounds: int, cache: str) -> int:
    kinds = build_kinds(cache)
    for code in kinds.values():
        run(code, cache)  # once to compile, and for the disk
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, code in kinds.items():
            seconds[name].append(float(run(MEASURE.format(code), cache)))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"{'':24}{'median':>10}{'fastest':>10}   ({rounds} rounds, Python {sys.version.split()[0]})"
    )
    for name, times in seconds.items():
        print(f"{name:24}{medians[name] * 1000:8.1f}ms{min(times) * 1000:8.1f}ms")
    ratio = medians["all public names"] / medians["what it needs"]
    print(f"\nall public names / what it needs = {ratio:.2f} (at most {TARGET})")
    print(f"import langchain_ptc = {medians['import langchain_ptc'] * 1000:.1f} ms")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
