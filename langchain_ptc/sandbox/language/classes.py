"""What code may make of classes: `type`, metaclasses, `class` statements and enumerations.

Three arguments to `type`, or a metaclass, could define every special method that the language
refuses. So no metaclass reaches the code: where Python would return one, the code gets a proxy that
can test (`isinstance(x, type)`) but cannot make classes.
"""

from __future__ import annotations

import abc
import ast
import builtins
import enum
import string
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from langchain_ptc.sandbox.language.names import RESERVED, checked_identifier, mangle

_own_classes: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes that code has defined: their instances are the code's own business."""

hidden: weakref.WeakSet[type] = weakref.WeakSet((enum.EnumMeta, string.Formatter))
"""Classes of the standard library behind a facade's class; `cls.mro()` leaves them out."""


def own(cls: type) -> type:
    """Mark `cls` as defined by code, and return it."""
    _own_classes.add(cls)
    return cls


def own_copies(kinds: Iterable[type], **attributes: object) -> dict[str, Any]:
    """Return subclasses for one program, by name, each marked as of its code, with some attributes.

    A class that inherits from another one of `kinds` comes after it, and so does its subclass.
    """
    made: dict[str, Any] = {}
    for kind in kinds:
        bases = [made[base.__name__] for base in kind.__bases__ if base.__name__ in made]
        made[kind.__name__] = own(type(kind.__name__, (kind, *bases), dict(attributes)))
    return made


def is_own(obj: object) -> bool:
    """Whether `obj` is a class that code has defined, or an instance of one."""
    cls = type(obj)
    return cls in _own_classes or (issubclass(cls, type) and obj in _own_classes)


class _ProxyMeta(type):
    """Makes the proxy of a metaclass: it can test, but it cannot make classes."""

    def __call__(cls, *args: object, **kwargs: object) -> object:
        if cls is TypeProxy and len(args) == 1 and not kwargs:
            return type_of(args[0])
        if cls is TypeProxy and not args:
            raise TypeError("type() takes one argument in the sandbox")
        raise TypeError(
            f"{cls.__name__}() cannot make a class in the sandbox: use a `class` statement"
        )

    def __instancecheck__(cls, obj: object) -> bool:
        return issubclass(type(obj), _metaclasses[cls])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(_metaclasses.get(other, other), _metaclasses[cls])


def _proxy(name: str, module: str) -> type:
    item: object = classmethod(cast("Any", types.GenericAlias))
    return _ProxyMeta(name, (), {"__class_getitem__": item, "__module__": module})


TypeProxy = _proxy("type", "builtins")
ABCMetaProxy = _proxy("ABCMeta", "abc")
EnumMetaProxy = _proxy("EnumType", "enum")


def _checked_members(given: object) -> list[object]:
    """Return the members of `Enum("Name", given)`, with names that a class could have."""
    if isinstance(given, str):
        return [checked_identifier(name) for name in str.__str__(given).replace(",", " ").split()]
    items = list(given.items() if isinstance(given, Mapping) else cast("Iterable[object]", given))
    if all(isinstance(item, str) for item in items):
        return [checked_identifier(name) for name in items]
    pairs = [tuple(cast("Iterable[object]", item)) for item in items]
    return [(checked_identifier(name), value) for name, value in pairs]


class SafeEnumMeta(enum.EnumMeta):
    """`EnumMeta` whose functional form `Enum("Name", names)` takes only names of members."""

    def __call__(cls, value: object, *args: object, **kwargs: object) -> object:  # type: ignore[override]  # the original's signature differs between versions
        """Look a member up, or make an enumeration of checked names."""
        call = cast("Any", super().__call__)
        if cls._member_map_ or not (args or "names" in kwargs):
            return call(value, *args, **kwargs)
        if args[1:]:
            raise TypeError("pass the options of a functional Enum by keyword")
        given = kwargs.pop("names") if "names" in kwargs else args[0]
        return own(call(str(value), _checked_members(given), **kwargs))

    def __instancecheck__(cls, instance: object) -> bool:
        return issubclass(type(instance), _enum_bases.get(cls, cls))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return type.__subclasscheck__(
            _enum_bases.get(cls, cls), _enum_bases.get(subclass, subclass)
        )


_enum_bases: dict[type, type] = {}


def _safe_enum(base: type) -> type:
    """Return a class to inherit from that is `base` with the checked functional form."""
    namespace = SafeEnumMeta.__prepare__(base.__name__, (base,))
    namespace.update({"__module__": "enum", "__qualname__": base.__name__, "__doc__": base.__doc__})
    safe = SafeEnumMeta(base.__name__, (base,), namespace)
    _enum_bases[safe] = base
    hidden.add(base)
    return safe


ENUMS: Mapping[str, type] = {
    base.__name__: _safe_enum(base)
    for base in (enum.Enum, enum.IntEnum, enum.StrEnum, enum.Flag, enum.IntFlag)
}
"""The bases that `enum` offers to code."""

_metaclasses: dict[type, type] = {
    TypeProxy: type,
    ABCMetaProxy: abc.ABCMeta,
    EnumMetaProxy: enum.EnumMeta,
}
_usable_metaclasses = {ABCMetaProxy: abc.ABCMeta, EnumMetaProxy: SafeEnumMeta}


def type_of(obj: object) -> type:
    """Return `type(obj)`, or its proxy where that is a metaclass."""
    cls = type(obj)
    if not issubclass(cls, type):
        return cls
    if issubclass(cls, enum.EnumMeta):
        return EnumMetaProxy
    return ABCMetaProxy if cls is abc.ABCMeta else TypeProxy


def shared_bases(cls: type) -> list[type]:
    """Return the abstract classes among the bases of `cls`, itself included, that code did not make."""
    return [
        base
        for base in type.mro(cls)
        if issubclass(type(base), abc.ABCMeta) and base is not abc.ABC and not is_own(base)
    ]


def checked_register(value: object) -> object:
    """Return what was read as `register`; what others made is made no subclass of what others made."""
    if type(value) is not types.MethodType or value.__func__ is not abc.ABCMeta.register:
        return value
    cls = cast("abc.ABCMeta", value.__self__)
    if not shared_bases(cls):
        return value

    def register(subclass: type) -> type:
        if not (issubclass(type(subclass), type) and is_own(subclass)):
            raise TypeError(f"only a class of the code can be registered with {cls.__name__!r}")
        return cls.register(subclass)

    return register


def check_bases(name: str, bases: Iterable[object]) -> None:
    """Refuse to make a metaclass: a class that inherits from one."""
    for base in bases:
        if issubclass(type(base), type) and (
            base in _metaclasses or issubclass(cast("type", base), type)
        ):
            raise TypeError(f"class {name!r} cannot inherit from a metaclass in the sandbox")


def build_class(
    body: Callable[..., object], name: str, /, *bases: object, **keywords: object
) -> object:
    """Make the class of a `class` statement; no class of code is a metaclass."""
    check_bases(name, bases)
    if "metaclass" in keywords:
        metaclass = _usable_metaclasses.get(cast("type", keywords["metaclass"]))
        if metaclass is None:
            raise TypeError(f"class {name!r} can only have ABCMeta or EnumMeta as its metaclass")
        keywords["metaclass"] = metaclass
    made = builtins.__build_class__(body, name, *bases, **keywords)
    return own(made) if isinstance(made, type) else made


# --- annotations, which are evaluated eagerly on every Python ----------------------------------------
# Python 3.14 compiles them to functions (PEP 649), which its standard library calls when it needs the values:
# `dataclass`, `NamedTuple`, `TypedDict` and others, with globals of its own making. Where an annotation has raised
# before, these hold nothing, and the names in it are looked up in the interpreter's own builtins: `getattr` would
# be Python's, and not the guarded one. So no such function is made. What a class and a function of the code have
# are plain values, as up to Python 3.13, and a program takes the same path on each Python.

ARE_DEFERRED = sys.version_info >= (3, 14)
SETTLE = RESERVED + "settle"
"""Name by which the code has `settle_annotations`."""
_NAME = "__annotations__"
_Node = TypeVar("_Node", bound=ast.AST)


def settle_annotations(function: types.FunctionType) -> types.FunctionType:
    """Evaluate the annotations of a function that was just made; decorates it before all others."""
    function.__annotations__ = dict(function.__annotations__)  # drops what would evaluate them
    return function


def evaluate_at_once(nodes: Iterable[ast.AST]) -> None:
    """Change all nodes of a tree, so that Python 3.14 evaluates annotations of functions and classes eagerly."""
    nodes = list(nodes)
    if any(_makes_text(node) for node in nodes):
        return
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            _settle_class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_annotated(node):
            node.decorator_list.append(_at(node, ast.Name(SETTLE, ast.Load())))


def drop_annotations(root: ast.Module) -> None:
    """Take the annotations of variables off the top level, where nothing can read them."""
    _Annotations(None).generic_visit(root)


def _makes_text(node: ast.AST) -> bool:
    """Whether a node makes all annotations text, which is not evaluated."""
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
    )


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return node.returns is not None or any(part and part.annotation for part in every)


def _settle_class(node: ast.ClassDef) -> None:
    annotations = _Annotations(node.name)
    annotations.generic_visit(node)
    if annotations.found:
        after = 1 if ast.get_docstring(node, clean=False) is not None else 0
        empty = ast.Assign([ast.Name(_NAME, ast.Store())], ast.Dict([], []))
        node.body.insert(after, _at(node.body[0], empty))


class _Annotations(ast.NodeTransformer):
    """Puts assignments in place of the annotations of a class body, or of the top level (`class_name` None)."""

    _OF_OTHERS = (ast.expr, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

    def __init__(self, class_name: str | None) -> None:
        self.found = False
        self._class = class_name

    def visit(self, node: ast.AST) -> Any:
        """Look into a statement that makes no scope of its own."""
        return node if isinstance(node, self._OF_OTHERS) else super().visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        """Return what stands for an annotation."""
        self.found = True
        made: list[ast.stmt] = [] if node.value is None else [ast.Assign([node.target], node.value)]
        if self._class is not None and node.simple:
            assert isinstance(node.target, ast.Name)
            key = ast.Constant(mangle(node.target.id, self._class))
            place = ast.Subscript(ast.Name(_NAME, ast.Load()), key, ast.Store())
            made.append(ast.Assign([place], node.annotation))
        return [_at(node, statement) for statement in made or [ast.Pass()]]


def _at(where: ast.AST, node: _Node) -> _Node:
    ast.copy_location(node, where)
    return ast.fix_missing_locations(node)
