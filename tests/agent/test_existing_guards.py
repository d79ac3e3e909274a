"""What guards an agent's tools already guards them when code calls them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    PTCError,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG: Any = {"configurable": {"thread_id": "1"}}
START: Any = {"messages": [("user", "go")]}
PAID: list[int] = []
READ: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    PAID.clear()
    READ.clear()


@tool
def pay(eur: int) -> str:
    """Pay."""
    PAID.append(eur)
    return "paid"


@tool
def read(key: str) -> str:
    """Read."""
    READ.append(key)
    return key


def code(text: str, call_id: str = "c1") -> Any:
    return tool_call_message("run_code", {"code": text}, id=call_id)


def build(way: str, script: list[Any], guards: list[Any], **options: Any) -> Any:
    """Build an agent with guards of its own: ours in the list of tools, or first or last."""
    tools: list[Any] = [pay, read]
    if way == "as_programmatic":
        tools, middleware = as_programmatic(tools, **options), guards
    else:
        ours = ProgrammaticToolCallingMiddleware(**options)
        middleware = [ours, *guards] if way == "first" else [*guards, ours]
    return create_agent(
        ScriptedChatModel(script=script), tools, middleware=middleware, checkpointer=InMemorySaver()
    )


async def step(graph: Any, given: Any, *, sync: bool) -> Any:
    return graph.invoke(given, CONFIG) if sync else await graph.ainvoke(given, CONFIG)


def resume(mode: str, decision: dict[str, Any]) -> Any:
    return Command(resume=decision if mode == "per_call" else {"decisions": [decision]})


WAYS = ["as_programmatic", "first", "last"]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("way", WAYS)
async def test_existing_approvals_are_bypassed(way: str, mode: Any, sync: bool) -> None:
    """The agent's own approvals hold for calls of code: asked once, and as answered."""
    for decision, paid in (({"type": "approve"}, [9000]), ({"type": "reject"}, [])):
        PAID.clear()
        asks = HumanInTheLoopMiddleware({"pay": True}, interrupt_mode=mode)
        graph = build(way, [code("print(await read('a'), await pay(9000))"), "done"], [asks])
        state = await step(graph, START, sync=sync)
        assert PAID == []
        [question] = state["__interrupt__"]
        assert "9000" in str(question.value)
        assert ("action_requests" in question.value) == (mode == "batched")
        assert "Tool execution requires approval" in str(question.value)
        state = await step(graph, resume(mode, decision), sync=sync)
        assert "__interrupt__" not in state
        assert paid == PAID
    assert READ == ["a", "a"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", [True, False])
def test_the_predicate_of_the_agent_decides(way: str, asked: bool) -> None:
    """`when`, `allowed_decisions` and `description` of the agent's middleware are used."""
    asks = HumanInTheLoopMiddleware(
        {
            "pay": {
                "allowed_decisions": ["approve", "reject"],
                "description": lambda call, state, runtime: f"Really {call['args']['eur']}?",
                "when": lambda request: request.tool_call["args"]["eur"] > 100,
            }
        }
    )
    amount = 500 if asked else 50
    graph = build(way, [code(f"print(await pay('{amount}'))"), "done"], [asks])
    state = graph.invoke(START, CONFIG)
    assert ("__interrupt__" in state) == asked
    assert ([] if asked else [50]) == PAID
    if asked:
        assert state["__interrupt__"][0].value["action_requests"][0]["description"] == "Really 500?"


@pytest.mark.parametrize("way", WAYS)
def test_a_subclass_and_a_guard_of_other_tools(way: str) -> None:
    """Subclasses count; tools that they do not name are not asked about."""

    class Ours(HumanInTheLoopMiddleware):
        pass

    graph = build(way, [code("print(await read('a'))"), "done"], [Ours({"pay": True})])
    assert "__interrupt__" not in graph.invoke(START, CONFIG)
    graph = build(way, [code("print(await pay(1))"), "done"], [Ours({"pay": True})])
    assert "__interrupt__" in graph.invoke(START, CONFIG)
    assert PAID == []


@pytest.mark.parametrize("way", WAYS)
def test_without_a_checkpointer_nothing_is_paid(way: str) -> None:
    """Where nobody can be asked the call is refused."""
    graph = build(
        way, [code("print(await pay(1))"), "done"], [HumanInTheLoopMiddleware({"pay": True})]
    )
    graph.checkpointer = None
    state = graph.invoke(START)
    assert PAID == []
    assert "needs the approval of a person" in state["messages"][2].text


@pytest.mark.parametrize("way", WAYS)
def test_one_word_switches_it_off(way: str) -> None:
    """`agent_guards='ignore'`, for those who mean it; for one tool, `interrupt_on`."""
    guards = [
        HumanInTheLoopMiddleware({"pay": True}),
        ToolCallLimitMiddleware(tool_name="pay", run_limit=1),
    ]
    script = [code("await pay(1)\nprint(await pay(2))"), "done"]
    build(way, script, guards, agent_guards="ignore").invoke(START, CONFIG)
    assert PAID == [1, 2]
    PAID.clear()
    build(way, script, guards[:1], interrupt_on={"pay": False}).invoke(START, CONFIG)
    assert PAID == [1, 2]


@pytest.mark.parametrize(
    "way", [as_programmatic, lambda _, **o: ProgrammaticToolCallingMiddleware(**o)]
)
def test_a_misspelt_word_is_told(way: Callable[..., Any]) -> None:
    """It does not count as one of the two."""
    with pytest.raises(ValueError, match="agent_guards must be 'apply' or 'ignore'"):
        way([pay], agent_guards="off")


def test_tools_of_two_agents_have_the_guards_of_the_one_that_runs() -> None:
    """One list of tools in a guarded and in a free agent; a guarded one that is gone guards nothing."""
    tools = as_programmatic([pay])

    def agent(*guards: Any) -> Any:
        script = [code("print(await pay(7))"), "done"]
        return create_agent(
            ScriptedChatModel(script=script),
            tools,
            middleware=guards,
            checkpointer=InMemorySaver(),
        )

    free, guarded = agent(), agent(HumanInTheLoopMiddleware({"pay": True}))
    assert "__interrupt__" in guarded.invoke(START, CONFIG)
    assert "__interrupt__" not in free.invoke(START, CONFIG)
    assert PAID == [7]
    big = agent(
        HumanInTheLoopMiddleware(
            {
                "pay": {
                    "allowed_decisions": ["approve"],
                    "when": lambda r: r.tool_call["args"]["eur"] > 8,
                }
            }
        )
    )
    assert "__interrupt__" not in big.invoke(START, CONFIG)
    assert PAID == [7, 7]
    limited = agent(ToolCallLimitMiddleware(tool_name="pay", run_limit=1))
    del limited
    gc.collect()
    assert "__interrupt__" not in agent().invoke(START, CONFIG)


class Elsewhere(AgentMiddleware):
    """Makes each call in another thread or task, as a middleware with a time limit does."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, handler, request).result()

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await asyncio.create_task(handler(request))


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("way", WAYS)
async def test_guards_hold_behind_another_thread(way: str, mode: Any, sync: bool) -> None:
    """Where it cannot be seen through what a call has passed, the guards hold all the same."""
    asks = HumanInTheLoopMiddleware({"pay": True}, interrupt_mode=mode)
    for guards in ([asks, Elsewhere()], [Elsewhere(), asks]):
        graph = build(way, [code("print(await pay(1))"), "done"], guards)
        state = await step(graph, START, sync=sync)
        assert len(state["__interrupt__"]) == 1
        await step(graph, resume(mode, {"type": "reject"}), sync=sync)
    assert PAID == []


@pytest.mark.parametrize("way", WAYS)
def test_a_guard_knows_tools_by_their_own_names(way: str) -> None:
    """Domains are ours: a predicate that was written for the agent compares the tool's own name."""
    asks = HumanInTheLoopMiddleware(
        {
            "pay": {
                "allowed_decisions": ["approve", "edit"],
                "when": lambda request: request.tool_call["name"] == "pay",
            }
        }
    )
    if way == "as_programmatic":
        tools: list[Any] = as_programmatic([pay], domain="bank")
        middleware: list[Any] = [asks]
    else:
        ours = ProgrammaticToolCallingMiddleware(domains={"pay": "bank"})
        tools, middleware = [pay], [ours, asks] if way == "first" else [asks, ours]
    model = ScriptedChatModel(script=[code("from tools.bank import pay\nawait pay(1)"), "done"])
    graph = create_agent(model, tools, middleware=middleware, checkpointer=InMemorySaver())
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    assert question.value["action_requests"][0]["name"] == "pay"
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"eur": 2}}}
    graph.invoke(resume("batched", edit), CONFIG)
    assert PAID == [2]


def test_a_tool_that_is_given_at_run_time() -> None:
    """`run_code` that a middleware puts in place when it is called has the guards around it."""
    (run_code,) = as_programmatic([pay])

    @tool("run_code")
    def stub(code: str) -> str:
        """Run code."""
        raise AssertionError

    class Late(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(tool=run_code))

    graph = create_agent(
        ScriptedChatModel(script=[code("await pay(1)"), "done"]),
        [stub],
        middleware=[HumanInTheLoopMiddleware({"pay": True}), Late()],
        checkpointer=InMemorySaver(),
    )
    assert "__interrupt__" in graph.invoke(START, CONFIG)
    assert PAID == []


def test_a_renamed_copy_of_the_tool_has_the_guards() -> None:
    """A copy with another description is the same tool."""
    (run_code,) = as_programmatic([pay])
    copied = run_code.model_copy(update={"description": "Runs a program."})
    graph = create_agent(
        ScriptedChatModel(script=[code("await pay(1)"), "done"]),
        [copied],
        middleware=[HumanInTheLoopMiddleware({"pay": True})],
        checkpointer=InMemorySaver(),
    )
    assert "__interrupt__" in graph.invoke(START, CONFIG)
    assert PAID == []


# --- the middleware object as interrupt_on -------------------------------------------------------------


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_interrupt_on_takes_the_object_in_all_ways_in(mode: Any) -> None:
    """Of tools that the code has not, it may say what it likes."""
    asks = HumanInTheLoopMiddleware({"pay": True, "elsewhere": True}, interrupt_mode=mode)

    def with_node() -> Any:
        node = ProgrammaticToolNode(
            ScriptedChatModel(script=[code("print(await pay(1))"), "no"]), [pay], interrupt_on=asks
        )
        graph = StateGraph(MessagesState)
        graph.add_node("node", node)
        graph.add_edge("__start__", "node")
        return graph.compile(checkpointer=InMemorySaver())

    script = [code("print(await pay(1))"), "done"]
    graphs = [build(way, script, [], interrupt_on=asks) for way in WAYS]
    for graph in (*graphs, with_node()):
        state = graph.invoke(START, CONFIG)
        [question] = state["__interrupt__"]
        assert ("action_requests" in question.value) == (mode == "batched")
        assert PAID == []
        graph.invoke(resume(mode, {"type": "reject"}), CONFIG)
        assert PAID == []
    ProgrammaticToolExecutor([pay], interrupt_on=asks)


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("way", WAYS)
def test_the_same_object_twice_asks_once(way: str, mode: Any) -> None:
    """As the agent's middleware and as `interrupt_on`, for calls of code and of the model."""
    asks = HumanInTheLoopMiddleware({"pay": True}, interrupt_mode=mode)
    scripts = [[code("print(await pay(3))"), "done"]]
    options: dict[str, Any] = {"interrupt_on": asks}
    if way != "as_programmatic":
        options["policies"] = {"pay": ToolPolicy(allowed_callers=("code", "direct"))}
        scripts.append([tool_call_message("pay", {"eur": 3}, id="d1"), "done"])
    for script in scripts:
        PAID.clear()
        graph = build(way, script, [asks], **options)
        assert len(graph.invoke(START, CONFIG)["__interrupt__"]) == 1
        state = graph.invoke(resume(mode, {"type": "approve"}), CONFIG)
        assert "__interrupt__" not in state
        assert PAID == [3]


def test_what_is_no_such_middleware_is_told() -> None:
    """A wrong object is an error where it is given."""
    wrong: Any = ToolCallLimitMiddleware(run_limit=1)
    with pytest.raises(
        ValueError, match=r"interrupt_on must be a mapping .* HumanInTheLoopMiddleware"
    ):
        as_programmatic([pay], interrupt_on=wrong)
    with pytest.raises(ValueError, match="interrupt_on must be a mapping"):
        ProgrammaticToolCallingMiddleware(interrupt_on=wrong)


# --- limits ------------------------------------------------------------------------------------------


CATCHING = """\
for n in range(5):
    try:
        await pay(n)
    except ToolCallError as error:
        print(error)
        break
"""


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("behavior", ["continue", "end", "error"])
@pytest.mark.parametrize("way", WAYS)
async def test_call_limits_hold_for_code(way: str, behavior: Any, sync: bool) -> None:
    """A `ToolCallLimitMiddleware` allows code as many calls as it would have allowed the model."""
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=2, exit_behavior=behavior)
    graph = build(way, [code(CATCHING), code("await pay(9)", "c2"), "done"], [limit])
    state = await step(graph, START, sync=sync)
    assert PAID == [0, 1]  # and none by the second program of the run
    told = [m.text for m in state["messages"] if isinstance(m, ToolMessage)]
    assert all("ToolCallLimitMiddleware(run_limit=2) for pay is reached" in text for text in told)
    assert len(told) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_of_a_thread_holds_over_runs(way: str) -> None:
    """`thread_limit` counts what earlier runs of the thread have called; `run_limit` begins anew."""
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=2, thread_limit=3)
    graph = build(way, [code(CATCHING), "done", code(CATCHING, "c2"), "done"], [limit])
    graph.invoke(START, CONFIG)
    assert PAID == [0, 1]
    graph.invoke(START, CONFIG)
    assert PAID == [0, 1, 0]


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_of_all_tools_counts_what_programs_call(way: str) -> None:
    """Without a tool's name every call of a tool counts, and the program itself does not."""
    limit = ToolCallLimitMiddleware(run_limit=2)
    graph = build(way, [code("await read('a')\nawait read('b')\nawait pay(1)"), "done"], [limit])
    graph.invoke(START, CONFIG)
    assert (READ, PAID) == (["a", "b"], [])


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_of_none(way: str) -> None:
    """Nothing is allowed, and nothing is called."""
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=0)
    build(way, [code("await pay(1)"), "done"], [limit]).invoke(START, CONFIG)
    assert PAID == []


@pytest.mark.parametrize("way", WAYS)
def test_programs_of_one_message_share_a_limit(way: str) -> None:
    """Two programs side by side do not have it twice."""
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=3)
    both = code("x", "c1").model_copy()
    both.tool_calls = [
        {"name": "run_code", "args": {"code": CATCHING}, "id": i, "type": "tool_call"}
        for i in ("c1", "c2")
    ]
    build(way, [both, "done"], [limit]).invoke(START, CONFIG)
    assert len(PAID) == 3


@pytest.mark.parametrize("way", ["first", "last"])
def test_calls_of_code_count_for_the_models_own(way: str) -> None:
    """What code has used up the model has not left."""
    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=2)
    script = [
        code("await pay(1)\nawait pay(2)"),
        tool_call_message("pay", {"eur": 3}, id="d"),
        "done",
    ]
    both = {"pay": ToolPolicy(allowed_callers=("code", "direct"))}
    state = build(way, script, [limit], policies=both).invoke(START, CONFIG)
    assert PAID == [1, 2]
    assert "by calls of code too" in state["messages"][4].text


def test_a_resumed_program_has_no_more_calls_than_before() -> None:
    """Calls that are replayed after a pause count as they did."""
    guards = [
        ToolCallLimitMiddleware(tool_name="pay", run_limit=2),
        HumanInTheLoopMiddleware({"read": True}),
    ]
    text = "await pay(1)\nawait read('a')\nawait pay(2)\nawait read('b')\nawait pay(3)"
    graph = build("as_programmatic", [code(text), "done"], guards)
    graph.invoke(START, CONFIG)
    graph.invoke(resume("batched", {"type": "approve"}), CONFIG)
    state = graph.invoke(resume("batched", {"type": "approve"}), CONFIG)
    assert PAID == [1, 2]
    assert "is reached" in state["messages"][2].text


# --- others ------------------------------------------------------------------------------------------


def test_a_guard_that_cannot_be_applied_refuses_the_first_run() -> None:
    """The error says what to write; the guard is used where ours comes before it."""
    auto = pytest.importorskip("langchain.agents.middleware.auto_mode").AutoModeMiddleware

    class Auto(auto):  # type: ignore[misc, valid-type]
        """Blocks all payments, without a model to decide."""

        def __init__(self) -> None:
            self.tools = []

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            if request.tool_call["name"] == "pay":
                return ToolMessage("blocked", tool_call_id=request.tool_call["id"], status="error")
            return handler(request)

    script = [code("print(await pay(1))"), "done"]
    for way in ("as_programmatic", "last"):
        with pytest.raises(PTCError, match=r"ProgrammaticToolCallingMiddleware.. before it"):
            build(way, script, [Auto()]).invoke(START, CONFIG)
    state = build("first", script, [Auto()]).invoke(START, CONFIG)
    assert "blocked" in state["messages"][2].text
    assert PAID == []


def test_other_middleware_is_left_alone() -> None:
    """Middleware that guards nothing changes nothing."""

    class Passing(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

    for way in WAYS:
        build(way, [code("print(await pay(1))"), "done"], [Passing()]).invoke(START, CONFIG)
    assert PAID == [1, 1, 1]


@pytest.mark.parametrize("way", ["as_programmatic", "middleware"])
def test_a_deep_agent_asks_about_calls_of_code(way: str) -> None:
    """`create_deep_agent(interrupt_on=...)` holds for them."""
    deepagents = pytest.importorskip("deepagents")
    agent = deepagents.create_deep_agent(
        ScriptedChatModel(script=[code("print(await pay(1))"), "done"]),
        as_programmatic([pay]) if way == "as_programmatic" else [pay],
        middleware=[] if way == "as_programmatic" else [ProgrammaticToolCallingMiddleware()],
        interrupt_on={"pay": True},
        checkpointer=InMemorySaver(),
    )
    assert "__interrupt__" in agent.invoke(START, CONFIG)
    assert PAID == []
    agent.invoke(resume("batched", {"type": "approve"}), CONFIG)
    assert PAID == [1]


# --- which agent it is ---------------------------------------------------------------------------------


class BringsCode(AgentMiddleware):
    """Brings `run_code`, and is held by nothing once the agent is built: it has no hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = as_programmatic([pay])


class NoNames(HumanInTheLoopMiddleware):
    """Hooks whose functions have other names, and another name for `self`."""

    wrap_tool_call = lambda this, request, handler: handler(request)  # noqa: E731

    async def _awrap(this, request: Any, handler: Any) -> Any:
        return await handler(request)

    awrap_tool_call = _awrap


def one_program(tools: Any, *middleware: Any, script: Any = None, build: Any = create_agent) -> Any:
    return build(
        ScriptedChatModel(script=script or [code("print(await pay(7))"), "done"]),
        tools,
        middleware=list(middleware),
        checkpointer=InMemorySaver(),
    )


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_one_list_in_several_agents_has_the_guards_of_the_one_that_runs(sync: bool) -> None:
    """Free, with approvals, with a limit, of another library: each as it was built."""
    for ours in (None, ProgrammaticToolCallingMiddleware()):
        tools, first = ([pay], [ours]) if ours else (as_programmatic([pay]), [])
        free = one_program(tools, *first)
        guarded = one_program(tools, *first, HumanInTheLoopMiddleware({"pay": True}))
        limited = one_program(tools, *first, ToolCallLimitMiddleware(tool_name="pay", run_limit=0))
        PAID.clear()
        assert "__interrupt__" not in await step(free, START, sync=sync)
        assert PAID == [7]
        assert "__interrupt__" in await step(guarded, START, sync=sync)
        assert "__interrupt__" not in await step(limited, START, sync=sync)
        if ours is None:
            by_hand = StateGraph(MessagesState)
            by_hand.add_node("model", lambda _: {"messages": [code("await pay(8)")]})
            by_hand.add_node("tools", ToolNode(tools))
            by_hand.add_edge("__start__", "model")
            by_hand.add_edge("model", "tools")
            state = await step(by_hand.compile(checkpointer=InMemorySaver()), START, sync=sync)
            assert "__interrupt__" not in state
            assert PAID.pop() == 8
        assert PAID == [7]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_guards_hold_however_the_agent_is_built(
    sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tools of a middleware, hooks of other names, `create_agent` instrumented, in a subgraph."""
    asks = HumanInTheLoopMiddleware({"pay": True})
    none = ToolCallLimitMiddleware(tool_name="pay", run_limit=0)

    def instrumented(*args: Any, **options: Any) -> Any:
        return create_agent(*args, **options)

    monkeypatch.setattr("langchain.agents.create_agent", instrumented)
    outer = StateGraph(MessagesState)
    outer.add_node(
        "agent",
        create_agent(
            ScriptedChatModel(script=[code("await pay(1)"), "done"]),
            as_programmatic([pay]),
            middleware=[asks],
        ),
    )
    outer.add_edge("__start__", "agent")
    for graph in (
        one_program([], BringsCode(), asks),
        one_program(as_programmatic([pay]), NoNames({"pay": True})),
        one_program(as_programmatic([pay]), asks, build=instrumented),
        outer.compile(checkpointer=InMemorySaver()),
    ):
        gc.collect()
        assert "__interrupt__" in await step(graph, START, sync=sync)
    for graph in (
        one_program([], BringsCode(), none),
        one_program(as_programmatic([pay]), none, build=instrumented),
    ):
        gc.collect()
        await step(graph, START, sync=sync)
    assert PAID == []


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_run_code_inside_another_tool_is_refused_where_guards_are_not_known(
    sync: bool,
) -> None:
    """The agent never had it, so its guards cannot be applied; `ignore` and agents without any may."""

    def agent(*guards: Any, **options: Any) -> Any:
        (run_code,) = as_programmatic([pay], **options)

        @tool
        def python(program: str) -> str:
            """Run a program."""
            return str(run_code.invoke({"code": program}))

        script = [tool_call_message("python", {"program": "print(await pay(7))"}), "done"]
        return one_program([python], *guards, script=script)

    limit = ToolCallLimitMiddleware(tool_name="pay", run_limit=0)
    with pytest.raises(PTCError, match="ToolCallLimitMiddleware, which cannot be applied"):
        await step(agent(limit), START, sync=sync)
    asks = HumanInTheLoopMiddleware({"pay": True})
    if sync:  # the approval is on the stack, and nobody can be asked from inside of a tool's call
        await step(agent(asks), START, sync=sync)
    else:
        with pytest.raises(PTCError, match="HumanInTheLoopMiddleware, which cannot be applied"):
            await step(agent(asks), START, sync=sync)
    assert PAID == []
    await step(agent(asks, limit, agent_guards="ignore"), START, sync=sync)
    await step(agent(), START, sync=sync)
    assert PAID == [7, 7]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_guards_of_an_outer_agent_are_its_own(sync: bool) -> None:
    """A tool that runs a graph with code in it: the outer agent guards its own calls only."""
    node = StateGraph(MessagesState)
    model = ScriptedChatModel(script=[code("print(await pay(7))"), "no"])
    node.add_node("node", ProgrammaticToolNode(model, [pay]))
    node.add_edge("__start__", "node")
    for inner in (node.compile(), one_program(as_programmatic([pay]))):
        PAID.clear()

        def work(inner: Any = inner) -> str:
            """Work."""
            return str(inner.invoke(START, CONFIG)["messages"][-1].text)

        async def awork(inner: Any = inner) -> str:
            """Work."""
            return str((await inner.ainvoke(START, CONFIG))["messages"][-1].text)

        does = StructuredTool.from_function(
            work, awork, name="work", args_schema={"type": "object", "properties": {}}
        )
        script = [tool_call_message("work", {}), "done"]
        outer = one_program(
            [does],
            HumanInTheLoopMiddleware({"pay": True}),
            ToolCallLimitMiddleware(tool_name="pay", run_limit=0),
            script=script,
        )
        assert "__interrupt__" not in await step(outer, START, sync=sync)
        assert PAID == [7]


def test_agents_that_are_gone_leave_nothing() -> None:
    """An agent for each request with one list of tools: the list does not grow."""
    tools = as_programmatic([pay])
    guards = [HumanInTheLoopMiddleware({"pay": True}) for _ in range(3)]
    graphs = [one_program(tools, guard) for guard in guards]
    kept = [weakref.ref(one) for one in (*guards, *graphs)]
    del guards, graphs
    gc.collect()
    assert [ref() for ref in kept] == [None] * 6
    assert "__interrupt__" not in one_program(tools).invoke(START, CONFIG)
