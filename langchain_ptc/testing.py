"""Test doubles for programs that use this package, with no API key and no network.

`ScriptedChatModel` is a chat model that replies from a script. It is a real
`BaseChatModel`: it binds tools, streams, takes callbacks and reports token usage, so that a graph
or an agent cannot tell it from a hosted one.

Example:
    ```python
    from langchain_ptc.testing import ScriptedChatModel, tool_call_message

    model = ScriptedChatModel(
        script=[
            tool_call_message("run_code", {"code": "print(6 * 7)"}),
            lambda messages: f"The answer is {messages[-1].text}",
        ]
    )
    agent = create_agent(model, tools=as_programmatic([...]))
    agent.invoke({"messages": [("user", "What is six times seven?")]})
    assert len(model.calls) == 2
    ```
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, field_validator, model_validator

from langchain_ptc.errors import count
from langchain_ptc.locks import new_lock

__all__ = ["ModelCall", "Reply", "ScriptedChatModel", "tool_call_message"]

Reply = AIMessage | str | Callable[[list[BaseMessage]], AIMessage | str]
"""One answer of the script: a message, its text, or a function of the messages that were sent."""

_TURN = new_lock()
"""Held while a call takes its place in the log, so that parallel graphs may share one model. One
lock for all models: a lock of its own would make a model impossible to copy."""

_ARGS_PIECE_CHARS = 12
"""Length of a streamed piece of a tool call's arguments: short enough that it cuts keys in two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What a `ScriptedChatModel` was sent in one call."""

    messages: tuple[BaseMessage, ...]
    """The conversation, oldest message first."""
    tools: tuple[dict[str, Any], ...] = ()
    """The bound tools as the schemas that would go over the wire."""
    kwargs: Mapping[str, Any]
    """Everything else that was bound or passed: `stop`, `tool_choice`, `temperature`, …"""

    @property
    def tool_names(self) -> list[str]:
        """Names of the bound tools; a provider's own tool counts by its `name` or its `type`."""
        return [
            str(tool.get("function", tool).get("name") or tool.get("type", ""))
            for tool in self.tools
        ]


class ScriptedChatModel(BaseChatModel):
    """A chat model that answers from a script and records what it was sent.

    Works in `invoke`, `ainvoke`, `stream`, `astream` and `batch`; in `create_agent`,
    `bind_tools` and `with_config`. One model may serve parallel graphs: each call takes the next
    reply, in the order in which the calls arrive.

    Calling it more often than the script has replies raises `AssertionError` with the number of the
    call and the last message that was sent, instead of hiding it behind a made-up reply.

    Args:
        script: The replies, one for each call; or one function, which then answers every call.
            Messages are copied before they are returned: one message may be in several scripts.
        count_tokens: Counts the tokens of a text. If given, replies without `usage_metadata` get
            it: the input is the text and the tool calls of every message, and the schema of every
            tool, without what a provider adds to each message.
        seconds_per_call: Simulated time before the first token of each reply, in seconds.
        tokens_per_second: Simulated speed of writing; None for no delay. Needs `count_tokens`.

    Raises:
        ValueError: A reply is of another type, or an option is out of range.
    """

    script: list[Any] | Callable[..., Any]
    count_tokens: Callable[[str], int] | None = None
    seconds_per_call: float = Field(default=0.0, ge=0)
    tokens_per_second: float | None = Field(default=None, gt=0)
    _calls: list[ModelCall] = PrivateAttr(default_factory=list)

    @field_validator("script")
    @classmethod
    def _check_script(cls, script: object) -> object:
        for index, reply in enumerate(script if isinstance(script, list) else []):
            if not isinstance(reply, (AIMessage, str)) and not callable(reply):
                raise ValueError(  # noqa: TRY004 - pydantic reports no TypeError
                    f"script[{index}] must be an AIMessage, a str or a function of the messages, "
                    f"got {reply!r}"
                )
        return script

    @model_validator(mode="after")
    def _check_speed(self) -> ScriptedChatModel:
        if self.tokens_per_second is not None and self.count_tokens is None:
            raise ValueError(
                "tokens_per_second needs count_tokens, a function that counts the tokens of a "
                "text: `count_tokens=lambda text: len(text) // 4` is a rough one"
            )
        return self

    @property
    def calls(self) -> list[ModelCall]:
        """What was sent, one record for each call, shared by all that `bind_tools` returns.

        Its length is the place in the script: clearing it starts the script again.
        """
        return self._calls

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as hosted models do: as schemas, among the options of each later call.

        Args:
            tools: Anything that LangChain accepts as a tool; a provider's own tool, a dict whose
                `type` is not `function`, is passed on as it is.
            tool_choice: Recorded, never obeyed: the script decides.
            kwargs: Recorded.

        Returns:
            A runnable with the same script and the same `calls`.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[_to_schema(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._next_reply(messages, stop, kwargs)
        time.sleep(self.seconds_per_call + self._writing_seconds(reply))
        return ChatResult(generations=[ChatGeneration(message=reply)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._next_reply(messages, stop, kwargs)
        await asyncio.sleep(self.seconds_per_call + self._writing_seconds(reply))
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next_reply(messages, stop, kwargs)
        chunks = _to_chunks(reply)
        time.sleep(self.seconds_per_call)
        for chunk in chunks:
            time.sleep(self._writing_seconds(reply) / len(chunks))
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        reply = self._next_reply(messages, stop, kwargs)
        chunks = _to_chunks(reply)
        await asyncio.sleep(self.seconds_per_call)
        for chunk in chunks:
            await asyncio.sleep(self._writing_seconds(reply) / len(chunks))
            yield ChatGenerationChunk(message=chunk)

    def _next_reply(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> AIMessage:
        """Record the call and give its reply, with usage and with an id of its own."""
        options = {name: value for name, value in kwargs.items() if name != "tools"}
        if stop is not None:
            options["stop"] = stop
        call = ModelCall(
            messages=tuple(messages), tools=tuple(kwargs.get("tools", ())), kwargs=options
        )
        with _TURN:
            index = len(self._calls)
            self._calls.append(call)
        reply = self._reply_at(index, messages)
        if callable(reply):
            reply = reply(messages)
        if isinstance(reply, str):
            reply = AIMessage(reply)
        if not isinstance(reply, AIMessage):
            raise TypeError(
                f"the function at script[{index}] must return an AIMessage or a str, got {reply!r}"
            )
        reply = reply.model_copy(deep=True)
        if reply.usage_metadata is None and self.count_tokens is not None:
            reply.usage_metadata = _count_usage(call, reply, self.count_tokens)
        return reply

    def _reply_at(self, index: int, messages: list[BaseMessage]) -> Reply:
        if not isinstance(self.script, list):
            function: Reply = self.script
            return function
        if index >= len(self.script):
            last = messages[-1]
            raise AssertionError(
                f"call {index + 1} of a ScriptedChatModel whose script has "
                f"{count(len(self.script), 'item')}, after {count(len(messages), 'message')}, of which the last "
                f"is {type(last).__name__} {last.text[:200]!r}. Add a reply to `script`, or look "
                f"at `.calls` for why the model was called again"
            )
        reply: Reply = self.script[index]
        return reply

    def _writing_seconds(self, reply: AIMessage) -> float:
        if self.tokens_per_second is None or reply.usage_metadata is None:
            return 0.0
        return reply.usage_metadata["output_tokens"] / self.tokens_per_second


def tool_call_message(
    name: str, args: Mapping[str, Any] | None = None, *, id: str | None = None, content: str = ""
) -> AIMessage:
    """Build the message with which a model calls one tool.

    Args:
        name: Name of the tool, for example `run_code`.
        args: Arguments of the call; None for no arguments.
        id: Id of the call, to which the tool's message refers; a new one if None.
        content: Text in the same message.

    Returns:
        A message with one tool call. For several calls in one message, join their `tool_calls`.
    """
    call_id = f"call_{uuid.uuid4().hex[:12]}" if id is None else id
    return AIMessage(
        content,
        tool_calls=[{"name": name, "args": dict(args or {}), "id": call_id, "type": "tool_call"}],
    )


def _to_schema(tool: dict[str, Any] | type | Callable[..., Any] | BaseTool) -> dict[str, Any]:
    if isinstance(tool, dict) and tool.get("type", "function") != "function":
        return tool
    return convert_to_openai_tool(tool)


def _to_chunks(message: AIMessage) -> list[AIMessageChunk]:
    """Cut `message` into pieces as a provider streams it; their sum equals the message."""
    chunks: list[AIMessageChunk] = []
    pieces = (
        re.findall(r"\s*\S+|\s+$", message.content)
        if isinstance(message.content, str)
        else [[block] for block in message.content]
    )
    chunks += [AIMessageChunk(content=piece) for piece in pieces]
    calls = [(call["name"], json.dumps(call["args"]), call["id"]) for call in message.tool_calls]
    calls += [
        (call["name"] or "", call["args"] or "", call["id"]) for call in message.invalid_tool_calls
    ]
    # A list of blocks and a text cannot be added without an empty text among the blocks.
    empty: Any = "" if isinstance(message.content, str) else []
    for index, (name, args, call_id) in enumerate(calls):
        for start in range(0, max(len(args), 1), _ARGS_PIECE_CHARS):
            piece = ToolCallChunk(
                name=None if start else name,
                args=args[start : start + _ARGS_PIECE_CHARS],
                id=None if start else call_id,
                index=index,
                type="tool_call_chunk",
            )
            chunks.append(AIMessageChunk(content=empty, tool_call_chunks=[piece]))
    chunks.append(
        AIMessageChunk(
            content=empty,
            additional_kwargs=message.additional_kwargs,
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
            chunk_position="last",
        )
    )
    return [chunk.model_copy(update={"id": message.id, "name": message.name}) for chunk in chunks]


def _count_usage(
    call: ModelCall, reply: AIMessage, count_tokens: Callable[[str], int]
) -> UsageMetadata:
    """Count each message and each tool by itself, so that a cached `count_tokens` stays cheap."""
    sent = [_to_text(message) for message in call.messages]
    sent += [json.dumps(tool) for tool in call.tools]
    read, written = sum(map(count_tokens, sent)), count_tokens(_to_text(reply))
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _to_text(message: BaseMessage) -> str:
    """Render what a model reads or writes of `message`; text is not escaped, so not inflated."""
    blocks = [message.content] if isinstance(message.content, str) else message.content
    parts = [
        block if isinstance(block, str) else str(block.get("text") or json.dumps(block))
        for block in blocks
    ]
    parts += [
        f"{call['name']}({json.dumps(call['args'], ensure_ascii=False)})"
        for call in getattr(message, "tool_calls", ())
    ]
    return "\n".join(filter(None, parts))
