"""`ObservedShapes`: what was learned of the results of tools, kept for the next prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_ptc.catalog.shapes.learning import (
    CONTAINERS,
    MAX_DEPTH,
    TYPE_NAMES,
    Field,
    Shape,
    bounded,
    is_record,
    merge,
    read_shape,
    render_shape,
)
from langchain_ptc.errors import CatalogError
from langchain_ptc.locks import new_lock

Learning: TypeAlias = Literal["on", "off"]
"""Whether results are looked at."""
_FORMAT = 1


class ObservedShapes:
    """The shapes of results, by the qualified name of their tool. It may be used from any thread.

    A catalog does not change, but what is known of its tools' results does: it is here. Shapes hold
    types and the names of fields, never values.

    Args:
        learning: `off` for shapes that are only shown: the prompt then never changes.
    """

    def __init__(self, *, learning: Learning = "on") -> None:
        if learning not in ("on", "off"):
            raise ValueError(f"learning must be 'on' or 'off', got {learning!r}")
        self.learning = learning
        self._lock = new_lock()
        self._shapes: dict[str, Shape] = {}
        self._texts: dict[str, str] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __repr__(self) -> str:
        return f"ObservedShapes({', '.join(sorted(self._texts))})"

    @property
    def version(self) -> int:
        """A number that changes exactly if the text of a shape does."""
        return self._version

    def text(self, name: str) -> str:
        """Return the shape of a tool's results as one line of types; empty if none was seen."""
        return self._texts.get(name, "")

    def observe(self, name: str, value: object, *, arguments: object = None) -> None:
        """Merge the shape of one result into what is known.

        Args:
            name: Qualified name of the tool.
            value: What it returned. Nothing of it is kept but types and names of fields.
            arguments: What it was called with; a key that is among them is taken for data.
        """
        if self.learning == "off":
            return
        seen = read_shape(value, arguments=arguments)
        with self._lock:
            known = self._shapes.get(name)
            merged = seen if known is None else bounded(merge(known, seen))
            if merged != known:
                self._put(name, merged)

    def _put(self, name: str, shape: Shape) -> None:
        self._shapes[name] = shape
        text = render_shape(shape)
        if text != self._texts.get(name):
            self._texts[name] = text
            self._version += 1

    # --- keeping --------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all shapes as data for JSON."""
        with self._lock:
            shapes = {name: _to_dict(shape) for name, shape in sorted(self._shapes.items())}
        return {"format": _FORMAT, "shapes": shapes}

    @classmethod
    def from_dict(cls, data: object, *, learning: Learning = "on") -> ObservedShapes:
        """Return the shapes that `to_dict` made data of.

        Raises:
            CatalogError: It is no such data.
            ValueError: `learning` is neither `on` nor `off`.
        """
        found = cls(learning=learning)
        given: Mapping[Any, Any] = data if isinstance(data, Mapping) else {}
        shapes = given.get("shapes")
        if not isinstance(shapes, Mapping) or given.get("format") != _FORMAT:
            raise CatalogError(
                "this is not what ObservedShapes.to_dict() returns: it has 'shapes' and "
                f"'format': {_FORMAT}"
            )
        for name, shape in shapes.items():
            try:
                found._put(name, _read_saved(shape))
            except CatalogError as error:
                raise CatalogError(f"the shape of {name!r} cannot be read: {error}") from error
        return found

    def save(self, path: Path | str) -> None:
        """Write all shapes into a file of JSON, which is replaced as a whole."""
        target = Path(path)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        draft = target.with_name(f"{target.name}.new")
        draft.write_text(f"{text}\n", encoding="utf-8")
        draft.replace(target)

    @classmethod
    def load(cls, path: Path | str, *, learning: Learning = "on") -> ObservedShapes:
        """Return the shapes that `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            CatalogError: The file holds something else.
            ValueError: `learning` is neither `on` nor `off`.
        """
        try:
            data = json.loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise CatalogError(f"{Path(path).name} is no JSON: {error}") from error
        try:
            return cls.from_dict(data, learning=learning)
        except CatalogError as error:
            raise CatalogError(f"{Path(path).name}: {error}") from error


# --- a shape as data ----------------------------------------------------------------------------


def _to_dict(shape: Shape) -> dict[str, Any]:
    """Return a shape as JSON-like data."""
    data: dict[str, Any] = {}
    if shape.scalars:
        data["types"] = sorted(shape.scalars)
    if shape.items:
        data["items"] = {kind: _to_dict(inner) for kind, inner in shape.items.items()}
    if shape.record is not None:
        data["fields"] = {
            key: {"shape": _to_dict(f.shape), "required": f.required}
            for key, f in shape.record.items()
        }
    if shape.table is not None:
        data["table"] = {"keys": sorted(shape.keys), "values": _to_dict(shape.table)}
    if shape.json is not None:
        data["json"] = _to_dict(shape.json)
    return data


def _read_saved(data: object) -> Shape:
    """Return the shape that `_to_dict` made data of.

    Raises:
        CatalogError: It is no such data.
    """
    try:
        return bounded(_from_dict(data, 0))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"this is no saved shape: {type(error).__name__}: {error}") from error


def _from_dict(data: Any, depth: int) -> Shape:
    if depth > 2 * MAX_DEPTH or not data.keys() <= {"types", "items", "fields", "table", "json"}:
        raise ValueError(f"unknown keys or too deep: {sorted(data)!r}")
    record = None
    if "fields" in data:
        record = {
            key: Field(shape=_from_dict(f["shape"], depth + 1), required=bool(f["required"]))
            for key, f in data["fields"].items()
        }
        if record and not is_record(record):
            raise ValueError("keys that look like data")
    table = data.get("table")
    return Shape(
        scalars=_names(data.get("types", []), TYPE_NAMES),
        items={
            kind: _from_dict(data["items"][kind], depth + 1)
            for kind in sorted(_names(data.get("items", {}), CONTAINERS))
        },
        record=record,
        table=None if table is None else _from_dict(table["values"], depth + 1),
        keys=frozenset() if table is None else _names(table["keys"], TYPE_NAMES),
        json=_from_dict(data["json"], depth + 1) if "json" in data else None,
    )


def _names(given: object, known: Sequence[str]) -> frozenset[str]:
    names: frozenset[str] = frozenset(given)  # type: ignore[call-overload]  # what is no list raises
    if not names <= set(known):
        raise ValueError(f"unknown types {sorted(names - set(known))!r}")
    return names
