"""Calls that the model makes itself, under the same policies as the calls of its code."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import ToolException
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_ptc.background_loop import call_in_thread, run_sync
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import ToolCallError, count
from langchain_ptc.prompts import (
    DIRECT_APPROVAL,
    DIRECT_NOBODY,
    DIRECT_NOT_SHOWN,
    DIRECT_REJECTED,
    DIRECT_TOO_OFTEN,
)
from langchain_ptc.run.approvals import ApprovalRule, Approvals, Decision
from langchain_ptc.run.arguments import ArgumentReader, validate_arguments
from langchain_ptc.run.budgets import Budgets
from langchain_ptc.run.call_policy import CallPolicies, Portable, run_after, with_before
from langchain_ptc.run.calls import CallContext, StartedCall
from langchain_ptc.run.graph_state import checkpointer_of, find_call, messages_of
from langchain_ptc.run.graph_tasks import take_place
from langchain_ptc.run.journal import Journal, JournalEntry, run_journaled
from langchain_ptc.sandbox.api import Call

_Made: TypeAlias = ToolMessage | Command[Any]

_NO_LIMIT_SECONDS = 365 * 24 * 3600.0
"""Limits apply to executions; a call of the model itself is limited by the policy of its tool."""


class _ErrorMessage(ToolException):
    """The tool, or a middleware, has returned an error message."""

    def __init__(self, message: ToolMessage) -> None:
        super().__init__(str(message.content))
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCall:
    """One call of the model to a tool that has policies, or that the code may call too."""

    request: ToolCallRequest
    definition: ToolDefinition
    approvals: Approvals
    call_policies: CallPolicies
    budgets: Budgets
    is_asked_by_agent: bool = False

    def make(self, handler: Callable[[ToolCallRequest], _Made]) -> _Made:
        """Make the call from synchronous code; see `amake`."""

        async def in_thread(request: ToolCallRequest) -> _Made:
            return await call_in_thread(lambda: handler(request))

        settled = self._settle_unasked()
        if isinstance(settled, ToolCallRequest) and not self.definition.policy.is_guarded:
            return handler(settled)
        return run_sync(self._finish(settled, in_thread, sync=True))

    async def amake(self, handler: Callable[[ToolCallRequest], Awaitable[_Made]]) -> _Made:
        """Make the call under its tool's policy, or answer it without making it.

        A call that a person approved is made once, even if the graph is interrupted by another
        call of the same message, after which a `ToolNode` runs all of them again.

        Raises:
            GraphBubbleUp: A person must approve the call, or the tool interrupted the graph.
            Exception: The tool raised it; the agent handles it.
        """
        return await self._finish(self._settle_unasked(), handler, sync=False)

    async def _finish(
        self,
        settled: ToolCallRequest | ToolMessage | None,
        handler: Callable[[ToolCallRequest], Awaitable[_Made]],
        *,
        sync: bool,
    ) -> _Made:
        if isinstance(settled, ToolMessage):
            return settled
        if settled is not None:
            return await self._make(settled, handler, sync=sync)
        call, main = self.request.tool_call, functools.partial(self._ask_and_make, handler)
        found = find_call(call["id"], self.request.state, name=call["name"], arguments=call["args"])
        place = take_place(None if found is None else found[1])
        ending = await run_journaled(main, {}, place=place, sync=sync)
        return cast("_Made", ending["made"])

    async def _ask_and_make(
        self,
        handler: Callable[[ToolCallRequest], Awaitable[_Made]],
        journal: Journal,
        _: JournalEntry,
    ) -> JournalEntry:
        await journal.claim(_NO_LIMIT_SECONDS)
        settled = self._decide(await self._ask(journal))
        if isinstance(settled, ToolMessage):
            return {"made": settled}

        async def once() -> JournalEntry:
            return {"made": await self._make(settled, handler, sync=journal.sync)}

        return await journal.record("call", "", once)

    async def _make(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[_Made]],
        *,
        sync: bool,
    ) -> _Made:
        policy = self.definition.policy
        if not policy.is_guarded:
            return await handler(request)
        call_policy = self.call_policies.of(self.definition)
        call = self._start(request.tool_call, sync=sync)
        call.config = request.runtime.config
        call.is_reached = True

        async def make(_: StartedCall) -> _Made:
            made = await handler(request)
            if isinstance(made, ToolMessage) and made.status == "error":
                raise _ErrorMessage(made)
            return made

        attempts = call_policy.attempts(make)

        async def finish(call: StartedCall) -> _Made:
            made = await attempts(call)
            if isinstance(made, ToolMessage) and policy.after is not None:
                content = await run_after(call, policy.after, made.content)
                made = made.model_copy(update={"content": content})
            return made

        layer = call_policy.cached(
            finish,
            caller="direct",
            size_of=lambda made: len(str(made.content)) if isinstance(made, ToolMessage) else None,
            reuse=_reuse,
            portable=Portable(pack=_pack, unpack=_unpack),
        )
        if policy.before is not None:
            layer = with_before(layer, policy.before)
        try:
            return await layer(call)
        except _ErrorMessage as error:
            return error.message
        except ToolCallError as error:
            return self._answer(str(error))

    def _settle_unasked(self) -> ToolCallRequest | ToolMessage | None:
        limit = self.definition.policy.max_calls
        if limit is not None and _count(self.request) > limit:
            return self._refuse(DIRECT_TOO_OFTEN.replace("{MOST}", count(limit, "time")))
        call = self.request.tool_call
        spent = self.budgets.check_direct(self.request.state, self.definition, call)
        if spent is not None:
            return self._answer(str(spent))
        if self._rule is None:
            return self.request
        if checkpointer_of(self.request.runtime.config) is None:
            return self._refuse(DIRECT_NOBODY)
        return None

    @property
    def _rule(self) -> ApprovalRule | None:
        rule = self.approvals.rules.get(self.definition.qualified_name)
        return None if rule is not None and rule.is_of_agent and self.is_asked_by_agent else rule

    async def _ask(self, journal: Journal) -> JournalEntry:
        """Ask, in entries of the journal: the question and its answer stay the same on resume."""
        rule, state = self._rule, self.request.state
        assert rule is not None
        call = self._start(self.request.tool_call)
        key = call.key(validated=True)
        if rule.description is None:
            rule = replace(rule, description=DIRECT_APPROVAL)

        async def applies() -> JournalEntry:
            return {"applies": self.approvals.applies(rule, call, state)}

        async def ask() -> JournalEntry:
            return {"decisions": self.approvals.ask([(call, rule)], state)}

        # Arguments that do not match the schema are shown to a person as they are.
        if rule.when is not None and self._is_valid(self.request.tool_call):
            asking = await journal.record("needs_approval", key, applies)
            if asking["key"] == key and not asking["applies"]:
                return {"key": key, "decisions": [{"type": "approve"}]}
        return {"asked": key, **await journal.record("approval", key, ask)}

    def _start(self, asked: ToolCall, *, sync: bool = False) -> StartedCall:
        name = self.definition.qualified_name
        context = CallContext(readers={name: ArgumentReader(self.definition)}, sync=sync)
        call = StartedCall(Call(1, name, (), {}, 0), context)
        call.call_id = asked["id"] or ""
        call.arguments = call.given = call.passed = dict(asked["args"])
        with contextlib.suppress(ToolCallError):  # the tool itself reports what is wrong with them
            call.settle(self.definition, call.passed)
        return call

    def _is_valid(self, asked: ToolCall) -> bool:
        try:
            validate_arguments(self.definition.tool, asked["args"])
        except Exception:  # noqa: BLE001  # validators may raise anything
            return False
        return True

    def _decide(self, record: JournalEntry) -> ToolCallRequest | ToolMessage:
        if record["key"] != record.get("asked", record["key"]):
            return self._refuse(DIRECT_NOT_SHOWN)
        decision: Decision = record["decisions"][0]
        if decision["type"] == "reject":
            reason = decision.get("message")
            return self._refuse(DIRECT_REJECTED + (f" The reason: {reason}" if reason else ""))
        if decision["type"] == "respond":
            return self._answer(decision["message"], "success")
        if decision["type"] == "edit":
            return self._edit(decision["edited_action"])
        return self.request

    def _edit(self, action: Mapping[str, Any]) -> ToolCallRequest | ToolMessage:
        """Return the call as a person has edited it: with other arguments, or of another tool."""
        tools = [self.definition.tool, *(self.request.runtime.tools or ())]
        chosen = self.approvals.find(action["name"]) or self.definition
        tool = next((t for t in tools if t.name == chosen.tool_name), None)
        if tool is None:
            return self._refuse(DIRECT_NOT_SHOWN)
        args = chosen.bind((), action["args"])
        call = ToolCall(**{**self.request.tool_call, "name": tool.name, "args": args})
        return self.request.override(tool_call=call, tool=tool)

    def _refuse(self, reason: str) -> ToolMessage:
        return self._answer(reason.replace("{NAME}", self.definition.tool_name))

    def _answer(self, content: str, status: Any = "error") -> ToolMessage:
        return answer_call(self.request.tool_call, content, status)


def answer_call(call: ToolCall, content: str, status: Any) -> ToolMessage:
    """Return the answer to a call of the model that was not made."""
    return ToolMessage(content, name=call["name"], tool_call_id=call["id"] or "", status=status)


def _reuse(kept: _Made, call: StartedCall) -> _Made:
    assert isinstance(kept, ToolMessage)
    return kept.model_copy(update={"tool_call_id": call.call_id, "id": None})


def _pack(made: _Made) -> dict[str, Any] | None:
    """Return an answer for other processes; one with an artifact, which may be anything, is not for them."""
    if not isinstance(made, ToolMessage) or made.artifact is not None:
        return None
    return {"content": made.content, "name": made.name}


def _unpack(data: Any, call: StartedCall) -> _Made:
    return ToolMessage(data["content"], name=data["name"], tool_call_id=call.call_id)


def _count(request: ToolCallRequest) -> int:
    """Return the number of this call among the calls of its tool since the user's last message.

    It is counted in the messages, so it is the same when the graph is resumed.
    """
    call = request.tool_call
    number = found = 0
    for message in messages_of(request.state):
        if isinstance(message, HumanMessage):
            number = 0
        elif isinstance(message, AIMessage):
            for made in message.tool_calls:
                number += made["name"] == call["name"]
                if made["id"] == call["id"]:
                    found = number  # the last one: some models reuse ids
    return found
