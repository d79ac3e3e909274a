"""Agents by their cards -> functions that code calls."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, Field
from typing_extensions import override

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.catalog.a2a.exchange import MAX_BYTES, A2AAnswer, A2AFile, Exchange, write_parts
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.mcp.servers import run_on
from langchain_ptc.catalog.text import MAX_TOOL_CHARS, one_line, paragraphs, to_identifier
from langchain_ptc.errors import CatalogError

A2AAgents: TypeAlias = Mapping[str, str | pb.AgentCard | Client]
"""Agents by name: an address of the agent or of its card; its card; or a client of `a2a-sdk`."""
VerifyCard: TypeAlias = Callable[[pb.AgentCard], None]
"""Raises if a card is not to be trusted."""
MakeHttpClient: TypeAlias = Callable[[], httpx.AsyncClient]
"""Returns a new client for one call, which is closed after it."""

FUNCTION = "ask"
"""The function of each agent, in the domain of the agent's name."""
BINDINGS = ["JSONRPC", "HTTP+JSON"]
MAX_SKILLS, MAX_EXAMPLES = 10, 3
TIMEOUT = httpx.Timeout(10.0, read=60.0)
"""Of the default HTTP client; a stream that is silent for longer is taken up again."""
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
    client: Client | None
    """The user's own; None to make one for each call, which is bound to no event loop."""
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


a2a_loop = BackgroundLoop("langchain-ptc a2a")
"""Where responses are read: one of some megabytes may be made to take seconds, during which a loop stands."""


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
    """Return the functions of agents, by their names.

    Raises:
        CatalogError: They are not agents, or the card of one cannot be had, is not trusted, or has no
            interface that can be called.
    """
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
    name: str,
    given: object,
    make_client: MakeHttpClient,
    verify: VerifyCard | None,
    seconds: float,
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
    """Leave the interfaces that are where the card is.

    The HTTP client may add credentials, and a card that nobody has verified must not choose who gets them.

    Raises:
        ValueError: There are none.
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
