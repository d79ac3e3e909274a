"""A chat model that waits, before it writes its last piece, for what its caller does meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

_PIECE_CHARS = 5
_SECONDS = 20.0
"""A model that nobody answers goes on, and the test fails."""


class WritingModel(BaseChatModel):
    """Calls `run_code` with each of some programs in turn, and then says `done`.

    The last piece of a program is written once `go_on` has been called for it.
    """

    programs: list[str]
    as_text: bool = False
    """Write the program as a fenced block."""
    waits: bool = True
    pause: float | None = None
    """Wait so many seconds before the last piece, and for nothing else."""
    breaks: int = 0
    """So many of the first programs break off before their last piece."""
    extra_calls: int = 0
    """Other tool calls in the same message."""
    _go_on: threading.Event = PrivateAttr(default_factory=threading.Event)
    _asked: int = PrivateAttr(default=0)
    _missed: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "writing"

    @property
    def missed(self) -> int:
        """How often it has waited for nothing."""
        return self._missed

    def go_on(self) -> None:
        """Have it write the last piece."""
        self._go_on.set()

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        if self.as_text:
            raise NotImplementedError
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        first, *others = self._chunks(messages)
        whole = sum((chunk.message for chunk in others), first.message)
        return ChatResult(generations=[ChatGeneration(message=message_chunk_to_message(whole))])

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        *first, last = self._chunks(messages)
        yield from first
        if first and self.pause is not None:
            time.sleep(self.pause)
        elif len(first) > 0 and self.waits and not self._go_on.wait(_SECONDS):
            self._missed += 1
        self._go_on.clear()
        yield last

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        *first, last = self._chunks(messages)
        for chunk in first:
            yield chunk
            await asyncio.sleep(0)
        if self._asked <= self.breaks:
            raise ConnectionError("the connection was lost")
        if first and self.pause is not None:
            await asyncio.sleep(self.pause)
        elif first and self.waits and not await asyncio.to_thread(self._go_on.wait, _SECONDS):
            self._missed += 1
        self._go_on.clear()
        yield last

    def _chunks(self, messages: list[BaseMessage]) -> list[ChatGenerationChunk]:
        if self._asked == len(self.programs) or isinstance(messages[-1], ToolMessage):
            return [ChatGenerationChunk(message=AIMessageChunk("done"))]
        code = self.programs[self._asked]
        self._asked += 1
        if self.as_text:
            text = f"```python\n{code}\n```"
            return [
                ChatGenerationChunk(message=AIMessageChunk(text[at : at + _PIECE_CHARS]))
                for at in range(0, len(text), _PIECE_CHARS)
            ]
        chunks = []
        for number in range(1 + self.extra_calls):
            encoded = json.dumps({"code": code})
            for at in range(0, len(encoded), _PIECE_CHARS):
                piece = tool_call_chunk(
                    name=None if at else "run_code",
                    args=encoded[at : at + _PIECE_CHARS],
                    id=None if at else f"call-{self._asked}-{number}",
                    index=number,
                )
                chunks.append(AIMessageChunk("", tool_call_chunks=[piece]))
        return [ChatGenerationChunk(message=chunk) for chunk in chunks]
