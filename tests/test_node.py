from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from langchain_ptc import ExecutionResult, Limits, ProgrammaticToolNode
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CALLS: list[str] = []


@tool
def get_total(team: str) -> int:
    """Total of a team."""
    CALLS.append(team)
    return {"a": 3, "b": 4}[team]


GOOD = "print(sum([get_total('a'), get_total('b')]))"
FENCED = f"Here:\n```python\n{GOOD}\n```"
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def says(text: str) -> AIMessage:
    return AIMessage(text, usage_metadata=USAGE)


def calls(code: str, call_id: str = "c1") -> AIMessage:
    return tool_call_message("run_code", {"code": code}, id=call_id).model_copy(
        update={"usage_metadata": USAGE}
    )


def run(node: ProgrammaticToolNode, text: str = "How much?") -> list[Any]:
    return node.invoke({"messages": [HumanMessage(text)]})["messages"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
@pytest.mark.parametrize("reply", [says(FENCED), calls(GOOD)], ids=["text", "tool"])
async def test_it_answers_with_a_pair_of_messages(reply, asynchronous):
    """However the code comes, the state gets the call and its output, the record as artifact."""
    graph = StateGraph(MessagesState)
    graph.add_node(ProgrammaticToolNode(ScriptedChatModel(script=[reply]), [get_total]))
    graph.add_edge(START, "programmatic_tools")
    app = graph.compile()
    request = {"messages": [HumanMessage("How much?")]}
    state = await app.ainvoke(request) if asynchronous else app.invoke(request)
    question, call, output = state["messages"]
    assert question.text == "How much?"
    assert call.tool_calls[0]["args"] == {"code": GOOD}
    assert output.tool_call_id == call.tool_calls[0]["id"]
    assert (output.content, output.status) == ("7", "success")
    assert ExecutionResult.from_dict(output.artifact).status == "success"
    assert call.usage_metadata == USAGE


def test_a_failed_attempt_is_mended_and_stays_out_of_the_state():
    """The model sees the report of its failure; the state gets the last attempt and all tokens."""
    model = ScriptedChatModel(script=[calls("print(totl)", "c1"), calls(GOOD, "c2")])
    call, output = run(ProgrammaticToolNode(model, [get_total]))
    assert call.tool_calls[0]["id"] == "c2"
    assert output.content == "7"
    assert call.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    told = model.calls[1].messages[-1]
    assert isinstance(told, ToolMessage)
    assert "line 1: there is no tool or variable 'totl'" in told.content


def test_the_report_says_which_calls_took_effect():
    """What must not be repeated reaches the next attempt."""
    CALLS.clear()
    model = ScriptedChatModel(script=[calls("get_total('a')\n1/0"), calls("print('ok')")])
    run(ProgrammaticToolNode(model, [get_total]))
    assert "took effect and must not be repeated: get_total(team='a')" in str(
        model.calls[1].messages[-1].content
    )
    assert CALLS == ["a"]


def test_attempts_are_bounded():
    """After `max_attempts` the last failure is the answer, with the status that says so."""
    model = ScriptedChatModel(script=[calls("1/0")] * 5)
    call, output = run(ProgrammaticToolNode(model, [get_total], max_attempts=2))
    assert len(model.calls) == 2
    assert output.status == "error"
    assert call.tool_calls[0]["id"] == output.tool_call_id


@pytest.mark.parametrize("nothing", ["", " \n"], ids=["empty", "blank"])
def test_a_model_that_gives_up_in_silence_leaves_its_last_attempt(nothing):
    """A failure is not hidden behind an empty message; all tokens are counted."""
    model = ScriptedChatModel(script=[calls("get_total('a')\n1/0"), says(nothing)])
    call, output = run(ProgrammaticToolNode(model, [get_total]))
    assert (call.tool_calls[0]["id"], output.status) == ("c1", "error")
    assert "took effect and must not be repeated: get_total(team='a')" in output.content
    assert call.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


def test_prose_is_the_answer():
    """A model that needs no program answers in words."""
    (message,) = run(ProgrammaticToolNode(ScriptedChatModel(script=["Hello!"]), [get_total]))
    assert message.text == "Hello!"


def test_two_programs_in_one_answer_are_both_run():
    """Every tool call in the message has its answer, as providers demand."""
    both = AIMessage(
        "",
        tool_calls=[
            {
                "name": "run_code",
                "args": {"code": f"print({n})"},
                "id": f"c{n}",
                "type": "tool_call",
            }
            for n in (1, 2)
        ],
    )
    messages = run(ProgrammaticToolNode(ScriptedChatModel(script=[both]), [get_total]))
    assert [(m.tool_call_id, m.content) for m in messages[1:]] == [("c1", "1"), ("c2", "2")]


class ModelState(BaseModel):
    messages: Annotated[list, add_messages]


@dataclass
class DataState:
    messages: list = field(default_factory=list)


@pytest.mark.parametrize(
    "state",
    [
        {"messages": [HumanMessage("q")]},
        {"messages": [("user", "q")]},
        ModelState(messages=[HumanMessage("q")]),
        DataState(messages=[HumanMessage("q")]),
        [HumanMessage("q")],
    ],
    ids=["dict", "tuples", "model", "dataclass", "list"],
)
def test_every_kind_of_state(state):
    """A dict, a model, a dataclass and a bare list all hold messages."""
    answer = ProgrammaticToolNode(ScriptedChatModel(script=[calls(GOOD)]), [get_total]).invoke(
        state
    )
    messages = answer if isinstance(state, list) else answer["messages"]
    assert messages[-1].content == "7"


def test_another_messages_key():
    """The messages may lie under another key, in and out."""
    node = ProgrammaticToolNode(
        ScriptedChatModel(script=[calls(GOOD)]), [get_total], messages_key="chat"
    )
    assert node.invoke({"chat": [HumanMessage("q")]})["chat"][-1].content == "7"
    with pytest.raises(ValueError, match="no messages under 'chat'"):
        node.invoke({"messages": [HumanMessage("q")]})


def test_a_model_that_cannot_bind_tools_is_asked_for_text():
    """`auto` falls back to a block of code; `tool` says what to do instead."""
    model = GenericFakeChatModel(messages=iter([FENCED]))
    _, output = run(ProgrammaticToolNode(model, [get_total]))
    assert output.content == "7"
    with pytest.raises(ValueError, match="cannot bind tools; use protocol='text' or 'auto'"):
        ProgrammaticToolNode(model, [get_total], protocol="tool")


def test_the_prompt_of_the_text_protocol():
    """Instructions, stubs and the conversation's own system text are one message, then examples."""
    model = ScriptedChatModel(script=[FENCED])
    node = ProgrammaticToolNode(
        model,
        [get_total],
        protocol="text",
        examples=[("Total of b?", "print(await get_total('b'))")],
    )
    node.invoke({"messages": [SystemMessage("Be brief."), HumanMessage("How much?")]})
    system, question, answer, request = model.calls[0].messages
    assert "async def get_total(team: str) -> int:" in system.text
    assert system.text.endswith("Be brief.")
    assert question.text == "Total of b?"
    assert answer.text == "```python\nprint(await get_total('b'))\n```"
    assert request.text == "How much?"
    assert not model.calls[0].tools


def test_earlier_programs_are_shown_as_text_to_a_model_without_tools():
    """In the text protocol history holds no tool calls, which such a model does not know."""
    model = ScriptedChatModel(script=[FENCED, FENCED])
    node = ProgrammaticToolNode(model, [get_total], protocol="text")
    history = [HumanMessage("q"), *run(node), HumanMessage("again")]
    node.invoke({"messages": history})
    _, _, call, output, _ = model.calls[1].messages
    assert not call.tool_calls
    assert GOOD in call.text
    assert output.text == "Output:\n7"


def test_before_another_model_node():
    """The pair that it leaves is one that a model node can go on from."""
    model = ScriptedChatModel(script=["It is 7."])
    graph = StateGraph(MessagesState)
    graph.add_node(ProgrammaticToolNode(ScriptedChatModel(script=[calls(GOOD)]), [get_total]))
    graph.add_node("say", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "programmatic_tools")
    graph.add_edge("programmatic_tools", "say")
    state = graph.compile().invoke({"messages": [HumanMessage("How much?")]})
    assert state["messages"][-1].text == "It is 7."
    assert [m.type for m in model.calls[0].messages] == ["human", "ai", "tool"]


def test_name_and_tags_are_the_nodes():
    """The node has its name in the graph, and its tags are on the runs inside it."""
    seen: list[Any] = []

    @tool
    def look(config: Any = None) -> str:
        """Look."""
        return "x"

    from langchain_core.callbacks import BaseCallbackHandler

    class Watch(BaseCallbackHandler):
        def on_tool_start(self, serialized, input_str, *, tags=None, **kwargs):
            seen.append((serialized["name"], tags))

    node = ProgrammaticToolNode(
        ScriptedChatModel(script=[calls("look()")]), [look], name="coder", tags=["ptc"]
    )
    graph = StateGraph(MessagesState)
    graph.add_node(node)
    graph.add_edge(START, "coder")
    graph.compile().invoke({"messages": [HumanMessage("q")]}, {"callbacks": [Watch()]})
    assert [name for name, _ in seen] == ["run_code", "look"]
    assert all("ptc" in tags for _, tags in seen)


def test_a_limit_is_told_and_may_be_mended():
    """A program that hits a limit is an attempt like any other."""
    model = ScriptedChatModel(script=[calls("while True: pass", "c1"), calls("print('ok')", "c2")])
    node = ProgrammaticToolNode(model, [get_total], limits=Limits(wall_seconds=0.5))
    assert run(node)[-1].content == "ok"
    assert "limit wall_seconds was reached" in str(model.calls[1].messages[-1].content)


def test_auto_examples_are_in_the_prompt():
    """Generated examples are shown to the model, in code that uses the tools."""
    model = ScriptedChatModel(script=[FENCED])
    node = ProgrammaticToolNode(model, [get_total], protocol="text", examples="auto")
    run(node)
    shown = [m.text for m in model.calls[0].messages if m.type == "ai"]
    assert shown
    assert all("get_total(" in text for text in shown)


@pytest.mark.parametrize(
    "options", [{"protocol": "json"}, {"max_attempts": 0}, {"examples": "x"}], ids=str
)
def test_options_that_cannot_be_meant_are_refused(options):
    """A mistake in the options is an error at construction."""
    with pytest.raises(ValueError, match="must be"):
        ProgrammaticToolNode(ScriptedChatModel(script=[]), [get_total], **options)
