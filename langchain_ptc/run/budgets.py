"""What executions may use, and what they have used.

`Limits` protect the machine from one execution. A budget bounds what work may cost, and the code can see
it: `budget()` returns what is left. There is one for each execution, and one for a whole run of the
graph: everything since the last message of the user.

The usage of a run is kept in the messages of the graph's state. The artifact of each message of
`run_code` has the usage of its execution, and the next execution adds up those that came after the
user's last message. So it is right in any process that continues the thread. Concurrent executions do
not see each other's messages yet; in one process they see each other's `BudgetMeter`.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.errors import GraphBubbleUp
from typing_extensions import TypedDict, override

from langchain_ptc.catalog.definition import ToolCallInfo
from langchain_ptc.errors import LimitExceeded, ToolCallError, closest, did_you_mean
from langchain_ptc.locks import new_lock
from langchain_ptc.run.arguments import validate_arguments
from langchain_ptc.run.graph_state import messages_of
from langchain_ptc.sandbox.api import CallFailure, Done, Failure

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition
    from langchain_ptc.run.calls import CallOutcome, StartedCall

logger = logging.getLogger("langchain_ptc")

CHARS_PER_TOKEN = 4
_FIELDS = ("calls", "wall_seconds", "output_tokens", "cost")
INNER = ("inner_calls", "model_calls", "model_tokens")
"""What is counted below the calls of the code."""
_CALL_LIMIT = "run_budget.tool_call_limit"
_MIN_SHOWN_CHARS = 400  # output that is shown even where nothing is left: the model must know why


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be used; None for no limit.

    A call counts when it is about to be made, whatever becomes of it then; one that a person rejects
    does not. A call for which nothing is left raises `ToolCallError` in the code, which may catch it and
    print what it has; if it then makes another for which nothing is left, the execution ends with
    `status="limit"`.

    Raises:
        ValueError: A number is not positive, or there is a `cost` without `cost_of`.
    """

    calls: int | None = None
    """Tool calls. Searching for tools and reading the budget are free."""
    calls_per_tool: Mapping[str, int] = field(default_factory=dict)
    """Calls of single tools, by the qualified name that the code uses."""
    wall_seconds: float | None = None
    """Time that executions take. A call is cut off when it ends; code that makes no call runs on, to
    `Limits.wall_seconds`."""
    output_tokens: int | None = None
    """Output that the model is shown, four characters each. More than is left is cut in the middle."""
    cost: float | None = None
    """The sum of what `cost_of` gives."""
    cost_of: Callable[[ToolCallInfo], float] | None = None
    """What a call costs, asked before it is made; the same call must always cost the same."""
    inner_calls: int | None = None
    """Tool calls that agents make while the code waits for them, at any depth."""
    model_calls: int | None = None
    """Calls of chat models while the code waits: by agents and other tools, at any depth."""
    model_tokens: int | None = None
    """Tokens that these models report, read and written; checked before each call, so that the last may
    exceed it. The three count what LangChain's callbacks see, and so nothing on another server."""

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in (*_FIELDS, *INNER)}
        for name, limit in self.calls_per_tool.items():
            numbers[f"calls_per_tool[{name!r}]"] = limit
        for name, limit in numbers.items():
            kinds = (int, float) if name in ("wall_seconds", "cost") else (int,)
            if limit is not None and (type(limit) not in kinds or not limit > 0):
                raise ValueError(f"Budget.{name} must be a positive number, got {limit!r}")
        if self.cost is not None and self.cost_of is None:
            raise ValueError(
                f"Budget.cost={self.cost!r} needs cost_of: a function that says what a call costs"
            )


@dataclass(slots=True, kw_only=True)
class Usage:
    """What was used, by the fields of `Budget`."""

    calls: int = 0
    calls_per_tool: dict[str, int] = field(default_factory=dict)
    wall_seconds: float = 0.0
    output_tokens: int = 0
    cost: float = 0.0
    inner_calls: int = 0
    model_calls: int = 0
    model_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        both = {name: getattr(self, name) + getattr(other, name) for name in (*_FIELDS, *INNER)}
        per_tool = Counter(self.calls_per_tool) + Counter(other.calls_per_tool)
        return Usage(calls_per_tool=dict(per_tool), **both)

    def count(self, name: str, cost: float) -> None:
        """Add a call of the tool of a name."""
        self.calls += 1
        self.calls_per_tool[name] = self.calls_per_tool.get(name, 0) + 1
        self.cost += cost

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """A number of calls that the agent around an execution allows."""

    tools: AbstractSet[str] | None  # qualified names of the tools that it applies to; None for all
    allowed: int
    used: int  # of these, the calls before the execution
    name: str  # what an error calls it

    def check(self, name: str, spent: Usage) -> None:
        """Raise `ToolCallError` if a tool may not be called once more."""
        if self.tools is not None and name not in self.tools:
            return
        calls = spent.calls_per_tool
        used = spent.calls if self.tools is None else sum(calls.get(t, 0) for t in self.tools)
        used += self.used
        if used >= self.allowed:
            raise ToolCallError(
                f"{name} was not called: the agent's {self.name} is reached. Make no more such "
                "calls; print what you have",
                tool=name,
                limit=_CALL_LIMIT,
                allowed=self.allowed,
                used=used,
            )


class BudgetExhausted(Exception):
    """The code called again after an error had said that its budget is used up."""

    def __init__(self, call: StartedCall, failure: CallFailure) -> None:
        super().__init__(failure.message)
        self._call = call
        self._failure = failure

    def end(self, output: str) -> Done:
        """Return the end of the execution."""
        limit, allowed = self._failure.limit, self._failure.allowed
        assert limit is not None
        assert allowed is not None
        error = LimitExceeded(limit=limit, allowed=allowed, used=self._failure.used)
        failure = Failure(
            kind="LimitExceeded",
            message=f"{error}. The code got an error that said so, and went on calling",
            line=self._call.line,
            source_line=self._call.source_line,
            limit=limit,
            allowed=allowed,
            used=error.used,
        )
        return Done(status="limit", output=output, failure=failure)


class BudgetMeter:
    """Counts what one execution uses, against its budgets; from any thread."""

    def __init__(
        self,
        budget: Budget | None,
        run_budget: Budget | None,
        *,
        before: Usage,
        free: frozenset[str] = frozenset(),
        call_limits: Sequence[CallLimit] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._run_budget = budget, run_budget
        given = [b for b in (run_budget, budget) if b is not None]
        self._cost_of = next((b.cost_of for b in given if b.cost_of is not None), None)
        self._counts_output = any(b.output_tokens is not None for b in given)
        self._counts_inner = any(is_for_inner(b) for b in given)
        self._replayed: dict[int, Mapping[str, int]] = {}
        """What was counted again below each call, by its number, when the execution was resumed."""
        self._before = before
        self._free = free
        self.call_limits = call_limits
        self._now = now
        self._began = now()
        self._used = Usage()
        self._is_closed = False
        self.has_warned = False  # an error in the code has said that a budget is exhausted
        self.lock = new_lock()
        self.peers: Mapping[str, BudgetMeter] = {}
        """Those of concurrent executions, this one among them, by the id of their call."""
        self.read_output: Callable[[], str] = str  # returns what the code has printed until now

    # --- counting -----------------------------------------------------------------------------------

    def charge(self, call: StartedCall) -> None:
        """Count a call; raises `ToolCallError`, uncounted, if nothing is left for it."""
        name = call.tool
        if name in self._free:
            return
        cost = self._price(call)
        with self.lock:
            for which, budget, used in self._budgets():
                check(which, budget, used, name, cost)
            for limit in self.call_limits:
                limit.check(name, self._used_by_peers())
            self._used.count(name, cost)

    def record(self, call: StartedCall, answer: CallOutcome, *, is_replayed: bool) -> None:
        """Record the outcome of a call, just before the code gets it.

        Raises:
            BudgetExhausted: It is the second time that an error says that nothing is left.
        """
        failure = answer.failure
        if failure is not None and failure.limit and is_of_budget(failure.limit):
            if call.knows_budget:
                raise BudgetExhausted(call, failure)
            self.has_warned = True
            if failure.limit.partition(".")[2] not in INNER:
                return  # the call was not made; one that ended below it was
        if is_replayed and (name := call.tool) not in self._free:
            with self.lock:
                self._used.count(name, self._price(call))
            self.restore(call, call.inner)

    def watch(self, call: StartedCall, config: RunnableConfig) -> RunnableConfig:
        """Return the config for a call: with what counts below it, if a budget needs that."""
        if not self._counts_inner:
            return config
        # LangChain logs each refusal as an error of the handler; it is one of the code, with an event.
        logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_no_refusal)
        return merge_configs(config, {"callbacks": [_InnerCounter(self, call)]})

    def charge_inner(self, call: StartedCall, key: str) -> None:
        """Count a call below one of the code, one of `INNER`; raises `ToolCallError`, uncounted, if nothing is left."""
        keys = ("model_calls", "model_tokens") if key == "model_calls" else (key,)
        try:
            with self.lock:
                for which, budget, used in self._budgets():
                    for checked in keys:
                        limit, spent = getattr(budget, checked), getattr(used, checked)
                        if limit is not None and spent >= limit:
                            raise _spent(which, checked, spent, limit, "", call.tool)
                self.add_inner(call, key, 1)
        except ToolCallError as error:
            call.over_budget = error
            raise

    def add_inner(self, call: StartedCall, key: str, number: int) -> None:
        """Add to what was used below a call of the code: one of `INNER`."""
        with self.lock:
            setattr(self._used, key, getattr(self._used, key) + number)
            call.inner = {**call.inner, key: call.inner.get(key, 0) + number}

    def restore(self, call: StartedCall, inner: Mapping[str, int]) -> None:
        """Count again what was used below a call before a pause, by the names in `INNER`."""
        before = self._replayed.get(call.number, {})
        self._replayed[call.number] = call.inner = inner
        with self.lock:
            for key in INNER:
                used = getattr(self._used, key) + inner.get(key, 0) - before.get(key, 0)
                setattr(self._used, key, used)

    def _price(self, call: StartedCall) -> float:
        return 0.0 if self._cost_of is None else price(self._cost_of, call)

    # --- what is left -------------------------------------------------------------------------------

    def left(self) -> dict[str, Any]:
        """Return what is left of both budgets together, without what is not limited."""
        found: dict[str, Any] = {}
        per_tool: dict[str, int] = {}
        with self.lock:
            for _, budget, used in self._budgets():
                for key, limit in _limits_of(budget, (*_FIELDS, *INNER)):
                    left = round(max(0, limit - getattr(used, key)), 6)
                    found[key] = min(left, found.get(key, left))
                for name, calls in budget.calls_per_tool.items():
                    rest = max(0, calls - used.calls_per_tool.get(name, 0))
                    per_tool[name] = min(rest, per_tool.get(name, rest))
        return {**found, **({"calls_per_tool": per_tool} if per_tool else {})}

    def seconds_left(self) -> tuple[float, str | None]:
        """Return how long a call may take, and the limit that says so."""
        found: tuple[float, str | None] = (math.inf, None)
        with self.lock:
            for which, budget, used in self._budgets("wall_seconds"):
                left = max(0.0, (budget.wall_seconds or 0.0) - used.wall_seconds)
                if left < found[0]:
                    found = left, f"{which}.wall_seconds"
        return found

    def shown_chars(self, limit: int) -> int:
        """Return how much of the output the model may be shown."""
        with self.lock:
            for _, budget, used in self._budgets("output_tokens"):
                left = (budget.output_tokens or 0) - used.output_tokens + self._used.output_tokens
                limit = min(limit, left * CHARS_PER_TOKEN)
        return max(limit, _MIN_SHOWN_CHARS)

    def close(self, *, seconds: float, shown_chars: int) -> Usage:
        """Return what the execution has used, with its time and the length of what the model is shown."""
        with self.lock:
            self.read_output = str  # keeps nothing of the session alive
            self._is_closed = True
            self._used.wall_seconds = seconds
            self._used.output_tokens = math.ceil(shown_chars / CHARS_PER_TOKEN)
            return self._used

    def _budgets(self, key: str = "calls_per_tool") -> Iterator[tuple[str, Budget, Usage]]:
        """Yield each budget that limits `key`, with its name and what is used of it until now."""
        if getattr(self._budget, key, None) is not None:
            assert self._budget is not None
            yield "budget", self._budget, self._used_until_now()
        if getattr(self._run_budget, key, None) is not None:
            assert self._run_budget is not None
            yield "run_budget", self._run_budget, self._before + self._used_by_peers()

    def _used_by_peers(self) -> Usage:
        """Return what this and concurrent executions have used."""
        peers = [peer for peer in self.peers.values() if peer is not self]
        return sum((peer._used_until_now() for peer in peers), self._used_until_now())

    def _used_until_now(self) -> Usage:
        if not self._is_closed:
            self._used.wall_seconds = self._now() - self._began
            if self._counts_output:
                self._used.output_tokens = math.ceil(len(self.read_output()) / CHARS_PER_TOKEN)
        return self._used


def price(cost_of: Callable[[ToolCallInfo], float], call: StartedCall) -> float:
    """Return what a call costs; raises `ToolCallError` if `cost_of` fails, or gives no cost."""
    try:
        cost = float(cost_of(call.info()))
    except Exception:
        logger.exception("cost_of failed for %s", call.tool)
        cost = math.nan
    if not (math.isfinite(cost) and cost >= 0):
        raise ToolCallError(f"the cost of a call of {call.tool} is unknown", tool=call.tool)
    return cost


def check(which: str, budget: Budget, used: Usage, name: str, cost: float) -> None:
    """Raise `ToolCallError` if a budget (`budget` or `run_budget`) does not allow a call of a tool."""
    limits = [(key, limit, getattr(used, key)) for key, limit in _limits_of(budget)]
    if (calls := budget.calls_per_tool.get(name)) is not None:
        limits.append(("calls_per_tool", calls, used.calls_per_tool.get(name, 0)))
    for key, limit, spent in limits:
        more = cost if key == "cost" else _MORE[key]
        if spent + more <= limit and (more or spent < limit):
            continue
        needs = f", and this call costs {more:g}" if key == "cost" else ""
        of_tool = f" of {name}" if key == "calls_per_tool" else ""
        raise _spent(which, f"{key}{of_tool}", spent, limit, needs, name)


def _spent(
    which: str, key: str, spent: float, limit: float, needs: str, name: str
) -> ToolCallError:
    whose = "this execution" if which == "budget" else "this whole task"
    return ToolCallError(
        f"the budget of {whose} is spent: {key} {spent:.6g} of {limit:.6g}{needs}. "
        "Make no more such calls; print what you have",
        tool=name,
        limit=f"{which}.{key.partition(' ')[0]}",
        allowed=limit,
        used=spent,
    )


def _limits_of(budget: Budget, keys: Sequence[str] = ()) -> list[tuple[str, float]]:
    """Return fields of a budget that limit all tools together, and by how much."""
    found = [(key, getattr(budget, key)) for key in keys or _FIELDS]
    return [(key, limit) for key, limit in found if limit is not None]


def is_for_inner(budget: Budget | None) -> bool:
    """Whether a budget bounds what happens below the calls of the code."""
    return budget is not None and any(getattr(budget, key) is not None for key in INNER)


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return not (isinstance(record.args, tuple) and _InnerCounter.__name__ in record.args)


class _InnerCounter(BaseCallbackHandler):
    """Counts calls of models and tools below one call of the code, and refuses those over a budget.

    It is inherited by whatever runs below the call, and raises before anything has been called.
    """

    run_inline = raise_error = True
    ignore_chain = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, meter: BudgetMeter, call: StartedCall) -> None:
        self._meter, self._call = meter, call
        self._tools: set[UUID] = set()

    @override
    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self._meter.charge_inner(self._call, "model_calls")

    @override
    def on_llm_start(self, *_: Any, **__: Any) -> None:
        self._meter.charge_inner(self._call, "model_calls")

    @override
    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        messages = [getattr(g, "message", None) for batch in response.generations for g in batch]
        usages = [getattr(message, "usage_metadata", None) or {} for message in messages]
        tokens = sum(usage.get("total_tokens", 0) for usage in usages)
        self._meter.add_inner(self._call, "model_tokens", tokens)

    @override
    def on_tool_start(
        self, *_: Any, run_id: UUID, tool_call_id: str | None = None, **__: Any
    ) -> None:
        if tool_call_id != self._call.call_id:  # that is the call of the code itself
            self._meter.charge_inner(self._call, "inner_calls")
            self._tools.add(run_id)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        if isinstance(error, GraphBubbleUp) and run_id in self._tools:  # it begins again later
            self._meter.add_inner(self._call, "inner_calls", -1)


_MORE: Mapping[str, int] = {"calls": 1, "calls_per_tool": 1, "wall_seconds": 0, "output_tokens": 0}
"""What one more call uses immediately."""


def is_of_budget(limit: str | None) -> bool:
    """Whether a limit is one of a budget."""
    return limit is not None and limit.startswith(("budget.", "run_budget."))


current_meter: contextvars.ContextVar[BudgetMeter] = contextvars.ContextVar("ptc_meter")
"""The meter of the execution that makes a call."""


# --- a whole run: from the messages of its state, and concurrent executions --------------------------

_MAX_SETS = 1_000  # sets of concurrent executions that are remembered


class Budgets:
    """The budgets of one executor: for each execution, and for each run of the graph.

    Calls that the model makes itself count for a run too; the catalog's own functions cost nothing.

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
        self.is_set = budget is not None or run_budget is not None  # there is a budget
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
        """Return the meter of one execution, which the tool call `call_id` of a thread asked for.

        The state has the usage of the run, apart from `prior_usage`: that of attempts which are not in it.
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
        """Return why a call in the last message of the state is over the budget of its run; None if it is not."""
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
                spent += usage_in(message)
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
    """Return a budget for those of its tools that have these qualified names."""
    if budget is None:
        return None
    limits = {name: limit for name, limit in budget.calls_per_tool.items() if name in names}
    return replace(budget, calls_per_tool=limits)


def usage_in(message: ToolMessage) -> Usage:
    """Return what the execution used whose artifact a message has."""
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


def budget() -> BudgetLeft:
    """Return what is left to spend, for this program and for the whole task."""
    left: BudgetLeft = current_meter.get().left()  # type: ignore[assignment]  # it has the keys
    return left
