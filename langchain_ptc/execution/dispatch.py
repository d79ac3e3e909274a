"""One tool call: from what the code passed to the wrapped LangChain tool, and its value back.

The tool is invoked as LangChain invokes it, with a `ToolCall` and the caller's config: callbacks,
tags, metadata, validation and injected arguments are LangChain's own. What comes back that way is a
message for a model, with its content made text; the code wants the value itself. So each tool is
copied, and the copy notes what its `_run` or `_arun` returned. Public API only.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolNode
from langgraph.runtime import get_runtime
from langgraph.types import Command
from pydantic import ValidationError

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import ToolCallError
from langchain_ptc.execution.portal import call_in_thread

MAX_ERROR_CHARS = 2_000


@dataclass(slots=True)
class _Noted:
    on_reached: Callable[[], None]
    value: Any = None
    has_value: bool = False


_noted: contextvars.ContextVar[_Noted | None] = contextvars.ContextVar("ptc_noted", default=None)


class Dispatcher:
    """Calls one wrapped tool.

    Args:
        definition: The catalog's entry of the tool.
    """

    def __init__(self, definition: ToolDefinition) -> None:
        self.definition = definition
        self._tool = _copy_noting(definition.tool)
        self._prefers_sync = (
            _has_only_sync(definition.tool) or getattr(definition.tool, "func", None) is not None
        )
        # Outside a graph there is no state or store to inject, and a plain call does.
        self._node = (
            ToolNode([self._tool], handle_tool_errors=False)
            if _is_injected(definition.tool)
            else None
        )

    async def call(
        self,
        arguments: Mapping[str, Any],
        call_id: str,
        config: RunnableConfig,
        *,
        sync: bool,
        on_reached: Callable[[], None],
    ) -> Any:
        """Call the tool and return its value as Python has it.

        Args:
            arguments: Under the tool's own names.
            call_id: Reaches the tool as the id of its tool call.
            config: The caller's.
            sync: The caller is synchronous: prefer the tool's synchronous implementation.
            on_reached: Called when the tool's own code begins, its arguments having been accepted.

        Raises:
            ToolCallError: The tool refused the arguments, failed, or returned what code cannot use.
            GraphBubbleUp: The tool interrupted the graph, untouched.
        """
        request = ToolCall(
            name=self.definition.tool_name, args=dict(arguments), id=call_id, type="tool_call"
        )
        noted = _Noted(on_reached)
        token = _noted.set(noted)
        try:
            answer = await self._invoke(request, config, sync=sync)
        except GraphBubbleUp:
            raise
        except (Exception, SystemExit) as error:  # a tool may raise anything; the code is told
            if noted.has_value and self.definition.tool.response_format == "content":
                return noted.value  # the tool did return: only a message for a model cannot be made
            raise ToolCallError(
                f"{self.definition.qualified_name} failed: {_describe(error)}",
                tool=self.definition.qualified_name,
            ) from error
        finally:
            _noted.reset(token)
        return self._value_of(answer, noted)

    async def _invoke(self, request: ToolCall, config: RunnableConfig, *, sync: bool) -> Any:
        if self._node is not None and _is_in_graph():
            answers = await self._node.ainvoke([request], config)
            return answers["messages"][-1] if isinstance(answers, dict) else answers[-1]
        if sync and self._prefers_sync:
            return await call_in_thread(lambda: self._tool.invoke(request, config))
        return await self._tool.ainvoke(request, config)

    def _value_of(self, answer: Any, noted: _Noted) -> Any:
        name = self.definition.qualified_name
        if isinstance(answer, ToolMessage) and answer.status == "error":
            raise ToolCallError(f"{name} failed: {_cut(str(answer.content))}", tool=name)
        value = noted.value if noted.has_value else getattr(answer, "content", answer)
        if isinstance(value, Command):
            raise ToolCallError(
                f"{name} returned a Command, which changes the graph and has no value for code; "
                "let the model call it directly",
                tool=name,
            )
        if isinstance(value, ToolMessage):
            return value.content
        if self.definition.tool.response_format == "content_and_artifact" and noted.has_value:
            content, artifact = value
            return _structured(artifact, content)
        return value


def _structured(artifact: Any, content: Any) -> Any:
    """Prefer an MCP tool's structured content: its text is the same, for people."""
    if isinstance(artifact, dict) and isinstance(artifact.get("structured_content"), dict):
        return artifact["structured_content"]
    return content


def _copy_noting(tool: BaseTool) -> BaseTool:
    """Copy a tool so that what it returns is noted before it becomes a message."""
    copy = tool.model_copy()
    run, arun = copy._run, copy._arun

    def reached() -> None:
        if (noted := _noted.get()) is not None:
            noted.on_reached()

    def note(value: Any) -> Any:
        noted = _noted.get()
        if noted is not None:
            noted.value, noted.has_value = value, True
        return value

    @functools.wraps(run)
    def noting_run(*args: Any, **kwargs: Any) -> Any:
        reached()
        return note(run(*args, **kwargs))

    @functools.wraps(arun)
    async def noting_arun(*args: Any, **kwargs: Any) -> Any:
        reached()
        return note(await arun(*args, **kwargs))

    object.__setattr__(copy, "_run", noting_run)
    object.__setattr__(copy, "_arun", noting_arun)
    return copy


def _has_only_sync(tool: BaseTool) -> bool:
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is None
    return type(tool)._arun is BaseTool._arun


def _is_injected(tool: BaseTool) -> bool:
    """Whether the tool takes arguments that the graph fills in, besides the id of the call."""
    shown = tool.tool_call_schema
    if isinstance(shown, dict):
        return False
    taken: Any = tool.get_input_schema()
    return bool(set(taken.model_fields) - set(cast("Any", shown).model_fields))


def _is_in_graph() -> bool:
    try:
        return get_runtime() is not None
    except (KeyError, RuntimeError):
        return False


def _describe(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        parts = []
        for problem in error.errors(include_url=False)[:10]:
            place = ".".join(map(str, problem["loc"])) or "arguments"
            parts.append(f"{place}: {problem['msg']} (got {_cut(repr(problem['input']), 200)})")
        return "bad arguments: " + "; ".join(parts)
    told = str(error)
    return _cut(f"{type(error).__name__}: {told}" if told else type(error).__name__)


def _cut(text: str, most: int = MAX_ERROR_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}… [{len(text) - most:,} characters cut]"
