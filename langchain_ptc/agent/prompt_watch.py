"""Checks that the stubs reach the model: later middleware may set another system message, or other tools.

A middleware sees the request that it passes on, and not what the next one makes of it. But callbacks see
what a chat model is sent, so each model call of an agent of ours is watched by one.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook

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
