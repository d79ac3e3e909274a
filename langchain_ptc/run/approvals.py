"""Calls that a person approves before they are made.

Questions, answers and options are those of LangChain's `HumanInTheLoopMiddleware`, so that whatever
shows its questions shows ours. Each question also has the line of code that makes the call. LangGraph
refuses an answer that does not fit, and the question stays.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeAlias, Union, get_args

from langchain_core.messages import ToolCall
from langgraph.config import get_config
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolRuntime
from langgraph.runtime import get_runtime
from langgraph.types import interrupt
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, create_model

from langchain_ptc.errors import ToolCallError, check_choice, did_you_mean
from langchain_ptc.run.arguments import validate_arguments
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.plain import as_plain
from langchain_ptc.sandbox.wire.values import encode_value

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition

DecisionType: TypeAlias = Literal["approve", "edit", "reject", "respond"]
Decision: TypeAlias = Mapping[str, Any]
"""One answer: `{"type": "approve"}`, `{"type": "edit", "edited_action": {"name": …, "args": {…}}}`,
`{"type": "reject", "message": …}` or `{"type": "respond", "message": …}`."""
InterruptMode: TypeAlias = Literal["batched", "per_call"]
"""`batched`: one question for all concurrent calls of the code; `per_call`: one each."""


class ApprovalMiddleware(Protocol):
    """The part of LangChain's `HumanInTheLoopMiddleware` that is read here."""

    interrupt_mode: Any

    @property
    def interrupt_on(self) -> Mapping[str, Any]:
        """Which tools it applies to, and how."""

    @property
    def description_prefix(self) -> str:
        """The text before the call in a question."""


InterruptOn: TypeAlias = Mapping[str, bool | Mapping[str, Any]] | ApprovalMiddleware
"""By tool: True for approve, edit, reject and respond, False for no approval, or a mapping as
LangChain's `InterruptOnConfig`: `allowed_decisions`, `description` (text, or a function of the tool
call, the state and the runtime), `when` (a predicate of the `ToolCallRequest`). Or the agent's own
`HumanInTheLoopMiddleware`: what it says about the code's tools applies, in its mode."""

_ALL: tuple[DecisionType, ...] = get_args(DecisionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """How the calls of one tool are approved."""

    allowed: tuple[DecisionType, ...] = _ALL
    description: str | Callable[..., str] | None = None
    when: Callable[[ToolCallRequest], bool] | None = None
    mode: InterruptMode = "batched"
    is_of_agent: bool = False  # the agent's own middleware asks for it

    def joined(self, other: ApprovalRule) -> ApprovalRule:
        """Return the rule where two ask: either of them is enough, and the first is shown."""
        first, second = self.when, other.when
        if first is None or second is None:
            return self if first is None else other
        return replace(self, when=lambda request: first(request) or second(request))


class Approvals:
    """Which calls of one catalog a person must approve.

    Those of tools whose policy has `requires_approval`, unless `interrupt_on` has another rule for the tool.

    Raises:
        ValueError: `interrupt_on` names an unknown tool, or is not valid.
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
    ) -> None:
        check_choice("interrupt_mode", interrupt_mode, InterruptMode)
        self._catalog = catalog
        every = ApprovalRule(mode=interrupt_mode)
        self.rules = {d.qualified_name: every for d in catalog if d.policy.requires_approval}
        """The rule for each tool whose calls need approval, by its qualified name."""
        self._decided = set(self.rules)
        for name, given in rules_of(interrupt_on).items():
            if isinstance(given, ApprovalRule):
                self._put(name, given)
                continue
            definition = catalog.get(name)
            if definition is None:
                meant = did_you_mean(catalog.suggest(name))
                raise ValueError(f"interrupt_on has {name!r}, which names no single tool{meant}")
            rule = _read_rule(name, given, interrupt_mode)
            self._decided.add(definition.qualified_name)
            if rule is None:
                self.rules.pop(definition.qualified_name, None)
            else:
                self.rules[definition.qualified_name] = rule

    def _put(self, name: str, rule: ApprovalRule) -> None:
        """Add a rule for the tools of a name, unless the developer has decided for them."""
        for definition in self._catalog:
            qualified = definition.qualified_name
            if name in (definition.tool_name, qualified) and qualified not in self._decided:
                before = self.rules.get(qualified)
                self.rules[qualified] = rule if before is None else before.joined(rule)

    def joined(self, middleware: Sequence[ApprovalMiddleware]) -> Approvals:
        """Return these approvals with those of an agent's middleware; what the developer said here takes precedence."""
        both = copy.copy(self)
        both.rules = dict(self.rules)
        both._decided = self._decided | set(self.rules)
        for one in middleware:
            for name, rule in rules_of(one).items():
                both._put(name, rule)
        return both

    def __bool__(self) -> bool:
        return bool(self.rules)

    def batches(
        self, gated: Sequence[tuple[StartedCall, ApprovalRule]]
    ) -> Iterator[Sequence[tuple[StartedCall, ApprovalRule]]]:
        """Divide concurrent calls of the code into questions."""
        batched = [one for one in gated if one[1].mode == "batched"]
        if batched:
            yield batched
        for one in gated:
            if one[1].mode == "per_call":
                yield [one]

    def applies(self, rule: ApprovalRule, call: StartedCall, state: Any) -> bool:
        """Ask the developer's predicate, inside a graph."""
        assert rule.when is not None
        return bool(rule.when(_request_of(call, rule, state)))

    def ask(self, batch: Sequence[tuple[StartedCall, ApprovalRule]], state: Any) -> list[Decision]:
        """Ask a person, by an interrupt of the graph; in a scope of the journal.

        Returns:
            A decision for each call, in order, with who made it under `by`.

        Raises:
            GraphInterrupt: There is no answer yet.
            ValidationError: The answer does not fit; the question stays.
        """
        mode = batch[0][1].mode
        shown = [_show(call, rule, state) for call, rule in batch]
        find = self.find if mode == "batched" else None
        checks = [_decision_type(call.definition, rule, find) for call, rule in batch]
        if mode == "per_call":
            question = {"type": "tool_approval", "tool_call_id": batch[0][0].call_id, **shown[0]}
            answer: Any = interrupt(question, response_schema=checks[0])
            return [{**_as_dict(answer), "by": who_answers()}]
        configs = {_name_of(call, rule): list(rule.allowed) for call, rule in batch}
        question = {
            "action_requests": shown,
            "review_configs": [
                {"action_name": name, "allowed_decisions": allowed}
                for name, allowed in configs.items()
            ],
        }
        answer = interrupt(question, response_schema=_batch_type(checks))
        by = who_answers()
        return [{**_as_dict(decision), "by": by} for decision in _as_dict(answer)["decisions"]]

    def apply(self, call: StartedCall, decision: Decision) -> CallOutcome | None:
        """Apply a decision; return the outcome of a call that is not made. `ToolCallError`: an edit fits no longer."""
        call.approval, call.approved_by = decision["type"], decision["by"]
        name = call.tool
        if decision["type"] == "reject":
            reason = decision.get("message")
            rest = f": {reason}" if reason else "; do not try it again unless the user asks for it"
            call.status = "denied"
            return call.refuse(ToolCallError(f"a person rejected {name}(){rest}", tool=name))
        if decision["type"] == "respond":
            call.end("returned")
            return CallOutcome(payload=encode_value(decision["message"]))
        if decision["type"] == "edit":
            action = decision["edited_action"]
            definition = self.find(action["name"]) or call.definition
            call.settle(definition, definition.bind((), action["args"]))
        return None

    def find(self, name: str) -> ToolDefinition | None:
        """Return the tool that a person names: by its name in the code, or by its own."""
        found = self._catalog.get(name)
        if found is not None and found in self._catalog:
            return found
        return next((d for d in self._catalog if d.tool_name == name), None)


def rules_of(interrupt_on: InterruptOn | None) -> Mapping[str, Any]:
    """Return the rule for each tool, those of the agent's own middleware as `ApprovalRule`s; raises `ValueError`."""
    if interrupt_on is None or isinstance(interrupt_on, Mapping):
        return interrupt_on or {}
    said = getattr(interrupt_on, "interrupt_on", None)
    if not isinstance(said, Mapping):
        raise ValueError(  # noqa: TRY004  # a wrong value of an option
            "interrupt_on must be a mapping from tool names to rules, or a "
            f"HumanInTheLoopMiddleware, got {type(interrupt_on).__name__}"
        )
    heading = interrupt_on.description_prefix
    rules = {}
    for name, config in said.items():
        rule = _read_rule(name, config, interrupt_on.interrupt_mode)
        if rule is not None:
            rules[name] = replace(rule, description=rule.description or heading, is_of_agent=True)
    return rules


def _read_rule(name: str, given: object, mode: InterruptMode) -> ApprovalRule | None:
    if isinstance(given, bool):
        return ApprovalRule(mode=mode) if given else None
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004  # a wrong value of an option
            f"interrupt_on[{name!r}] must be True, False or a mapping, got {type(given).__name__}"
        )
    unknown = set(given) - {"allowed_decisions", "description", "when", "args_schema"}
    if unknown:
        raise ValueError(
            f"interrupt_on[{name!r}] has {min(unknown)!r}; it takes allowed_decisions, "
            "description and when"
        )
    allowed = tuple(dict.fromkeys(given.get("allowed_decisions", _ALL)))
    if not allowed or not set(allowed) <= set(_ALL):
        raise ValueError(
            f"interrupt_on[{name!r}]['allowed_decisions'] must be some of {', '.join(_ALL)}, got "
            f"{given['allowed_decisions']!r}"
        )
    when = given.get("when")
    if when is not None and not callable(when):
        raise ValueError(f"interrupt_on[{name!r}]['when'] must be a function, got {when!r}")
    return ApprovalRule(allowed=allowed, description=given.get("description"), when=when, mode=mode)


# --- the question -----------------------------------------------------------------------------------


def _name_of(call: StartedCall, rule: ApprovalRule) -> str:
    """Return the name of the tool for a person and for a predicate.

    What was written for an agent knows its tools by their own names, without domains.
    """
    definition = call.definition
    return definition.tool_name if rule.is_of_agent else definition.qualified_name


def _tool_call(call: StartedCall, rule: ApprovalRule) -> ToolCall:
    return ToolCall(
        name=_name_of(call, rule),
        args=dict(call.arguments or {}),
        id=call.call_id,
        type="tool_call",
    )


def _runtime_of(call: StartedCall, state: Any) -> ToolRuntime[Any, Any]:
    runtime = get_runtime()
    return ToolRuntime(
        state=state,
        tool_call_id=call.call_id,
        config=get_config(),
        context=runtime.context,
        store=runtime.store,
        stream_writer=runtime.stream_writer,
        execution_info=runtime.execution_info,
        server_info=runtime.server_info,
    )


def _request_of(call: StartedCall, rule: ApprovalRule, state: Any) -> ToolCallRequest:
    return ToolCallRequest(
        tool_call=_tool_call(call, rule),
        tool=call.definition.tool,
        state=state,
        runtime=_runtime_of(call, state),
    )


def _show(call: StartedCall, rule: ApprovalRule, state: Any) -> dict[str, Any]:
    """Return what a person reads of one call, in terms of JSON."""
    arguments = as_plain(call.arguments or {})
    name = _name_of(call, rule)
    if callable(rule.description):
        description = rule.description(_tool_call(call, rule), state, _runtime_of(call, state))
    else:
        heading = rule.description or "The code of the agent wants to call a tool"
        text = json.dumps(arguments, indent=2, ensure_ascii=False)
        description = f"{heading}\n\nTool: {name}\nArguments: {text}"
        if call.source_line:
            description += f"\nCode, line {call.line}: {call.source_line}"
    return {
        "name": name,
        "args": arguments,
        "description": description,
        "line": call.line,
        "source_line": call.source_line,
    }


# --- the answer -------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ApproveDecision(_Strict):
    """The call is made as it is."""

    type: Literal["approve"]


class RejectDecision(_Strict):
    """The call is not made; the code gets an error with the reason."""

    type: Literal["reject"]
    message: str | None = None


class RespondDecision(_Strict):
    """The call is not made; the code gets the answer in place of a result."""

    type: Literal["respond"]
    message: str


_Find: TypeAlias = "Callable[[str], ToolDefinition | None]"


def _edit_type(definition: ToolDefinition, find: _Find | None) -> type[BaseModel]:
    """Return the type of an edit of a call: its arguments must be those that the tool takes.

    `find` finds another tool by its name; None if the tool must stay. LangChain's middleware allows another one
    where it asks one question for many calls, and not where it asks one each.
    """
    own = definition.qualified_name

    def check(action: BaseModel) -> BaseModel:
        edited: Any = action
        chosen = definition if edited.name in (own, definition.tool_name) else None
        if chosen is None and find is not None:
            chosen = find(edited.name)
        if chosen is None:
            raise ValueError(f"the code has no tool {edited.name!r} to call instead of {own!r}")
        try:
            validate_arguments(chosen.tool, chosen.bind((), edited.args))
        except ToolCallError as error:
            raise ValueError(str(error)) from error
        return action

    names: Any = Literal[own, definition.tool_name] if find is None else str
    fields: dict[str, Any] = {"name": (names, ...), "args": (dict[str, Any], ...)}
    action: Any = create_model("EditedAction", __base__=_Strict, **fields)
    checked = Annotated[action, AfterValidator(check)]
    fields = {"type": (Literal["edit"], ...), "edited_action": (checked, ...)}
    return create_model("EditDecision", __base__=_Strict, **fields)


def _decision_type(definition: ToolDefinition, rule: ApprovalRule, find: _Find | None) -> Any:
    types: dict[str, type[BaseModel]] = {
        "approve": ApproveDecision,
        "reject": RejectDecision,
        "respond": RespondDecision,
    }
    if "edit" in rule.allowed:
        types["edit"] = _edit_type(definition, find)
    members = tuple(types[name] for name in rule.allowed)
    if len(members) == 1:
        return members[0]
    return Annotated[Union[members], Discriminator("type")]  # noqa: UP007  # of a tuple


def _batch_type(checks: Sequence[Any]) -> type[BaseModel]:
    """Return the type of the answer to many calls: one decision each, in order."""
    decisions: Any = tuple.__class_getitem__(tuple(checks))
    return create_model("HITLResponse", __base__=_Strict, decisions=(decisions, ...))


def _as_dict(answer: Any) -> dict[str, Any]:
    return answer.model_dump() if isinstance(answer, BaseModel) else dict(answer)


def who_answers() -> str | None:
    """Return the user in whose name the graph runs now: while it is resumed, the one who resumes it.

    A server's authenticated user goes first; then `configurable["user_id"]`, which is as trustworthy
    as the application that resumes the graph. None if neither is given.

    Raises:
        RuntimeError: Called outside a graph.
    """
    configurable: Mapping[str, Any] = get_config().get("configurable") or {}
    server = get_runtime().server_info
    user = configurable.get("langgraph_auth_user")
    names = (
        getattr(None if server is None else server.user, "identity", None),
        configurable.get("langgraph_auth_user_id"),
        user.get("identity") if isinstance(user, Mapping) else None,
        configurable.get("user_id"),
    )
    return next((str(name) for name in names if name is not None and name != ""), None)
