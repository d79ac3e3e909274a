"""An agent that means harm, or is broken, harms no more than the calls of agents."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("a2a", reason="pip install 'langchain-ptc[a2a]'")
pytest.importorskip("sse_starlette", reason="pip install 'a2a-sdk[http-server]'")

from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from langchain_ptc import CatalogError, Limits, ProgrammaticToolExecutor, ToolCatalog
from langchain_ptc.catalog import a2a
from tests.support.a2a_agents import Served, make_card

TASK = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
DONE = {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}
MEBIBYTE = 1024 * 1024


def event(result: Any) -> bytes:
    return (
        b"data: " + json.dumps({"jsonrpc": "2.0", "id": "1", "result": result}).encode() + b"\n\n"
    )


def stream(*results: Any) -> Response:
    """Return a stream of events."""

    async def send() -> AsyncIterator[bytes]:
        for result in results:
            yield event(result)

    return StreamingResponse(send(), media_type="text/event-stream")


def endless(chunk: bytes) -> Response:
    """Return a stream that does not end: at least far more than is read."""

    async def send() -> AsyncIterator[bytes]:
        yield event({"task": TASK})
        for _ in range(100 * MEBIBYTE // len(chunk)):
            yield chunk

    return StreamingResponse(send(), media_type="text/event-stream")


def artifact(part: dict[str, Any]) -> dict[str, Any]:
    update = {"taskId": "t", "contextId": "c", "artifact": {"artifactId": "a", "parts": [part]}}
    return {"artifactUpdate": update}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def zipped() -> Response:
    body = gzip.compress(event({"task": TASK}) + b" " * 50 * MEBIBYTE)
    return Response(body, headers={"content-encoding": "gzip"}, media_type="text/event-stream")


ANSWERS: dict[str, tuple[Callable[[], Response], str]] = {
    "no JSON": (lambda: Response(b"<html>", media_type="application/json"), "cannot be asked: "),
    "a list": (lambda: JSONResponse([1]), "cannot be asked: "),
    "nothing": (lambda: stream(), "answered with nothing"),
    "an empty event": (lambda: stream({}), "answered with nothing"),
    "no id": (
        lambda: stream({"task": {**TASK, "id": ""}}),
        "answered with nothing",
    ),
    "an endless id": (
        lambda: stream({"task": {**TASK, "id": "x" * MEBIBYTE}}),
        "answered about the task 'xxxx",
    ),
    "another task": (
        lambda: stream({"task": TASK}, {"statusUpdate": {**DONE, "taskId": "other"}}),
        "answered about the task 'other' in place of 't'",
    ),
    "wrong types": (
        lambda: stream({"task": {**TASK, "history": 3}}),
        "cannot be asked: ParseError",
    ),
    "an unknown state": (
        lambda: stream({"task": {**TASK, "status": {"state": "TASK_STATE_LOST"}}}),
        "no such task",
    ),
    "deep data": (
        lambda: stream({"task": TASK}, artifact({"data": nested(500)})),
        "was given a task, and cannot be asked for it: ",
    ),
    "very deep data": (
        lambda: Response(
            event({"task": TASK}) + b'data: {"result": ' + b"[" * 100_000 + b"\n\n",
            media_type="text/event-stream",
        ),
        "was given a task, and cannot be asked for it: ",
    ),
    "not a number": (
        lambda: Response(
            b'data: {"jsonrpc": "2.0", "id": 1, "result": {"message": {"parts": [{"data": NaN}]}}}\n\n',
            media_type="text/event-stream",
        ),
        "",
    ),
    "an endless line": (lambda: endless(b"x" * 65_536), "more than 8,388,608 bytes"),
    "endless events": (
        lambda: endless(event(artifact({"text": "x" * 60_000}))),
        "more than 8,388,608 bytes",
    ),
    "empty events": (lambda: endless(event({}) * 1_000), "sent more than 2,000 events"),
    "a compressed answer": (zipped, "a compressed response was not asked for"),
    "a redirect": (lambda: RedirectResponse("http://169.254.169.254/secrets"), "HTTP Error 307"),
    "an error": (
        lambda: JSONResponse({"error": {"code": -1, "message": "\u202eno\x1b[31m" * 100_000}}),
        "cannot be asked: JSON-RPC Error -1: no[31mno",
    ),
}


class Liar:
    """Answers the next message with `answer`, and everything else with an error."""

    def __init__(self) -> None:
        self.answer: Callable[[], Response] = lambda: Response(status_code=500)
        self.methods: list[str] = []
        self.card: Any = None

    def build(self, url: str) -> Starlette:
        self.card = MessageToDict(make_card(url))
        return Starlette(
            routes=[
                Route("/rpc", self._rpc, methods=["POST"]),
                Route("/.well-known/agent-card.json", lambda _: self._card()),
            ]
        )

    def _card(self) -> Response:
        return self.card if isinstance(self.card, Response) else JSONResponse(self.card)

    async def _rpc(self, request: Request) -> Response:
        asked = await request.json()
        self.methods.append(asked["method"])
        if asked["method"] == "SendStreamingMessage":
            return self.answer()
        error = {"code": -32001, "message": "no such task"}
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": error})


@pytest.fixture
def liar() -> Iterator[tuple[Liar, Served]]:
    """The agent, and its server."""
    agent = Liar()
    server = Served(agent.build)
    yield agent, server
    server.stop()


CODE = """
try:
    print(await ask("x"))
except ToolCallError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers(
    liar: tuple[Liar, Served], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever an agent answers, its call ends with a short error, and memory stays bounded."""
    monkeypatch.setattr(a2a, "MAX_EVENTS", 2_000)
    agent, server = liar
    catalog = await ToolCatalog.from_a2a({"liar": server.url})
    agent.answer, why = ANSWERS[name]
    executor = ProgrammaticToolExecutor(catalog, limits=Limits(tool_seconds=20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    told = (await executor.aexecute(CODE)).report()
    assert time.monotonic() - began < 20
    assert why in told
    assert "limit tool_seconds" not in told
    assert len(told) < 2_500
    assert told.replace("\n", "").isprintable()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024  # KiB


async def test_the_event_loop_goes_on(liar: tuple[Liar, Served]) -> None:
    """What takes seconds to parse is parsed while the caller's event loop does other things."""
    agent, server = liar
    many = artifact({"data": [1] * 400_000})
    agent.answer = lambda: stream({"task": TASK}, many, {"statusUpdate": DONE})
    catalog = await ToolCatalog.from_a2a({"liar": server.url})
    executor = ProgrammaticToolExecutor(catalog, limits=Limits(tool_seconds=60))
    asked = asyncio.create_task(executor.aexecute('print(len((await ask("x")).data[0]))'))
    steps = 0
    while not asked.done():
        steps += 1
        await asyncio.sleep(0.01)
    assert (await asked).report() == "400000"
    assert steps > 20


async def test_a_stream_that_says_nothing(liar: tuple[Liar, Served]) -> None:
    """A stream without an end is cut at the limit of the call."""
    agent, server = liar

    async def send() -> AsyncIterator[bytes]:
        yield event({"task": TASK})
        await asyncio.sleep(3600)

    agent.answer = lambda: StreamingResponse(send(), media_type="text/event-stream")
    catalog = await ToolCatalog.from_a2a({"liar": server.url})
    executor = ProgrammaticToolExecutor(catalog, limits=Limits(tool_seconds=1))
    assert "(limit tool_seconds)" in (await executor.aexecute(CODE)).report()
    assert agent.methods == ["SendStreamingMessage", "CancelTask"]


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (Response(b"<html>"), "Failed to parse JSON"),
        (JSONResponse([1]), "Agent card must be a JSON object"),
        (JSONResponse({"name": 3}), "Failed to validate agent card"),
        (JSONResponse({"name": "x"}), "no compatible transports found"),
        (Response(b" " * 20 * MEBIBYTE), "a response of more than 8,388,608 bytes"),
        (RedirectResponse("http://169.254.169.254/"), "HTTP 307"),
    ],
    ids=["HTML", "a list", "wrong types", "no interface", "too large", "a redirect"],
)
async def test_cards(liar: tuple[Liar, Served], card: Response, why: str) -> None:
    """A card that is none is an error which names the agent."""
    agent, server = liar
    agent.card = card
    with pytest.raises(CatalogError, match="the A2A agent 'liar' cannot be used") as caught:
        await ToolCatalog.from_a2a({"liar": server.url})
    assert why in str(caught.value)


async def test_a_card_that_does_not_come(liar: tuple[Liar, Served]) -> None:
    """A card is waited for as long as was said."""

    async def send() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    agent, server = liar
    agent.card = StreamingResponse(send())
    with pytest.raises(CatalogError, match="TimeoutError: no answer in time"):
        await ToolCatalog.from_a2a({"liar": server.url}, connect_seconds=0.3)
