"""The tool call that asked for an execution: its place among others, and a name that no other has.

Ids of tool calls need to be unique within one message only. Some servers give every call the same id,
or count anew in each message. The calls of the code need ids that stay unique all the same: a tool
passes them on as idempotency keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.runtime import get_runtime

from langchain_ptc.execution.portal import call_in_thread

CHECKPOINTER = "__pregel_checkpointer"
"""Key of LangGraph's configuration that has no public name: where a graph keeps its checkpoints."""
CALL_ID, ASKED_BY = "ptc_call_id", "ptc_asked_by"
"""Metadata of the checkpoints of an execution: the id of the tool call, and what made the call."""
_TAG_CHARS = 12


def message_lists(state: Any) -> Iterator[tuple[str | None, list[Any]]]:
    """Return the lists in a state, each with its key; a state that is a list itself has no key."""
    if isinstance(state, list):
        yield None, state
        return
    values = state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
    yield from ((key, value) for key, value in values.items() if isinstance(value, list))


def index_of(call_id: str | None, state: Any) -> int | None:
    """Return which tool call of the last message of `state` has this id, from 0; None if none has."""
    if call_id is None:
        return None
    for _, messages in message_lists(state):
        last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        for index, call in enumerate(last.tool_calls if last is not None else ()):
            if call["id"] == call_id:
                return index
    return None


class Asking:
    """The tool call that asked for an execution.

    Args:
        call_id: Its id; None if no tool call asked.
        state: The state of the graph, with the message that made the call.
        made_by: Id of that message, where it is not in the state.
    """

    def __init__(self, call_id: str | None, state: Any, made_by: str | None = None) -> None:
        self.call_id = call_id
        users = [
            message.id
            for _, messages in message_lists(state)
            for message in messages
            if isinstance(message, AIMessage)
            and any(call["id"] == call_id for call in message.tool_calls)
        ]
        if made_by is None and users:
            made_by = users.pop()
        self.made_by = made_by or _task_id()
        """What made the call: the id of a message, or of a task of the graph."""
        self._is_repeated = any(user != self.made_by for user in users)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata for the checkpoints of the execution, by which later ones find it."""
        if self.call_id is None or self.made_by is None:
            return {}
        return {CALL_ID: self.call_id, ASKED_BY: self.made_by}

    async def stem(self, config: RunnableConfig, *, sync: bool) -> str | None:
        """Return what the ids of the code's calls begin with; None if no tool call asked.

        It is the id of the tool call. Where another message of the thread has used that id, in the
        state or in the thread's checkpoints, it is followed by a digest of the message's own id.

        Args:
            config: Configuration of the graph.
            sync: The graph runs synchronously.
        """
        if self.call_id is None or self.made_by is None:
            return self.call_id
        if not self._is_repeated and not await self._was_used(config, sync=sync):
            return self.call_id
        digest = hashlib.sha256(self.made_by.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.call_id}.{digest[:_TAG_CHARS]}"

    async def _was_used(self, config: RunnableConfig, *, sync: bool) -> bool:
        """Whether an execution of the thread was asked for under this id by another message."""
        configurable = config.get("configurable") or {}
        saver = checkpointer_of(config)
        if saver is None or "thread_id" not in configurable:
            return False
        thread = RunnableConfig(configurable={"thread_id": str(configurable["thread_id"])})
        wanted = {CALL_ID: self.call_id}

        def is_other(found: CheckpointTuple) -> bool:
            metadata: Mapping[str, Any] = found.metadata
            return metadata.get(ASKED_BY) not in (None, self.made_by)

        try:
            if sync:
                return await call_in_thread(
                    lambda: any(map(is_other, saver.list(thread, filter=wanted)))
                )
            listed: AsyncIterator[CheckpointTuple] = saver.alist(thread, filter=wanted)
            async for found in listed:
                if is_other(found):
                    return True
        except NotImplementedError:  # a checkpointer that cannot search: the state must do
            pass
        return False


def checkpointer_of(config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Return the checkpointer of the graph that `config` is of; None if it has none.

    LangGraph has no public way to ask; the key is the one by which its own subgraphs find it.
    """
    found = (config.get("configurable") or {}).get(CHECKPOINTER)
    return found if isinstance(found, BaseCheckpointSaver) else None


def _task_id() -> str | None:
    try:
        info = getattr(get_runtime(), "execution_info", None)
    except (KeyError, RuntimeError):  # outside a graph
        return None
    return None if info is None else info.task_id
