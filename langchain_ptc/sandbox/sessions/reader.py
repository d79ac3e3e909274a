"""From a table of descriptions to the variables of the code.

What a node may be is in `_Reader`'s methods and nowhere else. Each makes what code could have made by
itself, so that a table which nobody but an attacker has written gives him nothing. The order is that
of three rounds: objects are made empty, then filled, and only then put where their hash counts.

Code that the session has kept runs in here at one place: the `__hash__` and `__eq__` of its own
classes, where their instances are keys.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import classes
from langchain_ptc.sandbox.sessions.frames import FRAME_MAKERS
from langchain_ptc.sandbox.sessions.names import Names
from langchain_ptc.sandbox.sessions.simple import MAKERS, to_bytes
from langchain_ptc.sandbox.sessions.traits import (
    BY_NAME,
    CONTENTS,
    DICTS,
    WHOLE,
    slots_of_class,
)
from langchain_ptc.sandbox.sessions.units import Compile, Place, Unit, Units, compile_unit
from langchain_ptc.sandbox.wire.values import Record

_SCALARS = frozenset({type(None), bool, str, float, int})
_MAPPINGS: Mapping[str, Callable[[Any], Any]] = {
    "OrderedDict": lambda _: collections.OrderedDict(),
    "Counter": lambda _: collections.Counter(),
    "defaultdict": collections.defaultdict,
}
_MOST_KEY_DEPTH = 500
_PARTS_OF_CLASS = ("bases", "defaults", "__orig_bases__", "__match_args__")
_NAMED_PARTS_OF_CLASS = ("annotations", "values")


class Malformed(ValueError):
    """A table that no writer has written."""


class Reader:
    """Makes variables of one table, which they share.

    Args:
        nodes: The table, decoded from JSON.
        units: The units of the document.
        known: Gives what is kept by name.
        all_units: Takes in the functions of the units, so that they can be kept again.
        namespace: Globals of the code.
        compile_source: Compiles a unit by the policy.
    """

    def __init__(
        self,
        nodes: Sequence[Any],
        units: Sequence[Unit],
        *,
        known: Names,
        all_units: Units,
        namespace: dict[str, object],
        compile_source: Compile,
    ) -> None:
        self._nodes = nodes
        self._units = units
        self._known = known
        self._all_units = all_units
        self._namespace = namespace
        self._compile = compile_source
        self._made: dict[int, Any] = {}
        self._depth: dict[int, int] = {}
        self._filling: deque[Callable[[], None]] = deque()
        self._finishing: dict[type, Callable[[], None]] = {}
        self._hashing: deque[Callable[[], None]] = deque()

    def read(self, item: Any) -> object:
        """Return one variable.

        Raises:
            Exception: It cannot be made, for whatever reason; nothing of it is left.
        """
        before = len(self._made)
        try:
            value = self._get(item)
            self._settle()
        except BaseException:
            while len(self._made) > before:
                self._made.popitem()
            self._filling.clear()
            self._finishing.clear()
            self._hashing.clear()
            raise
        return value

    def _settle(self) -> None:
        self._fill()
        while self._hashing:
            self._hashing.popleft()()
            self._fill()

    def _fill(self) -> None:
        while self._filling or self._finishing:
            if self._filling:
                self._filling.popleft()()
            else:
                self._finish(next(iter(self._finishing)))

    def _finish(self, cls: type) -> None:
        """Finish a class, and before it those that it inherits from."""
        for base in reversed(type.mro(cls)):
            finish = self._finishing.pop(base, None)
            if finish is not None:
                finish()

    # --- items ---

    def _get(self, item: Any) -> Any:
        if type(item) in _SCALARS:
            return item
        number = _number(item)
        if number not in self._made:
            node = self._node(number)
            if node[0] in _FILLED_LATER:  # it needs nothing: most do not
                made = self._made[number] = self._make(node)
                return made
            self._make_all(number)
        return self._made[number]

    def _get_all(self, items: Any) -> list[Any]:
        if type(items) is not list:
            raise Malformed("a list was expected")
        if set(map(type, items)) <= _SCALARS:
            return list(items)
        return [self._get(item) for item in items]

    def _get_keys(self, items: Any) -> list[Any]:
        """Return what will be asked for its hash, which Python does without minding its stack."""
        values = self._get_all(items)
        for item in items:
            if type(item) is list and self._depth.get(_number(item), 0) > _MOST_KEY_DEPTH:
                raise Malformed("a key that is nested too deeply")
        self._fill()
        return values

    def _get_fields(self, items: Any) -> dict[str, Any]:
        if type(items) is not dict:
            raise Malformed("an object was expected")
        return dict(zip(items, self._get_all([*items.values()]), strict=True))

    def _get_pairs(self, items: Any) -> list[tuple[Any, Any]]:
        values = self._get_all(items)
        return [*zip(values[::2], values[1::2], strict=True)]

    def _make_all(self, first: int) -> None:
        """Make a node, and before it the nodes that it cannot be made without."""
        waiting: dict[int, None] = {}  # a stack that can be searched
        stack = [first]
        while stack:
            number = stack[-1]
            if number in self._made:
                stack.pop()
                waiting.pop(number, None)
                continue
            node = self._node(number)
            needed = _needs(node)
            wanted = [n for n in needed if n not in self._made]
            if wanted:
                waiting[number] = None
                if not waiting.keys().isdisjoint(wanted):
                    raise Malformed("an object that is needed to make itself")
                stack += wanted
            else:
                made = self._make(node)
                self._made.setdefault(number, made)  # filling its parts may have made it
                self._depth[number] = 1 + max([self._depth.get(n, 0) for n in needed], default=0)

    def _node(self, number: int) -> list[Any]:
        node = self._nodes[number] if 0 <= number < len(self._nodes) else None
        if type(node) is not list or not node or type(node[0]) is not str:
            raise Malformed(f"node {number}")
        return node

    def _make(self, node: list[Any]) -> Any:
        tag, parts = node[0], node[1:]
        special = _SPECIAL.get(tag)
        if special is not None:
            return special(self, *parts)
        if tag == "bound":  # read as the code would read it
            return self._namespace["_ptc_getattr"](*self._get_made(parts))  # type: ignore[operator]
        if tag in MAKERS:
            return MAKERS[tag](*self._get_made(parts))
        if tag in FRAME_MAKERS:
            return FRAME_MAKERS[tag](self._known.load, *self._get_made(parts))
        raise Malformed(f"a node of the unknown kind {tag!r}")

    def _get_made(self, parts: list[Any]) -> list[Any]:
        """Return the parts, filled: they go into something that may look at them."""
        values = self._get_all(parts)
        self._drain_filling()
        return values

    def _drain_filling(self) -> None:
        while self._filling:
            self._filling.popleft()()

    # --- containers ---

    def _list(self, items: Any) -> list[Any]:
        if type(items) is list and set(map(type, items)) <= _SCALARS:
            return list(items)
        made: list[Any] = []
        self._filling.append(lambda: made.extend(self._get_all(items)))
        return made

    def _tuple(self, items: Any) -> tuple[Any, ...]:
        return tuple(self._get_all(items))

    def _dict(self, items: Any) -> dict[Any, Any]:
        if type(items) is dict and set(map(type, items.values())) <= _SCALARS:
            return dict(items)
        made: dict[Any, Any] = {}
        self._filling.append(lambda: made.update(self._get_fields(items)))
        return made

    def _pairs_into(self, made: Any, items: Any) -> Any:
        """Fill what has keys: at once if these are plain, else when they have their hash."""

        def fill() -> None:
            values = self._get_all(items[1::2])
            for key, value in zip(self._get_keys(items[::2]), values, strict=True):
                made[key] = value

        plain = type(items) is list and set(map(type, items[::2])) <= _SCALARS
        (self._filling if plain else self._hashing).append(fill)
        return made

    def _any_dict(self, items: Any) -> dict[Any, Any]:
        return self._pairs_into({}, items)  # type: ignore[no-any-return]

    def _record(self, items: Any) -> Record:
        return self._pairs_into(Record(), items)  # type: ignore[no-any-return]

    def _mapping(self, name: str, factory: Any, items: Any) -> Any:
        return self._pairs_into(_MAPPINGS[name](self._get(factory)), items)

    def _set(self, items: Any) -> set[Any]:
        made: set[Any] = set()

        def fill() -> None:
            made.update(self._get_keys(items))

        self._hashing.append(fill)
        return made

    def _frozenset(self, items: Any) -> frozenset[Any]:
        return frozenset(self._get_keys(items))

    def _deque(self, most: Any, items: Any) -> deque[Any]:
        made: deque[Any] = deque(maxlen=most)
        self._filling.append(lambda: made.extend(self._get_all(items)))
        return made

    def _bytearray(self, text: Any) -> bytearray:
        return bytearray(to_bytes(text))

    # --- names, functions, cells ---

    def _name(self, module: Any, name: Any) -> object:
        return self._known.get(module, name)

    def _module(self, name: Any) -> types.ModuleType:
        return self._known.load(name)

    def _cell(self, *content: Any) -> types.CellType:
        cell = types.CellType()

        def fill() -> None:
            cell.cell_contents = self._get(*content)

        if content:
            self._filling.append(fill)
        return cell

    def _function(self, unit: Any, line: Any, number: Any, name: Any, told: Any) -> Any:
        source = self._units[_number([unit])]
        if not source.codes:
            compile_unit(source, self._all_units, self._compile)
        code = source.codes[Place(name, line, number)]
        if any(n.startswith(".") or n == "__classdict__" for n in code.co_freevars):
            raise Malformed("a function of a kind that is not kept")
        cells = tuple(self._get_all(told["cells"]))
        made = types.FunctionType(code, self._namespace, str(told["name"]), None, cells)
        made.__qualname__ = str(told["qualname"])
        made.__doc__ = told["doc"]
        made.__module__ = "__main__"

        def fill() -> None:
            if "defaults" in told:
                made.__defaults__ = tuple(self._get_all(told["defaults"]))
            if "keyword_defaults" in told:
                made.__kwdefaults__ = self._get_fields(told["keyword_defaults"])
            if "annotations" in told:
                annotations = self._get_fields(told["annotations"])
                made.__annotations__ = classes.checked_names(annotations)
            if "attributes" in told:
                attributes = self._get_fields(told["attributes"])
                vars(made).update(classes.checked_attributes(attributes))

        self._filling.append(fill)
        return made

    # --- classes and instances ---

    def _class(self, kind: Any, name: Any, told: Any) -> type:
        parts: dict[str, Any] = {"annotations": {}, "doc": told["doc"]}
        for part in _PARTS_OF_CLASS:
            if part in told:
                parts[part] = self._get_all(told[part])
        for part in _NAMED_PARTS_OF_CLASS:
            if part in told:
                parts[part] = self._get_fields(told[part])
        cls = classes.make_class(kind, name, told, parts)

        def fill() -> None:
            classes.fill_class(cls, self._get_fields(told["members"]))
            self._finishing[cls] = finish

        def finish() -> None:
            fields: Any = None
            if kind == "dataclass":
                fields = [(n, o, self._get_fields(values)) for n, o, values in told["fields"]]
            elif kind == "enum":
                state = told.get("state", {})
                fields = {member: self._get_fields(state[member]) for member in state}
            self._drain_filling()
            classes.finish_class(cls, kind, told, fields)

        self._filling.append(fill)
        return cls

    def _member(self, cls: Any, name: Any, value: Any) -> Any:
        made = self._get(cls)
        if not issubclass(type(made), enum.EnumMeta):
            raise Malformed("a member of what is no enumeration")
        if name is not None:
            with contextlib.suppress(KeyError):
                return made[name]
        return made(self._get(value))

    def _exception(self, cls: Any, args: Any, state: Any) -> BaseException:
        kind = self._get(cls)
        if not issubclass(type(kind), type) or not issubclass(kind, BaseException):
            raise Malformed("an exception whose class is no exception")
        values = self._get_all(args)
        if is_own(kind):
            built_in = next(base for base in type.mro(kind) if not is_own(base))
            made: BaseException = built_in.__new__(kind, *values)
        else:
            made = kind(*values)
        BaseException.args.__set__(made, tuple(values))  # type: ignore[attr-defined]  # a descriptor
        self._filling.append(lambda: self._set_state(made, state, []))
        return made

    def _instance(self, cls: Any, base: Any, content: Any, state: Any, slots: Any) -> Any:
        kind = self._get(cls)
        built_in = BY_NAME[base]
        known = is_own(kind) or (built_in is tuple and hasattr(kind, "_fields"))
        if not issubclass(type(kind), type) or not known or not issubclass(kind, built_in):
            raise Malformed("an instance of no class of the code")
        new: Any = built_in.__new__
        if CONTENTS[built_in].fill is not None:
            made: Any = new(kind)
            self._fill_content(made, built_in, content)
        else:
            values = self._get_keys(content) if built_in is frozenset else self._get_all(content)
            if built_in in WHOLE:
                values = [values]
            made = new(kind, *values)
        self._filling.append(lambda: self._set_state(made, state, slots))
        return made

    def _fill_content(self, made: Any, built_in: type, content: Any) -> None:
        put = CONTENTS[built_in].fill
        assert put is not None
        hashes = built_in in DICTS or built_in is set

        def fill() -> None:
            values: Any = self._get_keys(content) if hashes else self._get_all(content)
            if built_in in DICTS:
                values = [*zip(values[::2], values[1::2], strict=True)]
            put(made, values)

        (self._hashing if hashes else self._filling).append(fill)

    def _set_state(self, made: Any, state: Any, slots: Any) -> None:
        values = classes.checked_attributes(self._get_fields(state))
        if values:
            object.__getattribute__(made, "__dict__").update(values)
        if slots:
            places = slots_of_class(type(made))
            for name, value in self._get_pairs(slots):
                places[name].__set__(made, value)


def _number(item: Any) -> int:
    if type(item) is not list or len(item) != 1 or type(item[0]) is not int:
        raise Malformed("neither a scalar nor the number of a node")
    number: int = item[0]
    return number


_SPECIAL: Mapping[str, Callable[..., Any]] = {
    "l": Reader._list,
    "t": Reader._tuple,
    "o": Reader._dict,
    "d": Reader._any_dict,
    "R": Reader._record,
    "D": Reader._mapping,
    "s": Reader._set,
    "fs": Reader._frozenset,
    "q": Reader._deque,
    "bytearray": Reader._bytearray,
    "g": Reader._name,
    "m": Reader._module,
    "c": Reader._cell,
    "f": Reader._function,
    "k": Reader._class,
    "em": Reader._member,
    "e": Reader._exception,
    "x": Reader._instance,
}
_FILLED_LATER = frozenset({"l", "o", "d", "R", "s", "q", "bytearray", "g", "m", "c"})


def _needs(node: list[Any]) -> list[int]:
    """Return the nodes that must be there before this one can be made."""
    tag = node[0]
    if tag in _FILLED_LATER:
        return []
    wanted: list[Any]
    if tag in ("t", "fs"):
        wanted = node[1]
    elif tag == "f":
        wanted = node[5]["cells"]
    elif tag == "D":
        wanted = [node[2]]
    elif tag == "e":
        wanted = [node[1], *node[2]]
    elif tag == "x":
        later = CONTENTS[BY_NAME[node[2]]].fill is not None
        wanted = [node[1], *([] if later else node[3])]
    elif tag == "k":
        told = node[3]
        wanted = [item for part in _PARTS_OF_CLASS for item in told.get(part, ())]
        for part in _NAMED_PARTS_OF_CLASS:
            wanted += told.get(part, {}).values()
    else:
        wanted = node[1:]
    return [_number(item) for item in wanted if type(item) is list]
