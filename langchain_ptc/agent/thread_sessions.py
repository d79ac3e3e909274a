"""Where the variables of the code are between two executions of a thread: in the state of the graph.

They are bytes that only a worker makes and reads (see `sandbox.keeping`). In the state they are saved,
forked and rewound with the thread, and any host of the graph can go on with them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias, get_args

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Command

from langchain_ptc.prompts.texts import EMPTY_SESSION
from langchain_ptc.run.asking import checkpointer_of, message_lists
from langchain_ptc.run.outcome import Outcome
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.record import ExecutionResult

Session: TypeAlias = Literal["none", "thread"]

MOST_CHECKPOINTS = 1_000
"""How far back variables are looked for: reading a checkpoint takes about a millisecond."""


class Keeper(Protocol):
    """Finds the variables of a thread in its state, and puts them there."""

    async def find(self, state: Any, config: RunnableConfig, *, sync: bool) -> bytes:
        """Return what was kept, or nothing for the first execution of a thread.

        Args:
            state: The state of the graph.
            config: Configuration of the graph.
            sync: The graph runs synchronously.
        """
        ...

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """Return the artifact of the message, and what else the state is to be told."""
        ...

    def tidy(self, state: Any) -> dict[str, Any]:
        """Return the update that takes out of the state what the new message stands for."""
        ...


class StateKeeper:
    """Keeps variables under a private key of the state.

    Args:
        key: The key, which the graph must have.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    async def find(self, state: Any, config: RunnableConfig, *, sync: bool) -> bytes:
        """See `Keeper.find`."""
        del config, sync
        kept = state.get(self.key) if isinstance(state, Mapping) else None
        return kept if isinstance(kept, bytes) else b""

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """See `Keeper.keep`."""
        if outcome.kept is None:  # it ended before it could keep any: what was there stays
            return outcome.result, ()
        return outcome.result, (Command(update={self.key: outcome.kept}),)

    def tidy(self, state: Any) -> dict[str, Any]:
        """See `Keeper.tidy`: there is nothing to take out."""
        del state
        return {}


class MessageKeeper:
    """Keeps variables in the artifact of the newest message of `run_code`, in any graph.

    Artifacts are not sent to models. Only the newest message holds them: the one before is replaced
    by itself without. Where that message is not in the state any more, because the conversation was
    summarized or trimmed, it is looked up in the earlier checkpoints of the thread.

    Args:
        tool_name: Name of the messages.
    """

    def __init__(self, tool_name: str) -> None:
        self._tool_name = tool_name

    async def find(self, state: Any, config: RunnableConfig, *, sync: bool) -> bytes:
        """See `Keeper.find`."""
        kept = self._find_in(state)
        if kept is None:
            async for earlier in earlier_states(config, sync=sync):
                kept = self._find_in(earlier)
                if kept is not None:
                    break
        return b"" if kept is None else kept

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """See `Keeper.keep`."""
        if outcome.kept is None:
            return outcome.result, ()
        return replace(outcome.result, session=base64.b64encode(outcome.kept).decode()), ()

    def tidy(self, state: Any) -> dict[str, Any]:
        """See `Keeper.tidy`."""
        key, before = self._newest(state)
        if key is None or before is None or before.id is None:
            return {}
        return {key: [_without_session(before)]}

    def _find_in(self, state: Any) -> bytes | None:
        _, message = self._newest(state)
        return None if message is None else session_of(message)

    def _newest(self, state: Any) -> tuple[str | None, ToolMessage | None]:
        """Return the newest message with variables, and the key of the list that it is in."""
        for key, messages in message_lists(state):
            for message in reversed(messages):
                is_ours = isinstance(message, ToolMessage) and message.name == self._tool_name
                if is_ours and session_of(message) is not None:
                    return key, message
        return None, None


async def earlier_states(config: RunnableConfig, *, sync: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield what the checkpoints hold that the running step comes from, the newest first.

    They are the ancestors of the step: in a thread that was forked or rewound, none of the other
    branch. At most `MOST_CHECKPOINTS` are read.

    Args:
        config: Configuration of the running step.
        sync: The graph runs synchronously.
    """
    saver = checkpointer_of(config)
    configurable = config.get("configurable") or {}
    if saver is None or "thread_id" not in configurable:
        return
    left = MOST_CHECKPOINTS
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


def _without_session(message: ToolMessage) -> ToolMessage:
    return message.model_copy(update={"artifact": {**message.artifact, "session": None}})


def note_empty(result: ExecutionResult) -> ExecutionResult:
    """Tell the model of code that missed a name why no earlier execution can have left it."""
    if result.error is None or result.error.kind != "NameError":
        return result
    return replace(result, notes=(*result.notes, EMPTY_SESSION))


def checked_session(session: Session) -> Session:
    """Return `session`.

    Raises:
        ValueError: It is neither `none` nor `thread`.
    """
    if session not in get_args(Session):
        raise ValueError(f"session must be 'none' or 'thread', got {session!r}")
    return session
