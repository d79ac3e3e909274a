"""`ProgrammaticToolNode`: a node that prompts a model for code, runs it, and returns messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.execution.portal import call_in_thread, run_sync
from langchain_ptc.execution.record import ExecutionResult
from langchain_ptc.graph.extract import Answer, Protocol, extract_code
from langchain_ptc.graph.prompts import NODE_AUTO, NODE_TEXT, NODE_TOOL, RETRY
from langchain_ptc.graph.tool import (
    Examples,
    RunCodeTool,
    Tools,
    as_programmatic,
    build_catalog,
    render_examples,
    resolve_examples,
)
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.base import Sandbox


class ProgrammaticToolNode(Runnable[Any, Any]):
    """A node of a LangGraph graph that answers with a program.

    It shows the model the conversation and the tools, runs the code that the model writes, lets the
    model mend a failed attempt, and adds two messages to the state: the `AIMessage` with the code as
    a tool call, and the `ToolMessage` with what the code printed, whose artifact is the
    `ExecutionResult`. The attempts before the last stay out of the state; their tokens are in the
    `usage_metadata` of the `AIMessage`. If the model answers in prose, its message is added as it is.

    Args:
        model: A chat model, or its name for `init_chat_model` (needs the extra `langchain`).
        tools: The tools that the code may call; a mapping gives each group a domain.
        protocol: How the model hands over its code: by a `tool` call, as `text` (a fenced block, or
            the JSON of a call), or `auto`: whichever comes.
        max_attempts: Programs that the model may write for one request.
        messages_key: Key or attribute of the state that holds the messages.
        name: Name of the node.
        tags: Tags of its runs.
        domain: As in `as_programmatic`; so are the rest.
        policies: What holds for single tools.
        limits: What each execution may use.
        sandbox: Where the code runs.
        imports: Modules that the code may import besides the standard ones.
        examples: Programs that the model is shown; small models need them.
        tool_name: Name of the tool call in the messages.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: An option is not one of its values.
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
        examples: Examples = None,
        tool_name: str = "run_code",
    ) -> None:
        if protocol not in ("auto", "tool", "text"):
            raise ValueError(f"protocol must be 'auto', 'tool' or 'text', got {protocol!r}")
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {max_attempts!r}")
        self.name = name
        catalog = build_catalog(tools, domain=domain, policies=policies)
        shown = resolve_examples(examples, catalog)
        (tool,) = as_programmatic(
            catalog, limits=limits, sandbox=sandbox, imports=imports, tool_name=tool_name
        )
        self._tool = cast("RunCodeTool", tool)
        self._tags = list(tags)
        self._messages_key = messages_key
        self._protocol = protocol
        self._max_attempts = max_attempts
        loaded = _load(model)
        bound = None if protocol == "text" else _bind(loaded, self._tool, protocol)
        self._model: Runnable[LanguageModelInput, AIMessage] = bound or loaded
        self._as_text = bound is None
        self._examples: list[BaseMessage] = []
        if self._as_text:
            self._system = NODE_TEXT.replace("{STUBS}", catalog.render())
            for example in shown:
                answer = f"```python\n{example.code}\n```"
                self._examples += [HumanMessage(example.question), AIMessage(answer)]
        else:
            opening = NODE_TOOL if protocol == "tool" else NODE_AUTO
            parts = [opening.replace("{TOOL_NAME}", tool_name), render_examples(shown)]
            self._system = "\n\n".join(filter(None, parts))

    @property
    def catalog(self) -> ToolCatalog:
        """The tools that the code may call."""
        return self._tool.catalog

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
            An update of the state of shape `{messages_key: [...]}`; a list for a list.

        Raises:
            ValueError: The state has no messages.
            SandboxError: The machine could not start a worker.
        """
        return await self._answer(input, config, kwargs, sync=False)

    async def _answer(
        self, state: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any], *, sync: bool
    ) -> Any:
        config = merge_configs(ensure_config(config), {"tags": self._tags})
        messages = await self._attempt(
            self._build_prompt(self._messages_of(state)), config, kwargs, sync=sync
        )
        return messages if isinstance(state, list) else {self._messages_key: messages}

    async def _attempt(
        self,
        prompt: list[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        *,
        sync: bool,
    ) -> list[BaseMessage]:
        """Ask for code and run it, until it succeeds or the attempts are used up."""
        usage = None
        attempt = 0
        while True:
            attempt += 1
            reply = await self._ask(prompt, config, kwargs, sync=sync)
            usage = add_usage(usage, reply.usage_metadata)
            answer = extract_code(reply, tool_name=self._tool.name, protocol=self._protocol)
            message = answer.message.model_copy(update={"usage_metadata": usage})
            if not answer.calls:
                return [message]
            outcomes = [
                await self._run_code(call, config, sync=sync) for call in message.tool_calls
            ]
            if attempt == self._max_attempts or not _is_worth_mending(outcomes):
                return [message, *outcomes]
            prompt = [*prompt, *self._show_failure(reply, answer, outcomes)]

    async def _ask(
        self,
        prompt: list[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        *,
        sync: bool,
    ) -> AIMessage:
        if sync:
            return await call_in_thread(lambda: self._model.invoke(prompt, config, **kwargs))
        return await self._model.ainvoke(prompt, config, **kwargs)

    async def _run_code(self, call: ToolCall, config: RunnableConfig, *, sync: bool) -> ToolMessage:
        if sync:
            outcome = await call_in_thread(lambda: self._tool.invoke(call, config))
        else:
            outcome = await self._tool.ainvoke(call, config)
        return cast("ToolMessage", outcome)

    def _show_failure(
        self, reply: AIMessage, answer: Answer, outcomes: Sequence[ToolMessage]
    ) -> list[BaseMessage]:
        """Return what the model is shown of a failed attempt; none of it enters the state."""
        if self._as_text:
            report = "\n\n".join(str(outcome.content) for outcome in outcomes)
            return [reply, HumanMessage(RETRY.replace("{REPORT}", report))]
        told: list[BaseMessage] = [answer.message]
        for outcome in outcomes:
            content = RETRY.replace("{REPORT}", str(outcome.content))
            told.append(outcome.model_copy(update={"content": content, "artifact": None}))
        return told

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

    def _build_prompt(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Put our instructions first, in one system message with the conversation's own."""
        system = [self._system]
        conversation: list[BaseMessage] = []
        for message in messages:
            if isinstance(message, SystemMessage) and not conversation:
                system.append(message.text)
            elif self._as_text:
                conversation.append(self._as_plain_text(message))
            else:
                conversation.append(message)
        return [SystemMessage("\n\n".join(system)), *self._examples, *conversation]

    def _as_plain_text(self, message: BaseMessage) -> BaseMessage:
        """Show earlier programs and their output to a model that knows no tool calls."""
        if isinstance(message, AIMessage) and message.tool_calls:
            blocks = [
                f"```python\n{call['args'].get('code', '')}\n```" for call in message.tool_calls
            ]
            return AIMessage("\n\n".join(filter(None, [message.text, *blocks])))
        if isinstance(message, ToolMessage):
            return HumanMessage(f"Output:\n{message.text}")
        return message


def _is_worth_mending(outcomes: Sequence[ToolMessage]) -> bool:
    """Whether another program could do better: not if the machine is at fault."""
    results = [o.artifact for o in outcomes if isinstance(o.artifact, ExecutionResult)]
    return any(result.status in ("error", "refused", "limit") for result in results)


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
    model: Runnable[LanguageModelInput, AIMessage], tool: RunCodeTool, protocol: Protocol
) -> Runnable[LanguageModelInput, AIMessage] | None:
    """Give the model the tool; None if it takes none and may answer in text."""
    try:
        return cast("BaseChatModel", model).bind_tools([tool])
    except (NotImplementedError, AttributeError) as error:
        if protocol == "tool":
            raise ValueError(
                f"{type(model).__name__} cannot bind tools; use protocol='text' or 'auto'"
            ) from error
        return None
