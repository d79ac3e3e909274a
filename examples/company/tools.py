"""LangChain tools over the company's database. Their descriptions say what counts."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from inspect import cleandoc
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.tools import BaseTool, tool

from examples.company.database import Category, Quarter, quarter_bounds


class Department(TypedDict):
    """A department with the number of people in it today."""

    name: str
    people: int


class Member(TypedDict):
    """A person in a department."""

    id: str
    name: str
    email: str
    grade: str
    own_travel_budget: float | None


class Expense(TypedDict):
    """One booked expense."""

    id: int
    spent_on: str
    category: str
    amount: float | None
    currency: str
    status: str
    receipt_id: str | None
    merchant: str


def build_tools(database: Path, seconds_per_call: float = 0.0) -> list[BaseTool]:
    """Build the tools over `database`.

    Args:
        database: The file that `create_company` wrote; it is only ever read.
        seconds_per_call: Simulated time that each call takes.

    Returns:
        Five tools, each with a typed return.
    """

    def query(sql: str, *values: object) -> list[Any]:
        time.sleep(seconds_per_call)
        uri = f"{database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    @tool
    def list_departments() -> list[Department]:
        """List the company's departments."""
        return query(_DEPARTMENTS)

    @tool
    def list_members(department: str, quarter: Quarter) -> list[Member]:
        """List the people who were in a department on the last day of a quarter.

        `own_travel_budget` is in EUR for the quarter and, where it is not null, replaces the travel
        budget of the person's grade; it can be 0. A person who changed department belongs, with all
        expenses of the quarter, to the department of the last day.
        """
        last = quarter_bounds(quarter)[1]
        return query(_MEMBERS, department, last, last)

    @tool
    def get_travel_budgets(quarter: Quarter) -> dict[str, float]:
        """Get the travel budget of each grade for one person and one quarter, in EUR."""
        rows = query("SELECT grade, amount FROM travel_budgets WHERE quarter = ?", quarter)
        return {row["grade"]: row["amount"] for row in rows}

    @tool
    def get_exchange_rates(quarter: Quarter) -> dict[str, float]:
        """Get what one unit of each currency is worth in EUR, for all expenses of a quarter."""
        rows = query("SELECT currency, to_eur FROM exchange_rates WHERE quarter = ?", quarter)
        return {row["currency"]: row["to_eur"] for row in rows}

    @tool
    def get_expenses(
        person_id: str, quarter: Quarter, category: Category | None = None
    ) -> list[Expense]:
        """Get a person's expenses in a quarter, of one category or of all.

        Towards a budget count only the rows with status `approved` or `paid`. Among those, the
        same `receipt_id` counts once: a second row is a retried upload. Rows whose `receipt_id` is
        null are different expenses. Refunds are negative and count. `amount` is in `currency`, and
        null only in drafts.
        """
        first, last = quarter_bounds(quarter)
        return query(_EXPENSES, person_id, first, last, category, category)

    tools = [list_departments, list_members, get_travel_budgets, get_exchange_rates, get_expenses]
    for made in tools:
        made.description = cleandoc(made.description)  # as Python 3.13 and later compile docstrings
    return tools


_DEPARTMENTS = """
SELECT department AS name, COUNT(*) AS people FROM memberships
WHERE until IS NULL GROUP BY department ORDER BY department
"""
_MEMBERS = """
SELECT p.id, p.name, p.email, p.grade, p.own_travel_budget
FROM people p JOIN memberships m ON m.person_id = p.id
WHERE m.department = ? AND m.since <= ? AND (m.until IS NULL OR m.until >= ?) ORDER BY p.id
"""
_EXPENSES = """
SELECT id, spent_on, category, amount, currency, status, receipt_id, merchant FROM expenses
WHERE person_id = ? AND date(spent_on) BETWEEN ? AND ? AND (? IS NULL OR category = ?)
ORDER BY spent_on, id
"""
