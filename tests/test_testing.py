"""The test doubles behave like the real things they stand for."""

import asyncio
import copy
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import ValidationError

from langchain_ptc.testing import ScriptedChatModel, tool_call_message

USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def words(text: str) -> int:
    """Count words: a tokenizer whose sums can be checked by eye."""
    return len(text.split())


def joined(chunks):
    """Add streamed chunks up, as LangChain does."""
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


REPLIES = [
    pytest.param(AIMessage("two words\n\n and  more ", id="m1"), id="text"),
    pytest.param(AIMessage("", id="m2", usage_metadata=USAGE), id="nothing"),
    pytest.param(
        tool_call_message("add", {"a": 1, "b": [{"key": "v" * 40}]}, id="c1", content="so:"),
        id="text-and-call",
    ),
    pytest.param(
        AIMessage(
            "",
            tool_calls=[
                *tool_call_message("add", {"a": 1}, id="c1").tool_calls,
                *tool_call_message("none", id="c2").tool_calls,
            ],
            usage_metadata=USAGE,
        ),
        id="two-calls",
    ),
    pytest.param(
        AIMessage(
            [{"type": "text", "text": "part one"}, {"type": "text", "text": "part two"}],
            response_metadata={"finish_reason": "stop"},
            additional_kwargs={"refusal": "no"},
        ),
        id="blocks",
    ),
    pytest.param(
        AIMessage(
            "",
            invalid_tool_calls=[
                {
                    "name": "add",
                    "args": "a equals 1, and more of it",
                    "id": "c1",
                    "error": None,
                    "type": "invalid_tool_call",
                }
            ],
        ),
        id="invalid-call",
    ),
]


@pytest.mark.parametrize("reply", REPLIES)
async def test_every_way_of_asking_gives_the_scripted_message(reply):
    """Asked in one piece or streamed, from sync or async code, the message is the same."""

    def seen(message):
        return (
            message.content,
            [dict(call) for call in message.tool_calls],
            message.usage_metadata,
            message.additional_kwargs,
            message.response_metadata.get("finish_reason"),
        )

    model = ScriptedChatModel(script=[reply] * 4)
    answers = [
        model.invoke("hello"),
        await model.ainvoke("hello"),
        joined(list(model.stream("hello"))),
        joined([chunk async for chunk in model.astream("hello")]),
    ]
    for answer in answers:
        assert seen(answer) == seen(reply)
        assert [call["args"] for call in answer.invalid_tool_calls] == [
            call["args"] for call in reply.invalid_tool_calls
        ]
    if reply.id:
        assert {answer.id for answer in answers} == {reply.id}


def test_a_tool_call_streams_in_pieces():
    """The arguments of a streamed tool call arrive cut, the name and the id once, at first."""
    model = ScriptedChatModel(script=[tool_call_message("add", {"a": 1, "b": 22222222}, id="c1")])
    pieces = [piece for chunk in model.stream("go") for piece in chunk.tool_call_chunks]
    assert len(pieces) > 1
    assert [(piece["name"], piece["id"]) for piece in pieces][:2] == [("add", "c1"), (None, None)]
    assert "".join(piece["args"] for piece in pieces) == '{"a": 1, "b": 22222222}'


def test_functions_and_strings_are_replies():
    """A script may hold plain text, and functions that read the conversation."""
    model = ScriptedChatModel(
        script=["first", lambda messages: messages[-1].text.upper(), lambda _: AIMessage("third")]
    )
    assert [model.invoke(text).text for text in ("a", "b", "c")] == ["first", "B", "third"]


def test_one_function_answers_every_call():
    """A function instead of a list is a policy: it never runs out."""
    model = ScriptedChatModel(script=lambda messages: f"{len(messages)} sent")
    assert [model.invoke([HumanMessage("x")] * n).text for n in (1, 3)] == ["1 sent", "3 sent"]


def test_bound_copies_share_the_script_and_the_log():
    """What is sent through `bind_tools` is seen on the model, with the schemas and the options."""
    model = ScriptedChatModel(script=["one", "two", "three"])
    native = {"type": "web_search_20250305", "name": "web_search"}
    bound = model.bind_tools([add, native], tool_choice="any", strict=True)
    assert bound.invoke("a", stop=["\n"]).text == "one"
    assert model.invoke("b").text == "two"
    assert bound.with_config(tags=["t"]).invoke("c").text == "three"

    assert [call.messages[0].text for call in model.calls] == ["a", "b", "c"]
    assert [call.tool_names for call in model.calls] == [
        ["add", "web_search"],
        [],
        ["add", "web_search"],
    ]
    assert model.calls[0].kwargs == {"tool_choice": "any", "strict": True, "stop": ["\n"]}
    assert model.calls[0].tools[0]["function"]["parameters"]["required"] == ["a", "b"]
    assert model.calls[0].tools[1] == native
    assert bound.calls is model.calls


def test_past_the_end_is_an_error_that_explains_itself():
    """A script that is too short fails, saying which call it was and what was sent."""
    model = ScriptedChatModel(script=["only one"])
    model.invoke("hello")
    with pytest.raises(AssertionError) as caught:
        model.invoke([HumanMessage("q"), ToolMessage("KeyError: 'id'", tool_call_id="c1")])
    told = str(caught.value)
    assert "call 2" in told
    assert "1 item" in told
    assert "ToolMessage \"KeyError: 'id'\"" in told
    assert len(model.calls) == 2


def test_clearing_the_log_starts_the_script_again():
    """The length of the log is the place in the script."""
    model = ScriptedChatModel(script=["one", "two"])
    model.invoke("x")
    model.calls.clear()
    assert model.invoke("x").text == "one"


def test_a_scripted_message_is_never_changed():
    """Graphs set ids on messages and change them: the script stays as it was written."""
    reply = tool_call_message("add", {"a": 1}, id="c1")
    model = ScriptedChatModel(script=[reply, reply], count_tokens=words)
    first, second = model.invoke("x"), model.invoke("x")
    first.tool_calls[0]["args"]["a"] = 99
    assert second.tool_calls[0]["args"] == {"a": 1}
    assert reply.id is None
    assert reply.usage_metadata is None
    assert first.id != second.id


def test_usage_is_counted_over_messages_calls_and_tools():
    """`count_tokens` fills in the usage of a reply that has none; a given usage stays."""
    call = tool_call_message("add", {"a": 1}, content="I will")
    model = ScriptedChatModel(
        script=[call, call, AIMessage("x", usage_metadata=USAGE)], count_tokens=words
    )
    history = [HumanMessage("three words here"), call, ToolMessage("2", tool_call_id="c")]
    # I will / add({"a": 1}) is 4 words, so the input is 3 + 4 + 1.
    assert model.invoke(history).usage_metadata == {
        "input_tokens": 8,
        "output_tokens": 4,
        "total_tokens": 12,
    }
    with_tools = model.bind_tools([add]).invoke(history).usage_metadata
    assert with_tools["input_tokens"] > 8 + len(add.description.split())
    assert model.invoke("x").usage_metadata == USAGE
    assert ScriptedChatModel(script=["x"]).invoke("x").usage_metadata is None


async def test_simulated_time_is_spent(monkeypatch):
    """The time before the first token and the time of writing add up, streamed or not."""
    slept = []

    async def asleep(seconds):
        slept.append(seconds)

    model = ScriptedChatModel(
        script=lambda _: "one two three four",
        count_tokens=words,
        seconds_per_call=0.5,
        tokens_per_second=8,
    )
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(asyncio, "sleep", asleep)
    total = []
    model.invoke("x")
    total.append(sum(slept))
    _ = list(model.stream("x"))
    total.append(sum(slept))
    await model.ainvoke("x")
    total.append(sum(slept))
    _ = [chunk async for chunk in model.astream("x")]
    total.append(sum(slept))
    assert total == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_parallel_callers_get_each_reply_once():
    """Threads that share a model never share a reply."""
    replies = [f"reply {n}" for n in range(200)]
    model = ScriptedChatModel(script=replies)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda _: model.invoke("x").text, replies))
    assert sorted(answers) == sorted(replies)


def test_a_deep_copy_has_a_script_of_its_own():
    """Models can be copied deeply, as configurable graphs do."""
    model = ScriptedChatModel(script=["one", "two"])
    other = copy.deepcopy(model)
    assert model.invoke("x").text == other.invoke("x").text == "one"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"script": ["ok", 3]}, r"script\[1\] must be an AIMessage.*got 3", id="kind"),
        pytest.param({"script": [HumanMessage("x")]}, r"script\[0\]", id="not-an-ai-message"),
        pytest.param(
            {"script": [], "tokens_per_second": 5}, "needs count_tokens", id="speed-without-count"
        ),
        pytest.param({"script": [], "seconds_per_call": -1}, "greater than or equal", id="range"),
    ],
)
def test_a_wrong_option_is_refused_at_construction(options, told):
    """Mistakes in a script are found where it is written, not in the middle of a graph."""
    with pytest.raises(ValidationError, match=told):
        ScriptedChatModel(**options)


def test_a_function_that_returns_nothing_is_named():
    """A reply function that forgets its return value is told apart from a model that failed."""
    model = ScriptedChatModel(script=[lambda _: None])
    with pytest.raises(TypeError, match=r"script\[0\] must return an AIMessage or a str, got None"):
        model.invoke("x")


def test_tool_call_ids_differ_unless_given():
    """Two calls built without an id can stand in one conversation."""
    first, second = tool_call_message("add"), tool_call_message("add")
    assert first.tool_calls[0]["id"] != second.tool_calls[0]["id"]
    assert first.tool_calls[0]["args"] == {}


async def test_it_drives_an_agent_and_streams_through_a_graph():
    """In `create_agent` the model calls a tool, reads its result and streams token by token."""
    agents = pytest.importorskip("langchain.agents")
    model = ScriptedChatModel(
        script=[
            tool_call_message("add", {"a": 2, "b": 3}),
            lambda messages: f"The sum is {messages[-1].text}",
        ]
    )
    agent = agents.create_agent(model, tools=[add])
    pieces = [
        piece.content
        async for piece, _ in agent.astream({"messages": ["2+3?"]}, stream_mode="messages")
        if isinstance(piece, AIMessage) and piece.content
    ]
    assert pieces == ["The", " sum", " is", " 5"]
    assert [call.tool_names for call in model.calls] == [["add"], ["add"]]
