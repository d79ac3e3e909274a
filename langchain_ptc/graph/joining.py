"""One answer of many: for middleware that takes a message or a command, and no list of them.

A tool may answer with a list of a message and commands, and LangGraph applies each. The file middleware
of deep agents, which stands before all others there, refuses lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command

_HOUSE = "deepagents.middleware.filesystem"


def implementation_module(tool: BaseTool) -> str:
    """Return the name of the module in which a tool's work is written."""
    made = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or type(tool)
    return str(getattr(made, "__module__", ""))


def takes_no_lists(tools: Iterable[BaseTool]) -> bool:
    """Whether an agent with these tools has middleware that refuses lists."""
    return any(implementation_module(tool) == _HOUSE for tool in tools)


def join(message: ToolMessage, commands: Sequence[Command[Any]]) -> Any:
    """Return a message and commands as one command.

    Where several commands write the same key, their values are joined as the reducers of deep agents do:
    dicts by key, lists end to end, of others the last. Commands to another graph, and updates that are
    objects, cannot be joined; with one of those the answer is a list.
    """
    if any(command.graph is not None or not _is_plain(command.update) for command in commands):
        return [message, *commands]
    update: dict[str, Any] = {"messages": [message]}
    goto: list[Any] = []
    for command in commands:
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
