"""Expenses of a small company: members, their expenses, budgets, messages."""

from __future__ import annotations

import random
from collections import Counter

from langchain_core.tools import tool
from pydantic import BaseModel

from benchmarks.tasks.base import Domain, Effect, Task, World
from benchmarks.tasks.checks import anything, says_names, says_number, says_pairs


class Member(BaseModel):
    """A person of a department."""

    id: str
    name: str
    department: str
    title: str


class Expense(BaseModel):
    """One line of an expense report; the amount is in EUR."""

    id: str
    member_id: str
    quarter: str
    category: str
    amount: float
    approved: bool


class Budget(BaseModel):
    """What a department may spend in a quarter, in EUR."""

    department: str
    quarter: str
    limit: float


_TITLES = {
    "engineering": "Developer Architect Tester Developer Analyst",
    "sales": "Account-Manager Negotiator Negotiator Account-Manager",
    "marketing": "Designer Copywriter Strategist Designer",
}
_NAMES = [
    "Alice",
    "Bruno",
    "Chiara",
    "Dmitri",
    "Elif",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jonas",
    "Kamala",
    "Liam",
    "Maud",
]
_CATEGORIES = ("travel", "meals", "software", "equipment")
_LIMITS = {
    ("engineering", "Q2"): 5200.0,
    ("engineering", "Q3"): 6000.0,
    ("sales", "Q2"): 4100.0,
    ("sales", "Q3"): 5650.0,
    ("marketing", "Q2"): 3900.0,
    ("marketing", "Q3"): 2600.0,
}


def _make_members() -> list[Member]:
    places = [(d, title) for d, titles in _TITLES.items() for title in titles.split()]
    return [
        Member(id=f"m{n}", name=name, department=department, title=title)
        for n, (name, (department, title)) in enumerate(zip(_NAMES, places, strict=True), start=11)
    ]


def _make_expenses() -> list[Expense]:
    rng = random.Random(20)
    made: list[Expense] = []
    for member in MEMBERS:
        for quarter in ("Q2", "Q3"):
            for _ in range(rng.randint(2, 5)):
                made.append(
                    Expense(
                        id=f"e{len(made) + 1}",
                        member_id=member.id,
                        quarter=quarter,
                        category=rng.choice(_CATEGORIES),
                        amount=round(rng.uniform(20, 640), 2),
                        approved=rng.random() < 0.85,
                    )
                )
    return made


MEMBERS = _make_members()
EXPENSES = _make_expenses()
DEPARTMENTS = tuple(_TITLES)
WORDS = {*_NAMES, *DEPARTMENTS, *_CATEGORIES, *(m.title for m in MEMBERS), "Q2", "Q3"}


def build() -> World:
    """Build the tools over the data."""
    world = World(tools=())

    @tool
    def list_members(department: str) -> list[Member]:
        """List the members of a department: 'engineering', 'sales' or 'marketing'."""
        return [member for member in MEMBERS if member.department == department]

    @tool
    def get_expenses(member_id: str, quarter: str) -> list[Expense]:
        """Get the expenses of one member in a quarter such as 'Q3'."""
        return [e for e in EXPENSES if e.member_id == member_id and e.quarter == quarter]

    @tool
    def get_budget(department: str, quarter: str) -> Budget:
        """Get the budget of a department for a quarter."""
        limit = _LIMITS[department, quarter]
        return Budget(department=department, quarter=quarter, limit=limit)

    @tool
    def send_message(member_id: str, text: str) -> bool:
        """Send a message to a member."""
        if member_id not in {member.id for member in MEMBERS}:
            raise ValueError(f"there is no member with the id {member_id!r}")
        arguments = {"member_id": member_id, "text": text}
        world.effects.append(Effect(tool="send_message", arguments=arguments))
        return True

    world.tools = (list_members, get_expenses, get_budget, send_message)
    return world


# --- the truth ----------------------------------------------------------------------------------


def _in(department: str) -> list[Member]:
    return [member for member in MEMBERS if member.department == department]


def _of(member: Member, quarter: str = "Q3") -> list[Expense]:
    return [e for e in EXPENSES if e.member_id == member.id and e.quarter == quarter]


def _total(member: Member, quarter: str = "Q3") -> float:
    return sum(expense.amount for expense in _of(member, quarter))


def _spent(department: str, quarter: str = "Q3") -> float:
    return sum(_total(member, quarter) for member in _in(department))


def _send(text: str, members: list[Member]) -> tuple[Effect, ...]:
    return tuple(
        Effect(tool="send_message", arguments={"member_id": member.id, "text": text})
        for member in members
    )


_LIMIT = 1200
_OVER = [member for member in _in("engineering") if _total(member) > _LIMIT]
_MOST = max(_in("marketing"), key=_total)
_EARLY = next(m for m in _in("sales") if any(e.amount > 550 for e in _of(m)))
_OPEN = {
    m.name: [e.amount for e in _of(m) if not e.approved]
    for m in _in("engineering")
    if not all(e.approved for e in _of(m))
}
_EXCEEDED = [d for d in DEPARTMENTS if _spent(d) > _LIMITS[d, "Q3"]]

TASKS = (
    Task(
        name="budget",
        shape="look-up",
        question="What is the limit of the Q2 budget of the sales department?",
        program="""\
budget = await get_budget(department="sales", quarter="Q2")
print(budget["limit"])""",
        check=says_number(_LIMITS["sales", "Q2"], words=WORDS),
    ),
    Task(
        name="titles",
        shape="filter",
        question="Print the names of the members of engineering whose title is Developer.",
        program="""\
for member in await list_members(department="engineering"):
    if member["title"] == "Developer":
        print(member["name"])""",
        check=says_names([m.name for m in _in("engineering") if m.title == "Developer"], _NAMES),
    ),
    Task(
        name="big-spenders",
        shape="filter by total",
        question=f"Which members of engineering spent more than {_LIMIT} in Q3? Print their names.",
        program=f"""\
for member in await list_members(department="engineering"):
    expenses = await get_expenses(member_id=member["id"], quarter="Q3")
    if sum(e["amount"] for e in expenses) > {_LIMIT}:
        print(member["name"])""",
        check=says_names([member.name for member in _OVER], _NAMES),
    ),
    Task(
        name="department-totals",
        shape="totals per group",
        question="How much did engineering, sales and marketing each spend in Q3?",
        program="""\
for department in ["engineering", "sales", "marketing"]:
    total = 0
    for member in await list_members(department=department):
        total += sum(e["amount"] for e in await get_expenses(member_id=member["id"], quarter="Q3"))
    print(department, round(total, 2))""",
        check=says_pairs({d: _spent(d) for d in DEPARTMENTS}, DEPARTMENTS),
    ),
    Task(
        name="top-spender",
        shape="maximum",
        question="Who in marketing spent the most in Q3, and how much?",
        program="""\
totals = {}
for member in await list_members(department="marketing"):
    expenses = await get_expenses(member_id=member["id"], quarter="Q3")
    totals[member["name"]] = sum(e["amount"] for e in expenses)
name = max(totals, key=totals.get)
print(name, totals[name])""",
        check=says_pairs({_MOST.name: _total(_MOST)}, _NAMES),
    ),
    Task(
        name="average-spending",
        shape="average",
        question="What did a member of sales spend in Q3 on average?",
        program="""\
members = await list_members(department="sales")
total = 0
for member in members:
    total += sum(e["amount"] for e in await get_expenses(member_id=member["id"], quarter="Q3"))
print(total / len(members))""",
        check=says_number(
            _spent("sales") / len(_in("sales")),
            beside=[_spent("sales"), len(_in("sales"))],
            words=WORDS,
        ),
    ),
    Task(
        name="remind-spenders",
        shape="message those above",
        question="Send the message 'Please file your report' to every member of engineering who "
        f"spent more than {_LIMIT} in Q3.",
        program=f"""\
for member in await list_members(department="engineering"):
    expenses = await get_expenses(member_id=member["id"], quarter="Q3")
    if sum(e["amount"] for e in expenses) > {_LIMIT}:
        await send_message(member_id=member["id"], text="Please file your report")
print("done")""",
        check=anything,
        effects=_send("Please file your report", _OVER),
    ),
    Task(
        name="budget-left",
        shape="join",
        question="How much of its Q3 budget does the sales department have left?",
        program="""\
budget = await get_budget(department="sales", quarter="Q3")
spent = 0
for member in await list_members(department="sales"):
    spent += sum(e["amount"] for e in await get_expenses(member_id=member["id"], quarter="Q3"))
print(round(budget["limit"] - spent, 2))""",
        check=says_number(
            _LIMITS["sales", "Q3"] - _spent("sales"),
            beside=[_LIMITS["sales", "Q3"], _spent("sales")],
            words=WORDS,
        ),
    ),
    Task(
        name="first-large",
        shape="early exit",
        question="Go through the members of sales in the order in which they are listed. Who is the "
        "first with an expense of more than 550 in Q3? Print only that name.",
        program="""\
for member in await list_members(department="sales"):
    expenses = await get_expenses(member_id=member["id"], quarter="Q3")
    if any(e["amount"] > 550 for e in expenses):
        print(member["name"])
        break""",
        check=says_names([_EARLY.name], _NAMES),
    ),
    Task(
        name="categories",
        shape="count by key",
        question="How many Q3 expenses do the members of engineering have in each category?",
        program="""\
counts = {}
for member in await list_members(department="engineering"):
    for expense in await get_expenses(member_id=member["id"], quarter="Q3"):
        counts[expense["category"]] = counts.get(expense["category"], 0) + 1
print(counts)""",
        check=says_pairs(
            Counter(e.category for m in _in("engineering") for e in _of(m)), _CATEGORIES
        ),
    ),
    Task(
        name="not-approved",
        shape="filter",
        question="Which Q3 expenses of engineering are not approved? Print the member's name and "
        "the amount of each.",
        program="""\
for member in await list_members(department="engineering"):
    for expense in await get_expenses(member_id=member["id"], quarter="Q3"):
        if not expense["approved"]:
            print(member["name"], expense["amount"])""",
        check=says_pairs(_OPEN, _NAMES),
    ),
    Task(
        name="warn-departments",
        shape="conditional effect",
        question="Check each of the departments engineering, sales and marketing: if it spent more "
        "in Q3 than its budget, send the message 'Budget exceeded' to all of its members.",
        program="""\
for department in ["engineering", "sales", "marketing"]:
    budget = await get_budget(department=department, quarter="Q3")
    members = await list_members(department=department)
    spent = 0
    for member in members:
        spent += sum(e["amount"] for e in await get_expenses(member_id=member["id"], quarter="Q3"))
    if spent > budget["limit"]:
        for member in members:
            await send_message(member_id=member["id"], text="Budget exceeded")
print("done")""",
        check=anything,
        effects=_send("Budget exceeded", [m for d in _EXCEEDED for m in _in(d)]),
    ),
)

COMPANY = Domain(name="company", held_out=False, build=build, tasks=TASKS)
