"""The web service of the examples, started for tests, and a user of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from examples.web.app import BuildAgent, Server, create_app

Item = dict[str, Any]


@asynccontextmanager
async def served(build_agent: BuildAgent, folder: Path) -> AsyncIterator[str]:
    """Serve an agent in this process, with its databases in `folder`; yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(build_agent, data=folder)
    server = Server(app, log_level="error")
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.stop()
        await task
        listening.close()


class User:
    """A user's browser: its cookie, and the events that it reads.

    Args:
        client: With the address of a service.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def begin(self, text: str) -> str:
        """Begin a conversation; return its id."""
        answer = await self.client.post("/conversations", json={"text": text})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def say(self, conversation: str, text: str) -> int:
        """Say something more; return the status code."""
        path = f"/conversations/{conversation}/messages"
        return (await self.client.post(path, json={"text": text})).status_code

    async def answer(self, conversation: str, question: Item, value: Any) -> int:
        """Answer a question; return the status code."""
        path = f"/conversations/{conversation}/answers"
        body = {"question": question["id"], "value": value}
        return (await self.client.post(path, json=body)).status_code

    async def follow(
        self, conversation: str, until: Callable[[Item], bool], *, after: int = 0
    ) -> list[Item]:
        """Read events up to the first for which `until` holds; each has its `number`."""
        items: list[Item] = []
        number: int | None = None
        path = f"/conversations/{conversation}/events"
        headers = {"Last-Event-ID": str(after)}
        async with self.client.stream("GET", path, headers=headers, timeout=60) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "data":
                    items.append(json.loads(value))
                elif field == "id":
                    number = int(value)
                elif not line and items and "number" not in items[-1]:
                    items[-1]["number"] = number
                    number = None
                    if until(items[-1]):
                        return items
        raise AssertionError(f"the stream ended: {items}")

    async def follow_to_end(self, conversation: str, *, after: int = 0) -> list[Item]:
        """Read events up to the end of a run."""
        return await self.follow(conversation, lambda item: item["kind"] == "end", after=after)


@asynccontextmanager
async def visitor(address: str, *, cookies: httpx.Cookies | None = None) -> AsyncIterator[User]:
    """Open the page as a new user, or as one that was there before."""
    async with httpx.AsyncClient(base_url=address, cookies=cookies) as client:
        page = await client.get("/")
        assert page.status_code == 200
        yield User(client)
