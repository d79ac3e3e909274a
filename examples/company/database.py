"""A company's expenses in SQLite, made from a seed, and the true answers to the demo's questions.

The rows are awkward in the ways that real tables are: refunds are negative, a retried upload books
one receipt twice, a rejected receipt is handed in again, amounts are in three currencies and are
missing in drafts, some times of day are in the date, people change department and leave, and some
people have a budget of their own, which may be zero.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Quarter = Literal["Q1", "Q2", "Q3", "Q4"]
Category = Literal["travel", "meals", "software", "equipment", "training"]

YEAR = 2025
DEPARTMENT = "Sales"
QUARTER: Quarter = "Q3"

_SIZES = {"Sales": 42, "Engineering": 58, "Marketing": 21, "Operations": 17, "Finance": 11}
_SCHEMA = """
CREATE TABLE people (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, grade TEXT NOT NULL,
    own_travel_budget REAL
);
CREATE TABLE memberships (
    person_id TEXT NOT NULL REFERENCES people (id), department TEXT NOT NULL,
    since TEXT NOT NULL, until TEXT
);
CREATE TABLE travel_budgets (
    grade TEXT NOT NULL, quarter TEXT NOT NULL, amount REAL NOT NULL, PRIMARY KEY (grade, quarter)
);
CREATE TABLE exchange_rates (
    currency TEXT NOT NULL, quarter TEXT NOT NULL, to_eur REAL NOT NULL,
    PRIMARY KEY (currency, quarter)
);
CREATE TABLE expenses (
    id INTEGER PRIMARY KEY, person_id TEXT NOT NULL REFERENCES people (id), spent_on TEXT NOT NULL,
    category TEXT NOT NULL, amount REAL, currency TEXT NOT NULL, status TEXT NOT NULL,
    receipt_id TEXT, merchant TEXT NOT NULL
);
CREATE INDEX expenses_of_person ON expenses (person_id, spent_on);
"""
_GRADES = {"junior": 1900.0, "senior": 2600.0, "lead": 3400.0, "director": 5200.0}
_RATES = {"EUR": (1.0,) * 4, "USD": (0.95, 0.88, 0.86, 0.86), "GBP": (1.2, 1.18, 1.15, 1.15)}
_FIRST = (
    "Ada Amir Anna Ben Bruno Carla Chen Clara Dario Diego Dina Elif Emil Eva Fatima Felix Grace "
    "Hana Hugo Ines Ivan Jana Jonas Kofi Lars Leila Lena Luca Maja Malik Marta Mia Milan Nadia "
    "Noor Olga Omar Paula Pavel Priya"
)
_LAST = (
    "Abadi Becker Bianchi Costa Dubois Eriksen Fischer Garcia Haddad Horvat Ito Jansen Kaya Kim "
    "Kowalski Laurent Lindberg Mensah Moreau Nguyen Novak Okafor Pereira Rossi Sato Schmidt Silva "
    "Singh Tanaka Weber"
)
_MERCHANTS: dict[Category, tuple[str, ...]] = {
    "travel": ("Deutsche Bahn", "Lufthansa", "Hotel Adler", "City Taxi", "Europcar", "Eurostar"),
    "meals": ("Trattoria Roma", "Cafe Central", "Sushi Bar"),
    "software": ("JetBrains", "Figma", "GitHub"),
    "equipment": ("Dell", "Office Depot"),
    "training": ("Coursera", "O'Reilly"),
}


def create_company(database: Path, *, seed: int = 52) -> None:
    """Write the company's database.

    Args:
        database: A file that does not exist yet.
        seed: The same seed gives the same rows. With this one, each kind of awkward row matters:
            whoever forgets about it gets another answer.
    """
    rng = random.Random(seed)  # noqa: S311 - invented rows, no secret
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO travel_budgets VALUES (?, ?, ?)",
            [(grade, f"Q{n}", amount) for grade, amount in _GRADES.items() for n in range(1, 5)],
        )
        connection.executemany(
            "INSERT INTO exchange_rates VALUES (?, ?, ?)",
            [
                (currency, f"Q{n}", rate)
                for currency, rates in _RATES.items()
                for n, rate in enumerate(rates, start=1)
            ],
        )
        people = _add_people(connection, rng)
        for person in people:
            for month in range(1, 13):
                _add_month(connection, rng, person, month)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question whose answer is a number for each of some people."""

    text: str
    find_answer: Callable[[Path], dict[str, float]]
    """Asks SQL for the true answer, which shares nothing with the tools but the database."""


def _find_overspenders(database: Path) -> dict[str, float]:
    rows = _query(database, _OVERSPENDERS_SQL, department=DEPARTMENT, quarter=QUARTER)
    return {name: round(over, 2) for name, over in rows}


def _find_many(database: Path) -> dict[str, float]:
    rows = _query(database, _MANY_SQL, department="Operations", most=30)
    return {name: float(count) for name, count in rows}


def _query(database: Path, statement: str, **parameters: str | int) -> list[tuple[str, float]]:
    first, last = quarter_bounds(QUARTER)
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            statement, {"first": first, "last": last, **parameters}
        ).fetchall()


OVERSPENDERS = Question(
    text=f"Who in {DEPARTMENT} went over their travel budget in {QUARTER}, and by how much? "
    "Answer with one line for each person, `name: amount`, the amount in EUR with two decimals, "
    "the largest first, and nothing else.",
    find_answer=_find_overspenders,
)
"""Every rule of the tools' descriptions matters for it."""
MANY_EXPENSES = Question(
    text=f"Which members of Operations have more than 30 expenses in {QUARTER}, whatever their "
    "status? Print each name with the number.",
    find_answer=_find_many,
)
"""Many calls and no rules to know: a model of 1.5 billion parameters can answer it."""

_OVERSPENDERS_SQL = """
WITH staff AS (
    SELECT p.id, p.name, COALESCE(p.own_travel_budget, b.amount) AS budget
    FROM people p
    JOIN memberships m ON m.person_id = p.id
    JOIN travel_budgets b ON b.grade = p.grade AND b.quarter = :quarter
    WHERE m.department = :department
      AND m.since <= :last AND (m.until IS NULL OR m.until >= :last)
),
receipts AS (
    SELECT e.person_id, MIN(e.amount * r.to_eur) AS eur
    FROM expenses e
    JOIN exchange_rates r ON r.currency = e.currency AND r.quarter = :quarter
    WHERE e.category = 'travel' AND e.status IN ('approved', 'paid')
      AND substr(e.spent_on, 1, 10) BETWEEN :first AND :last
    GROUP BY e.person_id, COALESCE(e.receipt_id, 'row ' || e.id)
)
SELECT staff.name, SUM(receipts.eur) - staff.budget AS over
FROM staff JOIN receipts ON receipts.person_id = staff.id
GROUP BY staff.id HAVING over > 0 ORDER BY over DESC
"""
_MANY_SQL = """
SELECT p.name, COUNT(*)
FROM people p
JOIN memberships m ON m.person_id = p.id
JOIN expenses e ON e.person_id = p.id
WHERE m.department = :department
  AND m.since <= :last AND (m.until IS NULL OR m.until >= :last)
  AND substr(e.spent_on, 1, 10) BETWEEN :first AND :last
GROUP BY p.id HAVING COUNT(*) > :most ORDER BY COUNT(*) DESC, p.name
"""


def quarter_bounds(quarter: Quarter) -> tuple[str, str]:
    """Give the first and the last day of `quarter` in the company's year, as ISO dates."""
    number = int(quarter[1])
    days = (31, 30, 30, 31)[number - 1]
    return f"{YEAR}-{3 * number - 2:02}-01", f"{YEAR}-{3 * number:02}-{days}"


def _add_people(connection: sqlite3.Connection, rng: random.Random) -> list[str]:
    """Add everybody with their departments; return the ids."""
    names = [f"{first} {last}" for first in _FIRST.split() for last in _LAST.split()]
    rng.shuffle(names)
    ids: list[str] = []
    for department, size in _SIZES.items():
        for position in range(size):
            person, name = f"p{len(ids) + 101}", names[len(ids)]
            grade = rng.choices(tuple(_GRADES), weights=(4, 5, 2, 1))[0]
            own = rng.choice((0.0, 800.0, 4000.0)) if rng.random() < 0.15 else None
            email = f"{name.lower().replace(' ', '.')}@example.com"
            connection.execute(
                "INSERT INTO people VALUES (?, ?, ?, ?, ?)", (person, name, email, grade, own)
            )
            connection.executemany(
                "INSERT INTO memberships VALUES (?, ?, ?, ?)",
                [(person, *stay) for stay in _stays(department, position)],
            )
            ids.append(person)
    return ids


def _stays(department: str, position: int) -> list[tuple[str, str, str | None]]:
    """Say where somebody was and when: a few moved in the third quarter, or left."""
    start, end, move = f"{YEAR - 2}-04-01", f"{YEAR}-08-14", f"{YEAR}-08-15"
    if department == "Sales" and position in (3, 17):
        return [("Sales", start, end), ("Marketing", move, None)]
    if department == "Sales" and position == 30:
        return [("Sales", start, f"{YEAR}-09-29")]
    if department == "Engineering" and position < 6:
        return [("Engineering", start, end), ("Sales", move, None)]
    if department == "Marketing" and position == 0:
        # A stay in the past: a search that forgets the dates finds this person twice.
        return [("Sales", f"{YEAR - 4}-01-01", f"{YEAR - 3}-12-31"), ("Marketing", start, None)]
    return [(department, start, None)]


def _add_month(connection: sqlite3.Connection, rng: random.Random, person: str, month: int) -> None:
    """Add one person's expenses of one month."""
    counts: dict[Category, int] = {
        "travel": rng.randint(2, 6),
        "meals": rng.randint(0, 3),
        "software": rng.randint(0, 1),
        "equipment": rng.randint(0, 1),
        "training": rng.randint(0, 1),
    }
    for category, count in counts.items():
        for _ in range(count):
            _add_expense(connection, rng, person, month, category)


def _add_expense(
    connection: sqlite3.Connection,
    rng: random.Random,
    person: str,
    month: int,
    category: Category,
) -> None:
    """Add one expense, and now and then what goes with it in a real table."""
    day = rng.choice((1, 28, 30, rng.randint(1, 28))) if month != 2 else rng.randint(1, 28)
    spent_on = f"{YEAR}-{month:02}-{day:02}"
    if rng.random() < 0.1:
        spent_on += f" {rng.randint(6, 23):02}:{rng.randint(0, 59):02}:00"
    amount: float | None = round(rng.lognormvariate(4.7, 0.75), 2)
    status = rng.choices(
        ("paid", "approved", "pending", "rejected", "cancelled", "draft"), (60, 22, 5, 6, 4, 3)
    )[0]
    receipt: str | None = f"R{rng.randrange(16**8):08x}"
    fate = rng.random()
    if status == "draft":
        amount, receipt = None, None
    elif fate < 0.06:
        receipt = None
    currency = rng.choices(("EUR", "USD", "GBP"), (78, 14, 8))[0]
    merchant = rng.choice(_MERCHANTS[category])

    def insert(amount: float | None, status: str, receipt: str | None) -> None:
        connection.execute(
            "INSERT INTO expenses (person_id, spent_on, category, amount, currency, status, "
            "receipt_id, merchant) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (person, spent_on, category, amount, currency, status, receipt, merchant),
        )

    insert(amount, status, receipt)
    if amount is None or receipt is None:
        return
    if status == "rejected" and fate < 0.5:  # handed in again, with the same receipt
        insert(amount, "approved", receipt)
    elif fate < 0.11:  # the upload was retried
        insert(amount, status, receipt)
    elif fate < 0.17:  # partly refunded, with a receipt of its own
        insert(round(-amount * rng.choice((0.5, 1.0)), 2), status, f"{receipt}-refund")
