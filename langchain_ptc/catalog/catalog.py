"""`ToolCatalog`: the tools that code may call, under the names that code calls them by."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from langchain_core.tools import BaseTool, BaseToolkit, tool

from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.catalog.names import to_public_identifier
from langchain_ptc.catalog.package import render_package
from langchain_ptc.catalog.reading import read_tool
from langchain_ptc.catalog.stubs import DomainStubs, group, render_catalog
from langchain_ptc.errors import CatalogError

ToolLike: TypeAlias = BaseTool | Callable[..., object]
"""A LangChain tool, or a function that LangChain can make one of."""
ToolsLike: TypeAlias = Sequence[ToolLike] | Mapping[str, Sequence[ToolLike]]
"""Tools in a list, or lists of tools by domain."""


class ToolCatalog:
    """The tools that code may call, with their names, types and policies. It does not change.

    Args:
        tools: Tools, or lists of tools by domain: `{"finance": [get_expenses], "hr": [get_team]}`.
            Functions are made into tools by LangChain's `tool`.
        policies: What the code may do with single tools, by name: `get_expenses`, or
            `finance.get_expenses` where more than one domain has one.

    Raises:
        CatalogError: A tool cannot be called or read, two tools or domains have the same name for
            the code, or a policy is for no tool.
    """

    def __init__(
        self, tools: ToolsLike, *, policies: Mapping[str, ToolPolicy] | None = None
    ) -> None:
        found = list(_read_tools(tools))
        self._definitions = tuple(found)
        self._names = _index(found)
        if policies:
            self._definitions = tuple(self._with_policies(policies))
            self._names = _index(self._definitions)

    def _with_policies(self, policies: Mapping[str, ToolPolicy]) -> Iterator[ToolDefinition]:
        chosen: dict[str, ToolPolicy] = {}
        for name, policy in policies.items():
            definition = self.get(name)
            if definition is None:
                raise CatalogError(
                    f"policies has {name!r}, which names no single tool of the catalog"
                    f"{_did_you_mean(self.suggest(name))}"
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
            raise KeyError(f"{name!r} names no single tool{_did_you_mean(self.suggest(name))}")
        return definition

    def __repr__(self) -> str:
        return f"ToolCatalog({', '.join(self.names)})"

    def get(self, name: str) -> ToolDefinition | None:
        """Return a tool by its qualified name, or by a name that only one tool has; or None."""
        return self._names.get(name)

    def suggest(self, name: str) -> list[str]:
        """Return the qualified names of up to three tools whose names are like `name`."""
        bare = name.rpartition(".")[2].lower()
        scores: dict[str, float] = {}
        for definition in self._definitions:
            candidates = ((bare, definition.name.lower()), (name, definition.qualified_name))
            scores[definition.qualified_name] = max(
                difflib.SequenceMatcher(None, *pair).ratio() for pair in candidates
            )
        least = max(0.6, max(scores.values(), default=0) - 0.2)
        close = [n for n in sorted(scores, key=lambda n: -scores[n]) if scores[n] >= least]
        return close[:3]

    @property
    def names(self) -> tuple[str, ...]:
        """The qualified names of all tools, in the order in which they were given."""
        return tuple(d.qualified_name for d in self._definitions)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that have tools, in the order in which they were given."""
        return tuple(dict.fromkeys(d.domain for d in self._definitions if d.domain is not None))

    @property
    def type_names(self) -> tuple[str, ...]:
        """The names of the record types in the stubs, qualified like tools: `finance.Expense`."""
        return tuple(
            name if stubs.domain is None else f"{stubs.domain}.{name}"
            for stubs in self._stubs
            for name in stubs.records
        )

    @cached_property
    def _stubs(self) -> list[DomainStubs]:
        return group(self._definitions)

    @cached_property
    def _text(self) -> str:
        return render_catalog(self._stubs)

    def render(self) -> str:
        """Return the stubs of all tools as Python source for a model to read."""
        return self._text

    def write_stubs(self, directory: Path | str) -> list[Path]:
        """Write the stubs as a package `tools` into `directory`, for editors and type checkers.

        Args:
            directory: Made if it does not exist; files of the same names are replaced.

        Returns:
            The files that were written.
        """
        written = []
        for name, source in render_package(self._stubs).items():
            path = Path(directory, *name.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            written.append(path)
        return written


def _did_you_mean(close: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


# --- reading what the developer passed ----------------------------------------------------------


def _read_tools(tools: object) -> Iterator[ToolDefinition]:
    if isinstance(tools, Mapping):
        names: dict[str, object] = {}
        for given, members in tools.items():
            yield from _read_domain(_clean_domain(given, names), given, members)
    else:
        yield from _read_domain(None, None, tools)


def _clean_domain(given: object, names: dict[str, object]) -> str:
    if not isinstance(given, str) or not given.strip():
        raise CatalogError(f"a domain must be a name, got {given!r}")
    name = to_public_identifier(given, fallback="domain")
    if name in names:
        raise CatalogError(
            f"the domains {names[name]!r} and {given!r} would both be {name!r} in the code; "
            "rename one of them"
        )
    names[name] = given
    return name


def _read_domain(domain: str | None, given: object, members: object) -> Iterator[ToolDefinition]:
    where = "tools" if domain is None else f"tools[{given!r}]"
    if isinstance(members, str | bytes) or not isinstance(members, Sequence):
        raise CatalogError(
            f"{where} must be a list of tools, got {type(members).__name__}"
            f"{_advice(members, 'put it into a list')}"
        )
    taken: dict[str, ToolDefinition] = {}
    for position, member in enumerate(members):
        tool_ = _to_tool(member, f"{where}[{position}]")
        definition = read_tool(tool_, domain=domain, policy=ToolPolicy())
        other = taken.setdefault(definition.name, definition)
        if other is not definition:
            raise CatalogError(_clash(other, definition, where))
        yield definition


def _clash(first: ToolDefinition, second: ToolDefinition, where: str) -> str:
    if first.tool_name == second.tool_name:
        return f"{where} has two tools named {first.tool_name!r}; rename one, or use domains"
    return (
        f"{where} has the tools {first.tool_name!r} and {second.tool_name!r}, which would both be "
        f"{first.name!r} in the code; rename one, or use domains"
    )


def _to_tool(given: object, where: str) -> BaseTool:
    if isinstance(given, BaseTool):
        return given
    if isinstance(given, Mapping):
        raise CatalogError(
            f"{where} is only a schema, which cannot be called; wrap it with the function that does "
            "the work: StructuredTool(name=..., description=..., args_schema=schema, func=...)"
        )
    if isinstance(given, type) or not callable(given):
        raise CatalogError(
            f"{where} must be a LangChain tool or a function, got {_describe(given)}"
            f"{_advice(given, 'pass it itself')}"
        )
    try:
        # LangChain refuses a function that says nothing about itself; its signature says enough.
        made = tool(given) if given.__doc__ else tool(given, description="")
    except Exception as error:  # LangChain inspects code of its author's
        raise CatalogError(
            f"{where}, {_describe(given)}, cannot be made a tool: {type(error).__name__}: {error}; "
            "make it one with langchain_core.tools.StructuredTool.from_function(...)"
        ) from error
    return made


def _describe(given: object) -> str:
    name = getattr(given, "__name__", None)
    kind = "class" if isinstance(given, type) else type(given).__name__
    return f"the {kind} {name!r}" if name else f"a {kind}"


def _advice(given: object, otherwise: str) -> str:
    if isinstance(given, BaseToolkit):
        return "; pass its .get_tools()"
    if isinstance(given, type):
        return "; pass an instance of it" if issubclass(given, BaseTool) else ""
    if isinstance(given, BaseTool) or callable(given):
        return f"; {otherwise}"
    return ""


def _index(definitions: Sequence[ToolDefinition]) -> dict[str, ToolDefinition]:
    """Return tools by every name that means one of them only; exact names win."""
    index: dict[str, ToolDefinition] = {}
    for names in (
        [(d.qualified_name, d) for d in definitions],
        [(d.name, d) for d in definitions],
        [(d.tool_name, d) for d in definitions],
    ):
        count: dict[str, int] = {}
        for name, _ in names:
            count[name] = count.get(name, 0) + 1
        for name, definition in names:
            if count[name] == 1:
                index.setdefault(name, definition)
    return index
