"""What is kept of an execution and of its calls: ends told apart, times, secrets, who approved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import (
    Breaker,
    Cache,
    ExecutionResult,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    Retry,
    ToolCallRecord,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.run.events import REFUSALS_WITHIN_SECONDS, REPEATED_REFUSALS, Event, Refusals
from langchain_ptc.run.plain import (
    REDACTED,
    is_secret,
    redact_arguments,
    redact_text,
)
from langchain_ptc.run.record import add_up
from langchain_ptc.testing import tool_call_message

SEEN: list[dict[str, Any]] = []


@tool
async def login(user: str, password: str, options: dict[str, Any] | None = None) -> str:
    """Log in."""
    SEEN.append({"user": user, "password": password, "options": options})
    return f"welcome {user}"


@tool
async def reject(token: str) -> str:
    """Fail, and tell everybody why."""
    raise ToolException(f"the token {token} has expired")


@tool
async def wait(seconds: float) -> str:
    """Answer after some time."""
    await asyncio.sleep(seconds)
    return "done"


@tool
async def endless() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ProcessSandbox]:
    """The workers of all tests here."""
    with ProcessSandbox() as made:
        yield made


def executor(sandbox: ProcessSandbox, **options: Any) -> ProgrammaticToolExecutor:
    """Return an executor over the tools, one of them in a domain."""
    catalog = ToolCatalog(
        {"auth": [login, reject], "misc": [wait, endless]},
        policies={"wait": ToolPolicy(read_only=True)},
    )
    return ProgrammaticToolExecutor(catalog, sandbox=sandbox, **options)


def graph_of(sandbox: ProcessSandbox, **options: Any) -> Any:
    """Return a graph that runs the code of its last message; logins need an approval."""
    tools = as_programmatic([login, wait], sandbox=sandbox, interrupt_on={"login": True}, **options)
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools))
    return graph.add_edge(START, "tools").compile(checkpointer=InMemorySaver())


def request(code: str) -> dict[str, Any]:
    """Return a state whose last message asks for code to be run."""
    return {"messages": [HumanMessage("go"), tool_call_message("run_code", {"code": code}, id="c")]}


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "user_password",
        "userPassword",
        "PASSWD",
        "token",
        "accessToken",
        "refresh_token",
        "api_key",
        "apiKey",
        "apikey",
        "X-Api-Key",
        "OPENAI_API_KEY",
        "Authorization",
        "client_secret",
        "clientSecret",
        "private-key",
        "aws_secret_access_key",
        "credentials",
        "Set-Cookie",
        "passphrase",
        "session_key",
    ],
)
def test_names_of_secrets(name: str) -> None:
    """A field that is named like a secret is one, however its words are joined."""
    assert is_secret(name, "x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "a"),
        ("keys", ["a"]),
        ("keyboard", "qwerty"),
        ("max_tokens", 100),
        ("token_count", 7),
        ("has_password", True),
        ("password", None),
        ("author", "Ada"),
        ("authority", "Ada"),
        ("tokenizer", "cl100k"),
        ("secretary", "Ada"),
        ("primary_key", "id"),
        ("name", "token"),
        ("", "x"),
    ],
)
def test_names_of_no_secrets(name: str, value: object) -> None:
    """What only looks like it is shown, as are counts and flags."""
    assert not is_secret(name, value)


def test_secrets_are_hidden_at_any_depth() -> None:
    """Fields of mappings in mappings and lists are hidden, and nothing that was passed is changed."""
    arguments = {
        "url": "https://example.org",
        "headers": {"Authorization": "Bearer abc", "Accept": "*/*"},
        "users": [{"name": "Ada", "password": "hunter2"}, {"name": "Bob"}],
    }
    before = json.dumps(arguments)
    assert redact_arguments("fetch", arguments, "secrets") == {
        "url": "https://example.org",
        "headers": {"Authorization": REDACTED, "Accept": "*/*"},
        "users": [{"name": "Ada", "password": REDACTED}, {"name": "Bob"}],
    }
    assert json.dumps(arguments) == before
    harmless = {"x": [1, {"y": 2}]}
    assert redact_arguments("f", harmless, "secrets") is harmless
    assert redact_arguments("f", arguments, "none") is arguments


def test_what_is_hidden_is_hidden_in_errors_too() -> None:
    """A secret that an error repeats is hidden there; short texts are not looked for."""
    arguments = {"token": "tok-4711", "pin_token": "42", "to": "Ada"}
    shown = redact_arguments("f", arguments, "secrets")
    told = redact_text("no token tok-4711 of Ada, 42", arguments, shown)
    assert told == f"no token {REDACTED} of Ada, 42"


async def test_no_secret_is_in_record_events_or_report(sandbox: ProcessSandbox) -> None:
    """The tool gets its arguments as they are; everybody else reads them without secrets."""
    SEEN.clear()
    events: list[Event] = []
    result = await executor(sandbox, on_event=events.append).aexecute(
        'await login("ada", "hunter-22", options={"api_key": "sk-123456", "lang": "de"})\n'
        'await reject(token="tok-987654")\n'
    )
    assert SEEN == [
        {
            "user": "ada",
            "password": "hunter-22",
            "options": {"api_key": "sk-123456", "lang": "de"},
        }
    ]
    first, second = result.tool_calls
    assert first.arguments == {
        "user": "ada",
        "password": REDACTED,
        "options": {"api_key": REDACTED, "lang": "de"},
    }
    assert second.error == f"auth.reject failed: the token {REDACTED} has expired"
    told = json.dumps([event for event in events if event["event"] != "execution_start"])
    told += json.dumps([call.to_dict() for call in result.tool_calls])
    told += result.report().partition("ToolCallError")[2]
    assert result.error is not None
    told += result.error.message
    for secret in ("hunter-22", "sk-123456", "tok-987654"):
        assert secret not in told


async def test_arguments_that_do_not_fit_have_names_to_be_hidden_by(
    sandbox: ProcessSandbox,
) -> None:
    """What was passed by position to a call that was refused is hidden by its parameter's name."""
    result = await executor(sandbox, check="off").aexecute(
        'await login("ada", "hunter-22", {}, "more", colour="red")'
    )
    (call,) = result.tool_calls
    assert call.status == "refused"
    assert call.arguments == {
        "user": "ada",
        "password": REDACTED,
        "options": {},
        "argument 4": "more",
        "colour": "red",
    }


async def test_a_function_says_what_is_hidden(sandbox: ProcessSandbox) -> None:
    """The user's own function decides; it is told the tool, and the tool gets what was passed."""
    asked: list[str] = []

    def redact(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(name)
        arguments["options"]["lang"] = "***"  # what it is given is its own
        return {**arguments, "user": "***"}

    SEEN.clear()
    result = await executor(sandbox, redact=redact).aexecute(
        'await login("ada", "hunter-22", options={"lang": "de"})'
    )
    assert result.tool_calls[0].arguments == {
        "user": "***",
        "password": "hunter-22",
        "options": {"lang": "***"},
    }
    assert set(asked) == {"auth.login"}
    assert SEEN == [{"user": "ada", "password": "hunter-22", "options": {"lang": "de"}}]


@pytest.mark.parametrize("returns", ["raises", "nothing"])
async def test_a_function_that_fails_hides_everything(
    returns: str, sandbox: ProcessSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is not known what is a secret, everything is, and the developer is told."""

    def redact(name: str, arguments: Mapping[str, Any]) -> Any:
        return None if returns == "nothing" else arguments["no such"]

    result = await executor(sandbox, redact=redact).aexecute('await login("ada", "hunter-22")')
    assert result.status == "success"
    hidden = dict.fromkeys(("user", "password", "options"), REDACTED)
    assert result.tool_calls[0].arguments == hidden
    assert "auth.login" in caplog.text


def test_a_wrong_redact_is_told_at_once(sandbox: ProcessSandbox) -> None:
    """An option that is none of what it may be is refused where it is given."""
    with pytest.raises(ValueError, match="redact must be 'secrets', 'none' or a function"):
        executor(sandbox, redact="all")


# --- times --------------------------------------------------------------------------------------

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], (0, 0)),
        ([(0, 2)], (2, 0)),
        ([(0, 2), (3, 4)], (3, 0)),
        ([(0, 2), (2, 4)], (4, 0)),
        ([(0, 4), (1, 3)], (4, 2)),
        ([(0, 4), (1, 3), (2, 5)], (5, 3)),
        ([(1, 1), (0, 2)], (2, 0)),
        ([(0, 2), (0, 2)], (2, 2)),
    ],
)
def test_times_add_up(spans: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    """Any call and several calls: each moment counts once, however many calls it has."""
    times = [(T0 + timedelta(seconds=a), T0 + timedelta(seconds=b)) for a, b in spans]
    assert add_up(times) == expected


async def test_where_the_time_went(sandbox: ProcessSandbox) -> None:
    """Computing and waiting are the whole; calls side by side overlap, one after another not."""
    result = await executor(sandbox).aexecute(
        "import asyncio\n"
        "await asyncio.gather(wait(seconds=0.2), wait(seconds=0.2))\n"
        "await wait(seconds=0.1)\n"
    )
    one, two, three = result.tool_calls
    together = min(one.ended_at, two.ended_at) - max(one.started_at, two.started_at)
    lengths = [(call.ended_at - call.started_at).total_seconds() for call in (one, two, three)]
    assert result.overlapping_seconds == pytest.approx(together.total_seconds())
    assert result.waiting_seconds == pytest.approx(sum(lengths) - together.total_seconds())
    assert result.waiting_seconds >= 0.29
    assert result.computing_seconds + result.waiting_seconds == result.duration_seconds
    assert result.paused_seconds == 0
    for call in result.tool_calls:
        assert call.running_seconds == call.duration_seconds - call.waited_seconds
        assert result.started_at <= call.started_at <= call.ended_at <= result.ended_at


async def test_a_pause_is_no_time_of_the_execution(sandbox: ProcessSandbox) -> None:
    """What a person takes is told apart, and the record's end is when it really ended."""
    graph = graph_of(sandbox)
    config: Any = {"configurable": {"thread_id": "1"}}
    began = datetime.now(UTC)
    await graph.ainvoke(request('await wait(seconds=0.1)\nawait login("a", "b")'), config)
    await asyncio.sleep(0.5)
    answered = datetime.now(UTC)
    state = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    result = ExecutionResult.from_dict(state["messages"][-1].artifact)
    assert result.paused_seconds >= 0.45
    assert result.duration_seconds >= 0.1
    assert result.waiting_seconds >= 0.1
    assert began <= result.started_at
    assert answered <= result.ended_at <= datetime.now(UTC)


# --- approvals ----------------------------------------------------------------------------------

USER = {"identity": "ada@example.org"}


@pytest.mark.parametrize(
    ("configurable", "expected"),
    [
        ({}, None),
        ({"user_id": "ada"}, "ada"),
        ({"user_id": 7}, "7"),
        ({"langgraph_auth_user_id": "bob", "user_id": "ada"}, "bob"),
        ({"langgraph_auth_user": USER, "user_id": "ada"}, "ada@example.org"),
    ],
    ids=["nobody", "user_id", "number", "server-id", "server-user"],
)
async def test_who_approved(
    configurable: dict[str, Any], expected: str | None, sandbox: ProcessSandbox
) -> None:
    """The record names whoever resumed the graph, and not whoever started it."""
    graph = graph_of(sandbox)
    thread = {"thread_id": "1"}
    asked: Any = {"configurable": {**thread, "user_id": "who asked"}}
    await graph.ainvoke(request('print(await login("a", "b"))'), asked)
    answered: Any = {"configurable": {**thread, **configurable}}
    resume = Command(resume={"decisions": [{"type": "approve"}]})
    state = await graph.ainvoke(resume, answered)
    (call,) = ExecutionResult.from_dict(state["messages"][-1].artifact).tool_calls
    assert (call.approval, call.approved_by) == ("approve", expected)


async def test_who_approved_stays_so(sandbox: ProcessSandbox) -> None:
    """Whoever answers a later question is not named as the one who answered an earlier one."""
    graph = graph_of(sandbox)
    code = 'await login("a", "1")\nawait login("b", "2")'
    state: Any = await graph.ainvoke(request(code), {"configurable": {"thread_id": "1"}})
    for user in ("ada", "bob"):
        config: Any = {"configurable": {"thread_id": "1", "user_id": user}}
        resume = Command(resume={"decisions": [{"type": "approve"}]})
        state = await graph.ainvoke(resume, config)
    calls = ExecutionResult.from_dict(state["messages"][-1].artifact).tool_calls
    assert [call.approved_by for call in calls] == ["ada", "bob"]


async def test_nobody_can_say_that_another_one_approved(sandbox: ProcessSandbox) -> None:
    """An answer that names a person itself is not accepted."""
    graph = graph_of(sandbox)
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke(request('await login("a", "b")'), config)
    forged = {"type": "approve", "by": "the boss"}
    with pytest.raises(Exception, match="by"):
        await graph.ainvoke(Command(resume={"decisions": [forged]}), config)


# --- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("print(1)", "success"),
        ("1 / 0", "error"),
        ("x = (1", "error"),
        ("print(().__class__.__bases__)", "refused"),
        ("import os\nos.system('x')", "refused"),
        ("await login()", "refused"),
        ("while True: pass", "limit"),
        ("await endless()", "limit"),
    ],
)
async def test_ends_are_told_apart(code: str, status: str, sandbox: ProcessSandbox) -> None:
    """Each way to end has its word."""
    limits = Limits(wall_seconds=0.5)
    result = await executor(sandbox, limits=limits).aexecute(code)
    assert result.status == status, result.report()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ('await login("a", "b")', "denied"),
        ('async def f():\n    await login("a", "b")\nawait f()', "denied"),
        (
            'import asyncio\nasync with asyncio.TaskGroup() as g:\n    g.create_task(login("a", "b"))',
            "denied",
        ),
        ('try:\n    await login("a", "b")\nexcept ToolCallError:\n    print("no")', "success"),
        ('try:\n    await login("a", "b")\nexcept ToolCallError:\n    1 / 0', "error"),
        ('try:\n    await login("a", "b")\nexcept ToolCallError:\n    raise', "denied"),
        (
            'try:\n    login("a", "b")\nexcept ToolCallError as e:\n    raise ValueError from e',
            "error",
        ),
        (
            'try:\n    login("a", "b")\nexcept ToolCallError:\n    raise ToolCallError("other")',
            "error",
        ),
    ],
)
async def test_a_rejection_that_ends_the_execution(
    code: str, status: str, sandbox: ProcessSandbox
) -> None:
    """`denied` is what a person's rejection has ended, and not what fails for other reasons."""
    graph = graph_of(sandbox)
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke(request(code), config)
    resume = Command(resume={"decisions": [{"type": "reject", "message": "not now"}]})
    state = await graph.ainvoke(resume, config)
    result = ExecutionResult.from_dict(state["messages"][-1].artifact)
    assert result.status == status
    assert [call.status for call in result.tool_calls] == ["denied"]
    if status == "denied":
        assert "not now" in result.report()


async def test_a_cancelled_execution_is_told_of(sandbox: ProcessSandbox) -> None:
    """Whoever cancels it gets no result, but the events have its end and those of its calls."""
    events: list[Event] = []
    started = asyncio.Event()

    def look(event: Event) -> None:
        events.append(event)
        if event["event"] == "call_start":
            started.set()

    running = asyncio.ensure_future(
        executor(sandbox, on_event=look).aexecute("print('so far')\nawait endless()")
    )
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ends = [(e["event"], e["status"]) for e in events if e["event"].endswith("_end")]
    assert ends == [("call_end", "cancelled"), ("execution_end", "cancelled")]


# --- events -------------------------------------------------------------------------------------


async def test_every_call_ends_once_in_the_events(sandbox: ProcessSandbox) -> None:
    """Calls that are refused, fail or are cancelled are told of too, with their numbers."""
    events: list[Event] = []
    result = await executor(sandbox, on_event=events.append, check="off").aexecute(
        "import asyncio\n"
        "try:\n    await login('a')\nexcept ToolCallError:\n    pass\n"
        "await wait(seconds=0)\n"
        "async def fail():\n    await reject(token='x')\n"
        "await asyncio.gather(endless(), fail())\n"
    )
    ends = [event for event in events if event["event"] == "call_end"]
    assert {end["call_id"]: end["status"] for end in ends} == {
        call.call_id: call.status for call in result.tool_calls
    }
    assert len(ends) == 4
    assert sorted(end["status"] for end in ends) == ["cancelled", "failed", "refused", "returned"]
    returned = next(end for end in ends if end["status"] == "returned")
    assert returned["arguments_bytes"] == len(b"\x81\xa7seconds\xcb") + 8
    assert returned["result_bytes"] == 4
    assert returned["attempts"] == 1
    assert json.loads(json.dumps(events)) == events


async def test_limits_are_alerts(sandbox: ProcessSandbox) -> None:
    """A limit that the execution or a call reaches is an event of its own, once."""
    events: list[Event] = []
    tested = executor(sandbox, on_event=events.append, limits=Limits(tool_seconds=0.1))
    await tested.aexecute("await endless()")
    (told,) = (event for event in events if event["event"] == "limit_reached")
    assert (told["limit"], told["tool"], told["domain"]) == ("tool_seconds", "endless", "misc")
    events.clear()
    tested = executor(sandbox, on_event=events.append, limits=Limits(output_bytes=10))
    await tested.aexecute("print('x' * 100)")
    (told,) = (event for event in events if event["event"] == "limit_reached")
    assert (told["limit"], told["allowed"]) == ("output_bytes", 10)


@pytest.mark.parametrize(
    ("attack", "shown"),
    [("print(().__class__.__bases__)", "__bases__"), ("import os\nos.listdir('/')", "'os'")],
)
async def test_repeated_refusals_are_an_alert(
    attack: str, shown: str, sandbox: ProcessSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """One refused program is a mistake; several in a row in one thread are told of."""
    events: list[Event] = []
    tested = executor(sandbox, on_event=events.append)
    for thread in ("a", "b"):
        for _ in range(REPEATED_REFUSALS - 1):
            await tested.aexecute(attack, config={"configurable": {"thread_id": thread}})
    assert not [event for event in events if event["event"] == "security_refusal"]
    await tested.aexecute(attack, config={"configurable": {"thread_id": "a"}})
    (alert,) = (event for event in events if event["event"] == "security_refusal")
    assert (alert["refusals"], alert["thread_id"]) == (REPEATED_REFUSALS, "a")
    assert shown in alert["violations"][0]
    assert any(
        record.levelname == "WARNING" and "security_refusal" in record.getMessage()
        for record in caplog.records
    )


async def test_mistakes_with_tools_are_no_refusals(sandbox: ProcessSandbox) -> None:
    """However often a program misnames a tool, nobody is told of an attack, whatever its words."""
    events: list[Event] = []
    tested = executor(sandbox, on_event=events.append)
    for _ in range(REPEATED_REFUSALS):
        result = await tested.aexecute("find_in_the_sandbox('in the sandbox')")
        assert result.status == "refused"
    assert not [event for event in events if event["event"] == "security_refusal"]


def test_refusals_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused long ago does not count."""
    now = [0.0]
    monkeypatch.setattr("langchain_ptc.run.events.time.monotonic", lambda: now[0])
    refusals = Refusals()
    assert [refusals.note("a") for _ in range(3)] == [1, 2, 3]
    now[0] = REFUSALS_WITHIN_SECONDS + 1
    assert refusals.note("a") == 1
    assert refusals.note(None) == 1


# --- data ---------------------------------------------------------------------------------------


async def test_records_round_trip(sandbox: ProcessSandbox) -> None:
    """What `to_dict` writes is JSON, and `from_dict` reads it back."""
    result = await executor(sandbox, check="off").aexecute(
        'await wait(seconds=0)\ntry:\n    await login("ada")\nexcept ToolCallError:\n    pass\n'
        "await reject(token='abcdefg')"
    )
    data = json.loads(json.dumps(result.to_dict()))
    assert ExecutionResult.from_dict(data) == result
    assert data["computing_seconds"] + data["waiting_seconds"] == data["duration_seconds"]
    call = data["tool_calls"][0]
    assert call["is_read_only"] is True
    assert ToolCallRecord.from_dict(call) == result.tool_calls[0]
    assert ExecutionResult.from_dict(data).report() == result.report()


def test_a_record_of_an_earlier_version_is_read() -> None:
    """What a checkpoint kept before these fields were there can still be read."""
    old = {
        "call_id": "c:1",
        "execution_id": "e",
        "tool": "pay",
        "domain": None,
        "arguments": {},
        "line": 1,
        "status": "returned",
        "approval": None,
        "started_at": "2026-01-01T00:00:00+00:00",
        "duration_seconds": 1.0,
        "result_bytes": 2,
        "error": None,
    }
    call = ToolCallRecord.from_dict(old)
    assert (call.attempts, call.is_cache_hit, call.waited_seconds) == (1, False, 0.0)


# --- resilience ---------------------------------------------------------------------------------

TRIES: list[int] = []


@tool
async def flaky(x: int) -> int:
    """Fail at the first try of each number, and always for 0."""
    TRIES.append(x)
    if x == 0 or TRIES.count(x) == 1:
        raise ConnectionError("try again")
    return x


async def test_tries_cache_and_breaker_are_in_the_record(sandbox: ProcessSandbox) -> None:
    """Record and events say how often a tool was tried, and whether it was called at all."""
    TRIES.clear()
    events: list[Event] = []
    policy = ToolPolicy(
        read_only=True,
        retry=Retry(attempts=2, wait_seconds=0.01, jitter_seconds=0),
        cache=Cache(scope="execution"),
        breaker=Breaker(failures=2),
    )
    catalog = ToolCatalog([flaky], policies={"flaky": policy})
    tested = ProgrammaticToolExecutor(catalog, sandbox=sandbox, on_event=events.append)
    result = await tested.aexecute(
        "print(await flaky(1), await flaky(1))\n"
        "for n in range(2):\n"
        "    try:\n        await flaky(0)\n    except ToolCallError:\n        pass\n"
    )
    assert result.output == "1 1\n"
    tried, cached, failed, refused = result.tool_calls
    assert (tried.attempts, tried.is_cache_hit, tried.breaker) == (2, False, "closed")
    assert (cached.attempts, cached.is_cache_hit, cached.status) == (0, True, "returned")
    assert (failed.attempts, failed.status) == (2, "failed")
    assert (refused.attempts, refused.breaker, refused.status) == (0, "open", "refused")
    ends = [event for event in events if event["event"] == "call_end"]
    assert [end["attempts"] for end in ends] == [2, 0, 2, 0]
    (alert,) = (event for event in events if event["event"] == "breaker_open")
    assert alert["call_id"] == refused.call_id
