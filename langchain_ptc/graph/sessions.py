"""Where the variables of the code are between two executions of a thread: in the state of the graph.

They are bytes that only a worker makes and reads (see `sandbox.keeping`). In the state they are saved,
forked and rewound with the thread, and any host of the graph can go on with them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

from langchain_core.messages import ToolMessage
from langgraph.types import Command

from langchain_ptc.execution.execution import Outcome
from langchain_ptc.execution.record import ExecutionResult

Session: TypeAlias = Literal["none", "thread"]


class Keeper(Protocol):
    """Finds the variables of a thread in its state, and puts them there."""

    def find(self, state: Any) -> bytes:
        """Return what was kept, or nothing for the first execution of a thread."""
        ...

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """Return the artifact of the message, and what else the state is to be told."""
        ...

    def tidy(self, state: Any) -> Sequence[Command[Any]]:
        """Return what takes out of the state what the new message stands for."""
        ...


class StateKeeper:
    """Keeps variables under a private key of the state.

    Args:
        key: The key, which the graph must have.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def find(self, state: Any) -> bytes:
        """See `Keeper.find`."""
        kept = state.get(self.key) if isinstance(state, Mapping) else None
        return kept if isinstance(kept, bytes) else b""

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """See `Keeper.keep`."""
        if outcome.kept is None:  # it ended before it could keep any: what was there stays
            return outcome.result, ()
        return outcome.result, (Command(update={self.key: outcome.kept}),)

    def tidy(self, state: Any) -> Sequence[Command[Any]]:
        """See `Keeper.tidy`: there is nothing to take out."""
        del state
        return ()


class MessageKeeper:
    """Keeps variables in the artifact of the newest message of `run_code`, in any graph.

    Artifacts are not sent to models. Only the newest message holds them: the one before is replaced
    by itself without.

    Args:
        tool_name: Name of the messages.
    """

    def __init__(self, tool_name: str) -> None:
        self._tool_name = tool_name

    def find(self, state: Any) -> bytes:
        """See `Keeper.find`."""
        message = self._newest(state)
        kept = None if message is None else session_of(message)
        return b"" if kept is None else kept

    def keep(self, outcome: Outcome) -> tuple[ExecutionResult, Sequence[Command[Any]]]:
        """See `Keeper.keep`."""
        if outcome.kept is None:
            return outcome.result, ()
        return replace(outcome.result, session=base64.b64encode(outcome.kept).decode()), ()

    def tidy(self, state: Any) -> Sequence[Command[Any]]:
        """See `Keeper.tidy`."""
        before = self._newest(state)
        if before is None or before.id is None or isinstance(state, list):
            return ()
        return (Command(update={"messages": [_without_session(before)]}),)

    def _newest(self, state: Any) -> ToolMessage | None:
        messages = state
        if not isinstance(state, list):
            messages = (
                state.get("messages")
                if isinstance(state, Mapping)
                else getattr(state, "messages", None)
            )
        for message in reversed(messages or ()):
            is_ours = isinstance(message, ToolMessage) and message.name == self._tool_name
            if is_ours and session_of(message) is not None:
                return cast("ToolMessage", message)
        return None


def session_of(message: ToolMessage) -> bytes | None:
    """Return the variables that a message of `run_code` holds."""
    artifact = message.artifact
    if isinstance(artifact, ExecutionResult):
        kept = artifact.session
    else:  # a checkpointer gives records back as plain data
        kept = artifact.get("session") if isinstance(artifact, Mapping) else None
    return base64.b64decode(kept) if isinstance(kept, str) else None


def _without_session(message: ToolMessage) -> ToolMessage:
    artifact: Any = message.artifact
    if isinstance(artifact, ExecutionResult):
        artifact = replace(artifact, session=None)
    else:
        artifact = {**artifact, "session": None}
    return message.model_copy(update={"artifact": artifact})


def checked_session(session: Session) -> Session:
    """Return `session`.

    Raises:
        ValueError: It is neither `none` nor `thread`.
    """
    if session not in get_args(Session):
        raise ValueError(f"session must be 'none' or 'thread', got {session!r}")
    return session
