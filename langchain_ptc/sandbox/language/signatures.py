"""`inspect.signature` for code: what it shows of a function, without the objects of `inspect`.

Those would lead on: `Signature.from_callable(f, eval_str=True)` runs the text of annotations.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from langchain_ptc.sandbox.language.classes import is_own


class Parameter:
    """One parameter of a function; see `inspect.Parameter`."""

    empty = inspect.Parameter.empty
    POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
    POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
    VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
    KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
    VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD

    def __init__(self, name: str, kind: object, default: object, annotation: object, text: str):
        self.name = name
        self.kind = kind
        self.default = default
        self.annotation = annotation
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f'<Parameter "{self._text}">'


class BoundArguments:
    """The arguments of one call by the names of the parameters; see `inspect.BoundArguments`."""

    def __init__(self, bound: inspect.BoundArguments) -> None:
        self._show(bound)

        def apply_defaults() -> None:
            """Add the defaults of the parameters that got no argument."""
            bound.arguments.update(self.arguments)
            bound.apply_defaults()
            self._show(bound)

        self.apply_defaults = apply_defaults

    def _show(self, bound: inspect.BoundArguments) -> None:
        self.arguments: dict[str, Any] = dict(bound.arguments)
        self.args = bound.args
        self.kwargs = dict(bound.kwargs)


class Signature:
    """What a function takes and gives; see `inspect.Signature`."""

    empty = inspect.Signature.empty

    def __init__(self, function: Any) -> None:
        # Nothing is followed and nothing evaluated: `__wrapped__` and annotations are the code's.
        real = inspect.signature(function, follow_wrapped=False)
        self.parameters: Mapping[str, Parameter] = MappingProxyType(
            {
                name: Parameter(name, found.kind, found.default, found.annotation, str(found))
                for name, found in real.parameters.items()
            }
        )
        self.return_annotation = real.return_annotation
        self._text = str(real)

        def bind(*args: object, **kwargs: object) -> BoundArguments:
            """Return which parameter gets what, or raise the `TypeError` of the call."""
            return BoundArguments(real.bind(*args, **kwargs))

        def bind_partial(*args: object, **kwargs: object) -> BoundArguments:
            """Do what `bind` does, where arguments may be missing."""
            return BoundArguments(real.bind_partial(*args, **kwargs))

        self.bind = bind
        self.bind_partial = bind_partial

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Signature {self._text}>"


def signature(obj: Any, /) -> Signature:
    """Do what `inspect.signature` does, for functions, methods and classes of the code.

    Raises:
        ValueError: The code did not make it: a function of a library may have anything as a default.
    """
    found = obj
    if issubclass(type(obj), type) and is_own(obj):
        found = type.__getattribute__(obj, "__init__")
        if found is object.__init__:
            return Signature(lambda: None)
        if _is_own_function(found):  # as it is called, without `self`
            return Signature(types.MethodType(found, object()))
    function = found.__func__ if type(found) is types.MethodType else found
    if not _is_own_function(function):
        raise ValueError(f"no signature found for {getattr(obj, '__name__', type(obj).__name__)!r}")
    return Signature(found)


def _is_own_function(function: object) -> bool:
    return type(function) is types.FunctionType and "_ptc_getattr" in function.__globals__
