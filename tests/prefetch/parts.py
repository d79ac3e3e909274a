"""Runs parts of programs under the sandbox's language, with stubs that note the calls."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from langchain_ptc.prefetch.plan import Part, Plan
from tests.support.sandbox_runner import run_code

TOOLS = {
    "get": True,
    "find": True,
    "team": True,
    "crm.get_customer": True,
    "crm.delete_customer": False,
    "pay": False,
}
Call = tuple[Any, ...]
"""The bare name of a tool, its arguments, and its keyword arguments as pairs."""


class Recorder:
    """Stubs that note each call, and answer it with what `results` gives for it.

    Args:
        part: What runs. Its calls that do not wait are answered with None.
        results: The results of the others.
    """

    def __init__(self, part: Part, results: Callable[[Call], Any]) -> None:
        self.ahead: list[Call] = []
        self.waited: list[Call] = []
        self._part = part
        self._results = results

    def names(self) -> dict[str, object]:
        """Return what the code may name."""
        stubs = {name.rpartition(".")[2]: self._stub(name) for name in TOOLS}
        crm = {name: stubs[name] for name in ("get_customer", "delete_customer")}
        tools = SimpleNamespace(**stubs, crm=SimpleNamespace(**crm))
        return {**stubs, "crm": tools.crm, "tools": tools, "ToolCallError": RuntimeError}

    def _stub(self, tool: str) -> Callable[..., Any]:
        def stub(*args: object, **kwargs: object) -> Any:
            line = sys._getframe(1).f_lineno
            call = (tool.rpartition(".")[2], *args, *kwargs.items())
            if not self._part.is_async:
                return self._answer(call, line)
            return self._answer_later(call, line)

        return stub

    async def _answer_later(self, call: Call, line: int) -> Any:
        return self._answer(call, line)

    def _answer(self, call: Call, line: int) -> Any:
        if line in self._part.ahead:
            self.ahead.append(call)
            return None
        self.waited.append(call)
        return self._results(call)


def no_result(call: Call) -> Any:
    """Refuse a call that waits."""
    raise AssertionError(f"{call} waits for its result")


def run_part(part: Part, results: Callable[[Call], Any] = no_result) -> Recorder:
    """Run a part of a program and return its calls; it may end as it likes, but for a syntax error."""
    recorder = Recorder(part, results)
    names = recorder.names()
    modules: dict[str, Mapping[str, object]] = {
        "tools": vars(names["tools"]),
        "tools.crm": vars(names["crm"]),
    }
    with contextlib.suppress(SystemExit, RuntimeError, TypeError, KeyError, ValueError):
        run_code(part.source, names=names, overrides=modules)
    return recorder


def plan_of(code: str, *, is_whole: bool = True, tools: Mapping[str, bool] = TOOLS) -> Plan:
    """Return the plan of a program, or of the beginning of one."""
    plan = Plan(tools)
    plan.feed(code)
    if is_whole:
        plan.close()
    return plan


def ahead_of(code: str) -> list[Call]:
    """Return the calls that the first slice of a program makes."""
    part = plan_of(code).slice()
    return [] if part is None else run_part(part).ahead
