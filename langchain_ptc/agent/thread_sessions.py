"""Where the variables of the code are between two executions of a thread: in the state of the graph.

They are bytes that only a worker writes and reads (see `sandbox.sessions`). In the state they are saved,
forked and rewound with the thread, and any host of the graph can continue with them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Command
from typing_extensions import override

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.prompts import EMPTY_SESSION
from langchain_ptc.run.driver import Outcome
from langchain_ptc.run.graph_state import checkpointer_of, message_lists
from langchain_ptc.run.record import ExecutionResult

Session: TypeAlias = Literal["none", "thread"]

MAX_CHECKPOINTS = 1_000
"""How far back variables are searched for: reading a checkpoint takes about a millisecond."""


class SessionStore:
    """Keeps variables in the artifact of the newest message of `run_code`, in any graph.

    Artifacts are not sent to models. Only the newest message holds the variables: the previous one is
    replaced by a copy without them. Where that message is no longer in the state, because the
    conversation was summarized or trimmed, it is looked up in the earlier checkpoints of the thread.
    """

    def __init__(self, tool_name: str) -> None:
        self._tool_name = tool_name

    def find(self, state: Any) -> bytes | None:
        """Return the variables in a state; None if it has none."""
        _, message = self._newest(state)
        return None if message is None else session_of(message)

    async def load(self, state: Any, config: RunnableConfig, *, sync: bool) -> bytes:
        """Return the saved variables, or nothing for the first execution of a thread."""
        session = self.find(state)
        if session is None:
            async for earlier in earlier_states(config, sync=sync):
                session = self.find(earlier)
                if session is not None:
                    break
        return b"" if session is None else session

    def save(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """Return the artifact of the message, and commands that save the variables elsewhere."""
        if outcome.kept is None:  # it ended before it could save any: the earlier ones stay
            return outcome.result, ()
        return replace(outcome.result, session=base64.b64encode(outcome.kept).decode()), ()

    def remove_previous(self, state: Any) -> dict[str, Any]:
        """Return the update that removes the variables that the new message replaces."""
        key, before = self._newest(state)
        if key is None or before is None or before.id is None:
            return {}
        artifact = {**before.artifact, "session": None}
        return {key: [before.model_copy(update={"artifact": artifact})]}

    def _newest(self, state: Any) -> tuple[str | None, ToolMessage | None]:
        """Return the newest message with variables, and the key of the list that it is in."""
        for key, messages in message_lists(state):
            for message in reversed(messages):
                is_ours = isinstance(message, ToolMessage) and message.name == self._tool_name
                if is_ours and session_of(message) is not None:
                    return key, message
        return None, None


class StateSessionStore(SessionStore):
    """Keeps variables under a private key of the state, which the graph must have."""

    def __init__(self, key: str) -> None:
        self.key = key

    @override
    def find(self, state: Any) -> bytes | None:
        session = state.get(self.key) if isinstance(state, Mapping) else None
        return session if isinstance(session, bytes) else None

    @override
    async def load(self, state: Any, config: RunnableConfig, *, sync: bool) -> bytes:
        return self.find(state) or b""

    @override
    def save(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        if outcome.kept is None:
            return outcome.result, ()
        return outcome.result, (Command(update={self.key: outcome.kept}),)

    @override
    def remove_previous(self, state: Any) -> dict[str, Any]:
        return {}


async def earlier_states(config: RunnableConfig, *, sync: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield the values of the checkpoints that the running step descends from, the newest first.

    In a thread that was forked or rewound, none of them is of another branch. At most `MAX_CHECKPOINTS`
    are read.
    """
    saver = checkpointer_of(config)
    configurable = config.get("configurable") or {}
    if saver is None or "thread_id" not in configurable:
        return
    left = MAX_CHECKPOINTS
    places: Mapping[str, str] = configurable.get("checkpoint_map") or {}
    for namespace, checkpoint_id in sorted(places.items(), key=lambda place: -len(place[0])):
        own = {
            **configurable,
            "thread_id": str(configurable["thread_id"]),
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
        found = await _read(saver, RunnableConfig(configurable=own), sync=sync)
        if found is None:  # not written yet, or only at the end of the run
            own.pop("checkpoint_id")
            found = await _read(saver, RunnableConfig(configurable=own), sync=sync)
        while found is not None and left:
            left -= 1
            yield found.checkpoint["channel_values"]
            parent = found.parent_config
            found = None if parent is None else await _read(saver, parent, sync=sync)


async def _read(
    saver: BaseCheckpointSaver[Any], place: RunnableConfig, *, sync: bool
) -> CheckpointTuple | None:
    if sync:
        return await call_in_thread(lambda: saver.get_tuple(place))
    return await saver.aget_tuple(place)


def session_of(message: ToolMessage) -> bytes | None:
    """Return the variables that a message of `run_code` holds."""
    artifact = message.artifact
    kept = artifact.get("session") if isinstance(artifact, Mapping) else None
    return base64.b64decode(kept) if isinstance(kept, str) else None


def note_empty(result: ExecutionResult) -> ExecutionResult:
    """Note for the model, after a `NameError`, that no earlier execution has left any variables."""
    if result.error is None or result.error.kind != "NameError":
        return result
    return replace(result, notes=(*result.notes, EMPTY_SESSION))
