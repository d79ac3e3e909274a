"""Drive an execution: start its calls, and deliver their results to the code.

`LiveDriver` drives one that is not replayed: calls start when the code makes them, and results are
delivered as they arrive. `ReplayDriver` keeps a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig

from langchain_ptc.errors import ToolCallError
from langchain_ptc.run.approvals import Approvals
from langchain_ptc.run.budgets import BudgetExhausted, is_of_budget
from langchain_ptc.run.call_runner import CallRunner, refuse
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.events import Events
from langchain_ptc.run.graph_state import GraphState
from langchain_ptc.sandbox.api import Call, Done, Program, Result, Session

CANCEL_SECONDS = 0.2
"""How long tools that are cancelled at the end of an execution may take to stop."""

_SETTLE_SECONDS = 0.02
"""How long the news of an exhausted budget is held back: calls that the code has already made do not
count as made in spite of it."""


@dataclass(kw_only=True, eq=False)
class Driver:
    """One execution, and what it needs."""

    session: Session
    """The sandbox's side of it."""
    program: Program
    """What to run."""
    runner: CallRunner
    """Makes the calls."""
    approvals: Approvals
    """Decides which calls a person must approve, and asks."""
    start: Callable[[Call], StartedCall]
    """Turns a call of the code into one of the execution's record."""
    graph_state: GraphState
    """The state of the graph, with what the tools have written."""
    events: Events
    """Reports what happens."""
    config: RunnableConfig
    """The caller's: its callbacks, tags and metadata are passed to the tools."""

    async def run(self) -> Done:
        """Run the code to its end.

        Raises:
            BudgetExhausted: The code went on calling when its budget was spent.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            ReplayError: The code took another path than before the pause.
            SandboxError: The machine could not start a worker.
        """
        raise NotImplementedError

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the code has run, without pauses; None if there can be no pause."""
        return None

    @property
    def waiting(self) -> int:
        """How many questions wait for a person."""
        return 1

    def accept(
        self, call: StartedCall, outcome: CallOutcome, *, is_replayed: bool = False
    ) -> Result:
        """Note the outcome of a call that the code is about to get; return it for the code.

        Args:
            call: The call.
            outcome: Its outcome.
            is_replayed: It was delivered before the pause.

        Raises:
            BudgetExhausted: The code knew that its budget is spent, and has called again.
        """
        self.runner.follow(call, outcome, is_replayed=is_replayed)
        self.graph_state.write(call.number, outcome.commands)
        return outcome.as_result(call.number)


@dataclass(kw_only=True, eq=False)
class LiveDriver(Driver):
    """Drives an execution that is not replayed.

    Nobody can be asked: calls that a person must approve are refused.
    """

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Future[Done] | None = None
        self._broken: BaseException | None = None

    async def run(self) -> Done:
        """Run the code to its end; see `Driver.run`."""
        self._running = asyncio.ensure_future(self.session.run(self.program, self._begin))
        try:
            return await self._running
        except asyncio.CancelledError:
            if self._broken is not None:
                raise self._broken from None
            self._running.cancel()
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS)

    def _begin(self, calls: Sequence[Call]) -> None:
        self.events.emit_output(self.session.output)
        for call in calls:
            task = asyncio.ensure_future(self._make(self.start(call)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _make(self, call: StartedCall) -> None:
        try:
            outcome = await self.runner.admit(call) or self._refuse_unapproved(call)
            if outcome is None:
                outcome = await self.runner.answer(call, self.config)
            if outcome.failure is not None and is_of_budget(outcome.failure.limit):
                await asyncio.sleep(_SETTLE_SECONDS)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the caller's to see, not the code's
            # Awaited, a GeneratorExit would close the coroutine that awaits it.
            is_closing = isinstance(error, GeneratorExit)
            self._break(RuntimeError("GeneratorExit was raised") if is_closing else error)
            return
        try:
            self.session.resume([self.accept(call, outcome)])
        except BudgetExhausted as error:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        assert self._running is not None
        self._broken = error
        self._running.cancel()

    def _refuse_unapproved(self, call: StartedCall) -> CallOutcome | None:
        if self.approvals.rule(call.definition) is None:
            return None
        name = call.tool
        error = ToolCallError(
            f"{name} needs the approval of a person, and there is nobody to ask: that takes a graph "
            "with a checkpointer",
            tool=name,
        )
        return refuse(call, error)
