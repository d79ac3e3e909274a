"""Which of an agent's tools its code may call, and which policies apply to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from langchain_core.tools import BaseTool

from langchain_ptc.agent.commands import implementation_module
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.catalog.policy import ToolPolicy
from langchain_ptc.catalog.tools import own_policy
from langchain_ptc.executor import ProgrammaticToolExecutor
from langchain_ptc.prompts.description import ToolsPrompt
from langchain_ptc.run.approvals import ApprovalRule, Approvals, InterruptMode
from langchain_ptc.tool import CodeTool
from langchain_ptc.wording import closest, did_you_mean

Selection: TypeAlias = Sequence[str] | Callable[[BaseTool], bool] | None
"""Which of an agent's tools the code may call: names, a predicate, or None for all that middleware has
not added."""

T = TypeVar("T")

_MIDDLEWARE_MODULES = ("deepagents.", "langchain.agents.middleware.")
"""Modules that define the tools of middleware whose prompts tell the model to call them itself:
`write_todos`, `ls`, `read_file`, `task`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTools:
    """What the code may call among one set of tools, and the policies for the model's own calls."""

    tools: tuple[BaseTool, ...]
    """Referenced, so that the ids by which the selection is cached stay theirs."""
    prompt: ToolsPrompt | None
    """For the system message; None if there are no tools for the code."""
    executor: ProgrammaticToolExecutor
    hidden: frozenset[str]
    """Names of the tools that the model may not call itself."""
    guarded: Mapping[str, ToolDefinition]
    """The tools that the model calls itself and that have policies for that; by name."""
    approvals: Approvals
    """Which of their calls a person must approve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRules:
    """The options for an agent's tools, by the tool's name, with or without its domain.

    Raises:
        ValueError: `tools` or `tags` is a single name.
    """

    tools: Selection
    tags: Sequence[str]
    domains: Mapping[str, str]
    policies: Mapping[str, ToolPolicy]
    interrupt_on: Mapping[str, Any]
    interrupt_mode: InterruptMode
    budgeted: Sequence[str] = ()
    """Tools whose calls a budget counts."""

    def __post_init__(self) -> None:
        for name, given in (("tools", self.tools), ("tags", self.tags)):
            if isinstance(given, str):
                raise ValueError(  # noqa: TRY004  # a wrong value of an option
                    f"{name} must be a list, got {given!r}: write [{given!r}]"
                )
        if self.tools is not None and not callable(self.tools):
            for name in self.tools:
                if not isinstance(name, str):
                    raise ValueError(  # noqa: TRY004  # a wrong value of an option
                        "tools must be names of the agent's tools, or a predicate of them, got "
                        f"{name!r}; pass the tools themselves to the agent"
                    )

    def policy(self, tool: BaseTool) -> ToolPolicy:
        """Return the policy of a tool."""
        return self._given(self.policies, tool, own_policy(tool))

    def takes(self, tool: BaseTool) -> bool:
        """Whether the code may call a tool."""
        if isinstance(tool, CodeTool) or "code" not in self.policy(tool).allowed_callers:
            return False
        if self.tags and not {*self.policy(tool).tags, *(tool.tags or ())} & set(self.tags):
            return False
        if self.tools is None:
            return not _is_of_middleware(tool)
        if callable(self.tools):
            return bool(self.tools(tool))
        return bool({tool.name, self._qualified(tool)} & set(self.tools))

    def check(self, tools: Iterable[BaseTool]) -> None:
        """Check that every name in the options is the name of one of the agent's tools.

        A misspelled name would silently disable an approval or a limit.

        Raises:
            ValueError: A name is not.
        """
        known = {name for tool in tools for name in (tool.name, self._qualified(tool))}
        listed = () if self.tools is None or callable(self.tools) else self.tools
        for option, names in (
            ("tools", listed),
            ("domains", self.domains),
            ("policies", self.policies),
            ("interrupt_on", self.interrupt_on),
            ("calls_per_tool", self.budgeted),
        ):
            for name in names:
                if option == "interrupt_on" and isinstance(self.interrupt_on[name], ApprovalRule):
                    continue  # the agent's own middleware may name other tools
                if name not in known:
                    raise ValueError(
                        f"{option} of ProgrammaticToolCallingMiddleware has {name!r}, which is none "
                        f"of the agent's tools{did_you_mean(closest(name, known))}"
                    )

    def catalog(
        self, tools: Iterable[BaseTool], shapes: ObservedShapes | None = None
    ) -> ToolCatalog:
        """Return the catalog of some of the tools, in their domains, with their policies.

        Raises:
            CatalogError: They cannot be offered to code.
        """
        return ToolCatalog(
            [
                ToolDefinition(
                    tool=tool, domain=self.domains.get(tool.name), policy=self.policy(tool)
                )
                for tool in tools
            ],
            shapes=shapes,
        )

    def approved(self, catalog: ToolCatalog, *, of_code: bool = False) -> Mapping[str, Any]:
        """Return the approval settings of a catalog's tools, as `Approvals` takes them.

        For the calls of code, the agent's own middleware is left out: it is applied when it is known
        whether it handles those calls itself.
        """
        given = {d.qualified_name: self._approval(d.tool) for d in catalog}
        return {
            name: approval
            for name, approval in given.items()
            if approval is not None and not (of_code and isinstance(approval, ApprovalRule))
        }

    def guarded(self, tools: Iterable[BaseTool], *, budgeted: bool = False) -> ToolCatalog:
        """Return the catalog of those tools that have policies for the model's own calls.

        With `budgeted`, a budget of the run also counts the calls of tools that the code may call.
        """
        held = [
            tool
            for tool in tools
            if self.policy(tool).requires_approval
            or self.policy(tool).max_calls is not None
            or self.policy(tool).is_guarded
            or self._approval(tool) is not None
            or (budgeted and self.takes(tool))
        ]
        return self.catalog(held)

    def approvals(self, catalog: ToolCatalog) -> Approvals:
        """Return which calls of a catalog's tools a person must approve."""
        return Approvals(catalog, self.approved(catalog), self.interrupt_mode)

    def _approval(self, tool: BaseTool) -> Any:
        return self._given(self.interrupt_on, tool, None)

    def _given(self, given: Mapping[str, T], tool: BaseTool, otherwise: T) -> T:
        """Return the setting of a tool, under its qualified name or else its own."""
        return given.get(self._qualified(tool), given.get(tool.name, otherwise))

    def _qualified(self, tool: BaseTool) -> str:
        domain = self.domains.get(tool.name)
        return tool.name if domain is None else f"{domain}.{tool.name}"


def _is_of_middleware(tool: BaseTool) -> bool:
    """Whether a tool was added by middleware of LangChain or of deep agents."""
    return implementation_module(tool).startswith(_MIDDLEWARE_MODULES)
