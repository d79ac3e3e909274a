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
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from langchain_ptc.catalog.resilience import ToolCallInfo
from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.execution.calls import Answer, StartedCall
from langchain_ptc.execution.info import info_of
from langchain_ptc.sandbox.base import Done, Failure

logger = logging.getLogger("langchain_ptc")

CHARS_PER_TOKEN = 4
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

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {**asdict(self), "calls_per_tool": dict(self.calls_per_tool)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


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


class Purse:
    """What one execution has, and has spent; used from any thread.

    Args:
        budget: For this execution.
        run_budget: For the whole run.
        before: What the run had spent before.
        free: Qualified names of what costs nothing.
        now: The clock.
    """

    def __init__(
        self,
        budget: Budget | None,
        run_budget: Budget | None,
        *,
        before: Spent,
        free: frozenset[str] = frozenset(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
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
        self._cost = 0.0
        self._ended: tuple[float, int] | None = None
        self._is_told = False
        self.lock = threading.Lock()
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
            own = self._own()
            for which, budget in self._budgets.items():
                if budget is not None:
                    spent = own if which == "budget" else own + self._elsewhere()
                    check(which, budget, spent, name, cost)
            self._count(name, cost)

    def follow(self, call: StartedCall, answer: Answer, *, is_replayed: bool) -> None:
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

    def _count(self, name: str, cost: float) -> None:
        self._calls[name] += 1
        self._cost += cost

    def _price(self, call: StartedCall) -> float:
        if self._cost_of is None:
            return 0.0
        try:
            cost = float(self._cost_of(info_of(call)))
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
        with self.lock:
            own, run = self._own(), self._own() + self._elsewhere()
        for which, budget in self._budgets.items():
            if budget is None:
                continue
            spent = own if which == "budget" else run
            for key in ("calls", "wall_seconds", "output_tokens", "cost"):
                if (most := getattr(budget, key)) is not None:
                    left = max(0, most - getattr(spent, key))
                    left = round(left, 6) if isinstance(left, float) else left
                    found[key] = min(left, found.get(key, left))
            for name, most in budget.calls_per_tool.items():
                left = max(0, most - spent.calls_per_tool.get(name, 0))
                per_tool[name] = min(left, per_tool.get(name, left))
        return {**found, **({"calls_per_tool": per_tool} if per_tool else {})}

    def seconds_left(self) -> tuple[float, str | None]:
        """Return how long a call may take, and the limit that says so."""
        with self.lock:
            own, run = self._own(), self._own() + self._elsewhere()
        found: tuple[float, str | None] = (math.inf, None)
        for which, spent in (("budget", own), ("run_budget", run)):
            budget = self._budgets[which]
            if budget is not None and budget.wall_seconds is not None:
                left = max(0.0, budget.wall_seconds - spent.wall_seconds)
                if left < found[0]:
                    found = left, f"{which}.wall_seconds"
        return found

    def shown_chars(self, most: int) -> int:
        """Return how much of the output the model may be shown."""
        with self.lock:
            run = self._elsewhere()
        for which, spent in (("budget", 0), ("run_budget", run.output_tokens)):
            budget = self._budgets[which]
            if budget is not None and budget.output_tokens is not None:
                most = min(most, (budget.output_tokens - spent) * CHARS_PER_TOKEN)
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

    def _own(self) -> Spent:
        seconds, tokens = self._ended or (self._now() - self._began, self._output_tokens())
        return Spent(
            calls=self._calls.total(),
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

    def _elsewhere(self) -> Spent:
        spent = self._before
        for peer in list(self.peers.values()):
            if peer is not self:
                spent += peer._own()
        return spent


def check(which: str, budget: Budget, spent: Spent, name: str, cost: float) -> None:
    """Hold a call against one budget.

    Args:
        which: `budget` or `run_budget`.
        budget: What it allows.
        spent: What was spent of it.
        name: The tool of the call.
        cost: What the call costs.

    Raises:
        ToolCallError: Nothing is left for it.
    """
    most_of_tool = budget.calls_per_tool.get(name)
    used_of_tool = spent.calls_per_tool.get(name, 0)
    asked: tuple[tuple[str, float | None, float, float], ...] = (
        ("calls", budget.calls, spent.calls, 1),
        ("calls_per_tool", most_of_tool, used_of_tool, 1),
        ("wall_seconds", budget.wall_seconds, spent.wall_seconds, 0),
        ("output_tokens", budget.output_tokens, spent.output_tokens, 0),
        ("cost", budget.cost, spent.cost, cost),
    )
    for key, most, used, more in asked:
        if most is None or (used + more <= most and (more or used < most)):
            continue
        whose = "this execution" if which == "budget" else "this whole task"
        needs = f", and this call costs {more:g}" if key == "cost" else ""
        of_tool = f" of {name}" if key == "calls_per_tool" else ""
        raise ToolCallError(
            f"the budget of {whose} is spent: {key}{of_tool} {used:.6g} of {most:.6g}{needs}. "
            "Make no more such calls; print what you have",
            tool=name,
            limit=f"{which}.{key}",
            allowed=most,
            used=used,
        )


def is_of_budget(limit: str | None) -> bool:
    """Whether a limit is one of a budget."""
    return limit is not None and limit.startswith(("budget.", "run_budget."))
