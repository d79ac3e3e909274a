"""The web service of the examples: what users see of their runs, and what outlives a server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.tools import tool
from langgraph.types import interrupt

from examples.web.__main__ import main
from examples.web.agent import SUGGESTIONS, build_agent, build_company_tools, scripted_model
from examples.web.app import PAGE
from examples.web.runs import Draft
from langchain_ptc import as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.web import User, served, visitor

PAID: list[tuple[str, int]] = []
gate: asyncio.Event
entered: asyncio.Event

CODE = """\
import asyncio
print("<b>open</b>", await look("ada"))
paid = await asyncio.gather(pay("ada", 3), pay("ben", 9), pay("eve", 27), return_exceptions=True)
for line in paid:
    print(line)
"""


@tool
def look(name: str) -> int:
    """Look a name up."""
    return len(name)


@tool
def pay(name: str, eur: int) -> str:
    """Pay somebody."""
    PAID.append((name, eur))
    return f"paid {eur} to {name}"


@tool
async def wait() -> str:
    """Wait until the test says."""
    entered.set()
    await gate.wait()
    return "waited"


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return str(interrupt(question))


def reply(messages: list[BaseMessage]) -> Any:
    """Run what the user says as a program, and repeat what it printed."""
    last = messages[-1]
    if last.type == "tool":
        return f"It printed:\n{last.text}"
    if last.text == "fail":
        raise ValueError("a secret of the server")
    return tool_call_message("run_code", {"code": last.text})


def build(checkpointer: Any) -> Any:
    """Build the agent of these tests."""
    tools = as_programmatic([look, pay, wait, ask], interrupt_on={"pay": True})
    return create_agent(ScriptedChatModel(script=reply), tools, checkpointer=checkpointer)


@pytest.fixture(autouse=True)
def _anew() -> None:
    global gate, entered
    PAID.clear()
    gate, entered = asyncio.Event(), asyncio.Event()


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    """A user of a service."""
    async with served(build, tmp_path) as address, visitor(address) as made:
        yield made


def kinds(items: list[dict[str, Any]]) -> list[str]:
    """Return what the items are, in order, without drafts and repetitions."""
    names = [item.get("event", item["kind"]) for item in items if item["kind"] != "draft"]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


async def test_a_run_is_shown_from_the_question_to_the_answer(user: User) -> None:
    """The message, the program, its calls and output, what the model read, and its answer."""
    conversation = await user.begin("print(await look('ada'))")
    items = await user.follow_to_end(conversation)
    assert kinds(items) == [
        "user",
        "reply",
        "execution_start",
        "call_start",
        "call_end",
        "output",
        "execution_end",
        "result",
        "reply",
        "end",
    ]
    named = {item.get("event", item["kind"]): item for item in items}
    assert named["call_start"]["arguments"] == {"name": "ada"}
    assert named["output"]["text"] == "3\n"
    assert named["result"]["text"] == "3"
    assert (named["reply"]["text"], named["reply"]["code"]) == ("It printed:\n3", {})
    assert named["end"]["status"] == "done"
    numbers = [item["number"] for item in items if item["kind"] != "draft"]
    assert numbers == sorted(set(numbers))


async def test_a_page_that_reconnects_reads_what_it_has_not(user: User) -> None:
    """After a lost connection the stream goes on behind the last event that was read."""
    conversation = await user.begin("print(1)")
    items = await user.follow_to_end(conversation)
    known = next(item["number"] for item in items if item.get("event") == "output")
    rest = await user.follow_to_end(conversation, after=known)
    assert rest == [item for item in items if (item["number"] or 0) > known]


async def test_a_write_that_is_cancelled_locks_no_database(tmp_path: Path) -> None:
    """A server that ends between a write and its commit, with rows unread, leaves the checkpoints to the next."""
    savers: list[Any] = []

    def build_and_keep(checkpointer: Any) -> Any:
        savers.append(checkpointer)
        return build(checkpointer)

    async with served(build_and_keep, tmp_path) as address, visitor(address) as user:
        await user.follow_to_end(await user.begin("print(1)"))
        connection = savers[0].conn
        unread = await connection.execute("SELECT * FROM checkpoints")
        await unread.fetchone()
        await connection.execute("UPDATE checkpoints SET parent_checkpoint_id = 'unwanted'")
    with closing(sqlite3.connect(tmp_path / "checkpoints.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        [row] = other.execute(
            "SELECT count(*) FROM checkpoints WHERE parent_checkpoint_id = 'unwanted'"
        )
    assert row == (0,)
    del unread


async def test_a_run_that_waits_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    """A new server shows what has happened, takes the decisions, and does each call once."""
    async with served(build, tmp_path) as address, visitor(address) as user:
        conversation = await user.begin(CODE)
        before = await user.follow_to_end(conversation)
        assert before[-1]["status"] == "waiting"
        cookies = user.client.cookies
    async with served(build, tmp_path) as address, visitor(address, cookies=cookies) as user:
        again = await user.follow_to_end(conversation)
        assert kinds(again) == kinds(before)
        question = again[-2]
        requests = question["value"]["action_requests"]
        assert [request["args"]["eur"] for request in requests] == [3, 9, 27]
        assert PAID == []
        edited = {"name": "pay", "args": {"name": "ben", "eur": 8}}
        decisions = [
            {"type": "approve"},
            {"type": "edit", "edited_action": edited},
            {"type": "reject", "message": "no"},
        ]
        value = {"decisions": decisions}
        assert await user.answer(conversation, question, value) == 202
        after = await user.follow_to_end(conversation, after=again[-1]["number"])
        assert await user.answer(conversation, question, value) == 409
    assert sorted(PAID) == [("ada", 3), ("ben", 8)]
    named = {item["kind"]: item for item in after}
    assert named["result"]["text"] == (
        "<b>open</b> 3\npaid 3 to ada\npaid 8 to ben\na person rejected pay(): no"
    )
    denied = next(item for item in after if item.get("status") == "denied")
    assert (denied["arguments"], denied["line"]) == ({"name": "eve", "eur": 27}, 3)
    assert (denied["approval"], denied["approved_by"]) == ("reject", cookies["user"])


async def test_a_run_that_is_cut_off_goes_on_in_the_next_server(tmp_path: Path) -> None:
    """What ran when a server ended runs on, without being asked for and without a second effect."""
    code = "print(await look('a'))\nprint(await wait())"
    async with served(build, tmp_path) as address, visitor(address) as user:
        conversation = await user.begin(code)
        await entered.wait()
        cookies = user.client.cookies
    gate.set()
    async with served(build, tmp_path) as address, visitor(address, cookies=cookies) as user:
        items = await user.follow_to_end(conversation)
    assert "taken_up" in kinds(items)
    assert items[-1]["status"] == "done"
    looked = {item["call_id"] for item in items if item.get("tool") == "look"}
    assert len(looked) == 1
    assert next(item for item in items if item["kind"] == "result")["text"] == "1\nwaited"


async def test_an_answer_that_is_not_allowed_is_refused_and_the_question_stays(user: User) -> None:
    """An edit that does not fit the tool does nothing, says why, and can be mended."""
    conversation = await user.begin("print(await pay('ada', 3))")
    first = await user.follow_to_end(conversation)
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"name": "ada", "eur": "x"}}}
    assert await user.answer(conversation, first[-2], {"decisions": [edit]}) == 202
    refused = await user.follow_to_end(conversation, after=first[-1]["number"])
    assert refused[-1]["status"] == "refused"
    assert "eur: Input should be a valid integer" in refused[-1]["text"]
    assert (refused[-2]["kind"], refused[-2]["id"]) == ("question", first[-2]["id"])
    assert PAID == []
    approve = {"decisions": [{"type": "approve"}]}
    assert await user.answer(conversation, refused[-2], approve) == 202
    done = await user.follow_to_end(conversation, after=refused[-1]["number"])
    assert done[-1]["status"] == "done"
    assert PAID == [("ada", 3)]


async def test_a_tool_that_asks_by_itself_gets_the_answer(user: User) -> None:
    """The value of `interrupt()` is shown, and the user's words are what it returns."""
    conversation = await user.begin("print(await ask('When?'))")
    items = await user.follow_to_end(conversation)
    assert items[-2]["value"] == "When?"
    assert await user.answer(conversation, items[-2], "now") == 202
    items = await user.follow_to_end(conversation, after=items[-1]["number"])
    assert next(item for item in items if item["kind"] == "result")["text"] == "now"


async def test_a_conversation_has_one_run_at_a_time(user: User) -> None:
    """While it runs, or waits for an answer, a message is refused; others are not held up."""
    conversation = await user.begin("print(await wait())")
    await entered.wait()
    assert await user.say(conversation, "print(1)") == 409
    other = await user.begin("print(await pay('ada', 3))")
    assert (await user.follow_to_end(other))[-1]["status"] == "waiting"
    assert await user.say(other, "print(1)") == 409
    gate.set()
    await user.follow_to_end(conversation)
    assert await user.say(conversation, "print(2)") == 202
    await user.follow(conversation, lambda item: item.get("text") == "It printed:\n2")


async def test_users_see_their_own_conversations_only(user: User) -> None:
    """The conversations of others do not exist: not in the list, and not by their ids."""
    conversation = await user.begin("print(1)")
    await user.follow_to_end(conversation)
    async with visitor(str(user.client.base_url)) as other:
        assert (await other.client.get("/conversations")).json()["conversations"] == []
        assert await other.say(conversation, "print(2)") == 404
        assert await other.answer(conversation, {"id": "x"}, "y") == 404
        events = await other.client.get(f"/conversations/{conversation}/events")
        assert events.status_code == 404
    mine = (await user.client.get("/conversations")).json()["conversations"]
    assert mine == [{"id": conversation, "title": "print(1)"}]
    async with httpx.AsyncClient(base_url=user.client.base_url) as nobody:
        assert (await nobody.get("/conversations")).status_code == 401
        foreign = await nobody.get("/", headers={"Host": "attacker.example"})
        assert foreign.status_code == 400


async def test_a_server_stops_while_pages_are_open(tmp_path: Path) -> None:
    """A stream ends when its server is to stop, so that the server does not wait for it."""
    async with AsyncExitStack() as stack:
        async with served(build, tmp_path) as address:
            user = await stack.enter_async_context(visitor(address))
            conversation = await user.begin("print(1)")
            await user.follow_to_end(conversation)
            seen = asyncio.Event()
            follower = asyncio.create_task(user.follow(conversation, lambda _: bool(seen.set())))
            await seen.wait()
        with pytest.raises(AssertionError, match="the stream ended"):
            await follower


async def test_a_failure_says_its_kind_and_no_more(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    """The page gets the name of the exception; the server's log has the rest."""
    items = await user.follow_to_end(await user.begin("fail"))
    assert (items[-1]["status"], items[-1]["text"]) == ("failed", "ValueError")
    assert "a secret of the server" in caplog.text


def test_a_draft_has_the_code_as_far_as_it_is_written() -> None:
    """Each state of a program that is being written is a beginning of it, and the last is all of it."""
    draft, states = Draft("m"), []
    arguments = '{"code": "print(\\"a\\")\\nprint(2)\\n"}'
    for start in range(0, len(arguments), 3):
        piece = ToolCallChunk(
            name=None, args=arguments[start : start + 3], id=None, index=0, type="tool_call_chunk"
        )
        draft.add(AIMessageChunk("", tool_call_chunks=[piece]))
        states += draft.view()["code"]
    whole = 'print("a")\nprint(2)\n'
    assert all(whole.startswith(state) for state in states)
    assert sorted(states, key=len) == states
    assert states[-1] == whole


async def test_the_page_runs_its_own_script_and_shows_text(user: User) -> None:
    """The policy admits the one script and the one style of the page, which has no way to set HTML."""
    answer = await user.client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    for kind in ("script", "style"):
        (found,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    for directive in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert directive in policy
    page = PAGE.read_text("utf-8")
    ways = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|srcdoc|DOMParser"
    )
    assert re.findall(ways, page) == []
    assert re.findall(r"(?:src|href)=(?!\"data:)|https?:|@import|url\(", page) == []


def test_a_port_that_is_taken_is_told_before_anything_is_touched(tmp_path: Path) -> None:
    """A second server names the port and the option, and does not take up the runs of the first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port}: .*; pass another --port"):
            main(["--port", str(port), "--data", str(tmp_path / "data")])
    assert not (tmp_path / "data").exists()


def test_what_is_copied_for_an_own_agent_knows_nothing_of_the_example() -> None:
    """The files that docs/web-service.md says to copy import neither the example nor the repository."""
    copied = {path.name for path in PAGE.parent.glob("*.py")} - {"agent.py", "__main__.py"}
    assert copied == {"__init__.py", "app.py", "log.py", "runs.py"}
    for name in copied:
        text = (PAGE.parent / name).read_text("utf-8")
        assert not re.search(
            r"^\s*(from|import) (examples|langchain_ptc|tests)\b", text, re.MULTILINE
        )


async def test_the_agent_of_the_example_answers_its_questions(tmp_path: Path) -> None:
    """Both questions run the scripted programs; reminders wait for a person, and are sent once."""
    model = scripted_model().model_copy(update={"seconds_per_call": 0.0, "tokens_per_second": None})
    async with (
        served(lambda saver: build_agent(model, tmp_path, saver), tmp_path) as address,
        visitor(address) as user,
    ):
        first, second = [await user.begin(text) for text in SUGGESTIONS]
        ended = await user.follow_to_end(first)
        assert "Carla Weber: 1118.53" in ended[-2]["text"]
        waiting = await user.follow_to_end(second)
        requests = waiting[-2]["value"]["action_requests"]
        assert len(requests) == 8
        value = {"decisions": [{"type": "approve"}] * 8}
        assert await user.answer(second, waiting[-2], value) == 202
        ended = await user.follow_to_end(second, after=waiting[-1]["number"])
    assert "sent to carla.weber@example.com" in ended[-2]["text"]
    assert {found.name for found in build_company_tools(tmp_path)} >= {"get_expenses"}
