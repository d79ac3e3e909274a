"""Budgets for the whole tree: models and tools of agents that code calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool, tool
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_ptc import (
    Budget,
    ExecutionResult,
    InProcessSandbox,
    ProgrammaticToolExecutor,
    Retry,
    ToolCatalog,
    ToolPolicy,
    agent_tool,
    as_programmatic,
    model_tools,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

LOOKS = 3
"""Tool calls of the agent `research` for one question; it asks its model once more."""


class World:
    """An agent over one tool, and what was really called."""

    def __init__(self) -> None:
        self.looked: list[str] = []
        self.asked = 0

        @tool
        def look(at: str) -> str:
            """Look at something."""
            self.looked.append(at)
            return at

        model = ScriptedChatModel(script=self.think, count_tokens=lambda text: len(text.split()))
        agent = create_agent(model, [look], name="research")
        self.research = agent_tool(agent, description="Research a topic.")

    def think(self, messages: Sequence[BaseMessage]) -> AIMessage:
        """Look a few times, then answer."""
        self.asked += 1
        done = sum(message.type == "tool" for message in messages)
        if done < LOOKS:
            return tool_call_message("look", {"at": f"{done}"}, id=f"look-{done}")
        return AIMessage(f"about {messages[0].text}")


LOOP = """\
for topic in ("ants", "bees", "cats", "dogs"):
    try:
        answer = await research(messages=[{"role": "user", "content": topic}])
        print(answer["messages"][-1]["content"], await budget())
    except ToolCallError as error:
        print(error)
        break
"""
GATHER = """\
import asyncio
tasks = [research(messages=[{"role": "user", "content": str(n)}]) for n in range(5)]
answers = await asyncio.gather(*tasks, return_exceptions=True)
print(sum(isinstance(answer, ToolCallError) for answer in answers))
"""


async def run(tools: Sequence[Any], code: str, budget: Budget | None) -> ExecutionResult:
    """Run code with a budget."""
    executor = ProgrammaticToolExecutor(tools, sandbox=InProcessSandbox(), budget=budget)
    return await executor.aexecute(code)


# --- what is counted ----------------------------------------------------------------------------


async def test_models_of_an_agent(caplog: pytest.LogCaptureFixture) -> None:
    """No model below the code is asked more often than the budget says; the code is told, no log of LangChain."""
    world = World()
    result = await run([world.research], LOOP, Budget(model_calls=6))
    first, second = result.output.splitlines()
    assert first == "about ants {'model_calls': 2}"
    assert second.startswith("the budget of this execution is spent: model_calls 6 of 6. Make no")
    assert (result.status, world.asked, len(world.looked)) == ("success", 6, LOOKS + 2)
    assert not [one for one in caplog.records if one.name.startswith("langchain_core")]


async def test_tools_of_an_agent() -> None:
    """No tool below the code is called more often than the budget says."""
    world = World()
    result = await run([world.research], LOOP, Budget(inner_calls=LOOKS + 1))
    assert "inner_calls 4 of 4" in result.output
    assert len(world.looked) == LOOKS + 1
    assert [dict(call.inner)["inner_calls"] for call in result.tool_calls if call.inner] == [3, 1]


async def test_tokens_of_an_agent() -> None:
    """Models are not asked when the tokens that they reported are as many as the budget says."""
    world = World()
    result = await run([world.research], LOOP, Budget(model_tokens=1))
    assert world.asked == 1  # the one that exceeds it
    assert result.spent is not None
    assert result.spent["model_tokens"] > 1
    assert "the budget of this execution is spent: model_tokens" in result.output


async def test_concurrent_agents() -> None:
    """Agents that run concurrently share the budget to the last call."""
    world = World()
    result = await run([world.research], GATHER, Budget(model_calls=7))
    assert result.status == "success"
    assert world.asked == 7


def hides(way: str, first: BaseChatModel, second: BaseChatModel) -> Callable[[str], Awaitable[str]]:
    """Return a function that asks two models, the second where the first fails, and hides the second's error."""
    both = first.with_fallbacks([second])

    async def ask(text: str) -> str:
        if way == "with_fallbacks":
            return (await both.ainvoke(text)).text
        if way == "with_fallbacks, sync":
            return both.invoke(text).text
        try:
            return (await both.ainvoke(text)).text
        except ConnectionError:
            raise ValueError("no model answers") from None

    return ask


@pytest.mark.parametrize("way", ["with_fallbacks", "with_fallbacks, sync", "an error of its own"])
@pytest.mark.parametrize(
    "budget", [Budget(model_calls=1), Budget(model_tokens=1)], ids=["calls", "tokens"]
)
async def test_a_tool_that_hides_it(way: str, budget: Budget) -> None:
    """Where a tool raises another error after nothing was left for a model, the code reads of the budget."""
    asked: list[str] = []

    def fail(messages: Sequence[BaseMessage]) -> str:
        asked.append("first")
        raise ConnectionError("the first model is down")

    first = ScriptedChatModel(script=fail)
    second = ScriptedChatModel(script=lambda _: "from the second", count_tokens=len)
    ask = tool("ask", description="Ask a model.")(hides(way, first, second))
    code = """\
for n in range(2):
    try:
        print(await ask(str(n)))
    except ToolCallError as error:
        print(error, error.limit)
        break
"""
    result = await run([ask], code, budget)
    *answers, told = result.output.splitlines()
    key = "model_calls" if budget.model_calls else "model_tokens"
    assert answers == ([] if budget.model_calls else ["from the second"])
    assert told.startswith(f"the budget of this execution is spent: {key} ")
    assert told.endswith(f"print what you have budget.{key}")
    assert asked == ["first"]


async def test_uncaught_it_is_a_limit() -> None:
    """Code that does not catch the error ends as with any other budget."""
    world = World()
    code = 'await research(messages=[{"role": "user", "content": "ants"}])'
    result = await run([world.research], code, Budget(model_calls=2))
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.used) == ("budget.model_calls", 2)


async def test_any_depth() -> None:
    """An agent that writes code which calls agents is bounded with all that it calls."""
    world = World()
    call = tool_call_message("run_code", {"code": LOOP.replace("await budget()", "''")})
    middle = create_agent(
        ScriptedChatModel(script=[call, "all done"]),
        as_programmatic([world.research], sandbox=InProcessSandbox()),
        name="lead",
    )
    code = """\
try:
    answer = await lead(messages=[{"role": "user", "content": "go"}])
except ToolCallError as error:
    print(error)
print(await budget())
"""
    # One call of the lead's model, then those of `research`.
    lead = agent_tool(middle, description="Lead.")
    result = await run([lead], code, Budget(model_calls=1 + 6))
    assert world.asked == 6
    assert "model_calls 7 of 7" in result.output
    assert "{'model_calls': 0}" in result.output


async def test_models_as_tools() -> None:
    """A batch of prompts counts each of them, and none is sent for which nothing is left."""
    asked: list[str] = []

    def reply(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return "yes"

    code = """\
print(await ask_model_batch(["a", "b", "c"]))
print((await budget())["model_calls"])
try:
    await ask_model_batch(["d", "e", "f"])
except ToolCallError as error:
    print(error)
"""
    tools = model_tools(ScriptedChatModel(script=reply))
    result = await run(tools, code, Budget(model_calls=5))
    assert result.output.splitlines()[:2] == ["['yes', 'yes', 'yes']", "2"]
    assert "model_calls 5 of 5" in result.output
    assert len(asked) == 5


def test_from_synchronous_code() -> None:
    """Synchronous agents are counted as well."""
    world = World()
    executor = ProgrammaticToolExecutor(
        [world.research], sandbox=InProcessSandbox(), budget=Budget(model_calls=6)
    )
    assert "model_calls 6 of 6" in executor.execute(LOOP).output
    assert world.asked == 6


async def test_agents_inside_tools() -> None:
    """An agent that a function calls, with no config passed on, is counted like any other."""
    world = World()

    @tool
    async def study(topic: str) -> str:
        """Study a topic."""
        state = await world.research.agent.ainvoke({"messages": [("user", topic)]})
        return str(state["messages"][-1].text)

    code = "print(await study(topic='ants'))\nprint(await budget())"
    result = await run([study], code, Budget(model_calls=10, inner_calls=10))
    assert result.output == "about ants\n{'inner_calls': 7, 'model_calls': 6}\n"


async def test_what_is_not_limited_is_not_counted() -> None:
    """Without such a budget no handler is added, and records have no counts."""
    world = World()
    result = await run([world.research], LOOP, Budget(calls=9))
    assert {len(call.inner) for call in result.tool_calls} == {0}
    assert result.spent is not None
    assert result.spent["model_calls"] == 0


async def test_it_is_not_tried_again() -> None:
    """A tool that may be repeated is not, when what it lacks is a budget."""
    world = World()
    policy = ToolPolicy(read_only=True, retry=Retry(attempts=4, wait_seconds=0.001))
    catalog = ToolCatalog([world.research], policies={"research": policy})
    executor = ProgrammaticToolExecutor(
        catalog, sandbox=InProcessSandbox(), budget=Budget(model_calls=2)
    )
    result = await executor.aexecute(LOOP)
    assert world.asked == 2
    assert result.tool_calls[0].attempts == 1
    assert "(tried" not in result.output


@pytest.mark.parametrize("name", ["inner_calls", "model_calls", "model_tokens"])
def test_numbers(name: str) -> None:
    """A number that is not positive is refused."""
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"Budget.{name} must be a positive number"):
        Budget(**options)


# --- a whole run --------------------------------------------------------------------------------


def test_a_run_of_several_programs() -> None:
    """`run_budget` adds up what the programs of one run used below their calls."""
    world = World()
    code = LOOP.replace('"bees", "cats", "dogs"', "")
    agent = create_agent(
        ScriptedChatModel(script=[tool_call_message("run_code", {"code": code})] * 3 + ["done"]),
        as_programmatic(
            [world.research], sandbox=InProcessSandbox(), run_budget=Budget(model_calls=10)
        ),
    )
    state = agent.invoke({"messages": [("user", "go")]})
    texts = [message.text for message in state["messages"] if message.type == "tool"]
    assert texts[:2] == ["about ants {'model_calls': 6}", "about ants {'model_calls': 2}"]
    assert texts[2].startswith("the budget of this whole task is spent: model_calls 10 of 10")
    assert world.asked == 10


# --- pauses -------------------------------------------------------------------------------------


def once(code: str) -> Any:
    """Return a script that runs code, and then ends; also in an agent that is built anew."""
    call = tool_call_message("run_code", {"code": code})
    return lambda messages: call if messages[-1].type == "human" else "done"


class Clerk:
    """An agent that looks, pays after an approval, and answers; what was done is counted."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def think(self, messages: Sequence[BaseMessage]) -> AIMessage | str:
        """Look, pay, answer."""
        self.done.append("model")
        who = messages[0].text
        calls = [message for message in messages if message.type == "tool"]
        if len(calls) < 2:
            name = ("look", "pay")[len(calls)]
            return tool_call_message(name, {"who": who}, id=f"{name}-{who}")
        return f"{who}: {calls[-1].text}"

    def tools(self, *, asks_itself: bool) -> list[BaseTool]:
        """Return its tools."""

        @tool
        def look(who: str) -> str:
            """Look somebody up."""
            self.done.append(f"look {who}")
            return who

        @tool
        def pay(who: str) -> str:
            """Pay somebody."""
            if asks_itself and interrupt(f"pay {who}?") != "yes":
                return "refused"
            self.done.append(f"pay {who}")
            return "paid"

        return [look, pay]

    def build(self, saver: InMemorySaver, *, asks_itself: bool) -> Any:
        """Build everything as a new process would, on what an earlier one has saved."""
        approvals = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
        clerk = create_agent(
            ScriptedChatModel(script=self.think),
            self.tools(asks_itself=asks_itself),
            middleware=[] if asks_itself else [approvals],
            name="clerk",
        )
        code = """\
import asyncio
names = ("ada", "ben")
answers = await asyncio.gather(*[clerk(messages=[{"role": "user", "content": n}]) for n in names])
for answer in answers:
    print(answer["messages"][-1]["content"])
print(await budget())
"""
        return create_agent(
            ScriptedChatModel(script=once(code)),
            as_programmatic(
                [agent_tool(clerk, description="Pay somebody.")],
                sandbox=InProcessSandbox(),
                run_budget=Budget(model_calls=20, inner_calls=20),
            ),
            checkpointer=saver,
        )


@pytest.mark.parametrize("asks_itself", [False, True], ids=["approval", "interrupt"])
def test_inner_agents_that_pause(*, asks_itself: bool) -> None:
    """Concurrent inner agents are answered one by one, by new objects: nothing is done or counted twice."""
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    approve: Any = "yes" if asks_itself else {"decisions": [{"type": "approve"}]}
    clerk = Clerk()
    state = clerk.build(saver, asks_itself=asks_itself).invoke(
        {"messages": [("user", "pay both")]}, config
    )
    assert sorted(clerk.done) == sorted([*["model"] * 4, "look ada", "look ben"])
    paid = []
    for left in (1, 0):
        clerk.done.clear()
        question = state["__interrupt__"][0]
        state = clerk.build(saver, asks_itself=asks_itself).invoke(
            Command(resume={question.id: approve}), config
        )
        assert len(state.get("__interrupt__", ())) == left
        assert clerk.done[1:] == ["model"]
        paid.append(clerk.done[0])
    assert sorted(paid) == ["pay ada", "pay ben"]
    message = next(message for message in state["messages"] if message.type == "tool")
    assert message.text.splitlines() == [
        "ada: paid",
        "ben: paid",
        "{'inner_calls': 16, 'model_calls': 14}",
    ]
    inner = {"model_calls": 3, "inner_calls": 2, "model_tokens": 0}
    assert [call["inner"] for call in message.artifact["tool_calls"][:2]] == [inner, inner]


def test_a_budget_that_ends_after_a_pause() -> None:
    """What was used before a pause is not to be had again after it, in another process."""
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}

    def build() -> Any:
        agent = create_agent(
            ScriptedChatModel(script=clerk.think), clerk.tools(asks_itself=True), name="clerk"
        )
        code = """\
try:
    await clerk(messages=[{"role": "user", "content": "ada"}])
except ToolCallError as error:
    print(error)
"""
        return create_agent(
            ScriptedChatModel(script=once(code)),
            as_programmatic(
                [agent_tool(agent, description="Pay.")],
                sandbox=InProcessSandbox(),
                budget=Budget(model_calls=2),
            ),
            checkpointer=saver,
        )

    clerk = Clerk()
    build().invoke({"messages": [("user", "go")]}, config)
    assert clerk.done == ["model", "look ada", "model"]
    state = build().invoke(Command(resume="yes"), config)
    assert clerk.done == ["model", "look ada", "model", "pay ada"]
    texts = [message.text for message in state["messages"] if message.type == "tool"]
    assert texts[0].startswith("the budget of this execution is spent: model_calls 2 of 2")


def test_a_call_that_a_budget_ended_before_a_pause() -> None:
    """It was made: after the pause it counts, and so does what was used below it."""
    model = ScriptedChatModel(script=lambda _: "yes")

    @tool
    def think_twice() -> str:
        """Think."""
        return model.invoke("a").text + model.invoke("b").text

    @tool
    def ask() -> str:
        """Ask a person."""
        return str(interrupt("go on?"))

    code = "try:\n    await think_twice()\nexcept ToolCallError:\n    pass\nprint(await ask(), await budget())"
    tools = as_programmatic(
        [think_twice, ask], sandbox=InProcessSandbox(), budget=Budget(model_calls=1, calls=5)
    )
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    agent = create_agent(ScriptedChatModel(script=once(code)), tools, checkpointer=saver)
    agent.invoke({"messages": [("user", "go")]}, config)
    state = agent.invoke(Command(resume="yes"), config)
    texts = [message.text for message in state["messages"] if message.type == "tool"]
    assert texts == ["yes {'calls': 3, 'model_calls': 0}"]


# --- traces -------------------------------------------------------------------------------------


async def test_names_in_traces() -> None:
    """An agent without a name of its own has that of its tool in traces; others keep theirs."""
    seen: list[str] = []

    class Tracer(BaseTracer):
        def _persist_run(self, run: Any) -> None:
            self.note(run)

        def note(self, run: Any) -> None:
            seen.append(f"{run.run_type} {run.name}")
            for child in run.child_runs:
                self.note(child)

    model = ScriptedChatModel(script=lambda _: "done")
    tools = [
        agent_tool(create_agent(model), name="unnamed", description="Work."),
        agent_tool(create_agent(model, name="writer"), name="ask_writer", description="Write."),
    ]
    code = "await unnamed(messages=[])\nawait ask_writer(messages=[])"
    executor = ProgrammaticToolExecutor(tools, sandbox=InProcessSandbox())
    await executor.aexecute(code, config={"callbacks": [Tracer()]})
    assert [name for name in seen if "model" not in name.lower()] == [
        "tool unnamed",
        "chain unnamed",
        "tool ask_writer",
        "chain writer",
    ]
