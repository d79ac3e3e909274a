"""What happened in each conversation, in SQLite: what a page shows after a reload, or a restart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiosqlite

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, title TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS conversations_of_user ON conversations (user);
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL, item TEXT NOT NULL, runs INTEGER
);
CREATE INDEX IF NOT EXISTS items_of_conversation ON items (conversation, number);
"""

_RUNNING = """
SELECT id, user, title FROM conversations JOIN items ON conversation = id
WHERE runs AND number IN (
    SELECT MAX(number) FROM items WHERE runs IS NOT NULL GROUP BY conversation
)
"""

Item = dict[str, Any]
"""Something that happened: plain JSON with a `kind`."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One thread of the agent, and whose it is."""

    id: str
    user: str
    title: str


class Log:
    """The conversations and their items; made by `open`.

    Args:
        connection: A database with its tables.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """Open the log in a file, which is made if there is none."""
        async with aiosqlite.connect(path, isolation_level=None) as connection:
            await connection.executescript(_SCHEMA)
            yield cls(connection)

    async def begin(self, conversation: Conversation) -> None:
        """Add a conversation."""
        await self._connection.execute(
            "INSERT INTO conversations VALUES (?, ?, ?)",
            (conversation.id, conversation.user, conversation.title),
        )

    async def find(self, identifier: str) -> Conversation | None:
        """Return a conversation; None if there is none with this id."""
        found = await self._read(
            "SELECT id, user, title FROM conversations WHERE id = ?", (identifier,)
        )
        return Conversation(*found[0]) if found else None

    async def of_user(self, user: str) -> list[Conversation]:
        """Return the conversations of a user, newest first."""
        rows = await self._read(
            "SELECT id, user, title FROM conversations WHERE user = ? ORDER BY rowid DESC", (user,)
        )
        return [Conversation(*row) for row in rows]

    async def running(self) -> list[Conversation]:
        """Return the conversations whose run has not ended."""
        rows = await self._read(_RUNNING, ())
        return [Conversation(*row) for row in rows]

    async def add(self, conversation: str, item: Item, *, runs: bool | None = None) -> None:
        """Add an item.

        Args:
            conversation: Id of the conversation.
            item: What happened.
            runs: Whether a run has begun or ended with it: a new process takes up what runs.
        """
        # One statement: cancelling it leaves no transaction open.
        await self._connection.execute(
            "INSERT INTO items (conversation, item, runs) VALUES (?, ?, ?)",
            (conversation, json.dumps(item, ensure_ascii=False), runs),
        )

    async def items(self, conversation: str, *, after: int = 0) -> list[tuple[int, Item]]:
        """Return the items of a conversation in order, each with its number.

        Args:
            conversation: Its id.
            after: The number of the last item that is known already.
        """
        rows = await self._read(
            "SELECT number, item FROM items WHERE conversation = ? AND number > ? ORDER BY number",
            (conversation, after),
        )
        return [(number, json.loads(item)) for number, item in rows]

    async def _read(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return list(await self._connection.execute_fetchall(statement, values))
