"""`as_programmatic(tools)`: the tools behind one `run_code` tool."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.callbacks import (
    AsyncCallbackManagerForToolRun,
    BaseCallbackHandler,
    CallbackManagerForToolRun,
)
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, InjectedToolArg
from langgraph.types import Command
from pydantic import BaseModel, Field, PrivateAttr

from langchain_ptc.agent.answers import (
    Session,
    SessionStore,
    asks_model_again,
    compose,
    join,
    note_empty,
    takes_no_lists,
)
from langchain_ptc.agent.guards import AgentGuards, Agents, AppliedGuards
from langchain_ptc.agent.watching import PrefetchHandler, Put, WrittenCode
from langchain_ptc.background_loop import call_off_loop, run_sync
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.catalog.examples import Examples, render_examples, resolve_examples
from langchain_ptc.errors import check_choice, count
from langchain_ptc.executor import Check, Durable, Execution, ProgrammaticToolExecutor
from langchain_ptc.prompts import (
    AGENT_FILES,
    BUDGET,
    CODE_ARGUMENT,
    DEFAULT_PROMPT_TOKENS,
    FILES,
    NO_FILES,
    RUN_CODE_DESCRIPTION,
    SHOW,
    CountTokens,
    ToolsPrompt,
)
from langchain_ptc.replies import Protocol, unwrap_program
from langchain_ptc.run.approvals import ApprovalMiddleware, InterruptMode, InterruptOn
from langchain_ptc.run.budgets import Budget, Usage
from langchain_ptc.run.call_policy import CallPolicies
from langchain_ptc.run.driver import Outcome
from langchain_ptc.run.events import OnEvent
from langchain_ptc.run.graph_state import Channels, nodes_of, read_state
from langchain_ptc.run.inputs import AgentFiles, Inputs, InputVariables, at_once
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.plain import OnToolError, Redact
from langchain_ptc.run.prefetcher import Prefetch, Prefetcher
from langchain_ptc.run.record import ExecutionResult, large_parts
from langchain_ptc.sandbox.api import Limits, Sandbox

Tools = ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]]
"""What can be offered to code: a catalog, tools, or tools by domain."""


@dataclass(eq=False, repr=False)
class _Invocation:
    """One invocation of the tool: what `BaseTool` does not pass to its `_run`, or back from it."""

    call_id: str | None
    guards: AppliedGuards
    attempt: Attempt | None
    _sessions: SessionStore | None
    _ends_agent: bool
    session: bytes | None = None
    """The variables that the code starts with; None if it belongs to no session."""
    is_joined = False  # whether the answer must be one message or command, and not a list of them
    _state: Any = None
    _commands: Sequence[Command[Any]] = ()
    _is_error = False

    async def load_session(self, state: Any, *, sync: bool) -> None:
        """Load the variables that the code starts with."""
        self._state = state
        if self._sessions is None:
            return
        if self.attempt is not None and self.attempt.session is not None:
            self.session = self.attempt.session
        else:
            self.session = await self._sessions.load(state, ensure_config(), sync=sync)

    def finish(self, outcome: Outcome) -> ExecutionResult:
        """Save the variables and the commands, and return the result to build the message from."""
        result, self._commands = outcome.result, outcome.commands
        if self._sessions is not None:
            result, commands = self._sessions.save(outcome)
            result = result if self.session else note_empty(result)
            if outcome.kept is not None and self.attempt is None:
                # As pairs: in a dict, `ToolNode` takes the previous message for a second answer to
                # this call where both calls have the same id.
                pairs = tuple(self._sessions.remove_previous(self._state).items())
                commands = [*commands, *([Command(update=pairs)] if pairs else [])]
            self._commands = [*self._commands, *commands]
        if self._ends_agent and not outcome.result.is_answer:
            command = asks_model_again(nodes_of(ensure_config()))
            self._commands = [*self._commands, *([command] if command else [])]
        self._is_error = result.error is not None
        return result

    def answer(self, message: Any) -> Any:
        """Set the status of the message, and add the commands that the tools returned."""
        if isinstance(message, ToolMessage) and self._is_error:
            message.status = "error"
        if not self._commands:
            return message
        if not isinstance(message, ToolMessage):
            return [message, *self._commands]
        parts = compose(message, self._commands, self._state)
        if self.attempt is not None and message not in parts:
            parts.insert(0, message)  # the node puts its messages into the state itself
        if len(parts) == 1:
            return parts[0]
        return join(parts) if self.is_joined else parts


_Content: TypeAlias = str | list[dict[str, Any]]


def _content_and_artifact(
    result: ExecutionResult, outcome: Outcome, *, multimodal: bool
) -> tuple[_Content, dict[str, Any]]:
    plain = outcome.plain if result is outcome.result else None
    artifact = result.to_dict() if plain is None else plain
    if not (multimodal and result.shown):
        return result.report(), artifact
    shown = [{**one, "data": None} for one in artifact["shown"]]  # it is in the content
    return result.content_blocks(), {**artifact, "shown": shown}


def _add_notes(outcome: Outcome, notes: Sequence[str]) -> Outcome:
    if not notes:
        return outcome
    result = replace(outcome.result, notes=(*outcome.result.notes, *notes))
    return replace(outcome, result=result, plain=None)


_invocation: contextvars.ContextVar[_Invocation] = contextvars.ContextVar("ptc_invocation")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One of several programs that a model writes for one request; only the last enters the state."""

    session: bytes | None  # the variables of the previous attempt, which are in no state
    spent: Usage  # what the previous attempts have spent, which is in no state either
    channels: Channels  # what holds the state of the node's graph
    prefetcher: Prefetcher | None  # what was begun while the model wrote the program


current_attempt: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar(
    "ptc_attempt", default=None
)


def as_programmatic(
    tools: Tools,
    *,
    domain: str | None = None,
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
    log: ExecutionLog | None = None,
    redact: Redact = "secrets",
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    on_tool_error: OnToolError = "message",
    call_policies: CallPolicies | None = None,
    agent_guards: AgentGuards = "apply",
    return_direct: bool = False,
    multimodal: bool = False,
    tool_name: str = "run_code",
) -> list[BaseTool]:
    """Put tools behind one tool that runs code.

    The list goes wherever the tools went: `create_agent`, `create_react_agent`, `ToolNode`,
    `model.bind_tools`, a deep agent.

    Args:
        tools: The tools that the code may call; a mapping gives each group a domain.
        domain: Domain of a flat list of tools, so that code writes `from tools.<domain> import …`.
        policies: Policies of single tools, by the name that the code uses.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox`.
        imports: Modules that the code may import in addition to the standard ones, in the default
            sandbox.
        files: Whether the code has a folder of its own for files, in memory, in the default sandbox: True
            for one of 64 MiB, or its size in bytes. Needs Linux and level `kernel`. See
            `docs/files.md`.
        agent_files: Share files with the file system of a deep agent.
        inputs: Values that the code finds in variables, by name: `{"orders": frame}`. The model sees the type,
            the size and the beginning of each; the data goes to the code alone, as results of tools do. Or
            keys of the graph's state, of which the description has the names only.
        examples: Programs that the model is shown: none, pairs of a question and its code, or `auto`
            for pairs that are generated from the tools. Small models need them.
        prompt_tokens: Token budget of the description. If the tools need more, it shows one line for
            each, only their names, or only how to search them. None shows everything.
        count_tokens: Counts tokens; by default four characters are one token.
        interrupt_on: Which calls a person must approve, by tool: True, or the settings of LangChain's
            `InterruptOnConfig`; or a `HumanInTheLoopMiddleware`. Needs a graph with a checkpointer:
            without one such calls are refused.
        interrupt_mode: `batched` asks about all calls that the code makes concurrently in one
            question; `per_call` asks about each separately.
        durable: `auto` keeps a journal wherever the graph has a checkpointer, so that nothing
            happens twice when the graph is interrupted and resumed; `always` refuses to run without
            one; `never` keeps none.
        prefetch: Whether calls of tools that are `read_only` begin before the code makes them: `calls`
            begins, while the code runs, those that depend on nothing that it waits for; `stream` also
            those that can be seen while the model still writes the code (give the agent what
            `prefetch_handler` returns); `off` begins none.
        session: `thread` keeps the variables of the code from one execution to the next, in the
            state of the graph; `none` starts each execution without any.
        on_event: Called with each event as it happens.
        check: What the code is checked against before any of it runs: `static` finds calls that
            cannot work, `types` also runs a type checker (needs the extra `typecheck`), `off` checks
            nothing.
        log: Stores the record of each execution.
        redact: What to hide of the arguments of calls in records, events and reports: `secrets` hides
            fields that are named like secrets, `none` hides nothing; or a function of the tool's name
            and the arguments that returns what to show. The tools get the arguments unchanged.
        budget: What each execution may spend.
        run_budget: What a whole run of the graph may spend: everything since the user's last message.
        on_tool_error: What the code sees when a tool raises: the exception's class and text
            (`message`), only its class (`type`), or only that the tool failed (`hide`).
        call_policies: The state of breakers, rate limits and cached results, to share it with others
            over the same tools; with a store, also with other processes.
        agent_guards: Whether a `HumanInTheLoopMiddleware` and a `ToolCallLimitMiddleware` of the agent
            that the tool is given to also apply to the calls of the code (`apply`), or not (`ignore`).
        return_direct: Whether what a program printed is the answer of the agent, without asking the
            model again. A program that failed, printed nothing or too much, or that has notes for the
            model, goes back to it. For agents of `create_agent` and `create_react_agent`.
        multimodal: Whether the model takes pictures in the messages of tools: then the message has what the
            code shows as content blocks of LangChain, and the description says how to show something.
            Otherwise the message has a line of text for each, and the pictures are in its artifact
            alone. See `docs/pictures.md`.
        tool_name: Name of the one tool.

    Returns:
        A list of one `BaseTool`. The content of its message is what the code printed; the artifact is
        the record of the execution as plain JSON data, for `ExecutionResult.from_dict`.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: An option is invalid, or options exclude each other.
        SandboxError: `files` on a system other than Linux.
    """
    check_choice("session", session, Session)
    given = InputVariables(inputs)
    catalog = build_catalog(tools, domain=domain, policies=policies)
    parts = [
        fill_facts(
            RUN_CODE_DESCRIPTION,
            imports,
            limits,
            render_files(sandbox, files, agent_files),
            multimodal,
        ),
        render_examples(resolve_examples(examples, catalog)),
        BUDGET if budget or run_budget else "",
        given.render(None),
    ]
    prompt = ToolsPrompt(
        catalog,
        "\n\n".join(filter(None, parts)),
        prompt_tokens=prompt_tokens,
        count_tokens=count_tokens,
    )
    executor = ProgrammaticToolExecutor(
        prompt.catalog,
        limits=limits,
        sandbox=sandbox,
        imports=imports,
        files=files,
        interrupt_on=interrupt_on,
        interrupt_mode=interrupt_mode,
        durable=durable,
        prefetch=prefetch,
        on_event=on_event,
        check=check,
        log=log,
        redact=redact,
        budget=budget,
        run_budget=run_budget,
        on_tool_error=on_tool_error,
        call_policies=call_policies,
    )
    tool = RunCodeTool(
        name=tool_name,
        prompt=prompt,
        executor=executor,
        sessions=None if session == "none" else SessionStore(tool_name),
        agent_guards=agent_guards,
        return_direct=return_direct,
        multimodal=multimodal,
        extras=provider_options(prefetch),
    )
    tool.give(given, agent_files, executor.sandbox.files_bytes)
    return [tool]


def build_catalog(
    tools: Tools, *, domain: str | None, policies: Mapping[str, ToolPolicy] | None
) -> ToolCatalog:
    """Wrap tools in a catalog, or return the catalog that was given.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: `domain` or `policies` with a catalog, or `domain` with domains.
    """
    if isinstance(tools, ToolCatalog):
        if domain is not None or policies is not None:
            raise ValueError("pass domain and policies to the ToolCatalog itself")
        return tools
    if domain is not None:
        if isinstance(tools, Mapping):
            raise ValueError(
                f"domain={domain!r} was passed with tools that are already given by domain"
            )
        tools = {domain: tools}
    return ToolCatalog(tools, policies=policies)


def render_files(
    sandbox: Sandbox | None, files: bool | int, agent_files: AgentFiles | None = None
) -> str:
    """Return the text about files for the model; raises `ValueError` for files of the agent without a folder."""
    has_folder = files if sandbox is None else sandbox.files_bytes
    if agent_files is None:
        return FILES if has_folder else NO_FILES
    if not has_folder:
        raise ValueError("agent_files needs a folder for the code: pass files=True as well")
    return FILES + AGENT_FILES.replace("{PREFIX}", agent_files.prefix)


def fill_facts(
    text: str, imports: Sequence[str], limits: Limits | None, files: str, multimodal: bool
) -> str:
    """Return a description of the tool with what its code may import and use."""
    limits = limits or Limits()
    facts = {
        "{SHOW}": f"\n{SHOW}" if multimodal else "",
        "{FILES}": files,
        "{IMPORTS}": f", and {', '.join(imports)}" if imports else "",
        "{CALLS}": count(limits.max_tool_calls, "tool call"),
        "{CONCURRENT}": str(limits.max_concurrent_calls),
        "{SECONDS}": count(limits.wall_seconds, "second"),
    }
    for name, value in facts.items():
        text = text.replace(name, value)
    return text


def provider_options(prefetch: Prefetch) -> dict[str, Any] | None:
    """Return what the tool asks of a provider: Anthropic's sends an argument only when it is whole, else."""
    return {"eager_input_streaming": True} if prefetch == "stream" else None


class RunCodeArguments(BaseModel):
    """Arguments of the tool that runs code."""

    code: str = Field(description=CODE_ARGUMENT)
    # Injected by a graph, by its name; never set by the model.
    runtime: Annotated[Any, InjectedToolArg] = None


Start: TypeAlias = Callable[..., Execution]
"""Prepares an execution; has the parameters of `ProgrammaticToolExecutor.start`."""


class CodeTool(BaseTool):
    """Runs code that calls tools.

    Invoked with a tool call, it returns a `ToolMessage` whose content is the report for the model,
    whose status is `error` unless the code succeeded, and whose artifact is the dict that
    `ExecutionResult.to_dict` returns.
    """

    args_schema: Any = RunCodeArguments
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    metadata: dict[str, Any] | None = Field(
        default_factory=lambda: {"ls_code_input_language": "python"}
    )
    _begin: Start = PrivateAttr()
    _sessions: SessionStore | None = PrivateAttr()
    _inputs: InputVariables = PrivateAttr(default_factory=lambda: InputVariables({}))
    _shared: AgentFiles | None = PrivateAttr(default=None)
    _room: int = PrivateAttr(default=0)
    _agents: Agents = PrivateAttr()
    _written: WrittenCode = PrivateAttr(default_factory=WrittenCode)
    _multimodal: bool = PrivateAttr()

    def __init__(
        self,
        *,
        start: Start,
        sessions: SessionStore | None,
        multimodal: bool,
        agent_guards: AgentGuards = "apply",
        owner: object = None,
        asked_by: ApprovalMiddleware | None = None,
        **fields: Any,
    ) -> None:
        check_choice("agent_guards", agent_guards, AgentGuards)
        super().__init__(**fields)
        self._begin = start
        self._sessions = sessions
        self._multimodal = multimodal
        self._agents = Agents(applied=agent_guards == "apply", owner=owner, asked_by=asked_by)

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        """Return the schema of its arguments; LangChain reads it while it builds an agent."""
        self._agents.note()
        return super().get_input_schema(config)

    @property
    def inputs(self) -> InputVariables:
        """The variables that the code is given."""
        return self._inputs

    def give(
        self, inputs: InputVariables, files: AgentFiles | None = None, folder_bytes: int = 0
    ) -> None:
        """Give the code these variables, and these files, which may fill half of its folder."""
        self._inputs, self._shared, self._room = inputs, files, folder_bytes // 2

    @property
    def agents(self) -> Agents:
        """The agents that the tool was given to."""
        return self._agents

    def watch(
        self,
        executor: ProgrammaticToolExecutor,
        config: RunnableConfig | None,
        state: Any,
        *,
        protocol: Protocol = "tool",
        kept: bytes | None = None,
        put: Put | None = None,
    ) -> PrefetchHandler | None:
        """Return what begins calls while a chat model writes code; None if they begin only with its run.

        Without a `config` the tools get that of the caller of the model; without `kept` variables the code starts
        with those in the state; without `put` what was begun is kept for the call of the tool.
        """
        if executor.prefetching != "stream":
            return None
        if self._sessions is not None and kept is None:
            kept = self._sessions.find(state) or b""

        def begin(**options: Any) -> Prefetcher | None:
            # Now: the handler may be older than the agent.
            if self._agents.decide_about(self.name):
                return None
            prefetcher = executor.prefetch(config=config, state=state, kept=kept, **options)
            prefetcher.forbid(self._agents.guarded(executor.catalog))
            return prefetcher

        return PrefetchHandler(
            self.name,
            protocol=protocol,
            begin=begin,
            put=put or self._written.put,
            is_own=self.has_shown,
        )

    def has_shown(self, description: str) -> bool:
        """Whether a model that was given this description was given this tool."""
        del description
        return True

    def _run(
        self, code: str, runtime: Any = None, run_manager: CallbackManagerForToolRun | None = None
    ) -> tuple[_Content, dict[str, Any]]:
        # The config of this run, under which the inner calls nest, is in the context.
        del run_manager
        state = run_sync(self._find_state(runtime, sync=True))
        shared = self._shared
        if shared is None:
            outcome = self._start(code, state, runtime, None).run()
        else:
            files, notes = at_once(shared.read(self._room, sync=True))
            outcome = self._start(code, state, runtime, files).run()
            notes += at_once(shared.store(outcome.result, sync=True))
            outcome = _add_notes(outcome, notes)
        result = _invocation.get().finish(outcome)
        return _content_and_artifact(result, outcome, multimodal=self._multimodal)

    async def _arun(
        self,
        code: str,
        runtime: Any = None,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[_Content, dict[str, Any]]:
        del run_manager
        state = await self._find_state(runtime, sync=False)
        shared = self._shared
        if shared is None:
            outcome = await self._start(code, state, runtime, None).arun()
        else:
            files, notes = await shared.read(self._room, sync=False)
            outcome = await self._start(code, state, runtime, files).arun()
            notes += await shared.store(outcome.result, sync=False)
            outcome = _add_notes(outcome, notes)
        result = _invocation.get().finish(outcome)
        show = functools.partial(
            _content_and_artifact, result, outcome, multimodal=self._multimodal
        )
        return await call_off_loop(show, *large_parts(result))

    async def _find_state(self, runtime: Any, *, sync: bool) -> Any:
        """Return the state of the graph, as far as it is needed, and load the session's variables."""
        state = getattr(runtime, "state", None)
        if state is None and self._sessions is not None:
            state = await read_state(ensure_config())
        await _invocation.get().load_session(state, sync=sync)
        return state

    def _start(
        self, code: str, state: Any, runtime: Any, files: Mapping[str, bytes] | None
    ) -> Execution:
        invocation = _invocation.get()
        attempt, guards = invocation.attempt, invocation.guards
        invocation.is_joined = takes_no_lists(getattr(runtime, "tools", ()))
        if attempt is not None:
            prefetcher = attempt.prefetcher
        else:
            prefetcher = self._written.take(state, invocation.call_id)
        return self._begin(
            unwrap_program(code),
            call_id=invocation.call_id,
            state=state,
            on_output=getattr(runtime, "emit_output_delta", None),
            files=files,
            inputs=self._inputs.read(state),
            kept=invocation.session,
            prior_usage=None if attempt is None else attempt.spent,
            arguments={"code": code},
            channels=None if attempt is None else attempt.channels,
            approvals=guards.approvals,
            call_limits=guards.call_limits if guards.limits else None,
            prefetcher=prefetcher,
        )

    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool; see `BaseTool.run`."""
        with self._invoked(tool_call_id) as invocation:
            return invocation.answer(super().run(*args, tool_call_id=tool_call_id, **kwargs))

    async def arun(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool; see `BaseTool.arun`."""
        with self._invoked(tool_call_id) as invocation:
            return invocation.answer(await super().arun(*args, tool_call_id=tool_call_id, **kwargs))

    @contextlib.contextmanager
    def _invoked(self, call_id: str | None) -> Iterator[_Invocation]:
        # Set here, since LangChain runs `_arun` in a task of its own.
        guards = self._agents.guards_here(self.name)
        attempt, ends_agent = current_attempt.get(), self.return_direct
        invocation = _Invocation(call_id, guards, attempt, self._sessions, ends_agent)
        token = _invocation.set(invocation)
        outer = current_attempt.set(None)  # programs that the tools run are not the node's
        try:
            yield invocation
        finally:
            current_attempt.reset(outer)
            _invocation.reset(token)

    def remove_previous(self, state: Any) -> dict[str, Any]:
        """Return the update for a session's last attempt; see `SessionStore.remove_previous`."""
        return {} if self._sessions is None else self._sessions.remove_previous(state)


class RunCodeTool(CodeTool):
    """Runs code that calls the tools of one catalog; made by `as_programmatic`.

    Its description is rendered when it is read, for the next prompt: see `ToolsPrompt`. A description
    that is set by the user stays as it is.
    """

    _executor: ProgrammaticToolExecutor = PrivateAttr()
    _prompt: ToolsPrompt = PrivateAttr()
    _first_description: str = PrivateAttr()
    _shown: set[int] = PrivateAttr(default_factory=set)
    """Hashes of the descriptions that models were given: an agent may bind one and keep it."""

    def __init__(
        self, *, executor: ProgrammaticToolExecutor, prompt: ToolsPrompt, **fields: Any
    ) -> None:
        super().__init__(description=prompt.render(), start=executor.start, **fields)
        self._executor = executor
        self._prompt = prompt
        self._first_description = prompt.render()

    @property
    def executor(self) -> ProgrammaticToolExecutor:
        """What runs the code."""
        return self._executor

    def has_shown(self, description: str) -> bool:
        """Whether a model that was given this description was given this tool; see `CodeTool.has_shown`."""
        return hash(description) in self._shown


def prefetch_handler(tools: Sequence[BaseTool]) -> BaseCallbackHandler:
    """Return a callback handler with which calls of code begin while a chat model writes it.

    Pass it to the graph or to the model: `config={"callbacks": [prefetch_handler(tools)]}`; to a graph of several
    agents one for each. The node and the middleware have their own.

    Args:
        tools: What `as_programmatic(..., prefetch="stream")` returned.

    Raises:
        ValueError: There is no such tool among them.
    """
    tool = next((tool for tool in tools if isinstance(tool, RunCodeTool)), None)
    handler = None if tool is None else tool.watch(tool.executor, None, None)
    if handler is None:
        raise ValueError(
            "prefetch_handler takes the list that as_programmatic(..., prefetch='stream') returned"
        )
    return handler


def _read_description(tool: RunCodeTool) -> str:
    own: str = tool.__dict__["description"]
    shown = tool._prompt.render() if own == tool._first_description else own
    tool._shown.add(hash(shown))
    return shown


def _set_description(tool: RunCodeTool, description: str) -> None:
    tool.__dict__["description"] = description


# `description` is a field of `BaseTool`, and pydantic allows no property in its place while a class is
# being built. Set afterwards, every reader of `tool.description` gets the current text.
RunCodeTool.description = property(_read_description, _set_description)  # type: ignore[assignment]
