"""Find tools by meaning, with an embedding model of LangChain's, and join that with the words."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

from langchain_core.embeddings import Embeddings

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.search.words import split_words
from langchain_ptc.catalog.text import one_line

MAX_NEAREST = 50
"""Tools that a search by meaning has a say about; the others are too far away to tell them apart."""
_FUSION = 60
"""The constant of reciprocal rank fusion, as its authors chose it (Cormack et al., 2009)."""


class EmbeddingIndex:
    """The tools as vectors, made with the first search. It may be used from any thread.

    Args:
        embeddings: An embedding model.
        definitions: The tools; their order decides between equals.
    """

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
        """Return the positions of the tools whose meaning is nearest to `query`, nearest first."""
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
