"""What a tool returns, as its developer says it: an annotation or a JSON Schema -> a type tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_ptc.catalog.reading.annotations import AnnotationReader
from langchain_ptc.catalog.reading.schemas import read_schema
from langchain_ptc.catalog.types import (
    Alternatives,
    Choice,
    Container,
    Named,
    Record,
    RecordRef,
    RecordTable,
    TypeTree,
)
from langchain_ptc.errors import CatalogError

SCOPE = "output:"
"""In front of the keys of records that only a return type names."""


def read_returns(given: object, *, name: str) -> tuple[TypeTree, tuple[Record, ...]]:
    """Return the type that `given` stands for, and the records that it names.

    Args:
        given: A Python annotation, such as `list[Member]`; a JSON Schema, as a mapping; or a type
            tree, which is returned as it is.
        name: What to call a record of a JSON Schema that has no name of its own.

    Raises:
        CatalogError: `given` is none of these, or a `$ref` of the schema leads out of it.
    """
    if isinstance(given, Named | Choice | Container | Alternatives | RecordRef):
        return given, ()
    if isinstance(given, Mapping):
        try:
            return read_schema(given, name=name, scope=SCOPE)
        except CatalogError as error:
            raise CatalogError(f"the schema of {name!r} cannot be read: {error}") from error
    if isinstance(given, str | bytes | int | float | Sequence):
        raise CatalogError(
            f"returns must be a type, such as list[str], or a JSON Schema as a dict, got {given!r:.80}"
        )
    table = RecordTable()
    tree = AnnotationReader(table, direction="output").read(given)
    return tree, table.records()
