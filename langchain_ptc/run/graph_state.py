"""The state of the graph within one program: what its tools have written, and what the graph gets.

A tool writes the state with a `Command`. When a model makes such calls, they follow one another:
LangGraph applies each write with the reducer of its key, and the next tool reads the result. A program
makes all of its calls in one step of the graph, which takes one write for a key without a reducer. So the
writes are applied here to copies of the graph's own channels: later calls of the program read these, and
the graph gets the commands that leave its channels in the same state.

Writes are ordered by the number of their call, not by when the calls end: the state does not depend on
timing.

LangGraph has no public name for the channels of a graph; the key is the one by which its `ToolNode` finds
them. Where there are none, tools read the state as it was, and commands are passed on as they are.
"""

from __future__ import annotations

import bisect
import copy
import dataclasses
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.channels import (
    AnyValue,
    BaseChannel,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    UntrackedValue,
)
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore
from langgraph.types import Command, Overwrite
from pydantic import BaseModel

logger = logging.getLogger("langchain_ptc")

_Channel: TypeAlias = BaseChannel[Any, Any, Any]
Channels: TypeAlias = Mapping[str, _Channel]  # the channels that hold the state of a graph, by key

_READ = "__pregel_read"
"""Where LangGraph's configuration has what reads the state of the graph that runs."""
CHECKPOINTER = "__pregel_checkpointer"
_RUNTIME = "__pregel_runtime"
_ROOT = "__root__"
_SINGLE = (LastValue, LastValueAfterFinish, EphemeralValue, UntrackedValue, AnyValue)
"""Channels that hold the last value that was written; most of them take one in each step."""
_FOLDING = (BinaryOperatorAggregate, DeltaChannel)  # channels with a reducer
_MISSING = object()
_BRANCH = "branch:to:"  # what the name of the channel begins with that starts a node


def channels_of(config: RunnableConfig) -> Channels:
    """Return the channels of the graph that runs, by key; none outside a graph."""
    read = (config.get("configurable") or {}).get(_READ)
    arguments: Any = getattr(read, "args", ())
    channels = arguments[1] if len(arguments) > 1 else None
    return channels if isinstance(channels, Mapping) else {}


def nodes_of(config: RunnableConfig) -> list[str]:
    """Return the names of the nodes of the graph that runs, in the order in which they were added."""
    names = channels_of(config).keys()
    return [name.removeprefix(_BRANCH) for name in names if name.startswith(_BRANCH)]


def checkpointer_of(config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Return the checkpointer of the graph that `config` is of, as its subgraphs find it; None if it has none."""
    found = (config.get("configurable") or {}).get(CHECKPOINTER)
    return found if isinstance(found, BaseCheckpointSaver) else None


def store_of(config: RunnableConfig) -> BaseStore | None:
    """Return the store of the graph that `config` is of; None if it has none."""
    runtime = (config.get("configurable") or {}).get(_RUNTIME)
    found = getattr(runtime, "store", None)
    return found if isinstance(found, BaseStore) else None


async def read_state(config: RunnableConfig) -> Any:
    """Return the state of the graph whose node is running; None outside a graph."""
    if not is_in_graph():
        return None
    call = ToolCall(name="read_state", args={}, id="read_state", type="tool_call")
    # The traces of the user's graph are not the place for this.
    answer = await _state_reader().ainvoke([call], {**config, "callbacks": None})
    return answer["messages"][-1].artifact


@functools.cache
def _state_reader() -> ToolNode:
    """Build what reads the state by public means: a tool that is given it."""

    async def read(runtime: ToolRuntime[Any, Any]) -> tuple[str, Any]:
        return "", runtime.state

    return ToolNode(
        [
            StructuredTool.from_function(
                coroutine=read,
                name="read_state",
                description="Reads the state.",
                response_format="content_and_artifact",
            )
        ]
    )


def is_in_graph() -> bool:
    """Whether a node of a graph is running."""
    try:
        return get_runtime() is not None
    except (KeyError, RuntimeError):
        return False


# --- messages ---------------------------------------------------------------------------------------


def message_lists(state: Any) -> Iterator[tuple[str | None, list[Any]]]:
    """Return the lists in a state, each with its key; a state that is a list itself has no key."""
    if isinstance(state, list):
        yield None, state
        return
    values = state
    if not isinstance(state, Mapping):
        values = {"messages": getattr(state, "messages", None), **getattr(state, "__dict__", {})}
    yield from ((key, value) for key, value in values.items() if isinstance(value, list))


def messages_of(state: Any) -> list[BaseMessage]:
    """Return the messages of a state: those under `messages`, else the first list of messages."""
    lists = sorted(message_lists(state), key=lambda found: found[0] != "messages")
    return next((found for _, found in lists if found and _are_messages(found)), [])


def find_call(
    call_id: str | None, state: Any, *, name: str | None = None, arguments: Any = None
) -> tuple[AIMessage, int] | None:
    """Return the newest message of the model with a tool call, and the index of the call in it.

    Several calls of the message may have the id: the tool's name, and some of the arguments, distinguish them.
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


# --- what the tools of one program write ------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Write:
    """One write of one key by one call."""

    number: int
    key: str
    value: Any


class _Key:
    """One key of the state, and what the program has written there."""

    def __init__(self, channel: _Channel, base: Any) -> None:
        self._channel = channel
        self._base = channel.get() if base is _MISSING and channel.is_available() else base
        self._folded = self._start(self._base)
        self.writes: list[_Write] = []

    @property
    def value(self) -> Any:
        """What the writes have left there; `_MISSING` for nothing."""
        return self._folded.get() if self._folded.is_available() else _MISSING

    def write(self, write: _Write) -> None:
        """Apply a write in its place in the order of the calls."""
        at = bisect.bisect_right(self.writes, write.number, key=lambda held: held.number)
        todo = [write]
        if at < len(self.writes):
            self._folded, todo = self._start(self._base), [*self.writes, write]
            todo.sort(key=lambda held: held.number)
        self.writes.insert(at, write)
        for held in todo:
            try:
                self._apply(self._folded, held.value)
            except Exception:  # checked alone: concurrent calls have written what conflicts
                logger.exception("call %d: its update of %r is left out", held.number, held.key)
                self.writes.remove(held)

    def check(self, values: Iterable[Any]) -> None:
        """Raise what the reducer raises for these writes."""
        channel = self._start(self.value)
        for value in values:
            self._apply(channel, value)

    def settle(self) -> Mapping[_Write, Any]:
        """Return the writes that have in one step the effect of all one after another, with their values."""
        last = self.writes[-1:]
        if isinstance(self._channel, _SINGLE):
            return {write: write.value for write in last}
        if not any(_is_overwrite(write.value) for write in self.writes):
            return {write: write.value for write in self.writes}
        # In one step nothing counts beside a value that overwrites.
        if _is_for_messages(self._channel):  # a `ToolNode` takes messages only as a list
            return {write: [RemoveMessage(id=REMOVE_ALL_MESSAGES), *self.value] for write in last}
        return {write: Overwrite(self.value) for write in last}

    def _start(self, value: Any) -> _Channel:
        """Return a channel of this key that holds a copy of `value`."""
        if value is _MISSING or not isinstance(self._channel, _FOLDING):
            return self._channel.copy()
        return self._channel.from_checkpoint(_isolate(value))

    def _apply(self, channel: _Channel, value: Any) -> None:
        channel.update([_isolate(value) if isinstance(channel, _FOLDING) else value])


class GraphState:
    """The state of the graph, with what the tools of one program have written.

    The state is a mapping, an object with a field for each key, or a list of messages; None if there is none.
    """

    def __init__(self, base: Any, channels: Channels) -> None:
        self._base = base
        self._channels = channels
        self._is_list = isinstance(base, list) or _ROOT in channels
        self._keys: dict[str, _Key] = {}
        self._written: list[tuple[int, Command[Any], list[_Write]]] = []
        self.current = base
        """The state as a tool sees it that is called now; not to be changed in place."""

    def check(self, commands: Iterable[Command[Any]]) -> None:
        """Check that the graph can apply the commands of a tool.

        Raises:
            ValueError: The update is a dict where the state is a list, or the other way round.
            Exception: What the reducer of a key raises.
        """
        values: dict[str, list[Any]] = {}
        for command in commands:
            for key, value in writes_of(command):
                if self._channels and self._is_list != (key == _ROOT):
                    shape = "a list of messages" if self._is_list else "a dict"
                    raise ValueError(f"the update of its Command must be {shape}, as the state is")
                if command.graph != Command.PARENT:
                    values.setdefault(key, []).append(value)
        for key, written in values.items():
            if (held := self._find(key)) is not None:
                held.check(written)

    def write(self, number: int, commands: Iterable[Command[Any]]) -> None:
        """Apply what a call has asked of the graph, in its place by the number; `check` has passed it."""
        changed: dict[str, Any] = {}
        for command in commands:
            writes: list[_Write] = []
            if command.graph != Command.PARENT:
                writes = [_Write(number, key, value) for key, value in writes_of(command)]
            self._written.append((number, command, writes))
            for write in writes:
                if (held := self._find(write.key)) is not None:
                    held.write(write)
                    if (value := held.value) is not _MISSING:
                        changed[write.key] = value
        if changed:
            self.current = _change(self.current, changed)

    def write_once(self, number: int, commands: Iterable[Command[Any]]) -> None:
        """Apply what a recorded call has asked of the graph, unless the code reached it again."""
        if all(written[0] != number for written in self._written):
            self.write(number, commands)

    def commands(self) -> tuple[Command[Any], ...]:
        """Return the commands for the graph, in the order of the calls, and last that for its parent.

        The update of each is a dict, or a list of messages where the state is one. There is at most one
        for the parent.
        """
        if not self._written:
            return ()
        settled = {
            write: value for key in self._keys.values() for write, value in key.settle().items()
        }
        own: list[Command[Any]] = []
        parent: list[Command[Any]] = []
        for _, command, writes in sorted(self._written, key=lambda written: written[0]):
            if command.graph == Command.PARENT:
                parent.append(command)
                continue
            left = [
                (write.key, settled.get(write, write.value))
                for write in writes
                if write.key not in self._keys or write in settled
            ]
            own += _build(command, left)
        return (*own, *_join_for_parent(parent))

    def _find(self, key: str) -> _Key | None:
        if key not in self._keys and key in self._channels:
            self._keys[key] = _Key(self._channels[key], _read(self._base, key))
        return self._keys.get(key)


def update_state(state: Any, channels: Channels, update: Any) -> Any:
    """Return a state as an update leaves it."""
    changed = GraphState(state, channels)
    changed.write(0, [Command(update=update)])
    return changed.current


# --- commands ---------------------------------------------------------------------------------------


def writes_of(command: Command[Any]) -> list[tuple[str, Any]]:
    """Return the keys that a command writes, and what."""
    pairs = command._update_as_tuples()  # what LangGraph takes it for, in whichever form it is
    return [(key, [value] if isinstance(value, BaseMessage) else value) for key, value in pairs]


def take_own_message(command: Command[Any], call_id: str) -> tuple[Any, tuple[Command[Any], ...]]:
    """Return the content of the message by which a command answers its own tool call, and the rest.

    No model knows of the call of a program, so its message must not enter the state. In a command for the
    parent graph, and in what is sent to a node, it stays: it marks the place for `run_code`'s own answer.

    Returns:
        The content, None if there is no such message, and the command in a form that the journal can store:
        with a dict as its update, or a list; as several ones, if it writes a key twice.
    """
    content: Any = None
    writes: list[tuple[str, Any]] = []
    for key, value in writes_of(command):
        messages = value.value if isinstance(value, Overwrite) else value
        is_list = isinstance(messages, list | tuple)
        own = [m for m in messages if answers_call(m, call_id)] if is_list else []
        if not own:
            writes.append((key, value))
            continue
        content = own[-1].content if isinstance(own[-1], ToolMessage) else own[-1].get("content")
        kept = [message for message in messages if not answers_call(message, call_id)]
        writes.append((key, Overwrite(kept) if isinstance(value, Overwrite) else kept))
    if command.graph == Command.PARENT:
        return content, _join_for_parent([command])
    return content, tuple(_build(command, writes))


def answers_call(message: Any, call_id: str) -> bool:
    """Whether a message, as an object or as a dict, is the answer to a tool call."""
    if isinstance(message, ToolMessage):
        return message.tool_call_id == call_id
    return isinstance(message, dict) and message.get("tool_call_id") == call_id


def _build(command: Command[Any], writes: Iterable[tuple[str, Any]]) -> list[Command[Any]]:
    """Return a command with these writes: as several ones, if a key is there twice."""
    updates: list[Any] = []
    for key, value in writes:
        if key == _ROOT:
            updates.append(value)
        elif updates and key not in updates[-1]:
            updates[-1][key] = value
        else:
            updates.append({key: value})
    if not updates and not command.goto:
        return []
    *first, last = updates or [None]
    return [
        *(replace(command, update=update, goto=()) for update in first),
        replace(command, update=last),
    ]


def _join_for_parent(commands: Sequence[Command[Any]]) -> tuple[Command[Any], ...]:
    """Join commands for the parent graph, of which LangGraph follows only the first.

    The reducers of the parent are not known: lists of messages are joined, of other values the last
    counts.
    """
    update: dict[str, Any] = {}
    goto: list[Any] = []
    for command in commands:
        for key, value in writes_of(command):
            before: Any = update.get(key)
            is_more = _are_messages(before) and _are_messages(value)
            update[key] = [*before, *value] if is_more else value
        targets = command.goto if isinstance(command.goto, list | tuple) else [command.goto]
        goto += [target for target in targets if target not in goto]
    if not commands:
        return ()
    joined = update.get(_ROOT, update) or None
    return (replace(commands[0], update=joined, goto=goto[0] if len(goto) == 1 else tuple(goto)),)


# --- values -----------------------------------------------------------------------------------------


def _read(state: Any, key: str) -> Any:
    if isinstance(state, Mapping):
        return state.get(key, _MISSING)
    if isinstance(state, list):
        return state if key == _ROOT else _MISSING
    return getattr(state, key, _MISSING)


def _change(state: Any, changed: Mapping[str, Any]) -> Any:
    """Return a state with other values, in the form that it has."""
    if isinstance(state, Mapping):
        return {**state, **changed}
    if isinstance(state, list):
        return changed.get(_ROOT, state)
    if isinstance(state, BaseModel):
        known = {key: value for key, value in changed.items() if key in type(state).model_fields}
        return state.model_copy(update=known)
    if dataclasses.is_dataclass(state):
        other = copy.copy(state)
        for key, value in changed.items():
            object.__setattr__(other, key, value)
        return other
    return state


def _isolate(value: Any) -> Any:
    """Return a copy: a reducer may change in place what it is given, and the graph will apply it again."""
    if isinstance(value, Overwrite):
        return Overwrite(_isolate(value.value))
    if _are_messages(value):
        return list(value)  # LangGraph's own reducer does not
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  # what cannot be copied is in the state all the same
        return value


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, BaseMessage) for item in value)


def _is_overwrite(value: Any) -> bool:
    if isinstance(value, dict):  # as JSON
        return set(value) == {"__overwrite__"} or value.get("type") == "__overwrite__"
    return isinstance(value, Overwrite)


def _is_for_messages(channel: _Channel) -> bool:
    reducer = getattr(channel, "operator", None)
    return reducer is add_messages or getattr(reducer, "func", None) is add_messages
