"""The HTTP interface: a page, and for each conversation its events, messages and answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import BaseModel, Field

from .log import Conversation, Log
from .runs import BusyError, Runs

PAGE = Path(__file__).with_name("page.html")
MAX_BODY_BYTES = 1_000_000
RECONNECT_MILLISECONDS = 1_000

BuildAgent = Callable[[BaseCheckpointSaver[Any]], Runnable[Any, Any]]


class Message(BaseModel):
    """What a user says."""

    text: str = Field(min_length=1, max_length=20_000)


class Answer(BaseModel):
    """What a user answers to a question of the agent."""

    question: str
    value: Any


def current_user(request: Request) -> str:
    """Return who asks: the holder of a cookie that the page was given. Put your login here."""
    user = request.cookies.get("user")
    if user is None:
        raise HTTPException(401, "open the page first: it sets a cookie")
    return user


def current_log(request: Request) -> Log:
    """Return the log of the service."""
    log: Log = request.app.state.log
    return log


def current_runs(request: Request) -> Runs:
    """Return the runs of the service."""
    runs: Runs = request.app.state.runs
    return runs


User = Annotated[str, Depends(current_user)]
TheLog = Annotated[Log, Depends(current_log)]
TheRuns = Annotated[Runs, Depends(current_runs)]


async def own_conversation(identifier: str, user: User, log: TheLog) -> Conversation:
    """Return a conversation of the user who asks; those of others do not exist for them."""
    conversation = await log.find(identifier)
    if conversation is None or conversation.user != user:
        raise HTTPException(404, "conversation not found")
    return conversation


Own = Annotated[Conversation, Depends(own_conversation)]


def create_app(
    build_agent: BuildAgent,
    *,
    data: Path,
    suggestions: Sequence[str] = (),
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
) -> FastAPI:
    """Create the service.

    Args:
        build_agent: Builds the agent with the checkpointer that it is given; its tool that runs code is
            `run_code`.
        data: Folder of the checkpoints and of the log, each in a database of SQLite.
        suggestions: What the page offers to ask.
        hosts: Names by which the page may be opened; requests for others are refused.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            AsyncSqliteSaver.from_conn_string(str(data / "checkpoints.db")) as checkpointer,
            Log.open(data / "log.db") as log,
        ):
            app.state.log = log
            app.state.runs = Runs(build_agent(checkpointer), log)
            await app.state.runs.take_up()
            yield
            await app.state.runs.stop()
            # A run that is cancelled between a write and its commit would leave the database locked.
            await checkpointer.conn.rollback()

    app = FastAPI(lifespan=lifespan, openapi_url=None, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    page = PAGE.read_text("utf-8")
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _policy(page),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    @app.get("/", response_class=HTMLResponse)
    async def show_page(request: Request) -> HTMLResponse:
        response = HTMLResponse(page, headers=headers)
        if "user" not in request.cookies:
            response.set_cookie(
                "user",
                secrets.token_urlsafe(32),
                max_age=30 * 86_400,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response

    @app.get("/conversations")
    async def list_conversations(user: User, log: TheLog) -> dict[str, Any]:
        found = [{"id": one.id, "title": one.title} for one in await log.of_user(user)]
        return {"conversations": found, "suggestions": list(suggestions)}

    @app.post("/conversations", status_code=201)
    async def begin(message: Message, user: User, log: TheLog, runs: TheRuns) -> dict[str, str]:
        title = " ".join(message.text.split())[:60]
        conversation = Conversation(uuid.uuid4().hex, user, title)
        await log.begin(conversation)
        await runs.ask(conversation, message.text)
        return {"id": conversation.id}

    @app.post("/conversations/{identifier}/messages", status_code=202)
    async def ask(message: Message, conversation: Own, runs: TheRuns) -> None:
        with _conflicts():
            await runs.ask(conversation, message.text)

    @app.post("/conversations/{identifier}/answers", status_code=202)
    async def answer(answer: Answer, conversation: Own, runs: TheRuns) -> None:
        with _conflicts():
            await runs.answer(conversation, answer.question, answer.value)

    @app.get("/conversations/{identifier}/events", response_class=EventSourceResponse)
    async def follow(
        conversation: Own, runs: TheRuns, last_event_id: Annotated[int, Header(ge=0)] = 0
    ) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(comment="hello", retry=RECONNECT_MILLISECONDS)
        async for number, item in runs.follow(conversation.id, last_event_id):
            yield ServerSentEvent(data=item, id=None if number is None else str(number))

    return app


class Server(uvicorn.Server):
    """Serves an app of `create_app`.

    When it is to stop, it ends the streams of open pages, for which uvicorn would wait.

    Args:
        app: The app.
        options: Those of `uvicorn.Config`.
    """

    def __init__(self, app: FastAPI, **options: Any) -> None:
        super().__init__(uvicorn.Config(app, **options))
        self._state = app.state

    def stop(self) -> None:
        """End the streams, and stop when all requests have ended; call it in the event loop."""
        if hasattr(self._state, "runs"):
            self._state.runs.end_followers()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; uvicorn calls it for a signal, in the thread of its event loop."""
        asyncio.get_running_loop().call_soon_threadsafe(self.stop)
        super().handle_exit(sig, frame)


@contextmanager
def _conflicts() -> Iterator[None]:
    """Answer 409 for what cannot be done now."""
    try:
        yield
    except BusyError as error:
        raise HTTPException(409, str(error)) from error


def _policy(page: str) -> str:
    """Return a policy by which the browser runs the page's own script and nothing else.

    The page sets text only; if it ever failed to, a script in that text would not run.
    """
    hashes = {
        kind: " ".join(
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
