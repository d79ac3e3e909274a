"""What guards the tools of an agent already, and must guard them when code calls them.

`HumanInTheLoopMiddleware` and `ToolCallLimitMiddleware` look at the tool calls of the model's message.
The message of a programmatic agent calls `run_code`, so they would never see what the code calls. The
guards of the agent that a tool is in are therefore applied to the calls of the code.

LangChain gives a tool no reference to its agent. But the `ToolNode` of an agent reads the schema of each
tool while `create_agent` builds it, and the argument `middleware` of that function is known then. A call
belongs to the agent whose `ToolNode` makes it. Where that is not seen, since a middleware makes its calls in
another thread or task, the guards of every agent that it may be hold.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables.config import ensure_config
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.errors import PTCError
from langchain_ptc.run.asking import message_lists
from langchain_ptc.run.budgets import CallLimit
from langchain_ptc.run.graph_state import channels_of

AgentGuards: TypeAlias = Literal["apply", "ignore"]
"""Whether approvals and limits that an agent has hold for the calls of the code."""

_STATE_KEYS = {
    "HumanInTheLoopMiddleware": "hitl_edited_tool_calls",
    "ToolCallLimitMiddleware": "thread_tool_call_count",
}
"""What each guard adds to the state of its agent."""
_MADE = frozenset({"returned", "failed", "cancelled"})
"""Statuses of calls that reached their tools."""


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


@dataclass(frozen=True, slots=True)
class _Agent:
    """What is known of one agent that has a tool of ours."""

    guards: _Middleware = ()
    """Its guards, in order: kept, since an agent may hold its middleware by parts only."""
    unaware: _Middleware = ()
    """Those of them that do not see the calls of the code."""
    members: tuple[weakref.ref[Any], ...] = ()
    """All of its middleware."""

    def has(self, middleware: Iterable[Any]) -> bool:
        """Whether it has all of some middleware."""
        return _ids(middleware) <= _ids(ref() for ref in self.members)


class Agents:
    """The agents that one of our tools was given to; used from any thread.

    An agent is known by its `ToolNode`, which reads the tool while it is made, and makes its calls.

    Args:
        applied: Whether their guards hold for the calls of code.
        owner: The middleware that the tool belongs to: what comes after it in an agent and handles each
            tool call handles those of the code itself.
        asked_by: A `HumanInTheLoopMiddleware` that holds in any case.
    """

    def __init__(self, *, applied: bool = True, owner: object = None, asked_by: Any = None) -> None:
        self._applied = applied
        self._owner = owner
        self._asked_by = asked_by
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[ToolNode, _Agent] = weakref.WeakKeyDictionary()

    def note(self) -> None:
        """Note the agent that is being built, if one is: its `ToolNode` is reading the tool."""
        node, middleware = _agent_being_built()
        if node is None:
            return
        noted = _Agent(
            guards=tuple(filter(_is_guard, middleware)),
            unaware=tuple(_not_handling_themselves(middleware, self._owner)),
            members=tuple(map(weakref.ref, middleware)),
        )
        with self._lock:
            self._known[node] = noted

    def guards_here(self, program: str) -> Found:
        """Return the guards of the agent in which a call of the tool runs, inside of all middleware.

        Args:
            program: Name of the tool.

        Raises:
            PTCError: A guard cannot be applied to the calls of the code.
        """
        agents = self._agents_here()
        found = list({id(m): m for agent in agents for m in agent.unaware}.values())
        if not self._applied:
            found = []
        elif not any(agent.members for agent in agents):
            self._refuse_unknown(found)
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
        if own is not None and not any(own is m for m in (*approvals, *_guards_of(agents))):
            approvals.insert(0, own)
        return Found(approvals=tuple(approvals), limits=_limits_of(found), program=program)

    def limits_here(self, program: str) -> Found:
        """Return the limits of the agent in which our middleware handles a call."""
        guards = _guards_of(self._agents_here()) if self._applied else ()
        return Found(limits=_limits_of(guards), program=program)

    def asks_itself(self) -> bool:
        """Whether the agent in which our middleware handles a call has `asked_by` among its own."""
        own = self._asked_by
        return own is not None and any(own is m for m in _guards_of(self._agents_here()))

    def _agents_here(self) -> list[_Agent]:
        """Return the agent in which a call is running, or all in which it may be."""
        passed, node = _running_call()
        with self._lock:
            here = self._known.get(node) if node is not None else None
            known = list(self._known.values()) if here is None else []
        if here is not None:
            chosen = [here]
        else:
            # Another thread or task of the agent: what the call has passed there is not seen. Or an
            # agent that did not have the tool when it was built.
            chosen = [agent for agent in known if agent.has(passed)] or known
            chosen = [agent for agent in chosen if agent.guards]
        seen = _ids(_guards_of(chosen))
        unaware = tuple(
            m for m in _not_handling_themselves(passed, self._owner) if id(m) not in seen
        )
        guards = tuple(m for m in passed if _is_guard(m) and id(m) not in seen)
        return [*chosen, _Agent(guards, unaware)] if guards else chosen

    def _refuse_unknown(self, found: Iterable[Any]) -> None:
        """Refuse where the graph that runs has guards of which nothing else is known.

        Raises:
            PTCError: It has.
        """
        keys = channels_of(ensure_config()).keys()
        for name, key in _STATE_KEYS.items():
            if key in keys and not any(_is_a(m, name) for m in found):
                raise PTCError(
                    f"this agent has a {name}, which cannot be applied to the calls of the code: the "
                    "tool that runs code was not among its tools when it was built. Give the tool "
                    "that as_programmatic returns to create_agent itself, and not from inside of "
                    "another tool or at run time; or pass agent_guards='ignore' if the code may "
                    "call its tools without it"
                )


def _guards_of(agents: Iterable[_Agent]) -> _Middleware:
    return tuple({id(m): m for agent in agents for m in agent.guards}.values())


def _limits_of(middleware: Iterable[Any]) -> _Middleware:
    return tuple(m for m in middleware if _is_a(m, "ToolCallLimitMiddleware"))


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


def _agent_being_built() -> tuple[ToolNode | None, _Middleware]:
    """Return the `ToolNode` that is being made, and the middleware of the agent that it is made for."""
    node: ToolNode | None = None
    for frame in _frames():
        code = frame.f_code
        if node is None and code.co_name == "__init__":
            first = _first_argument(frame)
            node = first if issubclass(type(first), ToolNode) else None
        elif code.co_name == "create_agent" and _package_of(frame) == "langchain":
            return node, tuple(frame.f_locals.get("middleware") or ())
    return node, ()


def _running_call() -> tuple[_Middleware, ToolNode | None]:
    """Return the middleware that a call is seen to pass through, and the `ToolNode` that makes it."""
    passed: list[Any] = []
    node: ToolNode | None = None
    for frame in _frames():
        first = _first_argument(frame)
        kind = type(first)
        if issubclass(kind, ToolNode):  # around the middleware of a call, and inside of it
            if node is not None and first is not node:
                break
            node = first
        elif issubclass(kind, Pregel):  # what is outside of a graph makes none of the calls in it
            break
        elif _is_a(first, "AgentMiddleware") and not any(first is m for m in passed):
            passed.append(first)
    return tuple(reversed(passed)), node


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_guard(middleware: object) -> bool:
    return _is_approval(middleware) or any(
        _is_a(middleware, name) for name in ("ToolCallLimitMiddleware", "AutoModeMiddleware")
    )


def _is_approval(middleware: object) -> bool:
    return _is_a(middleware, "HumanInTheLoopMiddleware")


def _is_a(value: object, name: str) -> bool:
    """Whether something is of a class of LangChain's middleware, which need not be installed."""
    module = sys.modules.get("langchain.agents.middleware")
    kind = getattr(module, name, None)
    return isinstance(kind, type) and issubclass(type(value), kind)


def _ids(values: Iterable[Any]) -> set[int]:
    return {id(value) for value in values}
