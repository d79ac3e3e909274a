"""Budgets of an execution and of a whole run: what is left, what happens at the end, what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_ptc import (
    Budget,
    CatalogError,
    ExecutionResult,
    InProcessSandbox,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run.budgets import BudgetMeter, Usage
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG: Any = {"configurable": {"thread_id": "t"}}


@tool
async def pay(amount: int) -> int:
    """Pay."""
    return amount


@tool
async def look(key: str) -> str:
    """Look something up."""
    return key


@tool
async def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


def price(call: Any) -> float:
    """Return what a call costs."""
    return float(call.arguments.get("amount", 0))


async def run(code: str, budget: Budget | None = None, **options: Any) -> ExecutionResult:
    """Run code that may call `pay` and `look`."""
    executor = ProgrammaticToolExecutor(
        [pay, look], sandbox=InProcessSandbox(), budget=budget, **options
    )
    return await executor.aexecute(code)


LOOP = """\
done = 0
for n in range(9):
    try:
        await pay(amount=2)
        done += 1
    except ToolCallError as error:
        print(error)
        break
print(done, await budget())
"""


@pytest.mark.parametrize(
    ("budget", "done", "left", "told"),
    [
        (Budget(calls=3), 3, {"calls": 0}, "calls 3 of 3"),
        (
            Budget(calls_per_tool={"pay": 2}, calls=9),
            2,
            {"calls": 7, "calls_per_tool": {"pay": 0}},
            "calls_per_tool of pay 2 of 2",
        ),
        (
            Budget(cost=5, cost_of=price),
            2,
            {"cost": 1.0},
            "cost 4 of 5, and this call costs 2",
        ),
    ],
    ids=["calls", "calls_per_tool", "cost"],
)
async def test_running_out_is_an_error_at_the_call(
    budget: Budget, done: int, left: dict[str, Any], told: str
) -> None:
    """The code catches it, sees what is left, and ends well."""
    result = await run(LOOP, budget)
    assert result.status == "success"
    first, second = result.output.splitlines()
    assert first.startswith(f"the budget of this execution is spent: {told}")
    assert second == f"{done} {left}"
    assert [c.status for c in result.tool_calls][done] == "refused"
    assert result.spent is not None
    assert result.spent["calls"] == done


async def test_uncaught_it_is_a_limit() -> None:
    """Code that does not catch it has reached a limit."""
    result = await run("for n in range(9): await pay(amount=1)", Budget(calls=2))
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.allowed) == ("budget.calls", 2)


async def test_code_that_goes_on_calling_is_ended() -> None:
    """The second time that it hears that nothing is left, the execution ends; what it printed stays."""
    code = """\
for n in range(50):
    try:
        print(await pay(amount=n))
    except ToolCallError:
        print("no")
"""
    result = await run(code, Budget(calls=2))
    assert result.status == "limit"
    assert result.output == "0\n1\nno\n"
    assert len(result.tool_calls) == 4
    assert result.error is not None
    assert result.error.limit == "budget.calls"
    assert "went on calling" in result.report()


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["free", "journal"])
async def test_calls_side_by_side_hear_it_together(saver: Any) -> None:
    """Calls that were made before the code could know are not what ends it."""
    code = """\
import asyncio
done = await asyncio.gather(*[pay(amount=n) for n in range(30)], return_exceptions=True)
print(sum(isinstance(d, int) for d in done), len(done))
"""
    graph = tool_node([code], saver=saver and saver(), budget=Budget(calls=5))
    state = await graph.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
    assert [m.text for m in state["messages"][2:]] == ["5 30\n".strip()]


async def test_other_tools_go_on() -> None:
    """A tool that is used up leaves the others alone."""
    code = """\
for n in range(2):
    try:
        await pay(amount=1)
    except ToolCallError:
        print("no")
print(await look(key="a"))
"""
    assert (await run(code, Budget(calls_per_tool={"pay": 1}))).output == "no\na\n"


async def test_looking_is_free_and_everything_else_counts() -> None:
    """`budget()` and the tools that find tools cost nothing."""
    code = "for n in range(9): await budget(); await list_domains()\nprint(await budget())"
    assert (await run(code, Budget(calls=1))).output == "{'calls': 1}\n"


def test_time_and_output_run_out() -> None:
    """Time and printed text are looked at when a call is made."""
    seconds = 0.0
    meter = BudgetMeter(
        Budget(wall_seconds=10, output_tokens=5),
        None,
        before=Usage(),
        now=lambda: seconds,
    )
    text = "x" * 8
    meter.read_output = lambda: text
    assert meter.left() == {"wall_seconds": 10.0, "output_tokens": 3}
    seconds, text = 12.0, "x" * 400
    assert meter.left() == {"wall_seconds": 0.0, "output_tokens": 0}
    assert meter.seconds_left() == (0.0, "budget.wall_seconds")


async def test_a_call_has_no_more_time_than_is_left() -> None:
    """A call that hangs is cut off when the budget's time is over, and the error says so."""

    @tool
    async def hang() -> None:
        """Hang."""
        import asyncio

        await asyncio.sleep(60)

    executor = ProgrammaticToolExecutor(
        [hang], sandbox=InProcessSandbox(), budget=Budget(wall_seconds=0.3)
    )
    result = await executor.aexecute("await hang()")
    assert result.status == "limit"
    assert result.error is not None
    assert result.error.limit == "budget.wall_seconds"


async def test_the_model_is_shown_no_more_than_its_tokens() -> None:
    """Output over the budget is cut in the middle, and all of it is in the record."""
    result = await run("print('x' * 10_000)", Budget(output_tokens=200))
    assert len(result.output) == 10_001
    assert len(result.report()) < 1_100
    assert result.spent is not None
    assert result.spent["output_tokens"] < 300


async def test_what_a_call_costs_must_be_a_number() -> None:
    """A function that fails, or gives no number, refuses the call; the code learns nothing of it."""
    for cost_of in (lambda call: 1 / 0, lambda call: float("nan"), lambda call: -1):
        budget = Budget(cost=5, cost_of=cost_of)
        result = await run("await pay(amount=1)", budget)
        assert result.status == "error"
        assert "the cost of a call of pay is unknown" in result.report()
        assert result.tool_calls[0].status == "refused"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Budget(calls=0), "Budget.calls must be"),
        (lambda: Budget(calls=1.5), "Budget.calls must be"),
        (lambda: Budget(calls_per_tool={"pay": 0}), r"Budget.calls_per_tool\['pay'\]"),
        (lambda: Budget(cost=1), "needs cost_of"),
        (
            lambda: ProgrammaticToolExecutor(
                [pay], budget=Budget(cost_of=price), run_budget=Budget(cost_of=lambda call: 1.0)
            ),
            "the same cost_of",
        ),
        (
            lambda: ProgrammaticToolExecutor([pay], budget=Budget(calls_per_tool={"pya": 1})),
            "calls_per_tool has 'pya', which is not one of the tools .did you mean 'pay'",
        ),
    ],
    ids=["none", "float", "per-tool", "no-cost-of", "two-costs", "no-tool"],
)
def test_wrong_budgets_are_told_at_once(make: Any, told: str) -> None:
    """What cannot be meant is a `ValueError`."""
    with pytest.raises(ValueError, match=told):
        make()


def test_a_tool_of_the_name_is_refused() -> None:
    """A tool called `budget` would hide what is left; in a domain it does not."""

    @tool
    def budget() -> int:
        """Return the budget of the company."""
        return 1

    with pytest.raises(CatalogError, match="rename it, or put it into a domain"):
        ProgrammaticToolExecutor([budget], budget=Budget(calls=1))
    assert ProgrammaticToolExecutor({"finance": [budget]}, budget=Budget(calls=1))
    assert ProgrammaticToolExecutor([budget])


# --- a run --------------------------------------------------------------------------------------------


def calls_of(codes: list[str]) -> AIMessage:
    """Return a message that runs codes side by side."""
    return AIMessage(
        "",
        id="m",
        tool_calls=[
            ToolCall(name="run_code", args={"code": code}, id=f"c{n}", type="tool_call")
            for n, code in enumerate(codes)
        ],
    )


def tool_node(codes: list[str], *, saver: Any = None, **options: Any) -> Any:
    """Return a graph that runs codes side by side in a `ToolNode`."""
    from langgraph.prebuilt import ToolNode

    options = {"sandbox": InProcessSandbox(), **options}
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [calls_of(codes)]})
    graph.add_node("tools", ToolNode(as_programmatic([pay, look, ask], **options)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    return graph.compile(checkpointer=saver)


def agent_of(codes: list[str], saver: Any, budget: Budget) -> Any:
    """Return an agent that runs one code after the other, and says "done"."""
    script = [tool_call_message("run_code", {"code": code}) for code in codes]
    tools = as_programmatic([pay, look, ask], run_budget=budget, sandbox=InProcessSandbox())
    return create_agent(ScriptedChatModel(script=[*script, "done"]), tools, checkpointer=saver)


def outputs(state: Any) -> list[str]:
    """Return the texts of the tool messages."""
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


async def test_a_run_ends_with_the_next_message_of_the_user() -> None:
    """Executions of one run share its budget, also in another process; the next run has its own."""
    code = "print(await pay(amount=1), await budget())"
    saver = InMemorySaver()
    budget = Budget(calls=3)
    agent = agent_of([code, code], saver, budget)
    state = await agent.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
    assert outputs(state) == ["1 {'calls': 2}", "1 {'calls': 1}"]
    other = agent_of([code], saver, budget)  # with a memory of its own
    state = await other.ainvoke({"messages": [AIMessage("I go on")]}, CONFIG)
    assert outputs(state)[2:] == ["1 {'calls': 0}"]
    state = await agent_of([code], saver, budget).ainvoke(
        {"messages": [HumanMessage("again")]}, CONFIG
    )
    assert outputs(state)[3:] == ["1 {'calls': 2}"]


async def test_executions_side_by_side_share_the_budget() -> None:
    """They do not find each other in the state, and see each other in the process."""
    code = """\
done = 0
try:
    for n in range(4):
        await pay(amount=1)
        done += 1
except ToolCallError:
    pass
print(done)
"""
    for saver in (None, InMemorySaver()):
        graph = tool_node([code] * 3, run_budget=Budget(calls=6), saver=saver)
        state = await graph.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
        assert sum(map(int, outputs(state))) == 6


@pytest.mark.parametrize("same_process", [True, False], ids=["same-process", "other-process"])
async def test_a_pause_changes_nothing(same_process: bool) -> None:
    """What was spent before a pause is spent after it, once, and nothing is asked or paid again."""
    code = """\
print(await pay(amount=1), await budget())
print(await ask(question="q"))
for n in range(2):
    try:
        print(await pay(amount=1), await budget())
    except ToolCallError:
        print("no")
"""
    saver, budget = InMemorySaver(), Budget(calls=3, cost=10, cost_of=price)
    agent = agent_of([code], saver, budget)
    await agent.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
    if not same_process:
        agent = agent_of([], saver, budget)
    state = await agent.ainvoke(Command(resume="yes"), CONFIG)
    lines = outputs(state)[0].splitlines()
    assert lines == ["1 {'calls': 2, 'cost': 9.0}", "yes", "1 {'calls': 0, 'cost': 8.0}", "no"]
    message = next(m for m in state["messages"] if isinstance(m, ToolMessage))
    assert message.artifact["spent"]["calls"] == 3


async def test_attempts_of_a_node_spend_the_same_budget() -> None:
    """Attempts that are not in the state are told in the record of the last one."""
    script = [
        tool_call_message("run_code", {"code": "await pay(amount=1)\nawait pay(amount=1)\n1/0"}),
        tool_call_message("run_code", {"code": "print(await pay(amount=1), await budget())"}),
    ]
    for saver in (None, InMemorySaver()):
        node = ProgrammaticToolNode(
            ScriptedChatModel(script=script),
            [pay],
            run_budget=Budget(calls=4),
            sandbox=InProcessSandbox(),
        )
        graph = StateGraph(MessagesState)
        graph.add_node("code", node)
        graph.add_edge(START, "code")
        compiled = graph.compile(checkpointer=saver)
        state = await compiled.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
        assert outputs(state) == ["1 {'calls': 1}"]
        assert state["messages"][-1].artifact["spent"]["calls"] == 3


async def test_a_gated_call_counts_when_it_is_made() -> None:
    """A call that a person rejects costs nothing."""
    code = """\
try:
    await pay(amount=1)
except ToolCallError:
    print(await budget())
"""
    saver = InMemorySaver()
    tools = as_programmatic(
        [pay],
        policies={"pay": ToolPolicy(requires_approval=True)},
        budget=Budget(calls=1),
        sandbox=InProcessSandbox(),
    )
    script = [tool_call_message("run_code", {"code": code}), "done"]
    agent = create_agent(ScriptedChatModel(script=script), tools, checkpointer=saver)
    await agent.ainvoke({"messages": [HumanMessage("go")]}, CONFIG)
    answer = Command(resume={"decisions": [{"type": "reject"}]})
    assert outputs(await agent.ainvoke(answer, CONFIG)) == ["{'calls': 1}"]
