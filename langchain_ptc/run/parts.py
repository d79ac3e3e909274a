"""What one execution is made of, whichever way it is driven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig

from langchain_ptc.run.approvals import Approvals
from langchain_ptc.run.call_runner import CallRunner
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.events import Events
from langchain_ptc.run.graph_state import GraphState
from langchain_ptc.sandbox.api import Call, Program, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """The parts that `FreeRun` and `SteppedRun` put together."""

    session: Session
    """The sandbox's side of it."""
    program: Program
    """What to run."""
    runner: CallRunner
    """Makes the calls."""
    approvals: Approvals
    """Says which calls a person must approve, and asks."""
    start: Callable[[Call], StartedCall]
    """Makes a call of the code into one of the execution's record."""
    graph_state: GraphState
    """The state of the graph, with what the tools have written."""
    events: Events
    """Is told what happens."""
    config: RunnableConfig
    """The caller's: its callbacks, tags and metadata are the tools'."""
