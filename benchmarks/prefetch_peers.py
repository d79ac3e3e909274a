"""The programs of `benchmarks.prefetch` in langchain-ptc and in others that begin while the model writes.

    python -m benchmarks.prefetch_peers [SHAPE ...] [--rounds N] [--write]

Each is compared with its own run of the whole program; the ways take turns, one program at a time. Others are
installed into environments of their own. Calls have keyword arguments, since CodeMode takes no others; spec-ptc is
given positional ones, since it looks ahead at no others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from benchmarks.markdown import table_of
from benchmarks.peers.install import PEERS, ROOT, InstallError, Peer, environment, install
from benchmarks.prefetch import SHAPES, Mode, Shape, measure
from langchain_ptc import ProcessSandbox

RATE, LATENCY = 100, 0.3
"""Tokens a second, and the seconds that a tool takes."""
OURS = "langchain-ptc"
WAYS: Mapping[str, tuple[str, ...]] = {
    OURS: ("off", "stream"),
    "pydantic-ai-harness": ("whole", "eager", "speculate", "both"),
    "spec-ptc": ("whole", "speculate"),
}
"""The ways of each, the first of which runs the whole program."""
HARNESS = next(peer for peer in PEERS if peer.name == "harness")
SPEC_PTC = Peer(
    name="spec-ptc",
    title="spec-ptc",
    protects="nothing",
    requirements=("spec-ptc==0.1.1",),
    oldest_python=(3, 12),
)
SECONDS_TO_ANSWER = 60.0
WRITES = "pay"
_FAILS = "\u2013"
_KEYWORDS = {
    "get_orders(": "get_orders(person=",
    "get_prices(": "get_prices(currency=",
    "get_limits(": "get_limits(kind=",
    "get_team(": "get_team(name=",
    "get_detail(": "get_detail(id=",
    'pay("ada", rounded)': 'pay(person="ada", amount=rounded)',
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A program in one way, once."""

    seconds: float = math.inf
    """From the first token to the end of the program."""
    output: str = ""
    calls: tuple[str, ...] = ()
    """Tools in the order in which their calls began."""
    error: str = ""


class System(Protocol):
    """Something that runs programs while they are written."""

    version: str

    async def run(self, shape: Shape, way: str, rate: int, latency: float) -> Attempt:
        """Run a program in one way."""
        ...


class Ours:
    """This checkout."""

    version = "this checkout"

    def __init__(self, sandbox: ProcessSandbox) -> None:
        self._sandbox = sandbox

    async def run(self, shape: Shape, way: str, rate: int, latency: float) -> Attempt:
        """Run it with `prefetch`."""
        run = await measure(self._sandbox, shape, cast("Mode", way), rate, latency)
        return Attempt(run.seconds, run.output, run.tool_calls)


class Other:
    """A peer in a process of its own environment."""

    def __init__(self, process: asyncio.subprocess.Process, version: str) -> None:
        self._process, self.version = process, version

    @classmethod
    async def start(cls, name: str, peer: Peer) -> Other:
        """Install and start it.

        Raises:
            InstallError: It cannot be installed or does not start.
        """
        python = install(peer)
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-W", "ignore", "-m", "benchmarks.peers.prefetch_probe", name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(peer),
        )
        try:
            return cls(process, (await _read(process))["version"])
        except (ValueError, TimeoutError) as error:
            process.kill()
            raise InstallError("it does not start") from error

    async def run(self, shape: Shape, way: str, rate: int, latency: float) -> Attempt:
        """Have it run."""
        job = {"code": shape.code, "mode": way, "rate": rate, "latency": latency}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        await self._process.stdin.drain()
        told = await _read(self._process)
        return Attempt(**{**told, "calls": tuple(told.get("calls", ()))})

    async def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def _read(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), SECONDS_TO_ANSWER)
    told: dict[str, Any] = json.loads(line)
    return told


def with_keywords(shape: Shape) -> Shape:
    """Return a shape all of whose calls have keyword arguments."""

    def rewrite(text: str) -> str:
        for old, new in _KEYWORDS.items():
            text = text.replace(old, new)
        return text

    return replace(shape, code=rewrite(shape.code), chain=tuple(map(rewrite, shape.chain)))


async def measure_all(
    systems: Mapping[str, System], shapes: Sequence[Shape], rounds: int
) -> list[dict[str, Any]]:
    """Return for each shape the fastest attempt of each way, and why others failed.

    A way that prints something else than `off` of ours fails.
    """
    best: dict[str, dict[str, dict[str, Attempt]]] = {
        shape.name: {name: {} for name in systems} for shape in shapes
    }
    for _ in range(rounds):
        for shape in shapes:
            for name, system in systems.items():
                found = best[shape.name][name]
                for way in WAYS[name]:
                    attempt = await system.run(shape, way, RATE, LATENCY)
                    found[way] = min(found.get(way, attempt), attempt, key=lambda a: a.seconds)
    rows = []
    for shape in shapes:
        expected = best[shape.name][OURS]["off"].output
        rows.append(
            {
                "name": shape.name,
                "ideal": shape.ideal(RATE, LATENCY),
                "runs": {
                    name: summarise(attempts, expected, WAYS[name][0])
                    for name, attempts in best[shape.name].items()
                },
            }
        )
    return rows


def summarise(attempts: Mapping[str, Attempt], expected: str, whole: str) -> dict[str, Any]:
    """Return what is stored of the attempts of one system: seconds and calls, or why it failed."""
    told: dict[str, dict[str, Any]] = {}
    for way, attempt in attempts.items():
        error = attempt.error
        if not error and attempt.output != expected:
            error = f"prints {attempt.output!r} in place of {expected!r}"
        if error:
            told[way] = {"error": error}
            continue
        told[way] = {
            "seconds": attempt.seconds,
            "calls": len(attempt.calls),
            "passes_write": _before_write(attempt) > _before_write(attempts[whole]),
        }
    return told


def _before_write(attempt: Attempt) -> int:
    return attempt.calls.index(WRITES) if WRITES in attempt.calls else 0


def render(figures: Mapping[str, Any]) -> str:
    """Render the table and what it has to be read with, as Markdown."""
    versions = figures["versions"]
    columns = [(name, way) for name in WAYS if name in versions for way in WAYS[name]]
    head = ["shape", "ideal", *[f"{name} `{way}`" for name, way in columns]]
    rows = [
        [
            row["name"],
            f"{row['ideal']:.2f} s",
            *[_render_cell(row["runs"][name], name, way) for name, way in columns],
        ]
        for row in figures["shapes"]
    ]
    shared = [row for row in figures["shapes"] if not _errors([row])]
    if shared:
        means = [
            "" if way == WAYS[name][0] else f"{_mean(shared, name, way):.2f}\u00d7"
            for name, way in columns
        ]
        rows.append([f"geometric mean of the {len(shared)} that all run", "", *means])
    notes = [f"- {name}: {version}." for name, version in versions.items()]
    notes += [f"- {name} is not here: {why}." for name, why in figures["missing"].items()]
    notes += [
        f"- {name} does not run *{shape}*: `{error}`"
        for shape, name, error in _errors(figures["shapes"])
    ]
    if any(
        told.get("passes_write")
        for row in figures["shapes"]
        for ways in row["runs"].values()
        for told in ways.values()
    ):
        notes.append("- \u2020: a read that stands behind the write began before it.")
    return "\n".join([table_of(head, rows), "", *notes])


def _render_cell(ways: Mapping[str, Any], name: str, way: str) -> str:
    told, whole = ways[way], ways[WAYS[name][0]]
    if "error" in told:
        return _FAILS
    seconds = f"{told['seconds']:.2f} s"
    if told is whole:
        return seconds
    more = told["calls"] - whole["calls"]
    text = f"{whole['seconds'] / told['seconds']:.2f}\u00d7, {seconds}"
    return text + (f", calls: +{more}" if more else "") + ("\u2020" if told["passes_write"] else "")


def _mean(rows: Sequence[Mapping[str, Any]], name: str, way: str) -> float:
    ratios = [
        row["runs"][name][WAYS[name][0]]["seconds"] / row["runs"][name][way]["seconds"]
        for row in rows
    ]
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _errors(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the shape, the system and the message of each failure, once for all ways that say the same."""
    found = {
        (row["name"], name, " ".join(told["error"].split())[:200]): None
        for row in rows
        for name, ways in row["runs"].items()
        for told in ways.values()
        if "error" in told
    }
    return list(found)


async def compare(shapes: Sequence[Shape], rounds: int) -> dict[str, Any]:
    """Measure all that can be installed."""
    missing: dict[str, str] = {}
    others: dict[str, Other] = {}
    for name, peer in (("pydantic-ai-harness", HARNESS), ("spec-ptc", SPEC_PTC)):
        try:
            others[name] = await Other.start(name, peer)
        except InstallError as error:
            missing[name] = str(error)
    with ProcessSandbox(waiting_workers=4) as sandbox:
        systems: dict[str, System] = {OURS: Ours(sandbox), **others}
        for name, system in systems.items():
            for way in WAYS[name]:
                await system.run(shapes[-1], way, 1_000, 0.0)  # imports, and the first workers
        rows = await measure_all(systems, shapes, rounds)
    for other in others.values():
        await other.close()
    versions = {name: system.version for name, system in systems.items()}
    return {
        "rate": RATE,
        "latency": LATENCY,
        "versions": versions,
        "missing": missing,
        "shapes": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shapes", nargs="*", help="words of names of shapes; all by default")
    parser.add_argument("--rounds", type=int, default=2, help="of which the fastest counts")
    parser.add_argument(
        "--write", action="store_true", help="store the figures, and write the page"
    )
    given = parser.parse_args(arguments)
    shapes = [
        with_keywords(shape)
        for shape in SHAPES
        if not given.shapes or any(word in shape.name for word in given.shapes)
    ]
    figures = asyncio.run(compare(shapes, given.rounds))
    print(render(figures))
    if given.write:
        from benchmarks.page import store_part

        store_part("prefetch_peers", "python -m benchmarks.prefetch_peers --write", figures)


if __name__ == "__main__":
    main()
