"""A tool as calls of the code reach it: the tool itself, with what it returns captured.

LangChain makes a message for a model of what a tool returns; the code wants the value. A `ToolView`
takes the place of a tool wherever LangChain or LangGraph calls it: LangChain's own `invoke` and `run` work on
the view, and find there a `_run` and an `_arun` that run those of the tool and capture what they return.
Nothing is copied and nothing is set on the tool: what it keeps on itself, and what is set on it later,
counts.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from langchain_core.runnables import RunnableConfig, ensure_config, run_in_executor
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.errors import GraphBubbleUp, is_invalid_resume

from langchain_ptc.background_loop import call_in_thread, run_sync
from langchain_ptc.catalog.functions import read_annotations, signature_of
from langchain_ptc.sandbox.wire.objects import (
    MAX_ITEMS,
    TooManyItems,
    is_iterator,
    is_large,
    take_items,
)

if TYPE_CHECKING:
    from langchain_ptc.run.calls import StartedCall


@dataclass(slots=True)
class CallCapture:
    """What happened to one call inside LangChain."""

    call: StartedCall | None
    config: RunnableConfig | None
    """In place of what a middleware passes on, which is `run_code`'s: an interrupt of the tool would
    be taken for one of that call, and one call's approval be given to another."""
    max_items: int = MAX_ITEMS
    """Items that are taken from an iterator that the tool returns."""
    value: Any = None
    is_reached: bool = False
    has_value: bool = False
    message: Any = None
    shown: dict[str, Any] | None = None
    """Its arguments, if they are large, as LangChain shows them to callbacks."""

    def reach(self) -> None:
        """Note that the tool itself begins."""
        self.is_reached = True
        if self.call is not None:
            self.call.is_reached = True


current_capture: contextvars.ContextVar[CallCapture | None] = contextvars.ContextVar(
    "ptc_call_capture", default=None
)
"""The call that is being made in this context."""


def _capture(config: RunnableConfig | None = None) -> CallCapture:
    """Return the capture of the call that is being made; one that nobody reads if there is none."""
    return current_capture.get() or CallCapture(None, config)


class ToolRaised(Exception):
    """What a tool raised that could not pass through coroutines, futures and event loops unchanged.

    They take `StopIteration`, `GeneratorExit`, `CancelledError`, `SystemExit` and `KeyboardInterrupt`
    for signals of their own.

    Attributes:
        original: The exception of the tool.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original

    def __repr__(self) -> str:
        return repr(self.original)


class ToolView:
    """A stand-in for a tool, for LangChain and LangGraph to call.

    Args:
        tool: The tool; every other attribute is its own.
        frees_names: Whether it takes arguments with names that LangChain takes for its own.
    """

    __slots__ = ("_ptc_arun", "_ptc_frees_names", "_ptc_run", "_ptc_tool")

    _ptc_tool: BaseTool
    _ptc_frees_names: bool
    _ptc_run: tuple[Any, Any]
    _ptc_arun: tuple[Any, Any]

    def __init__(self, tool: BaseTool, *, frees_names: bool = False) -> None:
        for name, value in (
            ("_ptc_tool", tool),
            ("_ptc_frees_names", frees_names),
            ("_ptc_run", (None, None)),
            ("_ptc_arun", (None, None)),
        ):
            object.__setattr__(self, name, value)

    # --- the tool itself ----------------------------------------------------------------------------

    @property  # type: ignore[misc]  # `object` allows it to be set
    def __class__(self) -> type:
        """The class of the tool: `isinstance` and `super()` take the view for one."""
        return type(self._ptc_tool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ptc_tool, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._ptc_tool, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._ptc_tool, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._ptc_tool == (other._ptc_tool if type(other) is ToolView else other))

    def __hash__(self) -> int:
        return hash(self._ptc_tool)

    def __repr__(self) -> str:
        return repr(self._ptc_tool)

    def __copy__(self) -> Any:
        return copy.copy(self._ptc_tool)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._ptc_tool, memo)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return view, (self._ptc_tool,)

    # --- what LangChain calls -----------------------------------------------------------------------

    def invoke(self, given: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what the tool's `invoke` does, and capture the message."""
        tool = self._ptc_tool
        if isinstance(tool, StructuredTool | Tool) and tool.func is None:
            # called by a synchronous middleware, in a thread
            return run_sync(self.ainvoke(given, config, **kwargs))
        capture, args = _capture(config), _large_arguments(given)
        capture.shown = None if args is None else _Shown(tool._filter_injected_args(args))
        capture.message = self._bound("invoke")(given, capture.config, **kwargs)
        return capture.message

    async def ainvoke(self, given: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what the tool's `ainvoke` does, and capture the message."""
        capture, args = _capture(config), _large_arguments(given)
        capture.shown = None
        if args is not None:
            shown = self._ptc_tool._filter_injected_args(args)
            capture.shown = await call_in_thread(lambda: _Shown(shown))
        capture.message = await self._bound("ainvoke")(given, capture.config, **kwargs)
        return capture.message

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the tool's `run` does."""
        return self._bound("run")(*args, **kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the tool's `arun` does."""
        return await self._bound("arun")(*args, **kwargs)

    def _filter_injected_args(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments that callbacks are shown; LangChain makes one text of them at once."""
        return _capture().shown or self._ptc_tool._filter_injected_args(given)

    @property
    def _run(self) -> Callable[..., Any]:
        run = own_run(self._ptc_tool, frees_names=self._ptc_frees_names)
        if self._ptc_run[0] != run:
            object.__setattr__(self, "_ptc_run", (run, capturing(run)))
        return cast("Callable[..., Any]", self._ptc_run[1])

    @property
    def _arun(self) -> Callable[..., Any]:
        arun = own_arun(self._ptc_tool, frees_names=self._ptc_frees_names)
        if self._ptc_arun[0] != arun:
            object.__setattr__(self, "_ptc_arun", (arun, capturing_async(arun)))
        return cast("Callable[..., Any]", self._ptc_arun[1])

    def _bound(self, name: str) -> Callable[..., Any]:
        """Return a method of the tool's class that sees this view as itself."""
        tool = self._ptc_tool
        if name in vars(tool):  # somebody has set it on the tool
            return cast("Callable[..., Any]", vars(tool)[name])
        return cast("Callable[..., Any]", getattr(type(tool), name).__get__(self))


def view(tool: BaseTool, *, frees_names: bool = False) -> BaseTool:
    """Return a view of `tool`; the same for one that is a view already."""
    kind: type = type(tool)
    if kind is ToolView:
        return tool
    return cast("BaseTool", ToolView(tool, frees_names=frees_names))


_NO_ITERATORS = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})


# --- arguments that have names which LangChain takes for its own ----------------------------------

# `StructuredTool` passes the arguments of a call to its `_run(self, *args, config, run_manager,
# **kwargs)`: an argument called `self` is refused there, and `config` and `run_manager` are
# overwritten. A call of such a tool by the code goes to its functions directly.

TAKEN_NAMES = frozenset({"self", "config", "run_manager"})
"""Names that `StructuredTool` cannot pass on."""


def takes_taken_names(tool: BaseTool, names: Collection[str]) -> bool:
    """Whether a tool with arguments of these names has some that LangChain would not pass on."""
    return type(tool) is StructuredTool and not TAKEN_NAMES.isdisjoint(names)


def own_run(tool: BaseTool, *, frees_names: bool) -> Callable[..., Any]:
    """Return what runs `tool`: its `_run`, or a function that takes arguments of any name."""
    if not frees_names or not isinstance(tool, StructuredTool):
        return tool._run

    def run(*args: Any, **arguments: Any) -> Any:
        if tool.func is None:
            raise NotImplementedError("StructuredTool does not support sync invocation.")
        return tool.func(*args, **{**arguments, **_injected(tool.func)})

    return run


def own_arun(tool: BaseTool, *, frees_names: bool) -> Callable[..., Awaitable[Any]]:
    """Return what runs `tool` asynchronously; see `own_run`."""
    if not frees_names or not isinstance(tool, StructuredTool):
        return tool._arun
    run = own_run(tool, frees_names=True)

    async def arun(*args: Any, **arguments: Any) -> Any:
        if tool.coroutine is None:
            return await run_in_executor(None, lambda: run(*args, **arguments))
        return await tool.coroutine(*args, **{**arguments, **_injected(tool.coroutine)})

    return arun


def _injected(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what LangChain fills in for a function that asks for it."""
    found: dict[str, Any] = {
        name: ensure_config() for name, kind in read_annotations(function) if kind is RunnableConfig
    }
    if "callbacks" in signature_of(function).parameters:
        found["callbacks"] = ensure_config().get("callbacks")
    return found


# --- its functions --------------------------------------------------------------------------------


def capturing(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a tool that captures what it returns for the call that is being made."""

    def capturing_run(*args: Any, **kwargs: Any) -> Any:
        capture = current_capture.get() or _capture()
        capture.reach()
        try:
            value = run(*args, **kwargs)
            # To take the items is still to run the tool's code.
            if type(value) not in _NO_ITERATORS and is_iterator(value):
                value = take_items(value, capture.max_items)
            capture.value, capture.has_value = value, True
            return value
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            if is_signal(error):
                raise
            raise ToolRaised(error) from error

    _take_signature(capturing_run, run)
    return capturing_run


def capturing_async(arun: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Return a coroutine function of a tool that does the same; see `capturing`."""

    async def capturing_arun(*args: Any, **kwargs: Any) -> Any:
        capture, task = current_capture.get() or _capture(), asyncio.current_task()
        capture.reach()
        try:
            value = await arun(*args, **kwargs)
            if type(value) not in _NO_ITERATORS:
                if is_iterator(value):
                    take = functools.partial(take_items, value, capture.max_items)
                    value = await call_in_thread(take)
                elif isinstance(value, AsyncIterator):
                    value = await _take_items(value, capture.max_items)
            capture.value, capture.has_value = value, True
            return value
        except BaseException as error:
            original = error.__cause__ if isinstance(error, RuntimeError) else error
            if isinstance(original, Exception) and not isinstance(original, StopIteration):
                raise
            if original is None or is_signal(original, task):
                raise
            raise ToolRaised(original) from error

    _take_signature(capturing_arun, arun)
    return capturing_arun


async def _take_items(items: AsyncIterator[Any], limit: int) -> list[Any]:
    taken: list[Any] = []
    async for item in items:
        if len(taken) >= limit:
            raise TooManyItems(items, limit)
        taken.append(item)
    return taken


def is_signal(error: BaseException, task: asyncio.Task[Any] | None = None) -> bool:
    """Whether an exception is one of Python's or asyncio's own, and not the tool's.

    Args:
        error: What came out of a tool.
        task: The task that runs it; None for a tool that runs in a thread.
    """
    if isinstance(error, KeyboardInterrupt):  # Ctrl-C is raised in the main thread
        return threading.current_thread() is threading.main_thread()
    if task is not None and isinstance(error, asyncio.CancelledError):
        return task.cancelling() > 0
    if task is not None and isinstance(error, GeneratorExit):
        try:  # a coroutine that nothing runs any more is closed from elsewhere
            return asyncio.current_task() is not task
        except RuntimeError:
            return True
    return False


def is_pause(error: BaseException) -> bool:
    """Whether an exception is the graph's, and no failure.

    It is an interrupt, or an answer to one that does not fit.
    """
    return isinstance(error, GraphBubbleUp) or is_invalid_resume(error)


def _take_signature(function: Any, original: Callable[..., Any]) -> None:
    """Show the signature of `original`, and spare LangChain the evaluation of its annotations.

    It looks for a parameter that takes the config, by its annotation, at each call.
    """
    function.__signature__ = signature_of(original)
    annotations = read_annotations(original)
    function.__annotations__ = {n: kind for n, kind in annotations if kind is RunnableConfig}


# --- large arguments -------------------------------------------------------------------------------


class _Shown(dict[str, Any]):
    """Arguments whose text is written already."""

    __slots__ = ("text",)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        self.text = text_of(dict(arguments))

    def __str__(self) -> str:
        return self.text


def _large_arguments(given: Any) -> dict[str, Any] | None:
    args = given.get("args") if isinstance(given, dict) else None
    return args if isinstance(args, dict) and is_large(args) else None


def text_of(value: Any) -> str:
    """Return the `repr` of plain data, in pieces between which other threads get their turn."""
    kind = type(value)
    if kind not in (list, dict) or not is_large(value):
        return repr(value)
    items = value if kind is list else [*value.items()]
    if len(items) > 1:
        middle = len(items) // 2
        halves = [text_of(kind(half))[1:-1] for half in (items[:middle], items[middle:])]
        text = ", ".join(halves)
    elif kind is list:
        text = text_of(items[0])
    else:
        text = f"{items[0][0]!r}: {text_of(items[0][1])}"
    return f"[{text}]" if kind is list else f"{{{text}}}"
