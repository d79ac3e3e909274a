"""`ProgrammaticToolCallingMiddleware`: an agent keeps its tools, and its model sees one.

The model is shown `run_code` and the stubs in place of the tools. What the code calls goes through the
agent's other middleware (`wrap_tool_call`), as a call of the model would: retries, error handling and
approvals of theirs hold for it. That is why it comes first in the list: what comes before it sees
`run_code` only.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired, TypeAlias, get_type_hints

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import SystemMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command
from typing_extensions import TypedDict

from langchain_ptc.agent.direct_calls import DirectCall, answer_call
from langchain_ptc.agent.guards import AgentGuards
from langchain_ptc.agent.prompt_watch import PromptWatch, watched
from langchain_ptc.agent.thread_sessions import Session, StateSessionStore
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.catalog.policy import ToolPolicy
from langchain_ptc.executor import ProgrammaticToolExecutor
from langchain_ptc.limits import Limits
from langchain_ptc.prompts.description import DEFAULT_PROMPT_TOKENS, CountTokens, ToolsPrompt
from langchain_ptc.prompts.texts import (
    DIRECT_LIMIT,
    MIDDLEWARE_DESCRIPTION,
    MIDDLEWARE_SYSTEM,
    NOT_DIRECTLY,
)
from langchain_ptc.run.approvals import InterruptMode, InterruptOn, gates_of
from langchain_ptc.run.budgets import Budget
from langchain_ptc.run.calls import Route
from langchain_ptc.run.error_text import OnToolError
from langchain_ptc.run.events import OnEvent
from langchain_ptc.run.execution import Check, Durable, Execution
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.policies.call_policy import CallPolicies
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.redaction import Redact
from langchain_ptc.run.run_budgets import budget_of
from langchain_ptc.run.tool_view import view
from langchain_ptc.sandbox.api import Sandbox
from langchain_ptc.selection import Choice, Offer, Selection
from langchain_ptc.tool import (
    CodeTool,
    Examples,
    render_budget,
    render_examples,
    resolve_examples,
    with_imports,
)
from langchain_ptc.wording import check_choice

_Answer: TypeAlias = ToolMessage | Command[Any]

_MOST_OFFERS = 8
"""Agents whose tools change from turn to turn have a catalog for each set of them."""


@dataclass(frozen=True, slots=True)
class _Passing:
    """The call of `run_code` on its way through the middleware."""

    offer: Offer
    route: Route


_passing: contextvars.ContextVar[_Passing] = contextvars.ContextVar("ptc_passing")


def _newest(before: bytes | None, after: bytes | None) -> bytes | None:
    """Merge what executions side by side have kept: the last one's stays."""
    return before if after is None else after


def _state_with(key: str) -> Any:
    """Return the state of an agent with a private key for the variables of the code."""
    kept = NotRequired[Annotated[bytes, PrivateStateAttr, _newest]]
    return TypedDict(  # type: ignore[operator]  # its keys are those of this middleware
        "SessionState", {**get_type_hints(AgentState, include_extras=True), key: kept}
    )


class ProgrammaticToolCallingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets an agent call its tools from code.

    Put it first among the middleware: those after it handle the calls of the code too.

    Names of tools that are given here are the tools' own, with their domain before them or without:
    `pay` or `finance.pay`. One that none of the agent's tools has is a `ValueError` at the first tool
    call, before anything is called.

    Args:
        tools: Which of the agent's tools the code may call: names, or a predicate of the tool. None
            is all of them but those that middleware of LangChain or of deep agents brings
            (`write_todos`, `ls`, `read_file`, `task`, …): prompts of theirs tell the model to call
            those itself. What the code may not call stays with the model.
        tags: Takes of these only the tools that have one of the tags, by their policy or by
            themselves.
        domains: Domain of each tool, by name, so that code says `from tools.<domain> import …`. Tools
            that are not named have none.
        policies: What holds for single tools, by name. A tool with `allowed_callers=("direct",)`
            stays with the model, one with both is offered to both. `requires_approval` holds whoever
            calls; `max_calls` is for one execution of code, and for the model's own calls for one
            message of the user.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox`.
        imports: Modules that the code may import besides the standard ones.
        examples: Programs that the model is shown.
        prompt_tokens: Tokens that the text about the tools may have; as in `as_programmatic`.
        count_tokens: Counts them; by default four characters are one.
        interrupt_on: Which calls a person must approve, whoever makes them; as in `as_programmatic`.
        interrupt_mode: One question for calls side by side, or one each.
        durable: Whether what happens is kept, so that nothing happens twice.
        session: `thread` keeps the variables of the code from one execution to the next, in private
            state of the agent; `none` begins anew each time. Of executions side by side, the last
            one's are kept.
        on_event: Is told what happens while it happens; see `execution.events`.
        check: What the code is held against before it runs: the stubs (`static`), a type checker
            besides (`types`), or nothing (`off`).
        budget: What each execution may spend.
        run_budget: What may be spent from one message of the user to the next.
        on_tool_error: What the code is told when a tool raises; see `ProgrammaticToolExecutor`.
        log: Keeps the record of each execution; see `execution.log`.
        redact: What is hidden of the arguments of calls in records, events and reports; see
            `ProgrammaticToolExecutor`.
        agent_guards: Whether approvals and limits of the agent's other middleware hold for the calls
            of the code; as in `as_programmatic`.
        tool_name: Name of the one tool. Two of this middleware in one agent need two names.

    Raises:
        ValueError: An option is none of what it may be.
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
        examples: Examples = None,
        prompt_tokens: int | None = DEFAULT_PROMPT_TOKENS,
        count_tokens: CountTokens | None = None,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
        session: Session = "none",
        on_event: OnEvent | None = None,
        check: Check = "static",
        budget: Budget | None = None,
        run_budget: Budget | None = None,
        on_tool_error: OnToolError = "message",
        log: ExecutionLog | None = None,
        redact: Redact = "secrets",
        agent_guards: AgentGuards = "apply",
        tool_name: str = "run_code",
    ) -> None:
        super().__init__()
        self._choice = Choice(
            tools=tools,
            tags=tags,
            domains=dict(domains or {}),
            policies=dict(policies or {}),
            interrupt_on=gates_of(interrupt_on),
            interrupt_mode=interrupt_mode,
            budgeted=[n for b in (budget, run_budget) if b is not None for n in b.calls_per_tool],
        )
        self._examples = examples
        self._shapes = ObservedShapes()  # of all tools that the agent has from turn to turn
        self._tool_name = tool_name
        self._call_policies = CallPolicies()
        self._budget_text = render_budget(budget, run_budget)
        self._has_run_budget = run_budget is not None
        self._new_executor = functools.partial(
            ProgrammaticToolExecutor,
            limits=limits,
            sandbox=sandbox,
            imports=imports,
            interrupt_mode=interrupt_mode,
            durable=durable,
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
        self._build_executor(ToolCatalog([]))  # wrong options are told now, not at the first call
        resolve_examples(examples, ToolCatalog([]))
        self._offers: dict[tuple[int, ...], Offer] = {}
        check_choice("session", session, Session)
        sessions = None
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
            description=with_imports(MIDDLEWARE_DESCRIPTION, imports),
        )
        self.tools = [self._code_tool]

    @property
    def name(self) -> str:
        """The name of this middleware in its agent."""
        own = type(self).__name__
        return own if self._tool_name == "run_code" else f"{own}[{self._tool_name}]"

    # --- the model's side ---------------------------------------------------------------------------

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Show the model the code's tools as stubs.

        Raises:
            ValueError: A middleware behind this one has replaced them.
        """
        shown, watch = self._show(request)
        with watched(watch):
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
        shown, watch = self._show(request)
        with watched(watch):
            response = await handler(shown)
        if watch is not None:
            watch.check(response)
        return response

    def _show(self, request: ModelRequest[Any]) -> tuple[ModelRequest[Any], PromptWatch | None]:
        own = [tool for tool in request.tools if isinstance(tool, BaseTool)]
        offer = self._offer(own)
        away = {*offer.hidden, *([self._tool_name] if offer.prompt is None else [])}
        kept = [
            tool for tool in request.tools if not (isinstance(tool, BaseTool) and tool.name in away)
        ]
        if offer.prompt is None or not any(tool.name == self._tool_name for tool in own):
            # Nothing for the code; or another middleware has taken the one tool away for this turn.
            return request.override(tools=kept), None
        text = offer.prompt.render()
        shown = request.override(tools=kept, system_message=_extend(request.system_message, text))
        return shown, PromptWatch(text, self._tool_name)

    # --- the tools' side ----------------------------------------------------------------------------

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Answer]
    ) -> _Answer:
        """Let code call the agent's tools, and hold the model's own calls to what holds for them."""
        offer = self._offer_now(request)
        if request.tool_call["name"] != self._tool_name:
            settled = self._direct(request, offer, handler)
            if isinstance(settled, DirectCall):
                return settled.make(handler)
            return settled if isinstance(settled, ToolMessage) else handler(settled)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig, state: Any) -> Any:
            passed = _redirect(request, tool, call, config, state)
            return await call_in_thread(lambda: handler(passed))

        token = _passing.set(_Passing(offer, route))
        try:
            return handler(request)
        finally:
            _passing.reset(token)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Answer]]
    ) -> _Answer:
        """Let code call the agent's tools, and hold the model's own calls to what holds for them."""
        offer = self._offer_now(request)
        if request.tool_call["name"] != self._tool_name:
            settled = self._direct(request, offer, handler)
            if isinstance(settled, DirectCall):
                return await settled.amake(handler)
            return settled if isinstance(settled, ToolMessage) else await handler(settled)

        async def route(tool: BaseTool, call: ToolCall, config: RunnableConfig, state: Any) -> Any:
            return await handler(_redirect(request, tool, call, config, state))

        token = _passing.set(_Passing(offer, route))
        try:
            return await handler(request)
        finally:
            _passing.reset(token)

    def _direct(
        self, request: ToolCallRequest, offer: Offer, handler: object
    ) -> ToolCallRequest | DirectCall | ToolMessage:
        """Return what becomes of a call that the model makes itself: made, settled first, refused."""
        name = request.tool_call["name"]
        if name in offer.hidden:
            told = NOT_DIRECTLY.replace("{NAME}", name).replace("{TOOL_NAME}", self._tool_name)
            return answer_call(request.tool_call, told, "error")
        if (reached := self._limit_reached(request, offer, handler)) is not None:
            told = DIRECT_LIMIT.replace("{NAME}", name).replace("{LIMIT}", reached)
            return answer_call(request.tool_call, told, "error")
        definition = offer.guarded.get(name)
        if definition is None:
            return request
        return DirectCall(
            request=request,
            definition=definition,
            approvals=offer.approvals,
            call_policies=self._call_policies,
            budgets=offer.executor.budgets,
            is_asked_by_agent=self._code_tool.agents.asks_itself(handler),
        )

    def _limit_reached(self, request: ToolCallRequest, offer: Offer, handler: object) -> str | None:
        """Return a limit of the agent that calls of code have used up together with the model's own."""
        name = request.tool_call["name"]
        found = self._code_tool.agents.limits_here(self._tool_name, handler)
        catalog = offer.executor.catalog
        definition = next((d for d in catalog if d.tool_name == name), None)
        if not found or definition is None:
            return None
        for limit in found.call_limits(catalog, request.state):
            is_for_it = limit.tools is None or definition.qualified_name in limit.tools
            if is_for_it and limit.used > limit.most:  # this call is among those that were counted
                return limit.told
        return None

    def _start(self, code: str, **options: Any) -> Execution:
        """Prepare the execution of a call of `run_code` that has come through the middleware."""
        passing = _passing.get()
        return passing.offer.executor.start(code, route=passing.route, **options)

    # --- the offers ---------------------------------------------------------------------------------

    def _offer_now(self, request: ToolCallRequest) -> Offer:
        """Return what holds for a call, among all tools of the agent."""
        self._choice.check(request.runtime.tools)
        return self._offer(request.runtime.tools)

    def _offer(self, tools: Sequence[BaseTool]) -> Offer:
        """Return what there is for the code among the agent's tools, and make it only once."""
        key = tuple(map(id, tools))
        if key not in self._offers:
            if len(self._offers) >= _MOST_OFFERS:
                self._offers.pop(next(iter(self._offers)))
            self._offers[key] = self._make_offer(tools)
        return self._offers[key]

    def _make_offer(self, tools: Sequence[BaseTool]) -> Offer:
        for tool in tools:
            if tool.name == self._tool_name and not isinstance(tool, CodeTool):
                raise ValueError(
                    f"the agent has a tool of its own named {self._tool_name!r}; pass another "
                    "tool_name to ProgrammaticToolCallingMiddleware"
                )
        mine = [tool for tool in tools if self._choice.takes(tool)]
        catalog = self._choice.catalog(mine, self._shapes)
        prompt = self._new_prompt(catalog, self._text(catalog)) if mine else None
        hidden = frozenset(
            tool.name for tool in mine if "direct" not in self._choice.policy(tool).allowed_callers
        )
        guarded = self._choice.guarded(
            (tool for tool in tools if tool.name not in hidden), budgeted=self._has_run_budget
        )
        catalog = catalog if prompt is None else prompt.catalog
        return Offer(
            tools=tuple(tools),
            prompt=prompt,
            executor=self._build_executor(catalog),
            hidden=hidden,
            guarded={definition.tool_name: definition for definition in guarded},
            # A person may edit a call into one of another of these.
            approvals=self._choice.approvals(
                self._choice.catalog([*(d.tool for d in guarded if d.tool not in mine), *mine])
            ),
        )

    def _build_executor(self, catalog: ToolCatalog) -> ProgrammaticToolExecutor:
        budget, run_budget = (budget_of(b, catalog.names) for b in self._budgets)
        return self._new_executor(
            catalog,
            interrupt_on=self._choice.approved(catalog, of_code=True),
            budget=budget,
            run_budget=run_budget,
        )

    def _text(self, catalog: ToolCatalog) -> str:
        shown = render_examples(resolve_examples(self._examples, catalog))
        text = MIDDLEWARE_SYSTEM.replace("{TOOL_NAME}", self._tool_name)
        return "\n\n".join(filter(None, [text, shown, self._budget_text]))


@dataclass
class _InnerRequest(ToolCallRequest):
    """The request for a call of the code; stays one whatever a middleware puts in place of what."""

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
    """Add our text at the end: what the provider has cached of the beginning stays as it is."""
    if message is None:
        return SystemMessage(text)
    content: Any = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": f"{content}\n\n{text}"})
    return message.model_copy(update={"content": [*content, {"type": "text", "text": text}]})
