"""Whatever decides by the arguments of a call sees those that the tool's function gets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command
from pydantic import BaseModel, Field, SecretStr, field_validator

from langchain_ptc import (
    Budget,
    Cache,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run.arguments import validate_arguments
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG = {"configurable": {"thread_id": "1"}}
START = {"messages": [("user", "go")]}
APPROVE = {"decisions": [{"type": "approve"}]}
GOT: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    GOT.clear()


def agent(code: str, tools: list[BaseTool], **options: Any) -> Any:
    script = [tool_call_message("run_code", {"code": code}), "end"]
    return create_agent(
        ScriptedChatModel(script=script),
        as_programmatic(tools, **options),
        checkpointer=InMemorySaver(),
    )


def asked_when(predicate: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return {
        "allowed_decisions": ["approve", "reject"],
        "when": lambda request: predicate(request.tool_call["args"]),
    }


class Level(Enum):
    low = "low"
    high = "high"


class Order(BaseModel):
    item: str
    count: int = 1
    priority: Level = Level.low


class Validated(BaseModel):
    """Arguments with a validator of their own."""

    path: str
    recursive: bool = False

    @field_validator("recursive", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return value == "please"


class Patch(BaseModel):
    """What is to be changed."""

    name: str = "nobody"
    age: int = 0
    tags: list[str] = Field(default_factory=list)


@tool
def delete(path: str, recursive: bool = False, depth: int = 100) -> str:
    """Delete."""
    GOT.append((path, recursive, depth))
    return "deleted"


@tool(args_schema=Validated)
def wipe(path: str, recursive: bool = False) -> str:
    """Wipe."""
    GOT.append((path, recursive))
    return "wiped"


@tool
def order(order: Order, runtime: ToolRuntime, level: Literal["a", "b"] = "b") -> str:
    """Order."""
    GOT.append((order, level))
    return "ordered"


@tool
def transfer(amount: Decimal, on: date) -> str:
    """Transfer."""
    GOT.append((amount, on))
    return "done"


@pytest.mark.parametrize(
    ("call", "chosen", "predicate"),
    [
        ("delete('/etc', recursive='yes')", delete, lambda a: a["recursive"] is True),
        ("delete('/etc', recursive='on')", delete, lambda a: a["recursive"] is True),
        ("delete('/etc', recursive=1)", delete, lambda a: a["recursive"] is True),
        ("delete('/etc', recursive='true')", delete, lambda a: a["recursive"] is True),
        ("delete('/etc', depth='500')", delete, lambda a: a["depth"] > 400),
        ("delete('/etc')", delete, lambda a: a["depth"] == 100),
        ("delete('/etc', recursive=False, depth=7.0)", delete, lambda a: type(a["depth"]) is int),
        ("wipe('/etc', recursive='please')", wipe, lambda a: a["recursive"] is True),
        ("order({'item': 'x', 'count': '9'})", order, lambda a: a["order"]["count"] == 9),
        ("order({'item': 'x'})", order, lambda a: a["order"]["count"] == 1),
        ("order({'item': 'x', 'priority': 'high'})", order, lambda a: a["level"] == "b"),
        ("transfer('9000.00', '2026-01-01')", transfer, lambda a: a["amount"] > 1000),
        ("transfer(1, '2026-01-01')", transfer, lambda a: a["on"] == date(2026, 1, 1)),
    ],
)
def test_approval_predicate_sees_raw_arguments(
    call: str, chosen: BaseTool, predicate: Callable[[dict[str, Any]], bool]
) -> None:
    """A predicate sees validated values and defaults, so that no type goes around an approval."""
    graph = agent(
        f"print(await {call})", [chosen], interrupt_on={chosen.name: asked_when(predicate)}
    )
    state = graph.invoke(START, CONFIG)
    assert GOT == []
    [question] = state["__interrupt__"]
    [request] = question.value["action_requests"]
    state = graph.invoke(Command(resume=APPROVE), CONFIG)
    assert len(GOT) == 1
    [made] = state["messages"][2].artifact["tool_calls"]
    assert made["arguments"] == request["args"]  # what was shown is what is recorded


def test_arguments_that_a_schema_refuses_ask_nobody() -> None:
    """A call that could not be made is refused before a person is bothered with it."""
    graph = agent(
        "await delete('/etc', recursive='maybe')",
        [delete],
        interrupt_on={"delete": True},
        check="off",
    )
    state = graph.invoke(START, CONFIG)
    assert "__interrupt__" not in state
    assert "bad arguments: recursive" in state["messages"][2].text


def test_approval_shows_every_argument() -> None:
    """Keys that have the same text are both shown."""

    @tool
    def pay_many(amounts: dict[Any, Any]) -> str:
        """Pay several accounts."""
        GOT.append(dict(amounts))
        return "paid"

    code = "n = 3 * 3000\nprint(await pay_many({1: n, '1': 5, None: 7, 'None': 8}))"
    graph = agent(code, [pay_many], interrupt_on={"pay_many": True})
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    [request] = question.value["action_requests"]
    assert sorted(request["args"]["amounts"].values()) == [5, 7, 8, 9000]
    assert "9000" in request["description"]
    json.dumps(request)
    graph.invoke(Command(resume=APPROVE), CONFIG)
    assert GOT == [{1: 9000, "1": 5, None: 7, "None": 8}]


async def test_hooks_caches_and_records_see_validated_arguments() -> None:
    """A policy's hook, its cache and the record decide by what the tool gets."""
    seen: list[Any] = []
    policy = ToolPolicy(
        read_only=True,
        cache=Cache(seconds=60),
        before=lambda info: seen.append(dict(info.arguments)),
    )
    executor = ProgrammaticToolExecutor(ToolCatalog([delete], policies={"delete": policy}))
    result = await executor.aexecute(
        "await delete('a', recursive='yes')\nawait delete('a', recursive=True, depth=100)"
    )
    complete = {"path": "a", "recursive": True, "depth": 100}
    assert seen == [complete, complete]
    assert [c.arguments for c in result.tool_calls] == [complete, complete]
    assert GOT == [("a", True, 100)]
    assert result.tool_calls[1].is_cache_hit


def test_a_validator_that_converts_runs_once() -> None:
    """Where a schema would convert its own result again, the tool gets what was passed."""

    class Euros(BaseModel):
        eur: int

        @field_validator("eur", mode="before")
        @classmethod
        def _to_cents(cls, value: Any) -> Any:
            return value * 100

    @tool(args_schema=Euros)
    def pay(eur: int) -> str:
        """Pay."""
        GOT.append(eur)
        return "paid"

    graph = agent("print(await pay(9))", [pay], interrupt_on={"pay": True})
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    assert question.value["action_requests"][0]["args"] == {"eur": 900}
    graph.invoke(Command(resume=APPROVE), CONFIG)
    assert GOT == [900]


@pytest.mark.parametrize(
    ("passed", "complete", "given"),
    [
        ({"n": 1, "flag": True}, {"n": 1, "flag": True}, {"n": 1, "flag": True}),
        ({"n": True, "flag": 1}, {"n": 1, "flag": True}, {"n": 1, "flag": True}),
        ({"n": 1.0, "flag": "no"}, {"n": 1, "flag": False}, {"n": 1, "flag": False}),
        ({"n": 2, "more": 3}, {"n": 2, "flag": False}, {"n": 2}),
    ],
    ids=["same", "equal-of-other-types", "converted", "ignored"],
)
def test_only_values_of_the_same_type_count_as_unchanged(
    passed: dict[str, Any], complete: dict[str, Any], given: dict[str, Any]
) -> None:
    """`1`, `1.0` and `True` are equal and not the same: a tool gets those that its schema makes."""

    @tool
    def work(n: int, flag: bool = False) -> int:
        """Do nothing."""
        return n

    arguments = validate_arguments(work, passed)
    assert repr(arguments.complete) == repr(complete)
    assert repr(arguments.given) == repr(given)


def test_a_schema_that_changes_nothing_validates_once() -> None:
    """A validator runs once before the tool is called if every value stays as it is."""
    seen = []

    class Order(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def note(cls, name: str) -> str:
            seen.append(name)
            return name.strip()

    @tool(args_schema=Order)
    def order(name: str) -> str:
        """Order."""
        return name

    assert validate_arguments(order, {"name": "ada"}).given == {"name": "ada"}
    assert seen == ["ada"]
    assert validate_arguments(order, {"name": " bob"}).given == {"name": "bob"}
    assert seen == ["ada", " bob", "bob"]


def test_secrets_and_paths_reach_the_tool() -> None:
    """Values that data cannot hold are shown as text, and made by the tool's own schema."""

    @tool
    def login(password: SecretStr, home: Path) -> str:
        """Log in."""
        GOT.append((password.get_secret_value(), home))
        return "in"

    arguments = validate_arguments(login, {"password": "hunter", "home": "/tmp"})
    assert arguments.given == {"password": "hunter", "home": "/tmp"}
    assert "hunter" not in str(arguments.complete)
    login.invoke(arguments.given)
    assert [("hunter", Path("/tmp"))] == GOT


def test_unset_fields_stay_unset() -> None:
    """A tool that tells set fields from defaults still can: defaults are shown, not passed."""

    @tool
    def update(patch: Patch) -> str:
        """Update."""
        GOT.append(patch.model_dump(exclude_unset=True))
        return "ok"

    graph = agent("await update({'age': '7'})", [update], interrupt_on={"update": True})
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    shown = question.value["action_requests"][0]["args"]
    assert shown == {"patch": {"age": 7, "name": "nobody", "tags": []}}
    graph.invoke(Command(resume=APPROVE), CONFIG)
    assert GOT == [{"age": 7}]


def test_defaults_that_change_do_not_part_a_resumed_program() -> None:
    """A default from a clock is not part of what a call is known by."""
    numbers = itertools.count()

    class Stamped(BaseModel):
        name: str
        stamp: int = Field(default_factory=lambda: next(numbers))

    @tool(args_schema=Stamped)
    def put(name: str, stamp: int) -> str:
        """Put."""
        GOT.append(name)
        return "ok"

    graph = agent("print(await put('a'))", [put], interrupt_on={"put": True})
    graph.invoke(START, CONFIG)
    state = graph.invoke(Command(resume=APPROVE), CONFIG)
    assert state["messages"][2].status == "success"
    assert GOT == ["a"]


def test_a_runtime_without_an_annotation_is_filled_in() -> None:
    """LangGraph passes it by its name; it is no argument of the call."""

    @tool
    def note(text: str, runtime) -> str:  # type: ignore[no-untyped-def]
        """Note."""
        GOT.append((text, runtime.tool_call_id))
        return "noted"

    graph = agent("print(await note(text='a'))", [note], interrupt_on={"note": True})
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    assert question.value["action_requests"][0]["args"] == {"text": "a"}
    state = graph.invoke(Command(resume=APPROVE), CONFIG)
    assert state["messages"][2].text.startswith("noted")


def test_a_tool_without_a_schema_shows_its_defaults() -> None:
    """LangChain validates nothing there; what is omitted is known from the signature."""

    class Send(BaseTool):
        name: str = "send"
        description: str = "Send."

        def _run(self, to: int, silent: bool = True) -> str:
            GOT.append((to, silent))
            return "sent"

    asks = asked_when(lambda args: args["silent"] is True)
    graph = agent("print(await send('5'))", [Send()], interrupt_on={"send": asks}, check="off")
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    assert question.value["action_requests"][0]["args"] == {"to": "5", "silent": True}
    graph.invoke(Command(resume=APPROVE), CONFIG)
    assert GOT == [("5", True)]


async def test_what_a_call_costs_is_asked_with_validated_arguments() -> None:
    """A budget's `cost_of` sees what the tool gets."""
    costs: list[Any] = []

    def cost_of(info: Any) -> float:
        costs.append(dict(info.arguments))
        return 1.0 if info.arguments["recursive"] else 0.0

    executor = ProgrammaticToolExecutor([delete], budget=Budget(cost=1.5, cost_of=cost_of))
    result = await executor.aexecute(
        "await delete('a', recursive='yes')\nawait delete('b', recursive='on')"
    )
    assert GOT == [("a", True, 100)]
    assert result.error is not None
    assert costs[0] == {"path": "a", "recursive": True, "depth": 100}


@pytest.mark.parametrize("call", ["delete('/etc', recursive='yes')", "delete('/etc')"])
def test_redaction_sees_validated_arguments(call: str) -> None:
    """A `redact` function hides by what the tool gets."""

    def redact(name: str, arguments: Any) -> Any:
        return {**arguments, "recursive": "hidden"} if "recursive" in arguments else arguments

    graph = agent(f"await {call}", [delete], redact=redact)
    state = graph.invoke(START, CONFIG)
    [made] = state["messages"][2].artifact["tool_calls"]
    assert made["arguments"] == {"path": "/etc", "recursive": "hidden", "depth": 100}
