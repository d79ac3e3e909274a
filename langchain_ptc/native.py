"""Programmatic calling by the provider's own sandbox, from the same tools, names and policies.

Anthropic's models can write code that runs in a container of Anthropic's. Each tool call of that code
arrives as an ordinary tool call of the model, so an agent runs it like any other. This module builds what
the provider needs for it: which tools the code may call, what they return, and the container's tool. It
makes no requests and imports no integration package.

For every other provider use `as_programmatic`, which works with any model.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_ptc.agent.direct_calls import answer_call
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import Caller, ToolDefinition, ToolPolicy
from langchain_ptc.catalog.stubs import group, render_type
from langchain_ptc.catalog.types import ANY, STR, reachable
from langchain_ptc.errors import check_choice, count
from langchain_ptc.middleware import ProgrammaticToolCallingMiddleware
from langchain_ptc.run.approvals import InterruptMode, InterruptOn
from langchain_ptc.run.dispatch import own_arun, own_run, takes_taken_names
from langchain_ptc.run.graph_state import messages_of
from langchain_ptc.run.plain import render_plain
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import encode_value
from langchain_ptc.tool import Tools, build_catalog

CodeExecution: TypeAlias = Literal[
    "code_execution_20250825", "code_execution_20260120", "code_execution_20260521"
]
"""Versions of Anthropic's container that may call tools."""
_INSTEAD = "use as_programmatic(tools), which runs the code in the local sandbox and works with every model"

RETURNS = "Returns JSON of the type `{TYPE}`."
RETURNS_TEXT = "Returns text."
NOT_BY_CALLER = "`{NAME}` may be called by {ALLOWED} only. It was not called."
CALLERS: Mapping[Caller, str] = {"code": "code", "direct": "a direct call"}

_enforced_tool: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "ptc_native_enforced_tool", default=None
)
"""Name of the tool whose policy has been enforced for the call that is in flight."""


def native_tools(
    tools: Tools,
    *,
    provider: str = "anthropic",
    code_execution: CodeExecution = "code_execution_20260120",
    domain: str | None = None,
    policies: Mapping[str, ToolPolicy] | None = None,
) -> list[BaseTool | dict[str, Any]]:
    """Return tools for the provider's own sandbox.

    The list goes into `create_agent` or `model.bind_tools`. The tools are copies, under the names that
    code calls them by; the provider's code gets their results as JSON, whose type is in their
    descriptions. `ToolPolicy.allowed_callers` becomes the provider's field. Other policies
    (`requires_approval`, `max_calls`) need `native_middleware` in the agent: without it, such a tool
    refuses to run.

    Args:
        tools: Tools, tools by domain, or a catalog.
        provider: `anthropic`, the only one that its integration package supports completely.
        code_execution: Version of the container; see Anthropic's documentation of the model.
        domain: Domain of a flat list of tools.
        policies: Policies of single tools, by the name that the code uses.

    Returns:
        The container's tool, if any tool may be called from code, and the tools.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: The provider has no such sandbox, or its integration package does not support it
            completely; or an option is invalid.
    """
    check_provider(provider)
    check_choice("code_execution", code_execution, CodeExecution)
    catalog = build_catalog(tools, domain=domain, policies=policies)
    literals: dict[Caller, str] = {"code": code_execution, "direct": "direct"}
    copies = [_copy(d, name, literals) for name, d in native_names(catalog).items()]
    if not any("code" in definition.policy.allowed_callers for definition in catalog):
        return [*copies]
    return [{"type": code_execution, "name": "code_execution"}, *copies]


def native_middleware(
    tools: Tools,
    *,
    domain: str | None = None,
    policies: Mapping[str, ToolPolicy] | None = None,
    interrupt_on: InterruptOn | None = None,
    interrupt_mode: InterruptMode = "batched",
) -> AgentMiddleware[Any, Any, Any]:
    """Return the middleware that enforces the policies of `native_tools` in an agent.

    It refuses calls by a caller that the policy does not allow, asks a person for required approvals,
    and counts calls. Calls of the provider's code count as calls of the model: `max_calls` applies to
    one message of the user.

    Args:
        tools: The tools that `native_tools` was given.
        domain: As for `native_tools`.
        policies: As for `native_tools`.
        interrupt_on: Which other calls a person must approve, by tool; as in `as_programmatic`.
        interrupt_mode: As in `as_programmatic`.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: An option is invalid.
    """
    catalog = build_catalog(tools, domain=domain, policies=policies)
    return NativeToolCallingMiddleware(
        catalog, interrupt_on=interrupt_on, interrupt_mode=interrupt_mode
    )


def check_provider(provider: str) -> None:
    """Raise `ValueError`, which says what to use instead, if a provider's own sandbox is not supported."""
    if provider == "openai":
        raise ValueError(
            "provider='openai': langchain-openai does not support OpenAI's programmatic tool calling "
            "completely: bind_tools refuses the tool 'programmatic_tool_calling', and the "
            "'program' item, whose fingerprint must be sent back, is lost between two requests; "
            f"{_INSTEAD}"
        )
    if provider != "anthropic":
        raise ValueError(
            f"provider={provider!r} has no sandbox whose code calls tools of yours through LangChain; "
            f"{_INSTEAD}"
        )


def native_names(catalog: ToolCatalog) -> dict[str, ToolDefinition]:
    """Return the tools by the names that the provider's code calls them by.

    They are the names that our own code uses; a name that is in several domains gets its domain.
    """
    counts = Counter(definition.name for definition in catalog)
    return {
        d.name if counts[d.name] == 1 else d.qualified_name.replace(".", "_"): d for d in catalog
    }


# --- the tools ------------------------------------------------------------------------------------


def _copy(definition: ToolDefinition, name: str, literals: Mapping[Caller, str]) -> BaseTool:
    tool, policy = definition.tool, definition.policy
    callers = [literals[caller] for caller in policy.allowed_callers]
    described = _describe(definition) if "code" in policy.allowed_callers else ""
    copy = tool.model_copy(
        update={
            "name": name,
            "description": "\n\n".join(filter(None, [tool.description, described])),
            "extras": {**(tool.extras or {}), "allowed_callers": callers},
            # The code sees the failure of a tool as its result, and may continue.
            "handle_tool_error": tool.handle_tool_error or True,
        }
    )
    # The copy is what the provider sees; what runs is the tool that was passed.
    frees = takes_taken_names(tool, [p.tool_name for p in definition.parameters])
    run, arun = own_run(tool, frees_names=frees), own_arun(tool, frees_names=frees)
    is_pair = tool.response_format == "content_and_artifact"

    @functools.wraps(run)
    def plain_run(*args: Any, **kwargs: Any) -> Any:
        _check_enforced(name, policy)
        return _as_text(run(*args, **kwargs), is_pair=is_pair)

    @functools.wraps(arun)
    async def plain_arun(*args: Any, **kwargs: Any) -> Any:
        _check_enforced(name, policy)
        try:
            async with asyncio.timeout(policy.timeout_seconds):
                value = await arun(*args, **kwargs)
        except TimeoutError:
            if policy.timeout_seconds is None:
                raise
            raise ToolException(
                f"{name} did not answer within {count(policy.timeout_seconds, 'second')}; it may still take "
                "effect"
            ) from None
        return _as_text(value, is_pair=is_pair)

    # As in `run/dispatch.py`: the class of the tool stays the same.
    object.__setattr__(copy, "_run", plain_run)
    object.__setattr__(copy, "_arun", plain_arun)
    return copy


def _describe(definition: ToolDefinition) -> str:
    """Return a description of the result, for a provider that has no field for it."""
    if definition.returns == ANY:
        return ""
    if definition.returns == STR:
        return RETURNS_TEXT
    [stubs] = group([definition])
    names = stubs.names[definition.name]
    shown = {names[r.key] for r in reachable([definition.returns], definition.records)}
    blocks = [
        block
        for name, block in zip(stubs.records, stubs.render_records(), strict=True)
        if name in shown
    ]
    returned = RETURNS.replace("{TYPE}", render_type(definition.returns, names))
    return "\n\n".join([returned, *blocks])


def _as_text(value: Any, *, is_pair: bool) -> Any:
    """Return a value as the JSON that its description announces; messages and commands unchanged."""
    if is_pair:
        content, artifact = value
        return _as_text(content, is_pair=False), artifact
    if isinstance(value, ToolMessage | Command | str):
        return value
    return render_plain(decode_value(encode_value(value)))


def _check_enforced(name: str, policy: ToolPolicy) -> None:
    """Raise `RuntimeError`, an error of the developer, if a tool's policy needs to be enforced and was not."""
    if (policy.requires_approval or policy.max_calls is not None) and _enforced_tool.get() != name:
        raise RuntimeError(
            f"{name} was not called: its policy must be enforced; pass "
            "create_agent(..., middleware=[native_middleware(tools, ...)])"
        )


# --- the middleware -------------------------------------------------------------------------------


class NativeToolCallingMiddleware(ProgrammaticToolCallingMiddleware):
    """Enforces the policies of tools that the provider's code calls; made by `native_middleware`."""

    def __init__(
        self,
        catalog: ToolCatalog,
        *,
        interrupt_on: InterruptOn | None,
        interrupt_mode: InterruptMode,
    ) -> None:
        self._policies = {name: d.policy for name, d in native_names(catalog).items()}
        super().__init__(
            tools=[],
            policies=self._policies,
            interrupt_on=interrupt_on,
            interrupt_mode=interrupt_mode,
            tool_name="run_code_unused",
        )
        self.tools = []

    @property
    def name(self) -> str:
        """The name of this middleware in its agent."""
        return type(self).__name__

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Enforce the policy of the tool, and pass the call on."""

        def enforced(passed: ToolCallRequest) -> ToolMessage | Command[Any]:
            with _enforced(passed):
                return handler(passed)

        return self._refuse(request) or super().wrap_tool_call(request, enforced)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Enforce the policy of the tool, and pass the call on."""

        async def enforced(passed: ToolCallRequest) -> ToolMessage | Command[Any]:
            with _enforced(passed):
                return await handler(passed)

        return self._refuse(request) or await super().awrap_tool_call(request, enforced)

    def _refuse(self, request: ToolCallRequest) -> ToolMessage | None:
        call = request.tool_call
        policy = self._policies.get(call["name"])
        caller = caller_of(request)
        if policy is None or caller in policy.allowed_callers:
            return None
        allowed = " or ".join(CALLERS[c] for c in policy.allowed_callers)
        answer = NOT_BY_CALLER.replace("{NAME}", call["name"]).replace("{ALLOWED}", allowed)
        return answer_call(call, answer, "error")


@contextlib.contextmanager
def _enforced(request: ToolCallRequest) -> Iterator[None]:
    token = _enforced_tool.set(request.tool_call["name"])
    try:
        yield
    finally:
        _enforced_tool.reset(token)


def caller_of(request: ToolCallRequest) -> Caller:
    """Return who makes a tool call: the provider's code, or the model itself."""
    for message in reversed(messages_of(request.state)):
        blocks = message.content if isinstance(message, AIMessage) else ()
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("id") == request.tool_call["id"]:
                caller = block.get("caller")
                kind = caller.get("type", "") if isinstance(caller, dict) else ""
                return "code" if kind.startswith("code_execution") else "direct"
    return "direct"
