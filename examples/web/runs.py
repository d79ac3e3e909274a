"""Runs of the agent in the background, one at a time in each conversation.

What a run shows goes into the log, in the words of the package's events, of LangChain's messages and of
LangGraph's interrupts:

| `kind` | fields |
|---|---|
| `user` | `id`, `text` |
| `reply` | `text`, `code`: the programs in it, by the id of their call; `calls`: its other tool calls |
| `event` | those of the event (`docs/logs.md`) |
| `result` | `call_id`, `text`: what the model reads, `status` |
| `question` | `id` and `value` of the interrupt |
| `answer` | `id` of the question, `value` |
| `taken_up` | a new process goes on with the run |
| `end` | `status`: `done`, `waiting`, `refused` (an answer) or `failed`; `text` |

What the model is writing is not in the log: `follow` gives it as `draft`, with `text` and `code`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.json import parse_partial_json
from langgraph.types import Command
from pydantic import ValidationError

from .log import Conversation, Item, Log

MAX_RUNS = 32
"""Runs at once; others wait for their turn."""
MAX_OUTPUT_CHARS = 100_000
"""What is kept of the output of an execution while it runs; its end is in the result."""
DRAFT_SECONDS = 0.1
"""The shortest time between two states of what the model is writing."""
RUN_CODE = "run_code"
"""The tool that runs code."""

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """The conversation has a run, or nothing that waits for an answer."""


class Runs:
    """The runs of all conversations.

    Args:
        agent: A compiled graph with a checkpointer.
        log: Where what happens is written.
    """

    def __init__(self, agent: Runnable[Any, Any], log: Log) -> None:
        self._agent: Any = agent
        self._log = log
        self._slots = asyncio.Semaphore(MAX_RUNS)
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._drafts: dict[str, Draft] = {}
        self._signals: dict[str, asyncio.Event] = {}
        self._printed: dict[str, int] = {}
        self._is_closing = False

    async def ask(self, conversation: Conversation, text: str) -> None:
        """Begin a run with what the user says.

        Raises:
            BusyError: There is a run, or a question waits for an answer.
        """
        message = HumanMessage(text, id=uuid.uuid4().hex)
        with self._claim(conversation):
            if (await self._state(conversation)).interrupts:
                raise BusyError("a question waits for an answer")
            item = {"kind": "user", "id": message.id, "text": text}
            await self._begin(conversation, item, {"messages": [message]})

    async def answer(self, conversation: Conversation, question: str, value: Any) -> None:
        """Go on with a run that waits.

        Args:
            conversation: Whose run it is.
            question: Id of the interrupt.
            value: What `Command(resume=...)` takes for it.

        Raises:
            BusyError: There is a run, or no such question waits.
        """
        with self._claim(conversation):
            waiting = {found.id for found in (await self._state(conversation)).interrupts}
            if question not in waiting:
                raise BusyError("this question has been answered")
            item = {"kind": "answer", "id": question, "value": value}
            await self._begin(conversation, item, Command(resume={question: value}))

    async def take_up(self) -> None:
        """Go on with what ran when the process before this one ended."""
        for conversation in await self._log.running():
            with self._claim(conversation):
                items = [item for _, item in await self._log.items(conversation.id)]
                said = next(item for item in reversed(items) if item["kind"] == "user")
                known = (await self._state(conversation)).values.get("messages", ())
                is_known = said["id"] in {message.id for message in known}
                message = HumanMessage(said["text"], id=said["id"])
                given = None if is_known else {"messages": [message]}
                await self._begin(conversation, {"kind": "taken_up"}, given)

    async def stop(self) -> None:
        """Cancel the runs; `take_up` of the next process goes on with them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def end_followers(self) -> None:
        """End all that `follow` yields, so that a server can stop."""
        self._is_closing = True
        for conversation in list(self._signals):
            self._signal(conversation)

    async def follow(self, conversation: str, after: int) -> AsyncIterator[tuple[int | None, Item]]:
        """Yield the items of a conversation, and then what happens, until `end_followers`.

        Args:
            conversation: Its id.
            after: The number of the last item that the reader knows.

        Yields:
            The item with its number, or a draft with None.
        """
        shown: Item = {}
        while not self._is_closing:
            signal = self._signals.setdefault(conversation, asyncio.Event())
            for after, item in await self._log.items(conversation, after=after):  # noqa: B020
                yield after, item
                shown = {} if item["kind"] == "reply" else shown
            draft = self._drafts.get(conversation)
            if draft is not None and (view := draft.view()) != shown:
                shown = view
                yield None, view
            await signal.wait()
            await asyncio.sleep(DRAFT_SECONDS)

    # --- a run ----------------------------------------------------------------------------------

    async def _run(self, conversation: Conversation, given: object) -> None:
        end: Item = {"kind": "end", "status": "done"}
        try:
            async with self._slots:
                parts = self._agent.astream(
                    given, _config(conversation), stream_mode=["messages", "custom", "updates"]
                )
                async for mode, part in parts:
                    await self._take(conversation.id, mode, part)
        except ValidationError as error:  # an answer that the question does not allow
            problems = [f"{_place(found['loc'])}: {found['msg']}" for found in error.errors()]
            end = {"kind": "end", "status": "refused", "text": "\n".join(problems)}
        except Exception as error:
            logger.exception("the run of conversation %s failed", conversation.id)
            end = {"kind": "end", "status": "failed", "text": type(error).__name__}
        self._drafts.pop(conversation.id, None)
        questions = (await self._state(conversation)).interrupts
        for question in questions:
            await self._add(
                conversation.id, {"kind": "question", "id": question.id, "value": question.value}
            )
        if questions and end["status"] == "done":
            end["status"] = "waiting"
        await self._log.add(conversation.id, end, runs=False)
        self._busy.discard(conversation.id)  # before the page reads of the end
        self._signal(conversation.id)

    async def _take(self, conversation: str, mode: str, part: Any) -> None:
        """Take one part of the stream."""
        if mode == "messages":
            message, about = part
            if isinstance(message, AIMessageChunk) and about.get("langgraph_node") == "model":
                draft = self._drafts.get(conversation)
                if draft is None or draft.id != message.id:
                    draft = self._drafts[conversation] = Draft(message.id)
                draft.add(message)
                self._signal(conversation)
        elif mode == "updates":
            for message in _messages(part):
                await self._take_message(conversation, message)
        elif part.get("source") == "langchain_ptc" and self._is_kept(part):
            await self._add(conversation, {"kind": "event", **part})

    async def _take_message(self, conversation: str, message: BaseMessage) -> None:
        if isinstance(message, AIMessage):
            self._drafts.pop(conversation, None)
            calls = message.tool_calls
            code = {call["id"]: call["args"].get("code") for call in calls if _is_code(call)}
            others = [
                {"name": call["name"], "args": call["args"]} for call in calls if not _is_code(call)
            ]
            await self._add(
                conversation, {"kind": "reply", "text": message.text, "code": code, "calls": others}
            )
        elif isinstance(message, ToolMessage):
            await self._add(
                conversation,
                {
                    "kind": "result",
                    "call_id": message.tool_call_id,
                    "text": message.text,
                    "status": message.status,
                },
            )

    def _is_kept(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is kept: output is up to `MAX_OUTPUT_CHARS` of an execution."""
        execution = event["execution_id"]
        if event["event"] == "output":
            printed = self._printed.get(execution, 0)
            self._printed[execution] = printed + len(event["text"])
            return printed < MAX_OUTPUT_CHARS
        if event["event"] in ("execution_pause", "execution_end"):
            self._printed.pop(execution, None)
        return True

    # --- what they share ------------------------------------------------------------------------

    @contextmanager
    def _claim(self, conversation: Conversation) -> Iterator[None]:
        """Keep others from beginning a run; if the block fails, there is none."""
        if conversation.id in self._busy:
            raise BusyError("the conversation has a run")
        self._busy.add(conversation.id)
        try:
            yield
        except BaseException:
            self._busy.discard(conversation.id)
            raise

    async def _begin(self, conversation: Conversation, item: Item, given: object) -> None:
        await self._log.add(conversation.id, item, runs=True)
        self._signal(conversation.id)
        task = asyncio.create_task(self._run(conversation, given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _state(self, conversation: Conversation) -> Any:
        return await self._agent.aget_state(_config(conversation))

    async def _add(self, conversation: str, item: Item) -> None:
        await self._log.add(conversation, item)
        self._signal(conversation)

    def _signal(self, conversation: str) -> None:
        if (signal := self._signals.pop(conversation, None)) is not None:
            signal.set()


class Draft:
    """A message that the model is writing.

    Args:
        identifier: Id of the message.
    """

    def __init__(self, identifier: str | None) -> None:
        self.id = identifier
        self._text = ""
        self._arguments: dict[Any, str] = {}

    def add(self, chunk: AIMessageChunk) -> None:
        """Add what the model has written."""
        self._text += chunk.text
        for part in chunk.tool_call_chunks:
            place = part.get("index")
            self._arguments[place] = self._arguments.get(place, "") + (part["args"] or "")

    def view(self) -> Item:
        """Return its text and its programs, as far as they are written."""
        written = [parse_partial_json(part) for part in self._arguments.values() if part]
        code = [found["code"] for found in written if isinstance(found, dict) and "code" in found]
        return {"kind": "draft", "text": self._text, "code": code}


def _config(conversation: Conversation) -> RunnableConfig:
    """Return the config of a run; the record of an approval has the user as `approved_by`."""
    return {"configurable": {"thread_id": conversation.id, "user_id": conversation.user}}


def _messages(update: Mapping[str, Any]) -> Iterator[BaseMessage]:
    """Yield the messages that nodes have put into the state."""
    for changes in update.values():
        for change in changes if isinstance(changes, list) else [changes]:
            if isinstance(change, Mapping):
                yield from change.get("messages", ())


def _is_code(call: ToolCall) -> bool:
    return call["name"] == RUN_CODE


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
