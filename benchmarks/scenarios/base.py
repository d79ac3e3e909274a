"""What a task is: a question, what a careful model does with it either way, and the true answer.

Nothing here knows the answer. Called directly, the model is `plan` and `answer`: what it asks for
next, and what it makes of all that it has read. Called programmatically, it is `program`. The truth
comes from SQL over the same rows, and shares no code with either.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Request = tuple[str, Mapping[str, Any]]
"""Name and arguments of a tool call."""


def key_of(name: str, args: Mapping[str, Any]) -> str:
    """Name a call by what it asks, so that its result can be found again."""
    return f"{name} {json.dumps(args, sort_keys=True)}"


class Found:
    """The results that a conversation holds.

    Args:
        results: Results by the `key_of` their calls.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        self._results = results

    def get(self, name: str, /, **args: Any) -> Any:
        """Return what a call returned, or None if it was not made yet."""
        return self._results.get(key_of(name, args))

    def has(self, request: Request) -> bool:
        """Whether a call was made."""
        return key_of(*request) in self._results


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A question over some rows."""

    name: str
    title: str
    question: str
    plan: Callable[[Found], list[Request]]
    """Every call that the question needs, as far as it is known from what was found."""
    answer: Callable[[Found], str]
    program: str
    truth: str


def ask_sql(tables: Mapping[str, Sequence[Row]], statement: str) -> list[tuple[Any, ...]]:
    """Ask SQLite about rows.

    Args:
        tables: Rows by the name of their table; the columns are the keys of the first row.
        statement: One statement.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        for name, rows in tables.items():
            columns = list(rows[0])
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO {name} VALUES ({marks})",
                [[row[column] for column in columns] for row in rows],
            )
        return connection.execute(statement).fetchall()
