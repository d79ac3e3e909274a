"""One execution of a session: what it starts with, and what it leaves.

The bytes are a header with the version, a checksum, and JSON:
`{"units": […], "nodes": […], "variables": [[name, item], …]}`. The checksum finds what was cut or
changed by accident. It is no seal: whoever can write the state of a graph can write any table, and so
nothing in a table is believed (see `reader`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.sessions.names import Names
from langchain_ptc.sandbox.sessions.reader import Reader
from langchain_ptc.sandbox.sessions.refusal import TooLarge, Unkeepable
from langchain_ptc.sandbox.sessions.units import Compile, Mode, Unit, Units, cut_unit
from langchain_ptc.sandbox.sessions.writer import Item, Writer, encode_json
from langchain_ptc.sandbox.wire.values import utf8_length

VERSION = b"langchain-ptc session 1\n"
_DIGEST_BYTES = 32
_HEADER_BYTES = len(VERSION) + _DIGEST_BYTES
_FRAME_BYTES = 100
"""What stands around the table."""
_NEVER = frozenset({"__builtins__", "__annotations__", "__class__", "__debug__"})
_MOST_NOTES = 5
_MISSING = object()


class Unreadable(ValueError):
    """The bytes of a session cannot be read; the message says why."""


def _open(kept: bytes, most_bytes: int) -> dict[str, Any]:
    if not kept:
        return {"units": [], "nodes": [], "variables": []}
    if len(kept) > most_bytes:
        raise Unreadable(
            f"they have {len(kept):,} bytes, and {most_bytes:,} are allowed (Limits.session_bytes)"
        )
    if not kept.startswith(VERSION):
        raise Unreadable("they are of another version")
    digest, body = kept[len(VERSION) : _HEADER_BYTES], kept[_HEADER_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise Unreadable("they are damaged")
    try:
        document = json.loads(body.decode("utf-8", "surrogatepass"))
        tables = [document[key] for key in ("units", "nodes", "variables")]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise Unreadable("they are damaged") from None
    if not all(type(table) is list for table in tables):
        raise Unreadable("they are damaged")
    return document  # type: ignore[no-any-return]  # looked at above


def _close(document: str) -> bytes:
    body = document.encode("utf-8", "surrogatepass")
    return b"".join((VERSION, hashlib.sha256(body).digest(), body))


class KeptVariables:
    """The variables of a session in one execution.

    Args:
        kept: What the execution before this one has left; empty for the first one.
        most_bytes: How many bytes this one may leave, and the earlier one may have left.
        most_chars: Length of the source of one unit.
    """

    def __init__(self, kept: bytes, *, most_bytes: int, most_chars: int) -> None:
        self._most_bytes = most_bytes
        self._units = Units()
        self._nodes: list[Any] = []
        self._sources: list[Unit] = []
        self._variables: dict[str, Item] = {}
        self._given: dict[str, object] = {}
        self.notes: list[str] = []
        """What the code should know: what was not kept, and what could not be read."""
        try:
            self._take(_open(kept, most_bytes), most_chars)
        except Unreadable as error:
            self.notes.append(
                f"the variables of earlier executions could not be read: {error}; "
                "this execution has started without them"
            )

    def _take(self, document: Mapping[str, Any], most_chars: int) -> None:
        try:
            units = [_read_unit(unit, most_chars) for unit in document["units"]]
            variables = {_checked_variable(name): item for name, item in document["variables"]}
        except (TypeError, ValueError):
            raise Unreadable("they are damaged") from None
        self._nodes, self._sources, self._variables = document["nodes"], units, variables

    # --- what the compiler should know ---

    @property
    def names(self) -> frozenset[str]:
        """The variables that the code has without binding them."""
        return frozenset(self._variables)

    @property
    def private_names(self) -> frozenset[str]:
        """Private attribute names that the code of the session has made."""
        return frozenset(name for unit in self._sources for name in unit.private)

    @property
    def asyncio_names(self) -> frozenset[str]:
        """The variables that hold `asyncio` or something from it."""
        return frozenset(name for name, item in self._variables.items() if self._is_asyncio(item))

    def _is_asyncio(self, item: Item) -> bool:
        match item:
            case [int(number)] if 0 <= number < len(self._nodes):
                match self._nodes[number]:
                    case ["m" | "g", "asyncio", *_]:
                        return True
        return False

    # --- in ---

    def restore(self, namespace: dict[str, object], known: Names, compile_source: Compile) -> None:
        """Put the variables into the globals of the code, over what it is given.

        Args:
            namespace: The globals, with everything that the code is given.
            known: Gives what is kept by name.
            compile_source: Compiles a unit by the policy.
        """
        self._given = dict(namespace)
        reader = Reader(
            self._nodes,
            self._sources,
            known=known,
            all_units=self._units,
            namespace=namespace,
            compile_source=compile_source,
        )
        lost: dict[str, list[str]] = {}
        for name, item in self._variables.items():
            try:
                value = reader.read(item)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the rest is there
                lost.setdefault(_why_lost(error), []).append(name)
                continue
            namespace[name] = value
        for why, names_lost in list(lost.items())[:_MOST_NOTES]:
            self.notes.append(
                f"{_listed(names_lost)} of an earlier execution could not be read: {why}"
            )

    # --- out ---

    def keep(
        self, namespace: Mapping[str, object], known: Names, code: Any, source: str, mode: Mode
    ) -> bytes:
        """Return the variables of the code as bytes; what is not kept is told in `notes`.

        Args:
            namespace: The globals of the code, after it.
            known: Finds what is kept by name.
            code: The compiled code.
            source: Its source.
            mode: Its mode.
        """
        self._units.add(Unit(source, mode, self.private_names), code)
        wanted = {
            name: value
            for name, value in namespace.items()
            if _is_variable(name) and self._given.get(name, _MISSING) is not value
        }
        told: dict[str, str] = {}
        while True:
            writer = Writer(known, self._units, self._most_bytes - _HEADER_BYTES - _FRAME_BYTES)
            items, sizes = self._write(writer, wanted, told)
            document = self._render(writer, items)
            if document is not None:
                break
            if not wanted:  # not even the table without a variable
                return b""
            self._drop_largest(writer, wanted, sizes, told)
        self._note_dropped(told)
        return _close(document)

    def _write(
        self, writer: Writer, wanted: dict[str, object], told: dict[str, str]
    ) -> tuple[dict[str, Item], dict[str, int]]:
        items: dict[str, Item] = {}
        sizes: dict[str, int] = {}
        for name, value in list(wanted.items()):
            try:
                items[name], sizes[name] = writer.add(value)
            except Unkeepable as error:
                told[name] = _why_not(error, value)
            except TooLarge:
                told[name] = (
                    f"it takes more than {self._most_bytes:,} bytes, which all variables of a "
                    "session may take (Limits.session_bytes)"
                )
            if name in told:
                del wanted[name]
        return items, sizes

    def _render(self, writer: Writer, items: Mapping[str, Item]) -> str | None:
        """Return the document; None if it is too large."""
        if writer.size > self._most_bytes:
            return None
        units = [cut_unit(unit, places) for unit, places in writer.used.items()]
        sources = [[unit.source, unit.mode, sorted(unit.private)] for unit in units]
        document = (
            f'{{"units":{encode_json(sources)},"nodes":[{",".join(writer.nodes)}],'
            f'"variables":{encode_json(list(items.items()))}}}'
        )
        return document if utf8_length(document) <= self._most_bytes - _HEADER_BYTES else None

    def _drop_largest(
        self,
        writer: Writer,
        wanted: dict[str, object],
        sizes: Mapping[str, int],
        told: dict[str, str],
    ) -> None:
        """Leave out as many of the largest variables as it takes, but at least one."""
        over = writer.size - self._most_bytes
        for name in sorted(wanted, key=lambda name: sizes[name], reverse=True):
            told[name] = (
                f"it takes {sizes[name]:,} bytes, and all variables of a session may take "
                f"{self._most_bytes:,} (Limits.session_bytes)"
            )
            del wanted[name]
            over -= sizes[name]
            if over <= 0:
                return

    def _note_dropped(self, told: Mapping[str, str]) -> None:
        notes = [f"`{name}` was not kept: {why}" for name, why in told.items()]
        self.notes += notes[:_MOST_NOTES]
        if rest := list(told)[_MOST_NOTES:]:
            self.notes.append(f"nor were kept: {_listed(rest)}")


def _listed(given: Iterable[str]) -> str:
    text = ", ".join(f"`{name}`" for name in given)
    return text if len(text) <= 1_000 else f"{text[:1_000]} …"


def _why_lost(error: Exception) -> str:
    if isinstance(error, ImportError):
        return str(error)
    return f"making it raised {type(error).__name__}"


def _why_not(error: Unkeepable, variable: object) -> str:
    one, many = error.what
    rule = f"{many} cannot be kept between executions"
    return rule if error.value is variable else f"it holds {one}, and {rule}"


def _is_variable(name: object) -> bool:
    """Whether code may have a variable of this name, and it is not one of Python's own."""
    if type(name) is not str or name.startswith(names.RESERVED) or name in _NEVER:
        return False
    if names.is_dunder(name):
        return name in names.SPECIAL_VARIABLES
    return not names.is_refused(name)


def _checked_variable(name: object) -> str:
    if type(name) is not str or not name.isidentifier() or not _is_variable(name):
        raise ValueError(f"{name!r} is no name of a variable")
    return name


def _read_unit(told: Any, most_chars: int) -> Unit:
    source, mode, private = told
    if type(source) is not str or len(source) > most_chars or mode not in ("sync", "async"):
        raise ValueError("a malformed unit")
    if not all(type(name) is str and name.startswith("_") for name in private):
        raise ValueError("malformed private names")
    return Unit(source, mode, frozenset(private))
