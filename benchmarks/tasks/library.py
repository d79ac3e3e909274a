"""A town library: books, loans, readers, reminders. Held out.

No prompt and no example was or may be tuned on this domain: its score is only taken to see whether
what helped on the other domains helps on tools that nobody looked at.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from langchain_core.tools import tool
from pydantic import BaseModel, Field

from benchmarks.tasks.base import Domain, Effect, Task, World
from benchmarks.tasks.checks import anything, says_names, says_number, says_order, says_pairs


class Book(BaseModel):
    """A title of the library."""

    id: str
    title: str
    author: str
    year: int
    copies: int = Field(description="Copies that the library owns.")


class Loan(BaseModel):
    """A copy of a book that somebody has at home."""

    id: int
    book_id: str
    reader_id: int
    days_overdue: int = Field(description="0 if it is not overdue.")
    fee: float = Field(description="Fee that is due, in EUR.")


class Reader(BaseModel):
    """Somebody with a library card."""

    id: int
    name: str
    email: str
    joined: int = Field(description="Year.")


_BOOKS = {
    "novel": (
        ("The Salt Road", "Okafor", 1987, 3),
        ("Winter Harbour", "Lindqvist", 1931, 2),
        ("A House of Reeds", "Okafor", 2004, 4),
        ("Glass Orchard", "Moreau", 1949, 1),
        ("The Last Ferry", "Lindqvist", 1938, 5),
    ),
    "history": (
        ("Bridges of the North", "Hartmann", 1999, 2),
        ("The Spice Ledger", "Rahman", 2011, 3),
        ("A City under Siege", "Hartmann", 1975, 1),
        ("Roads and Rivers", "Petrova", 2016, 2),
    ),
    "science": (
        ("Quiet Particles", "Nakamura", 2018, 3),
        ("The Patient Microbe", "Adeyemi", 2009, 2),
        ("Tides Explained", "Nakamura", 1996, 4),
        ("Counting Stars", "Silva", 2021, 2),
    ),
}
_READERS = [
    "Pavel",
    "Quincy",
    "Rosa",
    "Stefan",
    "Tamara",
    "Ursula",
    "Viktor",
    "Wanda",
    "Xenia",
    "Yusuf",
]
_DAILY_FEE = 0.35


def _make_loans() -> list[Loan]:
    rng = random.Random(LOANS_SEED)
    made: list[Loan] = []
    for book in ALL_BOOKS:
        for reader in rng.sample(READERS, rng.randint(0, 4)):
            overdue = rng.choice((0, 0, rng.randint(1, 45)))
            made.append(
                Loan(
                    id=7000 + len(made),
                    book_id=book.id,
                    reader_id=reader.id,
                    days_overdue=overdue,
                    fee=round(overdue * _DAILY_FEE, 2),
                )
            )
    return made


LOANS_SEED = 74
BOOKS = {
    genre: [
        Book(id=f"{genre[:3]}-{n}", title=title, author=author, year=year, copies=copies)
        for n, (title, author, year, copies) in enumerate(books, start=1)
    ]
    for genre, books in _BOOKS.items()
}
ALL_BOOKS = [book for books in BOOKS.values() for book in books]
READERS = [
    Reader(id=n, name=name, email=f"{name.lower()}@example.org", joined=2000 + n % 9)
    for n, name in enumerate(_READERS, start=31)
]
LOANS = _make_loans()
TITLES = [book.title for book in ALL_BOOKS]
AUTHORS = sorted({book.author for book in ALL_BOOKS})
WORDS = {*TITLES, *AUTHORS, *_READERS, *_BOOKS}


def build() -> World:
    """Build the tools over the data."""
    world = World(tools=())

    def act(name: str, **arguments: Any) -> str:
        world.effects.append(Effect(tool=name, arguments=arguments))
        return "done"

    @tool
    def search_books(genre: str) -> list[Book]:
        """Find the books of a genre: 'novel', 'history' or 'science'."""
        return BOOKS.get(genre, [])

    @tool
    def list_loans(book_id: str) -> list[Loan]:
        """List who has a copy of a book at home now."""
        return [loan for loan in LOANS if loan.book_id == book_id]

    @tool
    def get_reader(reader_id: int) -> Reader:
        """Look up a reader."""
        for reader in READERS:
            if reader.id == reader_id:
                return reader
        raise ValueError(f"there is no reader with the id {reader_id!r}")

    @tool
    def send_reminder(reader_id: int, text: str) -> str:
        """Send a reader a reminder."""
        if reader_id not in {reader.id for reader in READERS}:
            raise ValueError(f"there is no reader with the id {reader_id!r}")
        return act("send_reminder", reader_id=reader_id, text=text)

    @tool
    def extend_loan(loan_id: int, days: int) -> str:
        """Extend a loan by some days."""
        if loan_id not in {loan.id for loan in LOANS}:
            raise ValueError(f"there is no loan with the id {loan_id!r}")
        return act("extend_loan", loan_id=loan_id, days=days)

    world.tools = (search_books, list_loans, get_reader, send_reminder, extend_loan)
    return world


# --- the truth ----------------------------------------------------------------------------------


def _of(book: Book) -> list[Loan]:
    return [loan for loan in LOANS if loan.book_id == book.id]


def _loans(genre: str) -> list[Loan]:
    return [loan for book in BOOKS[genre] for loan in _of(book)]


def _fees(genre: str) -> float:
    return sum(loan.fee for loan in _loans(genre))


def _reader(loan: Loan) -> Reader:
    return next(reader for reader in READERS if reader.id == loan.reader_id)


def _overdue(genre: str) -> list[int]:
    return [loan.days_overdue for loan in _loans(genre)]


_POPULAR = max(BOOKS["science"], key=lambda book: len(_of(book)))
_SHELVED = next(book for book in BOOKS["novel"] if not _of(book))
_BY_YEAR = sorted(BOOKS["history"], key=lambda book: book.year)
_LATE = [loan for loan in _loans("novel") if loan.days_overdue > 14]

TASKS = (
    Task(
        name="email",
        shape="look-up",
        question="What is the email address of the reader with the id 35?",
        program="""\
reader = await get_reader(reader_id=35)
print(reader["email"])""",
        check=says_names([READERS[4].email], [reader.email for reader in READERS]),
    ),
    Task(
        name="by-year",
        shape="filter",
        question="Print the titles of the history books from the oldest to the newest.",
        program="""\
books = await search_books(genre="history")
for book in sorted(books, key=lambda book: book["year"]):
    print(book["title"])""",
        check=says_order([book.title for book in _BY_YEAR], TITLES),
    ),
    Task(
        name="in-demand",
        shape="filter by total",
        question="Which novels have more than 2 loans now? Print their titles.",
        program="""\
for book in await search_books(genre="novel"):
    if len(await list_loans(book_id=book["id"])) > 2:
        print(book["title"])""",
        check=says_names([b.title for b in BOOKS["novel"] if len(_of(b)) > 2], TITLES),
    ),
    Task(
        name="fees-by-genre",
        shape="totals per group",
        question="How much is due in fees for the loans of each of the genres novel, history and "
        "science?",
        program="""\
for genre in ["novel", "history", "science"]:
    fees = 0
    for book in await search_books(genre=genre):
        fees += sum(loan["fee"] for loan in await list_loans(book_id=book["id"]))
    print(genre, round(fees, 2))""",
        check=says_pairs({genre: _fees(genre) for genre in BOOKS}, BOOKS),
    ),
    Task(
        name="most-lent",
        shape="maximum",
        question="Which science book has the most loans now, and how many?",
        program="""\
best, most = None, -1
for book in await search_books(genre="science"):
    loans = len(await list_loans(book_id=book["id"]))
    if loans > most:
        best, most = book["title"], loans
print(best, most)""",
        check=says_pairs({_POPULAR.title: len(_of(_POPULAR))}, TITLES),
    ),
    Task(
        name="average-overdue",
        shape="average",
        question="By how many days is a loan of a novel overdue on average? Loans that are "
        "not overdue count as 0.",
        program="""\
days = []
for book in await search_books(genre="novel"):
    days += [loan["days_overdue"] for loan in await list_loans(book_id=book["id"])]
print(sum(days) / len(days))""",
        check=says_number(
            sum(_overdue("novel")) / len(_overdue("novel")),
            beside=[sum(_overdue("novel")), len(_overdue("novel"))],
            words=WORDS,
        ),
    ),
    Task(
        name="remind-late",
        shape="message those above",
        question="Send the reminder 'Please return your book' for every loan of a novel that is more "
        "than 14 days overdue, to its reader.",
        program="""\
for book in await search_books(genre="novel"):
    for loan in await list_loans(book_id=book["id"]):
        if loan["days_overdue"] > 14:
            await send_reminder(reader_id=loan["reader_id"], text="Please return your book")
print("done")""",
        check=anything,
        effects=tuple(
            Effect(
                tool="send_reminder",
                arguments={"reader_id": loan.reader_id, "text": "Please return your book"},
            )
            for loan in _LATE
        ),
    ),
    Task(
        name="who-reads-science",
        shape="join",
        question="Who has a science book at home that is overdue? Print the names of the readers.",
        program="""\
names = set()
for book in await search_books(genre="science"):
    for loan in await list_loans(book_id=book["id"]):
        if loan["days_overdue"] > 0:
            names.add((await get_reader(reader_id=loan["reader_id"]))["name"])
print(sorted(names))""",
        check=says_names(
            {_reader(loan).name for loan in _loans("science") if loan.days_overdue > 0}, _READERS
        ),
    ),
    Task(
        name="first-on-shelf",
        shape="early exit",
        question="Go through the novels in the order in which they are listed. Which is the first "
        "that nobody has at home? Print only its title.",
        program="""\
for book in await search_books(genre="novel"):
    if not await list_loans(book_id=book["id"]):
        print(book["title"])
        break""",
        check=says_names([_SHELVED.title], TITLES),
    ),
    Task(
        name="loans-by-author",
        shape="count by key",
        question="How many loans do the history books of each author have now?",
        program="""\
counts = {}
for book in await search_books(genre="history"):
    loans = await list_loans(book_id=book["id"])
    counts[book["author"]] = counts.get(book["author"], 0) + len(loans)
print(counts)""",
        check=says_pairs(
            Counter(book.author for book in BOOKS["history"] for _ in _of(book)), AUTHORS
        ),
    ),
    Task(
        name="old-copies",
        shape="filter",
        question="How many copies does the library own of novels from before 1950, all together?",
        program="""\
books = await search_books(genre="novel")
print(sum(book["copies"] for book in books if book["year"] < 1950))""",
        check=says_number(sum(b.copies for b in BOOKS["novel"] if b.year < 1950), words=WORDS),
    ),
    Task(
        name="extend-punctual",
        shape="conditional effect",
        question="Extend every loan of a history book that is not overdue by 7 days.",
        program="""\
for book in await search_books(genre="history"):
    for loan in await list_loans(book_id=book["id"]):
        if loan["days_overdue"] == 0:
            await extend_loan(loan_id=loan["id"], days=7)
print("done")""",
        check=anything,
        effects=tuple(
            Effect(tool="extend_loan", arguments={"loan_id": loan.id, "days": 7})
            for loan in _loans("history")
            if loan.days_overdue == 0
        ),
    ),
)

LIBRARY = Domain(name="library", held_out=True, build=build, tasks=TASKS)
