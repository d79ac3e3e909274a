"""What the code of an agent may call among the agent's tools, and what holds for the others."""

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
from langchain_ptc.run.approvals import Approvals, Gate, InterruptMode
from langchain_ptc.tool import CodeTool
from langchain_ptc.wording import closest, did_you_mean

Selection: TypeAlias = Sequence[str] | Callable[[BaseTool], bool] | None
"""Which of an agent's tools the code calls: names, a predicate, or None for all that are the agent's
own."""

T = TypeVar("T")

_HOUSES = ("deepagents.", "langchain.agents.middleware.")
"""Where the tools of middleware are made that tell the model in a prompt of their own to call them
itself: `write_todos`, `ls`, `read_file`, `task`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the code may call among one set of tools, and what holds for the model's own calls."""

    tools: tuple[BaseTool, ...]
    """Kept, so that the identities by which it is found stay theirs."""
    prompt: ToolsPrompt | None
    """For the system message; None if there is nothing for the code."""
    executor: ProgrammaticToolExecutor
    hidden: frozenset[str]
    """Names of the tools that the model may not call itself."""
    guarded: Mapping[str, ToolDefinition]
    """The tools that the model calls itself and for which more holds than for any; by name."""
    approvals: Approvals
    """Which calls of those a person must approve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a developer says about an agent's tools, by the tool's name, with or without its domain.

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
        """Return what holds for a tool."""
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
        """Hold the names that the developer uses against the agent's tools.

        A name that is misspelled would take an approval or a limit away in silence.

        Raises:
            ValueError: A name is of none of them.
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
                if option == "interrupt_on" and isinstance(self.interrupt_on[name], Gate):
                    continue  # the agent's own middleware may name what it likes
                if name not in known:
                    raise ValueError(
                        f"{option} of ProgrammaticToolCallingMiddleware has {name!r}, which is none "
                        f"of the agent's tools{did_you_mean(closest(name, known))}"
                    )

    def catalog(
        self, tools: Iterable[BaseTool], shapes: ObservedShapes | None = None
    ) -> ToolCatalog:
        """Return the catalog of some of the tools, in their domains, with their policies.

        Args:
            tools: The tools.
            shapes: What was learned of their results.

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
        """Return what is said of the approval of a catalog's tools, as `Approvals` takes it.

        Args:
            catalog: The tools.
            of_code: For the calls of code: the agent's own middleware is asked when it is known
                whether it handles those itself.
        """
        given = {d.qualified_name: self._approval(d.tool) for d in catalog}
        return {
            name: approval
            for name, approval in given.items()
            if approval is not None and not (of_code and isinstance(approval, Gate))
        }

    def guarded(self, tools: Iterable[BaseTool], *, budgeted: bool = False) -> ToolCatalog:
        """Return the catalog of those tools for whose calls by the model more holds than for any.

        Args:
            tools: The tools that the model calls itself.
            budgeted: There is a budget for a run, which counts the tools that code calls too.
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
        """Return what is said of a tool under the more exact of its two names."""
        return given.get(self._qualified(tool), given.get(tool.name, otherwise))

    def _qualified(self, tool: BaseTool) -> str:
        domain = self.domains.get(tool.name)
        return tool.name if domain is None else f"{domain}.{tool.name}"


def _is_of_middleware(tool: BaseTool) -> bool:
    """Whether a tool was brought by middleware of LangChain or of deep agents."""
    return implementation_module(tool).startswith(_HOUSES)
