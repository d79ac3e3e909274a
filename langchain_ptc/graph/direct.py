"""What holds for a tool that the model calls itself, beside the code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphInterrupt
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import ToolCallError
from langchain_ptc.execution.approvals import Approvals, Decision, Gate
from langchain_ptc.execution.calls import StartedCall
from langchain_ptc.execution.journal import (
    Journal,
    Record,
    arun_journaled,
    has_checkpointer,
    run_journaled,
)
from langchain_ptc.execution.portal import call_in_thread, run_sync
from langchain_ptc.execution.resilience import Guards
from langchain_ptc.execution.resilience.guards import Time
from langchain_ptc.execution.resilience.hooks import run_after, run_before
from langchain_ptc.execution.run_budgets import Budgets
from langchain_ptc.graph.prompts import (
    DIRECT_APPROVAL,
    DIRECT_NOBODY,
    DIRECT_REJECTED,
    DIRECT_TOO_OFTEN,
)
from langchain_ptc.sandbox.base import Call

_Made: TypeAlias = ToolMessage | Command[Any]

_NO_LIMIT_SECONDS = 365 * 24 * 3600.0
"""Limits are for executions; a call of the model's own has the time that its tool's policy gives it."""


class _ErrorMessage(ToolException):
    """The tool, or a middleware, has answered that it failed."""

    def __init__(self, message: ToolMessage) -> None:
        super().__init__(str(message.content))
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCall:
    """One call of the model to a tool that the code may call too, or whose policy says more.

    Args:
        request: The call, as the agent has it.
        definition: Its tool.
        approvals: Which calls a person must approve.
        guards: What stands before the tools, whoever calls them.
        budgets: What a run may spend.
    """

    request: ToolCallRequest
    definition: ToolDefinition
    approvals: Approvals
    guards: Guards
    budgets: Budgets

    def make(self, handler: Callable[[ToolCallRequest], _Made]) -> _Made:
        """Make the call, or answer it without; see `amake`."""
        settled = self.settle()
        if isinstance(settled, ToolMessage):
            return settled
        if not self.definition.policy.is_guarded:
            return handler(settled)

        async def once() -> _Made:
            return await call_in_thread(lambda: handler(settled))

        return run_sync(self._make_guarded(settled, once))

    async def amake(self, handler: Callable[[ToolCallRequest], Awaitable[_Made]]) -> _Made:
        """Make the call as its tool's policy wants it, or answer it without.

        Args:
            handler: Makes it once.

        Raises:
            GraphBubbleUp: A person must approve the call, or the tool interrupted the graph.
            Exception: What the tool raised; who handles that is the agent's business.
        """
        settled = await self.asettle()
        if isinstance(settled, ToolMessage):
            return settled
        if not self.definition.policy.is_guarded:
            return await handler(settled)
        return await self._make_guarded(settled, lambda: handler(settled))

    async def _make_guarded(
        self, request: ToolCallRequest, once: Callable[[], Awaitable[_Made]]
    ) -> _Made:
        guard, call = self.guards.of(self.definition), self._start(request.tool_call)
        call.reach()

        async def make() -> _Made:
            made = await once()
            if isinstance(made, ToolMessage) and made.status == "error":
                raise _ErrorMessage(made)
            return made

        try:
            await run_before(call, self.definition.policy)
            key = guard.key_of(call, request.runtime.config)
            if key is not None and guard.results is not None:
                kept = guard.results.find(("direct", key))
                if kept is not None:
                    return _as_answer(kept, request.tool_call)
            made = await guard.run(call, make, Time(_NO_LIMIT_SECONDS, None))
            if isinstance(made, ToolMessage) and self.definition.policy.after is not None:
                content = await run_after(call, self.definition.policy, made.content)
                made = made.model_copy(update={"content": content})
        except _ErrorMessage as error:
            return error.message
        except ToolCallError as error:
            return self._answer(str(error), "error")
        if key is not None and guard.results is not None and isinstance(made, ToolMessage):
            guard.results.keep(("direct", key), made, len(str(made.content)))
        return made

    def settle(self) -> ToolCallRequest | ToolMessage:
        """Return the call to make, or the answer to one that is not to be made; see `asettle`."""
        if (early := self._settle_at_once()) is not None:
            return early
        return self._follow(run_journaled(self._ask, {}, most_at_once=2))

    async def asettle(self) -> ToolCallRequest | ToolMessage:
        """Return the call to make, or the answer to one that is not to be made.

        Raises:
            GraphInterrupt: A person must approve the call.
        """
        if (early := self._settle_at_once()) is not None:
            return early
        return self._follow(await arun_journaled(self._ask, {}))

    def _settle_at_once(self) -> ToolCallRequest | ToolMessage | None:
        most = self.definition.policy.max_calls
        if most is not None and _count(self.request) > most:
            return self._refuse(DIRECT_TOO_OFTEN.replace("{MOST}", str(most)))
        call = self.request.tool_call
        spent = self.budgets.check_direct(self.request.state, self.definition, call)
        if spent is not None:
            return self._answer(str(spent), "error")
        if self._gate is None:
            return self.request
        if not has_checkpointer(self.request.runtime.config):
            return self._refuse(DIRECT_NOBODY)
        return None

    @property
    def _gate(self) -> Gate | None:
        return self.approvals.gate(self.definition)

    async def _ask(self, journal: Journal, opening: Record) -> Record:
        """Ask, in records of the journal: what was asked and answered stays so on resume."""
        del opening
        gate, state = self._gate, self.request.state
        assert gate is not None
        call = self._start(self.request.tool_call)
        if gate.description is None:
            gate = replace(gate, description=DIRECT_APPROVAL)

        async def applies() -> Record:
            return {"applies": self.approvals.applies(gate, call, state)}

        async def ask() -> Record:
            return {"decisions": self.approvals.ask([(call, gate)], state)}

        if gate.when is not None:
            asked = await journal.record("needs_approval", applies)
            if not asked["applies"]:
                return {"decisions": [{"type": "approve"}]}
        try:
            return await journal.record("approval", ask)
        except GraphInterrupt:
            # The question is the record's; raised from here too, it would be shown twice.
            raise GraphInterrupt(()) from None

    def _start(self, asked: ToolCall) -> StartedCall:
        call = StartedCall(
            Call(1, self.definition.qualified_name, (), {}, 0),
            self.definition,
            execution_id="",
            call_id=asked["id"] or "",
        )
        call.arguments = dict(asked["args"])
        return call

    def _follow(self, record: Record) -> ToolCallRequest | ToolMessage:
        decision: Decision = record["decisions"][0]
        if decision["type"] == "reject":
            reason = decision.get("message")
            return self._refuse(DIRECT_REJECTED + (f" The reason: {reason}" if reason else ""))
        if decision["type"] == "respond":
            return self._answer(decision["message"], "success")
        if decision["type"] == "edit":
            args = dict(decision["edited_action"]["args"])
            edited = ToolCall(**{**self.request.tool_call, "args": args})
            return self.request.override(tool_call=edited)
        return self.request

    def _refuse(self, told: str) -> ToolMessage:
        return self._answer(told.replace("{NAME}", self.definition.tool_name), "error")

    def _answer(self, content: str, status: Any) -> ToolMessage:
        return answer_call(self.request.tool_call, content, status)


def answer_call(call: ToolCall, content: str, status: Any) -> ToolMessage:
    """Return an answer to a call of the model that was not made."""
    return ToolMessage(content, name=call["name"], tool_call_id=call["id"] or "", status=status)


def _as_answer(kept: ToolMessage, call: ToolCall) -> ToolMessage:
    return kept.model_copy(update={"tool_call_id": call["id"] or "", "id": None})


def _count(request: ToolCallRequest) -> int:
    """Return the number of this call among those of its tool since a person last said something.

    It follows from the messages, so it is the same when the graph is resumed.
    """
    call, state = request.tool_call, request.state
    messages: Sequence[Any] = state["messages"] if isinstance(state, dict) else state.messages
    number = found = 0
    for message in messages:
        if isinstance(message, HumanMessage):
            number = 0
        elif isinstance(message, AIMessage):
            for made in message.tool_calls:
                number += made["name"] == call["name"]
                if made["id"] == call["id"]:
                    found = number  # the last one: models without ids of their own use some again
    return found
