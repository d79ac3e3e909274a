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
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig, run_in_executor
from langchain_core.runnables.config import ensure_config, patch_config, set_config_context
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphBubbleUp, GraphInterrupt, is_invalid_resume
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.runtime import get_runtime
from langgraph.types import Command, Interrupt
from pydantic import BaseModel

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.functions import injected_parameters, signature_of, takes_taken_names
from langchain_ptc.catalog.mcp.results import as_json, read_adapted, value_of_message
from langchain_ptc.errors import CatalogError, ToolCallError
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.error_text import describe_failure, describe_message
from langchain_ptc.run.graph_state import take_own_message
from langchain_ptc.run.plain import as_plain
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.tool_view import (
    CallCapture,
    ToolRaised,
    capturing,
    capturing_async,
    current_capture,
    is_signal,
    view,
)
from langchain_ptc.sandbox.wire.objects import TooManyItems


@dataclass(frozen=True, slots=True)
class ToolReturn:
    """What a tool gave."""

    value: Any
    """For the code."""
    commands: tuple[Command[Any], ...] = ()
    """For the graph."""


_OVERRIDABLE = frozenset({"invoke", "ainvoke", "run", "arun", "_run", "_arun"})


class Dispatcher:
    """Calls one wrapped tool.

    Args:
        definition: The catalog's entry of the tool.
        is_own: It is a function of the catalog's, which is nobody's tool: an agent's middleware does
            not know it.
    """

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
        self._function: tuple[object, Callable[..., Any] | None] = None, None
        # Outside a graph there is no state or store to inject, and a plain call does.
        self._node = _build_node(self._tool) if injected.by_graph else None

    @property
    def is_injected(self) -> bool:
        """Whether the tool takes arguments that the graph fills in."""
        return self._node is not None

    async def call(self, call: StartedCall) -> ToolReturn:
        """Call the tool and return its value as Python has it.

        Raises:
            ToolCallError: The tool refused the arguments, failed, or returned what code cannot use.
            GraphBubbleUp: The tool interrupted the graph, untouched.
            ValidationError: An interrupt of the tool was answered with what it does not take; the
                interrupt stays, to be answered again.
        """
        context, name = call.context, self._name
        if forged := self._filled_in & call.given.keys():
            told = ", ".join(map(repr, sorted(forged)))
            raise ToolCallError(f"{name}() has no parameter {told}", tool=name)
        capture = CallCapture(call.reach, call.config, max_items=context.result_bytes // 2)
        task = asyncio.current_task()
        token = current_capture.set(capture)
        try:
            if self._adapted is not None:
                as_json(call.given)  # what cannot be sent would end a session that others use
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
                return _split(capture.value, call.call_id)
            if isinstance(error, TooManyItems):
                raise _too_large(name, error, context.result_bytes) from error
            if isinstance(error, ToolRaised):
                error = error.original
            told = describe_failure(
                name, error, context.on_tool_error, is_reached=capture.is_reached
            )
            raise ToolCallError(told, tool=name) from error
        finally:
            current_capture.reset(token)
        return self._value_of(answer, capture, call)

    async def _invoke(self, call: StartedCall) -> Any:
        """Have the tool called; return its message, or None where none was made."""
        context, config = call.context, call.config
        is_routed = context.route is not None and not self._is_own
        is_injected = self._node is not None and _is_in_graph()
        is_sync = context.sync and _has_sync(self.definition.tool)
        if not is_routed and not is_injected and await self._call_function(call, is_sync=is_sync):
            return None
        request = ToolCall(
            name=self.definition.tool_name,
            args=dict(call.given),
            id=call.call_id,
            type="tool_call",
        )
        if context.route is not None and is_routed:
            return await context.route(self._tool, request, config, call.state)
        if self._node is not None and is_injected:
            given = {
                "__type": "tool_call_with_context",
                "tool_call": request,
                "state": call.state,
            }
            return await self._node.ainvoke(given, config)
        if is_sync:
            return await call_in_thread(lambda: self._tool.invoke(request, config))
        return await self._tool.ainvoke(request, config)

    async def _call_function(self, call: StartedCall, *, is_sync: bool) -> bool:
        """Call the function of the tool, if nobody could tell that from a call of the tool.

        Args:
            call: The call.
            is_sync: Prefer the synchronous function.

        Returns:
            Whether it was called.
        """
        tool = self.definition.tool
        if type(tool) is not StructuredTool or self._is_langchains(tool):
            return False
        own = tool.func if is_sync or tool.coroutine is None else tool.coroutine
        run = self._captured(own, is_async=own is tool.coroutine)
        config = ensure_config(call.config)
        manager = AsyncCallbackManager.configure(
            config.get("callbacks"),
            tool.callbacks,
            tool.verbose,
            config.get("tags"),
            tool.tags,
            config.get("metadata"),
            tool.metadata,
        )
        if run is None or not all(handler.ignore_agent for handler in manager.handlers):
            return False
        manager_of_run = await manager.on_tool_start({}, "", run_id=config.pop("run_id", None))
        arguments = _validate(tool.args_schema, dict(call.given))
        if own is tool.coroutine:
            child = patch_config(config, callbacks=manager_of_run.get_child())
            with set_config_context(child) as context:
                value = await asyncio.create_task(run(**arguments), context=context)
        else:
            child = patch_config(config, callbacks=manager_of_run.get_sync().get_child())
            with set_config_context(child) as context:
                # Of its own: it may be in use when the call is given up.
                function = functools.partial(context.copy().run, run, **arguments)
                value = await (
                    call_in_thread(function) if is_sync else run_in_executor(None, function)
                )
        if tool.response_format == "content_and_artifact" and not _is_pair(value):
            raise ValueError(
                f"it returned {type(value).__name__}, and with response_format="
                "'content_and_artifact' it must return a tuple of both"
            )
        return True

    def _is_langchains(self, tool: StructuredTool) -> bool:
        """Whether LangChain does more for a call of the tool than to validate its arguments."""
        schema = tool.args_schema
        return bool(
            self._filled_in
            or tool.handle_tool_error
            or tool.handle_validation_error
            or not (isinstance(schema, dict) or issubclass(schema, BaseModel))
            or not _OVERRIDABLE.isdisjoint(vars(tool))  # somebody has set them on the tool
        )

    def _captured(self, own: Any, *, is_async: bool) -> Callable[..., Any] | None:
        """Return what calls a function of the tool and captures its value; None if it takes callbacks."""
        if self._function[0] is not own:
            wrap = capturing_async if is_async else capturing
            takes_callbacks = own is None or "callbacks" in signature_of(own).parameters
            self._function = own, None if takes_callbacks else wrap(own)
        return self._function[1]

    def _value_of(self, answer: Any, capture: CallCapture, call: StartedCall) -> ToolReturn:
        message = _message_of(answer)
        if message is not None and message.status == "error":
            # Its own message is as a `ToolException`; what a middleware writes may hold anything.
            is_own = capture.message is not None and not _is_replaced(message, capture.message)
            told = call.context.on_tool_error
            told = "hide" if told == "type" and not is_own else told
            text = describe_message(self._name, message.content, told)
            raise ToolCallError(text, tool=self._name)
        if not capture.has_value or _is_replaced(message, capture.message):
            answered, artifact = (answer if message is None else message), None
        elif self.definition.tool.response_format == "content_and_artifact":
            answered, artifact = capture.value
        else:
            answered, artifact = capture.value, None
        split = _split(answered, call.call_id)
        if self._adapted is None and not _has_structure(artifact):
            return split
        schema = None if self._adapted is None else self._adapted.output_schema
        return replace(split, value=value_of_message(split.value, artifact, schema))


def _validate(schema: Any, given: dict[str, Any]) -> Mapping[str, Any]:
    """Return what `BaseTool` calls a function with, for the arguments of a tool call."""
    if isinstance(schema, dict):
        return given
    fields = schema.model_fields
    if not fields:
        return {}
    result: BaseModel = schema.model_validate(given)
    passed = given.keys() | result.model_fields_set
    return {
        name: getattr(result, name)
        for name in result.model_dump()
        if name in passed
        or (name in fields and name not in ("args", "kwargs") and not fields[name].is_required())
    }


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _too_large(name: str, error: TooManyItems, allowed: int) -> ToolCallError:
    return ToolCallError(
        f"the result of {name} is too large: {error} (limit result_bytes); ask the tool for less",
        tool=name,
        limit="result_bytes",
        allowed=allowed,
        used=2 * error.count,
    )


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

    A note before the whole of the tool's own content is none: LangChain's human-in-the-loop middleware
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


def _split(value: Any, call_id: str) -> ToolReturn:
    """Tell what is for the graph from what is for the code.

    A command answers its own tool call with a message: its content is the value of the call.
    """
    if isinstance(value, ToolMessage):
        return ToolReturn(value.content)
    if isinstance(value, Command):
        return ToolReturn(*take_own_message(value, call_id))
    # By their classes, which are few: the items may be many.
    if isinstance(value, list) and any(issubclass(kind, Command) for kind in set(map(type, value))):
        parts = [_split(item, call_id) for item in value]
        told = [part.value for part in parts if part.value is not None]
        return ToolReturn(
            told[-1] if told else None,
            tuple(command for part in parts for command in part.commands),
        )
    return ToolReturn(value)


def _has_structure(artifact: Any) -> bool:
    """Whether an artifact is that of an MCP tool: its text says the same as its structure."""
    return isinstance(artifact, dict) and isinstance(artifact.get("structured_content"), dict)


def _has_sync(tool: BaseTool) -> bool:
    """Whether a tool has a synchronous implementation that is its own."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.func is not None
    return type(tool)._arun is BaseTool._arun


def _build_node(tool: BaseTool) -> ToolNode:
    """Build what injects the arguments of a tool as LangGraph does.

    Raises:
        CatalogError: LangGraph cannot read the tool.
    """
    try:
        return ToolNode([tool], handle_tool_errors=False)
    except Exception as error:
        raise CatalogError(
            f"the injected arguments of tool {tool.name!r} cannot be read by LangGraph: "
            f"{type(error).__name__}: {error}"
        ) from error


async def read_state(config: RunnableConfig) -> Any:
    """Return the state of the graph whose node is running; None outside a graph."""
    if not _is_in_graph():
        return None
    call = ToolCall(name="read_state", args={}, id="read_state", type="tool_call")
    # The traces of the user's graph are not the place for this.
    answer = await _state_reader().ainvoke([call], {**config, "callbacks": None})
    return answer["messages"][-1].artifact


@functools.cache
def _state_reader() -> ToolNode:
    """Build what reads the state by public means: a tool that is given it."""

    async def read(runtime: ToolRuntime[Any, Any]) -> tuple[str, Any]:
        return "", runtime.state

    return ToolNode(
        [
            StructuredTool.from_function(
                coroutine=read,
                name="read_state",
                description="Reads the state.",
                response_format="content_and_artifact",
            )
        ]
    )


def _is_in_graph() -> bool:
    try:
        return get_runtime() is not None
    except (KeyError, RuntimeError):
        return False
