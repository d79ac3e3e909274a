"""The models of the demo: a simulated one for each way of calling tools, and real ones by name.

The simulated model does with the question what a careful model does, and does not know the answer. Called directly, the model reads tool results from the conversation,
asks for what is still missing and reckons from what it has read; called programmatically, it writes
one program and repeats what the program printed. It never errs, which flatters direct calling: real
models do miscount hundreds of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from benchmarks.local_model import LocalModelError, local_model
from examples.company.database import DEPARTMENT, QUARTER
from langchain_ptc.cli.commands import find_model
from langchain_ptc.cli.output import CommandError
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

LOCAL = "local"
"""The small model of `benchmarks/local_model`, fetched and served on this machine."""
PROGRAM = f"""\
import asyncio

members, budgets, rates = await asyncio.gather(
    list_members(department="{DEPARTMENT}", quarter="{QUARTER}"),
    get_travel_budgets(quarter="{QUARTER}"),
    get_exchange_rates(quarter="{QUARTER}"),
)
expenses = await asyncio.gather(
    *[get_expenses(person_id=m["id"], quarter="{QUARTER}", category="travel") for m in members]
)

over = {{}}
for member, rows in zip(members, expenses):
    spent, receipts = 0.0, set()
    for row in rows:
        if row["status"] not in ("approved", "paid") or row["receipt_id"] in receipts:
            continue
        if row["receipt_id"] is not None:
            receipts.add(row["receipt_id"])
        spent += row["amount"] * rates[row["currency"]]
    budget = member["own_travel_budget"]
    if budget is None:
        budget = budgets[member["grade"]]
    if spent > budget:
        over[member["name"]] = spent - budget

for name, amount in sorted(over.items(), key=lambda item: item[1], reverse=True):
    print(f"{{name}}: {{amount:.2f}}")
"""
"""What the model writes when it may write code."""

_Request = tuple[str, Mapping[str, str]]


@contextmanager
def open_model(name: str) -> Iterator[BaseChatModel]:
    """Give the chat model that `name` means, for as long as the context lasts.

    Args:
        name: `local`, or whatever `langchain-ptc ask --model` takes.

    Raises:
        CommandError: There is no such model here; the message says what to do.
    """
    if name != LOCAL:
        yield find_model(name)
        return
    try:
        with local_model() as model:
            yield model
    except LocalModelError as error:
        raise CommandError(str(error)) from error


def build_direct_model(*, calls_per_turn: int, **speed: Any) -> ScriptedChatModel:
    """Build the model that calls the tools itself.

    Args:
        calls_per_turn: Tool calls that it makes in one message, at most.
        speed: `count_tokens`, `seconds_per_call` and `tokens_per_second` of `ScriptedChatModel`.
    """

    def reply(messages: list[BaseMessage]) -> AIMessage:
        results = _read_results(messages)
        missing = [request for request in _requests(results) if _key(*request) not in results]
        if not missing:
            return AIMessage(_answer(results))
        calls = [tool_call_message(name, args) for name, args in missing[:calls_per_turn]]
        return AIMessage("", tool_calls=[call.tool_calls[0] for call in calls])

    return ScriptedChatModel(script=reply, **speed)


def build_programmatic_model(*, tool_name: str, **speed: Any) -> ScriptedChatModel:
    """Build the model that writes `PROGRAM`, then tells what it printed.

    Args:
        tool_name: The tool that runs code.
        speed: As for `build_direct_model`.
    """
    script: list[AIMessage | Callable[[list[BaseMessage]], str]] = [
        tool_call_message(tool_name, {"code": PROGRAM}),
        lambda messages: messages[-1].text,
    ]
    return ScriptedChatModel(script=script, **speed)


def _requests(results: Mapping[str, Any]) -> list[_Request]:
    """List the calls that the question needs, as far as they are known from `results`."""
    requests: list[_Request] = [
        ("list_members", {"department": DEPARTMENT, "quarter": QUARTER}),
        ("get_travel_budgets", {"quarter": QUARTER}),
        ("get_exchange_rates", {"quarter": QUARTER}),
    ]
    requests += [
        (
            "get_expenses",
            {"person_id": member["id"], "quarter": QUARTER, "category": "travel"},
        )
        for member in results.get("list_members", ())
    ]
    return requests


def _key(name: str, args: Mapping[str, str]) -> str:
    return f"{name} {args['person_id']}" if "person_id" in args else name


def _read_results(messages: Sequence[BaseMessage]) -> dict[str, Any]:
    """Read every tool result in the conversation."""
    asked = {
        call["id"]: _key(call["name"], call["args"])
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    return {
        # LangChain writes an empty list as a message without content.
        asked[message.tool_call_id]: json.loads(message.text or "[]")
        for message in messages
        if isinstance(message, ToolMessage)
    }


def _answer(results: Mapping[str, Any]) -> str:
    """Reckon from the rows in the conversation, as the tools' descriptions say."""
    over: dict[str, float] = {}
    for member in results["list_members"]:
        receipts: dict[str, float] = {}
        for row in results[f"get_expenses {member['id']}"]:
            if row["status"] in ("approved", "paid"):
                receipt = row["receipt_id"] or f"row {row['id']}"
                receipts[receipt] = row["amount"] * results["get_exchange_rates"][row["currency"]]
        budget = member["own_travel_budget"]
        if budget is None:
            budget = results["get_travel_budgets"][member["grade"]]
        if sum(receipts.values()) > budget:
            over[member["name"]] = sum(receipts.values()) - budget
    lines = sorted(over.items(), key=lambda item: item[1], reverse=True)
    return "\n".join(f"{name}: {amount:.2f}" for name, amount in lines)
