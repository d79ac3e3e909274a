"""A graph pauses, and goes on with other tools: the model is told what has taken effect."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import (
    InProcessSandbox,
    Limits,
    ProgrammaticToolCallingMiddleware,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel
from tests.support.hosts import CONFIG, HOSTS, REQUEST, artifact, message_of, output, run, writes

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
MADE: list[str] = []
APPROVE: Any = Command(resume={"decisions": [{"type": "approve"}]})
CODE = "a = await look(1)\nprint(await send(a))\nprint(await pay(a))"


@pytest.fixture(autouse=True)
def nothing_made():
    MADE.clear()


@tool
def look(x: int) -> int:
    """Look."""
    MADE.append("look")
    return x


@tool
def send(x: int) -> str:
    """Send money."""
    MADE.append("send")
    return "sent"


@tool
def pay(x: int) -> str:
    """Pay."""
    MADE.append("pay")
    return "paid"


def build(name: str, tools: list[Any], code: str, saver: Any, **options: Any) -> Any:
    if name == "middleware":
        ours = ProgrammaticToolCallingMiddleware(**options)
        return create_agent(writes(code), tools, middleware=[ours], checkpointer=saver)
    if name.startswith("node"):
        options["max_attempts"] = 1
    return HOSTS[name](tools, code, saver, **options)


async def redeploy(
    before: list[Any],
    after: list[Any],
    code: str = CODE,
    *,
    name: str = "agent",
    sync: bool = False,
    options: Any = None,
    **later: Any,
) -> Any:
    """Pause with some tools and go on with others; return the state at the end."""
    saver = InMemorySaver()
    options = options or {"interrupt_on": {"pay": True}}
    state = await run(build(name, before, code, saver, **options), REQUEST, sync=sync)
    assert state["__interrupt__"]
    return await run(build(name, after, code, saver, **{**options, **later}), APPROVE, sync=sync)


@both
@pytest.mark.parametrize("name", [*HOSTS, "middleware"])
async def test_resume_after_a_tool_was_removed(name, sync):
    """A tool that the code has used is gone: nothing more is called, and the model hears what was."""
    state = await redeploy([look, send, pay], [send, pay], name=name, sync=sync)
    assert MADE == ["look", "send"]
    record = artifact(state)
    assert record.error.kind == "ReplayError"
    assert "NameError: name 'look' is not defined where it had reached 1:look" in output(state)
    assert "2 tool calls took effect and must not be repeated: look(x=1), send(x=1)" in output(
        state
    )
    assert [(c.tool, c.status) for c in record.tool_calls] == [
        ("look", "returned"),
        ("send", "returned"),
    ]
    assert [c.call_id.rpartition(":")[2] for c in record.tool_calls] == ["1", "2"]


@tool("look")
def look_with_more(x: int, deep: bool = False) -> int:
    """Look."""
    MADE.append("look again")
    return x


@tool("look")
def look_renamed(y: int) -> int:
    """Look."""
    MADE.append("look again")
    return y


@tool("look")
def look_otherwise(x: str) -> str:
    """Look, for a text."""
    MADE.append("look again")
    return x


CAUGHT = """\
try:
    await look(x=1)
except (NameError, ToolCallError):
    print("no look")
print(await send(1))
print(await pay(1))
"""
FIRST = "print(await look(x=1))\nprint(await send(1))\nprint(await pay(1))"


@pytest.mark.parametrize(
    ("code", "after"),
    [
        pytest.param(CAUGHT, [send, pay], id="removed-and-caught"),
        pytest.param(CAUGHT, [look_renamed, send, pay], id="renamed-argument-and-caught"),
        pytest.param(FIRST, [look_renamed, send, pay], id="renamed-argument"),
        pytest.param(FIRST, [look_otherwise, send, pay], id="other-type"),
        pytest.param(FIRST, [], id="no-tools-at-all"),
    ],
)
async def test_a_changed_tool_is_another_path(code, after):
    """Whatever has changed of a tool that was used: nothing is called, and both effects are told."""
    asked = {"pay": True} if pay in after else {}
    state = await redeploy([look, send, pay], after, code, interrupt_on=asked)
    assert MADE == ["look", "send"]
    assert artifact(state).error.kind == "ReplayError"
    assert "2 tool calls took effect and must not be repeated: look(x=1), send(x=1)" in output(
        state
    )


async def test_a_tool_that_the_question_is_about_was_removed():
    """The call that a person has approved cannot be made any more: what was made before is told."""
    state = await redeploy([look, send, pay], [look, send], interrupt_on={})
    assert MADE == ["look", "send"]
    assert artifact(state).error.kind == "ReplayError"
    assert "look(x=1), send(x=1)" in output(state)


async def test_a_tool_that_needs_an_approval_now():
    """A call of before the pause that would be asked about now is another path, and not made."""
    ask_more = {"interrupt_on": {"pay": True, "send": True}}
    state = await redeploy([look, send, pay], [look, send, pay], **ask_more)
    assert MADE == ["look", "send"]
    assert artifact(state).error.kind == "ReplayError"
    assert "look(x=1), send(x=1)" in output(state)


async def test_what_is_only_added_changes_nothing():
    """A deployment that only adds, tools or arguments, goes on where the graph was."""

    @tool
    def more(x: int) -> int:
        """Do more."""
        return x

    state = await redeploy([look, send, pay], [more, pay, send, look_with_more])
    assert MADE == ["look", "send", "pay"]
    assert output(state) == "sent\npaid"


@tool("send")
def send_with_default(x: int, currency: str = "EUR") -> str:
    """Send money."""
    MADE.append("send again")
    return "sent"


@tool("look")
async def look_asynchronously(x: int) -> int:
    """Look."""
    MADE.append("look again")
    return x


SIDE_BY_SIDE = "import asyncio\nprint(await asyncio.gather(look(1), send(2), pay(3)))"
SAME: Any = [look, send, pay]


@both
@pytest.mark.parametrize(
    ("after", "code", "later"),
    [
        pytest.param([look, send_with_default, pay], CODE, {}, id="a default more"),
        pytest.param([look_asynchronously, send, pay], CODE, {}, id="asynchronous now"),
        pytest.param([pay, send, look], SIDE_BY_SIDE, {}, id="another order"),
        pytest.param(SAME, CODE, {"sandbox": InProcessSandbox()}, id="another sandbox"),
        pytest.param(SAME, CODE, {"limits": Limits(code_chars=10)}, id="less code"),
        pytest.param(SAME, CODE, {"session": "thread"}, id="a session"),
        pytest.param(SAME, CODE, {"policies": {"look": ToolPolicy(max_calls=1)}}, id="max_calls"),
    ],
)
async def test_a_deployment_that_goes_on(after, code, later, sync):
    """What does not change the path of the code: the approved call is made, and nothing else again."""
    state = await redeploy(SAME, after, code, sync=sync, **later)
    assert artifact(state).status == "success"
    assert Counter(MADE) == Counter(["look", "send", "pay"])


@tool("pay")
def pay_with_more(x: int, note: str = "") -> str:
    """Pay."""
    MADE.append("pay")
    return "paid"


@tool("pay")
def pay_renamed(amount: int) -> str:
    """Pay."""
    MADE.append("pay")
    return "paid"


@tool("pay")
def pay_texts(x: str) -> str:
    """Pay."""
    MADE.append("pay")
    return "paid"


ONLY_DIRECT = {"send": ToolPolicy(allowed_callers=("direct",))}


@both
@pytest.mark.parametrize(
    ("after", "code", "later"),
    [
        pytest.param([look, send, pay_with_more], CODE, {}, id="asked tool has more"),
        pytest.param([look, send, pay_renamed], CODE, {}, id="asked tool renamed its argument"),
        pytest.param([look, send, pay_texts], CODE, {}, id="asked tool takes another type"),
        pytest.param(SAME, CODE, {"domain": "bank"}, id="another domain"),
        pytest.param(SAME, CODE, {"policies": ONLY_DIRECT}, id="not for code any more"),
        pytest.param(SAME, CODE, {"interrupt_on": {}}, id="no approvals any more"),
        pytest.param([send, pay], SIDE_BY_SIDE, {}, id="removed, of calls at once"),
    ],
)
async def test_a_deployment_that_does_not_go_on(after, code, later, sync):
    """What changes the path, or the call that was approved: it is not made, and both effects are told."""
    state = await redeploy(SAME, after, code, sync=sync, **later)
    assert artifact(state).error.kind == "ReplayError"
    assert "2 tool calls took effect and must not be repeated" in output(state)
    assert Counter(MADE) == Counter(["look", "send"])


async def test_what_is_told_is_what_a_record_says():
    """Calls that only read are told as such, secrets stay hidden, large arguments are cut."""

    @tool
    def login(user: str, password: str) -> str:
        """Log in."""
        return "in"

    @tool
    def store(text: str) -> str:
        """Store."""
        return "stored"

    code = (
        "await look(1)\nawait login('ada', password='hunter2')\n"
        "await store('x' * 100_000)\nawait pay(1)"
    )
    options = {
        "interrupt_on": {"pay": True},
        "policies": {"look": ToolPolicy(read_only=True)},
    }
    state = await redeploy(
        [look, login, store, pay], [pay], code, options={**options}, policies=None
    )
    told = output(state)
    assert "1 tool call only read" in told
    assert "2 tool calls took effect" in told
    assert "login(user='ada'" in told
    assert "hunter2" not in told
    assert "store(text='[…]')" in told
    assert len(told) < 1_000


def join(before: list[str], after: list[str]) -> list[str]:
    return [*before, *after]


class State(MessagesState):
    """A state that tools write to."""

    notes: Annotated[list[str], join]


async def test_what_a_tool_wrote_is_in_the_state():
    """The state has what calls of before the pause wrote, though the code did not reach them again."""

    @tool
    def note(text: str) -> Command[Any]:
        """Note."""
        MADE.append("note")
        return Command(update={"notes": [text]})

    saver = InMemorySaver()
    code = "await look(1)\nawait note('a')\nawait pay(1)"

    def graph(tools: list[Any]) -> Any:
        graph = StateGraph(State)
        ours = as_programmatic(tools, interrupt_on={"pay": True})
        graph.add_node("tools", ToolNode(ours))
        graph.add_edge(START, "tools")
        return graph.compile(checkpointer=saver)

    message: AIMessage = message_of(code)
    await graph([look, note, pay]).ainvoke({"messages": [message], "notes": []}, CONFIG)
    state = await graph([note, pay]).ainvoke(APPROVE, CONFIG)
    assert artifact(state).error.kind == "ReplayError"
    assert state["notes"] == ["a"]
    assert MADE == ["look", "note"]


async def test_the_node_has_the_model_mend_it():
    """The model of a node reads what took effect, and writes what is left to do."""
    saver = InMemorySaver()
    fence = "```python\n{}\n```"
    seen: list[str] = []

    def mend(messages: list[Any]) -> str:
        seen.append(messages[-1].text)
        return fence.format("print('mended')")

    options: Any = {"interrupt_on": {"pay": True}}
    first = ScriptedChatModel(script=[fence.format(CODE)])
    app = HOSTS["node-text"]([look, send, pay], CODE, saver, model=first, **options)
    await run(app, REQUEST)
    again = ScriptedChatModel(script=[mend])
    app = HOSTS["node-text"]([send, pay], CODE, saver, model=again, **options)
    state = await run(app, APPROVE)
    assert output(state) == "mended"
    assert "took effect and must not be repeated: look(x=1), send(x=1)" in seen[0]
