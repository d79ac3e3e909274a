"""Agents that are reached over A2A (agent to agent), each as one function that code calls.

An agent's card has no schema of what it takes and gives: the function takes a message, data and files, and
returns what the agent answers. That may take hours, and the agent may ask in the middle. So the message is
sent in a `@task` of LangGraph, which records the ids of the agent's task at its first event: when the graph is
resumed, or runs again in another process, the task is taken up where it is, and nothing is sent twice.

What an agent sends is not trusted: it is bounded, and its words are cleaned before anybody reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import ssl
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypeAlias, cast

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from langchain_core.tools import StructuredTool, ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.func import task
from langgraph.types import interrupt
from pydantic import BaseModel, Field
from typing_extensions import TypedDict, override

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.catalog.definition import ToolDefinition, current_call
from langchain_ptc.catalog.mcp_servers import run_on
from langchain_ptc.catalog.text import MAX_TOOL_CHARS, one_line, paragraphs, to_identifier
from langchain_ptc.errors import CatalogError


class A2AFile(TypedDict):
    """A file: its bytes, or where it is."""

    name: NotRequired[str]
    media_type: NotRequired[str]
    data: NotRequired[bytes]
    url: NotRequired[str]


class A2AAnswer(TypedDict):
    """What an agent answered: a completed task, or a message without a task."""

    text: str
    data: list[Any]
    files: list[A2AFile]
    context: str
    state: Literal["completed", "message"]


def write_parts(
    message: str, data: Any, files: Iterable[Mapping[str, Any]] | None
) -> list[pb.Part]:
    """Return the parts of a message. Raises a `ToolException` for data that is not JSON, and an empty file."""
    parts = [pb.Part(text=message)] if message else []
    if data is not None:
        try:
            parts.append(pb.Part(data=ParseDict(data, Value())))
        except Exception as error:  # of the code's own values
            raise ToolException(f"data must be JSON: {one_line(str(error))}") from error
    for file in files or ():
        about = {"filename": file.get("name"), "media_type": file.get("media_type")}
        content = {"raw": file.get("data")} if "data" in file else {"url": file.get("url")}
        if None in content.values():
            raise ToolException("each file needs `data`, its bytes, or `url`")
        parts.append(pb.Part(**about, **content))
    return parts


def write_reply(reply: Any, asked: Sequence[Any]) -> list[pb.Part]:
    """Return a person's answer: text, the arguments of a call as a dict, or any other data."""
    is_call = isinstance(reply, Mapping) and reply and reply.keys() <= {"message", "data", "files"}
    if isinstance(reply, str):
        parts = write_parts(reply, None, None)
    elif is_call and isinstance(reply.get("message", ""), str):
        parts = write_parts(reply.get("message", ""), reply.get("data"), reply.get("files"))
    else:
        is_graph = any(unwrap_interrupt(item) is not item for item in asked)
        parts = write_parts("", {"resume": reply} if is_graph else reply, None)
    return parts or [pb.Part(data=Value(null_value=0))]


def unwrap_interrupt(item: Any) -> Any:
    """Return what a graph asks, of what LangGraph's server sends of an interrupt; else `item`."""
    optional = {"response_schema"}
    is_interrupt = isinstance(item, dict) and item.keys() - optional == {"id", "value"}
    return item["value"] if is_interrupt else item


def read_value(value: Value) -> Any:
    """Return a JSON value. What reads it from JSON needs more levels of the stack for each of its own."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: read_value(item) for key, item in sorted(value.struct_value.fields.items())}
    if kind == "list_value":
        return [read_value(item) for item in value.list_value.values]
    if (
        kind == "number_value"
        and value.number_value.is_integer()
        and abs(value.number_value) < 2**53
    ):
        return int(value.number_value)
    return None if kind in (None, "null_value") else getattr(value, kind)


def text_of(parts: Iterable[pb.Part]) -> str:
    """Return the text of parts, one below the other."""
    return "\n".join(part.text for part in parts if part.text)


def read_answer(
    groups: Iterable[Sequence[pb.Part]], context: str, state: Literal["completed", "message"]
) -> A2AAnswer:
    """Return an answer of parts; the text of one artifact may come in many."""
    texts, data, files = [], [], []
    for group in groups:
        texts.append("".join(part.text for part in group))
        for part in group:
            about = A2AFile(name=part.filename, media_type=part.media_type)
            if part.HasField("data"):
                data.append(read_value(part.data))
            elif part.HasField("raw"):
                files.append(A2AFile(**about, data=part.raw))
            elif part.HasField("url"):
                files.append(A2AFile(**about, url=part.url))
    text = "\n".join(filter(None, texts))
    return A2AAnswer(text=text, data=data, files=files, context=context, state=state)


MAX_BYTES = 8 * 1024 * 1024  # size of one response, and of all events of one call
MAX_EVENTS = 100_000
MAX_REPORTS = 500  # events of one call that are read, and those that become events of the execution
MAX_QUESTIONS = 100
MAX_ID_CHARS = 1_000
MAX_WORDS_CHARS = 2_000  # length of an agent's words in an error or a question
MAX_QUESTION_BYTES = 65_536  # size of a question that is shown with its data
QUICK_BYTES = 65_536  # size of what is converted on the event loop
HISTORY_LENGTH = 10
MAX_FAILURES = 5  # requests in a row that may fail while a task is waited for
POLL_SECONDS, MAX_POLL_SECONDS = 0.5, 5.0
CANCEL_SECONDS = 2.0
LANGGRAPH_DONE = "Task completed successfully"  # its `GetTask` has no artifacts, but history
LANGGRAPH_QUESTION = "Interrupt"  # name of the artifact in which LangGraph asks

_COMPLETED, _ASKS = pb.TASK_STATE_COMPLETED, pb.TASK_STATE_INPUT_REQUIRED
_REFUSALS = {
    pb.TASK_STATE_FAILED: "failed",
    pb.TASK_STATE_REJECTED: "rejected the task",
    pb.TASK_STATE_CANCELED: "canceled the task",
    pb.TASK_STATE_AUTH_REQUIRED: "requires an authorization that this client does not have",
}


@contextlib.contextmanager
def explaining(agent: str, what: str) -> Iterator[None]:
    """Make what talking to an agent raises a `ToolException`, which names the agent."""
    try:
        yield
    except (ToolException, GraphBubbleUp):
        raise
    except Exception as error:  # what the agent sends is parsed by others, who may raise anything
        why = paragraphs(str(error), limit=MAX_WORDS_CHARS)
        kind = "" if isinstance(error, A2AError) else f"{type(error).__name__}: "
        raise ToolException(f"the agent {agent!r} {what}: {kind}{why}") from error


async def _recorded(name: str, body: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `body` returns, now or in an earlier run of the graph, where LangGraph records it."""

    async def function() -> Any:
        return await body()

    try:
        running: Any = cast("Any", task(name=name))(function)()
    except (KeyError, RuntimeError):  # outside a graph, or in a synchronous one without a journal
        running = body()
    return await running


def _digest(messages: Iterable[Any]) -> str:
    said = b"".join(message.SerializeToString(deterministic=True) for message in messages)
    return hashlib.sha256(said).hexdigest()[:16]


# --- one call -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Exchange:
    """What is said between a call of the code and an agent, until the agent is done."""

    agent: str  # its name
    client: Any  # a `Client` of `a2a-sdk`, or what has its methods
    context_id: str
    task_id: str = ""
    status: pb.TaskStatus = field(default_factory=pb.TaskStatus)
    answered: str = ""  # digest of the status whose question was answered last
    artifacts: dict[str, list[pb.Part]] = field(default_factory=dict)
    questions: Sequence[pb.Part] = ()
    history: Sequence[pb.Message] = ()
    message: pb.Message | None = None
    stream: AsyncIterator[pb.StreamResponse] | None = None
    events: int = 0
    size: int = 0

    async def run(self, parts: list[pb.Part]) -> A2AAnswer:
        """Send a message and return the answer; what the agent asks, a person answers (`GraphInterrupt`)."""
        call = current_call.get()
        # LangGraph finds what it recorded by name and order; the order of concurrent calls may change.
        name = _digest(parts) if call is None else call.call_id
        call_id = str(uuid.uuid4()) if call is None else call.call_id
        try:
            for turn in range(MAX_QUESTIONS):
                of_turn = f"/{turn}" if turn else ""
                send = functools.partial(self._send, parts, call_id + of_turn)
                sent = await _recorded(f"ask {self.agent} {name}{of_turn}: send", send)
                if sent["task"] is None:
                    return cast("A2AAnswer", sent["answer"])
                self.task_id, self.context_id = sent["task"], sent["context"]
                stop = await _recorded(f"ask {self.agent} {name}{of_turn}: follow", self._follow)
                if stop["state"] != _ASKS:
                    return await self._finish(stop)
                parts = write_reply(self._ask_person(stop), stop["data"])
                self.answered = stop["status"]
        except GraphBubbleUp:
            raise
        except BaseException:
            await self._cancel()
            raise
        await self._cancel()
        raise self._failure(f"has asked {MAX_QUESTIONS} times in one call")

    async def _send(self, parts: list[pb.Part], message_id: str) -> dict[str, Any]:
        message = pb.Message(message_id=message_id, role=pb.ROLE_USER, parts=parts)
        message.task_id, message.context_id = self.task_id, self.context_id
        options = pb.SendMessageConfiguration(return_immediately=True)
        request = pb.SendMessageRequest(message=message, configuration=options)
        with explaining(self.agent, "cannot be asked"):
            self.stream = self.client.send_message(request)
            async for event in self.stream:
                self._note(event)
                break
        if self.message is not None:
            self.context_id = self.message.context_id or self.context_id
            said = [[part] for part in self.message.parts]
            return {"task": None, "answer": await self._answer(said, "message")}
        if not self.task_id:
            raise self._failure("answered with nothing")
        return {"task": self.task_id, "context": self.context_id}

    async def _follow(self) -> dict[str, Any]:
        """Wait until the task stops, and return what is recorded of that."""
        with explaining(self.agent, "was given a task, and cannot be asked for it"):
            async with contextlib.aclosing(self._read()) as events:
                while not self._has_stopped:
                    self._note(await anext(events))
        return {
            "state": int(self.status.state),
            "words": paragraphs(text_of(self.status.message.parts), limit=MAX_WORDS_CHARS),
            "data": self._take_questions() if self.status.state == _ASKS else [],
            "status": _digest([self.status]),
        }

    @property
    def _has_stopped(self) -> bool:
        if self.status.state == _ASKS:
            return _digest([self.status]) != self.answered
        return self.status.state == _COMPLETED or self.status.state in _REFUSALS

    async def _read(self) -> AsyncGenerator[pb.StreamResponse]:
        """Yield the events of the stream that is open, and when it breaks those of others."""
        stream, self.stream = self.stream, None
        request = pb.GetTaskRequest(id=self.task_id, history_length=HISTORY_LENGTH)
        pause, failures, can_subscribe = POLL_SECONDS, 0, True
        while True:
            if stream is not None:
                before = self.events
                with contextlib.suppress(A2AError, httpx.HTTPError, NotImplementedError):
                    async for event in stream:
                        yield event
                can_subscribe = can_subscribe and self.events > before
            try:
                yield pb.StreamResponse(task=await self.client.get_task(request))
                failures = 0
            except A2AClientError:
                failures += 1
                if failures == MAX_FAILURES:
                    raise
            stream = None
            if can_subscribe and not failures:
                stream = self.client.subscribe(pb.SubscribeToTaskRequest(id=self.task_id))
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_POLL_SECONDS)

    async def _finish(self, stop: Mapping[str, Any]) -> A2AAnswer:
        if stop["state"] != _COMPLETED:
            words = f": {stop['words']}" if stop["words"] else ""
            raise self._failure(f"{_REFUSALS[stop['state']]}{words}")
        if self.status.state != _COMPLETED or not (self.artifacts or self.status.message.parts):
            request = pb.GetTaskRequest(id=self.task_id, history_length=HISTORY_LENGTH)
            with explaining(self.agent, "completed its task, and cannot be asked for the answer"):
                self._note(pb.StreamResponse(task=await self.client.get_task(request)))
        if self.artifacts:
            return await self._answer(self.artifacts.values(), "completed")
        parts = self.status.message.parts
        if text_of(parts) in ("", LANGGRAPH_DONE):
            parts = next(
                (m.parts for m in reversed(self.history) if m.role == pb.ROLE_AGENT), parts
            )
        return await self._answer([[part] for part in parts], "completed")

    def _ask_person(self, stop: Mapping[str, Any]) -> Any:
        asked = [unwrap_interrupt(item) for item in stop["data"]]
        about = {"agent": self.agent, "text": stop["words"], "data": asked}
        try:
            return interrupt({"type": "agent_question", **about, "task": self.task_id})
        except (KeyError, RuntimeError) as error:  # outside a graph
            raise ToolException(
                f"the agent {self.agent!r} asks {stop['words'] or asked!r}, and nobody can answer "
                "here; run the code in a graph with a checkpointer"
            ) from error

    def _failure(self, what: str) -> ToolException:
        return ToolException(f"the agent {self.agent!r} {what}")

    async def _cancel(self) -> None:
        state = self.status.state
        is_over = state == _COMPLETED or state in _REFUSALS
        if self.task_id and (not is_over or state == pb.TASK_STATE_AUTH_REQUIRED):
            with contextlib.suppress(Exception):  # it may be gone, or not be able to
                async with asyncio.timeout(CANCEL_SECONDS):
                    await self.client.cancel_task(pb.CancelTaskRequest(id=self.task_id))

    def _note(self, event: pb.StreamResponse) -> None:
        """Take over what an event says, unless it is one too many, too large, or about another task."""
        self.events, self.size = self.events + 1, self.size + event.ByteSize()
        if self.events > MAX_EVENTS or self.size > MAX_BYTES:
            raise self._failure(f"sent more than {MAX_EVENTS:,} events or {MAX_BYTES:,} bytes")
        kind = event.WhichOneof("payload")
        if kind is None or kind == "message":
            self.message = event.message if kind else self.message
            return
        found: Any = getattr(event, kind)
        task_id = found.id if kind == "task" else found.task_id
        known = self.task_id or task_id
        if task_id != known or not 0 < len(task_id) + len(found.context_id) < MAX_ID_CHARS:
            raise ToolException(
                f"the agent {self.agent!r} answered about the task {one_line(task_id, limit=100)!r} in "
                f"place of {one_line(known, limit=100)!r}"
            )
        self.task_id, self.context_id = task_id, found.context_id or self.context_id
        if kind == "artifact_update":
            self._add(found.artifact, is_more=found.append)
            return
        if kind == "task":
            self.history = found.history
            for artifact in found.artifacts:
                self._add(artifact, is_more=False)
        is_news, self.status = found.status != self.status, found.status
        call = current_call.get()
        if call is not None and is_news and self.events <= MAX_REPORTS:
            state = pb.TaskState.Name(self.status.state).removeprefix("TASK_STATE_").lower()
            call.report(state, one_line(text_of(self.status.message.parts)))

    def _add(self, artifact: pb.Artifact, *, is_more: bool) -> None:
        if artifact.name == LANGGRAPH_QUESTION:
            self.questions = artifact.parts
            return
        if not is_more:
            self.artifacts[artifact.artifact_id] = []
        self.artifacts.setdefault(artifact.artifact_id, []).extend(artifact.parts)

    def _take_questions(self) -> list[Any]:
        parts = [*self.questions, *self.status.message.parts]
        self.questions = ()
        if sum(part.ByteSize() for part in parts) > MAX_QUESTION_BYTES:
            return []
        return [read_value(part.data) for part in parts if part.HasField("data")]

    async def _answer(
        self, groups: Iterable[Sequence[pb.Part]], state: Literal["completed", "message"]
    ) -> A2AAnswer:
        convert = functools.partial(read_answer, list(groups), self.context_id, state)
        return convert() if self.size <= QUICK_BYTES else await asyncio.to_thread(convert)


# --- agents by their cards ------------------------------------------------------------------------

A2AAgents: TypeAlias = Mapping[str, str | pb.AgentCard | Client]
"""Agents by name: an address of the agent or of its card; its card; or a client of `a2a-sdk`."""
VerifyCard: TypeAlias = Callable[[pb.AgentCard], None]  # raises if a card is not to be trusted
MakeHttpClient: TypeAlias = Callable[[], httpx.AsyncClient]  # a new client for one call

FUNCTION = "ask"  # the function of each agent, in the domain of the agent's name
BINDINGS = ["JSONRPC", "HTTP+JSON"]
MAX_SKILLS, MAX_EXAMPLES = 10, 3
TIMEOUT = httpx.Timeout(10.0, read=60.0)  # a stream that is silent for longer is taken up again
WELL_KNOWN = "/.well-known/"


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def make_http_client() -> httpx.AsyncClient:
    """Return a client with the certificates of `httpx`, which take long to read, read once."""
    return httpx.AsyncClient(verify=_tls(), timeout=TIMEOUT)


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of a catalog."""

    name: str
    card: pb.AgentCard
    client: Client | None  # the user's own; None to make one for each call
    make_http_client: MakeHttpClient

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """Yield a client of the agent."""
        if self.client is not None:
            yield self.client
            return
        stack = contextlib.AsyncExitStack()

        async def open_client() -> Client:
            http = await stack.enter_async_context(_bounded(self.make_http_client()))
            config = ClientConfig(httpx_client=http, supported_protocol_bindings=BINDINGS)
            return ClientFactory(config).create(self.card)

        loop = a2a_loop.start()
        try:
            yield _ElsewhereClient(await run_on(loop, open_client()), loop)
        finally:
            await run_on(loop, stack.aclose())


a2a_loop = BackgroundLoop("langchain-ptc a2a")  # where responses are read, which may take seconds


class _ElsewhereClient:
    """The part of a client that is used here, on another loop."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    async def get_task(self, request: pb.GetTaskRequest) -> pb.Task:
        return await run_on(self._loop, self._client.get_task(request))

    async def cancel_task(self, request: pb.CancelTaskRequest) -> pb.Task:
        return await run_on(self._loop, self._client.cancel_task(request))

    def send_message(self, request: pb.SendMessageRequest) -> AsyncIterator[pb.StreamResponse]:
        return self._read(self._client.send_message(request))

    def subscribe(self, request: pb.SubscribeToTaskRequest) -> AsyncIterator[pb.StreamResponse]:
        return self._read(self._client.subscribe(request))

    async def _read(
        self, stream: AsyncIterator[pb.StreamResponse]
    ) -> AsyncIterator[pb.StreamResponse]:
        async def read() -> pb.StreamResponse | None:
            return await anext(stream, None)

        while (event := await run_on(self._loop, read())) is not None:
            yield event


async def connect_agents(
    agents: A2AAgents,
    *,
    make_client: MakeHttpClient,
    verify: VerifyCard | None,
    connect_seconds: float,
) -> dict[str, list[ToolDefinition]]:
    """Return the functions of agents, by their names. Raises a `CatalogError` for one that cannot be called."""
    if not isinstance(agents, Mapping):
        raise CatalogError(
            f"agents must be a dict of addresses, cards or clients by name, got {type(agents).__name__}"
        )
    found = await asyncio.gather(
        *(
            _connect(name, given, make_client, verify, connect_seconds)
            for name, given in agents.items()
        )
    )
    return {agent.name: [_define(agent)] for agent in found}


async def _connect(
    name: str, given: object, make_client: MakeHttpClient, verify: VerifyCard | None, seconds: float
) -> Agent:
    if not isinstance(given, str | pb.AgentCard | Client):
        raise CatalogError(
            f"agents[{name!r}] must be the address of an agent, its card, or a client of a2a-sdk, got "
            f"{type(given).__name__}"
        )
    try:
        async with asyncio.timeout(seconds):
            card = await _read_card(given, make_client)
        if verify is not None:
            verify(card)
        elif isinstance(given, str):
            _keep_own_interfaces(card, given)
        card = _with_own_version(card)
        agent = Agent(name, card, given if isinstance(given, Client) else None, make_client)
        async with agent.connect():
            return agent
    except Exception as error:  # of the network, of the agent's own card, of `verify`
        why = "no answer in time" if isinstance(error, TimeoutError) else one_line(str(error))
        raise CatalogError(
            f"the A2A agent {name!r} cannot be used: {type(error).__name__}: {why}"
        ) from error


async def _read_card(
    given: str | pb.AgentCard | Client, make_client: MakeHttpClient
) -> pb.AgentCard:
    if isinstance(given, pb.AgentCard):
        return given
    if isinstance(given, Client):
        return await given.get_extended_agent_card(pb.GetExtendedAgentCardRequest())
    path = "/" if WELL_KNOWN in given or given.endswith(".json") else None

    async def read() -> pb.AgentCard:
        async with _bounded(make_client()) as http:
            return await A2ACardResolver(http, given).get_agent_card(path)

    return await run_on(a2a_loop.start(), read())


def _keep_own_interfaces(card: pb.AgentCard, address: str) -> None:
    """Leave the interfaces that are where the card is, of which there must be one.

    The HTTP client may add credentials, and a card that nobody has verified must not choose who gets them.
    """
    offered = [i for i in card.supported_interfaces if i.protocol_binding in BINDINGS]
    own = [i for i in offered if _origin(i.url) == _origin(address)]
    if offered and not own:
        raise ValueError(
            f"its card is at {_origin(address)}, and names only {_origin(offered[0].url)}; pass the card "
            "itself if you trust it, or verify="
        )
    del card.supported_interfaces[:]
    card.supported_interfaces.extend(own)


def _with_own_version(card: pb.AgentCard) -> pb.AgentCard:
    """Return the card of a LangGraph server with the version of the protocol that it speaks.

    Version 0.16 says 1.0, and streams its events as in 0.3: `a2a-sdk` would read all of them as empty.
    """
    own = pb.AgentCard()
    own.CopyFrom(card)
    if any("langgraph" in skill.tags for skill in card.skills):
        for interface in own.supported_interfaces:
            interface.protocol_version = "0.3"
    return own


def _origin(address: str) -> str:
    url = httpx.URL(address)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"


# --- the function -------------------------------------------------------------------------------


class _Arguments(BaseModel):
    message: str
    data: Any = Field(default=None, description="JSON data that goes with it.")
    files: list[A2AFile] | None = Field(default=None, description="Files that go with it.")
    context: str | None = Field(
        default=None, description="The `context` of an earlier answer, to continue from there."
    )


def _define(agent: Agent) -> ToolDefinition:
    async def ask(
        message: str,
        data: Any = None,
        files: list[A2AFile] | None = None,
        context: str | None = None,
    ) -> A2AAnswer:
        parts = write_parts(message, data, files)
        async with agent.connect() as client:
            return await Exchange(agent.name, client, context or "").run(parts)

    name = to_identifier(agent.name, fallback="agent")
    tool = StructuredTool.from_function(
        coroutine=ask,
        name=f"{FUNCTION}_{name}",
        description=describe(agent.card),
        args_schema=_Arguments,
    )
    return ToolDefinition(tool=tool, name=FUNCTION)


def describe(card: pb.AgentCard) -> str:
    """Return what an agent says that it does, with its skills and their examples, cleaned and cut."""
    title = one_line(card.name, limit=80) or "an agent"
    lines = [f"Ask the agent {title}: {one_line(card.description)}".rstrip(": ")]
    for skill in card.skills[:MAX_SKILLS]:
        said = one_line(skill.description, limit=200)
        examples = [repr(one_line(text, limit=100)) for text in skill.examples[:MAX_EXAMPLES]]
        lines.append(f"- {one_line(skill.name or skill.id, limit=80)}: {said}".rstrip(": "))
        lines[-1] += f" For example: {', '.join(examples)}" if examples else ""
    if len(card.skills) > MAX_SKILLS:
        lines.append(f"- and {len(card.skills) - MAX_SKILLS} more")
    return paragraphs("\n".join(lines), limit=MAX_TOOL_CHARS)


# --- bounded responses ----------------------------------------------------------------------------


def _bounded(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Return a client that sends with `client`, reads bounded responses, and closes it."""
    return httpx.AsyncClient(transport=_Bounded(client), timeout=client.timeout)


_OWN_HEADERS = {"connection", "content-length", "host", "transfer-encoding", "user-agent"}
"""Headers that the user's client writes."""


class _Bounded(httpx.AsyncBaseTransport):
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # What is compressed has no bound before it is unpacked.
        kept = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS}
        sent = self._client.build_request(
            request.method,
            request.url,
            headers={**kept, "accept-encoding": "identity"},
            content=await request.aread(),
            extensions=request.extensions,
        )
        response = await self._client.send(sent, stream=True)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx.DecodingError("a compressed response was not asked for", request=request)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_BoundedStream(response),
            extensions=response.extensions,
        )

    @override
    async def aclose(self) -> None:
        await self._client.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._response.aiter_raw():
            size += len(chunk)
            if size > MAX_BYTES:
                raise ToolException(f"the agent sent a response of more than {MAX_BYTES:,} bytes")
            yield chunk

    @override
    async def aclose(self) -> None:
        await self._response.aclose()
