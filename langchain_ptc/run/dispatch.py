"""One tool call: from what the code passed to the wrapped LangChain tool, and its value back.

The tool is invoked as LangChain invokes it, with a `ToolCall` and the caller's config: callbacks,
tags, metadata, validation and injected arguments are LangChain's own. What comes back that way is a
message for a model, with its content made text; the code wants the value itself, which a `ToolView`
captures.

A `StructuredTool` whose message nobody reads (no callback handler wants the events of tools, no middleware
and no graph takes part) is called without it: its arguments are validated and its function is run in the
config context of its run, as `BaseTool.arun` does, but nothing is made text and no signature is read.
Public API only.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import operator
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager, CallbackManager
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig, ensure_config, run_in_executor
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphBubbleUp, GraphInterrupt, is_invalid_resume
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Interrupt
from pydantic import BaseModel

from langchain_ptc.background_loop import call_in_thread, run_sync
from langchain_ptc.catalog.annotations import injected_parameters, read_annotations, signature_of
from langchain_ptc.catalog.mcp_results import as_json, read_adapted, value_of_message
from langchain_ptc.errors import CatalogError, ToolCallError
from langchain_ptc.run.calls import (
    CallCapture,
    StartedCall,
    ToolRaised,
    capture_here,
    capturing,
    capturing_async,
    current_capture,
    is_signal,
)
from langchain_ptc.run.graph_state import is_in_graph, take_own_message
from langchain_ptc.run.plain import as_plain, describe_failure, describe_message
from langchain_ptc.sandbox.wire.values import TooManyItems, is_large

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition


_OVERRIDABLE = frozenset({"invoke", "ainvoke", "run", "arun", "_run", "_arun"})


class Dispatcher:
    """Calls one wrapped tool; or, with `is_own`, a function of the catalog, which an agent's middleware does not know."""

    def __init__(self, definition: ToolDefinition, *, is_own: bool = False) -> None:
        self.definition = definition
        self._name = definition.qualified_name
        self._is_own = is_own
        self._adapted = read_adapted(definition.tool)
        tool = definition.tool
        names = [parameter.tool_name for parameter in definition.parameters]
        self._tool = view(tool, frees_names=takes_taken_names(tool, names))
        injected = injected_parameters(tool)
        self._filled_in = injected.names
        self._is_filled_by_langchain = bool(injected.others)
        self._function: tuple[object, Callable[..., Any] | None] = None, None
        self.is_injected = bool(injected.by_graph)
        """Whether the tool takes arguments that a graph fills in."""
        policy = definition.policy
        shares = (policy.max_calls, policy.rate_limit, policy.max_concurrent_calls)
        self.can_prefetch = (
            policy.read_only
            and policy.prefetch
            and not (any(shares) or policy.breaker or policy.cache or policy.requires_approval)
            and not (injected.names or is_own)
        )
        """Whether a call may begin before the code makes it: it may be made for nothing, and must then change
        nothing for other calls, as it does where they share a count, turns, a breaker or cached results."""
        # Outside a graph there is no state or store to inject, and a plain call does.
        self._node = _build_node(self._tool) if injected.by_graph else None

    async def call(self, call: StartedCall) -> Any:
        """Call the tool and return its value as Python has it; set what it asks of the graph on the call.

        Raises:
            ToolCallError: The tool refused the arguments, failed, or returned what code cannot use.
            GraphBubbleUp: The tool interrupted the graph, untouched.
            ValidationError: An interrupt of the tool was answered with what it does not take; the
                interrupt stays, to be answered again.
        """
        context, name = call.context, self._name
        if not self._filled_in.isdisjoint(call.given):
            names = ", ".join(map(repr, sorted(self._filled_in & call.given.keys())))
            raise ToolCallError(f"{name}() has no parameter {names}", tool=name)
        limit = context.limits.result_bytes
        capture = CallCapture(call, call.config, max_items=limit // 2)
        task, answer = asyncio.current_task(), None
        token = current_capture.set(capture)
        try:
            if self._adapted is not None:
                as_json(call.given)  # what cannot be sent would end a session that others use
            if (running := self._run_function(call)) is not None:
                value = await running
                if self.definition.tool.response_format == "content_and_artifact":
                    _check_pair(value)
            else:
                answer = await self._invoke(call)
        except GraphInterrupt as error:
            raise _storable(error) from None
        except (GraphBubbleUp, asyncio.CancelledError):
            raise
        except BaseException as error:  # tools and middleware may raise anything
            if is_invalid_resume(error) or is_signal(error, task):
                raise
            if capture.has_value and self.definition.tool.response_format == "content":
                # The tool did return: only a message for a model cannot be made of it.
                value, call.commands = _split(capture.value, call.call_id)
                return value
            if isinstance(error, ToolRaised):
                error = error.original
            if call.over_budget is not None:  # or the tool raises what it has made of that
                raise call.over_budget from None
            raise self._failure(error, call, capture) from error
        finally:
            current_capture.reset(token)
        return self._value_of(answer, capture, call)

    def _failure(
        self, error: BaseException, call: StartedCall, capture: CallCapture
    ) -> ToolCallError:
        """Return what the code gets for what a tool, or a middleware, has raised."""
        context, name = call.context, self._name
        if isinstance(error, TooManyItems):
            why = f"{error} (limit result_bytes)"
            return too_large(name, why, context.limits.result_bytes, 2 * error.count)
        text = describe_failure(name, error, context.on_tool_error, is_reached=capture.is_reached)
        return ToolCallError(text, tool=name)

    def _run_function(self, call: StartedCall) -> Awaitable[Any] | None:
        """Run the function of the tool, if nobody can observe that its `ainvoke` was not called.

        Returns:
            What waits for its end; None if the tool is to be called.

        Raises:
            ValidationError: The tool's schema refuses the arguments.
        """
        tool, context = self.definition.tool, call.context
        if (
            type(tool) is not StructuredTool
            or (context.route is not None and not self._is_own)
            or self._is_filled_by_langchain
            or (self._node is not None and is_in_graph())
            or tool.handle_tool_error
            or tool.handle_validation_error
            or not _OVERRIDABLE.isdisjoint(vars(tool))  # somebody has set them on the tool
        ):
            return None
        is_sync = tool.func is not None and (context.sync or tool.coroutine is None)
        function = tool.func if is_sync else tool.coroutine
        if self._function[0] is not function:
            self._function = function, _capture_values(function, is_sync=is_sync)
        config, run = call.config, self._function[1]
        callbacks = None if run is None else self._callbacks(call, is_sync=is_sync)
        if run is None or callbacks is None:
            return None
        schema = tool.args_schema
        if isinstance(schema, dict):
            arguments = dict(call.given)
        elif issubclass(schema, BaseModel):
            arguments = _validate(schema, dict(call.given))
        else:
            return None
        child = callbacks.copy()
        child.parent_run_id = config.get("run_id") or uuid.uuid4()
        inner = RunnableConfig(**{**config, "callbacks": child})
        inner.pop("run_id", None), inner.pop("run_name", None)
        own = contextvars.copy_context()
        own.run(var_child_runnable_config.set, inner)
        if not is_sync:
            return asyncio.create_task(run(**arguments), context=own)
        blocking = functools.partial(own.run, run, **arguments)
        return call_in_thread(blocking) if context.sync else run_in_executor(None, blocking)

    def _callbacks(self, call: StartedCall, *, is_sync: bool) -> BaseCallbackManager | None:
        """Return the callbacks for what the function does; None if somebody listens to calls of tools.

        They are made once for an execution, as long as what they are made of is the same.
        """
        tool, config, made = self.definition.tool, call.config, call.context.callbacks
        callbacks, tags = config.get("callbacks"), config.get("tags")
        metadata = config.get("metadata")
        own = (tool.callbacks, tool.verbose, tool.tags, tool.metadata, is_sync)
        given = (callbacks, tags, metadata, *own)
        before = made.get(id(self))
        if before is None or not all(map(operator.is_, before[0], given)):
            of_tool = AsyncCallbackManager.configure(
                callbacks, tool.callbacks, tool.verbose, tags, tool.tags, metadata, tool.metadata
            )
            child = None
            if all(handler.ignore_agent for handler in of_tool.handlers):
                child = (CallbackManager if is_sync else AsyncCallbackManager)(handlers=[])
                child.set_handlers(of_tool.inheritable_handlers)
                child.add_tags(of_tool.inheritable_tags)
                child.add_metadata(of_tool.inheritable_metadata)
            before = made[id(self)] = given, child
        return before[1]

    async def _invoke(self, call: StartedCall) -> Any:
        """Have LangChain call the tool; return its message."""
        context, config = call.context, call.config
        request = ToolCall(
            name=self.definition.tool_name, args=dict(call.given), id=call.call_id, type="tool_call"
        )
        if context.route is not None and not self._is_own:
            return await context.route(self._tool, request, config, call.state)
        if self._node is not None and is_in_graph():
            given = {"__type": "tool_call_with_context", "tool_call": request, "state": call.state}
            return await self._node.ainvoke(given, config)
        if context.sync and _has_sync(self.definition.tool):
            return await call_in_thread(lambda: self._tool.invoke(request, config))
        return await self._tool.ainvoke(request, config)

    def _value_of(self, answer: Any, capture: CallCapture, call: StartedCall) -> Any:
        """Return what a call gave to the code; set what it gave to the graph on the call. Raises `ToolCallError`."""
        message = None if answer is None else _message_of(answer)
        if message is not None and message.status == "error":
            if call.over_budget is not None:
                raise call.over_budget
            # Its own message is as a `ToolException`; what a middleware writes may hold anything.
            is_own = capture.message is not None and not _is_replaced(message, capture.message)
            shown = call.context.on_tool_error
            shown = "hide" if shown == "type" and not is_own else shown
            text = describe_message(self._name, message.content, shown)
            raise ToolCallError(text, tool=self._name)
        artifact = None
        if answer is not None and (not capture.has_value or _is_replaced(message, capture.message)):
            answered = answer if message is None else message
        elif self.definition.tool.response_format == "content_and_artifact":
            answered, artifact = capture.value
        else:
            answered = capture.value
        value, call.commands = answered, ()
        if isinstance(answered, ToolMessage | Command | list):
            value, call.commands = _split(answered, call.call_id)
        structure = artifact.get("structured_content") if isinstance(artifact, dict) else None
        if self._adapted is None and not isinstance(structure, dict):  # else it is of an MCP tool
            return value
        schema = None if self._adapted is None else self._adapted.output_schema
        return value_of_message(value, artifact, schema)


def _capture_values(function: Any, *, is_sync: bool) -> Callable[..., Any] | None:
    """Return a function of a tool that captures its value; None if LangChain must call it."""
    if function is None or "callbacks" in signature_of(function).parameters:
        return None
    return capturing(function) if is_sync else capturing_async(function)


def _check_pair(value: Any) -> None:
    """Raise what LangChain raises for a value that is not a content and an artifact."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(
            "with response_format='content_and_artifact' a tool must return a tuple of both, and it "
            f"returned {type(value).__name__}"
        )


def _validate(schema: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """Return what `BaseTool` calls a function with, for the arguments of a tool call."""
    arguments: dict[str, Any] = {}
    if fields := schema.model_fields:
        result = schema.model_validate(given)
        for name in result.model_dump():
            is_passed = name in given or name in result.model_fields_set
            # Pydantic makes fields of these for `*args` and `**kwargs`.
            is_synthetic = name in ("args", "kwargs") or name not in fields
            if is_passed or not (is_synthetic or fields[name].is_required()):
                arguments[name] = getattr(result, name)
    return arguments


def too_large(name: str, why: str, allowed: int, used: int) -> ToolCallError:
    """Return the error of a call whose result is over the limit."""
    text = f"the result of {name} is too large: {why}; ask the tool for less"
    return ToolCallError(text, tool=name, limit="result_bytes", allowed=allowed, used=used)


def _storable(error: GraphInterrupt) -> GraphInterrupt:
    """Return an interrupt whose questions a checkpointer can store.

    A question often shows the call's arguments, and those of code may be integers of any size.
    """

    def shown(interrupt: Interrupt) -> Interrupt:
        try:
            JsonPlusSerializer().dumps_typed(interrupt.value)
        except (TypeError, ValueError):
            return replace(interrupt, value=as_plain(interrupt.value))
        return interrupt

    return GraphInterrupt(tuple(map(shown, error.args[0] if error.args else ())))


def _message_of(answer: Any) -> ToolMessage | None:
    """Return the message in what a `ToolNode` or a tool returned, if there is one."""
    if isinstance(answer, dict):
        answer = answer.get("messages")
    if isinstance(answer, list):
        for item in reversed(answer):
            if (found := _message_of(item)) is not None:
                return found
    return answer if isinstance(answer, ToolMessage) else None


def _is_replaced(message: ToolMessage | None, own: Any) -> bool:
    """Whether a middleware answered with a message that is not the tool's own.

    A note before all of the tool's own content does not count: LangChain's human-in-the-loop middleware
    writes one for the model where a person edited the call. The code wants the value, not the note.
    """
    if message is None or not isinstance(own, ToolMessage) or message is own:
        return False
    now, before = message.content, own.content
    if isinstance(now, str) and isinstance(before, str):
        return now != before and not (before and now.endswith(f"\n{before}"))
    if isinstance(now, list) and isinstance(before, list):
        return now != before and not (before and now[-len(before) :] == before)
    return True


def _split(value: Any, call_id: str) -> tuple[Any, tuple[Command[Any], ...]]:
    """Separate what is for the graph from what is for the code.

    A command answers its own tool call with a message: its content is the value of the call.
    """
    if isinstance(value, ToolMessage):
        return value.content, ()
    if isinstance(value, Command):
        return take_own_message(value, call_id)
    # By their classes, which are few: the items may be many.
    if isinstance(value, list) and any(issubclass(kind, Command) for kind in set(map(type, value))):
        parts = [_split(item, call_id) for item in value]
        values = [given for given, _ in parts if given is not None]
        return values[-1] if values else None, tuple(c for _, commands in parts for c in commands)
    return value, ()


def _has_sync(tool: BaseTool) -> bool:
    """Whether a tool has a synchronous implementation that is its own."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.func is not None
    return type(tool)._arun is BaseTool._arun


def _build_node(tool: BaseTool) -> ToolNode:
    """Build what injects the arguments of a tool as LangGraph does; raises `CatalogError` if that cannot read it."""
    try:
        return ToolNode([tool], handle_tool_errors=False)
    except Exception as error:
        raise CatalogError(
            f"the injected arguments of tool {tool.name!r} cannot be read by LangGraph: "
            f"{type(error).__name__}: {error}"
        ) from error


# --- a tool as LangChain and LangGraph call it -------------------------------------------------------
# LangChain makes a message for a model of what a tool returns; the code wants the value. A `ToolView` takes
# the place of a tool wherever LangChain or LangGraph calls it: LangChain's own `invoke` and `run` work on the
# view, and find there a `_run` and an `_arun` that run those of the tool and capture what they return. Nothing
# is copied and nothing is set on the tool: what it keeps on itself, and what is set on it later, counts.


class ToolView:
    """A stand-in for a tool, for LangChain and LangGraph to call."""

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
        capture, args = capture_here(config), _large_arguments(given)
        capture.shown = None if args is None else _Shown(tool._filter_injected_args(args))
        capture.message = self._bound("invoke")(given, capture.config, **kwargs)
        return capture.message

    async def ainvoke(self, given: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what the tool's `ainvoke` does, and capture the message."""
        capture, args = capture_here(config), _large_arguments(given)
        capture.shown = None
        if args is not None:
            shown = self._ptc_tool._filter_injected_args(args)
            capture.shown = await call_in_thread(lambda: _Shown(shown))
        capture.message = await self._bound("ainvoke")(given, capture.config, **kwargs)
        return capture.message

    @property
    def run(self) -> Callable[..., Any]:
        """The tool's `run`, on the view."""
        return self._bound("run")

    @property
    def arun(self) -> Callable[..., Awaitable[Any]]:
        """The tool's `arun`, on the view."""
        return self._bound("arun")

    def _filter_injected_args(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments that callbacks are shown; LangChain makes one text of them at once."""
        return capture_here().shown or self._ptc_tool._filter_injected_args(given)

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
