"""What the code has without binding it: tools, domains and builtins. Pure."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from types import MappingProxyType

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.check.values import (
    UNKNOWN,
    LibraryValue,
    ModuleValue,
    ToolValue,
    Value,
    Values,
)

_GIVEN = frozenset({"ToolCallError", "search_tools", "describe", "list_domains"})
"""What the sandbox gives to every program besides the tools."""
_BUILTINS = frozenset(dir(builtins)) | {
    *("exit", "quit", "copyright", "credits", "license", "help", "reload", "__name__", "__file__"),
    *("__doc__", "__annotations__", "__class__", "__path__", "display", "reveal_type"),
    *("__builtins__", "PythonFinalizationError", "_"),
}


class Given:
    """The names that a program of a catalog has from its start.

    Args:
        catalog: The tools.
        kept: Names that the session keeps from earlier programs; None if they are not known.
        implied: Names that are imported for the program, as `find_implied` has them.
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        kept: Collection[str] | None,
        implied: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.catalog = catalog
        self._implied = implied
        self._kept = kept
        self.domains = frozenset(catalog.domains)
        tools = catalog.callables
        counts: dict[str, int] = {}
        for qualified in (*(tool.qualified_name for tool in tools), *catalog.type_names):
            name = qualified.rpartition(".")[2]
            counts[name] = counts.get(name, 0) + 1
        types = {name.rpartition(".")[2] for name in catalog.type_names}
        self._types = types
        self._bare = {
            tool.name: tool
            for tool in tools
            if tool.domain is None or (counts[tool.name] == 1 and tool.name not in self.domains)
        }
        self._shared = {name for name, count in counts.items() if count > 1}
        self._members = {(tool.domain, tool.name): tool for tool in tools}
        self._qualified_types = frozenset(catalog.type_names)

    @property
    def bare_tools(self) -> tuple[ToolDefinition, ...]:
        """The tools that need no domain before their name."""
        return tuple(self._bare.values())

    def bare(self, name: str) -> Values | None:
        """Return what `name` is where nothing binds it, or None if there is no such name."""
        if self._kept is None or name in self._kept:
            return UNKNOWN
        value = self.tool_or_domain(name)
        if value is not None:
            return (value,)
        if name in _GIVEN or name in self._types:
            return UNKNOWN
        if name in _BUILTINS:
            return (LibraryValue(name),)
        path = self._implied.get(name)
        if path is None:
            return None
        return (LibraryValue(path) if path == f"{name}.{name}" else ModuleValue(path),)

    def tool_or_domain(self, name: str) -> Value | None:
        """Return the tool or the domain that `name` is from the start; None if it is neither."""
        if name == "tools" or name in self.domains:
            return ModuleValue("tools" if name == "tools" else f"tools.{name}")
        definition = self._bare.get(name)
        return None if definition is None else ToolValue(definition)

    def shared_by(self, name: str) -> list[str]:
        """Return the qualified names of the tools of this name, where it takes a domain."""
        if name not in self._shared or name in self._bare:
            return []
        return [d.qualified_name for d in self.catalog if d.name == name and d.domain is not None]

    def member(self, module: str, name: str) -> Values | None:
        """Return what `name` is in `tools` or `tools.<domain>`, or None if it is not there."""
        if name.startswith("_"):
            return UNKNOWN
        domain = module.partition(".")[2] or None
        definition = self._members.get((domain, name))
        if definition is not None:
            return (ToolValue(definition),)
        if domain is None:
            if name in self.domains:
                return (ModuleValue(f"tools.{name}"),)
            value = self.tool_or_domain(name)
            if value is not None:
                return (value,)
            known = name in _GIVEN or name in self._types
        else:
            known = name in _GIVEN or f"{domain}.{name}" in self._qualified_types
        return UNKNOWN if known else None

    def is_module(self, name: str) -> bool:
        """Whether `name` is `tools` or `tools.<domain>` with tools in it."""
        return name == "tools" or name.removeprefix("tools.") in self.domains
