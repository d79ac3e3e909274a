"""Forty-five members: who went over the travel budget? One call for the team, one for each member."""

from __future__ import annotations

import random
from typing import TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql

MEMBERS = 45
DEPARTMENT, QUARTER = "engineering", "Q3"


class Member(TypedDict):
    """A person in a team."""

    id: str
    name: str
    level: str
    travel_budget: float


class Expense(TypedDict):
    """One line of an expense report."""

    id: int
    date: str
    category: str
    amount: float
    status: str
    merchant: str


PROGRAM = f"""\
import asyncio

members = await get_team_members(department="{DEPARTMENT}")
reports = await asyncio.gather(
    *[get_expenses(member_id=m["id"], quarter="{QUARTER}") for m in members]
)
over = []
for member, lines in zip(members, reports):
    spent = sum(
        x["amount"] for x in lines if x["category"] == "travel" and x["status"] == "approved"
    )
    if spent > member["travel_budget"]:
        over.append((spent - member["travel_budget"], member["name"]))
for amount, name in sorted(over, reverse=True):
    print(f"{{name}}: {{amount:.2f}}")
"""


def build_expenses(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tools and task over so many expense lines, dealt to 45 people."""
    rng = random.Random(f"expenses {rows}")
    mean = max(rows / MEMBERS * 140, 200)
    members: list[Member] = [
        {
            "id": f"m{number}",
            "name": f"Member {number}",
            "level": rng.choice(("junior", "senior", "staff")),
            "travel_budget": round(mean * rng.uniform(0.5, 1.6), -1),
        }
        for number in range(1, MEMBERS + 1)
    ]
    lines = [(rng.choice(members)["id"], _make_line(rng, number)) for number in range(1, rows + 1)]

    @tool
    async def get_team_members(department: str) -> list[Member]:
        """List the people of a department, each with the travel budget for one quarter in EUR."""
        return members if department == DEPARTMENT else []

    @tool
    async def get_expenses(member_id: str, quarter: str) -> list[Expense]:
        """Get a person's expense lines of a quarter such as 'Q3', of every category, in EUR.

        Towards a budget count only lines with status `approved`.
        """
        return [line for owner, line in lines if owner == member_id and quarter == QUARTER]

    truth = ask_sql(
        {"members": members, "lines": [{"owner": owner, **line} for owner, line in lines]},
        """
        SELECT name, SUM(amount) - travel_budget AS over
        FROM members JOIN lines ON owner = members.id
        WHERE category = 'travel' AND status = 'approved'
        GROUP BY members.id HAVING over > 0 ORDER BY over DESC
        """,
    )
    task = Task(
        name="expenses",
        title="45-member expense review",
        question=f"Who in {DEPARTMENT} went over their travel budget in {QUARTER}, and by how much? "
        "One line for each, `name: amount`, two decimals, the largest first, and nothing else.",
        plan=_plan,
        answer=_answer,
        program=PROGRAM,
        truth="\n".join(f"{name}: {over:.2f}" for name, over in truth),
    )
    return [get_team_members, get_expenses], task


def _make_line(rng: random.Random, number: int) -> Expense:
    return {
        "id": number,
        "date": f"2025-{rng.randint(7, 9):02}-{rng.randint(1, 28):02}",
        "category": rng.choices(("travel", "meals", "software", "equipment"), (5, 3, 1, 1))[0],
        "amount": round(rng.lognormvariate(5.4, 0.8), 2),
        "status": rng.choices(("approved", "pending", "rejected"), (8, 1, 1))[0],
        "merchant": rng.choice(("Deutsche Bahn", "Lufthansa", "Hotel Adler", "Cafe Central")),
    }


def _plan(found: Found) -> list[Request]:
    members = found.get("get_team_members", department=DEPARTMENT) or []
    return [
        ("get_team_members", {"department": DEPARTMENT}),
        *[("get_expenses", {"member_id": m["id"], "quarter": QUARTER}) for m in members],
    ]


def _answer(found: Found) -> str:
    over: dict[str, float] = {}
    for member in found.get("get_team_members", department=DEPARTMENT):
        spent = 0.0
        for line in found.get("get_expenses", member_id=member["id"], quarter=QUARTER):
            if (line["category"], line["status"]) == ("travel", "approved"):
                spent += line["amount"]
        if spent > member["travel_budget"]:
            over[member["name"]] = spent - member["travel_budget"]
    return "\n".join(f"{name}: {over[name]:.2f}" for name in sorted(over, key=lambda n: -over[n]))
