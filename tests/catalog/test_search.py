"""Tools are found by what they do: in their own words, in others, misspelt, and by meaning."""

from __future__ import annotations

import gc
import math
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.tools import StructuredTool, tool

from langchain_ptc import CatalogError, ToolCatalog, ToolPolicy
from langchain_ptc.catalog.search import ToolIndex, join_ranks, read_synonyms
from langchain_ptc.catalog.text import split_words
from tests.support.company_tools import HELD_OUT, QUESTIONS, build_tools, read_questions
from tests.support.waiting import SECONDS


async def answer(**arguments: object) -> object:
    """Answer."""
    return arguments


def make(name: str, description: str = "", **properties: object) -> StructuredTool:
    """Return a tool with a description and parameters."""
    schema = {"type": "object", "properties": properties}
    return StructuredTool(name=name, description=description, args_schema=schema, coroutine=answer)


def found(catalog: ToolCatalog, query: str, limit: int = 10) -> list[str]:
    """Return the qualified names of what a search finds."""
    return [definition.qualified_name for definition in catalog.search(query, limit=limit)]


@pytest.fixture(scope="module")
def company() -> ToolCatalog:
    """500 tools in 20 domains."""
    return ToolCatalog(build_tools())


# --- questions ----------------------------------------------------------------------------------


def recall(catalog: ToolCatalog, questions: str, most: int) -> float:
    """Return the share of questions whose tool is among the first `most`."""
    pairs = read_questions(questions)
    hits = sum(tool in found(catalog, question, most) for question, tool in pairs)
    return hits / len(pairs)


@pytest.mark.parametrize(
    ("questions", "most", "least"),
    [
        pytest.param(QUESTIONS, 1, 0.85, id="at-hand-1"),
        pytest.param(QUESTIONS, 5, 0.95, id="at-hand-5"),
        pytest.param(QUESTIONS, 10, 1.00, id="at-hand-10"),
        pytest.param(HELD_OUT, 1, 0.75, id="held-out-1"),
        pytest.param(HELD_OUT, 5, 0.93, id="held-out-5"),
        pytest.param(HELD_OUT, 10, 0.95, id="held-out-10"),
    ],
)
def test_recall(company: ToolCatalog, questions: str, most: int, least: float) -> None:
    """Most questions are answered by the first tools of the first search."""
    assert recall(company, questions, most) >= least


def test_two_look_ups(company: ToolCatalog) -> None:
    """A search, and then a look at the domain of its best find, find nearly every tool."""
    pairs = read_questions(QUESTIONS) + read_questions(HELD_OUT)
    missed = []
    for question, wanted in pairs:
        first = found(company, question)
        second = company.by_domain[first[0].partition(".")[0]]
        domain, _, name = wanted.partition(".")
        if wanted not in first and not (first[0].startswith(f"{domain}.") and name in second):
            missed.append(question)
    assert len(missed) <= len(pairs) // 50, missed


def test_questions_name_tools(company: ToolCatalog) -> None:
    """The questions of these tests are of tools that exist, 40 of them at least."""
    pairs = read_questions(QUESTIONS) + read_questions(HELD_OUT)
    assert len(pairs) >= 100
    assert len(company) == 500
    assert all(tool in company for _, tool in pairs)


# --- words --------------------------------------------------------------------------------------

SHOP = ToolCatalog(
    [
        make("refundPayment", "Give money back."),
        make("list-orders", "All orders, newest first."),
        make("get_HTTP_headers", "Headers of a response."),
        make("createPDFReport", "Write a report."),
        make("find_repository", "Look a repository up."),
        make("send", "Transmit.", priority={"enum": ["urgent", "bulk"]}),
        make("x9", "Größe und Gewicht eines Artikels."),
        make("tenki", "東京の天気を調べる"),
    ]
)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param("refund", "refundPayment", id="camel-case"),
        pytest.param("orders", "list_orders", id="dashes"),
        pytest.param("order", "list_orders", id="singular"),
        pytest.param("http", "get_HTTP_headers", id="abbreviation-in-name"),
        pytest.param("pdf reports", "createPDFReport", id="plural"),
        pytest.param("reporting", "createPDFReport", id="another-form"),
        pytest.param("repo", "find_repository", id="shortened"),
        pytest.param("ref", "refundPayment", id="shortened-in-no-list"),
        pytest.param("repositoory", "find_repository", id="misspelt"),
        pytest.param("refnud", "refundPayment", id="letters-swapped"),
        pytest.param("reimburse", "refundPayment", id="synonym"),
        pytest.param("money back", "refundPayment", id="phrase"),
        pytest.param("urgent", "send", id="choice-of-a-parameter"),
        pytest.param("priority", "send", id="parameter"),
        pytest.param("grosse", "x9", id="without-accents"),
        pytest.param("GEWICHT?", "x9", id="capitals"),
        pytest.param("天気", "tenki", id="no-spaces-between-words"),
        pytest.param("list-orders", "list_orders", id="own-name"),
    ],
)
def test_words(query: str, name: str) -> None:
    """Names are taken apart, and words are found in other forms than the tool's."""
    assert found(SHOP, query)[0] == name


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        '"',
        "NEAR(a b)",
        "name:x OR *",
        "🙂",
        "\x00",
        "a" * 100_000,
        "AND OR NOT",
        "'; --",
    ],
)
def test_no_query_breaks(query: str) -> None:
    """Whatever is asked is a question, never a query language."""
    assert len(found(SHOP, query)) <= len(SHOP)


def test_words_that_say_nothing() -> None:
    """A question of stop words only is taken at its word."""
    catalog = ToolCatalog([make("do_it", "Do."), make("other", "Else.")])
    assert found(catalog, "do it") == ["do_it"]
    assert found(catalog, "the quick brown fox") == []


def test_exact_name_comes_first(company: ToolCatalog) -> None:
    """Who knows the name gets that tool, with its domain or without."""
    for name in ("billing.refund_payment", "refund_payment", "hr.list_employees"):
        assert found(company, name)[0].endswith(name)


def test_deeds_that_were_not_asked_for(company: ToolCatalog) -> None:
    """A question about a thing finds what reads it before what deletes it."""
    names = found(company, "invoice", 25)
    assert names.index("billing.get_invoice") < names.index("billing.delete_invoice")
    assert found(company, "delete an invoice")[0] == "billing.delete_invoice"


def test_order_is_the_same_every_time(company: ToolCatalog) -> None:
    """Two catalogs of the same tools answer alike, and equals stay in the catalog's order."""
    again = ToolCatalog(build_tools())
    for question, _ in read_questions(QUESTIONS):
        assert found(company, question, 500) == found(again, question, 500)
    same = ToolCatalog({"b": [make("get_x", "X.")], "a": [make("get_x", "X.")]})
    assert found(same, "x") == ["b.get_x", "a.get_x"]


def test_limit(company: ToolCatalog) -> None:
    """The limit is kept, ten by default, and must be positive."""
    assert len(found(company, "list", 3)) == 3
    assert len(company.search("list")) == 10
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        company.search("list", limit=0)


def test_tools_that_code_may_not_call_are_not_found() -> None:
    """A tool for the model alone is of no use to code."""
    policy = ToolPolicy(allowed_callers=("direct",))
    catalog = ToolCatalog([make("a_thing"), make("b_thing")], policies={"a_thing": policy})
    assert found(catalog, "thing") == ["b_thing"]


def test_no_tools() -> None:
    """An empty catalog finds nothing."""
    assert ToolCatalog([]).search("anything") == []


def test_sqlite_without_text_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose SQLite cannot search text says so, and which one can."""
    import sqlite3

    class Poor(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("no such module: fts5")

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Poor, **kwargs)
    )
    with pytest.raises(CatalogError, match=r"without FTS5; use a Python that has it"):
        ToolIndex([])
    gc.collect()


def test_from_many_threads(company: ToolCatalog) -> None:
    """One index answers threads side by side."""
    wanted = found(company, "refund a payment")
    answers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(found(company, "refund a payment")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [wanted] * 8


def test_the_index_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that nobody holds leaves no connection behind, which Python would warn of."""
    opened, connect = [], sqlite3.connect

    def connecting(*args: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    index = ToolIndex(ToolCatalog([make("a")]))
    (database,) = opened
    del index
    gc.collect()
    with pytest.raises(Exception, match="closed database"):
        database.execute("SELECT 1")


def test_it_is_quick() -> None:
    """500 tools are wrapped within a second, and a search takes milliseconds."""
    tools = build_tools()
    start = time.process_time()
    catalog = ToolCatalog(tools)
    catalog.search("warm up")
    assert time.process_time() - start < 1
    start = time.process_time()
    for question, _ in read_questions(QUESTIONS)[:20]:
        catalog.search(question)
    assert (time.process_time() - start) / 20 < 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getHTTPResponse_v2", "get http response v 2"),
        ("list-open issues.v1", "list open issues v 1"),
        ("it's Anna\u2019s", "it anna"),
        ("ÉTÉ Straße", "ete strasse"),
        ("東京 tower", "東 京 tower"),
        ("Привет мир", "привет мир"),
        ("", ""),
        ("__ -- !!", ""),
    ],
)
def test_split_words(text: str, words: str) -> None:
    """Names and texts are taken apart into small words."""
    assert split_words(text) == words.split()


def test_synonyms_are_words() -> None:
    """Each synonym is what a question is taken apart into, and the other stands for it as well."""
    synonyms = read_synonyms().others
    for word, others in synonyms.items():
        assert word not in others
        for other, near in others.items():
            assert " ".join(split_words(other)) == other
            assert 0 < near < 1
            assert word in synonyms[other]


# --- meaning ------------------------------------------------------------------------------------


class Trigrams(Embeddings):
    """A real, if simple, model: texts are near if they share runs of three letters."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(f"documents {len(texts)}")
        return [self._embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        return self._embed(text)

    def _embed(self, text: str) -> list[float]:
        vector = [0.0] * 256
        padded = f"  {text.lower()} "
        for place in range(len(padded) - 2):
            vector[sum(map(ord, padded[place : place + 3])) % 256] += 1.0
        return vector


class Meanings(Embeddings):
    """A model that knows what some words mean, and nothing else."""

    KNOWN: Sequence[Sequence[str]] = (("refund", "reklamation"), ("weather", "wetter", "forecast"))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(any(word in text.lower() for word in words)) for words in self.KNOWN]


def test_found_by_meaning() -> None:
    """An embedding model finds what shares no word with the question."""
    tools = [make("get_forecast", "The weather."), make("refund", "Pay."), make("noise", "Hum.")]
    assert found(ToolCatalog(tools), "Wetter") == []
    assert found(ToolCatalog(tools, embeddings=Meanings()), "Wetter")[0] == "get_forecast"
    assert found(ToolCatalog(tools, embeddings=Meanings()), "Reklamation")[0] == "refund"


async def test_embeddings_are_made_once_and_when_needed() -> None:
    """Tools are embedded with the first search, once, in synchronous and asynchronous code."""
    model = Trigrams()
    catalog = ToolCatalog([make("refund_payment", "Give money back."), make("a")], embeddings=model)
    assert model.asked == []
    await catalog.asearch("payments")
    catalog.search("payments")
    assert model.asked == ["documents 2", "payments", "payments"]


async def test_asynchronous_search_is_the_same(company: ToolCatalog) -> None:
    """`asearch` answers as `search` does."""
    catalog = ToolCatalog(build_tools(), embeddings=Trigrams())
    for subject in (company, catalog):
        for question, _ in read_questions(QUESTIONS)[:5]:
            names = [d.qualified_name for d in await subject.asearch(question)]
            assert names == found(subject, question)


def test_a_model_does_not_make_it_worse() -> None:
    """What the words find is still found when a model has its say, even a poor one."""
    catalog = ToolCatalog(build_tools(), embeddings=Trigrams())
    assert recall(catalog, QUESTIONS, 10) >= 0.85


def test_ranks_are_joined() -> None:
    """What both ranks have comes before what one has, and one rank alone stays as it is."""
    assert join_ranks([3, 1, 2]) == [3, 1, 2]
    assert join_ranks([1, 2], [3, 2])[0] == 2
    assert join_ranks() == []


def test_a_vector_of_nothing() -> None:
    """A text that a model makes nothing of is near to nothing, and breaks nothing."""
    assert not any(map(math.isnan, Meanings().embed_query("zzz")))
    assert found(ToolCatalog([make("a", "b")], embeddings=Meanings()), "zzz") == ["a"]


def test_functions_are_found_too() -> None:
    """Tools of every kind are searched: here a function with a docstring."""

    @tool
    def weather_in(city: str) -> str:
        """Tell the forecast."""
        return city

    assert found(ToolCatalog([weather_in]), "forecast for a city") == ["weather_in"]


def test_no_numpy() -> None:
    """Searching needs nothing that the package does not bring."""
    import subprocess

    code = (
        "import sys\n"
        "from langchain_ptc import ToolCatalog\n"
        "def pay(amount: int) -> int:\n    'Pay.'\n    return amount\n"
        "assert ToolCatalog([pay]).search('pay')\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


def test_no_catalog_is_kept() -> None:
    """What is read of our functions once, in the first catalog of a process, does not keep that catalog."""
    import subprocess

    code = (
        "import gc, weakref\n"
        "from langchain_ptc import ToolCatalog\n"
        "catalog = ToolCatalog([])\n"
        "kept = weakref.ref(catalog)\n"
        "assert catalog.discovery\n"
        "del catalog\n"
        "gc.collect()\n"
        "assert kept() is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


def test_catalogs_that_threads_build_at_once():
    """No thread meets a warning that LangChain silences while another reads the signature of our functions."""

    def build(_: int) -> int:
        return len([ToolCatalog([]).discovery for _ in range(20)])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(build, range(8))) == [20] * 8
    finally:
        sys.setswitchinterval(before)
