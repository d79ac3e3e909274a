"""The answer to a call of `run_code`: its message, the commands of its tools, and the variables of its session.

A tool may answer with a list of a message and commands, and LangGraph applies each. Where a command moves
messages elsewhere (a handoff to the parent graph, a `Send` to a node, a rewritten history), the answer
must be among them: otherwise there would be a tool call without one, which providers refuse.

The file middleware of deep agents, which comes before all others there, accepts no lists.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Send
from typing_extensions import override

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.prompts import EMPTY_SESSION
from langchain_ptc.run.driver import Outcome
from langchain_ptc.run.graph_state import answers_call, checkpointer_of, message_lists
from langchain_ptc.run.record import ExecutionResult

_DEEP_AGENTS = "deepagents.middleware.filesystem"
_CALL_BLOCKS = ("tool_use", "tool_call", "function_call")


def implementation_module(tool: BaseTool) -> str:
    """Return the name of the module that implements a tool."""
    body = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or type(tool)
    return str(getattr(body, "__module__", ""))


def takes_no_lists(tools: Iterable[BaseTool]) -> bool:
    """Whether an agent with these tools has middleware that refuses lists."""
    return any(implementation_module(tool) == _DEEP_AGENTS for tool in tools)


def asks_model_again(nodes: Iterable[str]) -> Command[Any] | None:
    """Return what has an agent with these nodes ask its model, in place of ending; None for another graph.

    Where all tools of a message have `return_direct`, the agents of `create_agent` and `create_react_agent`
    end, whatever their answers say. A command routes to a node in addition to that edge.
    """
    names = list(nodes)
    hooks = [name for name in names if name.endswith(".before_model")][:1]
    entry = next((n for n in (*hooks, "model", "pre_model_hook", "agent") if n in names), None)
    return None if entry is None else Command(goto=entry)


def compose(
    message: ToolMessage, commands: Sequence[Command[Any]], state: Any
) -> list[ToolMessage | Command[Any]]:
    """Return the answer to a call of `run_code`, with its `ToolMessage` in the list or in a command.

    The last message of the graph's `state` makes the call; for the commands see `GraphState.commands`.
    """
    key, caller = _find_caller(state, message.tool_call_id)
    answer = _Answer(message, caller)
    rewriting = [at for at, command in enumerate(commands) if _rewrites(command)]
    placed = []
    for at, command in enumerate(commands):
        goto: Any = command.goto
        is_list = isinstance(goto, list | tuple)
        goto = [answer.send(to) for to in goto] if is_list else answer.send(goto)
        update = command.update
        if command.graph == Command.PARENT or rewriting[-1:] == [at]:
            update = answer.place_in(update, leaves=command.graph == Command.PARENT)
        placed.append(replace(command, update=update, goto=goto))
    # After a command for the parent, LangGraph leaves this graph and drops everything else.
    placed = [command for command in placed if command.graph == Command.PARENT] or placed
    updates = [command.update.get(key) for command in placed if isinstance(command.update, dict)]
    is_within = any(isinstance(messages, list) and message in messages for messages in updates)
    return [*placed] if is_within else [message, *placed]


class _Answer:
    """The answer to a call, and the message that makes the call."""

    def __init__(self, message: ToolMessage, caller: AIMessage | None) -> None:
        self._message = message
        self._caller = caller
        self._call_id = message.tool_call_id
        calls = message.artifact["tool_calls"] if isinstance(message.artifact, dict) else ()
        self._inner_ids = [call["call_id"] for call in calls]

    def send(self, target: Any) -> Any:
        """Put the answer into the state that is sent to a node."""
        if not isinstance(target, Send):
            return target
        return Send(target.node, self.place_in(target.arg, leaves=True), timeout=target.timeout)

    def place_in(self, update: Any, *, leaves: bool) -> Any:
        """Put the answer into the messages of an update, if they hold the call, or a tool's answer.

        If the messages leave the graph, the answers to other calls will be missing there.
        """
        if isinstance(update, list):
            return self._place(update, leaves=leaves)
        if isinstance(update, Mapping):
            return {
                key: self._place(value, leaves=leaves) if isinstance(value, list) else value
                for key, value in update.items()
            }
        return update

    def _place(self, messages: list[Any], *, leaves: bool) -> list[Any]:
        others = [message for message in messages if not self._is_of_tool(message)]
        has_answer = len(others) < len(messages)
        if any(isinstance(m, ToolMessage) and m.tool_call_id == self._call_id for m in others):
            return others
        at = next((at for at, message in enumerate(others) if self._is_caller(message)), None)
        if at is None:
            if not has_answer:
                return messages
            at = next(at for at, message in enumerate(messages) if self._is_of_tool(message))
            own = [] if self._caller is None else [self._calling(self._caller)]
            # langgraph-supervisor copies that message, with another id and without the call.
            if own and at and self._is_copy(others[at - 1]):
                own = [others[at - 1].model_copy(update={"tool_calls": own[0].tool_calls})]
                return [*others[: at - 1], *own, self._answer(), *others[at:]]
            return [*others[:at], *own, self._answer(), *others[at:]]
        caller = others[at]
        if not _makes(caller, self._call_id):
            if not has_answer:
                return messages
            # A handoff that removes the other calls of the message knows only its own id.
            caller = self._calling(self._caller or caller)
        end = at + 1
        while end < len(others) and isinstance(others[end], ToolMessage):
            end += 1
        if leaves:
            caller = self._calling(caller, answered={m.tool_call_id for m in others[at + 1 : end]})
        return [*others[:at], caller, *others[at + 1 : end], self._answer(), *others[end:]]

    def _is_copy(self, message: Any) -> bool:
        is_bare = isinstance(message, AIMessage) and not message.tool_calls
        return is_bare and self._caller is not None and message.text == self._caller.text

    def _answer(self) -> ToolMessage:
        # The same message, wherever it is put.
        self._message.id = self._message.id or str(uuid.uuid4())
        return self._message

    def _is_of_tool(self, message: Any) -> bool:
        """Whether a message answers a call of the program, which no message of the model makes."""
        return any(answers_call(message, call_id) for call_id in self._inner_ids)

    def _is_caller(self, message: Any) -> bool:
        if not isinstance(message, AIMessage):
            return False
        is_same = self._caller is not None and message.id == self._caller.id is not None
        return is_same or _makes(message, self._call_id)

    def _calling(self, caller: AIMessage, answered: AbstractSet[str] = frozenset()) -> AIMessage:
        """Return the message with this call and those that are answered; no others will be."""
        kept = {self._call_id, *answered}
        if all(call["id"] in kept for call in caller.tool_calls):
            return caller
        content: Any = caller.content
        if isinstance(content, list):
            content = [block for block in content if not _is_other_call(block, kept)]
        return caller.model_copy(
            update={
                "content": content,
                "tool_calls": [c for c in caller.tool_calls if c["id"] in kept],
                "invalid_tool_calls": [],
                "additional_kwargs": {
                    k: v for k, v in caller.additional_kwargs.items() if k != "tool_calls"
                },
            }
        )


def _find_caller(state: Any, call_id: str) -> tuple[str, AIMessage | None]:
    """Return the key of the messages, and the message that makes a call."""
    for key, messages in message_lists(state):
        for message in reversed(messages):
            if isinstance(message, AIMessage) and _makes(message, call_id):
                return key or "messages", message
    return "messages", None


def _makes(message: AIMessage, call_id: str) -> bool:
    return any(call["id"] == call_id for call in message.tool_calls)


def _rewrites(command: Command[Any]) -> bool:
    """Whether a command removes all messages from the state, and may add others."""
    update = command.update
    lists = update.values() if isinstance(update, Mapping) else [update]
    return any(
        isinstance(message, RemoveMessage) and message.id == REMOVE_ALL_MESSAGES
        for messages in lists
        for message in (messages if isinstance(messages, list) else ())
    )


def join(parts: Sequence[ToolMessage | Command[Any]]) -> Any:
    """Return a message and commands as one command.

    If several commands write the same key, their values are joined like in the reducers of deep agents:
    dicts are merged, lists concatenated, and of other values the last is used. Commands to another graph,
    and updates that are objects, cannot be joined; with one of those the answer is a list.
    """
    update: dict[str, Any] = {}
    goto: list[Any] = []
    for part in parts:
        if isinstance(part, ToolMessage):
            command: Command[Any] = Command(update={"messages": [part]})
        else:
            command = part
        if command.graph is not None or not _is_plain(command.update):
            return list(parts)
        written = command.update or ()
        for key, value in written.items() if isinstance(written, dict) else written:
            update[key] = _join_values(update[key], value) if key in update else value
        goto += command.goto if isinstance(command.goto, list | tuple) else [command.goto]
    return Command(update=update, goto=goto)


def _is_plain(update: Any) -> bool:
    """Whether an update is a dict, or the pairs of one."""
    if update is None or isinstance(update, dict):
        return True
    return isinstance(update, list | tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in update
    )


def _join_values(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return {**first, **second}
    if isinstance(first, list):
        return [*first, *(second if isinstance(second, list | tuple) else [second])]
    return second


def _is_other_call(block: Any, kept: AbstractSet[str]) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _CALL_BLOCKS:
        return False
    return kept.isdisjoint((block.get("id"), block.get("call_id")))


# --- sessions ---------------------------------------------------------------------------------------
# The variables of the code are in the state of the graph between two executions of a thread: bytes that only a
# worker writes and reads (see `sandbox.sessions`). There they are saved, forked and rewound with the thread,
# and any host of the graph can continue with them.

Session: TypeAlias = Literal["none", "thread"]

MAX_CHECKPOINTS = 1_000
"""How far back variables are searched for: reading a checkpoint takes about a millisecond."""


class SessionStore:
    """Keeps variables in the artifact of the newest message of `run_code`, in any graph.

    Artifacts are not sent to models. Only the newest message holds the variables: the previous one is
    replaced by a copy without them. If the conversation was summarized or trimmed and the
    state no longer has that message, it is looked up in the earlier checkpoints of the thread.
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
