"""`ProgrammaticToolNode`: a node that prompts a model for code, runs it, and returns messages."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command

from langchain_ptc.agent.answers import Session, session_of
from langchain_ptc.background_loop import call_in_thread, run_sync
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.catalog.examples import Example, Examples, render_examples, resolve_examples
from langchain_ptc.errors import check_choice
from langchain_ptc.executor import Check, Durable
from langchain_ptc.prompts import (
    BUDGET,
    DEFAULT_PROMPT_TOKENS,
    HOW_AS_TEXT,
    HOW_AS_TOOL,
    LOOKED,
    NO_FILES,
    NODE_AUTO,
    NODE_TEXT,
    NODE_TEXT_MANY,
    NODE_TOOL,
    OTHER_CALL,
    RETRY,
    SHOW,
    UNREADABLE,
    CountTokens,
    ToolsPrompt,
)
from langchain_ptc.replies import Protocol, extract_code
from langchain_ptc.run.approvals import InterruptMode, InterruptOn
from langchain_ptc.run.budgets import Budget, Usage, usage_in
from langchain_ptc.run.call_policy import CallPolicies
from langchain_ptc.run.events import OnEvent
from langchain_ptc.run.graph_state import GraphState, channels_of, checkpointer_of, update_state
from langchain_ptc.run.graph_tasks import place_here
from langchain_ptc.run.inputs import Inputs, InputVariables
from langchain_ptc.run.journal import Journal, JournalEntry, run_journaled
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.plain import OnToolError, Redact
from langchain_ptc.run.prefetcher import Prefetch, Prefetcher
from langchain_ptc.sandbox.api import Limits, Sandbox
from langchain_ptc.tool import (
    Attempt,
    RunCodeTool,
    Tools,
    as_programmatic,
    build_catalog,
    current_attempt,
    render_files,
)

_MAX_SEARCHES = 3  # programs that only search the tools, which are not counted as attempts


class ProgrammaticToolNode(Runnable[Any, Any]):
    """A node of a LangGraph graph that answers with a program.

    It shows the model the conversation and the tools, runs the code that the model writes, lets the
    model correct a failed attempt, and adds two messages to the state: the `AIMessage` with the code as
    a tool call, and the `ToolMessage` with what the code printed, whose artifact is the record of the
    execution. Earlier attempts are not added to the state; their tokens are counted in the
    `usage_metadata` of the `AIMessage`. If the model answers in prose, its message is added as it is;
    if its reply after a failed attempt is empty, that attempt is added.

    Args:
        model: A chat model, or its name for `init_chat_model` (needs the extra `langchain`).
        tools: The tools that the code may call; a mapping gives each group a domain.
        protocol: How the model passes its code: by a `tool` call, as `text` (a fenced block, or
            the JSON of a call), or `auto`: either.
        max_attempts: Programs that the model may write for one request.
        messages_key: Key or attribute of the state that holds the messages.
        inputs: Data that the code finds in variables: keys of the state, or values by name. The model sees
            the type, the size and the beginning of each.
        name: Name of the node.
        tags: Tags of its runs.
        budget: What each attempt may spend.
        run_budget: What all attempts since the user's last message may spend together.
        tool_name: Name of the tool call in the messages.
        domain: As in `as_programmatic`, and so are `policies`, `limits`, `sandbox`, `imports`, `files`,
            `examples`, `prompt_tokens`, `count_tokens`, `interrupt_on`, `interrupt_mode`, `durable`
            (the journal also keeps the model's replies), `session`, `on_event`, `check`, `log`,
            `redact`, `on_tool_error`, `call_policies` and `multimodal`. Where the model answers in text, it
            gets pictures in messages of the user.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: An option is invalid.
    """

    def __init__(
        self,
        model: BaseChatModel | str,
        tools: Tools,
        *,
        protocol: Protocol = "auto",
        max_attempts: int = 3,
        messages_key: str = "messages",
        name: str = "programmatic_tools",
        tags: Sequence[str] = (),
        domain: str | None = None,
        policies: Mapping[str, ToolPolicy] | None = None,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
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
        multimodal: bool = False,
        tool_name: str = "run_code",
    ) -> None:
        check_choice("protocol", protocol, Protocol)
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {max_attempts!r}")
        self.name = name
        catalog = build_catalog(tools, domain=domain, policies=policies)
        (tool,) = as_programmatic(
            catalog,
            limits=limits,
            sandbox=sandbox,
            imports=imports,
            files=files,
            prompt_tokens=prompt_tokens,
            count_tokens=count_tokens,
            interrupt_on=interrupt_on,
            interrupt_mode=interrupt_mode,
            durable=durable,
            prefetch=prefetch,
            session=session,
            on_event=on_event,
            check=check,
            log=log,
            redact=redact,
            budget=budget,
            run_budget=run_budget,
            on_tool_error=on_tool_error,
            call_policies=call_policies,
            multimodal=multimodal,
            tool_name=tool_name,
        )
        self._durable = durable
        self._tool = cast("RunCodeTool", tool)
        self._tool.give(InputVariables(inputs))
        callables = self._tool.executor.catalog.callables
        self._tool_names = {name for d in callables for name in (d.name, d.qualified_name)}
        self._tags = list(tags)
        self._messages_key = messages_key
        self._protocol = protocol
        self._max_attempts = max_attempts
        bounds = (
            BUDGET if budget or run_budget else "",
            render_files(sandbox, files),
            SHOW if multimodal else "",
        )
        prompt = ToolsPrompt(
            self._tool.executor.catalog,
            NODE_TEXT,
            text_many=NODE_TEXT_MANY,
            prompt_tokens=prompt_tokens,
            count_tokens=count_tokens,
        )
        self._writer = CodeWriter(
            model,
            self._tool,
            prompt,
            protocol=protocol,
            examples=resolve_examples(examples, catalog),
            budget_text="\n\n".join(part for part in bounds if part and part != NO_FILES),
        )

    @property
    def catalog(self) -> ToolCatalog:
        """The tools that the code may call."""
        return self._tool.executor.catalog

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the conversation in the state; see `ainvoke`."""
        return run_sync(self._answer(input, config, kwargs, sync=True))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the conversation in the state.

        Args:
            input: The state: a dict, a model or dataclass with the messages, or a list of messages.
            config: Callbacks, tags, metadata and the rest, for the model and the tools.
            kwargs: Passed on to the model.

        Returns:
            An update of the state: `{messages_key: [...]}`, or a list if the state is a list; in a
            list after the commands that tools returned, if there are any.

        Raises:
            ValueError: The state has no messages.
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
        """
        return await self._answer(input, config, kwargs, sync=False)

    async def _answer(
        self, state: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any], *, sync: bool
    ) -> Any:
        inputs = self._tool.inputs.render(state)
        turn = _Turn(
            node=self,
            state=state,
            prompt=self._writer.build_prompt(self._messages_of(state), inputs),
            config=merge_configs(ensure_config(config), {"tags": self._tags}),
            kwargs=kwargs,
            sync=sync,
        )
        # The model's replies are journaled wherever its code's calls are: the code that a person
        # approves must be the code that is resumed.
        if self._durable != "never" and checkpointer_of(turn.config) is not None:
            answer = await run_journaled(turn.answer, {}, sync=sync)
        else:
            answer = await turn.answer()
        messages, commands = answer["messages"], answer["commands"]
        update = messages if isinstance(state, list) else {self._messages_key: messages}
        return [*commands, update] if commands else update

    def _only_searched(self, outcomes: Sequence[ToolMessage]) -> bool:
        """Whether the code searched the tools and did nothing else: the answer is still to come."""
        searching = {definition.name for definition in self.catalog.discovery}
        records = [o.artifact for o in outcomes if isinstance(o.artifact, dict)]
        calls = [call for record in records for call in record["tool_calls"]]
        done = all(record["status"] == "success" for record in records)
        return (
            done
            and bool(calls)
            and all(call["domain"] is None and call["tool"] in searching for call in calls)
        )

    # --- the prompt -----------------------------------------------------------------------------

    def _messages_of(self, state: Any) -> list[AnyMessage]:
        key = self._messages_key
        messages: Any = state
        if isinstance(state, Mapping):
            messages = state.get(key)
        elif not isinstance(state, list):
            messages = getattr(state, key, None)
        if not messages:
            raise ValueError(f"the state has no messages under {key!r}; pass messages_key=...")
        return cast("list[AnyMessage]", convert_to_messages(messages))


@dataclass(kw_only=True, eq=False, repr=False)
class _Turn:
    """One answer of the node: asks for code and runs it, until it succeeds or attempts are used up."""

    node: ProgrammaticToolNode
    state: Any
    prompt: list[BaseMessage]
    config: RunnableConfig
    kwargs: Mapping[str, Any]
    sync: bool
    _journal: Journal | None = None
    _session: bytes | None = None
    _spent: Usage = field(default_factory=Usage)
    _prefetcher: Prefetcher | None = None  # what was begun while the model wrote its last reply

    async def answer(
        self, journal: Journal | None = None, _: JournalEntry | None = None
    ) -> JournalEntry:
        """Ask for code and run it; return the messages and commands for the state."""
        self._journal = journal
        try:
            return await self._answer()
        finally:
            self._drop()

    async def _answer(self) -> JournalEntry:
        node, prompt, usage, attempt, searches = self.node, self.prompt, None, 0, 0
        dropped = Usage()
        failed: JournalEntry | None = None
        while True:
            attempt += 1
            ask = functools.partial(self._ask, prompt)
            if self._journal is None:
                record = await ask()
            else:  # asked before a pause, it is not asked again
                record = await self._journal.record("generate_code", "", ask)
            reply, problems = record["reply"], record["problems"]
            usage = add_usage(usage, reply.usage_metadata)
            message = record["message"].model_copy(update={"usage_metadata": usage})
            has_program = len(problems) < len(message.tool_calls)
            is_last = attempt == node._max_attempts
            nothing_to_run = bool(message.tool_calls) and not has_program
            is_silent = not message.tool_calls and not message.text.strip()
            if failed is not None and (is_silent or (is_last and nothing_to_run)):
                # The last attempt that was run, which the model could not correct, is added to the state.
                message = failed["messages"][0].model_copy(update={"usage_metadata": usage})
                failed["messages"][0] = message
                return failed
            if not message.tool_calls:
                return {"messages": [message], "commands": []}
            outcomes, commands = await self._run_calls(message, problems)
            searched = searches < _MAX_SEARCHES and not commands and node._only_searched(outcomes)
            if searched:
                searches, attempt = searches + 1, attempt - 1
            else:
                is_last = is_last or bool(commands) or not _can_be_corrected(outcomes)
                if self._session is not None and (update := node._tool.remove_previous(self.state)):
                    commands.append(Command(update=update))
                messages = [message, *_add_spent(outcomes, dropped)]
                answer: JournalEntry = {"messages": messages, "commands": commands}
                if is_last:
                    return answer
                failed = answer if has_program else failed
            dropped = self._spent
            prompt = [
                *prompt,
                *node._writer.build_feedback(reply, message, outcomes, searched=searched),
            ]

    async def _run_calls(
        self, message: AIMessage, problems: Mapping[str, str]
    ) -> tuple[list[ToolMessage], list[Command[Any]]]:
        """Answer each call of a message: run its program, or report why there is none."""
        channels = channels_of(self.config)
        # Like tools of any other node, they see the message with the calls in the state.
        made: Any = [message]
        if not isinstance(self.state, list):
            made = {self.node._messages_key: made}
        state = GraphState(update_state(self.state, channels, made), channels)
        outcomes: list[ToolMessage] = []
        for number, call in enumerate(message.tool_calls):
            if (problem := problems.get(call["id"] or "")) is not None:
                outcomes.append(
                    ToolMessage(problem, tool_call_id=call["id"], name=call["name"], status="error")
                )
                continue
            answers = await self._run_code(call, state.current)
            outcomes += [answer for answer in answers if isinstance(answer, ToolMessage)]
            state.write(number, [answer for answer in answers if isinstance(answer, Command)])
        return outcomes, [*state.commands()]

    async def _ask(self, prompt: list[BaseMessage]) -> JournalEntry:
        node, model = self.node, self.node._writer.model
        self._drop()
        handler = node._tool.watch(
            node._tool.executor,
            self._here(),
            self.state,
            protocol=node._protocol,
            kept=self._session,
            put=self._keep,
        )
        config = self._here()
        if handler is not None:
            config = merge_configs(config, {"callbacks": [handler]})
        try:
            if self.sync:
                reply = await call_in_thread(lambda: model.invoke(prompt, config, **self.kwargs))
            else:
                reply = await model.ainvoke(prompt, config, **self.kwargs)
        except BaseException:
            if handler is not None:  # a model in a thread goes on when its caller is cancelled
                handler.close()
            raise
        parsed = extract_code(
            reply,
            tool_name=self.node._tool.name,
            protocol=self.node._protocol,
            tools=self.node._tool_names,
        )
        return {"reply": reply, "message": parsed.message, "problems": parsed.problems}

    def _keep(self, _: BaseMessage, __: str | None, prefetcher: Prefetcher) -> None:
        self._prefetcher = prefetcher

    def _drop(self) -> None:
        """End what was begun for a reply that is not run."""
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    async def _run_code(self, call: ToolCall, state: Any) -> list[Any]:
        config, tool = self._here(), self.node._tool
        # For the first call of a message only.
        prefetcher, self._prefetcher = self._prefetcher, None
        runtime: ToolRuntime[Any, Any] = ToolRuntime(
            state=state,
            context=None,
            config=config,
            stream_writer=lambda _: None,  # the tool uses the graph's own
            tool_call_id=call["id"],
            store=None,
        )
        given = ToolCall(**{**call, "args": {**call["args"], "runtime": runtime}})
        channels = channels_of(self.config)
        token = current_attempt.set(Attempt(self._session, self._spent, channels, prefetcher))
        try:
            if self.sync:
                answer = await call_in_thread(lambda: tool.invoke(given, config))
            else:
                answer = await tool.ainvoke(given, config)
        finally:
            current_attempt.reset(token)
        answers = answer if isinstance(answer, list) else [answer]
        for message in answers:
            if isinstance(message, ToolMessage):
                self._session = session_of(message) or self._session
                self._spent += usage_in(message)
        return answers

    def _here(self) -> RunnableConfig:
        return self.config if self._journal is None else place_here(self.config)


def _add_spent(outcomes: Sequence[ToolMessage], dropped: Usage) -> list[ToolMessage]:
    """Add to the last execution what the attempts have spent that are not added to the state."""
    added = list(outcomes)
    for at, message in reversed(list(enumerate(outcomes))):
        if isinstance(message.artifact, dict) and message.artifact["spent"] is not None:
            spent = (usage_in(message) + dropped).to_dict()
            artifact = {**message.artifact, "spent": spent}
            added[at] = message.model_copy(update={"artifact": artifact})
            break
    return added


def _can_be_corrected(outcomes: Sequence[ToolMessage]) -> bool:
    """Whether another program could succeed: not if the machine is at fault."""
    return any(
        outcome.artifact["status"] in ("error", "refused", "limit", "denied")
        if isinstance(outcome.artifact, dict)
        else outcome.status == "error"
        for outcome in outcomes
    )


# --- the model and its prompt -----------------------------------------------------------------------


class CodeWriter:
    """A chat model that is given the tool or, if it takes no tools, asked to answer in text.

    Its prompt describes the tools as they are known at the time of each call.

    Raises:
        ImportError: A model is given by name, and langchain is not installed.
        ValueError: The model cannot bind tools, and `protocol` is `tool`.
    """

    def __init__(
        self,
        model: BaseChatModel | str,
        tool: BaseTool,
        prompt: ToolsPrompt,
        *,
        protocol: Protocol,
        examples: Sequence[Example],
        budget_text: str,
    ) -> None:
        self._loaded = _load(model)
        self._tool, self._prompt, self._protocol = tool, prompt, protocol
        self._bound_to = tool.description
        self._bound = None if protocol == "text" else _bind(self._loaded, tool, protocol)
        self._shown, self._budget_text = examples, budget_text

    @property
    def as_text(self) -> bool:
        """Whether the model answers in text, because it takes no tools or is given none."""
        return self._bound is None

    @property
    def model(self) -> Runnable[LanguageModelInput, AIMessage]:
        """The model, with the tool and its current description."""
        if self._bound is None:
            return self._loaded
        description = self._tool.description
        if description != self._bound_to:
            self._bound, self._bound_to = _bind(self._loaded, self._tool, "tool"), description
        return self._bound or self._loaded

    def build_prompt(self, messages: Sequence[BaseMessage], inputs: str) -> list[BaseMessage]:
        """Put our instructions and the conversation's own in one system message, before the conversation."""
        examples: list[BaseMessage] = []
        if self.as_text:
            own = [self._prompt.render(), self._budget_text]
            for example in self._shown:
                answer = f"```python\n{example.code}\n```"
                examples += [HumanMessage(example.question), AIMessage(answer)]
        else:
            opening = NODE_TOOL if self._protocol == "tool" else NODE_AUTO
            own = [opening.replace("{TOOL_NAME}", self._tool.name), render_examples(self._shown)]
        system = [*filter(None, [*own, inputs])]
        conversation: list[BaseMessage] = []
        names: dict[str | None, str] = {}
        for message in messages:
            if isinstance(message, SystemMessage) and not conversation:
                system.append(message.text)
            elif self.as_text:
                conversation.append(self._as_plain_text(message, names))
            else:
                conversation.append(message)
        return [SystemMessage("\n\n".join(system)), *examples, *conversation]

    def _as_plain_text(self, message: BaseMessage, names: dict[str | None, str]) -> BaseMessage:
        """Return an earlier call, or its result, as text for a model that takes no tools.

        `names` collects the tools by the ids of their calls.
        """
        if isinstance(message, AIMessage) and message.tool_calls:
            names |= {call["id"]: call["name"] for call in message.tool_calls}
            shown = [self._call_as_text(call) for call in message.tool_calls]
            return AIMessage("\n\n".join(filter(None, [message.text, *shown])))
        if isinstance(message, ToolMessage):
            name = names.get(message.tool_call_id, self._tool.name)
            of = "" if name == self._tool.name else f" of {name}"
            report = message.text if of else message.content
            return HumanMessage(_fill(f"Output{of}:\n{{REPORT}}", [report]))
        return message

    def _call_as_text(self, call: ToolCall) -> str:
        if call["name"] == self._tool.name and isinstance(call["args"].get("code"), str):
            return f"```python\n{call['args']['code']}\n```"
        arguments = json.dumps(call["args"], ensure_ascii=False, default=str)
        return OTHER_CALL.replace("{NAME}", call["name"]).replace("{ARGUMENTS}", arguments)

    def build_feedback(
        self,
        reply: AIMessage,
        message: AIMessage,
        outcomes: Sequence[ToolMessage],
        *,
        searched: bool,
    ) -> list[BaseMessage]:
        """Return the messages about an attempt that was not the answer, for the model."""
        text = LOOKED if searched else RETRY
        if not any(isinstance(outcome.artifact, dict) for outcome in outcomes):
            how = HOW_AS_TEXT if self.as_text else HOW_AS_TOOL
            text = UNREADABLE.replace("{HOW}", how.replace("{TOOL_NAME}", self._tool.name))
        if self.as_text:
            is_text = not reply.tool_calls and not reply.invalid_tool_calls
            shown = reply if is_text else self._as_plain_text(message, {})
            return [shown, HumanMessage(_fill(text, [outcome.content for outcome in outcomes]))]
        feedback: list[BaseMessage] = [message]
        for outcome in outcomes:
            content = _fill(text, [outcome.content])
            feedback.append(outcome.model_copy(update={"content": content, "artifact": None}))
        return feedback


def _fill(text: str, reports: Sequence[Any]) -> Any:
    """Return a text with the contents of messages in it; as content blocks, if one of them has pictures."""
    if all(isinstance(report, str) for report in reports):
        return text.replace("{REPORT}", "\n\n".join(map(str, reports)))
    before, after = text.split("{REPORT}")
    parts = [p for r in (before, *reports, after) for p in ([r] if isinstance(r, str) else r)]
    return [
        {"type": "text", "text": part} if isinstance(part, str) else part for part in parts if part
    ]


def _load(model: BaseChatModel | str) -> Runnable[LanguageModelInput, AIMessage]:
    if not isinstance(model, str):
        return cast("Runnable[LanguageModelInput, AIMessage]", model)
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ImportError(
            f"a model by name ({model!r}) needs langchain: pip install 'langchain-ptc[langchain]'"
        ) from error
    return cast("Runnable[LanguageModelInput, AIMessage]", init_chat_model(model))


def _bind(
    model: Runnable[LanguageModelInput, AIMessage], tool: BaseTool, protocol: Protocol
) -> Runnable[LanguageModelInput, AIMessage] | None:
    """Bind the tool to the model; None if the model takes no tools and may answer in text."""
    try:
        return cast("BaseChatModel", model).bind_tools([tool])
    except (NotImplementedError, AttributeError) as error:
        if protocol == "tool":
            raise ValueError(
                f"{type(model).__name__} cannot bind tools; use protocol='text' or 'auto'"
            ) from error
        return None
