"""The tools of the programs of `benchmarks.prefetch`, and how a model writes these: the standard library only."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from itertools import accumulate
from typing import Any

CHARS_PER_TOKEN = 4

Tool = Callable[..., Coroutine[Any, Any, Any]]


def define_functions(latency: float, made: list[str]) -> list[Tool]:
    """Return functions that take `latency` seconds and note their calls; all but `pay` are read-only."""

    async def answer(name: str, *given: object) -> list[dict[str, Any]]:
        made.append(name)
        await asyncio.sleep(latency)
        seed = sum(map(ord, repr(given)))
        return [
            {
                "id": n,
                "name": person,
                "kind": "travel" if n % 2 == 0 else "food",
                "amount": 100.0 + (seed * (n + 3)) % 900,
            }
            for n, person in enumerate(["ada", "grace", "linus", "ken", "dennis"])
        ]

    async def get_orders(person: str, quarter: str) -> list[dict[str, Any]]:
        """Return the orders of a person."""
        return await answer("get_orders", person, quarter)

    async def get_prices(currency: str) -> list[dict[str, Any]]:
        """Return prices."""
        return await answer("get_prices", currency)

    async def get_limits(kind: str) -> list[dict[str, Any]]:
        """Return limits."""
        return await answer("get_limits", kind)

    async def get_team(name: str) -> list[dict[str, Any]]:
        """Return the members of a team."""
        return await answer("get_team", name)

    async def get_detail(id: int) -> list[dict[str, Any]]:
        """Return the details of an order."""
        return await answer("get_detail", id)

    async def pay(person: str, amount: float) -> str:
        """Pay an amount to a person."""
        await answer("pay", person, amount)
        return "paid"

    return [get_orders, get_prices, get_limits, get_team, get_detail, pay]


def split_into_tokens(code: str) -> list[tuple[str, str]]:
    """Return the tokens in which a model writes a call with code: as JSON, and the code that each completes."""
    encoded = json.dumps({"code": code})
    lengths = (len(json.dumps(character)) - 2 for character in code)
    ends = list(accumulate(lengths, initial=encoded.index(":") + 3))
    tokens, done = [], 0
    for at in range(0, len(encoded), CHARS_PER_TOKEN):
        there = max(bisect_right(ends, at + CHARS_PER_TOKEN) - 1, 0)
        tokens.append((encoded[at : at + CHARS_PER_TOKEN], code[done:there]))
        done = there
    return tokens
