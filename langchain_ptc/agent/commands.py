"""The answer to a call of `run_code`: its message, and the commands that the tools have returned.

A tool may answer with a list of a message and commands, and LangGraph applies each. Where a command moves
messages elsewhere (a handoff to the parent graph, a `Send` to a node, a rewritten history), the answer
must be among them: otherwise there would be a tool call without one, which providers refuse.

The file middleware of deep agents, which comes before all others there, accepts no lists.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Send

from langchain_ptc.run.graph_state import answers_call, message_lists

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
    """Return what has an agent ask its model, in place of ending; None in a graph that is not such an agent.

    Where all tools of a message have `return_direct`, the agents of `create_agent` and `create_react_agent`
    end, whatever their answers say. A command routes to a node in addition to that edge.

    Args:
        nodes: Names of the nodes of the graph, in the order in which they were added.
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
