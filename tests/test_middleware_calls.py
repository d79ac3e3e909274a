"""The calls of the code, as the agent's other middleware sees them."""

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import ValidationError

from langchain_ptc import ProgrammaticToolCallingMiddleware, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import plain
from tests.support.team_tools import get_person, get_team

BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SAVED = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["no-saver", "saver"])


def deleting(log: list[Any]) -> Any:
    @tool
    def delete(x: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Delete a thing."""
        log.append((x, plain(tool_call_id)))
        return f"deleted {x}"

    return delete


def code_call(code: str, call_id: str = "c1") -> AIMessage:
    return tool_call_message("run_code", {"code": code}, id=call_id)


def make_agent(code, own, *middleware, saver=None, **options):
    """Return an agent that runs `code` and then says "done"; `options` are our middleware's."""
    script = [code if isinstance(code, AIMessage) else code_call(code), "done"]
    return create_agent(
        ScriptedChatModel(script=script),
        own,
        middleware=[ProgrammaticToolCallingMiddleware(**options), *middleware],
        checkpointer=saver and saver(),
    )


async def call(agent, given=None, *, asynchronous=True):
    given = given or {"messages": [HumanMessage("go")]}
    config = {"configurable": {"thread_id": "t"}}
    return await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)


def answers(state) -> list[str]:
    """The texts of the tools' messages."""
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


class Wrap(AgentMiddleware):
    """Does with each call what a test says; sync and async."""

    def __init__(self, change=lambda request: request, after=lambda request, answer: answer):
        super().__init__()
        self.change, self.after = change, after
        self.seen: list[tuple[str, dict[str, Any], str]] = []

    def wrap_tool_call(self, request, handler):
        changed = self._before(request)
        return (
            changed if isinstance(changed, ToolMessage) else self.after(request, handler(changed))
        )

    async def awrap_tool_call(self, request, handler):
        changed = self._before(request)
        if isinstance(changed, ToolMessage):
            return changed
        return self.after(request, await handler(changed))

    def _before(self, request):
        made = request.tool_call
        self.seen.append((made["name"], made["args"], plain(made["id"])))
        assert request.tool is None or request.tool.name == made["name"]
        assert request.runtime.tool_call_id == made["id"]
        return request if made["name"] == "run_code" else self.change(request)


# --- any middleware ---------------------------------------------------------------------------------


@BOTH
@SAVED
async def test_a_middleware_sees_each_call_of_the_code(asynchronous, saver):
    """Every inner call passes `wrap_tool_call` like a call of the model, and stays data."""
    wrap = Wrap()
    code = "for p in await get_team():\n    print((await get_person(name=p['name'])).age)"
    agent = make_agent(code, [get_person, get_team], wrap, saver=saver)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["3\n3"]
    assert wrap.seen == [
        ("run_code", {"code": code}, "c1"),
        ("get_team", {}, "c1:1"),
        ("get_person", {"name": "Ada"}, "c1:2"),
        ("get_person", {"name": "Bob"}, "c1:3"),
    ]


@BOTH
@SAVED
async def test_a_middleware_changes_the_arguments(asynchronous, saver):
    """What a middleware makes of the arguments is what the tool is given."""

    def change(request):
        made = {**request.tool_call, "args": {"name": "Alexandra"}}
        return request.override(tool_call=made)

    agent = make_agent("print(await get_person('x'))", [get_person], Wrap(change), saver=saver)
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["{'name': 'Alexandra', 'age': 9}"]


def redact(request, answer):
    if request.tool_call["name"] == "run_code":
        return answer
    return answer.model_copy(update={"content": "[redacted]"})


def annotate(request, answer):
    if request.tool_call["name"] == "run_code":
        return answer
    return answer.model_copy(update={"content": f"Note: checked.\n{answer.content}"})


@BOTH
@SAVED
@pytest.mark.parametrize(
    ("after", "told"), [(redact, "[redacted]"), (annotate, "{'name': 'x', 'age': 1}")]
)
async def test_a_middleware_changes_the_answer(asynchronous, saver, after, told):
    """The code gets the content that a middleware put in place; the value if it is only noted on."""
    agent = make_agent("print(await get_person('x'))", [get_person], Wrap(after=after), saver=saver)
    assert answers(await call(agent, asynchronous=asynchronous)) == [told]


@BOTH
@SAVED
@pytest.mark.parametrize("status", ["success", "error"])
async def test_a_middleware_answers_itself(asynchronous, saver, status):
    """A middleware's own message is the value, or the error, of a call that is not made."""
    log: list[Any] = []

    def change(request):
        return ToolMessage(
            "not today", tool_call_id=request.tool_call["id"], name="delete", status=status
        )

    code = "try:\n    print(await delete(1))\nexcept ToolCallError as e:\n    print('E', e)"
    agent = make_agent(code, [deleting(log)], Wrap(change), saver=saver)
    told = {"success": "not today", "error": "E delete failed: not today"}[status]
    assert answers(await call(agent, asynchronous=asynchronous)) == [told]
    assert log == []


@BOTH
@SAVED
async def test_a_middleware_raises(asynchronous, saver):
    """What a middleware raises at an inner call is an error of that call, which the code may catch."""

    def change(request):
        raise PermissionError("not you")

    code = "try:\n    await get_team()\nexcept ToolCallError as e:\n    print(e)"
    agent = make_agent(code, [get_team], Wrap(change), saver=saver)
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["get_team failed: PermissionError: not you"]


@BOTH
@SAVED
async def test_a_middleware_gives_the_call_to_another_tool(asynchronous, saver):
    """A tool that a middleware puts in place of another answers for it, with data too."""

    @tool
    def shadow(name: str) -> list[str]:
        """Stand in."""
        return ["shadow", name]

    def change(request):
        made = {**request.tool_call, "name": "shadow"}
        return request.override(tool=shadow, tool_call=made)

    code = "given = await get_person('x')\nprint([word.upper() for word in given])"
    agent = make_agent(code, [get_person], Wrap(change), saver=saver)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["['SHADOW', 'X']"]


@BOTH
async def test_an_interrupt_of_a_tool_that_a_middleware_put_there(asynchronous):
    """An answer to such a tool reaches the call that asked, and no other call of the program."""
    log: list[str] = []

    @tool
    def shadow(name: str) -> str:
        """Ask a person."""
        log.append(f"{name}={interrupt(name)}")
        return log[-1]

    def change(request):
        made = {**request.tool_call, "name": "shadow"}
        return request.override(tool=shadow, tool_call=made)

    code = "print(await get_person('a'), await get_person('b'))"
    agent = make_agent(code, [get_person], Wrap(change), saver=InMemorySaver)
    state = await call(agent, asynchronous=asynchronous)
    for expected in ("a", "b"):
        (asked,) = state["__interrupt__"]
        assert asked.value == expected
        resume = Command(resume={asked.id: f"yes-{expected}"})
        state = await call(agent, resume, asynchronous=asynchronous)
    assert answers(state) == ["a=yes-a b=yes-b"]
    assert log == ["a=yes-a", "b=yes-b"]


@BOTH
@SAVED
async def test_order(asynchronous, saver):
    """Middleware before ours sees `run_code` only; after ours, the calls of the code too."""

    class Before(Wrap):
        pass

    before, after = Before(), Wrap()
    agent = create_agent(
        ScriptedChatModel(script=[code_call("await get_team()"), "done"]),
        [get_team],
        middleware=[before, ProgrammaticToolCallingMiddleware(), after],
        checkpointer=saver and saver(),
    )
    await call(agent, asynchronous=asynchronous)
    assert [name for name, _, _ in before.seen] == ["run_code"]
    assert [name for name, _, _ in after.seen] == ["run_code", "get_team"]


# --- LangChain's own --------------------------------------------------------------------------------


@BOTH
@SAVED
async def test_tool_retry(asynchronous, saver):
    """`ToolRetryMiddleware` retries a call of the code, and only that call."""
    log: list[str] = []

    @tool
    def flaky(x: int) -> dict[str, int]:
        """Fail twice."""
        log.append("flaky")
        if log.count("flaky") < 3:
            raise ConnectionError("net")
        return {"x": x}

    @tool
    def steady() -> int:
        """Work."""
        log.append("steady")
        return 1

    retry = ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False)
    code = "a = await steady()\nprint(a + (await flaky(x=2))['x'])"
    agent = make_agent(code, [flaky, steady], retry, saver=saver)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["3"]
    assert log == ["steady", "flaky", "flaky", "flaky"]


@BOTH
async def test_tool_retry_gives_up(asynchronous):
    """A call that fails for good is an error in the code, which may go on."""

    @tool
    def broken() -> int:
        """Fail."""
        raise ConnectionError("net")

    retry = ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    code = "try:\n    await broken()\nexcept ToolCallError as e:\n    print('failed' in str(e))"
    agent = make_agent(code, [broken], retry)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["True"]


@BOTH
async def test_call_limits_of_langchain_count_calls_of_code(asynchronous):
    """`ToolCallLimitMiddleware` counts what a program calls, and not the program."""
    limit = ToolCallLimitMiddleware(run_limit=5)
    code = "for _ in range({}):\n    await get_team()\nprint('ok')"
    agent = make_agent(code.format(5), [get_team], limit)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["ok"]
    agent = make_agent(code.format(6), [get_team], limit)
    [told] = answers(await call(agent, asynchronous=asynchronous))
    assert "ToolCallLimitMiddleware(run_limit=5) for the agent's tools is reached" in told


HITL_CODE = """\
p = await get_person("Eve")
print(p.age)
try:
    print(await delete(x=p.age))
except ToolCallError as e:
    print("E", e)
"""


@BOTH
@pytest.mark.parametrize(
    ("decision", "told", "effects"),
    [
        pytest.param({"type": "approve"}, "deleted 3", [(3, "c1:2")], id="approve"),
        pytest.param(
            {"type": "edit", "edited_action": {"name": "delete", "args": {"x": 777}}},
            "deleted 777",
            [(777, "c1:2")],
            id="edit",
        ),
        pytest.param(
            {"type": "reject", "message": "no"},
            "E delete failed: User rejected the tool call for `delete` with reason: no",
            [],
            id="reject",
        ),
        pytest.param({"type": "respond", "message": "did it"}, "did it", [], id="respond"),
    ],
)
async def test_human_in_the_loop(asynchronous, decision, told, effects):
    """`HumanInTheLoopMiddleware(interrupt_mode="per_call")` asks about a call of the code."""
    log: list[Any] = []
    seen: list[str] = []

    def look(request):
        seen.append(request.tool_call["name"])
        return request

    agent = make_agent(
        HITL_CODE,
        [get_person, deleting(log)],
        HumanInTheLoopMiddleware({"delete": True}, interrupt_mode="per_call"),
        Wrap(look),
        saver=InMemorySaver,
    )
    state = await call(agent, asynchronous=asynchronous)
    (asked,) = state["__interrupt__"]
    assert asked.value["type"] == "tool_approval"
    assert plain(asked.value["tool_call_id"]) == "c1:2"
    assert (asked.value["name"], asked.value["args"]) == ("delete", {"x": 3})
    bad = {"type": "edit", "edited_action": {"name": "delete", "args": {"x": "zzz"}}}
    with pytest.raises(ValidationError):
        await call(agent, Command(resume={asked.id: bad}), asynchronous=asynchronous)
    assert [i.id for i in agent.get_state({"configurable": {"thread_id": "t"}}).interrupts] == [
        asked.id
    ]
    assert log == []
    state = await call(agent, Command(resume={asked.id: decision}), asynchronous=asynchronous)
    assert answers(state) == [f"3\n{told}"]
    assert log == effects
    assert seen.count("get_person") == 1


@BOTH
async def test_batched_human_in_the_loop_asks_about_programs_and_their_calls(asynchronous):
    """The mode `batched` asks about `run_code` itself, and then about what the code calls."""
    log: list[Any] = []
    agent = make_agent(
        "print(await delete(x=1))",
        [deleting(log)],
        HumanInTheLoopMiddleware({"delete": True, "run_code": True}),
        saver=InMemorySaver,
    )
    state = await call(agent, asynchronous=asynchronous)
    (asked,) = state["__interrupt__"]
    assert [a["name"] for a in asked.value["action_requests"]] == ["run_code"]
    approve = Command(resume={"decisions": [{"type": "approve"}]})
    state = await call(agent, approve, asynchronous=asynchronous)
    (asked,) = state["__interrupt__"]
    assert [a["name"] for a in asked.value["action_requests"]] == ["delete"]
    assert log == []
    state = await call(agent, approve, asynchronous=asynchronous)
    assert answers(state) == ["deleted 1"]


@BOTH
async def test_two_programs_in_one_turn(asynchronous):
    """Two programs side by side, each with two approvals, answered in any order: each effect once."""
    log: list[Any] = []
    both = AIMessage("", tool_calls=[])
    for number in (1, 2):
        code = f"print(await delete(x={number}0), await delete(x={number}1))"
        both.tool_calls += code_call(code, f"c{number}").tool_calls
    agent = make_agent(
        both,
        [deleting(log)],
        HumanInTheLoopMiddleware({"delete": True}, interrupt_mode="per_call"),
        saver=InMemorySaver,
    )
    state = await call(agent, asynchronous=asynchronous)
    first = {i.value["args"]["x"]: i.id for i in state["__interrupt__"]}
    assert set(first) == {10, 20}
    yes, no = {"type": "approve"}, {"type": "respond", "message": "no"}
    state = await call(agent, Command(resume={first[20]: yes}), asynchronous=asynchronous)
    second = {i.value["args"]["x"]: i.id for i in state["__interrupt__"]}
    assert set(second) == {10, 21}
    resume = {second[10]: yes, second[21]: no}
    state = await call(agent, Command(resume=resume), asynchronous=asynchronous)
    (last,) = state["__interrupt__"]
    assert last.value["args"] == {"x": 11}
    state = await call(agent, Command(resume={last.id: yes}), asynchronous=asynchronous)
    assert answers(state) == ["deleted 10 deleted 11", "deleted 20 no"]
    assert sorted(log) == [(10, "c1:1"), (11, "c1:2"), (20, "c2:1")]


@BOTH
async def test_approvals_side_by_side(asynchronous):
    """Approvals of calls side by side are asked at once, and answered in any order."""
    log: list[Any] = []
    agent = make_agent(
        "import asyncio\nprint(await asyncio.gather(delete(x=1), get_person('Eve'), delete(x=2)))",
        [get_person, deleting(log)],
        HumanInTheLoopMiddleware({"delete": True}, interrupt_mode="per_call"),
        saver=InMemorySaver,
    )
    state = await call(agent, asynchronous=asynchronous)
    asked = {i.value["args"]["x"]: i.id for i in state["__interrupt__"]}
    assert set(asked) == {1, 2}
    resume = Command(resume={asked[2]: {"type": "approve"}})
    state = await call(agent, resume, asynchronous=asynchronous)
    assert [i.id for i in state["__interrupt__"]] == [asked[1]]
    resume = Command(resume={asked[1]: {"type": "respond", "message": "one"}})
    state = await call(agent, resume, asynchronous=asynchronous)
    assert answers(state) == ["['one', {'name': 'Eve', 'age': 3}, 'deleted 2']"]
    assert log == [(2, "c1:3")]


@BOTH
async def test_an_interrupt_of_a_tool_beside_approvals_of_a_middleware(asynchronous):
    """An answer reaches the call that asked: none of another call's, or of the middleware's."""
    log: list[str] = []

    @tool
    def ask(what: str) -> str:
        """Ask a person."""
        answer = interrupt({"what": what})
        log.append(f"{what}={answer}")
        return answer

    agent = make_agent(
        "a = await ask('a')\nb = await ask('b')\nprint(a, b)",
        [ask],
        HumanInTheLoopMiddleware({"ask": True}, interrupt_mode="per_call"),
        saver=InMemorySaver,
    )
    state = await call(agent, asynchronous=asynchronous)
    for expected, answer in (
        ({"what": "a"}, {"type": "approve"}),
        ({"what": "a"}, "yes-a"),
        ({"what": "b"}, {"type": "approve"}),
        ({"what": "b"}, "no-b"),
    ):
        (asked,) = state["__interrupt__"]
        assert asked.value.get("args", asked.value) == expected
        resume = Command(resume={asked.id: answer})
        state = await call(agent, resume, asynchronous=asynchronous)
    assert answers(state) == ["yes-a no-b"]
    assert log == ["a=yes-a", "b=no-b"]


# --- as LangChain calls tools -------------------------------------------------------------------------


@BOTH
@SAVED
async def test_everything_that_is_injected(asynchronous, saver):
    """State, runtime, the id of the call and the config reach the tool through the middleware."""

    @tool
    def look(
        x: int,
        state: Annotated[dict, InjectedState],
        tool_call_id: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
    ) -> list[Any]:
        """Look around."""
        return [
            x,
            len(state["messages"]),
            tool_call_id,
            runtime.tool_call_id,
            runtime.config["tags"],
        ]

    agent = make_agent("print(await look(x=1))", [look], Wrap(), saver=saver)
    given, config = {"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": "t"}}
    config["tags"] = ["mine"]
    state = await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)
    assert list(map(plain, answers(state))) == ["[1, 2, 'c1:1', 'c1:1', ['mine']]"]


@BOTH
@SAVED
async def test_commands_are_applied_once(asynchronous, saver):
    """A tool's command changes the state with the output, and its message does not enter it."""

    @tool
    def note(what: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Take a note."""
        told = ToolMessage(f"noted {what}", tool_call_id=tool_call_id)
        return Command(update={"notes": what, "messages": [told]})

    class Notes(AgentMiddleware):
        from langchain.agents import AgentState

        class state_schema(AgentState):
            notes: Annotated[str, lambda a, b: f"{a}{b}"]

    agent = make_agent(
        "print(await note('a'), await note('b'))", [note], Notes(), Wrap(), saver=saver
    )
    state = await call(agent, asynchronous=asynchronous)
    assert state["notes"] == "ab"
    assert answers(state) == ["noted a noted b"]


@BOTH
@SAVED
async def test_failures_of_tools(asynchronous, saver):
    """Errors that a tool raises or handles, and arguments that it refuses, are told to the code."""

    @tool
    def fails() -> int:
        """Fail."""
        raise ToolException("sorry")

    handled = fails.model_copy(update={"name": "handled", "handle_tool_error": "handled it"})
    code = """\
for make in (lambda: fails(), lambda: handled(), lambda: get_person(name=["x"])):
    try:
        print(await make())
    except ToolCallError as e:
        print(str(e).split("failed: ")[-1][:45])
"""
    agent = make_agent(code, [fails, handled, get_person], Wrap(), saver=saver)
    told = answers(await call(agent, asynchronous=asynchronous))[0].splitlines()
    assert told[:2] == ["sorry", "handled it"]
    assert "get_person" in told[2] or "arguments" in told[2]


@BOTH
async def test_traces_nest(asynchronous):
    """Callbacks see the calls of the code under `run_code`."""
    runs: dict[Any, tuple[str, Any]] = {}
    tools: list[Any] = []

    class Watch(BaseCallbackHandler):
        def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kw):
            runs[run_id] = (kw.get("name"), parent_run_id)

        def on_tool_start(self, serialized, input_str, *, run_id, parent_run_id=None, **kw):
            runs[run_id] = (serialized["name"], parent_run_id)
            tools.append(run_id)

    def path(run_id):
        names = []
        while run_id is not None:
            name, run_id = runs[run_id]
            names.append(name)
        return names

    agent = make_agent("await get_team()", [get_team], Wrap())
    given, config = {"messages": [HumanMessage("go")]}, {"callbacks": [Watch()]}
    await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)
    assert [runs[run_id][0] for run_id in tools] == ["run_code", "get_team"]
    assert path(tools[1]) == ["get_team", "run_code", "tools", "LangGraph"]


@BOTH
@SAVED
async def test_calls_side_by_side(asynchronous, saver):
    """Calls that the code makes side by side run side by side through the middleware."""
    running = 0
    most = 0

    @tool
    async def wait(n: int) -> int:
        """Wait for the others."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(400):
            if most == 5:
                break
            await asyncio.sleep(0.01)
        running -= 1
        return n

    code = "print(sum(await asyncio.gather(*[wait(n) for n in range(5)])))"
    agent = make_agent(f"import asyncio\n{code}", [wait], Wrap(), saver=saver)
    assert answers(await call(agent, asynchronous=asynchronous)) == ["10"]
    assert most == 5


# --- agents in agents ---------------------------------------------------------------------------------


@BOTH
@SAVED
@pytest.mark.parametrize("inner", ["middleware", "as_programmatic"])
async def test_an_agent_in_a_tool(asynchronous, saver, inner):
    """An agent that code calls as a tool runs code of its own, with approvals of its own."""
    log: list[Any] = []
    wrap = Wrap()
    code = "print(await delete(x=5))"
    script = ScriptedChatModel(script=[code_call(code, "s1"), "sub done"])
    if inner == "middleware":
        sub = create_agent(
            script,
            [deleting(log)],
            middleware=[
                ProgrammaticToolCallingMiddleware(
                    interrupt_on={"delete": True} if saver else None, interrupt_mode="per_call"
                ),
                wrap,
            ],
        )
    else:
        sub = create_agent(
            script,
            as_programmatic(
                [deleting(log)],
                interrupt_on={"delete": True} if saver else None,
                interrupt_mode="per_call",
            ),
        )

    @tool
    def research(topic: str) -> str:
        """Let an agent do it."""
        return sub.invoke({"messages": [("user", topic)]})["messages"][-1].text

    @tool
    async def aresearch(topic: str) -> str:
        """Let an agent do it."""
        return (await sub.ainvoke({"messages": [("user", topic)]}))["messages"][-1].text

    chosen = aresearch if asynchronous else research
    agent = make_agent(f"print(await {chosen.name}('x'))", [chosen], saver=saver)
    state = await call(agent, asynchronous=asynchronous)
    if saver:
        (asked,) = state["__interrupt__"]
        assert plain(asked.value["tool_call_id"]) == "s1:1"
        resume = Command(resume={asked.id: {"type": "approve"}})
        state = await call(agent, resume, asynchronous=asynchronous)
    assert answers(state) == ["sub done"]
    assert log == [(5, "s1:1")]
    assert [name for name, _, _ in wrap.seen].count("delete") == (inner == "middleware")
