"""`copy` and `dataclasses.asdict`, without the protocol of pickle on the object's own word.

The originals ask the *object* for `__reduce_ex__` and then set any attribute that its answer names.
Here its class is asked, which code cannot give such a method, and names are checked.
"""

from __future__ import annotations

import copy
import copyreg
import dataclasses
import types
from collections.abc import Callable
from typing import Any

from langchain_ptc.sandbox.language import names

_SAME = (
    type(None), int, float, bool, complex, bytes, str, range, slice, property, type(...),
    type(NotImplemented), types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
)  # fmt: skip
_HOOKS = frozenset({"__reduce_ex__", "__reduce__", "__getstate__", "__setstate__"})


def shallow_copy(x: Any) -> Any:
    """Do what `copy.copy` does."""
    cls = type(x)
    if cls in _SAME or cls in (tuple, frozenset) or issubclass(cls, type):
        return x
    if cls in (list, dict, set, bytearray):
        return x.copy()
    hook = getattr(cls, "__copy__", None)
    return hook(x) if hook is not None else _rebuild(x, None)


def deepcopy(x: Any, memo: dict[int, Any] | None = None) -> Any:
    """Do what `copy.deepcopy` does."""
    cls = type(x)
    if cls in _SAME or issubclass(cls, type):
        return x
    memo = {} if memo is None else memo
    if id(x) in memo:
        return memo[id(x)]
    made: Any
    if cls is list:
        memo[id(x)] = made = []
        made.extend(deepcopy(item, memo) for item in x)
    elif cls is dict:
        memo[id(x)] = made = {}
        for key, value in x.items():
            made[deepcopy(key, memo)] = deepcopy(value, memo)
    elif cls is tuple:
        made = tuple(deepcopy(item, memo) for item in x)
        made = memo.get(id(x), made)
        if all(old is new for old, new in zip(x, made, strict=True)):
            made = x
    elif cls is types.MethodType:
        made = types.MethodType(x.__func__, deepcopy(x.__self__, memo))
    else:
        hook = getattr(cls, "__deepcopy__", None)
        made = hook(x, memo) if hook is not None else _rebuild(x, memo)
    if made is not x:
        memo[id(x)] = made
        memo.setdefault(id(memo), []).append(x)
    return made


def _rebuild(x: Any, memo: dict[int, Any] | None) -> Any:
    """Copy an object by the protocol of pickle, asked of its class and never of the object."""
    cls: Any = type(x)
    if not _HOOKS.isdisjoint(getattr(x, "__dict__", ())):
        raise copy.Error(f"{cls.__name__!r} object cannot be copied")
    reducer = copyreg.dispatch_table.get(cls)
    parts = reducer(x) if reducer else cls.__reduce_ex__(x, 4)
    if isinstance(parts, str):
        return x

    def inner(value: Any) -> Any:
        return value if memo is None else deepcopy(value, memo)

    make, args, state, items, pairs = (*parts, None, None, None)[:5]
    made = make(*map(inner, args))
    if memo is not None:
        memo[id(x)] = made
    if state is not None:
        _set_state(made, inner(state))
    for item in items or ():
        made.append(inner(item))
    for key, value in pairs or ():
        made[inner(key)] = inner(value)
    return made


def _set_state(made: Any, state: Any) -> None:
    if hasattr(type(made), "__setstate__"):
        type(made).__setstate__(made, state)
        return
    plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for name, value in (plain or {}).items():
        if not names.is_refused(name, special=frozenset()):
            made.__dict__[name] = value
    for name, value in (slots or {}).items():
        if not names.is_refused(name, special=frozenset()):
            object.__setattr__(made, name, value)


def asdict(obj: Any, *, dict_factory: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    """Do what `dataclasses.asdict` does."""
    _check_instance(obj, "asdict")
    return _unfold(obj, dict_factory)


def astuple(obj: Any, *, tuple_factory: Callable[[list[Any]], Any] = tuple) -> Any:
    """Do what `dataclasses.astuple` does."""
    _check_instance(obj, "astuple")
    return _unfold(obj, lambda pairs: tuple_factory([value for _, value in pairs]))


def _check_instance(obj: Any, function: str) -> None:
    if isinstance(obj, type) or not dataclasses.is_dataclass(obj):
        raise TypeError(f"{function}() should be called on dataclass instances")


def _unfold(value: Any, factory: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    cls: Any = type(value)
    if dataclasses.is_dataclass(cls):
        return factory(
            [
                (field.name, _unfold(getattr(value, field.name), factory))
                for field in dataclasses.fields(cls)
            ]
        )
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return cls(*(_unfold(item, factory) for item in value))
    if issubclass(cls, list | tuple):
        return cls(_unfold(item, factory) for item in value)
    if issubclass(cls, dict):
        pairs = [(_unfold(key, factory), _unfold(item, factory)) for key, item in value.items()]
        if hasattr(cls, "default_factory"):
            made = cls(value.default_factory)
            made.update(pairs)
            return made
        return cls(pairs)
    return deepcopy(value)
