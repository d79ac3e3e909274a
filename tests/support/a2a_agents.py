"""An A2A agent on the SDK's own server, and one that speaks HTTP by hand; both on the loopback interface.

What the agent does is the first word of the message: see `Scripted.execute`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from a2a.helpers.proto_helpers import new_data_part, new_raw_part, new_text_part, new_url_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as pb
from starlette.applications import Starlette


class Scripted(AgentExecutor):
    """An agent that does as it is told, and notes what reached it.

    Attributes:
        messages: The ids and texts of the messages that reached it.
        cancelled: The ids of the tasks that it was asked to cancel.
        may_finish: What `wait` waits for.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.cancelled: list[str] = []
        self.tasks: list[str] = []
        self.contexts: list[str] = []
        self.parts: list[list[pb.Part]] = []
        self.may_finish = threading.Event()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        text = context.get_user_input()
        assert context.message is not None
        self.messages.append((context.message.message_id, text))
        self.tasks.append(str(context.task_id))
        self.contexts.append(str(context.context_id))
        self.parts.append(list(context.message.parts))
        updater = TaskUpdater(event_queue, str(context.task_id), str(context.context_id))
        word, _, rest = text.partition(" ")
        if word == "message":
            await event_queue.enqueue_event(updater.new_agent_message([new_text_part("no task")]))
            return
        if context.current_task is None:
            task = pb.Task(id=updater.task_id, context_id=updater.context_id)
            task.status.state = pb.TASK_STATE_SUBMITTED
            task.history.append(context.message)
            await event_queue.enqueue_event(task)
        await getattr(self, f"_{word}", self._answer)(updater, rest)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.cancelled.append(str(context.task_id))
        await TaskUpdater(event_queue, str(context.task_id), str(context.context_id)).cancel()

    async def _answer(self, updater: TaskUpdater, rest: str) -> None:
        await updater.add_artifact([new_text_part(f"done: {rest}")])
        await updater.complete()

    async def _stream(self, updater: TaskUpdater, rest: str) -> None:
        await updater.start_work(updater.new_agent_message([new_text_part("reading\u202e")]))
        for number, piece in enumerate(("one ", "and ", "two")):
            await updater.add_artifact(
                [new_text_part(piece)], artifact_id="a", append=number > 0, last_chunk=number == 2
            )
        await updater.add_artifact(
            [new_data_part({"n": 3, "x": 0.5, "deep": [None, True]}), new_data_part([1])]
        )
        raw = new_raw_part(b"\x00\x01", media_type="image/png", filename="a.png")
        url = new_url_part("https://example.org/b", media_type="text/plain", filename="b")
        await updater.add_artifact([raw, url])
        await updater.complete()

    async def _status(self, updater: TaskUpdater, rest: str) -> None:
        await updater.start_work(updater.new_agent_message([new_text_part("on it")]))
        await updater.complete(updater.new_agent_message([new_text_part("in the status")]))

    async def _fail(self, updater: TaskUpdater, rest: str) -> None:
        await updater.failed(updater.new_agent_message([new_text_part(rest or "out of paper")]))

    async def _crash(self, updater: TaskUpdater, rest: str) -> None:
        raise RuntimeError("a bug of the agent")

    async def _reject(self, updater: TaskUpdater, rest: str) -> None:
        await updater.reject(updater.new_agent_message([new_text_part("not my job")]))

    async def _auth(self, updater: TaskUpdater, rest: str) -> None:
        await updater.requires_auth(
            updater.new_agent_message([new_text_part("log in at https://x")])
        )

    async def _give_up(self, updater: TaskUpdater, rest: str) -> None:
        await updater.cancel(updater.new_agent_message([new_text_part("changed my mind")]))

    async def _ask(self, updater: TaskUpdater, rest: str) -> None:
        parts = [new_text_part(f"which {rest}?"), new_data_part({"options": ["a", "b"]})]
        await updater.requires_input(updater.new_agent_message(parts))

    async def _hang(self, updater: TaskUpdater, rest: str) -> None:
        await updater.start_work()
        await asyncio.sleep(3600)

    async def _wait(self, updater: TaskUpdater, rest: str) -> None:
        await updater.start_work()
        while not self.may_finish.is_set():
            await asyncio.sleep(0.01)
        await self._answer(updater, rest)

    async def _flood(self, updater: TaskUpdater, rest: str) -> None:
        for number in range(int(rest)):
            await updater.start_work(
                updater.new_agent_message([new_text_part(f"{number} " + "x" * 100_000)])
            )
        await updater.complete()


def make_card(url: str, *, streaming: bool = True) -> pb.AgentCard:
    """Return a card with both bindings and both versions of the protocol."""
    card = pb.AgentCard(
        name="Researcher",
        description="Finds things out.",
        version="1",
        capabilities=pb.AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[
            pb.AgentSkill(
                id="papers",
                name="papers",
                description="Reads papers.",
                tags=["science"],
                examples=["What is new on quasars?"],
            )
        ],
    )
    for binding, version, path in (
        ("JSONRPC", "1.0", "/rpc"),
        ("HTTP+JSON", "1.0", "/rest"),
        ("JSONRPC", "0.3", "/rpc"),
        ("HTTP+JSON", "0.3", "/rest"),
    ):
        card.supported_interfaces.add(
            url=f"{url}{path}", protocol_binding=binding, protocol_version=version
        )
    return card


def only(card: pb.AgentCard, binding: str, version: str) -> pb.AgentCard:
    """Return the card with one of its interfaces."""
    left = pb.AgentCard()
    left.CopyFrom(card)
    kept = [
        i
        for i in card.supported_interfaces
        if (i.protocol_binding, i.protocol_version) == (binding, version)
    ]
    del left.supported_interfaces[:]
    left.supported_interfaces.extend(kept)
    return left


class Served:
    """A server in a thread.

    Attributes:
        url: Where it is.
        card: The card of its agent, with all interfaces.
        forget: Makes the agent forget all tasks, as one that was started again.
        requests: Method, path and headers of the requests that it got.
    """

    def __init__(self, build: Callable[[str], Any]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.card = pb.AgentCard()
        self.forget: Callable[[], None] = lambda: None
        app = build(self.url)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                headers = {k.decode(): v.decode() for k, v in scope["headers"]}
                self.requests.append((scope["method"], scope["path"], headers))
            await app(scope, receive, send)

        config = uvicorn.Config(
            noting, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@contextlib.contextmanager
def serve(
    executor: AgentExecutor, *, streaming: bool = True, interfaces_at: str | None = None
) -> Iterator[Served]:
    """Serve an agent, whose card names interfaces here or elsewhere."""
    cards: list[pb.AgentCard] = []

    forgetting: list[Callable[[], None]] = []

    def build(url: str) -> Any:
        card = make_card(interfaces_at or url, streaming=streaming)
        cards.append(card)
        app = [routes(card)]

        def forget() -> None:
            app[:] = [routes(card)]

        forgetting.append(forget)

        async def newest(*given: Any) -> None:
            await app[0](*given)

        return newest

    def routes(card: pb.AgentCard) -> Starlette:
        handler = DefaultRequestHandlerV2(executor, InMemoryTaskStore(), card)
        return Starlette(
            routes=[
                *create_agent_card_routes(card),
                *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
                *create_rest_routes(handler, path_prefix="/rest", enable_v0_3_compat=True),
            ]
        )

    server = Served(build)
    server.card, server.forget = cards[0], forgetting[0]
    try:
        yield server
    finally:
        server.stop()
