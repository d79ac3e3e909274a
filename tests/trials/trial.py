"""One trial: run a program undisturbed, then with its questions answered bit by bit, and compare."""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from tests.support.processes import PROCESSES
from tests.trials.programs import make_program
from tests.trials.world import REQUEST, answer_to, make_agent

_MAX_PASSES = 60
_CONFIG: Any = {"configurable": {"thread_id": "trial"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one trial came to."""

    seed: int
    passes: int
    """Runs of the graph, the first one among them."""
    faults: tuple[str, ...]
    """What was wrong; empty if nothing."""


def run_trial(seed: int, *, fresh_processes: bool) -> Trial:
    """Run the trial of a seed.

    Args:
        seed: Settles the program, and which questions are answered when.
        fresh_processes: Each run of the graph is in a process of its own, and the checkpoints are
            in a file.
    """
    with tempfile.TemporaryDirectory() as directory:
        expected = asyncio.run(undisturbed(seed, Path(directory, "expected")))
        log = Path(directory, "effects")
        log.touch()
        if fresh_processes:
            final, passes = _in_processes(seed, log, Path(directory, "checkpoints"))
        else:
            final, passes = asyncio.run(_in_one_process(seed, log))
        effects = log.read_text().splitlines()
    return Trial(seed=seed, passes=passes, faults=tuple(compare(expected, final, effects)))


def compare(expected: str, final: str, effects: list[str]) -> list[str]:
    """Return what was wrong with a run."""
    faults = [f"{effect!r} x{n}" for effect, n in Counter(effects).items() if n > 1]
    for effect in effects:
        told = re.fullmatch(r"ask (\S+) = (.*)", effect)
        if told and told[2] != answer_to(told[1]):
            faults.append(f"{effect!r} is another question's answer")
    if final != expected:
        faults.append(f"output {final!r} and not {expected!r}")
    return faults


async def undisturbed(seed: int, log: Path) -> str:
    """Run the program where every question is answered at once."""
    agent = make_agent(make_program(seed), log, InMemorySaver(), approve=False)
    state = await agent.ainvoke(REQUEST, _CONFIG)
    while state.get("__interrupt__"):
        answers = {i.id: answer_to(i.value["question"]) for i in state["__interrupt__"]}
        state = await agent.ainvoke(Command(resume=answers), _CONFIG)
    return str(state["messages"][-1].content)


async def _run_once(agent: Any, given: Any) -> tuple[list[Any], str]:
    state = await agent.ainvoke(given, _CONFIG)
    return list(state.get("__interrupt__", ())), str(state["messages"][-1].content)


def choose(chance: random.Random, interrupts: list[Any]) -> Any:
    """Answer some of the questions of a run, in any order."""
    chosen = chance.sample(interrupts, chance.randint(1, len(interrupts)))
    return Command(resume={i.id: _answer(i.value) for i in chosen})


def _answer(question: dict[str, Any]) -> Any:
    if "question" in question:
        return answer_to(question["question"])
    return {"type": "approve"}


async def _in_one_process(seed: int, log: Path) -> tuple[str, int]:
    chance = random.Random(-seed)
    saver = InMemorySaver()
    given: Any = REQUEST
    for passes in range(1, _MAX_PASSES):
        agent = make_agent(make_program(seed), log, saver, approve=True)
        interrupts, final = await _run_once(agent, given)
        if not interrupts:
            return final, passes
        given = choose(chance, interrupts)
    return "it never ended", _MAX_PASSES


def _in_processes(seed: int, log: Path, file: Path) -> tuple[str, int]:
    chance = random.Random(-seed)
    given: Any = REQUEST
    for passes in range(1, _MAX_PASSES):
        ours, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=_pass, args=(seed, log, file, given, theirs))
        process.start()
        interrupts, final = ours.recv()
        process.join()
        if not interrupts:
            return final, passes
        given = choose(chance, interrupts)
    return "it never ended", _MAX_PASSES


def _pass(seed: int, log: Path, file: Path, given: Any, answer: Any) -> None:
    async def run() -> tuple[list[Any], str]:
        async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
            return await _run_once(make_agent(make_program(seed), log, saver, approve=True), given)

    try:
        answer.send(asyncio.run(run()))
    except BaseException as error:  # the trial says what happened
        answer.send(([], f"{type(error).__name__}: {error}"))
