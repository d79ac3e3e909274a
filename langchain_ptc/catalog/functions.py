"""The functions behind a tool: their signatures and annotations, and what is injected into them."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typing_extensions
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool
from langchain_core.utils.pydantic import get_fields
from langgraph.prebuilt import ToolRuntime


def called_function(tool: BaseTool) -> Callable[..., Any]:
    """Return what a call of `tool` ends in."""
    return getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run


def implementations(tool: BaseTool) -> list[Callable[..., Any]]:
    """Return every function that may give the value of a call, what a subclass overrides first."""
    known = (StructuredTool, Tool) if isinstance(tool, StructuredTool | Tool) else (BaseTool,)
    found = [
        getattr(tool, name)
        for name in ("_run", "_arun")
        if all(getattr(type(tool), name) is not getattr(kind, name) for kind in known)
        or name in vars(tool)
    ]
    given = (getattr(tool, name, None) for name in ("func", "coroutine"))
    return [*found, *(function for function in given if callable(function))]


def is_wrapper(function: Callable[..., Any]) -> bool:
    """Whether the annotations of `function` may be those of another one, which it wraps."""
    return any(
        name in getattr(part, "__dict__", {})
        for part in (function, underlying_function(function))
        for name in ("__wrapped__", "__signature__")
    )


def read_annotations(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yield the parameters of `function` that have an annotation which can be resolved."""
    globals_ = getattr(underlying_function(function), "__globals__", {})
    for name, parameter in signature_of(function).parameters.items():
        if parameter.annotation is not inspect.Parameter.empty:
            annotation = resolve_annotation(parameter.annotation, globals_)
            if annotation is not None:
                yield name, annotation


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of `function`; an empty one where Python does not know it."""
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):  # names that exist for type checkers only must not matter
        options["annotation_format"] = typing_extensions.Format.FORWARDREF
    try:
        return inspect.signature(function, **options)
    except Exception:  # noqa: BLE001  # annotations are code of their author's
        return inspect.Signature()


def underlying_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind a partial or an object with `__call__`."""
    while not _is_function(function) and hasattr(function, "func"):  # functools.partial
        function = function.func
    return function if _is_function(function) else type(function).__call__


def _is_function(function: Callable[..., Any]) -> bool:
    """Whether it is a function or method; a partial is none, which Python 3.14 takes for a routine."""
    return inspect.isroutine(function) and not isinstance(function, functools.partial)


def resolve_annotation(annotation: object, globals_: dict[str, Any]) -> object:
    """Return an annotation with the names in it resolved; None where they cannot be.

    One at a time: one that cannot be resolved must not hide the others.
    """
    bare = types.FunctionType((lambda: None).__code__, globals_)
    bare.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(bare, include_extras=True)["it"]
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return None


def return_annotation(function: Callable[..., Any]) -> object:
    """Return the annotation of what `function` returns, resolved; `Any` where there is none."""
    function = underlying_function(function)
    given = own_annotations(function).get("return", Any)
    found = resolve_annotation(given, getattr(function, "__globals__", {}))
    return Any if found is None else found


def class_annotations(kind: type) -> dict[str, Any]:
    """Return the annotations of a class; those that cannot be resolved are left as text."""
    try:
        return typing_extensions.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return own_annotations(kind)


def own_annotations(described: Any) -> dict[str, Any]:
    """Return the annotations of a class or function; on Python 3.14 references for missing names."""
    try:
        return dict(
            typing_extensions.get_annotations(described, format=typing_extensions.Format.FORWARDREF)
        )
    except Exception:  # noqa: BLE001  # annotations are code of their author's
        return {}


# --- what is injected -----------------------------------------------------------------------------

_RUNTIME = "runtime"
"""LangGraph passes its runtime to a parameter of this name, whatever its annotation."""


@dataclass(frozen=True, slots=True)
class Injected:
    """The parameters of one tool that are filled in for it."""

    by_graph: frozenset[str]
    """By a graph: state, store, runtime, and whatever else is marked `InjectedToolArg`."""
    others: frozenset[str]
    """By LangChain itself: the config and the id of the call."""

    @property
    def names(self) -> frozenset[str]:
        """All of them: none is an argument that code may pass."""
        return self.by_graph | self.others


def injected_parameters(tool: BaseTool) -> Injected:
    """Return the parameters of `tool` that are filled in for it.

    They are those that its `args_schema` keeps from the model, and those whose annotations in the
    signature of its function (`func`, `coroutine`, or `_run`) say so.
    """
    by_graph: set[str] = set()
    others: set[str] = set()
    annotations = dict(read_annotations(called_function(tool)))
    for name, annotation in annotations.items():
        if _is_marked(annotation, InjectedToolCallId) or _is_config(annotation):
            others.add(name)
        elif _is_marked(annotation, InjectedToolArg, ToolRuntime):
            by_graph.add(name)
    known, shown = _schema_fields(tool)
    by_graph |= known - shown - others
    if _RUNTIME in shown and annotations.get(_RUNTIME, Any) is Any:
        by_graph.add(_RUNTIME)
    return Injected(frozenset(by_graph), frozenset(others))


def _schema_fields(tool: BaseTool) -> tuple[set[str], set[str]]:
    """Return the fields of the tool's schema, and those of them that are the model's to fill in."""
    shown = tool.tool_call_schema
    if isinstance(shown, dict):
        return set(), set()
    return set(get_fields(tool.get_input_schema())), set(get_fields(shown))


def _is_marked(annotation: object, *markers: type) -> bool:
    """Whether an annotation is one of `markers`, holds one as metadata, or is a union with one."""
    if isinstance(annotation, type):
        return issubclass(annotation, markers)
    if isinstance(annotation, markers):
        return True
    origin = typing_extensions.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, markers):
        return True
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        return any(_is_marked(part, *markers) for part in typing.get_args(annotation))
    return False


def _is_config(annotation: object) -> bool:
    """Whether an annotation is LangChain's config, which no model and no code can write."""
    options = typing.get_args(annotation) or (annotation,)
    return any(option is RunnableConfig for option in options)
