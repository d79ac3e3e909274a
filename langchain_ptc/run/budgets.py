"""What executions may spend, and what they have spent.

`Limits` protect the machine from one execution. A budget is what work may cost, and the code can see it:
`budget()` returns what is left. There is one for each execution, and one for a whole run of the graph:
everything since the last message of the user.

What a run has spent is kept where the run is kept: in the messages of its state. The artifact of each
message of `run_code` says what its execution spent, and the next execution adds up those that came
after the user's last message. So it holds in any process that goes on with the thread. Executions side
by side do not find each other's messages there yet; in one process they see each other's `Purse`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeAlias

from langchain_ptc.catalog.policy import ToolCallInfo
from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.sandbox.api import Done, Failure

logger = logging.getLogger("langchain_ptc")

CHARS_PER_TOKEN = 4
_CALL_LIMIT = "run_budget.tool_call_limit"
_MIN_SHOWN_CHARS = 400
"""So much is shown of the output even where nothing is left: the model must know why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent; None for as much as it takes.

    A call counts when it is about to be made, whatever becomes of it then; one that a person rejects
    does not. A call for which nothing is left raises `ToolCallError` in the code, which may catch it and
    print what it has; if it then makes another for which nothing is left, the execution ends with
    `status="limit"`.

    Raises:
        ValueError: A number is not positive, or there is a `cost` and nobody says what a call costs.
    """

    calls: int | None = None
    """Tool calls. Looking for tools and at the budget is free."""
    calls_per_tool: Mapping[str, int] = field(default_factory=dict)
    """Calls of single tools, by the name that the code uses, with the domain."""
    wall_seconds: float | None = None
    """Time that executions take. A call is cut off when it ends; code that makes no call runs on, to
    `Limits.wall_seconds`."""
    output_tokens: int | None = None
    """Output that the model is shown, four characters each. More than is left is cut in the middle."""
    cost: float | None = None
    """The sum of what `cost_of` gives."""
    cost_of: Callable[[ToolCallInfo], float] | None = None
    """What a call costs, asked before it is made; the same call must always cost the same."""

    def __post_init__(self) -> None:
        numbers = {
            "calls": self.calls,
            "wall_seconds": self.wall_seconds,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
            **{f"calls_per_tool[{name!r}]": most for name, most in self.calls_per_tool.items()},
        }
        for name, most in numbers.items():
            kinds = (int, float) if name in ("wall_seconds", "cost") else (int,)
            if most is not None and (type(most) not in kinds or not most > 0):
                raise ValueError(f"Budget.{name} must be a positive number, got {most!r}")
        if self.cost is not None and self.cost_of is None:
            raise ValueError(
                f"Budget.cost={self.cost!r} needs cost_of: a function that says what a call costs"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent."""

    calls: int = 0
    calls_per_tool: Mapping[str, int] = field(default_factory=dict)
    wall_seconds: float = 0.0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """Return both together."""
        return Spent(
            calls=self.calls + other.calls,
            calls_per_tool=Counter(self.calls_per_tool) + Counter(other.calls_per_tool),
            wall_seconds=self.wall_seconds + other.wall_seconds,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )

    def used(self, key: str, name: str) -> float:
        """Return one field; of `calls_per_tool`, the calls of the tool of a name."""
        if key == "calls_per_tool":
            return self.calls_per_tool.get(name, 0)
        used: float = getattr(self, key)
        return used

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {**asdict(self), "calls_per_tool": dict(self.calls_per_tool)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """A number of calls that the agent around an execution allows."""

    tools: AbstractSet[str] | None
    """Qualified names of the tools that it is for; None for all."""
    most: int
    """Calls that it allows."""
    used: int
    """Of these, what was used before the execution."""
    told: str
    """What it is."""


class BudgetSpent(Exception):
    """The code was told that nothing is left, and went on calling."""

    def __init__(self, call: StartedCall, failure: LimitExceeded) -> None:
        super().__init__(str(failure))
        self._call = call
        self._failure = failure

    def end(self, output: str) -> Done:
        """Return the end of the execution."""
        told = self._failure
        failure = Failure(
            kind="LimitExceeded",
            message=f"{told}. The code was told so, and went on calling",
            line=self._call.line,
            source_line=self._call.source_line,
            limit=told.limit,
            allowed=told.allowed,
            used=told.used,
        )
        return Done(status="limit", output=output, failure=failure)


_Limited: TypeAlias = list[tuple[str, float]]
"""Fields of a `Budget` that are limited, and how much."""


class Purse:
    """What one execution has, and has spent; used from any thread.

    Args:
        budget: For this execution.
        run_budget: For the whole run.
        before: What the run had spent before.
        free: Qualified names of what costs nothing.
        call_limits: Limits of the agent around it.
        now: The clock.
    """

    def __init__(
        self,
        budget: Budget | None,
        run_budget: Budget | None,
        *,
        before: Spent,
        free: frozenset[str] = frozenset(),
        call_limits: Sequence[CallLimit] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call_limits = call_limits
        self._budgets = {"budget": budget, "run_budget": run_budget}
        self._cost_of = next(
            (b.cost_of for b in (run_budget, budget) if b is not None and b.cost_of is not None),
            None,
        )
        self._before = before
        self._free = free
        self._now = now
        self._began = now()
        self._calls: Counter[str] = Counter()
        self._total = 0
        self._cost = 0.0
        self._ended: tuple[float, int] | None = None
        self._limits: dict[str, list[tuple[str, _Limited, Callable[[str, str], float]]]] = {}
        self._is_told = False
        self.lock = new_lock()
        self.peers: Mapping[str, Purse] = {}
        """The purses of executions side by side, this one among them, by the id of their call."""
        self.read_output: Callable[[], str] = str
        """Gives what the code has printed until now."""

    # --- spending -----------------------------------------------------------------------------------

    def charge(self, call: StartedCall) -> None:
        """Count a call.

        Raises:
            ToolCallError: Nothing is left for it; it is not counted.
        """
        name = call.definition.qualified_name
        if name in self._free:
            return
        cost = self._price(call)
        with self.lock:
            for which, limited, used in self._limits_of(name):
                check(which, limited, used, name, cost)
            self._check_call_limits(name)
            self._count(name, cost)

    def _check_call_limits(self, name: str) -> None:
        for limit in self._call_limits:
            if limit.tools is not None and name not in limit.tools:
                continue
            purses = {id(purse): purse for purse in (self, *self.peers.values())}.values()
            used = limit.used + sum(
                purse._total
                if limit.tools is None
                else sum(purse._calls.get(tool, 0) for tool in limit.tools)
                for purse in purses
            )
            if used + 1 > limit.most:
                raise ToolCallError(
                    f"{name} was not called: the agent's {limit.told} is reached. Make no more such "
                    "calls; print what you have",
                    tool=name,
                    limit=_CALL_LIMIT,
                    allowed=limit.most,
                    used=used,
                )

    def follow(self, call: StartedCall, answer: CallOutcome, *, is_replayed: bool) -> None:
        """Note that the code is about to get an answer; before it does.

        Raises:
            BudgetSpent: It is the second time that it hears that nothing is left.
        """
        failure = answer.failure
        if failure is None or not is_of_budget(failure.limit):
            if is_replayed and call.definition.qualified_name not in self._free:
                with self.lock:
                    self._count(call.definition.qualified_name, self._price(call))
            return
        if call.knows_budget:
            assert failure.limit is not None
            assert failure.allowed is not None
            raise BudgetSpent(
                call,
                LimitExceeded(limit=failure.limit, allowed=failure.allowed, used=failure.used),
            )
        self._is_told = True

    @property
    def is_told(self) -> bool:
        """Whether the code has heard that nothing is left."""
        return self._is_told

    def _limits_of(self, name: str) -> list[tuple[str, _Limited, Callable[[str, str], float]]]:
        found = self._limits.get(name)
        if found is None:
            found = self._limits[name] = [
                (which, limited_by(b, name), self._used if which == "budget" else self._used_in_run)
                for which, b in self._budgets.items()
                if b is not None
            ]
        return found

    def _count(self, name: str, cost: float) -> None:
        self._calls[name] += 1
        self._total += 1
        self._cost += cost

    def _price(self, call: StartedCall) -> float:
        if self._cost_of is None:
            return 0.0
        try:
            cost = float(self._cost_of(call.info()))
        except Exception:
            logger.exception("cost_of failed for %s", call.definition.qualified_name)
            cost = math.nan
        if not (math.isfinite(cost) and cost >= 0):
            name = call.definition.qualified_name
            raise ToolCallError(f"what a call of {name} costs cannot be told", tool=name)
        return cost

    # --- looking ------------------------------------------------------------------------------------

    def left(self) -> dict[str, Any]:
        """Return what is left of both budgets together; what is not limited is not there."""
        found: dict[str, Any] = {}
        per_tool: dict[str, int] = {}
        for which, budget in self._budgets.items():
            if budget is None:
                continue
            used = self._used if which == "budget" else self._used_in_run
            with self.lock:
                for key, most in limited_by(budget, ""):
                    left = round(max(0, most - used(key, "")), 6)
                    found[key] = min(left, found.get(key, left))
                for name, calls in budget.calls_per_tool.items():
                    rest = max(0, calls - int(used("calls_per_tool", name)))
                    per_tool[name] = min(rest, per_tool.get(name, rest))
        return {**found, **({"calls_per_tool": per_tool} if per_tool else {})}

    def seconds_left(self) -> tuple[float, str | None]:
        """Return how long a call may take, and the limit that says so."""
        found: tuple[float, str | None] = (math.inf, None)
        for which, budget in self._budgets.items():
            if budget is not None and budget.wall_seconds is not None:
                used = self._used if which == "budget" else self._used_in_run
                with self.lock:
                    left = max(0.0, budget.wall_seconds - used("wall_seconds", ""))
                if left < found[0]:
                    found = left, f"{which}.wall_seconds"
        return found

    def shown_chars(self, most: int) -> int:
        """Return how much of the output the model may be shown."""
        for which, budget in self._budgets.items():
            if budget is not None and budget.output_tokens is not None:
                spent = 0.0
                if which == "run_budget":
                    with self.lock:
                        own = self._used("output_tokens", "")
                        spent = self._used_in_run("output_tokens", "") - own
                most = min(most, int(budget.output_tokens - spent) * CHARS_PER_TOKEN)
        return max(most, _MIN_SHOWN_CHARS)

    def close(self, *, seconds: float, shown_chars: int) -> Spent:
        """Return what the execution has spent.

        Args:
            seconds: The time that it took.
            shown_chars: Length of what the model is shown.
        """
        with self.lock:
            self.read_output = str  # nothing of the session is kept alive
            self._ended = seconds, math.ceil(shown_chars / CHARS_PER_TOKEN)
            return self._own()

    def _used(self, key: str, name: str) -> float:
        """Return what this execution has used of a field of `Budget`, for the tool of a name."""
        if key == "calls":
            return self._total
        if key == "calls_per_tool":
            return self._calls.get(name, 0)
        if key == "cost":
            return self._cost
        if key == "wall_seconds":
            return self._ended[0] if self._ended else self._now() - self._began
        return self._ended[1] if self._ended else self._output_tokens()

    def _used_in_run(self, key: str, name: str) -> float:
        """Return what the run has used of it."""
        used = self._used(key, name) + self._before.used(key, name)
        for peer in self.peers.values():
            if peer is not self:
                used += peer._used(key, name)
        return used

    def _own(self) -> Spent:
        seconds, tokens = self._ended or (self._now() - self._began, self._output_tokens())
        return Spent(
            calls=self._total,
            calls_per_tool=dict(self._calls),
            wall_seconds=seconds,
            output_tokens=tokens,
            cost=self._cost,
        )

    def _output_tokens(self) -> int:
        is_limited = any(
            b is not None and b.output_tokens is not None for b in self._budgets.values()
        )
        return math.ceil(len(self.read_output()) / CHARS_PER_TOKEN) if is_limited else 0


def check(
    which: str, limited: _Limited, used: Callable[[str, str], float], name: str, cost: float
) -> None:
    """Hold a call against one budget.

    Args:
        which: `budget` or `run_budget`.
        limited: What it allows; see `limited_by`.
        used: Gives how much of a field of `Budget` is used, for the tool of a name.
        name: The tool of the call.
        cost: What the call costs.

    Raises:
        ToolCallError: Nothing is left for it.
    """
    for key, most in limited:
        spent = used(key, name)
        more = cost if key == "cost" else _MORE[key]
        if spent + more <= most and (more or spent < most):
            continue
        whose = "this execution" if which == "budget" else "this whole task"
        needs = f", and this call costs {more:g}" if key == "cost" else ""
        of_tool = f" of {name}" if key == "calls_per_tool" else ""
        raise ToolCallError(
            f"the budget of {whose} is spent: {key}{of_tool} {spent:.6g} of {most:.6g}{needs}. "
            "Make no more such calls; print what you have",
            tool=name,
            limit=f"{which}.{key}",
            allowed=most,
            used=spent,
        )


def limited_by(budget: Budget, name: str) -> _Limited:
    """Return what a budget limits for a tool, and how much."""
    per_tool = budget.calls_per_tool.get(name)
    found: tuple[tuple[str, float | None], ...] = (
        ("calls", budget.calls),
        ("calls_per_tool", per_tool),
        ("wall_seconds", budget.wall_seconds),
        ("output_tokens", budget.output_tokens),
        ("cost", budget.cost),
    )
    return [(key, most) for key, most in found if most is not None]


_MORE: Mapping[str, int] = {"calls": 1, "calls_per_tool": 1, "wall_seconds": 0, "output_tokens": 0}
"""What one call more uses at once."""


def is_of_budget(limit: str | None) -> bool:
    """Whether a limit is one of a budget."""
    return limit is not None and limit.startswith(("budget.", "run_budget."))
