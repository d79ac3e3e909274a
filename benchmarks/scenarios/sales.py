"""The ten largest sales: one call, and as many rows as there are."""

from __future__ import annotations

import random
from typing import TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql

YEAR = 2025


class Sale(TypedDict):
    """One sale."""

    id: int
    date: str
    region: str
    product: str
    customer: str
    units: int
    revenue: float
    status: str


PROGRAM = f"""\
sales = [s for s in await get_sales(year={YEAR}) if s["status"] == "completed"]
sales.sort(key=lambda s: -s["revenue"])
for s in sales[:10]:
    print(f"{{s['id']}} {{s['customer']}}: {{s['revenue']:.2f}}")
"""


def build_sales(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tools and task over so many sales."""
    rng = random.Random(f"sales {rows}")
    sales: list[Sale] = [
        {
            "id": number,
            "date": f"{YEAR}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            "region": rng.choice(("north", "south", "east", "west")),
            "product": f"P-{rng.randint(100, 140)}",
            "customer": f"Customer {rng.randint(1, 80)}",
            "units": rng.randint(1, 60),
            "revenue": round(rng.lognormvariate(7, 1.1), 2),
            "status": rng.choices(("completed", "open", "returned"), (8, 1, 1))[0],
        }
        for number in range(1, rows + 1)
    ]

    @tool
    async def get_sales(year: int) -> list[Sale]:
        """Get every sale of a year, in the order in which they were booked; revenue in EUR."""
        return sales if year == YEAR else []

    truth = ask_sql(
        {"sales": sales},
        "SELECT id, customer, revenue FROM sales WHERE status = 'completed' "
        "ORDER BY revenue DESC LIMIT 10",
    )
    task = Task(
        name="sales",
        title="Top-10 sales",
        question=f"Which were the ten largest completed sales of {YEAR} by revenue? One line for "
        "each, `id customer: revenue`, two decimals, the largest first, and nothing else.",
        plan=_plan,
        answer=_answer,
        program=PROGRAM,
        truth="\n".join(f"{number} {customer}: {total:.2f}" for number, customer, total in truth),
    )
    return [get_sales], task


def _plan(_: Found) -> list[Request]:
    return [("get_sales", {"year": YEAR})]


def _answer(found: Found) -> str:
    best: list[Sale] = []
    for sale in found.get("get_sales", year=YEAR):
        if sale["status"] == "completed":
            best = sorted([*best, sale], key=lambda s: s["revenue"], reverse=True)[:10]
    return "\n".join(f"{s['id']} {s['customer']}: {s['revenue']:.2f}" for s in best)
