"""Measures every peer in one run, in turns, and collects what it says."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.install import PEERS, ROOT, InstallError, Peer, environment, install
from benchmarks.peers.programs import PROGRAMS

HERE = Path(__file__).parent
ROUNDS = 3
"""Fresh processes for each measure of speed, in turns: a noisy minute is noisy for all."""
KINDS = {"reach": "REACH", "time": "TIME", "memory": "MEMORY", "death": "DEATHS"}
"""Kinds of attacks and the tables of `tests/escapes` that hold them."""
_LONGEST_SECONDS = 900

Told = dict[str, Any]


def measure_peers(*, only: Sequence[str] = ()) -> Told:
    """Measure the peers.

    Args:
        only: Names of peers; none is all. The baseline is always measured.

    Returns:
        What `tables` renders: a record for each peer, and what they were asked.
    """
    pythons: dict[str, Path] = {}
    told: dict[str, Told] = {}
    chosen = [peer for peer in PEERS if not only or peer.name in {"plain", *only}]
    for peer in chosen:
        told[peer.name] = {"name": peer.name, "title": peer.title, "language": peer.language}
        told[peer.name]["protects"] = peer.protects
        try:
            pythons[peer.name] = install(peer)
        except InstallError as error:
            told[peer.name]["missing"] = str(error)
            continue
        told[peer.name]["version"] = _version(peer, pythons[peer.name])
    present = [peer for peer in chosen if peer.name in pythons]
    _measure_speed(present, pythons, told)
    _run_programs(present, pythons, told)
    attacks = _run_attacks(present, pythons, told)
    return {"rows": list(told.values()), "programs": len(PROGRAMS), "attacks": attacks}


def _version(peer: Peer, python: Path) -> str:
    if not peer.requirements:
        return "" if peer.name == "plain" else "this checkout"
    name = peer.requirements[0].partition("==")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    ran = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def _start(
    peer: Peer, python: Path, script: str, *arguments: str, given: Any = None
) -> list[Told] | str:
    """Run a script in the environment of a peer; return what it says, or why it says nothing."""
    try:
        ran = subprocess.run(
            [str(python), "-W", "ignore", str(HERE / script), *arguments],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment(peer),
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {_LONGEST_SECONDS} s"
    if ran.returncode:
        lines = ran.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"ended with {ran.returncode}"
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def _measure_speed(peers: Sequence[Peer], pythons: dict[str, Path], told: dict[str, Told]) -> None:
    jobs = [
        ("sandbox", peer, ("probe.py", peer.sandbox, "speed")) for peer in peers if peer.sandbox
    ]
    jobs += [("agent", peer, ("agents.py", peer.agent)) for peer in peers if peer.agent]
    samples: dict[tuple[str, str], list[Told]] = {}
    for turn in range(ROUNDS):
        for part, peer, arguments in jobs:
            _say(f"{peer.name}: speed of the {part}, {turn + 1} of {ROUNDS}")
            answer = _start(peer, pythons[peer.name], *arguments)
            if isinstance(answer, str):
                told[peer.name][f"{part}_failed"] = answer
            else:
                samples.setdefault((part, peer.name), []).extend(answer)
    for (part, name), records in samples.items():
        told[name][part] = {key: _settle(key, [r[key] for r in records]) for key in records[0]}


def _settle(key: str, values: Sequence[Any]) -> Any:
    """Return the least time, the median of ratios and of memory; of what is no number, the first."""
    if any(isinstance(value, (str, bool)) for value in values):
        return next((value for value in values if isinstance(value, str)), values[0])
    settle = min if key.endswith(("_ms", "_us")) else statistics.median
    return float(f"{settle(values):.4g}")


def _run_all(
    peer: Peer, pythons: dict[str, Path], part: str, given: Sequence[Any], told: dict[str, Told]
) -> list[Told] | None:
    """Run programs or attacks in a peer; None if it runs no whole programs, or has failed."""
    if not peer.whole:
        return None
    _say(f"{peer.name}: {len(given)} {part}")
    answer = _start(peer, pythons[peer.name], "probe.py", peer.whole, part, given=given)
    if isinstance(answer, str):
        told[peer.name][f"{part}_failed"] = answer
        return None
    return answer


def _run_programs(peers: Sequence[Peer], pythons: dict[str, Path], told: dict[str, Told]) -> None:
    expected: dict[str, str] = {}
    for peer in peers:
        answer = _run_all(peer, pythons, "programs", PROGRAMS, told)
        if answer is None:
            continue
        if peer.name == "plain":
            expected = {record["name"]: record["output"] for record in answer}
        failed = {
            record["name"]: record.get("error", "prints something else").splitlines()[0][:120]
            for record in answer
            if record.get("output") != expected[record["name"]]
        }
        told[peer.name]["programs"] = {"ran": len(answer) - len(failed), "failed": failed}


def read_attacks() -> list[Told]:
    """Read the attacks of our own tests that are plain Python, each with its kind."""
    from tests.escapes import attacks_load, attacks_reach

    found = []
    for kind, table in KINDS.items():
        for attack in getattr(attacks_reach, table, None) or getattr(attacks_load, table):
            record = {**attack.record(), "kind": kind}
            if _is_plain(str(record["code"])):
                found.append(record)
    return found


def _is_plain(code: str) -> bool:
    """Whether CPython compiles it: no `await` at the top level, nothing that only a parser minds."""
    try:
        compile(code, "<attack>", "exec")
        code.encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return "await " not in code


def _run_attacks(peers: Sequence[Peer], pythons: dict[str, Path], told: dict[str, Told]) -> Told:
    """Run the attacks; those that do nothing to plain CPython here prove nothing and are left out."""
    attacks = read_attacks()
    kind_of = {attack["name"]: attack["kind"] for attack in attacks}
    for peer in peers:
        answer = _run_all(peer, pythons, "attacks", attacks, told)
        if answer is None:
            continue
        shown = {record["name"]: record["shown"] for record in answer if record["shown"]}
        if peer.name == "plain":
            attacks = [attack for attack in attacks if attack["name"] in shown]
        through = Counter(kind_of[name] for name in shown)
        told[peer.name]["attacks"] = {
            "through": {kind: through[kind] for kind in KINDS},
            "names": {name: "|".join(kinds) for name, kinds in shown.items()},
        }
    totals = Counter(attack["kind"] for attack in attacks)
    return {kind: totals[kind] for kind in KINDS}


def _say(text: str) -> None:
    print(text, flush=True)
