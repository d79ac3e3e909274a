"""Tools for the provider's own sandbox, held against what the integration packages send; no network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_ptc import ToolCatalog, ToolPolicy, as_programmatic, native_middleware, native_tools
from langchain_ptc.testing import ScriptedChatModel

CONTAINER = {"type": "code_execution_20260120", "name": "code_execution"}


class Row(TypedDict):
    """One row."""

    id: int
    region: str


class Report(BaseModel):
    """What came of it."""

    rows: list[Row]
    total: float


calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@tool
def query(region: str, limit: int = 2) -> list[Row]:
    """Get rows of a region."""
    calls.append(region)
    return [{"id": n, "region": region} for n in range(limit)]


@tool
async def report(region: str) -> Report:
    """Sum up a region."""
    calls.append(region)
    return Report(rows=[{"id": 1, "region": "north"}], total=1.5)


@tool
def pay(amount: float) -> str:
    """Pay an amount."""
    calls.append(f"pay {amount}")
    return f"paid {amount}"


POLICIES = {
    "pay": ToolPolicy(allowed_callers=("direct",)),
    "report": ToolPolicy(allowed_callers=("code", "direct")),
}


def payload(offered: Sequence[Any], messages: Sequence[BaseMessage] = ()) -> dict[str, Any]:
    """Return what langchain-anthropic would send."""
    from langchain_anthropic import ChatAnthropic

    model = ChatAnthropic(model="claude-sonnet-4-5", api_key="none", reuse_last_container=True)
    bound: Any = model.bind_tools(offered)
    sent = bound.bound._get_request_payload([HumanMessage("go"), *messages], **bound.kwargs)
    return json.loads(json.dumps(sent))


# --- what is sent -----------------------------------------------------------------------------------


def test_policies_become_the_field_of_the_provider() -> None:
    """`allowed_callers` is sent for each tool, in the words of the provider."""
    sent = payload(native_tools([query, report, pay], policies=POLICIES))["tools"]
    assert sent[0] == CONTAINER
    assert {t["name"]: t["allowed_callers"] for t in sent[1:]} == {
        "query": ["code_execution_20260120"],
        "report": ["code_execution_20260120", "direct"],
        "pay": ["direct"],
    }


@pytest.mark.parametrize(
    "version", ["code_execution_20250825", "code_execution_20260120", "code_execution_20260521"]
)
def test_version_of_the_container(version: Any) -> None:
    """The container and the callers name the same version."""
    sent = payload(native_tools([query], code_execution=version))["tools"]
    assert sent[0]["type"] == version
    assert sent[1]["allowed_callers"] == [version]


def test_schema_is_the_tools_own() -> None:
    """The arguments are sent as they would be without us, under the tool's own names."""
    [_, mine] = payload(native_tools([query]))["tools"]
    [plain] = payload([query])["tools"]
    assert mine["input_schema"] == plain["input_schema"]


def test_description_says_what_comes_back() -> None:
    """There is no field for a result, so the description has its type and the records in it."""
    sent = {t["name"]: t for t in payload(native_tools([query, report, pay]))["tools"]}
    assert sent["query"]["description"] == (
        "Get rows of a region.\n\nReturns JSON of the type `list[Row]`.\n\n"
        "class Row(TypedDict):\n"
        '    """One row."""\n'
        "    id: int\n"
        "    region: str"
    )
    assert "class Report(TypedDict)" in sent["report"]["description"]
    assert sent["pay"]["description"] == "Pay an amount.\n\nReturns text."


def test_description_of_a_tool_for_the_model_alone() -> None:
    """A tool that code may not call keeps its description."""
    policies = {"pay": ToolPolicy(allowed_callers=("direct",))}
    sent = payload(native_tools([pay], policies=policies))["tools"]
    assert sent == [
        {
            "name": "pay",
            "description": "Pay an amount.",
            "input_schema": payload([pay])["tools"][0]["input_schema"],
            "allowed_callers": ["direct"],
        }
    ]


def test_names_are_those_of_our_own_code() -> None:
    """A name that is no identifier becomes one; two of the same name get their domains."""
    dashed = StructuredTool.from_function(lambda x: x, name="get-rows", description="Rows.")
    [_, only] = native_tools([dashed])
    assert isinstance(only, BaseTool)
    assert only.name == ToolCatalog([dashed]).names[0] == "get_rows"
    both = native_tools({"a": [query], "b": [query, pay]})[1:]
    assert [t.name for t in both if isinstance(t, BaseTool)] == ["a_query", "b_query", "pay"]


def test_extras_of_the_tool_are_kept() -> None:
    """What a tool says to the provider besides is still said, and the tool itself is not changed."""
    cached = query.model_copy(update={"extras": {"defer_loading": True}})
    [_, sent] = payload(native_tools([cached]))["tools"]
    assert sent["defer_loading"] is True
    assert sent["allowed_callers"] == ["code_execution_20260120"]
    assert cached.extras == {"defer_loading": True}
    assert query.name == "query"
    assert query.extras is None


def test_a_turn_comes_round() -> None:
    """The code's call, its caller, its answer and the container go back to the provider."""
    asked = AIMessage(
        content=[
            {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "code_execution",
                "input": {"code": "rows = await query(region='north')"},
            },
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "query",
                "input": {"region": "north"},
                "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"},
            },
        ],
        tool_calls=[{"name": "query", "args": {"region": "north"}, "id": "toolu_1"}],
        response_metadata={"container": {"id": "container_1"}, "model_provider": "anthropic"},
    )
    [_, mine] = offered = native_tools([query])
    assert isinstance(mine, BaseTool)
    answer = mine.invoke({**asked.tool_calls[0], "type": "tool_call"})
    sent = payload(offered, [asked, answer])
    assert sent["container"] == "container_1"
    [server, use] = sent["messages"][1]["content"]
    assert server["type"] == "server_tool_use"
    assert use["caller"] == {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    [result] = sent["messages"][2]["content"]
    assert result["tool_use_id"] == "toolu_1"
    assert json.loads(result["content"]) == [
        {"id": 0, "region": "north"},
        {"id": 1, "region": "north"},
    ]


# --- other providers --------------------------------------------------------------------------------


def test_openai_is_refused() -> None:
    """OpenAI's own calling cannot be carried to the end of a turn, and the error says so."""
    with pytest.raises(
        ValueError, match=r"(?s)openai.*does not support.*fingerprint.*as_programmatic"
    ):
        native_tools([query], provider="openai")


def test_why_openai_is_refused() -> None:
    """What is missing in langchain-openai; once this fails, the refusal can go."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5", api_key="none", use_responses_api=True)
    with pytest.raises(ValueError, match="Unsupported function"):
        model.bind_tools([{"type": "programmatic_tool_calling"}])
    asked = AIMessage(
        content=[
            {"type": "program", "id": "p", "call_id": "c", "code": "query()", "fingerprint": "f"},
            {
                "type": "function_call",
                "name": "query",
                "arguments": "{}",
                "call_id": "d",
                "id": "e",
            },
        ],
        tool_calls=[{"name": "query", "args": {}, "id": "d"}],
        response_metadata={"model_provider": "openai"},
    )
    answer = ToolMessage("[]", tool_call_id="d")
    sent = model._get_request_payload([HumanMessage("go"), asked, answer])
    assert [item["type"] for item in sent["input"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]


def test_openai_takes_the_local_sandbox() -> None:
    """What the refusal names instead: one function for every model of OpenAI's."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5", api_key="none")
    bound: Any = model.bind_tools(as_programmatic([query], sandbox=None))
    [sent] = bound.bound._get_request_payload([HumanMessage("go")], **bound.kwargs)["tools"]
    assert sent["function"]["name"] == "run_code"


@pytest.mark.parametrize("provider", ["google", "mistral", "Anthropic", ""])
def test_other_providers_are_refused(provider: str) -> None:
    """Every other provider gets the local sandbox."""
    with pytest.raises(ValueError, match=f"provider={provider!r} has no sandbox.*as_programmatic"):
        native_tools([query], provider=provider)


def test_unknown_container() -> None:
    """A version of the container that may not call tools is told at once."""
    with pytest.raises(ValueError, match="'code_execution_20250522'"):
        native_tools([query], code_execution="code_execution_20250522")  # type: ignore[arg-type]


# --- in an agent ------------------------------------------------------------------------------------


def by_code(name: str, args: dict[str, Any], number: int = 1) -> AIMessage:
    """Return what the provider answers when its code calls a tool."""
    caller = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    use = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": args}
    return AIMessage(
        content=[{**use, "caller": caller}],
        tool_calls=[{"name": name, "args": args, "id": f"toolu_{number}"}],
    )


def directly(name: str, args: dict[str, Any], number: int = 1) -> AIMessage:
    """Return what the provider answers when the model itself calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"toolu_{number}"}])


def run_agent(
    answers: Sequence[AIMessage], policies: dict[str, ToolPolicy], *, held: bool = True
) -> list[ToolMessage]:
    """Run an agent with native tools and return the answers of the tools."""
    agent: Any = create_agent(
        ScriptedChatModel(script=[*answers, AIMessage("done")]),
        native_tools([query, report, pay], policies=policies)[1:],
        middleware=[native_middleware([query, report, pay], policies=policies)] if held else [],
    )
    state = asyncio.run(agent.ainvoke({"messages": [HumanMessage("go")]}))
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def test_calls_of_the_code_reach_the_tools() -> None:
    """The agent carries out a call of the provider's code, and a model's fields come back as JSON."""
    [told] = run_agent([by_code("report", {"region": "north"})], POLICIES)
    assert told.status == "success"
    assert json.loads(str(told.content)) == {"rows": [{"id": 1, "region": "north"}], "total": 1.5}


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        pytest.param(by_code("query", {"region": "north"}), False, id="code-may"),
        pytest.param(directly("query", {"region": "north"}), True, id="model-may-not"),
        pytest.param(by_code("pay", {"amount": 1.0}), True, id="code-may-not"),
        pytest.param(directly("pay", {"amount": 1.0}), False, id="model-may"),
        pytest.param(by_code("report", {"region": "n"}), False, id="both-code"),
        pytest.param(directly("report", {"region": "n"}), False, id="both-model"),
    ],
)
def test_allowed_callers_are_held(answer: AIMessage, refused: bool) -> None:
    """A caller that the policy does not allow does not reach the tool."""
    [told] = run_agent([answer], POLICIES)
    assert (told.status == "error") is refused
    assert bool(calls) is not refused


def test_number_of_calls_is_held() -> None:
    """`max_calls` holds for the calls of the code too."""
    policies = {"query": ToolPolicy(max_calls=1)}
    answers = [by_code("query", {"region": region}, n) for n, region in enumerate(["a", "b"])]
    assert [told.status for told in run_agent(answers, policies)] == ["success", "error"]
    assert calls == ["a"]


def test_approval_is_asked_for() -> None:
    """A call of the provider's code waits for a person where the policy says so."""
    policies = {"pay": ToolPolicy(requires_approval=True)}
    agent: Any = create_agent(
        ScriptedChatModel(script=[by_code("pay", {"amount": 5.0}), AIMessage("done")]),
        native_tools([pay], policies=policies)[1:],
        middleware=[native_middleware([pay], policies=policies)],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1"}}
    state = agent.invoke({"messages": [HumanMessage("go")]}, config)
    [asked] = state["__interrupt__"]
    assert asked.value["action_requests"][0]["args"] == {"amount": 5.0}
    assert calls == []
    state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert calls == ["pay 5.0"]
    assert state["messages"][-1].content == "done"


def test_policy_that_nobody_holds() -> None:
    """Without the middleware a tool that needs it does not run: an approval cannot be forgotten."""
    policies = {"pay": ToolPolicy(requires_approval=True)}
    with pytest.raises(RuntimeError, match=r"pay was not called.*native_middleware"):
        run_agent([by_code("pay", {"amount": 5.0})], policies, held=False)
    assert calls == []


def test_time_of_a_call_is_held() -> None:
    """A call that takes longer than its policy allows is an answer that says so."""

    @tool
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(60)
        return "waited"

    [_, mine] = native_tools([wait], policies={"wait": ToolPolicy(timeout_seconds=0.01)})
    assert isinstance(mine, BaseTool)
    told = asyncio.run(mine.ainvoke({"name": "wait", "args": {}, "id": "1", "type": "tool_call"}))
    assert told.status == "error"
    assert "did not answer within 0.01 seconds" in told.content


def test_artifacts_are_kept() -> None:
    """Of content and artifact, the content becomes JSON and the artifact stays what it is."""

    @tool(response_format="content_and_artifact")
    def both() -> tuple[dict[str, int], object]:
        """Give both."""
        return {"a": 1}, calls

    [_, mine] = native_tools([both])
    assert isinstance(mine, BaseTool)
    told = mine.invoke({"name": "both", "args": {}, "id": "1", "type": "tool_call"})
    assert json.loads(told.content) == {"a": 1}
    assert told.artifact is calls
