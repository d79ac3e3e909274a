"""The approvals and limits that an agent already has, applied to the calls of its code.

`HumanInTheLoopMiddleware` and `ToolCallLimitMiddleware` handle the tool calls of the model's message.
The message of a programmatic agent calls `run_code`, so they would never see what the code calls. These
guards of the agent are therefore applied to the calls of the code.

LangChain gives a tool no reference to its agent. But the `ToolNode` of an agent reads the schema of each
tool while `create_agent` builds it, and the argument `middleware` of that function can be read then. A
call belongs to the agent whose `ToolNode` makes it. Its guards are those that the hooks of its middleware
can reach, in the list or behind any delegation.
"""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from langchain_ptc.errors import PTCError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.budgets import CallLimit
from langchain_ptc.run.graph_state import channels_of, messages_of

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

AgentGuards: TypeAlias = Literal["apply", "ignore"]
"""Whether the approvals and limits of an agent apply to the calls of its code."""

_STATE_KEYS = {
    "HumanInTheLoopMiddleware": "hitl_edited_tool_calls",
    "ToolCallLimitMiddleware": "thread_tool_call_count",
}
"""The key that each guard adds to the state of its agent."""
_GUARDS = (*_STATE_KEYS, "AutoModeMiddleware")
_AROUND = ("wrap_tool_call", "awrap_tool_call")
_AFTER = ("after_model", "aafter_model")
_OR_IGNORE = "; or pass agent_guards='ignore' if the code may call its tools without it"
_COUNTED = frozenset({"returned", "failed", "cancelled"})
"""Statuses of calls that reached their tools."""


@dataclass(frozen=True, slots=True)
class AppliedGuards:
    """The guards of an agent that apply to the calls of its code."""

    approvals: tuple[Any, ...] = ()  # objects of `HumanInTheLoopMiddleware`
    limits: tuple[Any, ...] = ()  # objects of `ToolCallLimitMiddleware`
    program: str = "run_code"
    """Name of the tool that runs code: its own calls do not count towards a limit for all tools."""

    def __bool__(self) -> bool:
        return bool(self.approvals or self.limits)

    def call_limits(self, catalog: ToolCatalog, state: Any) -> list[CallLimit]:
        """Return the limits of its agent, and how much of each is used."""
        found = []
        for limiter in self.limits:
            named = {d.qualified_name for d in catalog if d.tool_name == limiter.tool_name}
            if limiter.tool_name is not None and not named:
                continue
            for scope in ("run", "thread"):
                limit = getattr(limiter, f"{scope}_limit")
                if limit is None:
                    continue
                tools = None if limiter.tool_name is None else named
                used = calls_of_code(state, tools, whole=scope == "thread")
                used += self._calls_of_model(limiter, state, scope)
                whose = "the agent's tools" if tools is None else limiter.tool_name
                name = f"{type(limiter).__name__}({scope}_limit={limit}) for {whose}"
                found.append(CallLimit(tools=tools, allowed=limit, used=used, name=name))
        return found

    def _calls_of_model(self, limiter: Any, state: Any, scope: str) -> int:
        """Return how many calls the model itself has made, as its agent counts them."""
        counts = state.get(f"{scope}_tool_call_count") if isinstance(state, Mapping) else None
        count = int((counts or {}).get(limiter.tool_name or "__all__", 0))
        if limiter.tool_name is not None:
            return count
        programs = 0
        for message in messages_of(state):
            if isinstance(message, HumanMessage) and scope == "run":
                programs = 0
            elif isinstance(message, AIMessage):
                programs += sum(call["name"] == self.program for call in message.tool_calls)
        return max(0, count - programs)


def calls_of_code(state: Any, tools: set[str] | None, *, whole: bool) -> int:
    """Count the calls of `tools` (None for all) by earlier code: in the thread, or since the user's last message."""
    count = 0
    for message in messages_of(state):
        if isinstance(message, HumanMessage) and not whole:
            count = 0
        elif isinstance(message, ToolMessage) and isinstance(message.artifact, Mapping):
            for call in message.artifact.get("tool_calls") or ():
                domain, tool = call.get("domain"), call.get("tool")
                name = tool if domain is None else f"{domain}.{tool}"
                count += call.get("status") in _COUNTED and (tools is None or name in tools)
    return count


# --- the agents that a tool is in --------------------------------------------------------------------


@dataclass(slots=True)
class _Guards:
    """The guards of one agent, or of some hooks."""

    known: list[Any] = field(default_factory=list)  # all of them
    unaware: list[Any] = field(default_factory=list)
    """The guards that do not see the calls of the code."""
    made: list[str] = field(default_factory=list)
    """Names of guards that the hooks create when they need one."""


class Agents:
    """The agents that one of our tools was given to; used from any thread.

    An agent is identified by its `ToolNode`, which reads the tool while it is built, and makes its calls. The
    middleware that the tool belongs to is the `owner`: what comes after it handles the calls of the code too. The
    `HumanInTheLoopMiddleware` `asked_by` applies in any case.
    """

    def __init__(self, *, applied: bool = True, owner: object = None, asked_by: Any = None) -> None:
        self._applied = applied
        self._owner = owner
        self._asked_by = asked_by
        self._lock = new_lock()
        self._known: weakref.WeakKeyDictionary[ToolNode, tuple[weakref.ref[Any], ...]]
        self._known = weakref.WeakKeyDictionary()

    def note(self) -> None:
        """Record the agent that is being built, if any: its `ToolNode` is reading the tool."""
        node, middleware = _agent_being_built()
        if node is not None:
            with self._lock:  # the agent itself references all middleware whose hooks it calls
                self._known[node] = tuple(map(weakref.ref, middleware))

    def guards_here(self, program: str) -> AppliedGuards:
        """Return the guards around a running call of the tool `program`; raises `PTCError` if one cannot be applied."""
        node = _running_node()
        listed = self._middleware_of(node)
        found = self._applicable(node, listed) if self._applied else []
        approvals = [m for m in found if _is_a(m, "HumanInTheLoopMiddleware")]
        own = self._asked_by
        if own is not None and not any(own is m for m in chain(approvals, *listed)):
            approvals.insert(0, own)
        return AppliedGuards(approvals=tuple(approvals), limits=_limits_of(found), program=program)

    def limits_here(self, program: str, handler: object) -> AppliedGuards:
        """Return the limits of the agent in which our middleware passes a call on to `handler`."""
        node = _node_behind(handler) if self._applied else None
        known = [] if node is None else self._guards_of(node, self._middleware_of(node)).known
        return AppliedGuards(limits=_limits_of(known), program=program)

    def asks_itself(self, handler: object) -> bool:
        """Whether the agent in which our middleware passes a call on has `asked_by` among its own."""
        own = self._asked_by
        if own is None:
            return False
        return any(own is m for m in chain(*self._middleware_of(_node_behind(handler))))

    def decide_about(self, program: str) -> bool:
        """Whether a guard of an agent decides about the calls of the tool `program` itself."""
        return any(
            _is_a(guard, "AutoModeMiddleware") or _asks_about(program, guard)
            for guard in self._guards_of(None, self._middleware_of(None)).known
        )

    def guarded(self, catalog: ToolCatalog) -> set[str]:
        """Return the tools about whose calls a guard of an agent asks a person, or which it counts."""
        listed = self._middleware_of(None)
        guards = [self._asked_by, *(self._guards_of(None, listed).known if self._applied else ())]
        limits = _limits_of(guards)
        return {
            definition.qualified_name
            for definition in catalog
            if any(_asks_about(definition.tool_name, guard) for guard in guards)
            or any(limit.tool_name in (None, definition.tool_name) for limit in limits)
        }

    def see_calls(self) -> bool:
        """Whether an agent has other middleware that handles the calls of the code."""
        for middleware in self._middleware_of(None):
            at = next((n for n, one in enumerate(middleware) if one is self._owner), -1)
            if any(_hooks(one, _AROUND) for one in middleware[at + 1 :]):
                return True
        return False

    def _middleware_of(self, node: ToolNode | None) -> list[list[Any]]:
        """Return the middleware of the agent of a node; of each known agent, if the node is unknown."""
        with self._lock:
            lists = list(self._known.values()) if node is None else [self._known.get(node, ())]
        return [[m for ref in refs if (m := ref()) is not None] for refs in lists if refs]

    def _guards_of(self, node: ToolNode | None, listed: list[list[Any]]) -> _Guards:
        """Return the guards of an agent, or of a node that was not built by `create_agent`."""
        if node is not None and not listed:
            found = _guards_behind(vars(node).values())
            found.unaware = found.known
            return found
        agents = _Guards()
        for middleware in listed:
            is_after = False
            for one in middleware:
                around, after = (_guards_behind(_hooks(one, names)) for names in (_AROUND, _AFTER))
                known = _distinct([*around.known, *after.known])
                seeing = [m for m in around.known if is_after and _handles_calls(m)]
                agents.known += known
                agents.unaware += [m for m in known if not any(m is s for s in seeing)]
                agents.made += after.made if is_after else [*around.made, *after.made]
                is_after = is_after or one is self._owner
        return agents

    def _applicable(self, node: ToolNode | None, listed: list[list[Any]]) -> list[Any]:
        """Return the guards to apply to the calls of the code; raises `PTCError` if one cannot be."""
        guards = self._guards_of(node, listed)
        for guard in guards.unaware:
            if _is_a(guard, "AutoModeMiddleware"):
                raise PTCError(
                    f"{type(guard).__name__} of this agent decides about each tool call, and does not "
                    "see the calls of the code. Put ProgrammaticToolCallingMiddleware() before it in "
                    f"the agent's middleware, with the tools themselves as the agent's tools{_OR_IGNORE}"
                )
        for name in guards.made:
            raise PTCError(
                f"a middleware of this agent makes a {name} in its hooks, which cannot be applied to "
                f"the calls of the code: make it once, and keep it in the middleware{_OR_IGNORE}"
            )
        if not listed:
            _refuse_unknown(guards.unaware)
        return _distinct(guards.unaware)


def _refuse_unknown(found: Iterable[Any]) -> None:
    """Raise `PTCError` in a graph that has guards which were not found."""
    keys = channels_of(ensure_config()).keys()
    for name, key in _STATE_KEYS.items():
        if key in keys and not any(_is_a(m, name) for m in found):
            raise PTCError(
                f"this agent has a {name}, which cannot be applied to the calls of the code: the "
                "tool that runs code was not among its tools when it was built. Give the tool "
                "that as_programmatic returns to create_agent itself, and not from inside of "
                f"another tool or at run time{_OR_IGNORE}"
            )


def _asks_about(tool: str, guard: Any) -> bool:
    return _is_a(guard, "HumanInTheLoopMiddleware") and tool in guard.interrupt_on


def _limits_of(middleware: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(m for m in middleware if _is_a(m, "ToolCallLimitMiddleware"))


def _hooks(middleware: object, names: Iterable[str]) -> list[Any]:
    """Return those hooks that a middleware itself defines."""
    base = _kind("AgentMiddleware")
    own = (n for n in names if getattr(type(middleware), n) is not getattr(base, n))
    return [getattr(middleware, name) for name in own]


def _guards_behind(hooks: Iterable[object]) -> _Guards:
    """Return the guards that some functions can delegate to."""
    reach = Reach(hooks)
    reached = list(reach)
    known = [value for value in reached if any(_is_a(value, name) for name in _GUARDS)]
    named = reach.names.union(
        name
        for value in reached
        if issubclass(type(value), type)
        for name in _GUARDS
        if issubclass(value, _kind(name))
    )
    made = [n for n in _GUARDS if n in named and not any(_is_a(m, n) for m in known)]
    return _Guards(known=known, made=made)


def _handles_calls(guard: Any) -> bool:
    """Whether a guard wraps each tool call, and does not read the model's message."""
    return _is_a(guard, "AutoModeMiddleware") or (
        _is_a(guard, "HumanInTheLoopMiddleware") and guard.interrupt_mode == "per_call"
    )


def _agent_being_built() -> tuple[ToolNode | None, tuple[Any, ...]]:
    """Return the `ToolNode` that is being built, and the middleware of its agent."""
    node: ToolNode | None = None
    for frame in _frames():
        code = frame.f_code
        if node is None and code.co_name == "__init__":
            first = _first_argument(frame)
            node = first if issubclass(type(first), ToolNode) else None
        elif (
            code.co_name == "create_agent"
            and _package(frame.f_globals.get("__name__")) == "langchain"
        ):
            return node, tuple(frame.f_locals.get("middleware") or ())
    return node, ()


def _running_node() -> ToolNode | None:
    """Return the `ToolNode` that makes the running call, if one does in this thread or task."""
    for frame in _frames():
        first = _first_argument(frame)
        if issubclass(type(first), ToolNode):
            return cast("ToolNode", first)
        if issubclass(type(first), Pregel):  # what is outside a graph makes no calls in it
            break
    return None


def _node_behind(handler: object) -> ToolNode | None:
    """Return the `ToolNode` that a call is passed on to."""
    return next((v for v in Reach([handler]) if issubclass(type(v), ToolNode)), None)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _kind(name: str) -> Any:
    """Return a class of LangChain's middleware; an empty tuple if that is not installed."""
    module = sys.modules.get("langchain.agents.middleware")
    return getattr(module, name, ())


def _is_a(value: object, name: str) -> bool:
    return issubclass(type(value), _kind(name))


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({id(value): value for value in values}.values())


# --- what a function can reach: closures, attributes, containers, and the globals that it names ------

MAX_OBJECTS = 5_000  # the nearest objects are visited first
MAX_PARTS = 2_000  # a larger collection is taken for data, and not entered
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range, type(...)})
_CLOSED = (BaseTool, BaseLanguageModel, BaseMessage, CodeType, FrameType, ModuleType)
"""Classes whose objects are reached, but not entered."""
_CLOSED_PACKAGES = frozenset(
    {"_asyncio", "_thread", "asyncio", "concurrent", "langchain_ptc", "langgraph", "langsmith"}
    | {"logging", "multiprocessing", "socket", "ssl", "threading"}
)
"""Nor are objects of their classes entered: graphs and what runs them guard only their own calls."""
_LANGCHAIN = frozenset({"langchain", "langchain_core"})
_DESCRIPTORS = (property, classmethod, staticmethod)
_MAKING = frozenset({"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"})


class Reach:
    """What some functions can reach, nearest first. Nothing is called.

    A function reaches its closure, its defaults and the globals that it names; an object reaches its
    attributes, and those functions of its class that a reached function names.
    """

    def __init__(self, roots: Iterable[object]) -> None:
        self.names: set[str] = set()  # names in the code of the reached functions
        self._queue = deque(roots)
        self._seen: dict[int, object] = {}
        self._classes: dict[type, set[str]] = {}

    def __iter__(self) -> Iterator[Any]:
        while self._queue or self._is_refilled():
            value = self._queue.popleft()
            if type(value) in _ATOMS or id(value) in self._seen:
                continue
            if len(self._seen) == MAX_OBJECTS:
                return
            self._seen[id(value)] = value
            yield value
            self._enter(value)

    def _is_refilled(self) -> bool:
        """Queue what the names reach that were found since; return whether there is anything."""
        for kind, entered in self._classes.items():
            self._queue.extend(self._named_in(kind, entered))
        return bool(self._queue)

    def _enter(self, value: Any) -> None:
        kind = type(value)  # an object may claim any `__class__`
        if kind is FunctionType:
            self._queue.extend(self._of_function(value))
        elif issubclass(kind, type):
            self._enter_class(value)
        elif not issubclass(kind, _CLOSED) and _package(kind.__module__) not in _CLOSED_PACKAGES:
            parts = gc.get_referents(value)
            if len(parts) <= MAX_PARTS:
                self._queue.extend(part for part in parts if part is not kind)
            self._enter_class(kind)

    def _enter_class(self, kind: type) -> None:
        for one in kind.__mro__:
            if not _is_of_library(one):
                self._classes.setdefault(one, set())

    def _named_in(self, kind: type, entered: set[str]) -> Iterator[object]:
        """Return what of a class was not entered yet: its data, and functions whose names were found."""
        for name, value in [*vars(kind).items()]:
            is_special = name[:2] == "__"
            is_used = callable(value) and name not in _MAKING if is_special else name in self.names
            is_data = not (is_special or callable(value) or issubclass(type(value), _DESCRIPTORS))
            if name not in entered and (is_used or is_data):
                entered.add(name)
                yield value

    def _of_function(self, function: FunctionType) -> Iterator[object]:
        for cell in function.__closure__ or ():
            yield from gc.get_referents(cell)
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))
        if not _is_library(_package(function.__globals__.get("__name__"))):
            for names in _names_of(function.__code__):
                self.names.update(names)
                values = [function.__globals__[n] for n in names if n in function.__globals__]
                yield from values
                for module in values:
                    if issubclass(type(module), ModuleType):
                        yield from (vars(module)[n] for n in names if n in vars(module))


def _names_of(code: CodeType) -> Iterator[tuple[str, ...]]:
    """Return the names of globals and attributes in a code and in those inside of it."""
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def _package(module: object) -> str:
    return str(module).partition(".")[0]


def _is_of_library(kind: type) -> bool:
    """Whether a class is defined by a library itself, and not created by one of its functions."""
    module = sys.modules.get(kind.__module__, sys)
    return vars(module).get(kind.__name__) is kind and _is_library(_package(kind.__module__))


@functools.cache
def _is_library(package: str) -> bool:
    """Whether the code of a package cannot refer to a user's middleware.

    That is so for LangChain itself, and for every installed package that does not use it.
    """
    if package in _CLOSED_PACKAGES or package in _LANGCHAIN or package in sys.stdlib_module_names:
        return True
    if "-packages" not in str(getattr(sys.modules.get(package), "__file__", "")):
        return False
    modules = [m for name, m in [*sys.modules.items()] if _package(name) == package]
    named = (_package(_module_of(value)) for m in modules for value in [*vars(m).values()])
    return _LANGCHAIN.isdisjoint(named)


def _module_of(value: Any) -> object:
    kind = type(value)
    if issubclass(kind, ModuleType):
        return value.__name__
    return value.__module__ if issubclass(kind, type) or kind is FunctionType else kind.__module__
