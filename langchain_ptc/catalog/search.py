"""Find tools by their words and, with an embedding model, by their meaning.

The index is SQLite's FTS5, which is in Python's standard library: an inverted index with stemming and
the ranking BM25, and no dependency (bm25s needs numpy, tantivy is a compiled package of its own). Names are split
into words, the name weighs more than the description, and each word of a query also matches its synonyms and, if it
is unknown, words that it begins and similar spellings. A tool's score is the sum over the words of the query, of each
word's best reading.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import operator
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Annotated, NamedTuple, Protocol

from langchain_core.embeddings import Embeddings
from langchain_core.tools import BaseTool, StructuredTool
from typing_extensions import TypedDict

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.text import one_line, split_words
from langchain_ptc.catalog.types import Choice, TypeTree, walk
from langchain_ptc.errors import CatalogError
from langchain_ptc.locks import new_lock

MAX_QUERY_CHARS = 1_000  # length of a question; the rest is ignored
MAX_QUERY_WORDS = 32
MAX_DESCRIPTION_CHARS = 4_000  # length of a description in the index; the rest is ignored

_MAX_PHRASE_WORDS = 3  # words of the longest phrase among the synonyms
_COLUMNS = {"name": 10.0, "domain": 3.0, "description": 1.5, "parameters": 0.6}
"""What is indexed of a tool, and how much a word counts there."""
_SPELLING = 0.8  # how much another spelling counts, compared to the word itself
_PHRASE = 0.5  # how much it adds that two words of a question are adjacent in a tool's text
_SHORTEST = 3  # letters of the shortest word that may be an abbreviation; misspelt ones are longer
_MAX_LONGER = 20  # words that an abbreviation may stand for
_SIMILARITY = 0.8  # how similar a word must be to be taken for what was meant, from 0 to 1
_UNASKED_CHANGE = 0.7  # how much a tool counts that changes something unasked
MAX_NEAREST = 50  # tools that a search by meaning ranks; the others are too far away to compare
_FUSION = 60  # the constant of reciprocal rank fusion (Cormack et al., 2009)


class ToolIndex:
    """An index of tools by their words. It may be used from any thread."""

    def __init__(self, definitions: Iterable[ToolDefinition]) -> None:
        self._definitions = tuple(definitions)
        self._lock = new_lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._database.close)
        try:
            self._database.execute(
                f"CREATE VIRTUAL TABLE tools USING fts5({', '.join(_COLUMNS)}, content='', "
                "tokenize='porter unicode61')"
            )
        except sqlite3.OperationalError as error:
            raise CatalogError(
                f"tools cannot be searched: SQLite {sqlite3.sqlite_version} of this Python was built "
                "without FTS5; use a Python that has it, as those of python.org, Debian, conda and "
                "uv do"
            ) from error
        rows = [_row(definition) for definition in self._definitions]
        self._changes = [row[0].partition(" ")[0] in _CHANGES for row in rows]
        self._vocabulary = sorted({word for row in rows for text in row for word in text.split()})
        slots = ", ".join("?" * (len(_COLUMNS) + 1))
        self._database.executemany(
            f"INSERT INTO tools(rowid, {', '.join(_COLUMNS)}) VALUES ({slots})",  # noqa: S608  # ours
            ((number, *row) for number, row in enumerate(rows)),
        )

    def rank(self, query: str) -> list[int]:
        """Return the positions of the tools that match `query`, best first."""
        scores: dict[int, float] = {}
        terms = _terms(query)
        for pair in itertools.pairwise(terms):
            hits = self._match(" ".join(pair))
            for number, part in hits.items():
                scores[number] = _PHRASE * self._rarity(len(hits)) * part
        for term in terms:
            found = self._best_readings(self._match(term), _synonyms(term, 1.0))
            for number, score in (found or self._best_readings({}, self._spellings(term))).items():
                scores[number] = scores.get(number, 0.0) + score
        readings = {word for term in terms for word in (term, *_synonyms(term, 1.0))}
        if _CHANGES.isdisjoint(readings):
            for number in scores:
                scores[number] *= _UNASKED_CHANGE if self._changes[number] else 1.0
        exact = query.strip().lower()
        for number in scores:
            definition = self._definitions[number]
            if exact in (definition.qualified_name.lower(), definition.name.lower()):
                scores[number] = math.inf
        return sorted(scores, key=lambda number: (-scores[number], number))

    def _best_readings(
        self, own: Mapping[int, float], readings: Mapping[str, float]
    ) -> dict[int, float]:
        rarity = self._rarity(len(own))
        found = {number: rarity * part for number, part in own.items()}
        for word, weight in readings.items():
            hits = self._match(word)
            # A rare synonym of a common word is not a rare request.
            worth = weight * min(rarity, self._rarity(len(hits)))
            for number, part in hits.items():
                found[number] = max(worth * part, found.get(number, 0.0))
        return found

    def _spellings(self, term: str) -> dict[str, float]:
        """Return the words that an unknown word may mean: those that it begins, or that it is like."""
        if len(term) < _SHORTEST:
            return {}
        longer = (word for word in self._vocabulary if word.startswith(term))
        found = dict.fromkeys(itertools.islice(longer, _MAX_LONGER), _SPELLING)
        if len(term) == _SHORTEST:
            return found
        like = functools.partial(difflib.get_close_matches, term, cutoff=_SIMILARITY)
        found |= dict.fromkeys(like(self._vocabulary, n=2), _SPELLING)
        for word in like(read_synonyms().others, n=1):
            found |= _synonyms(word, _SPELLING)
        return found

    def _match(self, word: str) -> dict[int, float]:
        """Return the tools that have `word`, each with how much it has of it, from 0 to 2.2."""
        weights = ", ".join(map(str, _COLUMNS.values()))
        sql = f"SELECT rowid, -bm25(tools, {weights}) FROM tools WHERE tools MATCH ?"  # noqa: S608
        with self._lock:
            rows = self._database.execute(sql, (f'"{word}"',)).fetchall()
        # BM25 is rarity times frequency. Rarity is that of the asked word, not of its readings.
        count, total = len(rows), len(self._definitions)
        rarity = max(math.log((total - count + 0.5) / (count + 0.5)), 1e-6)
        return {number: score / rarity for number, score in rows}

    def _rarity(self, count: int) -> float:
        total = len(self._definitions)
        return math.log(1 + (total - count + 0.5) / (count + 0.5))


def _row(definition: ToolDefinition) -> tuple[str, ...]:
    parameters = [
        text
        for p in definition.parameters
        for text in (p.name, p.description[:MAX_DESCRIPTION_CHARS], *_choices(p.type))
    ]
    columns = (
        definition.name,
        definition.domain or "",
        definition.description[:MAX_DESCRIPTION_CHARS],
        " ".join(parameters)[:MAX_DESCRIPTION_CHARS],
    )
    return tuple(" ".join(split_words(text)) for text in columns)


def _choices(tree: TypeTree) -> list[str]:
    nodes = [node for node in walk(tree) if isinstance(node, Choice)]
    return [value for node in nodes for value in node.values if isinstance(value, str)]


def _terms(query: str) -> list[str]:
    """Return what a question asks for: its words, or phrases that stand for one thing."""
    synonyms = read_synonyms()
    words = [w for w in split_words(query[:MAX_QUERY_CHARS]) if w.isalnum()][:MAX_QUERY_WORDS]
    terms: list[str] = []
    position = 0
    while position < len(words):
        length = _MAX_PHRASE_WORDS
        while length > 1 and " ".join(words[position : position + length]) not in synonyms.others:
            length -= 1
        phrase = " ".join(words[position : position + length])
        if length > 1 or phrase not in synonyms.stop_words:
            terms.append(phrase)
        position += length
    return list(dict.fromkeys(terms or words))


def _synonyms(term: str, weight: float) -> dict[str, float]:
    """Return what may be meant by a word or phrase, in the first of its forms that is known."""
    others = read_synonyms().others
    form = next((f for f in map(term.removesuffix, _ENDINGS) if f in others), None)
    return {} if form is None else {o: weight * near for o, near in others[form].items()}


_ENDINGS = ("", "s", "d", "es", "ed", "ing")
_CHANGES = frozenset("create add insert new update edit modify change set delete remove".split())  # noqa: SIM905
"""First words of names of tools that change something."""

# --- synonyms -----------------------------------------------------------------------------------


class Synonyms(NamedTuple):
    """What `synonyms.txt` says of English words."""

    stop_words: frozenset[str]  # words of a question that say nothing about the tool that is wanted
    others: Mapping[str, Mapping[str, float]]  # what may be meant by a phrase, from 0 to 1


@functools.cache
def read_synonyms() -> Synonyms:
    """Return the words of `synonyms.txt`; the first of a line is nearer to the others than they to each other."""
    text = Path(__file__).with_name("synonyms.txt").read_text("utf-8")
    sections = dict(part.split("]\n", 1) for part in text.split("\n[")[1:])
    lines = {
        name: [line.split() for line in part.splitlines() if line and not line.startswith("#")]
        for name, part in sections.items()
    }
    others: dict[str, dict[str, float]] = {}
    for name, to_first, to_others in ("near", 0.65, 0.5), ("same", 0.95, 0.95):
        for words in lines[name]:
            group = [" ".join(split_words(word)) for word in words]
            for word, other in itertools.permutations(group, 2):
                weight = to_first if group[0] in (word, other) else to_others
                near = others.setdefault(word, {})
                near[other] = max(weight, near.get(other, 0.0))
    return Synonyms(frozenset(itertools.chain.from_iterable(lines["stop"])), others)


# --- meaning ------------------------------------------------------------------------------------


class EmbeddingIndex:
    """The tools as vectors, made with the first search. It may be used from any thread."""

    def __init__(self, embeddings: Embeddings, definitions: Iterable[ToolDefinition]) -> None:
        self._embeddings = embeddings
        self._texts = [_text(definition) for definition in definitions]
        self._vectors: list[list[float]] | None = None

    def rank(self, query: str) -> list[int]:
        """Return the positions of the tools whose meaning is nearest to `query`, nearest first."""
        if self._vectors is None:
            self._vectors = [_unit(v) for v in self._embeddings.embed_documents(self._texts)]
        return self._nearest(self._vectors, self._embeddings.embed_query(query))

    async def arank(self, query: str) -> list[int]:
        """Return the same as `rank`."""
        if self._vectors is None:
            found = await self._embeddings.aembed_documents(self._texts)
            self._vectors = [_unit(vector) for vector in found]
        return self._nearest(self._vectors, await self._embeddings.aembed_query(query))

    @staticmethod
    def _nearest(vectors: Sequence[Sequence[float]], query: Sequence[float]) -> list[int]:
        wanted = _unit(query)
        near = [sum(map(operator.mul, vector, wanted)) for vector in vectors]
        return sorted(range(len(near)), key=lambda number: (-near[number], number))[:MAX_NEAREST]


def _text(definition: ToolDefinition) -> str:
    name = " ".join(split_words(definition.name))
    domain = " ".join(split_words(definition.domain or ""))
    about = one_line(definition.description, limit=1_000)
    return ": ".join(filter(None, [domain, name, about]))


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def join_ranks(*ranks: Sequence[int]) -> list[int]:
    """Return one order for several: reciprocal rank fusion, which needs no common scale."""
    scores: dict[int, float] = {}
    for rank in ranks:
        for place, number in enumerate(rank, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (_FUSION + place)
    return sorted(scores, key=lambda number: (-scores[number], number))


# --- tools that search --------------------------------------------------------------------------

# `search_tools`, `describe` and `list_domains` are tools like any other, so they are called like any
# other, and answered by the host: finding a tool costs no prompt.

DISCOVERY_NAMES = ("search_tools", "describe", "list_domains")  # what the code calls them
_reading = new_lock()
_read: dict[CodeType, StructuredTool] = {}  # without the function: reading one takes 1 ms
DEFAULT_LIMIT = 10  # tools that one search returns by default


class FoundTool(TypedDict):
    """One tool that a search found."""

    name: str  # what to pass to `describe`, and where to import it from: `domain.tool`
    signature: str
    summary: str


class _Catalog(Protocol):
    """What the tools that search need of a catalog."""

    @property
    def by_domain(self) -> dict[str, list[str]]: ...
    def search(self, query: str, *, limit: int) -> list[ToolDefinition]: ...
    async def asearch(self, query: str, *, limit: int) -> list[ToolDefinition]: ...
    def describe(self, name: str) -> str: ...
    def render_line(self, name: str) -> str: ...


def build_discovery(catalog: _Catalog) -> tuple[BaseTool, ...]:
    """Return the tools that find tools of `catalog`."""

    def search_tools(
        query: Annotated[str, "what the tool should do, in any words"],
        limit: Annotated[int, "how many, at most"] = DEFAULT_LIMIT,
    ) -> list[FoundTool]:
        """Find tools by what they do, the best first."""
        return _as_found(catalog, catalog.search(query, limit=limit))

    async def asearch_tools(query: str, limit: int = DEFAULT_LIMIT) -> list[FoundTool]:
        return _as_found(catalog, await catalog.asearch(query, limit=limit))

    def describe(name: Annotated[str, "the name of a tool, or of a domain"]) -> str:
        """Return the stub of a tool: its parameters, types and documentation; or a domain's tools."""
        try:
            return catalog.describe(name)
        except KeyError as error:
            raise ValueError(error.args[0]) from error  # its text, not the key, is for the code

    def list_domains() -> dict[str, list[str]]:
        """Return the names of all tools by domain."""
        return catalog.by_domain

    others = build_own_tool(describe), build_own_tool(list_domains)
    return build_own_tool(search_tools, asearch_tools), *others


def build_own_tool(
    function: Callable[..., object], coroutine: Callable[..., Awaitable[object]] | None = None
) -> StructuredTool:
    """Return a function of ours as a tool."""

    async def at_once(**arguments: object) -> object:
        return function(**arguments)

    coroutine = coroutine or at_once
    # While LangChain reads a signature it silences warnings, by filters that belong to the whole process.
    with _reading:
        if (code := function.__code__) not in _read:
            tool = StructuredTool.from_function(function, coroutine=coroutine)
            assert tool.tool_call_schema  # it is kept, in the copies too
            _read[code] = tool.model_copy(update={"func": None, "coroutine": None})
    return _read[code].model_copy(update={"func": function, "coroutine": coroutine})


def _as_found(catalog: _Catalog, definitions: list[ToolDefinition]) -> list[FoundTool]:
    found: list[FoundTool] = []
    for definition in definitions:
        name = definition.qualified_name
        signature, _, summary = catalog.render_line(name).partition("  # ")
        found.append({"name": name, "signature": signature, "summary": summary})
    return found
