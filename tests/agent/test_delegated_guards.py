"""Guards that no agent has in its list: another middleware holds them, and delegates to them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
    after_model,
    wrap_tool_call,
)
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import ProgrammaticToolCallingMiddleware, PTCError, as_programmatic
from langchain_ptc.agent.guards import MAX_OBJECTS, Reach
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG: Any = {"configurable": {"thread_id": "1"}}
START: Any = {"messages": [("user", "go")]}
PAID: list[int] = []
REGISTRY: dict[str, Any] = {}
WAYS = ["as_programmatic", "first", "last"]


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    PAID.clear()
    REGISTRY.clear()


@tool
def pay(eur: int) -> str:
    """Pay."""
    PAID.append(eur)
    return "paid"


def asks(mode: Any = "per_call") -> HumanInTheLoopMiddleware[Any, Any, Any]:
    return HumanInTheLoopMiddleware({"pay": True}, interrupt_mode=mode)


def program(text: str = "print(await pay(9000))") -> Any:
    return tool_call_message("run_code", {"code": text}, id="c1")


def build(way: str, *guards: Any, script: Any = None, **options: Any) -> Any:
    tools: list[Any] = [pay]
    if way == "as_programmatic":
        tools, middleware = as_programmatic(tools, **options), [*guards]
    else:
        ours = ProgrammaticToolCallingMiddleware(**options)
        middleware = [ours, *guards] if way == "first" else [*guards, ours]
    model = ScriptedChatModel(script=script or [program(), "done"])
    return create_agent(model, tools, middleware=middleware, checkpointer=InMemorySaver())


async def step(graph: Any, given: Any, *, sync: bool) -> Any:
    return graph.invoke(given, CONFIG) if sync else await graph.ainvoke(given, CONFIG)


# --- forms of delegation -------------------------------------------------------------------------------


class Both(AgentMiddleware):
    """Delegates each hook to what it holds."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return self.inner.wrap_tool_call(request, handler)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await self.inner.awrap_tool_call(request, handler)

    def after_model(self, state: Any, runtime: Any) -> Any:
        return self.inner.after_model(state, runtime)

    async def aafter_model(self, state: Any, runtime: Any) -> Any:
        return await self.inner.aafter_model(state, runtime)


class Below(Both):
    """Says nothing itself."""


class InList(AgentMiddleware):
    """Composes a list of middleware, and finds the hooks by name."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.parts = [AgentMiddleware(), inner]

    def _of(self, hook: str) -> Any:
        return next(getattr(m, hook) for m in self.parts if isinstance(m, REGISTRY["kind"]))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return self._of("wrap_tool_call")(request, handler)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await self._of("awrap_tool_call")(request, handler)

    def after_model(self, state: Any, runtime: Any) -> Any:
        return self._of("after_model")(state, runtime)

    async def aafter_model(self, state: Any, runtime: Any) -> Any:
        return await self._of("aafter_model")(state, runtime)


def in_list(inner: Any) -> Any:
    REGISTRY["kind"] = type(inner)
    return InList(inner)


def closed_over(inner: Any) -> Any:
    class Closed(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return inner.wrap_tool_call(request, handler)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await inner.awrap_tool_call(request, handler)

        def after_model(self, state: Any, runtime: Any) -> Any:
            return inner.after_model(state, runtime)

        async def aafter_model(self, state: Any, runtime: Any) -> Any:
            return await inner.aafter_model(state, runtime)

    return Closed()


class Hooks(AgentMiddleware):
    """Calls functions that it was given."""

    def __init__(self, around: Any, aaround: Any, after: Any, aafter: Any) -> None:
        super().__init__()
        self.around, self.aaround, self.after, self.aafter = around, aaround, after, aafter

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return self.around(request=request, handler=handler)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await self.aaround(request=request, handler=handler)

    def after_model(self, state: Any, runtime: Any) -> Any:
        return self.after(state=state, runtime=runtime)

    async def aafter_model(self, state: Any, runtime: Any) -> Any:
        return await self.aafter(state=state, runtime=runtime)


def bound_methods(inner: Any) -> Any:
    return Hooks(inner.wrap_tool_call, inner.awrap_tool_call, inner.after_model, inner.aafter_model)


def partials(inner: Any) -> Any:
    kind = type(inner)
    hooks = (kind.wrap_tool_call, kind.awrap_tool_call, kind.after_model, kind.aafter_model)
    return Hooks(*(functools.partial(hook, inner) for hook in hooks))


def class_attribute(inner: Any) -> Any:
    class Holder(Both):
        __init__ = AgentMiddleware.__init__

    Holder.inner = inner
    return Holder()


class FromRegistry(Both):
    """Looks the guard up in a global of its module."""

    def __init__(self, inner: Any) -> None:
        AgentMiddleware.__init__(self)
        REGISTRY["approvals"] = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            return REGISTRY["approvals"]
        raise AttributeError(name)


class Proxy:
    """Stands for something else, without a dict of its own."""

    __slots__ = ("_held",)

    def __init__(self, held: Any) -> None:
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


@dataclass(frozen=True)
class Settings:
    """Holds it as a value."""

    guards: tuple[dict[str, Any], ...]

    @property
    def first(self) -> Any:
        return self.guards[0]["approvals"]


def from_settings(inner: Any) -> Any:
    settings = Settings(({"approvals": inner},))
    return Both(SimpleNamespace(**{name: getattr(settings.first, name) for name in HOOKS}))


HOOKS = ("wrap_tool_call", "awrap_tool_call", "after_model", "aafter_model")
FORMS: dict[str, Callable[[Any], Any]] = {
    "attribute": Both,
    "subclass": Below,
    "list": in_list,
    "closure": closed_over,
    "bound methods": bound_methods,
    "partials": partials,
    "class attribute": class_attribute,
    "registry": FromRegistry,
    "proxy with slots": lambda inner: Both(Proxy(inner)),
    "dataclass": from_settings,
    "two levels": lambda inner: Below(Both(inner)),
    "three levels": lambda inner: closed_over(Both(Proxy(partials(inner)))),
    "subclass of the guard": lambda inner: Both(type("Own", (type(inner),), {})({"pay": True})),
}


MODES = list(itertools.product(["batched", "per_call"], ["sync", "async"]))
CASES = {
    *itertools.product(["attribute"], WAYS, MODES),
    # What finds the guard in each form, in each mode, is the same in each way.
    *(
        (form, WAYS[(n + k) % len(WAYS)], mode)
        for n, form in enumerate(FORMS)
        for k, mode in enumerate(MODES)
    ),
}


@pytest.mark.parametrize(
    ("form", "way", "mode", "sync"),
    [
        pytest.param(form, way, mode, sync == "sync", id=f"{form}-{way}-{mode}-{sync}")
        for form, way, (mode, sync) in sorted(CASES)
    ],
)
async def test_a_guard_behind_a_delegation_asks_once(
    form: str, way: str, mode: Any, sync: bool
) -> None:
    """However a middleware holds the guard and wherever it stands, each call is asked about once."""
    for decision, paid in (({"type": "approve"}, [9000]), ({"type": "reject"}, [])):
        PAID.clear()
        graph = build(way, FORMS[form](asks(mode)))
        state = await step(graph, START, sync=sync)
        assert PAID == []
        [question] = state["__interrupt__"]
        answer = {"decisions": [decision]} if "action_requests" in question.value else decision
        state = await step(graph, Command(resume=answer), sync=sync)
        assert "__interrupt__" not in state
        assert paid == PAID


def decorated(mode: str, *, sync: bool) -> Any:
    inner = asks(mode)
    if mode == "batched":

        @after_model(can_jump_to=["end"])
        def reviewed(state: Any, runtime: Any) -> Any:
            return inner.after_model(state, runtime)

        return reviewed
    if sync:

        @wrap_tool_call
        def guarded(request: Any, handler: Any) -> Any:
            return inner.wrap_tool_call(request, handler)

        return guarded

    @wrap_tool_call
    async def aguarded(request: Any, handler: Any) -> Any:
        return await inner.awrap_tool_call(request, handler)

    return aguarded


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("way", WAYS)
async def test_functions_made_into_middleware(way: str, mode: str, sync: bool) -> None:
    """`@wrap_tool_call` and `@after_model` hold what their functions close over, nested ones too."""
    one = decorated(mode, sync=sync)
    nested = one if mode == "batched" else Both(one)
    for guard in (one, nested):
        PAID.clear()
        graph = build(way, guard)
        state = await step(graph, START, sync=sync)
        assert len(state["__interrupt__"]) == 1
        answer: Any = {"type": "approve"}
        answer = {"decisions": [answer]} if mode == "batched" else answer
        state = await step(graph, Command(resume=answer), sync=sync)
        assert "__interrupt__" not in state
        assert PAID == [9000]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_delegated_limit_holds(way: str, sync: bool) -> None:
    """A `ToolCallLimitMiddleware` that another one holds counts the calls of code."""

    class Limited(AgentMiddleware):
        after_model = Both.after_model
        aafter_model = Both.aafter_model
        inner: Any

    limited = Limited()
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=2)
    limited.inner = limit
    text = "for n in range(4):\n    await pay(n)"
    graph = build(way, limited, script=[program(text), "done"])
    state = await step(graph, START, sync=sync)
    assert PAID == [0, 1]
    assert "ToolCallLimitMiddleware(run_limit=2) for pay is reached" in state["messages"][2].text


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_our_own_middleware_may_delegate_in_a_subclass(sync: bool) -> None:
    """Such a guard saw `run_code` only; it holds for the calls of code."""

    class Guarded(ProgrammaticToolCallingMiddleware):
        approvals = asks()

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            own = super().wrap_tool_call
            return self.approvals.wrap_tool_call(request, lambda r: own(r, handler))

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            own = super().awrap_tool_call

            async def inside(request: Any) -> Any:
                return await own(request, handler)

            return await self.approvals.awrap_tool_call(request, inside)

    graph = create_agent(
        ScriptedChatModel(script=[program(), "done"]),
        [pay],
        middleware=[Guarded()],
        checkpointer=InMemorySaver(),
    )
    assert len((await step(graph, START, sync=sync))["__interrupt__"]) == 1
    assert PAID == []


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_a_tool_node_of_ones_own_graph(sync: bool) -> None:
    """Guards in `ToolNode(wrap_tool_call=...)` hold, behind a delegation as without."""
    for guard in (asks(), Both(asks())):
        graph = StateGraph(MessagesState)
        graph.add_node("model", lambda _: {"messages": [program()]})
        node = ToolNode(
            as_programmatic([pay]),
            wrap_tool_call=guard.wrap_tool_call,
            awrap_tool_call=guard.awrap_tool_call,
        )
        graph.add_node("tools", node)
        graph.add_edge("__start__", "model")
        graph.add_edge("model", "tools")
        compiled = graph.compile(checkpointer=InMemorySaver())
        assert len((await step(compiled, START, sync=sync))["__interrupt__"]) == 1
        assert PAID == []


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
async def test_the_agent_inside_of_an_agent_has_its_own(way: str, sync: bool) -> None:
    """What the middleware of the outer one delegates to does not ask; that of the inner one does."""

    def outer_of(inner: Any, guard: Any) -> Any:
        @tool
        def work(order: str) -> str:
            """Work."""
            return str(inner.invoke(START)["messages"][-1].text)

        @tool("work")
        async def awork(order: str) -> str:
            """Work."""
            return str((await inner.ainvoke(START))["messages"][-1].text)

        script = [program("print(await work('x'))"), "done"]
        ours = ProgrammaticToolCallingMiddleware()
        return create_agent(
            ScriptedChatModel(script=script),
            [work if sync else awork],
            middleware=[guard, ours],
            checkpointer=InMemorySaver(),
        )

    free = build(way)
    free.checkpointer = None
    state = await step(outer_of(free, Both(asks())), START, sync=sync)
    assert "__interrupt__" not in state
    assert PAID == [9000]
    PAID.clear()
    guarded = build(way, Both(asks()))
    guarded.checkpointer = None
    assert (
        len((await step(outer_of(guarded, Both(asks())), START, sync=sync))["__interrupt__"]) == 1
    )
    assert PAID == []


# --- what cannot be applied ----------------------------------------------------------------------------


class Anew(AgentMiddleware):
    """Makes the guard for each call."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return asks().wrap_tool_call(request, handler)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await asks().awrap_tool_call(request, handler)


class AnewAfter(AgentMiddleware):
    """Makes it after each turn, and imports it there."""

    def _made(self) -> Any:
        from langchain.agents.middleware import HumanInTheLoopMiddleware as Made

        return Made({"pay": True})

    def after_model(self, state: Any, runtime: Any) -> Any:
        return self._made().after_model(state, runtime)

    async def aafter_model(self, state: Any, runtime: Any) -> Any:
        return await self._made().aafter_model(state, runtime)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_guard_that_is_made_anew_is_refused(way: str, sync: bool) -> None:
    """The first run says so, before anything is paid; where the guard sees the calls it asks itself."""
    for guard in (Anew(), AnewAfter()):
        graph = build(way, guard)
        if way == "first" and isinstance(guard, Anew):
            assert len((await step(graph, START, sync=sync))["__interrupt__"]) == 1
        else:
            with pytest.raises(PTCError, match=r"makes a HumanInTheLoopMiddleware in its hooks"):
                await step(graph, START, sync=sync)
        assert PAID == []
        await step(build(way, AnewAfter(), agent_guards="ignore"), START, sync=sync)
        assert PAID == [9000]
        PAID.clear()


@pytest.mark.parametrize("way", WAYS)
def test_a_middleware_that_only_makes_a_guard_when_it_is_made_is_left_alone(way: str) -> None:
    """What a constructor could have made and did not guards nothing, nor does another graph's."""

    class Perhaps(AgentMiddleware):
        def __init__(self, *, ask: bool) -> None:
            super().__init__()
            self.inner = HumanInTheLoopMiddleware({"pay": True}) if ask else AgentMiddleware()
            self.graph = build("last", asks())

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

    assert "__interrupt__" not in build(way, Perhaps(ask=False)).invoke(START, CONFIG)
    assert PAID == [9000]


class Hostile:
    """Tells whoever asks it anything."""

    def _told(self, *_: Any) -> Any:
        raise AssertionError("was asked")

    __getattr__ = __eq__ = __hash__ = __len__ = __iter__ = __bool__ = __call__ = _told  # type: ignore[assignment]
    __class__ = property(_told)  # type: ignore[assignment]


def test_looking_calls_nothing_and_ends() -> None:
    """Objects that answer with errors, cycles, long chains and large collections are passed by."""

    class Keeps(AgentMiddleware):
        def __init__(self) -> None:
            super().__init__()
            self.hostile = Hostile()
            self.cycle: list[Any] = [self]
            self.cycle.append(self.cycle)
            self.chain: list[Any] = []
            for _ in range(100_000):
                self.chain = [self.chain, {}]
            self.rows = [{"id": n} for n in range(50_000)]
            self.inner = asks()

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return self.inner.wrap_tool_call(request, handler)

    reach = Reach([Keeps().wrap_tool_call])
    reached = list(reach)
    assert sum(type(value) is HumanInTheLoopMiddleware for value in reached) == 1
    assert len(reached) == MAX_OBJECTS
    assert "inner" in reach.names
