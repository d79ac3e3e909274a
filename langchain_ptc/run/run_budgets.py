"""What a whole run of the graph has used, from the messages of its state and concurrent executions."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from typing_extensions import TypedDict

from langchain_ptc.catalog.definition import ToolCallInfo
from langchain_ptc.catalog.search import build_own_tool
from langchain_ptc.errors import ToolCallError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.arguments import validate_arguments
from langchain_ptc.run.budgets import (
    Budget,
    BudgetMeter,
    CallLimit,
    Usage,
    check,
    current_meter,
    is_for_inner,
    price,
)
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.graph_state import messages_of
from langchain_ptc.wording import closest, did_you_mean

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition

_MAX_SETS = 1_000
"""Sets of concurrent executions that are remembered."""


class Budgets:
    """The budgets of one executor.

    Args:
        budget: For each execution.
        run_budget: For each run of the graph.
        catalog: The tools; those that the model may call itself too count for a run, and the
            catalog's own functions cost nothing.
        now: The clock.

    Raises:
        ValueError: The two have different `cost_of`, or name an unknown tool.
    """

    def __init__(
        self,
        budget: Budget | None,
        run_budget: Budget | None,
        catalog: ToolCatalog,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        costs = {b.cost_of for b in (budget, run_budget) if b is not None and b.cost_of is not None}
        if len(costs) > 1:
            raise ValueError("budget and run_budget must have the same cost_of")
        known = {definition.qualified_name for definition in catalog}
        for which, given in (("budget", budget), ("run_budget", run_budget)):
            for name in () if given is None else given.calls_per_tool:
                if name not in known:
                    raise ValueError(
                        f"{which}.calls_per_tool has {name!r}, which is not one of the tools{did_you_mean(closest(name, known))}"
                    )
        self._budget, self._run_budget = budget, run_budget
        self._cost_of = next(iter(costs), None)
        self.is_set = budget is not None or run_budget is not None
        """There is a budget."""
        self._free = frozenset(d.qualified_name for d in catalog.discovery)
        self._now = now
        self._direct = {d.tool_name: d for d in catalog if "direct" in d.policy.allowed_callers}
        self._sets: OrderedDict[object, dict[str, BudgetMeter]] = OrderedDict()
        self._lock = new_lock()

    @property
    def is_for_run(self) -> bool:
        """Whether the state of the graph is needed."""
        return self._run_budget is not None

    def open(
        self,
        state: Any,
        *,
        call_id: str | None = None,
        thread_id: str | None = None,
        prior_usage: Usage | None = None,
        call_limits: Sequence[CallLimit] = (),
    ) -> BudgetMeter:
        """Return the meter of one execution.

        Args:
            state: The state of the graph, which has the usage of the run.
            call_id: The tool call that asked for the execution.
            thread_id: The thread of the graph.
            prior_usage: What attempts used that are not in the state.
            call_limits: Limits of the agent around the execution.
        """
        messages = messages_of(state) if self.is_for_run or call_limits else []
        before = self._spent_in(messages)
        meter = BudgetMeter(
            self._budget,
            self._run_budget,
            before=before if prior_usage is None else before + prior_usage,
            free=self._free,
            call_limits=call_limits,
            now=self._now,
        )
        last = messages[-1].id if messages else None
        if prior_usage is None and call_id is not None and last is not None:
            self._join(meter, (thread_id, last, len(messages)), call_id)
        return meter

    def is_free(self, call: StartedCall) -> bool:
        """Whether a call costs nothing, and is not of a tool whose calls a budget counts."""
        budgets = [b for b in (self._budget, self._run_budget) if b is not None]
        if any(
            b.calls is not None or call.tool in b.calls_per_tool or is_for_inner(b) for b in budgets
        ):
            return False
        return self._cost_of is None or price(self._cost_of, call) == 0

    def check_direct(
        self, state: Any, definition: ToolDefinition, call: Mapping[str, Any]
    ) -> ToolCallError | None:
        """Check a call that the model makes itself against the budget of its run.

        Args:
            state: The state of the graph; its last message makes the call.
            definition: The tool.
            call: The call, as the message has it.

        Returns:
            Why it is not to be made; None if it is.
        """
        if self._run_budget is None or definition.tool_name not in self._direct:
            return None
        name = definition.qualified_name
        spent = self._spent_in(messages_of(state), until=call["id"])
        cost = self._direct_call(definition, call).cost
        try:
            check("run_budget", self._run_budget, spent, name, cost)
        except ToolCallError as error:
            return error
        return None

    def _join(self, meter: BudgetMeter, key: object, call_id: str) -> None:
        with self._lock:
            peers = self._sets.setdefault(key, {})
            self._sets.move_to_end(key)
            while len(self._sets) > _MAX_SETS:
                self._sets.popitem(last=False)
            for peer in peers.values():
                meter.lock = peer.lock
            peers[call_id] = meter  # in place of its own from before a pause
            meter.peers = peers

    def _spent_in(self, messages: Sequence[BaseMessage], *, until: str | None = None) -> Usage:
        """Add up what was used since the last message of the user, up to a call of the model."""
        spent = Usage()
        for message in messages:
            if isinstance(message, HumanMessage):
                spent = Usage()
            elif isinstance(message, ToolMessage):
                spent += _usage_in(message)
            elif isinstance(message, AIMessage):
                for call in message.tool_calls:
                    if until is not None and call["id"] == until and message is messages[-1]:
                        return spent
                    if (definition := self._direct.get(call["name"])) is not None:
                        spent += self._direct_call(definition, call)
        return spent

    def _direct_call(self, definition: ToolDefinition, call: Mapping[str, Any]) -> Usage:
        name, arguments = definition.qualified_name, call["args"]
        with contextlib.suppress(Exception):  # the tool itself says what is wrong with them
            arguments = validate_arguments(definition.tool, arguments).complete
        info = ToolCallInfo(
            tool=name, arguments=arguments, call_id=call["id"] or "", execution_id=""
        )
        cost = 0.0 if self._cost_of is None else float(self._cost_of(info))
        return Usage(calls=1, calls_per_tool={name: 1}, cost=cost)


def budget_of(budget: Budget | None, names: Collection[str]) -> Budget | None:
    """Return a budget for some of the tools that it is for.

    Args:
        budget: For more tools.
        names: Qualified names of those that there are.
    """
    if budget is None:
        return None
    limits = {name: limit for name, limit in budget.calls_per_tool.items() if name in names}
    return replace(budget, calls_per_tool=limits)


def _usage_in(message: ToolMessage) -> Usage:
    artifact = message.artifact
    found = artifact.get("spent") if isinstance(artifact, Mapping) else None
    return Usage.from_dict(found) if isinstance(found, Mapping) else Usage()


# --- `budget()`: how code sees what is left ---------------------------------------------------------


class BudgetLeft(TypedDict, total=False):
    """What is left; a key that is missing is not limited."""

    calls: int
    calls_per_tool: dict[str, int]
    """By the name of the tool, for those with a limit of their own."""
    wall_seconds: float
    output_tokens: int
    """Of printed text; four characters each."""
    cost: float
    inner_calls: int
    """Tool calls of agents that the code calls."""
    model_calls: int
    """Calls of models below calls of the code."""
    model_tokens: int


def build_budget_tool() -> StructuredTool:
    """Return the function `budget` for the code."""

    def budget() -> BudgetLeft:
        """Return what is left to spend, for this program and for the whole task."""
        left: BudgetLeft = current_meter.get().left()  # type: ignore[assignment]  # it has the keys
        return left

    return build_own_tool(budget)
