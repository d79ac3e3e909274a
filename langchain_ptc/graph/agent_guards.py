"""What guards the tools of an agent already, and must guard them when code calls them.

`HumanInTheLoopMiddleware` and `ToolCallLimitMiddleware` look at the tool calls of the model's message.
The message of a programmatic agent calls `run_code`, so they would never see what the code calls. The
guards of the agent that a tool is in are therefore applied to the calls of the code.

LangChain tells no tool which agent it is in. But `create_agent` reads each of its tools while it builds
the agent, and its own argument `middleware` is known then. Where one tool is in several agents, the
middleware through which a call passes says in which of them it runs.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.prebuilt import ToolNode

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.errors import PTCError
from langchain_ptc.execution.asking import message_lists
from langchain_ptc.execution.budgets import CallLimit

AgentGuards: TypeAlias = Literal["apply", "ignore"]
"""Whether approvals and limits that an agent has hold for the calls of the code."""

_MADE = frozenset({"returned", "failed", "cancelled"})
"""Statuses of calls that reached their tools."""
_IN_TOOL_NODE = frozenset({"_run_one", "_arun_one"})
"""Functions of `ToolNode` around all of the middleware of a call. Where they are not found, the guards of
every agent that has the tool hold."""


@dataclass(frozen=True, slots=True)
class Found:
    """The guards of an agent that hold for the calls of code."""

    approvals: tuple[Any, ...] = ()
    """Objects of `HumanInTheLoopMiddleware`."""
    limits: tuple[Any, ...] = ()
    """Objects of `ToolCallLimitMiddleware`."""
    program: str = "run_code"
    """Name of the tool that runs code: the program itself takes nothing of a limit of all tools."""

    def __bool__(self) -> bool:
        return bool(self.approvals or self.limits)

    def call_limits(self, catalog: ToolCatalog, state: Any) -> list[CallLimit]:
        """Return what is left to the code of the limits of its agent.

        Args:
            catalog: The tools that the code may call.
            state: The state of the agent.
        """
        found = []
        for limiter in self.limits:
            named = {d.qualified_name for d in catalog if d.tool_name == limiter.tool_name}
            if limiter.tool_name is not None and not named:
                continue
            for scope in ("run", "thread"):
                most = getattr(limiter, f"{scope}_limit")
                if most is None:
                    continue
                tools = None if limiter.tool_name is None else named
                used = calls_of_code(state, tools, whole=scope == "thread")
                used += self._calls_of_model(limiter, state, scope)
                whose = "the agent's tools" if tools is None else limiter.tool_name
                told = f"{type(limiter).__name__}({scope}_limit={most}) for {whose}"
                found.append(CallLimit(tools=tools, most=most, used=used, told=told))
        return found

    def _calls_of_model(self, limiter: Any, state: Any, scope: str) -> int:
        """Return what the model's own calls have used, as its agent counts them."""
        counts = state.get(f"{scope}_tool_call_count") if isinstance(state, Mapping) else None
        count = int((counts or {}).get(limiter.tool_name or "__all__", 0))
        if limiter.tool_name is not None:
            return count
        programs = 0
        for message in _messages_of(state):
            if isinstance(message, HumanMessage) and scope == "run":
                programs = 0
            elif isinstance(message, AIMessage):
                programs += sum(call["name"] == self.program for call in message.tool_calls)
        return max(0, count - programs)


def calls_of_code(state: Any, tools: set[str] | None, *, whole: bool) -> int:
    """Count the calls that earlier code of a thread has made.

    Args:
        state: The state of the graph.
        tools: Qualified names of those that count; None for all.
        whole: The whole thread, and not only what came after the user's last message.
    """
    count = 0
    for message in _messages_of(state):
        if isinstance(message, HumanMessage) and not whole:
            count = 0
        elif isinstance(message, ToolMessage) and isinstance(message.artifact, Mapping):
            for call in message.artifact.get("tool_calls") or ():
                domain, tool = call.get("domain"), call.get("tool")
                name = tool if domain is None else f"{domain}.{tool}"
                count += call.get("status") in _MADE and (tools is None or name in tools)
    return count


def _messages_of(state: Any) -> list[Any]:
    for _, messages in message_lists(state):
        if messages and all(isinstance(message, BaseMessage) for message in messages):
            return messages
    return []


# --- the agents that a tool is in --------------------------------------------------------------------

_Middleware: TypeAlias = tuple[Any, ...]


class Agents:
    """The agents that one of our tools was given to; used from any thread.

    Args:
        program: Name of the tool.
        applied: Whether their guards hold for the calls of code.
        owner: The middleware that the tool belongs to: what comes after it in an agent and handles each
            tool call handles those of the code itself.
        asked_by: A `HumanInTheLoopMiddleware` that holds in any case.
    """

    def __init__(
        self,
        program: str,
        *,
        applied: bool = True,
        owner: object = None,
        asked_by: Any = None,
    ) -> None:
        self._program = program
        self._applied = applied
        self._owner = owner
        self._asked_by = asked_by
        self._lock = threading.Lock()
        self._known: list[tuple[weakref.ref[Any], ...]] = []

    def note(self) -> None:
        """Note the agent that is being built, if one is: LangChain is reading the tool for it."""
        middleware = _middleware_of_agent_being_built()
        if not any(map(_is_guard, middleware)):
            return
        noted = tuple(map(weakref.ref, middleware))
        with self._lock:
            alive = [known for known in self._known if all(ref() is not None for ref in known)]
            self._known = alive if noted in alive else [*alive, noted]

    def guards_here(self) -> Found:
        """Return the guards of the agent in which a call of the tool runs, inside of all middleware.

        Raises:
            PTCError: A guard cannot be applied to the calls of the code.
        """
        chosen = self._agents_here(inside=True)
        guards = [m for found in chosen for m in _not_handling_themselves(found, self._owner)]
        found = list({id(m): m for m in guards}.values()) if self._applied else []
        for guard in found:
            if _is_a(guard, "AutoModeMiddleware"):
                raise PTCError(
                    f"{type(guard).__name__} of this agent decides about each tool call, and does not "
                    "see the calls of the code. Put ProgrammaticToolCallingMiddleware() before it in "
                    "the agent's middleware, with the tools themselves as the agent's tools; or pass "
                    "agent_guards='ignore' if the code may call its tools without it"
                )
        approvals = [m for m in found if _is_approval(m)]
        own = self._asked_by
        if own is not None and not any(own is m for m in (*approvals, *sum(chosen, ()))):
            approvals.insert(0, own)
        return Found(
            approvals=tuple(approvals), limits=self._limits_of(found), program=self._program
        )

    def limits_here(self) -> Found:
        """Return the limits of the agent in which our middleware handles a call."""
        if not self._applied:
            return Found()
        found = [m for middleware in self._agents_here(inside=False) for m in middleware]
        return Found(limits=self._limits_of(found), program=self._program)

    def asks_itself(self) -> bool:
        """Whether the agent in which our middleware handles a call has `asked_by` among its own."""
        here = self._agents_here(inside=False)
        return self._asked_by is not None and any(self._asked_by is m for ms in here for m in ms)

    def _limits_of(self, middleware: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(m for m in middleware if _is_a(m, "ToolCallLimitMiddleware"))

    def _agents_here(self, *, inside: bool) -> list[_Middleware]:
        """Return the agents in which a call may be running, by their middleware.

        Args:
            inside: All middleware has been passed.
        """
        with self._lock:
            refs = list(self._known)
        known = [tuple(ref() for ref in agent) for agent in refs]
        known = [middleware for middleware in known if None not in middleware]
        passed, is_complete = _running_middleware()
        running = _ids(passed)
        chosen = [m for m in known if running <= _ids(m)]
        if is_complete and inside:
            chosen = [m for m in chosen if _ids(filter(_is_wrapping_approval, m)) <= running]
        return chosen or [passed]  # an agent that was built in another way is known by these alone


def _not_handling_themselves(middleware: _Middleware, owner: object) -> Iterator[Any]:
    """Return the guards of an agent that do not see the calls of the code."""
    is_after = False
    for one in middleware:
        handles_calls = _is_a(one, "AutoModeMiddleware") or (
            _is_approval(one) and one.interrupt_mode == "per_call"
        )
        if _is_guard(one) and not (is_after and handles_calls):
            yield one
        is_after = is_after or one is owner


def _middleware_of_agent_being_built() -> _Middleware:
    build = getattr(sys.modules.get("langchain.agents"), "create_agent", None)
    code = getattr(inspect.unwrap(build), "__code__", None) if callable(build) else None
    for frame in _frames():
        if code is not None and frame.f_code is code:
            return tuple(frame.f_locals.get("middleware") or ())
    return ()


def _running_middleware() -> tuple[_Middleware, bool]:
    """Return the middleware that a call is passing through, and whether that is all of it."""
    running: list[Any] = []
    for frame in _frames():
        name = frame.f_code.co_name
        if name in ("wrap_tool_call", "awrap_tool_call"):
            one = frame.f_locals.get("self")
            if _is_a(one, "AgentMiddleware"):
                running.append(one)
        elif name in _IN_TOOL_NODE and isinstance(frame.f_locals.get("self"), ToolNode):
            return tuple(reversed(running)), True
    return tuple(reversed(running)), False


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_guard(middleware: object) -> bool:
    return _is_approval(middleware) or any(
        _is_a(middleware, name) for name in ("ToolCallLimitMiddleware", "AutoModeMiddleware")
    )


def _is_approval(middleware: object) -> bool:
    return _is_a(middleware, "HumanInTheLoopMiddleware")


def _is_wrapping_approval(middleware: object) -> bool:
    """Whether each call passes through it; older versions look at messages only."""
    base = getattr(sys.modules.get("langchain.agents.middleware"), "AgentMiddleware", None)
    own = getattr(type(middleware), "wrap_tool_call", None)
    return _is_approval(middleware) and own is not getattr(base, "wrap_tool_call", None)


def _is_a(value: object, name: str) -> bool:
    """Whether something is of a class of LangChain's middleware, which need not be installed."""
    module = sys.modules.get("langchain.agents.middleware")
    kind = getattr(module, name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _ids(values: Iterable[Any]) -> set[int]:
    return {id(value) for value in values}
