"""Drive an execution freely: calls begin when the code asks, and answers reach it as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_ptc.errors import ToolCallError
from langchain_ptc.run.budgets import BudgetSpent, is_of_budget
from langchain_ptc.run.call_runner import refuse
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.parts import RunParts
from langchain_ptc.sandbox.api import Call, Done

_CANCEL_SECONDS = 0.2
"""How long tools that are cancelled at the end of an execution may take to notice."""


_SETTLE_SECONDS = 0.02
"""How long word of a spent budget waits for the calls that the code has made already: they are not made
in spite of it."""


class FreeRun:
    """One execution that nobody will run again.

    Nobody can be asked here: calls that a person must approve are refused.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: RunParts) -> None:
        self._session = parts.session
        self._program = parts.program
        self._runner = parts.runner
        self._approvals = parts.approvals
        self._start = parts.start
        self._events = parts.events
        self._config = parts.config
        self._graph_state = parts.graph_state
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Future[Done] | None = None
        self._broken: BaseException | None = None

    async def to_end(self) -> Done:
        """Run the code to its end.

        Raises:
            BudgetSpent: The code went on calling when its budget was spent.
            GraphBubbleUp: A tool interrupted the graph.
            SandboxError: The machine could not start a worker.
        """
        self._running = asyncio.ensure_future(self._session.run(self._program, self._begin))
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
                await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)

    def _begin(self, calls: Sequence[Call]) -> None:
        self._events.tell_output(self._session.output)
        for call in calls:
            task = asyncio.ensure_future(self._answer(self._start(call)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: StartedCall) -> None:
        answer = await self._runner.admit(call) or self._refuse_gated(call)
        if answer is None:
            try:
                answer = await self._runner.answer(call, self._config)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # not the code's to see
                # Awaited, a GeneratorExit would close whoever waits.
                is_closing = isinstance(error, GeneratorExit)
                self._broken = RuntimeError("GeneratorExit was raised") if is_closing else error
                assert self._running is not None
                self._running.cancel()
                return
        if answer.failure is not None and is_of_budget(answer.failure.limit):
            await asyncio.sleep(_SETTLE_SECONDS)
        try:
            self._runner.follow(call, answer)
        except BudgetSpent as error:
            self._broken = error
            assert self._running is not None
            self._running.cancel()
            return
        self._graph_state.write(call.number, answer.commands)
        self._session.resume([answer.as_result(call.number)])

    def _refuse_gated(self, call: StartedCall) -> Any:
        if self._approvals.gate(call.definition) is None:
            return None
        name = call.definition.qualified_name
        error = ToolCallError(
            f"{name} needs the approval of a person, and there is nobody to ask: that takes a graph "
            "with a checkpointer",
            tool=name,
        )
        return refuse(call, error)
