"""`ProgrammaticToolCallingMiddleware`: an agent keeps its tools, and its model sees one.

The model is shown `run_code` and the stubs in place of the tools. What the code calls goes through the
agent's other middleware (`wrap_tool_call`), as a call of the model would: retries, error handling and
approvals of theirs hold for it. That is why it comes first in the list: what comes before it sees
`run_code` only.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from langchain_core.messages import SystemMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.execution.approvals import InterruptMode, InterruptOn
from langchain_ptc.execution.dispatch import Route
from langchain_ptc.execution.events import OnEvent
from langchain_ptc.execution.execution import Durable, Execution
from langchain_ptc.execution.executor import ProgrammaticToolExecutor
from langchain_ptc.execution.portal import call_in_thread
from langchain_ptc.graph.prompts import MIDDLEWARE_DESCRIPTION, MIDDLEWARE_SYSTEM, NOT_DIRECTLY
from langchain_ptc.graph.tool import (
    CodeTool,
    Examples,
    render_examples,
    resolve_examples,
)
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.base import Sandbox

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise ImportError(
        "ProgrammaticToolCallingMiddleware is for LangChain's agents: pip install "
        "'langchain-ptc[langchain]'"
    ) from error

Selection: TypeAlias = Sequence[str] | Callable[[BaseTool], bool] | None
"""Which of the agent's tools the code calls: names, a predicate, or None for all."""

_Answer: TypeAlias = ToolMessage | Command[Any]

_MOST_CATALOGS = 8
"""Agents whose tools change from turn to turn have a catalog for each set of them."""


@dataclass(frozen=True, slots=True)
class _Passing:
    """The call of `run_code` on its way through the middleware."""

    tools: Sequence[BaseTool]
    route: Route


_passing: contextvars.ContextVar[_Passing] = contextvars.ContextVar("ptc_passing")


class ProgrammaticToolCallingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets an agent call its tools from code.

    Put it first among the middleware: those after it handle the calls of the code too.

    Args:
        tools: Which of the agent's tools the code may call: names, a predicate of the tool, or None
            for all whose policy allows it. The others stay as they are.
        domains: Domain of each tool, by name, so that code says `from tools.<domain> import …`.
        policies: What holds for single tools, by name. A tool with `allowed_callers=("direct",)`
            stays with the model, one with both is offered to both.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox`.
        imports: Modules that the code may import besides the standard ones.
        examples: Programs that the model is shown.
        interrupt_on: Which calls a person must approve; as in `as_programmatic`. The calls of the
            code also pass a `HumanInTheLoopMiddleware` of yours, in its mode `per_call`.
        interrupt_mode: One question for calls side by side, or one each.
        durable: Whether what happens is kept, so that nothing happens twice.
        on_event: Is told what happens while it happens.
        tool_name: Name of the one tool.

    Raises:
        ValueError: An option is none of what it may be.
    """

    def __init__(
        self,
        *,
        tools: Selection = None,
        domains: Mapping[str, str] | None = None,
        policies: Mapping[str, ToolPolicy] | None = None,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        examples: Examples = None,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
        on_event: OnEvent | None = None,
        tool_name: str = "run_code",
    ) -> None:
        super().__init__()
        if isinstance(tools, str):
            raise ValueError(  # noqa: TRY004  # a wrong value of an option
                f"tools must be a list of names or a predicate, got {tools!r}: write [{tools!r}]"
            )
        self._select = tools
        self._domains = dict(domains or {})
        self._policies = dict(policies or {})
        self._examples = examples
        self._imports = tuple(imports)
        self._tool_name = tool_name
        self._build: Callable[[ToolCatalog], ProgrammaticToolExecutor] = lambda catalog: (
            ProgrammaticToolExecutor(
                catalog,
                limits=limits,
                sandbox=sandbox,
                imports=imports,
                interrupt_on=_only(interrupt_on, catalog),
                interrupt_mode=interrupt_mode,
                durable=durable,
                on_event=on_event,
            )
        )
        self._offers: dict[tuple[int, ...], _Offer] = {}
        self.tools = [
            CodeTool(start=self._start, name=tool_name, description=_describe(self._imports))
        ]

    # --- the model's side ---------------------------------------------------------------------------

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Show the model the code's tools as stubs."""
        return handler(self._show(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Show the model the code's tools as stubs."""
        return await handler(self._show(request))

    def _show(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        if not any(_name_of(tool) == self._tool_name for tool in request.tools):
            return request  # another middleware has taken it away for this turn
        offer = self._offer([tool for tool in request.tools if isinstance(tool, BaseTool)])
        if not offer.catalog:
            kept = [tool for tool in request.tools if _name_of(tool) != self._tool_name]
            return request.override(tools=kept)
        return request.override(
            tools=[tool for tool in request.tools if _name_of(tool) not in offer.hidden],
            system_message=_extend(request.system_message, offer.text),
        )

    # --- the tools' side ----------------------------------------------------------------------------

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Answer]
    ) -> _Answer:
        """Let code call the agent's tools, and nobody else those that are the code's."""
        if request.tool_call["name"] != self._tool_name:
            return self._refuse(request) or handler(request)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig) -> Any:
            passed = _redirect(request, tool, call, config)
            return await call_in_thread(lambda: handler(passed))

        token = _passing.set(_Passing(request.runtime.tools, route))
        try:
            return handler(request)
        finally:
            _passing.reset(token)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Answer]]
    ) -> _Answer:
        """Let code call the agent's tools, and nobody else those that are the code's."""
        if request.tool_call["name"] != self._tool_name:
            return self._refuse(request) or await handler(request)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig) -> Any:
            return await handler(_redirect(request, tool, call, config))

        token = _passing.set(_Passing(request.runtime.tools, route))
        try:
            return await handler(request)
        finally:
            _passing.reset(token)

    def _refuse(self, request: ToolCallRequest) -> ToolMessage | None:
        """Answer a call of the model to a tool that is the code's only."""
        name = request.tool_call["name"]
        offer = self._offer(request.runtime.tools)
        if name not in offer.hidden:
            return None
        told = NOT_DIRECTLY.replace("{NAME}", name).replace("{TOOL_NAME}", self._tool_name)
        return ToolMessage(
            told, name=name, tool_call_id=request.tool_call["id"] or "", status="error"
        )

    def _start(self, code: str, **asked: Any) -> Execution:
        """Prepare the execution of a call of `run_code` that has come through the middleware."""
        passing = _passing.get()
        offer = self._offer(passing.tools)
        return offer.executor.start(code, route=passing.route, **asked)

    # --- the catalog --------------------------------------------------------------------------------

    def _offer(self, tools: Sequence[BaseTool]) -> _Offer:
        """Return what there is for the code among the agent's tools, and make it only once."""
        mine = [tool for tool in tools if tool.name != self._tool_name and self._takes(tool)]
        key = tuple(map(id, mine))
        if key not in self._offers:
            if len(self._offers) >= _MOST_CATALOGS:
                self._offers.pop(next(iter(self._offers)))
            self._offers[key] = self._make_offer(mine)
        return self._offers[key]

    def _takes(self, tool: BaseTool) -> bool:
        if self._select is None:
            return True
        if callable(self._select):
            return bool(self._select(tool))
        return tool.name in self._select

    def _make_offer(self, tools: Sequence[BaseTool]) -> _Offer:
        groups: dict[str | None, list[BaseTool]] = {}
        for tool in tools:
            if "code" in self._policies.get(tool.name, ToolPolicy()).allowed_callers:
                groups.setdefault(self._domains.get(tool.name), []).append(tool)
        offered = {tool.name for group in groups.values() for tool in group}
        policies = {n: p for n, p in self._policies.items() if n in offered}
        catalog = _catalog_of(groups, policies)
        hidden = frozenset(
            definition.tool.name
            for definition in catalog
            if "direct" not in definition.policy.allowed_callers
        )
        text = MIDDLEWARE_SYSTEM.replace("{TOOL_NAME}", self._tool_name)
        shown = [
            text.replace("{STUBS}", catalog.render()),
            render_examples(resolve_examples(self._examples, catalog)),
        ]
        return _Offer(
            tools=tuple(tools),
            catalog=catalog,
            executor=self._build(catalog),
            hidden=hidden,
            text="\n\n".join(filter(None, shown)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What the code may call among one set of tools."""

    tools: tuple[BaseTool, ...]
    """Kept, so that the identities by which it is found stay theirs."""
    catalog: ToolCatalog
    executor: ProgrammaticToolExecutor
    hidden: frozenset[str]
    """Names of the tools that the model may not call itself."""
    text: str
    """For the system message; the same each time, so that the provider's prompt cache holds."""


def _catalog_of(
    groups: Mapping[str | None, Sequence[BaseTool]], policies: Mapping[str, ToolPolicy]
) -> ToolCatalog:
    tools: Any = groups if set(groups) - {None} else groups.get(None, [])
    return ToolCatalog(tools, policies=policies)


def _only(interrupt_on: InterruptOn | None, catalog: ToolCatalog) -> InterruptOn:
    """Return what is said of the tools that are there now: an agent may have others at other times."""
    return {name: given for name, given in (interrupt_on or {}).items() if name in catalog}


def _describe(imports: Sequence[str]) -> str:
    more = f", and {', '.join(imports)}" if imports else ""
    return MIDDLEWARE_DESCRIPTION.replace("{IMPORTS}", more)


def _redirect(
    request: ToolCallRequest, tool: BaseTool, call: ToolCall, config: RunnableConfig
) -> ToolCallRequest:
    """Return the request for a call of the code, made from the one for `run_code`."""
    runtime = replace(request.runtime, tool_call_id=call["id"], config=config)
    return replace(request, tool=tool, tool_call=call, runtime=runtime)


def _extend(message: SystemMessage | None, text: str) -> SystemMessage:
    """Add our text at the end: what the provider has cached of the beginning stays as it is."""
    if message is None:
        return SystemMessage(text)
    content: Any = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": f"{content}\n\n{text}"})
    return message.model_copy(update={"content": [*content, {"type": "text", "text": text}]})


def _name_of(tool: BaseTool | dict[str, Any]) -> str:
    if isinstance(tool, BaseTool):
        return tool.name
    return str(cast("Any", tool.get("function", tool)).get("name", ""))
