"""Chat models, watched by their callbacks: the code that they write, and whether they were sent the stubs.

The code goes from the model's callbacks to the run of the tool that it is for, while it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers.context import register_configure_hook

from langchain_ptc.background_loop import loop_here
from langchain_ptc.prefetch.code_stream import ChunkReader
from langchain_ptc.replies import Protocol
from langchain_ptc.run.calls import current_capture
from langchain_ptc.run.graph_state import find_call
from langchain_ptc.run.prefetcher import Prefetcher

Put: TypeAlias = Callable[[BaseMessage, str | None, Prefetcher], None]
"""Takes a finished message, the id of its first tool call, and what was begun for it."""


class WrittenCode:
    """The prefetchers of messages whose code has not begun to run; used from any thread.

    A message is known by its identity: ids of messages and of tool calls are repeated by some model servers,
    and what was fetched for one user must never reach another. A copy of a message has no prefetcher.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[weakref.ref[BaseMessage], str | None, Prefetcher]] = {}

    def put(self, message: BaseMessage, call_id: str | None, prefetcher: Prefetcher) -> None:
        """Keep a prefetcher for the code of a message, as long as the message exists."""
        key = id(message)

        def forget(_: object) -> None:
            # Runs wherever the message is collected, so it takes no lock.
            if (waiting := self._waiting.pop(key, None)) is not None:
                waiting[2].close()

        self._waiting[key] = weakref.ref(message, forget), call_id, prefetcher

    def take(self, state: Any, call_id: str | None) -> Prefetcher | None:
        """Return the prefetcher for a tool call of the model's newest message in the state, once."""
        found = find_call(call_id, state) if self._waiting else None
        if found is None:
            return None
        message, _ = found
        waiting = self._waiting.get(id(message))
        if waiting is None or waiting[0]() is not message or waiting[1] != call_id:
            return None
        is_first = self._waiting.pop(id(message), None) is waiting
        return waiting[2] if is_first else None


class _Run:
    """One run of a chat model; made where it begins."""

    def __init__(
        self, reader: ChunkReader, parent: UUID | None, abandon: Callable[[object], None]
    ) -> None:
        self.reader = reader
        self.parent = parent
        self.loop = loop_here()
        """Where the tools are called: its own loop, or that of synchronous callers."""
        self.is_sync = asyncio._get_running_loop() is None
        self.context = contextvars.copy_context()
        self.kind: str | None = None  # how its pieces arrive; some models report each in both ways
        self.has_code = False
        self.prefetcher: Prefetcher | None = None
        self._abandon = abandon
        self._task = None if self.is_sync else asyncio.current_task()
        if self._task is not None:
            # The end of a run is not reported when what waits for it is cancelled.
            self._task.add_done_callback(abandon)

    def end(self) -> None:
        """Note that the model has ended."""
        if self._task is not None:
            self._task.remove_done_callback(self._abandon)

    def close(self) -> None:
        """End what was begun."""
        if self.prefetcher is not None:
            self.prefetcher.close()
            self.prefetcher = None


class PrefetchHandler(BaseCallbackHandler):
    """Hands the code that chat models write to prefetchers.

    A model with this handler streams, also where it is invoked; unless `disable_streaming` is set on it. `begin`
    returns a prefetcher for code that is being written, and `put` takes it with the finished message. `is_own` says
    whether a description of a tool with that name is that of this one: an agent nearby may have another.
    """

    run_inline = True

    def __init__(
        self,
        tool_name: str,
        *,
        protocol: Protocol = "tool",
        begin: Callable[..., Prefetcher | None],
        put: Put,
        is_own: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._tool_name, self._protocol = tool_name, protocol
        self._begin, self._put, self._is_own = begin, put, is_own
        self._within = current_capture.get()  # the call of a tool in which it was made
        self._runs: dict[UUID, _Run] = {}
        self._is_closed = False

    def close(self) -> None:
        """End what was begun for messages that are not finished, and begin nothing more; from any thread."""
        self._is_closed = True
        for run_id in [*self._runs]:
            self._abandon(run_id)

    def on_chat_model_start(
        self,
        *_: Any,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        invocation_params: Mapping[str, Any] | None = None,
        **__: Any,
    ) -> None:
        """Note a run of a model; one that is repeated replaces the one before.

        Not in a tool that the code calls: what an agent writes there is for tools of its own. Nor one to which
        another tool of that name is bound.
        """
        if current_capture.get() is not self._within:
            return
        bound = _find_description((invocation_params or {}).get("tools"), self._tool_name)
        if bound is not None and not self._is_own(bound):
            return
        for key, run in [*self._runs.items()]:
            if run.parent == parent_run_id:
                self._abandon(key)
        reader = ChunkReader(self._tool_name, protocol=self._protocol)
        self._runs[run_id] = _Run(reader, parent_run_id, functools.partial(self._abandon, run_id))

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **_: Any,
    ) -> None:
        """Read a chunk of a message."""
        del token
        run = self._runs.get(run_id)
        message = getattr(chunk, "message", None)
        if run is not None and run.kind in (None, "chunk") and isinstance(message, AIMessageChunk):
            run.kind = "chunk"
            self._feed(run, run.reader.read_chunk(message))

    def on_stream_event(self, event: Any, *, run_id: UUID, **_: Any) -> None:
        """Read an event of a message."""
        run = self._runs.get(run_id)
        if run is not None and run.kind in (None, "event"):
            run.kind = "event"
            self._feed(run, run.reader.read_event(event))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Keep what was begun for the message."""
        run = self._end(run_id)
        if run is None:
            return
        self._feed(run, run.reader.close())
        generation = response.generations[0][0]
        if run.prefetcher is not None and isinstance(generation, ChatGeneration):
            self._put(generation.message, run.reader.call_id, run.prefetcher)
        else:
            run.close()
        if self._is_closed:  # meanwhile: nobody takes it
            run.close()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Forget what was begun."""
        del error
        self._abandon(run_id)

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Pass on: a model streams for a handler that has this method."""
        del run_id
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Pass on; see `tap_output_iter`."""
        del run_id
        return output

    def _end(self, run_id: UUID) -> _Run | None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.end()
        return run

    def _abandon(self, run_id: UUID, _: object = None) -> None:
        if (run := self._end(run_id)) is not None:
            run.close()

    def _feed(self, run: _Run, added: str) -> None:
        if run.reader.is_void:
            run.close()
        elif added:
            if not run.has_code:
                run.has_code = True
                run.prefetcher = run.context.copy().run(
                    functools.partial(self._begin, loop=run.loop, sync=run.is_sync)
                )
            if (prefetcher := run.prefetcher) is not None:
                prefetcher.feed(added)
                if self._is_closed:  # meanwhile
                    run.close()


def _find_description(bound: Any, name: str) -> str | None:
    """Return the description of the tool of a name among those bound to a model, in any provider's format."""
    if isinstance(bound, Mapping):
        text = bound.get("description")
        if bound.get("name") == name and isinstance(text, str):
            return text
        bound = [*bound.values()]
    if not isinstance(bound, list | tuple):
        return None
    found = (_find_description(each, name) for each in bound)
    return next((text for text in found if text is not None), None)


# --- whether the stubs reach the model --------------------------------------------------------------
# Later middleware may set another system message, or other tools. A middleware sees the request that it
# passes on, and not what the next one makes of it; callbacks see what a chat model is sent.

_PROMPT_LOST = (
    "a middleware behind ProgrammaticToolCallingMiddleware has replaced the system message: the model was "
    "offered {TOOL_NAME} without the tools that its code may call. List the middleware that sets the "
    "system message (for example @dynamic_prompt) before ProgrammaticToolCallingMiddleware, or have it "
    "add to request.system_message"
)
_TOOL_LOST = (
    "a middleware behind ProgrammaticToolCallingMiddleware has set the tools, and {TOOL_NAME} is not among "
    "them: the model cannot run code. List the middleware that chooses tools before "
    "ProgrammaticToolCallingMiddleware, where it sees the agent's own tools, or have it keep {TOOL_NAME} "
    "(LLMToolSelectorMiddleware: always_include=[{TOOL_NAME!r}])"
)


class PromptWatch(BaseCallbackHandler):
    """Watches one model call of an agent for the prompt and the tool that must be sent."""

    run_inline = True

    def __init__(self, prompt: str, tool_name: str) -> None:
        self._prompt = _squeezed(prompt)
        self._tool_name = tool_name
        self._lost: dict[UUID, str] = {}
        self._answers: list[tuple[AIMessage, str]] = []

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Record what is missing in what a model is sent."""
        del serialized
        offered = (kwargs.get("invocation_params") or {}).get("tools")
        if not all(map(self._has_prompt, messages)):
            self._lost[run_id] = _PROMPT_LOST
        elif isinstance(offered, list) and not self._has_tool(offered):
            self._lost[run_id] = _TOOL_LOST

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Record what a model has answered, and what it was missing."""
        del kwargs
        for generations in response.generations:
            for generation in generations:
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage):
                    self._answers.append((message, self._lost.get(run_id, "")))

    def check(self, response: Any) -> None:
        """Check that the agent continues with the answer of a model that was sent the stubs and the tool.

        Models that other middleware calls, to choose tools or to judge, have prompts of their own.

        Raises:
            ValueError: It is the answer of a model that was not sent the stubs or the tool.
        """
        found = getattr(response, "model_response", response)
        for message in getattr(found, "result", [found]):
            lost = self._lost_of(message) if isinstance(message, AIMessage) else ""
            if lost:
                name = self._tool_name
                raise ValueError(
                    lost.replace("{TOOL_NAME!r}", repr(name)).replace("{TOOL_NAME}", name)
                )

    def _lost_of(self, message: AIMessage) -> str:
        """Return what was missing for the model that answered with a message; empty if nothing."""
        content = message.content, message.tool_calls
        lost = [
            lost
            for answer, lost in self._answers
            # A middleware may have built its own message from the answer.
            if message.id == answer.id is not None or (answer.content, answer.tool_calls) == content
        ]
        return "" if "" in lost or not lost else lost[0]

    def _has_prompt(self, messages: Sequence[BaseMessage]) -> bool:
        first = [m for m in messages if isinstance(m, SystemMessage)]
        others = [m for m in messages if not isinstance(m, SystemMessage)]
        return any(
            self._prompt in _squeezed(" ".join(m.text for m in ms)) for ms in (first, others)
        )

    def _has_tool(self, offered: Sequence[Any]) -> bool:
        for tool in offered:
            shown = tool if isinstance(tool, dict) else {}
            function = shown.get("function")
            names = [
                shown.get("name"),
                function.get("name") if isinstance(function, dict) else None,
            ]
            if self._tool_name in names or (not any(names) and self._tool_name in repr(tool)):
                return True
        return False


def _squeezed(text: str) -> str:
    return " ".join(text.split())


_Watch: TypeAlias = contextvars.ContextVar[BaseCallbackHandler | None]
_prompt_watch: _Watch = contextvars.ContextVar("ptc_prompt_watch", default=None)
_code_watch: _Watch = contextvars.ContextVar("ptc_code_watch", default=None)
for _variable in (_prompt_watch, _code_watch):
    register_configure_hook(_variable, inheritable=True)


@contextlib.contextmanager
def watched(prompts: PromptWatch | None, code: BaseCallbackHandler | None = None) -> Iterator[None]:
    """Watch the models that are called inside: what they are sent, and the code that they write."""
    tokens = _prompt_watch.set(prompts), _code_watch.set(code)
    try:
        yield
    finally:
        _code_watch.reset(tokens[1])
        _prompt_watch.reset(tokens[0])
