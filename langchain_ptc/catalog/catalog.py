"""`ToolCatalog`: the tools that code may call, under the names that code calls them by."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.catalog.mcp_results import Approve
from langchain_ptc.catalog.mcp_source import Found, MCPServers, OpeningCatalog, Source, join_tools
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.catalog.search import (
    DEFAULT_LIMIT,
    DISCOVERY_NAMES,
    EmbeddingIndex,
    ToolIndex,
    build_discovery,
    join_ranks,
)
from langchain_ptc.catalog.stubs import (
    DomainStubs,
    Keep,
    Tier,
    group,
    name_of,
    render_line,
    render_lines,
    render_one,
    render_package,
    render_tier,
    write_package,
)
from langchain_ptc.catalog.tools import read_tool, read_tools
from langchain_ptc.catalog.types import ANY, TypeTree, admits_text, is_vague
from langchain_ptc.errors import CatalogError, closest, did_you_mean
from langchain_ptc.locks import cached_property

if TYPE_CHECKING:
    from langchain_ptc.catalog.a2a import A2AAgents, MakeHttpClient, VerifyCard

ToolLike: TypeAlias = BaseTool | Callable[..., object] | Runnable[Any, Any] | ToolDefinition
"""A LangChain tool, a function that LangChain can turn into one, an agent (a graph, a runnable), or a
definition that adds to what a tool declares."""
ToolsLike: TypeAlias = Sequence[ToolLike] | Mapping[str, Sequence[ToolLike]]
"""Tools in a list, or lists of tools by domain."""


class ToolCatalog:
    """The tools that code may call, with their names, types and policies. It is immutable.

    Args:
        tools: Tools, or lists of tools by domain: `{"finance": [get_expenses], "hr": [get_team]}`.
            Functions are turned into tools by LangChain's `tool`.
        policies: Policies of single tools, by name: `get_expenses`, or `finance.get_expenses` if more
            than one domain has one.
        shapes: Observed shapes of the tools' results, to which new ones are added; by default an empty
            `ObservedShapes`.
        embeddings: An embedding model, so that tools are found by meaning as well as by words.

    Attributes:
        shapes: Observed shapes of the tools' results; the only part that changes.

    Raises:
        CatalogError: A tool cannot be called or read, two tools or domains would have the same name in
            the code, or a policy matches no tool.
    """

    def __init__(
        self,
        tools: ToolsLike,
        *,
        policies: Mapping[str, ToolPolicy] | None = None,
        shapes: ObservedShapes | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.shapes = ObservedShapes() if shapes is None else shapes
        self._doubted: set[str] = set()  # tools whose results have contradicted their return type
        self._embeddings = embeddings
        found = list(read_tools(tools))
        self._definitions = tuple(found)
        self._names = _index(found)
        if policies:
            self._definitions = tuple(self._with_policies(policies))
            self._names = _index(self._definitions)

    _source: Source | None = None
    _versions: tuple[int, ...] = ()
    _rebuild: Callable[..., Any] | None = None

    @classmethod
    def from_mcp(
        cls,
        servers: MCPServers,
        *,
        tools: ToolsLike = (),
        policies: Mapping[str, ToolPolicy] | None = None,
        approve: Approve = "never",
        exclude: Sequence[str] = (),
        connect_seconds: float = 60.0,
        shapes: ObservedShapes | None = None,
        embeddings: Embeddings | None = None,
    ) -> OpeningCatalog[Self]:
        """Open MCP servers and return a catalog of their tools: `async with`, `with` or `await` it.

        One session with each server stays open, for all calls, until the block ends or `aclose()` is
        called; a server that died is started again by the next call. The server's name is the
        domain of its tools.

        Args:
            servers: Connections by name, as `MultiServerMCPClient` takes them; or such a client.
            tools: Further tools, as `ToolCatalog` takes them.
            policies: As `ToolCatalog` takes them. They take precedence over the server's hints
                (`readOnlyHint` and `idempotentHint`).
            approve: Which tools of the servers need approval. `destructive`: all except those that
                declare that they only read or only add; `writes`: all except those that declare that
                they only read.
            exclude: Tools to leave out, as `server.tool` with the server's own name of the tool.
            connect_seconds: Time for each server to start and to list its tools.
            shapes: As `ToolCatalog` takes them.
            embeddings: As `ToolCatalog` takes it.

        Raises:
            CatalogError: `servers` are not servers; and, when it is opened, a server cannot be
                reached or a tool cannot be offered to code.
            ImportError: The extra `mcp` is not installed.
        """
        settled: dict[str, ToolPolicy] | None = None

        def build(source: Source, found: Found, versions: tuple[int, ...]) -> Any:
            nonlocal settled
            members = join_tools(tools, found)
            chosen = policies
            if settled is not None:  # a tool that has gone takes its policy with it
                names = cls(members).names
                chosen = {name: policy for name, policy in settled.items() if name in names}
            catalog = cls(members, policies=chosen, shapes=shapes, embeddings=embeddings)
            settled = settled or {
                catalog[name].qualified_name: policy for name, policy in (policies or {}).items()
            }
            catalog._source, catalog._versions, catalog._rebuild = source, versions, build
            return catalog

        def make() -> Source:
            return Source(
                servers, approve=approve, exclude=exclude, connect_seconds=connect_seconds
            )

        return OpeningCatalog(make, build)

    @classmethod
    async def from_a2a(
        cls,
        agents: A2AAgents,
        *,
        tools: ToolsLike = (),
        policies: Mapping[str, ToolPolicy] | None = None,
        make_http_client: MakeHttpClient | None = None,
        verify: VerifyCard | None = None,
        connect_seconds: float = 30.0,
        shapes: ObservedShapes | None = None,
        embeddings: Embeddings | None = None,
    ) -> Self:
        """Read the cards of agents and return a catalog in which each is one function, `ask`.

        An agent's name is the domain of its function. Nothing stays open: each call connects.

        Args:
            agents: By name, the address of an agent or of its card, its card, or a `Client` of
                `a2a-sdk`, which stays yours to close.
            tools: Further tools, as `ToolCatalog` takes them.
            policies: As `ToolCatalog` takes them, for example by `research.ask`. An agent is not
                read-only unless its policy says so.
            make_http_client: Returns a new HTTP client for each call, with the headers, the
                authentication and the time limits that the agents need; it is closed after the call.
            verify: Called with each card; raises if it is not to be trusted. Without it, the card at
                an address can only name interfaces at the same scheme, host and port.
            connect_seconds: Time for each card.
            shapes: As `ToolCatalog` takes them.
            embeddings: As `ToolCatalog` takes it.

        Raises:
            CatalogError: The card of an agent cannot be read, is not trusted, or names no interface that
                can be called; or a tool cannot be offered to code.
            ImportError: The extra `a2a` is not installed.
        """
        try:
            from langchain_ptc.catalog import a2a
        except ImportError as error:
            raise ImportError(
                "A2A agents need one more package: pip install 'langchain-ptc[a2a]'",
                name=error.name,
            ) from error
        found = await a2a.connect_agents(
            agents,
            make_client=make_http_client or a2a.make_http_client,
            verify=verify,
            connect_seconds=connect_seconds,
        )
        members = join_tools(tools, found, kind="an agent")
        return cls(members, policies=policies, shapes=shapes, embeddings=embeddings)

    @property
    def is_stale(self) -> bool:
        """Whether an MCP server has reported a change of its tools since this catalog was created."""
        return self._source is not None and self._source.versions != self._versions

    async def refreshed(self) -> Self:
        """Return a new catalog with the current tools of its MCP servers.

        Both share their sessions: closing either closes both. A catalog without MCP servers returns
        itself.

        Raises:
            CatalogError: A server cannot be reached, or a tool cannot be offered to code.
        """
        if self._source is None or self._rebuild is None:
            return self
        fresh: Self = self._rebuild(self._source, *await self._source.read())
        fresh.shapes = self.shapes
        return fresh

    async def aclose(self) -> None:
        """Close the sessions with MCP servers that `from_mcp` has opened."""
        if self._source is not None:
            await self._source.close()

    def _with_policies(self, policies: Mapping[str, ToolPolicy]) -> Iterator[ToolDefinition]:
        chosen: dict[str, ToolPolicy] = {}
        for name, policy in policies.items():
            definition = self.get(name)
            if definition is None:
                raise CatalogError(
                    f"policies has {name!r}, which names no single tool of the catalog"
                    f"{did_you_mean(self.suggest(name))}"
                )
            if not isinstance(policy, ToolPolicy):
                raise CatalogError(
                    f"policies[{name!r}] must be a ToolPolicy, got {type(policy).__name__}"
                )
            if definition.qualified_name in chosen:
                raise CatalogError(f"policies names the tool {definition.qualified_name!r} twice")
            chosen[definition.qualified_name] = policy
        for definition in self._definitions:
            policy = chosen.get(definition.qualified_name, definition.policy)
            yield replace(definition, policy=policy)

    def __len__(self) -> int:
        return len(self._definitions)

    def __iter__(self) -> Iterator[ToolDefinition]:
        return iter(self._definitions)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __getitem__(self, name: str) -> ToolDefinition:
        definition = self.get(name)
        if definition is None:
            raise KeyError(f"{name!r} names no single tool{did_you_mean(self.suggest(name))}")
        return definition

    def __repr__(self) -> str:
        return f"ToolCatalog({', '.join(self.names)})"

    def get(self, name: str) -> ToolDefinition | None:
        """Return a tool by its qualified name or a name that only one tool has; None if there is none."""
        return self._names.get(name)

    def suggest(self, name: str) -> list[str]:
        """Return the qualified names of up to three tools that have the name which is most like `name`."""
        by_name: dict[str, list[str]] = {}
        for definition in self._definitions:
            by_name.setdefault(definition.name, []).append(definition.qualified_name)
        close = closest(name.rpartition(".")[2], by_name)
        found = [qualified for other in close for qualified in by_name[other]]
        return found[:3] or closest(name, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The qualified names of all tools, in the order in which they were given."""
        return tuple(d.qualified_name for d in self._definitions)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that have tools, in the order in which they were given."""
        return tuple(dict.fromkeys(d.domain for d in self._definitions if d.domain is not None))

    @cached_property
    def type_names(self) -> tuple[str, ...]:
        """The names of the record types in the stubs, qualified like tools: `finance.Expense`."""
        return tuple(
            name if stubs.domain is None else f"{stubs.domain}.{name}"
            for stubs in self._stubs
            for name in stubs.records
        )

    # --- what the model reads -------------------------------------------------------------------

    @cached_property
    def _offered(self) -> tuple[ToolDefinition, ...]:
        return tuple(d for d in self._definitions if "code" in d.policy.allowed_callers)

    @cached_property
    def _stubs(self) -> list[DomainStubs]:
        return group(self._offered)

    def render(
        self, tier: Tier = "full", *, observed: bool = True, keep: Keep | None = None
    ) -> str:
        """Return the tools that code may call as text for a model: Python source, or less.

        Args:
            tier: `full` for stubs with types and documentation, `signatures` for a line each, `names`
                for the names by domain, `pointer` for their number and domains.
            observed: Whether `full` and `signatures` show observed shapes of results.
            keep: Called with each line about a shape; returns whether there is room for it.
        """
        shown = self._observed if observed else {}
        return render_tier(self._stubs, tier, shown, keep or (lambda _: True))

    def render_line(self, name: str) -> str:
        """Return one tool on one line: its signature, and what it does as a comment.

        Raises:
            KeyError: No single tool has the name.
        """
        definition = self[name]
        return render_line(definition, self._domain_of(definition).names[definition.name])

    def describe(self, name: str) -> str:
        """Return the full description of a tool; for a domain, a line for each of its tools.

        Raises:
            KeyError: No single tool and no domain has the name.
        """
        for domain in self._stubs:
            if name == name_of(domain) and name not in self:
                return f"{render_lines(domain, {}, lambda _: True)}\n"
        definition = self[name]
        qualified = definition.qualified_name
        shape = self._observed.get(qualified, "")
        return render_one(self._domain_of(definition), definition.name, observed=shape)

    @property
    def by_domain(self) -> dict[str, list[str]]:
        """The names of the tools that code may call by domain; without one, under `tools`."""
        return {name_of(stubs): [d.name for d in stubs.definitions] for stubs in self._stubs}

    def _domain_of(self, definition: ToolDefinition) -> DomainStubs:
        for domain in self._stubs:
            if domain.domain == definition.domain and definition.name in domain.names:
                return domain
        raise KeyError(f"{definition.qualified_name!r} cannot be called by code")

    # --- observed shapes ------------------------------------------------------------------------

    def observe(self, name: str, value: object, *, arguments: object = None) -> None:
        """Learn the shape of a result, if the tool's return type is vague.

        Args:
            name: Qualified name of the tool.
            value: The result of a successful call, of which only types and names of fields are stored.
            arguments: The arguments of the call: a key that is among them is taken for data.
        """
        if isinstance(value, str) and name in self.textless:
            # Another middleware may have answered, or the annotation is wrong.
            self._doubted.add(name)
        if name in self.vague:
            self.shapes.observe(name, value, arguments=arguments)

    def certain_returns(self, definition: ToolDefinition) -> TypeTree:
        """Return the certain return type of a tool; `Any` if it is only a guess.

        It is also a guess if a call has returned text that it does not allow.
        """
        is_doubted = definition.qualified_name in self._doubted
        return ANY if is_doubted else definition.certain_returns

    @cached_property
    def textless(self) -> frozenset[str]:
        """Names of the tools whose return type admits no text."""
        return frozenset(d.qualified_name for d in self._offered if not admits_text(d.returns))

    @cached_property
    def vague(self) -> frozenset[str]:
        """Names of the tools whose return type leaves open what a result holds."""
        return frozenset(d.qualified_name for d in self._offered if is_vague(d.returns))

    @property
    def _observed(self) -> dict[str, str]:
        """Texts of the shapes of tools whose return type is vague."""
        return {name: text for name in self.vague if (text := self.shapes.text(name))}

    # --- what code and models search ------------------------------------------------------------

    def search(self, query: str, *, limit: int = DEFAULT_LIMIT) -> list[ToolDefinition]:
        """Return the tools that match `query`, the best first.

        Args:
            query: A description of what the tool should do.
            limit: Maximum number of tools.

        Raises:
            CatalogError: This Python's SQLite cannot search text.
            ValueError: `limit` is not positive.
        """
        by_words = self._index.rank(query)
        near = [] if self._nearness is None else [self._nearness.rank(query)]
        return self._take(join_ranks(by_words, *near), limit)

    async def asearch(self, query: str, *, limit: int = DEFAULT_LIMIT) -> list[ToolDefinition]:
        """Return the tools that match `query`; see `search`."""
        by_words = self._index.rank(query)
        near = [] if self._nearness is None else [await self._nearness.arank(query)]
        return self._take(join_ranks(by_words, *near), limit)

    def _take(self, rank: Sequence[int], limit: int) -> list[ToolDefinition]:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}")
        return [self._offered[number] for number in rank[:limit]]

    @cached_property
    def _index(self) -> ToolIndex:
        return ToolIndex(self._offered)

    @cached_property
    def _nearness(self) -> EmbeddingIndex | None:
        if self._embeddings is None:
            return None
        return EmbeddingIndex(self._embeddings, self._offered)

    @cached_property
    def discovery(self) -> tuple[ToolDefinition, ...]:
        """The functions that find tools: `search_tools`, `describe` and `list_domains`.

        Empty if a tool of the catalog has one of these names: that tool takes precedence.
        """
        taken = {definition.name for definition in self._definitions}
        return () if taken & set(DISCOVERY_NAMES) else tuple(_own_functions(build_discovery(self)))

    def with_discovery(self) -> Self:
        """Return a catalog that always has `discovery`, for prompts that do not show all tools.

        A tool of a domain with one of the names is then called by its import or its domain.

        Raises:
            CatalogError: A tool without a domain has one of the names.
        """
        return self if self.discovery else self.with_functions(*build_discovery(self))

    def with_functions(self, *tools: BaseTool) -> Self:
        """Return a catalog with `tools` among the functions of its own, which `discovery` lists.

        Raises:
            CatalogError: A tool without a domain has one of their names.
        """
        own = tuple(_own_functions(tools))
        names = {definition.name for definition in own}
        for definition in self._definitions:
            if definition.domain is None and definition.name in names:
                raise CatalogError(
                    f"the code needs {definition.name}(), a function of the catalog itself, and your "
                    f"tool {definition.tool_name!r} has that name; rename it, or put it into a domain"
                )
        other = copy.copy(self)
        other.discovery = (*self.discovery, *own)
        return other

    def discovery_tools(self) -> list[BaseTool]:
        """Return `search_tools`, `describe` and `list_domains` as tools for direct calls of a model."""
        return list(build_discovery(self))

    @property
    def callables(self) -> tuple[ToolDefinition, ...]:
        """Everything that code may call: the tools for code, and `discovery`."""
        return (*self._offered, *self.discovery)

    def write_stubs(self, directory: Path | str) -> list[Path]:
        """Write the stubs as a package `tools` into `directory`, for editors and type checkers.

        Args:
            directory: Created if it does not exist; files of the same names are replaced, and files
                that an earlier call wrote for tools that have gone are deleted.

        Returns:
            The files that were written.
        """
        return write_package(render_package(self._stubs), Path(directory))


def _own_functions(tools: Iterable[BaseTool]) -> Iterator[ToolDefinition]:
    for tool in tools:
        schema = tool.args_schema
        if schema not in _own:
            policy = ToolPolicy(read_only=True, idempotent=True)
            read = read_tool(tool, domain=None, policy=policy)
            # Its functions hold the catalog, which goes when its user drops it.
            bare = tool.model_copy(update={"func": None, "coroutine": None})
            _own[schema] = replace(read, tool=bare)
        yield replace(_own[schema], tool=tool)


_own: dict[Any, ToolDefinition] = {}  # what is read of each function of ours once


def _index(definitions: Sequence[ToolDefinition]) -> dict[str, ToolDefinition]:
    """Return tools by every name that means one of them only; exact names win."""
    index: dict[str, ToolDefinition] = {}
    for kind in ("qualified_name", "name", "tool_name"):
        names = [getattr(definition, kind) for definition in definitions]
        count = Counter(names)
        for name, definition in zip(names, definitions, strict=True):
            if count[name] == 1:
                index.setdefault(name, definition)
    return index
