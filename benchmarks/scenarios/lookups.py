"""A single look-up, and a task of two calls: where there is nothing to loop over."""

from __future__ import annotations

import random
from typing import TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql


class Order(TypedDict):
    """An order."""

    id: str
    customer: str
    total: float
    status: str
    carrier: str


class Account(TypedDict):
    """A bank account."""

    id: str
    holder: str
    balance: float
    currency: str


LOOKUP = """\
order = await get_order(order_id="O-7")
print(f"{order['status']}, {order['carrier']}")
"""
TWO_CALLS = """\
import asyncio

a, b = await asyncio.gather(get_account(account_id="A-3"), get_account(account_id="A-8"))
if a["balance"] < b["balance"]:
    a, b = b, a
print(f"{a['id']}: {a['balance'] - b['balance']:.2f}")
"""


def build_lookup(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tool and task over so many orders, of which one is asked for."""
    rng = random.Random(f"lookup {rows}")
    orders: list[Order] = [
        {
            "id": f"O-{number}",
            "customer": f"Customer {rng.randint(1, 80)}",
            "total": round(rng.lognormvariate(4, 1), 2),
            "status": rng.choice(("open", "shipped", "delivered")),
            "carrier": rng.choice(("DHL", "UPS", "GLS")),
        }
        for number in range(1, rows + 1)
    ]

    @tool
    async def get_order(order_id: str) -> Order:
        """Get an order by its id."""
        return orders[int(order_id[2:]) - 1]

    def answer(found: Found) -> str:
        order = found.get("get_order", order_id="O-7")
        return f"{order['status']}, {order['carrier']}"

    [truth] = ask_sql({"orders": orders}, "SELECT status, carrier FROM orders WHERE id = 'O-7'")
    task = Task(
        name="lookup",
        title="A single look-up",
        question="What is the status of order O-7, and who carries it? Answer `status, carrier`.",
        plan=lambda _: [("get_order", {"order_id": "O-7"})],
        answer=answer,
        program=LOOKUP,
        truth=", ".join(truth),
    )
    return [get_order], task


def build_two_calls(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tool and task over so many accounts, of which two are asked for."""
    rng = random.Random(f"accounts {rows}")
    accounts: list[Account] = [
        {
            "id": f"A-{number}",
            "holder": f"Customer {rng.randint(1, 80)}",
            "balance": round(rng.lognormvariate(7, 1), 2),
            "currency": "EUR",
        }
        for number in range(1, rows + 1)
    ]
    both: list[Request] = [("get_account", {"account_id": name}) for name in ("A-3", "A-8")]

    @tool
    async def get_account(account_id: str) -> Account:
        """Get a bank account by its id."""
        return accounts[int(account_id[2:]) - 1]

    def answer(found: Found) -> str:
        first, second = (found.get(name, **args) for name, args in both)
        more = first if first["balance"] > second["balance"] else second
        return f"{more['id']}: {abs(first['balance'] - second['balance']):.2f}"

    [truth] = ask_sql(
        {"accounts": accounts},
        "SELECT id, balance - LEAD(balance) OVER (ORDER BY balance DESC) FROM accounts "
        "WHERE id IN ('A-3', 'A-8') ORDER BY balance DESC LIMIT 1",
    )
    task = Task(
        name="two_calls",
        title="A two-call task",
        question="Which of the accounts A-3 and A-8 has more, and how much more? Answer "
        "`account: amount`, two decimals.",
        plan=lambda _: both,
        answer=answer,
        program=TWO_CALLS,
        truth=f"{truth[0]}: {truth[1]:.2f}",
    )
    return [get_account], task
