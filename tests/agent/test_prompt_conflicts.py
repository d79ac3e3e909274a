"""The stubs reach the model, or whoever runs the agent is told why they do not."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelResponse,
    dynamic_prompt,
    wrap_model_call,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from langchain_ptc import ProgrammaticToolCallingMiddleware
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

START: Any = {"messages": [("user", "go")]}


@tool
def rows(n: int):  # type: ignore[no-untyped-def]
    """Rows."""
    return [{"name": "a", "email": "x", "age": n}]


@tool
def other(n: int) -> int:
    """Other."""
    return n


@dynamic_prompt
def per_user(request: Any) -> str:
    return "You help Ada."


class Persona(AgentMiddleware):
    """Sets the system message."""

    def __init__(self, content: Any = "You are a pirate.") -> None:
        super().__init__()
        self.content = content

    def _set(self, request: Any) -> Any:
        return request.override(system_message=SystemMessage(self.content))

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(self._set(request))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(self._set(request))


class NoPrompt(Persona):
    """Takes the system message away."""

    def _set(self, request: Any) -> Any:
        return request.override(system_message=None)


class Added(Persona):
    """Adds to the system message, with other spaces."""

    def _set(self, request: Any) -> Any:
        text = request.system_message.text if request.system_message else ""
        return request.override(system_message=SystemMessage(f"Be kind.\n{text.strip()} \n\nBye."))


class Indented(Persona):
    """Puts the system message into a tag, with other spaces, as blocks that are cached."""

    def _set(self, request: Any) -> Any:
        text = request.system_message.text.replace("\n", "\n  ")
        block = {
            "type": "text",
            "text": f"<sys>{text}</sys>",
            "cache_control": {"type": "ephemeral"},
        }
        return request.override(system_message=SystemMessage([block]))


class Moved(Persona):
    """Makes the system message the first message of the user, for a model that takes none."""

    def _set(self, request: Any) -> Any:
        first = HumanMessage(request.system_message.text)
        return request.override(system_message=None, messages=[first, *request.messages])


class Chosen(Persona):
    """Sets the tools."""

    def __init__(self, *names: str, everything: Any = ()) -> None:
        super().__init__()
        self.names = names
        self.everything = everything

    def _set(self, request: Any) -> Any:
        known = [*request.tools, *self.everything]
        return request.override(tools=[t for t in known if t.name in self.names])


class Named(Persona):
    """As `Persona`, in an agent that has one of those already."""


async def run(model: Any, *middleware: Any, sync: bool = True) -> Any:
    agent = create_agent(model, [rows, other], middleware=middleware)
    return agent.invoke(START) if sync else await agent.ainvoke(START)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize(
    "behind",
    [
        [per_user],
        [Persona()],
        [Persona([{"type": "text", "text": "You are a pirate."}])],
        [NoPrompt()],
        [Added(), Named()],
        [Named(), Added()],
    ],
    ids=["dynamic-prompt", "text", "blocks", "none", "added-then-set", "set-then-added"],
)
async def test_dynamic_prompt_drops_stubs(behind: list[Any], sync: bool) -> None:
    """A system message that replaces ours is an error in the first run, which says what to do."""
    model = ScriptedChatModel(script=["hello"])
    with pytest.raises(ValueError, match="before ProgrammaticToolCallingMiddleware"):
        await run(model, ProgrammaticToolCallingMiddleware(), *behind, sync=sync)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ([per_user], []),
        ([Persona()], []),
        ([], [Added()]),
        ([NoPrompt()], [Added()]),
        ([], [Indented()]),
        ([], [Moved()]),
    ],
    ids=["dynamic-prompt-before", "set-before", "added-behind", "both", "indented", "moved"],
)
async def test_middleware_that_goes_well_with_ours(
    before: list[Any], behind: list[Any], sync: bool
) -> None:
    """What stands before ours, and what adds to the system message, keeps the stubs."""
    model = ScriptedChatModel(script=["hello"])
    await run(model, *before, ProgrammaticToolCallingMiddleware(), *behind, sync=sync)
    assert "async def rows" in model.calls[0].messages[0].text


@pytest.mark.parametrize("kept", [("rows",), ("rows", "other")])
async def test_tools_that_are_set_behind_ours(kept: tuple[str, ...]) -> None:
    """A middleware that gives the model the tools themselves again, and not ours, is an error."""
    model = ScriptedChatModel(script=["hello"])
    chosen = Chosen(*kept, everything=[rows, other])
    with pytest.raises(ValueError, match="run_code is not among"):
        await run(model, ProgrammaticToolCallingMiddleware(), chosen)


async def test_tools_that_are_chosen_before_ours() -> None:
    """A middleware before ours chooses among the agent's own tools."""
    model = ScriptedChatModel(script=["hello"])
    await run(model, Chosen("rows", "run_code"), ProgrammaticToolCallingMiddleware())
    text = model.calls[0].messages[0].text
    assert "async def rows" in text
    assert "async def other" not in text


async def test_other_models_have_prompts_of_their_own() -> None:
    """A model that chooses tools for the agent's own is not held to what that one is sent."""
    selector = ScriptedChatModel(script=[tool_call_message("ToolSelectionResponse", {"tools": []})])
    model = ScriptedChatModel(script=["hello"])

    @wrap_model_call
    def judge(request: Any, handler: Any) -> Any:
        selector.invoke([SystemMessage("Is this harmful?"), *request.messages])
        return handler(request)

    state = await run(model, ProgrammaticToolCallingMiddleware(), judge)
    assert state["messages"][-1].text == "hello"
    assert len(selector.calls) == 1


@pytest.mark.parametrize("lost", [True, False])
async def test_a_message_made_from_the_answer_counts_as_the_answer(lost: bool) -> None:
    """Middleware that gives the answer as a message of its own hides no conflict, and makes none."""

    @wrap_model_call
    def copies(request: Any, handler: Any) -> Any:
        ScriptedChatModel(script=["hello"]).invoke([SystemMessage("Is this harmful?")])
        shown = request.override(system_message=SystemMessage("x")) if lost else request
        return ModelResponse(result=[AIMessage(handler(shown).result[-1].content)])

    running = run(ScriptedChatModel(script=["hello"]), ProgrammaticToolCallingMiddleware(), copies)
    if lost:
        with pytest.raises(ValueError, match="before ProgrammaticToolCallingMiddleware"):
            await running
    else:
        assert (await running)["messages"][-1].text == "hello"


async def test_an_answer_without_a_model_is_no_conflict() -> None:
    """A middleware may answer by itself."""

    @wrap_model_call
    def refuse(request: Any, handler: Any) -> Any:
        return ModelResponse(result=[AIMessage("no")])

    model = ScriptedChatModel(script=[])
    state = await run(model, ProgrammaticToolCallingMiddleware(), refuse)
    assert state["messages"][-1].text == "no"


# --- one memory of shapes ----------------------------------------------------------------------------


@wrap_model_call
def hides_other(request: Any, handler: Any) -> Any:
    return handler(request.override(tools=[t for t in request.tools if t.name != "other"]))


@wrap_model_call
def hides_other_at_times(request: Any, handler: Any) -> Any:
    tools = request.tools if len(request.messages) > 1 else request.tools[:1] + request.tools[2:]
    return handler(request.override(tools=tools))


@pytest.mark.parametrize("place", ["none", "before", "behind", "at-times"])
async def test_observed_after_hidden_tool(place: str) -> None:
    """What was learned of a tool's results is shown whatever tools a turn has."""
    script = [tool_call_message("run_code", {"code": "print(await rows(1))"}), "done"]
    model = ScriptedChatModel(script=script)
    ours = ProgrammaticToolCallingMiddleware()
    middleware = {
        "none": [ours],
        "before": [hides_other, ours],
        "behind": [ours, hides_other],
        "at-times": [hides_other_at_times, ours],
    }[place]
    await run(model, *middleware)
    assert "observed" not in model.calls[0].messages[0].text
    assert "observed" in model.calls[1].messages[0].text
