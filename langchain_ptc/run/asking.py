"""The tool call that asked for an execution: its place among others, and a name that no other has.

Some servers give every tool call the same id, or count anew in each thread or each message. The calls of
the code need ids that stay unique all the same: a tool passes them on as idempotency keys. So the id is
followed by a digest of the thread, of the message that made the call, and of the call's place in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import get_runtime

from langchain_ptc.run.parallel_pauses import take_place

CHECKPOINTER = "__pregel_checkpointer"
"""Key of LangGraph's configuration that has no public name: where a graph keeps its checkpoints."""
_DIGEST_CHARS = 12


def message_lists(state: Any) -> Iterator[tuple[str | None, list[Any]]]:
    """Return the lists in a state, each with its key; a state that is a list itself has no key."""
    if isinstance(state, list):
        yield None, state
        return
    values = state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
    yield from ((key, value) for key, value in values.items() if isinstance(value, list))


def messages_of(state: Any) -> list[BaseMessage]:
    """Return the messages of a state, whatever their key is."""
    if isinstance(state, Mapping):
        values = [state.get("messages"), *state.values()]
    elif isinstance(state, list):
        values = [state]
    else:
        values = [getattr(state, "messages", None), *getattr(state, "__dict__", {}).values()]
    for value in values:
        if isinstance(value, list) and value and all(isinstance(m, BaseMessage) for m in value):
            return value
    return []


def find_call(
    call_id: str | None, state: Any, *, name: str | None = None, arguments: Any = None
) -> tuple[AIMessage, int] | None:
    """Return the newest message of the model with a tool call, and which of its calls that is, from 0.

    Args:
        call_id: Id of the call. Several calls of the message may have it.
        state: The state of the graph.
        name: Name of the call's tool, by which calls with one id are told apart.
        arguments: Arguments of the call, or some of them, likewise.
    """
    if call_id is None:
        return None
    for _, messages in message_lists(state):
        last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        calls = last.tool_calls if last is not None else []
        same = [n for n, call in enumerate(calls) if call["id"] == call_id]
        if last is None or not same:
            continue
        alike = [
            n
            for n in same
            if name in (None, calls[n]["name"])
            and all(calls[n]["args"].get(key) == value for key, value in (arguments or {}).items())
        ]
        return last, (alike or same)[0]
    return None


class Asking:
    """The tool call that asked for an execution.

    Args:
        call_id: Its id; None if no tool call asked.
        state: The state of the graph, with the message that made the call.
        arguments: Some of its arguments.
        config: Configuration of the graph.
    """

    def __init__(
        self, call_id: str | None, state: Any, arguments: Any, config: RunnableConfig
    ) -> None:
        found = find_call(call_id, state, arguments=arguments)
        index = None if found is None else found[1]
        self.place = take_place(index)
        """Its place among the executions of its task."""
        self.stem = call_id
        """What the ids of the code's calls begin with; None if no tool call asked."""
        made_by = _task_id() if found is None or found[0].id is None else found[0].id
        if call_id is not None and made_by is not None:
            thread = (config.get("configurable") or {}).get("thread_id")
            told = repr((str(thread), made_by, self.place))
            digest = hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()
            self.stem = f"{call_id}.{digest[:_DIGEST_CHARS]}"


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
