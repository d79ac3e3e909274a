"""Agents over A2A as functions of code, against the server of `a2a-sdk`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("a2a", reason="pip install 'langchain-ptc[a2a]'")
pytest.importorskip("sse_starlette", reason="pip install 'a2a-sdk[http-server]'")

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict
from langchain_core.tools import tool

from langchain_ptc import (
    CatalogError,
    Limits,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.catalog.a2a import describe
from tests.support import SUPPORT
from tests.support.a2a_agents import Scripted, Served, make_card, only, serve

logging.getLogger("a2a").setLevel(logging.CRITICAL)


async def run(catalog: ToolCatalog, code: str, **options: Any) -> str:
    """Run code and return what it printed; the code runs in a graph without a checkpointer or in none."""
    result = await ProgrammaticToolExecutor(catalog, **options).aexecute(code)
    return result.report()


def asking(*messages: str) -> str:
    """Return code that asks and prints what came of it."""
    return "\n".join(
        f"""
try:
    print(await ask({message!r}))
except ToolCallError as error:
    print(error)
"""
        for message in messages
    )


async def test_a_stub_says_what_the_card_says(server: Served) -> None:
    """The model reads a typed function, with the agent's description, skills and examples."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    assert catalog.names == ("research.ask",)
    assert catalog["ask_research"] is catalog["research.ask"]
    stub = catalog.describe("research.ask")
    assert "async def ask(" in stub
    assert ") -> A2AAnswer:" in stub
    assert "Ask the agent Researcher: Finds things out." in stub
    assert "- papers: Reads papers. For example: 'What is new on quasars?'" in stub
    assert "Read-only" not in stub
    assert not catalog["research.ask"].policy.read_only


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_an_answer_in_parts(server: Served, binding: str, version: str) -> None:
    """Streamed text is joined; data, files and where they are come as values, over each protocol."""
    catalog = await ToolCatalog.from_a2a({"research": only(server.card, binding, version)})
    code = """
answer = await ask("stream", data={"k": [1]}, files=[{"name": "x", "data": b"y"}])
print(answer.text, answer.data, answer.state, len(answer.context) > 0)
for file in answer.files: print(file)
"""
    assert (await run(catalog, code)).splitlines() == [
        "one and two [{'deep': [None, True], 'n': 3, 'x': 0.5}, [1]] completed True",
        "{'name': 'a.png', 'media_type': 'image/png', 'data': b'\\x00\\x01'}",
        "{'name': 'b', 'media_type': 'text/plain', 'url': 'https://example.org/b'}",
    ]


async def test_what_the_agent_gets(server: Served, agent: Scripted) -> None:
    """Data and files reach the agent as parts, and the id of the call as the id of the message."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    code = (
        'await ask("hi", {"k": [1, None]}, [{"name": "x", "data": b"y"}, {"url": "https://e.org"}])'
    )
    result = await ProgrammaticToolExecutor(catalog).aexecute(code)
    text, data, file, link = agent.parts[0]
    assert text.text == "hi"
    assert MessageToDict(data) == {"data": {"k": [1.0, None]}}
    assert (file.filename, file.raw, link.url) == ("x", b"y", "https://e.org")
    assert agent.messages == [(result.tool_calls[0].call_id, "hi")]


async def test_a_conversation_goes_on(server: Served, agent: Scripted) -> None:
    """`context=` of an earlier answer continues its conversation, and without it there is a new one."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    code = """
first = await ask("one")
await ask("two", context=first.context)
print((await ask("three")).state)
"""
    assert await run(catalog, code) == "completed"
    first, second, third = agent.contexts
    assert first == second != third


async def test_an_answer_without_a_task(server: Served) -> None:
    """An agent may answer at once, with a message."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    assert (
        await run(catalog, 'a = await ask("message")\nprint(a.text, a.state)') == "no task message"
    )


async def test_an_answer_in_the_status(server: Served) -> None:
    """An agent without artifacts has its answer in the message of the last status."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    assert await run(catalog, 'print((await ask("status")).text)') == "in the status"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("fail", "failed: out of paper"),
        ("crash", "failed"),
        ("reject", "rejected the task: not my job"),
        (
            "auth",
            "requires an authorization that this client does not have: log in at https://x",
        ),
        ("give_up", "canceled the task: changed my mind"),
        (
            "ask colour",
            "asks 'which colour?', and nobody can answer here; run the code in a graph with a checkpointer",
        ),
    ],
)
async def test_a_task_that_is_not_completed(server: Served, message: str, why: str) -> None:
    """What did not complete is an error of the code, in the agent's words."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    told = await run(catalog, asking(message))
    assert told == f"research.ask failed: the agent 'research' {why}"


@pytest.mark.parametrize("message", ["auth", "ask colour"])
async def test_nothing_is_left_waiting(server: Served, agent: Scripted, message: str) -> None:
    """A task that waits for what it cannot get is cancelled."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    await run(catalog, asking(message))
    assert len(agent.cancelled) == 1


async def test_words_of_an_agent_are_bounded_and_cleaned(server: Served) -> None:
    """An error has the beginning of what an agent says, without characters that hide or reorder text."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    told = await run(catalog, asking("fail " + "a\u202eb\x1b[31m " * 10_000))
    assert "\u202e" not in told
    assert "\x1b" not in told
    assert len(told) < 2_100


async def test_progress_is_an_event(server: Served) -> None:
    """What the agent says of its work is emitted between the start and the end of the call."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    events: list[Any] = []
    await run(catalog, asking("stream"), on_event=events.append)
    names = [event["event"] for event in events]
    assert names.index("call_start") < names.index("call_progress") < names.index("call_end")
    told = [event for event in events if event["event"] == "call_progress"]
    assert [(event["state"], event["text"]) for event in told] == [
        ("submitted", ""),
        ("working", "reading"),
        ("completed", ""),
    ]
    start = next(event for event in events if event["event"] == "call_start")
    assert {(e["tool"], e["domain"], e["call_id"]) for e in told} == {
        ("ask", "research", start["call_id"])
    }


async def test_an_agent_that_hangs_is_cancelled(server: Served, agent: Scripted) -> None:
    """At the limit of the call the agent is asked to cancel its task, and the code goes on."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    began = time.monotonic()
    told = await run(catalog, asking("hang"), limits=Limits(tool_seconds=1))
    assert "did not answer within 1 second (limit tool_seconds)" in told
    assert time.monotonic() - began < 6
    assert len(agent.cancelled) == 1


async def test_an_execution_that_is_cancelled_cancels_the_task(
    server: Served, agent: Scripted
) -> None:
    """Cancelling the execution reaches the agent."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    is_known = asyncio.Event()

    def note(event: Any) -> None:
        if event["event"] == "call_progress":
            is_known.set()

    running = asyncio.create_task(run(catalog, asking("hang"), on_event=note))
    await is_known.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert len(agent.cancelled) == 1


async def test_an_agent_that_does_not_stream_is_polled(agent: Scripted) -> None:
    """Without streaming the task is sent once, and asked for until it is done."""
    with serve(agent, streaming=False) as server:
        catalog = await ToolCatalog.from_a2a({"research": server.url})
        running = asyncio.create_task(run(catalog, 'print((await ask("wait x")).text)'))
        while sum(path == "/rpc" for _, path, _ in server.requests) < 3:
            await asyncio.sleep(0.01)
        agent.may_finish.set()
        assert await running == "done: x"
    assert len(agent.messages) == 1


async def test_many_at_once(server: Served, agent: Scripted) -> None:
    """Concurrent calls do not disturb each other."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    code = """
import asyncio
answers = await asyncio.gather(*[ask(f"n {n}") for n in range(20)])
print([a.text for a in answers] == [f"done: {n}" for n in range(20)])
"""
    assert await run(catalog, code) == "True"
    assert len({name for name, _ in agent.messages}) == 20


def test_synchronous_code(server: Served) -> None:
    """A catalog is bound to no event loop: it serves synchronous executions as well."""
    catalog = asyncio.run(ToolCatalog.from_a2a({"research": server.url}))
    executor = ProgrammaticToolExecutor(catalog)
    for _ in range(2):
        assert executor.execute('print(ask("hi you").text)').report() == "done: you"


# --- the catalog ------------------------------------------------------------------------------------


async def test_agents_beside_tools(server: Served) -> None:
    """Agents and tools are in one catalog, and one search finds both."""

    @tool
    def paper_price(title: str) -> int:
        """Look up what a paper costs."""
        return 3

    card = make_card(server.url)
    card.description = "Sells things."
    catalog = await ToolCatalog.from_a2a(
        {"research": server.url, "shop-floor": card},
        tools=[paper_price],
        policies={"research.ask": ToolPolicy(read_only=True)},
    )
    assert catalog.names == ("research.ask", "shop_floor.ask", "paper_price")
    found = [d.qualified_name for d in catalog.search("papers")]
    assert set(found) == {"research.ask", "shop_floor.ask", "paper_price"}
    assert [d.policy.read_only for d in catalog] == [True, False, False]
    again = ToolCatalog([*catalog])  # as `tools=` of `from_mcp` takes it
    assert again.names == catalog.names
    code = 'print((await research.ask("x y")).text, (await shop_floor.ask("x z")).text)'
    assert await run(again, code) == "done: y done: z"


async def test_agents_beside_mcp_servers(server: Served, tmp_path: Path) -> None:
    """Agents go into a catalog of MCP servers, and one search finds both."""
    pytest.importorskip("mcp", reason="pip install 'langchain-ptc[mcp]'")
    listed = {"get_paper": {"result": {"content": [{"type": "text", "text": "a paper"}]}}}
    (tmp_path / "tools.json").write_text(json.dumps(listed))
    args = [str(SUPPORT / "mcp_servers" / "hostile.py"), str(tmp_path / "tools.json")]
    library = {"transport": "stdio", "command": sys.executable, "args": args}
    agents = await ToolCatalog.from_a2a({"research": server.url})
    async with ToolCatalog.from_mcp({"library": library}, tools=[*agents]) as catalog:
        found = {found.qualified_name for found in catalog.search("paper")}
        assert found == {"library.get_paper", "research.ask"}
        assert await run(catalog, 'print(await get_paper(), (await ask("x y")).text)') == (
            "a paper done: y"
        )


async def test_a_client_of_the_user(server: Served) -> None:
    """A client of `a2a-sdk` is used as it is, and stays open."""
    async with httpx.AsyncClient() as http:
        client = ClientFactory(ClientConfig(httpx_client=http)).create(server.card)
        catalog = await ToolCatalog.from_a2a({"research": client})
        for _ in range(2):
            assert await run(catalog, 'print((await ask("x y")).text)') == "done: y"
        assert not http.is_closed


async def test_credentials(server: Served) -> None:
    """Headers and authentication are those of the HTTP client that the user makes, which is closed."""
    made: list[httpx.AsyncClient] = []

    def make() -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(headers={"X-Team": "red"}, auth=("me", "secret")))
        return made[-1]

    catalog = await ToolCatalog.from_a2a({"research": server.url}, make_http_client=make)
    assert await run(catalog, 'print((await ask("x y")).text)') == "done: y"
    assert {headers.get("x-team") for _, _, headers in server.requests} == {"red"}
    assert all("authorization" in headers for _, _, headers in server.requests)
    assert all(client.is_closed for client in made)


async def test_a_card_by_its_own_address(server: Served) -> None:
    """The address of a card does as well as that of the agent."""
    address = f"{server.url}/.well-known/agent-card.json?assistant_id=1"
    catalog = await ToolCatalog.from_a2a({"research": address})
    assert await run(catalog, 'print((await ask("x y")).text)') == "done: y"


async def test_a_card_is_verified(server: Served) -> None:
    """`verify=` sees each card, and what it raises refuses the agent."""
    seen: list[str] = []

    def verify(card: pb.AgentCard) -> None:
        seen.append(card.name)
        if not card.signatures:
            raise ValueError("the card has no signature")

    with pytest.raises(
        CatalogError, match="'research' cannot be used: ValueError: the card has no"
    ):
        await ToolCatalog.from_a2a({"research": server.url}, verify=verify)
    with pytest.raises(CatalogError, match="no signature"):
        await ToolCatalog.from_a2a({"research": server.card}, verify=verify)
    assert seen == ["Researcher", "Researcher"]


async def test_a_card_does_not_choose_who_gets_the_credentials(agent: Scripted) -> None:
    """A card at an address may not send calls elsewhere, unless it is verified or passed by the user."""
    with serve(agent) as elsewhere, serve(agent, interfaces_at=elsewhere.url) as server:
        with pytest.raises(CatalogError, match=r"names only http://127\.0\.0\.1:") as caught:
            await ToolCatalog.from_a2a({"research": server.url})
        assert "pass the card itself if you trust it, or verify=" in str(caught.value)
        catalog = await ToolCatalog.from_a2a({"research": server.url}, verify=lambda card: None)
        assert await run(catalog, 'print((await ask("x y")).text)') == "done: y"
        assert any(path == "/rpc" for _, path, _ in elsewhere.requests)


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (["http://x"], "agents must be a dict of addresses, cards or clients by name, got list"),
        ({"a": 3}, r"agents\['a'\] must be the address of an agent, its card, or a client"),
        (
            {"a": "http://127.0.0.1:1"},
            r"the A2A agent 'a' cannot be used: AgentCardResolutionError",
        ),
        ({"a": pb.AgentCard(name="x")}, "no compatible transports found"),
    ],
)
async def test_what_is_no_agent(agents: Any, message: str) -> None:
    """An error says which agent cannot be used, and why."""
    with pytest.raises(CatalogError, match=message):
        await ToolCatalog.from_a2a(agents)


async def test_a_domain_of_the_same_name(server: Served) -> None:
    """Tools and agents cannot share a domain."""
    with pytest.raises(CatalogError, match="the domain 'a', and so is an agent named; rename one"):
        await ToolCatalog.from_a2a({"a": server.url}, tools={"a": []})


def test_the_description_of_a_card_is_bounded_and_cleaned() -> None:
    """Whatever a card says, its description is short text without characters that hide or reorder."""
    card = pb.AgentCard(name="n\u202e" * 1_000, description="d\x1b[2J " * 100_000)
    for number in range(100):
        skill = card.skills.add(id=str(number), name="s" * 10_000, description="e\u2066" * 10_000)
        skill.examples.extend(["x" * 10_000] * 10)
    text = describe(card)
    assert len(text) <= 1_500
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('"x", {"a": {1, 2}}', "data must be JSON"),
        ('"x", files=[{"name": "a"}]', "each file needs `data`, its bytes, or `url`"),
    ],
)
async def test_arguments_that_cannot_be_sent(
    server: Served, agent: Scripted, arguments: str, why: str
) -> None:
    """What cannot be sent is refused before the agent is asked."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    code = f"try:\n    await ask({arguments})\nexcept ToolCallError as error:\n    print(error)"
    assert why in await run(catalog, code)
    assert not agent.messages
