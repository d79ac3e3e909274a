"""What the model is shown by `ProgrammaticToolCallingMiddleware`, and what it may call itself."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, TodoListMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from langchain_ptc import ProgrammaticToolCallingMiddleware, ToolPolicy
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.team_tools import get_person, get_team

BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SAVED = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["no-saver", "saver"])
WEB = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def paying(log: list[Any]) -> Any:
    @tool
    def pay(amount: int) -> str:
        """Pay an amount."""
        log.append(amount)
        return f"paid {amount}"

    return pay


def code_call(code: str, call_id: str = "c1") -> AIMessage:
    return tool_call_message("run_code", {"code": code}, id=call_id)


def make_agent(script, own, *, saver=None, middleware=(), **options):
    """Return an agent with the tools `own`, and its model; `options` are our middleware's."""
    model = ScriptedChatModel(script=script)
    ours = ProgrammaticToolCallingMiddleware(**options)
    agent = create_agent(
        model,
        own,
        system_prompt="You are a clerk.",
        middleware=[ours, *middleware],
        checkpointer=saver and saver(),
    )
    return agent, model


async def call(agent, given=None, *, asynchronous=True, thread="t"):
    given = given or {"messages": [HumanMessage("go")]}
    config = {"configurable": {"thread_id": thread}}
    if asynchronous:
        return await agent.ainvoke(given, config)
    return agent.invoke(given, config)


def answers(state) -> list[str]:
    """The texts of the tools' messages."""
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


# --- what the model is shown ------------------------------------------------------------------------


@BOTH
@SAVED
async def test_the_model_sees_one_tool_and_the_code_gets_values(asynchronous, saver):
    """The tools become stubs in the system message; their results reach the code as data."""
    code = "team = await get_team()\np = await get_person(team[0].name)\nprint(p['age'] + team[1]['age'])"
    agent, model = make_agent([code_call(code), "7."], [get_person, get_team], saver=saver)
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["7"]
    assert state["messages"][-2].artifact["status"] == "success"
    assert model.calls[0].tool_names == ["run_code"]
    system = model.calls[0].messages[0]
    assert system.text.startswith("You are a clerk.\n\n")
    assert "async def get_team() -> list[Person]:" in system.text
    assert "async def" not in str(model.calls[0].tools)


async def test_the_stubs_are_the_same_from_turn_to_turn():
    """System message and tools are sent byte for byte the same, so the provider's cache holds."""
    script = [code_call("print(1)", "c1"), code_call("print(await get_team())", "c2"), "done"]
    agent, model = make_agent(script, [get_person, get_team])
    await call(agent)
    sent = [(str(c.messages[0].content), str(c.tools)) for c in model.calls]
    assert len(set(sent)) == 1
    other, again = make_agent(["done"], [get_person, get_team])
    await call(other)
    assert str(again.calls[0].messages[0].content) == sent[0][0]


async def test_blocks_of_the_system_message_are_kept():
    """A system message of blocks keeps them, with their cache marks; the stubs come after them."""
    block = {"type": "text", "text": "You are X.", "cache_control": {"type": "ephemeral"}}
    model = ScriptedChatModel(script=["done"])
    agent = create_agent(
        model,
        [get_team],
        system_prompt=SystemMessage([block]),
        middleware=[ProgrammaticToolCallingMiddleware()],
    )
    await call(agent)
    first, second = model.calls[0].messages[0].content
    assert first == block
    assert second["type"] == "text"
    assert "get_team" in second["text"]


async def test_without_a_system_message_there_is_one():
    """An agent without a system prompt gets the stubs as its system message."""
    model = ScriptedChatModel(script=["done"])
    agent = create_agent(model, [get_team], middleware=[ProgrammaticToolCallingMiddleware()])
    await call(agent)
    assert isinstance(model.calls[0].messages[0], SystemMessage)


NAMES = ["get_person", "get_team", "pay"]


def named(*names):
    return {"tools": list(names)}


@pytest.mark.parametrize(
    ("options", "shown", "code"),
    [
        pytest.param({}, ["run_code"], NAMES, id="all"),
        pytest.param(
            named("get_team"), ["run_code", "get_person", "pay"], ["get_team"], id="names"
        ),
        pytest.param(
            {"tools": lambda t: t.name.startswith("get")},
            ["run_code", "pay"],
            ["get_person", "get_team"],
            id="predicate",
        ),
        pytest.param(
            {"tags": ["money"], "policies": {"pay": ToolPolicy(tags=("money",))}},
            ["run_code", "get_person", "get_team"],
            ["pay"],
            id="tags",
        ),
        pytest.param(
            {"policies": {"pay": ToolPolicy(allowed_callers=("direct",))}},
            ["run_code", "pay"],
            ["get_person", "get_team"],
            id="direct",
        ),
        pytest.param(
            {"policies": {"pay": ToolPolicy(allowed_callers=("code", "direct"))}},
            ["run_code", "pay"],
            NAMES,
            id="both",
        ),
        pytest.param(named(), ["get_person", "get_team", "pay"], [], id="none"),
    ],
)
async def test_selection(options, shown, code):
    """Names, a predicate, tags or the callers of a policy say what goes to the code."""
    agent, model = make_agent(["done"], [get_person, get_team, paying([]), WEB], **options)
    await call(agent)
    assert model.calls[0].tool_names == [*shown, "web_search"]
    assert model.calls[0].tools[-1] == WEB
    in_code = [n for n in NAMES if f"def {n}(" in model.calls[0].messages[0].text]
    assert in_code == code


async def test_a_tools_own_tags_select_it():
    """Tags that LangChain knows of a tool select it too."""
    tagged = get_team.model_copy(update={"tags": ["people"]})
    agent, model = make_agent(["done"], [tagged, get_person], tags=["people"])
    await call(agent)
    assert model.calls[0].tool_names == ["run_code", "get_person"]


async def test_tools_with_and_without_a_domain():
    """Tools of several domains and of none stand beside each other."""
    code = (
        "from tools.hr import get_team\nfrom tools.finance import pay\n"
        "print(await pay(len(await get_team())), (await get_person('Eve')).age)"
    )
    log: list[Any] = []
    agent, _ = make_agent(
        [code_call(code), "done"],
        [get_person, get_team, paying(log)],
        domains={"get_team": "hr", "pay": "finance"},
        policies={"finance.pay": ToolPolicy(max_calls=1)},
    )
    assert answers(await call(agent)) == ["paid 2 3"]


@pytest.mark.parametrize(
    "options",
    [
        {"tools": ["get_teem"]},
        {"policies": {"get_teem": ToolPolicy(requires_approval=True)}},
        {"interrupt_on": {"get_teem": True}},
        {"domains": {"get_teem": "hr"}},
    ],
    ids=lambda options: next(iter(options)),
)
@BOTH
async def test_a_misspelled_name_is_an_error_before_anything_is_called(options, asynchronous):
    """A name that is none of the agent's tools takes no approval away in silence."""
    agent, _ = make_agent([code_call("print(await get_team())"), "done"], [get_team], **options)
    with pytest.raises(ValueError, match=r"'get_teem', which is none .*did you mean 'get_team'"):
        await call(agent, asynchronous=asynchronous)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tools": "get_team"}, "tools must be a list"),
        ({"tags": "people"}, "tags must be a list"),
        ({"tools": [get_team]}, "names of the agent's tools"),
        ({"durable": "yes"}, "durable must be"),
        ({"interrupt_mode": "one"}, "interrupt_mode must be"),
        ({"examples": "some"}, "examples must be"),
        ({"imports": ["numpy"], "sandbox": object()}, "pass imports to the sandbox"),
    ],
)
def test_wrong_options(options, told):
    """Options that are none of what they may be are told when the middleware is made."""
    with pytest.raises(ValueError, match=told):
        ProgrammaticToolCallingMiddleware(**options)


async def test_a_tool_of_the_same_name():
    """A tool of the agent that is called like ours would take its place: an error."""

    @tool
    def run_code(code: str) -> str:
        """Run."""
        return code

    agent, _ = make_agent(["done"], [run_code, get_team])
    with pytest.raises(ValueError, match=r"a tool of its own named 'run_code'; pass another"):
        await call(agent)


async def test_functions_as_tools():
    """Plain functions are tools of an agent, and of its code."""

    def double(x: int) -> int:
        """Double a number."""
        return 2 * x

    agent, _ = make_agent([code_call("print(await double(x=4) + 1)"), "done"], [double])
    assert answers(await call(agent)) == ["9"]


async def test_many_tools_are_searched():
    """Where the stubs do not fit the budget, the code finds the tools."""
    code = "print([found['name'] for found in await search_tools('look up a person')][:1])"
    agent, model = make_agent([code_call(code), "done"], [get_person, get_team], prompt_tokens=1)
    assert answers(await call(agent)) == ["['get_person']"]
    assert "def get_person" not in model.calls[0].messages[0].text


async def test_examples_are_shown():
    """Examples stand with the stubs."""
    agent, model = make_agent(["done"], [get_team], examples=[("Who?", "print(await get_team())")])
    await call(agent)
    assert "Request: Who?" in model.calls[0].messages[0].text


async def test_tools_that_another_middleware_takes_away_are_not_offered():
    """What a middleware before ours hides for a turn is not in the stubs of that turn."""

    class Hide(AgentMiddleware):
        async def awrap_model_call(self, request, handler):
            return await handler(
                request.override(tools=[t for t in request.tools if t.name not in self.away])
            )

    hide = Hide()
    hide.away = {"get_person"}
    model = ScriptedChatModel(script=["one", "two"])
    agent = create_agent(
        model, [get_person, get_team], middleware=[hide, ProgrammaticToolCallingMiddleware()]
    )
    await call(agent)
    hide.away = {"run_code"}
    await call(agent)
    assert "get_person" not in model.calls[0].messages[0].text
    assert model.calls[1].tools == ()  # and no tool is shown that could not be called


# --- what the model calls itself --------------------------------------------------------------------


@BOTH
async def test_a_hidden_tool_cannot_be_called_directly(asynchronous):
    """A model that names a hidden tool is told how to reach it, and nothing happens."""
    log: list[Any] = []
    agent, _ = make_agent([tool_call_message("pay", {"amount": 1}, id="c1"), "ok"], [paying(log)])
    state = await call(agent, asynchronous=asynchronous)
    message = state["messages"][2]
    assert (message.status, message.tool_call_id, log) == ("error", "c1", [])
    assert "`pay` can be called from code only. Call `run_code`" in message.text


@BOTH
async def test_a_tool_of_both_callers(asynchronous):
    """A tool of both callers is called by the code and by the model."""
    log: list[Any] = []
    script = [
        tool_call_message("pay", {"amount": 1}),
        code_call("print(await pay(2))"),
        "done",
    ]
    agent, _ = make_agent(
        script, [paying(log)], policies={"pay": ToolPolicy(allowed_callers=("code", "direct"))}
    )
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["paid 1", "paid 2"]
    assert log == [1, 2]


@BOTH
async def test_max_calls_holds_for_the_models_own_calls(asynchronous):
    """The model may call a tool as often as its policy says for one message of the user."""
    log: list[Any] = []
    twice = AIMessage(
        "",
        tool_calls=[
            {"name": "pay", "args": {"amount": n}, "id": f"c{n}", "type": "tool_call"}
            for n in (1, 2)
        ],
    )
    script = [twice, tool_call_message("pay", {"amount": 3}), "done"] * 2
    agent, _ = make_agent(
        script,
        [paying(log)],
        saver=InMemorySaver,
        policies={"pay": ToolPolicy(allowed_callers=("direct",), max_calls=2)},
    )
    state = await call(agent, asynchronous=asynchronous)
    refused = "`pay` may be called 2 times for one request, and was. It was not called."
    assert answers(state) == ["paid 1", "paid 2", refused]
    twice.tool_calls[0]["id"], twice.tool_calls[1]["id"] = "c3", "c4"
    await call(agent, asynchronous=asynchronous)
    assert sorted(log) == [1, 1, 2, 2]


DECISIONS = [
    pytest.param({"type": "approve"}, "paid 1", [1], id="approve"),
    pytest.param(
        {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 7}}},
        "paid 7",
        [7],
        id="edit",
    ),
    pytest.param(
        {"type": "reject", "message": "too much"},
        "A person rejected the call of `pay`; it was not made. Do not try it again unless the user "
        "asks for it. The reason: too much",
        [],
        id="reject",
    ),
    pytest.param({"type": "respond", "message": "I did it"}, "I did it", [], id="respond"),
]


@BOTH
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(("decision", "told", "effects"), DECISIONS)
async def test_an_approval_holds_for_the_models_own_calls(
    asynchronous, mode, decision, told, effects
):
    """A tool of both callers that needs approval is asked about when the model calls it."""
    log: list[Any] = []
    agent, _ = make_agent(
        [tool_call_message("pay", {"amount": 1}, id="c1"), "done"],
        [paying(log)],
        saver=InMemorySaver,
        policies={"pay": ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)},
        interrupt_mode=mode,
    )
    state = await call(agent, asynchronous=asynchronous)
    (asked,) = state["__interrupt__"]
    shown = asked.value if mode == "per_call" else asked.value["action_requests"][0]
    assert (shown["name"], shown["args"]) == ("pay", {"amount": 1})
    assert shown["description"].startswith("The agent wants to call a tool")
    bad = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": "x"}}}
    for answer in (bad, decision):
        given = answer if mode == "per_call" else {"decisions": [answer]}
        resume = Command(resume={asked.id: given})
        if answer is bad:
            with pytest.raises(ValidationError):
                await call(agent, resume, asynchronous=asynchronous)
            assert log == []
        else:
            state = await call(agent, resume, asynchronous=asynchronous)
    assert answers(state) == [told]
    assert log == effects


@BOTH
async def test_interrupt_on_with_a_condition_holds_for_the_models_own_calls(asynchronous):
    """A predicate is asked once: what it says on resume changes nothing."""
    log: list[Any] = []
    asked: list[int] = []

    def when(request) -> bool:
        asked.append(request.tool_call["args"]["amount"])
        return request.tool_call["args"]["amount"] > 5 and len(asked) < 3

    agent, _ = make_agent(
        [
            tool_call_message("pay", {"amount": 1}),
            tool_call_message("pay", {"amount": 9}),
            "done",
        ],
        [paying(log)],
        saver=InMemorySaver,
        policies={"pay": ToolPolicy(allowed_callers=("direct",))},
        interrupt_on={"pay": {"allowed_decisions": ["approve", "reject"], "when": when}},
    )
    state = await call(agent, asynchronous=asynchronous)
    (question,) = state["__interrupt__"]
    assert log == [1]
    resume = Command(resume={question.id: {"decisions": [{"type": "reject"}]}})
    await call(agent, resume, asynchronous=asynchronous)
    assert (log, asked) == ([1], [1, 9])


@BOTH
async def test_without_a_checkpointer_an_approval_refuses(asynchronous):
    """Where nobody can be asked, a call that needs approval is not made."""
    log: list[Any] = []
    agent, _ = make_agent(
        [tool_call_message("pay", {"amount": 1}), code_call("await pay(1)"), "done"],
        [paying(log)],
        policies={"pay": ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)},
    )
    state = await call(agent, asynchronous=asynchronous)
    assert all("needs the approval of a person" in told for told in answers(state))
    assert log == []


# --- beside other middleware and options of the agent ------------------------------------------------


@BOTH
async def test_tools_of_middleware_stay_with_the_model(asynchronous):
    """The to-do list, whose prompt tells the model to write it itself, stays its tool."""
    todo = {"content": "count", "status": "in_progress"}
    script = [
        tool_call_message("write_todos", {"todos": [todo]}),
        code_call("print(len(await get_team()))"),
        "done",
    ]
    agent, model = make_agent(script, [get_team], middleware=[TodoListMiddleware()])
    state = await call(agent, asynchronous=asynchronous)
    assert model.calls[0].tool_names == ["run_code", "write_todos"]
    assert state["todos"] == [todo]
    assert answers(state)[1] == "2"


async def test_tools_of_middleware_go_to_the_code_if_they_are_named():
    """Who names the tools says so of all: also of those of middleware."""
    code = "await write_todos(todos=[{'content': 'count', 'status': 'pending'}])\nprint('written')"
    agent, model = make_agent(
        [code_call(code), "done"], [], middleware=[TodoListMiddleware()], tools=["write_todos"]
    )
    state = await call(agent)
    assert model.calls[0].tool_names == ["run_code"]
    assert answers(state) == ["written"]
    assert [todo["content"] for todo in state["todos"]] == ["count"]


class Report(BaseModel):
    """A report."""

    count: int


@BOTH
async def test_structured_output(asynchronous):
    """An agent with a response format gives it after its programs."""
    model = ScriptedChatModel(
        script=[
            code_call("print(len(await get_team()))"),
            lambda messages: tool_call_message("Report", {"count": int(messages[-1].text)}),
        ]
    )
    agent = create_agent(
        model,
        [get_team],
        response_format=ToolStrategy(Report),
        middleware=[ProgrammaticToolCallingMiddleware()],
    )
    state = await call(agent, asynchronous=asynchronous)
    assert state["structured_response"] == Report(count=2)
    assert model.calls[0].tool_names == ["run_code", "Report"]


async def test_two_of_them_in_one_agent():
    """Two groups of tools behind two tools, under two names."""
    model = ScriptedChatModel(
        script=[
            code_call("print(len(await get_team()))"),
            tool_call_message("run_payments", {"code": "print(await pay(3))"}),
            "done",
        ]
    )
    log: list[Any] = []
    agent = create_agent(
        model,
        [get_team, paying(log)],
        middleware=[
            ProgrammaticToolCallingMiddleware(tools=["get_team"]),
            ProgrammaticToolCallingMiddleware(tools=["pay"], tool_name="run_payments"),
        ],
    )
    state = await call(agent)
    assert model.calls[0].tool_names == ["run_code", "run_payments"]
    assert answers(state) == ["2", "paid 3"]
