import json
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode

from langchain_ptc import (
    CatalogError,
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import plain
from tests.support.team_tools import get_person


@tool
async def get_total(ids: list[int]) -> int:
    """Add numbers."""
    return sum(ids)


TOOLS = [get_person, get_total]
CODE = "p = await get_person('Ada')\nprint(p.name, await get_total(ids=[p['age'], 1]))"


def call_of(code: str, call_id: str = "c1") -> dict[str, Any]:
    return {"type": "tool_call", "name": "run_code", "args": {"code": code}, "id": call_id}


class TestRunCodeUnit(ToolsUnitTests):
    """The standard unit tests for LangChain tools hold for `run_code`."""

    @property
    def tool_constructor(self) -> BaseTool:
        return as_programmatic(TOOLS)[0]

    @property
    def tool_invoke_params_example(self) -> dict:
        return {"code": CODE}


class TestRunCodeIntegration(ToolsIntegrationTests):
    """The standard integration tests for LangChain tools hold for `run_code`."""

    @property
    def tool_constructor(self) -> BaseTool:
        return as_programmatic(TOOLS)[0]

    @property
    def tool_invoke_params_example(self) -> dict:
        return {"code": CODE}


def test_the_model_is_shown_stubs_and_only_the_code_is_asked_for():
    """The one tool describes the wrapped tools by their stubs, and takes nothing but code."""
    (run_code,) = as_programmatic(TOOLS)
    assert "async def get_person(name: str) -> Person:" in run_code.description
    assert "class Person(TypedDict):" in run_code.description
    assert list(run_code.tool_call_schema.model_json_schema()["properties"]) == ["code"]


async def test_it_works_outside_any_graph():
    """Invoked with a tool call it answers with a message whose artifact is the record."""
    (run_code,) = as_programmatic(TOOLS)
    for message in (run_code.invoke(call_of(CODE)), await run_code.ainvoke(call_of(CODE))):
        assert message.content == "Ada 4"
        assert message.status == "success"
        record = ExecutionResult.from_dict(message.artifact)
        assert [c.call_id for c in record.tool_calls] == ["c1:1", "c1:2"]


def test_a_failure_is_a_message_with_the_status_error():
    """What goes wrong in the code is told to the model and raises nothing."""
    (run_code,) = as_programmatic(TOOLS)
    message = run_code.invoke(call_of("print('so far')\n{}['nope']"))
    assert message.status == "error"
    assert "so far" in message.content
    assert "KeyError: 'nope'" in message.content
    assert message.artifact["status"] == "error"


AGENTS = {
    "create_agent": lambda model, tools: create_agent(model, tools),
    "tool_node": lambda model, tools: graph_with_tool_node(model, tools),
    "create_react_agent": lambda model, tools: react_agent(model, tools),
}


def graph_with_tool_node(model, tools):
    bound = model.bind_tools(tools)

    def ask(state: MessagesState) -> dict:
        return {"messages": [bound.invoke(state["messages"])]}

    def route(state: MessagesState) -> str:
        return "tools" if state["messages"][-1].tool_calls else "__end__"

    graph = StateGraph(MessagesState)
    graph.add_node("model", ask)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", route)
    graph.add_edge("tools", "model")
    return graph.compile()


def react_agent(model, tools):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langgraph.prebuilt import create_react_agent

        return create_react_agent(model, tools)


@pytest.mark.parametrize("host", AGENTS)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
async def test_it_goes_wherever_tools_go(host, asynchronous):
    """In every host of tools one program replaces the calls, and only its output enters state."""
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": CODE}), "It is 4."])
    agent = AGENTS[host](model, as_programmatic(TOOLS))
    request = {"messages": [HumanMessage("How much?")]}
    state = await agent.ainvoke(request) if asynchronous else agent.invoke(request)
    assert [m.text for m in state["messages"]] == ["How much?", "", "Ada 4", "It is 4."]
    (sent,) = [t for t in model.calls[0].tools]
    assert sent["function"]["name"] == "run_code"
    record = next(m for m in state["messages"] if isinstance(m, ToolMessage)).artifact
    assert record["status"] == "success"
    assert len(record["tool_calls"]) == 2


def test_the_record_survives_a_checkpointer():
    """After a checkpointer and JSON the record can be read again."""
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": CODE}), "done"])
    agent = create_agent(model, as_programmatic(TOOLS), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage("go")]}, config)
    message = next(
        m for m in agent.get_state(config).values["messages"] if isinstance(m, ToolMessage)
    )
    again = ExecutionResult.from_dict(json.loads(json.dumps(message.artifact)))
    assert again.output == "Ada 4\n"
    assert again.tool_calls[0].arguments == {"name": "Ada"}


class Watcher(BaseCallbackHandler):
    def __init__(self) -> None:
        self.started: list[tuple[str, Any, Any]] = []

    def on_tool_start(self, serialized, input_str, *, run_id, parent_run_id=None, **kwargs):
        self.started.append((serialized["name"], run_id, parent_run_id))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
async def test_calls_of_the_code_are_runs_inside_the_run_of_the_code(asynchronous):
    """Callbacks see each inner call as a tool run whose parent is the run of `run_code`."""
    watcher = Watcher()
    (run_code,) = as_programmatic(TOOLS)
    config: Any = {"callbacks": [watcher]}
    if asynchronous:
        await run_code.ainvoke(call_of(CODE), config)
    else:
        run_code.invoke(call_of(CODE), config)
    (outer, *inner) = watcher.started
    assert outer[0] == "run_code"
    assert [name for name, _, _ in inner] == ["get_person", "get_total"]
    assert {parent for _, _, parent in inner} == {outer[1]}


def test_injected_arguments_come_from_the_graph_and_not_from_the_code():
    """State and call id reach a wrapped tool; code cannot name, and so not forge, them."""

    @tool
    def whoami(
        prefix: str,
        state: Annotated[dict, InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
    ) -> str:
        """Say who asks."""
        return f"{prefix} {state['messages'][0].content} {call_id}"

    code = "print(await whoami('I am'))\ntry:\n    await whoami('I am', state={})\nexcept ToolCallError as e:\n    print('refused')"
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": code}, id="c7"), "ok"])
    agent = create_agent(model, as_programmatic([whoami]))
    state = agent.invoke({"messages": [HumanMessage("Ada")]})
    assert plain(state["messages"][2].content) == "I am Ada c7:1\nrefused"


def test_tool_errors_reach_the_code_as_one_exception():
    """A raised exception, a `ToolException` and a handled one are all a `ToolCallError`."""

    @tool
    def boom() -> str:
        """Raise."""
        raise ValueError("broken pipe")

    @tool
    def polite() -> str:
        """Raise what LangChain handles."""
        raise ToolException("not today")

    polite.handle_tool_error = True
    (run_code,) = as_programmatic([boom, polite])
    code = "for t in (boom, polite):\n    try:\n        t()\n    except ToolCallError as e:\n        print(e)"
    assert run_code.invoke({"code": code}) == (
        "boom failed: ValueError: broken pipe\npolite failed: not today"
    )


def test_content_and_artifact_tools_give_their_content():
    """The value of a tool that also makes an artifact is its content."""

    @tool(response_format="content_and_artifact")
    def search(query: str) -> tuple[list[str], dict]:
        """Search."""
        return [query, "b"], {"raw": 1}

    (run_code,) = as_programmatic([search])
    assert run_code.invoke({"code": "print(search('a'))"}) == "['a', 'b']"


def test_domains_and_policies():
    """A flat list gets a domain, and a policy limits the calls of one tool."""
    (run_code,) = as_programmatic(
        [get_total],
        domain="finance",
        policies={"finance.get_total": ToolPolicy(max_calls=1)},
    )
    code = "from tools.finance import get_total\nprint(get_total([1]))\nget_total([2])"
    report = run_code.invoke({"code": code})
    assert report.startswith("1\n")
    assert "may be called at most 1 time in one execution" in report


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tools": ToolCatalog(TOOLS), "domain": "a"}, ValueError),
        ({"tools": {"a": TOOLS}, "domain": "b"}, ValueError),
        ({"tools": TOOLS, "sandbox": InProcessSandbox(), "imports": ["numpy"]}, ValueError),
        ({"tools": TOOLS, "examples": "some"}, ValueError),
        ({"tools": TOOLS, "policies": {"nope": ToolPolicy()}}, CatalogError),
        ({"tools": [get_person, get_person]}, CatalogError),
        ({"tools": TOOLS, "imports": "numpy"}, TypeError),
    ],
    ids=[
        "catalog-domain",
        "two-domains",
        "sandbox-imports",
        "examples",
        "policy",
        "twice",
        "imports",
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, error):
    """A mistake in the options is an error at construction."""
    with pytest.raises(error):
        as_programmatic(**options)


def test_limits_and_sandbox_are_the_users():
    """The user's limits hold, in the user's sandbox."""
    with InProcessSandbox() as sandbox:
        (run_code,) = as_programmatic(TOOLS, sandbox=sandbox, limits=Limits(max_tool_calls=1))
        report = run_code.invoke({"code": "get_total([1])\nget_total([2])"})
    assert "limit max_tool_calls was reached: allowed 1, used 2" in report
    assert "1 tool call took effect and must not be repeated: get_total(ids=[1])" in report


def test_an_empty_catalog_can_still_compute():
    """Without tools, code computes."""
    assert as_programmatic([])[0].invoke({"code": "sum(range(10))"}) == "45"


def test_the_message_pair_is_an_ordinary_tool_call():
    """A second turn of the agent sees the first program as any other tool call."""
    model = ScriptedChatModel(
        script=[
            tool_call_message("run_code", {"code": "print(1)"}, id="a"),
            tool_call_message("run_code", {"code": "print(2)"}, id="b"),
            AIMessage("both"),
        ]
    )
    agent = create_agent(model, as_programmatic(TOOLS))
    messages = agent.invoke({"messages": [HumanMessage("go")]})["messages"]
    assert [m.tool_call_id for m in messages if isinstance(m, ToolMessage)] == ["a", "b"]


def test_agents_that_are_built_for_each_request_share_one_parent_of_workers():
    """Building the tool again starts no new processes."""
    with ProcessSandbox() as same:
        parents = set()
        for tools in (TOOLS, [get_total]):
            assert as_programmatic(tools)[0].invoke({"code": "print(1)"}) == "1"
            parents.add(same.stats().parent_pid)
    assert len(parents) == 1
    assert None not in parents


def test_the_sandbox_is_the_one_that_was_passed(monkeypatch):
    """`sandbox=` is where the code runs."""
    with InProcessSandbox() as own:
        prepare, prepared = own.session, []
        monkeypatch.setattr(own, "session", lambda: prepared.append(1) or prepare())
        assert as_programmatic(TOOLS, sandbox=own)[0].invoke({"code": "print(1)"}) == "1"
    assert prepared == [1]


def test_providers_are_asked_to_send_the_code_as_it_is_written():
    """Anthropic is asked for the argument while it is written; OpenAI, which always sends it so, is asked nothing."""
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    for prefetch, expected in (("stream", True), ("calls", None)):
        tools = as_programmatic([], prefetch=prefetch)
        claude: Any = ChatAnthropic(model_name="claude-x", api_key="none").bind_tools(tools)
        (bound,) = claude.kwargs["tools"]
        assert bound.get("eager_input_streaming") is expected
        gpt: Any = ChatOpenAI(model="gpt-x", api_key="none").bind_tools(tools)
        assert "eager" not in str(gpt.kwargs["tools"])


def test_the_model_knows_what_one_program_may_use() -> None:
    """The description names the limits of one program, those that were given or the defaults."""
    (tool,) = as_programmatic(TOOLS)
    assert "may make 100 tool calls, 64 at a time, and take 30 seconds" in tool.description
    limits = Limits(max_tool_calls=3, max_concurrent_calls=2, wall_seconds=0.5)
    (tool,) = as_programmatic(TOOLS, limits=limits)
    assert "may make 3 tool calls, 2 at a time, and take 0.5 seconds" in tool.description
    assert "{" not in tool.description.partition("```")[0]
