"""The middleware in a deep agent, beside its file tools and its subagents."""

from typing import Annotated, Any

import pytest

pytest.importorskip("deepagents", reason="deepagents is not installed")

from deepagents import create_deep_agent
from deepagents.backends import StoreBackend
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_ptc import ProgrammaticToolCallingMiddleware, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
SAVED = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["no-saver", "saver"])


@tool
def get_team() -> list[dict[str, Any]]:
    """List the team."""
    return [{"name": "Ada"}, {"name": "Bob"}]


def run_code(code: str) -> Any:
    return tool_call_message("run_code", {"code": code}, id="c1")


async def call(agent, given=None, *, asynchronous=True):
    given = given or {"messages": [HumanMessage("go")]}
    config = {"configurable": {"thread_id": "t"}}
    return await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)


def answers(state) -> list[str]:
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


@BOTH
@SAVED
async def test_beside_files_and_subagents(asynchronous, saver):
    """The user's tools go to the code; files and subagents stay the model's, and all work."""
    model = ScriptedChatModel(
        script=[
            run_code("print(len(await get_team()))"),
            tool_call_message("write_file", {"file_path": "/a.txt", "content": "hi"}),
            tool_call_message("task", {"description": "x", "subagent_type": "general-purpose"}),
            "the subagent says",
            tool_call_message("read_file", {"file_path": "/a.txt"}),
            "done",
        ]
    )
    agent = create_deep_agent(
        model,
        [get_team],
        middleware=[ProgrammaticToolCallingMiddleware()],
        checkpointer=saver and saver(),
    )
    state = await call(agent, asynchronous=asynchronous)
    told = answers(state)
    assert told[0] == "2"
    assert told[2] == "the subagent says"
    assert told[3].endswith("hi")
    assert {"write_file", "read_file", "task", "run_code"} <= set(model.calls[0].tool_names)
    assert "get_team" not in model.calls[0].tool_names
    assert "def get_team" in model.calls[0].messages[0].text
    assert "def write_file" not in model.calls[0].messages[0].text
    # The subagent has no middleware of ours, and calls the user's tools itself.
    assert "get_team" in model.calls[3].tool_names


@BOTH
async def test_approvals_of_the_deep_agent_hold_for_the_code(asynchronous):
    """Approvals of ours pause a deep agent inside the program, and go on with the answer."""
    log: list[str] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        log.append(f"pay {amount}")
        return "paid"

    agent = create_deep_agent(
        ScriptedChatModel(script=[run_code("print(await pay(amount=3))"), "done"]),
        [pay],
        middleware=[ProgrammaticToolCallingMiddleware(interrupt_on={"pay": True})],
        checkpointer=InMemorySaver(),
    )
    state = await call(agent, asynchronous=asynchronous)
    (asked,) = state["__interrupt__"]
    assert log == []
    resume = Command(resume={asked.id: {"decisions": [{"type": "approve"}]}})
    state = await call(agent, resume, asynchronous=asynchronous)
    assert (answers(state), log) == (["paid"], ["pay 3"])


SUBAGENTS = """\
import asyncio
parts = [task(description=d, subagent_type="general-purpose") for d in ("a", "b", "c")]
print(await asyncio.gather(*parts))
"""


@BOTH
@SAVED
async def test_subagents_side_by_side_from_code(asynchronous, saver):
    """Code that is given `task` runs subagents side by side, and their answers stay in the code."""

    def reply(messages):
        first = next(m.text for m in messages if isinstance(m, HumanMessage))
        if first != "go":
            return f"did {first}"
        is_done = any(isinstance(m, ToolMessage) for m in messages)
        return "done" if is_done else run_code(SUBAGENTS)

    agent = create_deep_agent(
        ScriptedChatModel(script=reply),
        [get_team],
        middleware=[ProgrammaticToolCallingMiddleware(tools=["task", "get_team"])],
        checkpointer=saver and saver(),
    )
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["['did a', 'did b', 'did c']"]


@BOTH
@SAVED
@pytest.mark.parametrize("way", ["middleware", "as_programmatic"])
async def test_commands_of_tools_and_sessions(asynchronous, saver, way):
    """Commands of several calls, and the variables of a session, are applied beside the file tools."""

    @tool
    def store(name: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Store a file."""
        file = {"content": name, "encoding": "utf-8", "created_at": "", "modified_at": ""}
        told = ToolMessage(f"stored {name}", tool_call_id=tool_call_id)
        return Command(update={"files": {f"/{name}": file}, "messages": [told]})

    script = [
        run_code("x = 5\nprint(await store(name='a'), await store(name='b'))"),
        tool_call_message("run_code", {"code": "x += 1\nprint(x)"}, id="c2"),
        tool_call_message("run_code", {"code": "print(x)"}, id="c3"),
        "done",
    ]
    options = {"session": "thread"}
    by_middleware = way == "middleware"
    agent = create_deep_agent(
        ScriptedChatModel(script=script),
        [store] if by_middleware else as_programmatic([store], **options),
        middleware=[ProgrammaticToolCallingMiddleware(**options)] if by_middleware else [],
        checkpointer=saver and saver(),
    )
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["stored a stored b", "6", "6"]
    assert {name: file["content"] for name, file in state["files"].items()} == {
        "/a": "a",
        "/b": "b",
    }


FILES = """\
await write_file(file_path='/b.txt', content='hello')
print((await read_file(file_path='/b.txt')).splitlines()[-1])
"""


@BOTH
@SAVED
async def test_a_subagent_with_code_of_its_own(asynchronous, saver):
    """A subagent has the middleware in its own list, and runs code under the main agent."""
    model = ScriptedChatModel(
        script=[
            tool_call_message("task", {"description": "count", "subagent_type": "counter"}),
            run_code("print(len(await get_team()))"),
            lambda messages: f"there are {messages[-1].text}",
            "done",
        ]
    )
    agent = create_deep_agent(
        model,
        [],
        subagents=[
            {
                "name": "counter",
                "description": "Counts.",
                "system_prompt": "You count.",
                "tools": [get_team],
                "middleware": [ProgrammaticToolCallingMiddleware()],
            }
        ],
        checkpointer=saver and saver(),
    )
    assert answers(await call(agent, asynchronous=asynchronous)) == ["there are 2"]


@BOTH
async def test_files_in_the_code_without_a_checkpointer(asynchronous):
    """File tools that are named go to the code; it reads what it has written, and the state has it."""
    agent = create_deep_agent(
        ScriptedChatModel(script=[run_code(FILES), "done"]),
        [],
        middleware=[ProgrammaticToolCallingMiddleware(tools=["read_file", "write_file"])],
    )
    state = await call(agent, asynchronous=asynchronous)
    assert answers(state) == ["hello"]
    assert state["files"]["/b.txt"]["content"] == "hello"


@BOTH
@SAVED
async def test_files_of_a_store_in_the_code(asynchronous, saver):
    """With files in a store the code may write and read them in any graph."""
    agent = create_deep_agent(
        ScriptedChatModel(script=[run_code(FILES), "done"]),
        [],
        middleware=[ProgrammaticToolCallingMiddleware(tools=["read_file", "write_file"])],
        backend=StoreBackend(namespace=lambda _: ("files",)),
        store=InMemoryStore(),
        checkpointer=saver and saver(),
    )
    assert answers(await call(agent, asynchronous=asynchronous)) == ["hello"]


@BOTH
async def test_files_of_the_state_in_code_with_a_journal(asynchronous):
    """Files that deep agents keep in the state cannot be reached from journaled code: an error, no loss."""
    options = {"tools": ["read_file", "write_file"]}
    for durable, told in (("auto", "ToolCallError: write_file failed"), ("never", "hello")):
        agent = create_deep_agent(
            ScriptedChatModel(script=[run_code(FILES), "done"]),
            [],
            middleware=[ProgrammaticToolCallingMiddleware(**options, durable=durable)],
            checkpointer=InMemorySaver(),
        )
        state = await call(agent, asynchronous=asynchronous)
        assert told in answers(state)[0]
