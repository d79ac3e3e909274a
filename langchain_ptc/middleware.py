"""`ProgrammaticToolCallingMiddleware`: an agent keeps its tools, and its model sees one.

The model is shown `run_code` and the stubs in place of the tools. Calls of the code go through the
agent's other middleware (`wrap_tool_call`), like calls of the model: its retries, error handling and
approvals apply to them. That is why this middleware comes first in the list: middleware before it sees
only `run_code`.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired, TypeAlias, TypeVar, get_type_hints

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import SystemMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command
from typing_extensions import TypedDict

from langchain_ptc.agent.answers import Session, StateSessionStore, implementation_module
from langchain_ptc.agent.direct_calls import DirectCall, answer_call
from langchain_ptc.agent.guards import AgentGuards
from langchain_ptc.agent.watching import PrefetchHandler, PromptWatch, watched
from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.catalog.examples import Examples, render_examples, resolve_examples
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.catalog.tools import own_policy
from langchain_ptc.errors import check_choice, closest, did_you_mean
from langchain_ptc.executor import Check, Durable, Execution, ProgrammaticToolExecutor
from langchain_ptc.prompts import (
    BUDGET,
    DEFAULT_PROMPT_TOKENS,
    DIRECT_LIMIT,
    MIDDLEWARE_DESCRIPTION,
    MIDDLEWARE_SYSTEM,
    NOT_DIRECTLY,
    CountTokens,
    ToolsPrompt,
)
from langchain_ptc.run.approvals import (
    ApprovalRule,
    Approvals,
    InterruptMode,
    InterruptOn,
    rules_of,
)
from langchain_ptc.run.budgets import Budget, budget_of
from langchain_ptc.run.call_policy import CallPolicies
from langchain_ptc.run.calls import Route
from langchain_ptc.run.dispatch import view
from langchain_ptc.run.events import OnEvent
from langchain_ptc.run.inputs import AgentFiles, Inputs, InputVariables
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.plain import OnToolError, Redact
from langchain_ptc.run.prefetcher import Prefetch
from langchain_ptc.sandbox.api import Limits, Sandbox
from langchain_ptc.tool import CodeTool, fill_facts, provider_options, render_files

# --- which tools go to the code -------------------------------------------------------------------

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
    prompt: ToolsPrompt | None  # for the system message; None if there are no tools for the code
    executor: ProgrammaticToolExecutor
    hidden: frozenset[str]  # names of the tools that the model may not call itself
    guarded: Mapping[str, ToolDefinition]
    """The tools that the model calls itself and that have policies for that; by name."""
    approvals: Approvals  # which of their calls a person must approve


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRules:
    """The options for an agent's tools, by the tool's name, with or without its domain; raises `ValueError`."""

    tools: Selection
    tags: Sequence[str]
    domains: Mapping[str, str]
    policies: Mapping[str, ToolPolicy]
    interrupt_on: Mapping[str, Any]
    interrupt_mode: InterruptMode
    budgeted: Sequence[str] = ()  # tools whose calls a budget counts

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
            return not implementation_module(tool).startswith(_MIDDLEWARE_MODULES)
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
        """Return the catalog of some of the tools, in their domains, with their policies; raises `CatalogError`."""
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
        """Return the catalog of tools with policies for the model's own calls; if `budgeted`, also of those of the code."""
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


_Answer: TypeAlias = ToolMessage | Command[Any]

_MAX_SELECTIONS = 8
"""Sets of tools whose catalogs are cached: the tools of an agent may change from turn to turn."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A call of `run_code` while the other middleware handles it."""

    selected: SelectedTools
    route: Route


_in_flight: contextvars.ContextVar[_InFlight] = contextvars.ContextVar("ptc_in_flight")


def _newest(before: bytes | None, after: bytes | None) -> bytes | None:
    """Merge the variables of concurrent executions: keep those of the last one."""
    return before if after is None else after


def _state_with(key: str) -> Any:
    """Return the state of an agent with a private key for the variables of the code."""
    kept = NotRequired[Annotated[bytes, PrivateStateAttr, _newest]]
    return TypedDict(  # type: ignore[operator]  # its keys are those of this middleware
        "SessionState", {**get_type_hints(AgentState, include_extras=True), key: kept}
    )


class ProgrammaticToolCallingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets an agent call its tools from code.

    Put it first in the list of middleware: those after it also handle the calls of the code.

    Options name tools by their own names, with or without the domain: `pay` or `finance.pay`. A name
    that none of the agent's tools has is a `ValueError` at the first tool call, before anything is
    called.

    Args:
        tools: Which of the agent's tools the code may call: names, or a predicate of the tool. None
            selects all except those that middleware of LangChain or of deep agents adds
            (`write_todos`, `ls`, `read_file`, `task`, …), whose prompts tell the model to call them
            itself. Tools that the code may not call stay with the model.
        tags: Selects of these only the tools that have one of the tags, in their policy or their own.
        domains: Domain of each tool, by name, so that code writes `from tools.<domain> import …`. Tools
            that are not named have none.
        policies: Policies of single tools, by name. A tool with `allowed_callers=("direct",)`
            stays with the model, one with both is offered to both. `requires_approval` applies to
            every caller; `max_calls` limits the calls of one execution of code, and the model's own
            calls for one message of the user.
        inputs: Data that the code finds in variables: keys of the agent's state, or values by name. The model
            sees the type, the size and the beginning of each.
        interrupt_on: Which calls a person must approve, by code or by the model; see `as_programmatic`.
        session: `thread` keeps the variables of the code from one execution to the next, in private
            state of the agent; `none` starts each execution without any. Of concurrent executions,
            the variables of the last one are kept.
        agent_guards: Whether approvals and limits of the agent's other middleware apply to the calls
            of the code; see `as_programmatic`.
        return_direct: Whether what a program printed is the answer of the agent; see
            `as_programmatic`.
        tool_name: Name of the one tool. Two of this middleware in one agent need two names.
        limits: As in `as_programmatic`, and so are `sandbox`, `imports`, `files`, `agent_files`, `examples`,
            `prompt_tokens`, `count_tokens`, `interrupt_mode`, `durable`, `prefetch`, `on_event`, `check`, `budget`,
            `run_budget`, `on_tool_error`, `call_policies`, `log`, `redact` and `multimodal`.

    Raises:
        ValueError: An option is invalid.
    """

    def __init__(
        self,
        *,
        tools: Selection = None,
        tags: Sequence[str] = (),
        domains: Mapping[str, str] | None = None,
        policies: Mapping[str, ToolPolicy] | None = None,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
        agent_files: AgentFiles | None = None,
        inputs: Inputs = (),
        examples: Examples = None,
        prompt_tokens: int | None = DEFAULT_PROMPT_TOKENS,
        count_tokens: CountTokens | None = None,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
        prefetch: Prefetch = "off",
        session: Session = "none",
        on_event: OnEvent | None = None,
        check: Check = "static",
        budget: Budget | None = None,
        run_budget: Budget | None = None,
        on_tool_error: OnToolError = "message",
        call_policies: CallPolicies | None = None,
        log: ExecutionLog | None = None,
        redact: Redact = "secrets",
        agent_guards: AgentGuards = "apply",
        return_direct: bool = False,
        multimodal: bool = False,
        tool_name: str = "run_code",
    ) -> None:
        super().__init__()
        self._rules = SelectionRules(
            tools=tools,
            tags=tags,
            domains=dict(domains or {}),
            policies=dict(policies or {}),
            interrupt_on=rules_of(interrupt_on),
            interrupt_mode=interrupt_mode,
            budgeted=[n for b in (budget, run_budget) if b is not None for n in b.calls_per_tool],
        )
        self._examples = examples
        self._shapes = ObservedShapes()  # of all tools that the agent ever has
        self._tool_name = tool_name
        self._call_policies = call_policies or CallPolicies()
        self._budget_text = BUDGET if budget or run_budget else ""
        self._new_executor = functools.partial(
            ProgrammaticToolExecutor,
            limits=limits,
            sandbox=sandbox,
            imports=imports,
            files=files,
            interrupt_mode=interrupt_mode,
            durable=durable,
            prefetch=prefetch,
            on_event=on_event,
            check=check,
            log=log,
            redact=redact,
            on_tool_error=on_tool_error,
            call_policies=self._call_policies,
        )
        self._new_prompt = functools.partial(
            ToolsPrompt, prompt_tokens=prompt_tokens, count_tokens=count_tokens
        )
        self._budgets = budget, run_budget
        # Invalid options are reported now, and not at the first call.
        room = self._build_executor(ToolCatalog([])).sandbox.files_bytes
        resolve_examples(examples, ToolCatalog([]))
        self._selections: dict[tuple[int, ...], SelectedTools] = {}
        check_choice("session", session, Session)
        sessions, shown = None, render_files(sandbox, files, agent_files)
        if session == "thread":
            sessions = StateSessionStore(f"{tool_name}_session")
            self.state_schema = _state_with(sessions.key)
        asked_by = None if isinstance(interrupt_on, Mapping) else interrupt_on
        self._code_tool = CodeTool(
            start=self._start,
            sessions=sessions,
            agent_guards=agent_guards,
            owner=self,
            asked_by=asked_by,
            name=tool_name,
            description=fill_facts(MIDDLEWARE_DESCRIPTION, imports, limits, shown, multimodal),
            return_direct=return_direct,
            multimodal=multimodal,
            extras=provider_options(prefetch),
        )
        self._code_tool.give(InputVariables(inputs), agent_files, room)
        self.tools = [self._code_tool]

    @property
    def name(self) -> str:
        """The name of this middleware in its agent."""
        own = type(self).__name__
        return own if self._tool_name == "run_code" else f"{own}[{self._tool_name}]"

    # --- the model's side ---------------------------------------------------------------------------

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Show the model the code's tools as stubs.

        Raises:
            ValueError: A middleware after this one has replaced them.
        """
        shown, watch, code = self._show(request)
        with watched(watch, code):
            response = handler(shown)
        if watch is not None:
            watch.check(response)
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Show the model the code's tools as stubs; see `wrap_model_call`."""
        shown, watch, code = self._show(request)
        with watched(watch, code):
            response = await handler(shown)
        if watch is not None:
            watch.check(response)
        return response

    def _show(
        self, request: ModelRequest[Any]
    ) -> tuple[ModelRequest[Any], PromptWatch | None, PrefetchHandler | None]:
        """Return the request for the model, and what watches it: its prompt, and the code that it writes."""
        own = [tool for tool in request.tools if isinstance(tool, BaseTool)]
        selected = self._select(own)
        away = {*selected.hidden, *([self._tool_name] if selected.prompt is None else [])}
        kept = [
            tool for tool in request.tools if not (isinstance(tool, BaseTool) and tool.name in away)
        ]
        if selected.prompt is None or not any(tool.name == self._tool_name for tool in own):
            # No tools for the code; or another middleware has removed the one tool for this turn.
            return request.override(tools=kept), None, None
        text = "\n\n".join(
            filter(None, [selected.prompt.render(), self._code_tool.inputs.render(request.state)])
        )
        shown = request.override(tools=kept, system_message=_extend(request.system_message, text))
        code = self._code_tool.watch(selected.executor, None, request.state)
        if code is not None and self._code_tool.agents.see_calls():
            code = None  # other middleware must see each call, and sees none while the model writes
        return shown, PromptWatch(text, self._tool_name), code

    # --- the tools' side ----------------------------------------------------------------------------

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Answer]
    ) -> _Answer:
        """Let code call the agent's tools, and apply policies to the model's own calls."""
        selected = self._select_for_call(request)
        if request.tool_call["name"] != self._tool_name:
            settled = self._direct(request, selected, handler)
            if isinstance(settled, DirectCall):
                return settled.make(handler)
            return settled if isinstance(settled, ToolMessage) else handler(settled)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig, state: Any) -> Any:
            passed = _redirect(request, tool, call, config, state)
            return await call_in_thread(lambda: handler(passed))

        token = _in_flight.set(_InFlight(selected, route))
        try:
            return handler(request)
        finally:
            _in_flight.reset(token)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Answer]]
    ) -> _Answer:
        """Let code call the agent's tools; see `wrap_tool_call`."""
        selected = self._select_for_call(request)
        if request.tool_call["name"] != self._tool_name:
            settled = self._direct(request, selected, handler)
            if isinstance(settled, DirectCall):
                return await settled.amake(handler)
            return settled if isinstance(settled, ToolMessage) else await handler(settled)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig, state: Any) -> Any:
            return await handler(_redirect(request, tool, call, config, state))

        token = _in_flight.set(_InFlight(selected, route))
        try:
            return await handler(request)
        finally:
            _in_flight.reset(token)

    def _direct(
        self, request: ToolCallRequest, selected: SelectedTools, handler: object
    ) -> ToolCallRequest | DirectCall | ToolMessage:
        """Return a call of the model itself: to make as it is, to make under a policy, or its answer."""
        name = request.tool_call["name"]
        if name in selected.hidden:
            answer = NOT_DIRECTLY.replace("{NAME}", name).replace("{TOOL_NAME}", self._tool_name)
            return answer_call(request.tool_call, answer, "error")
        if (reached := self._limit_reached(request, selected, handler)) is not None:
            answer = DIRECT_LIMIT.replace("{NAME}", name).replace("{LIMIT}", reached)
            return answer_call(request.tool_call, answer, "error")
        definition = selected.guarded.get(name)
        if definition is None:
            return request
        return DirectCall(
            request=request,
            definition=definition,
            approvals=selected.approvals,
            call_policies=self._call_policies,
            budgets=selected.executor.budgets,
            is_asked_by_agent=self._code_tool.agents.asks_itself(handler),
        )

    def _limit_reached(
        self, request: ToolCallRequest, selected: SelectedTools, handler: object
    ) -> str | None:
        """Return a limit of the agent that is used up, by calls of code and the model together."""
        name = request.tool_call["name"]
        found = self._code_tool.agents.limits_here(self._tool_name, handler)
        catalog = selected.executor.catalog
        definition = next((d for d in catalog if d.tool_name == name), None)
        if not found or definition is None:
            return None
        for limit in found.call_limits(catalog, request.state):
            is_for_it = limit.tools is None or definition.qualified_name in limit.tools
            if is_for_it and limit.used > limit.allowed:  # this call has been counted
                return limit.name
        return None

    def _start(self, code: str, **options: Any) -> Execution:
        """Prepare the execution of the call of `run_code` that is in flight."""
        in_flight = _in_flight.get()
        return in_flight.selected.executor.start(code, route=in_flight.route, **options)

    # --- selection ---------------------------------------------------------------------------------

    def _select_for_call(self, request: ToolCallRequest) -> SelectedTools:
        """Return the selection among all tools of the agent, for one of its tool calls."""
        self._rules.check(request.runtime.tools)
        return self._select(request.runtime.tools)

    def _select(self, tools: Sequence[BaseTool]) -> SelectedTools:
        """Return the selection among some tools, which is built only once."""
        key = tuple(map(id, tools))
        if key not in self._selections:
            if len(self._selections) >= _MAX_SELECTIONS:
                self._selections.pop(next(iter(self._selections)))
            self._selections[key] = self._make_selection(tools)
        return self._selections[key]

    def _make_selection(self, tools: Sequence[BaseTool]) -> SelectedTools:
        for tool in tools:
            if tool.name == self._tool_name and not isinstance(tool, CodeTool):
                raise ValueError(
                    f"the agent has a tool of its own named {self._tool_name!r}; pass another "
                    "tool_name to ProgrammaticToolCallingMiddleware"
                )
        mine = [tool for tool in tools if self._rules.takes(tool)]
        catalog = self._rules.catalog(mine, self._shapes)
        prompt = self._new_prompt(catalog, self._text(catalog)) if mine else None
        hidden = frozenset(
            tool.name for tool in mine if "direct" not in self._rules.policy(tool).allowed_callers
        )
        guarded = self._rules.guarded(
            (tool for tool in tools if tool.name not in hidden),
            budgeted=self._budgets[1] is not None,
        )
        catalog = catalog if prompt is None else prompt.catalog
        return SelectedTools(
            tools=tuple(tools),
            prompt=prompt,
            executor=self._build_executor(catalog),
            hidden=hidden,
            guarded={definition.tool_name: definition for definition in guarded},
            # A person may edit a call into a call of another of these.
            approvals=self._rules.approvals(
                self._rules.catalog([*(d.tool for d in guarded if d.tool not in mine), *mine])
            ),
        )

    def _build_executor(self, catalog: ToolCatalog) -> ProgrammaticToolExecutor:
        budget, run_budget = (budget_of(b, catalog.names) for b in self._budgets)
        return self._new_executor(
            catalog,
            interrupt_on=self._rules.approved(catalog, of_code=True),
            budget=budget,
            run_budget=run_budget,
        )

    def _text(self, catalog: ToolCatalog) -> str:
        shown = render_examples(resolve_examples(self._examples, catalog))
        text = MIDDLEWARE_SYSTEM.replace("{TOOL_NAME}", self._tool_name)
        return "\n\n".join(filter(None, [text, shown, self._budget_text]))


@dataclass
class _InnerRequest(ToolCallRequest):
    """The request for a call of the code, whichever of its parts other middleware replaces."""

    def __post_init__(self) -> None:
        if self.tool is not None:
            object.__setattr__(self, "tool", view(self.tool))


def _redirect(
    request: ToolCallRequest, tool: BaseTool, call: ToolCall, config: RunnableConfig, state: Any
) -> ToolCallRequest:
    """Return the request for a call of the code, made from the one for `run_code`."""
    runtime = replace(request.runtime, tool_call_id=call["id"], config=config, state=state)
    return _InnerRequest(tool_call=call, tool=tool, state=state, runtime=runtime)


def _extend(message: SystemMessage | None, text: str) -> SystemMessage:
    """Add our text at the end, so that the provider's cache of the beginning stays valid."""
    if message is None:
        return SystemMessage(text)
    content: Any = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": f"{content}\n\n{text}"})
    return message.model_copy(update={"content": [*content, {"type": "text", "text": text}]})
