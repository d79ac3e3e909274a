"""The model that writes the code of a node, and its prompt around the conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from langchain_ptc.prompts.description import CountTokens, ToolsPrompt
from langchain_ptc.prompts.examples import Example, render_examples
from langchain_ptc.prompts.texts import (
    HOW_AS_TEXT,
    HOW_AS_TOOL,
    LOOKED,
    NODE_AUTO,
    NODE_TEXT,
    NODE_TEXT_MANY,
    NODE_TOOL,
    OTHER_CALL,
    RETRY,
    UNREADABLE,
)
from langchain_ptc.replies.extract import Protocol

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog


class CodeWriter:
    """A chat model that is given the tool or, if it takes no tools, asked to answer in text.

    Its prompt describes the tools as they are known at the time of each call.

    Args:
        model: A chat model, or its name for `init_chat_model`.
        tool: The tool that runs code.
        catalog: The tools that the code may call.
        protocol: How the model passes its code.
        examples: Programs to show.
        budget_text: The text about its budget; empty if there is none.
        prompt_tokens: Tokens that the text about the tools may have.
        count_tokens: Counts tokens; by default four characters are one token.

    Raises:
        ImportError: A model is given by name, and langchain is not installed.
        ValueError: The model cannot bind tools, and `protocol` is `tool`.
    """

    def __init__(
        self,
        model: BaseChatModel | str,
        tool: BaseTool,
        catalog: ToolCatalog,
        *,
        protocol: Protocol,
        examples: Sequence[Example],
        budget_text: str,
        prompt_tokens: int | None,
        count_tokens: CountTokens | None,
    ) -> None:
        self._loaded = _load(model)
        self._tool = tool
        self._protocol = protocol
        self._bound_to = tool.description
        self._bound = None if protocol == "text" else _bind(self._loaded, tool, protocol)
        self._shown = examples
        self._budget_text = budget_text
        self._prompt = ToolsPrompt(
            catalog,
            NODE_TEXT,
            text_many=NODE_TEXT_MANY,
            prompt_tokens=prompt_tokens,
            count_tokens=count_tokens,
        )

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

    @property
    def system(self) -> str:
        """The instructions."""
        if self.as_text:
            return self._prompt.render()
        opening = NODE_TOOL if self._protocol == "tool" else NODE_AUTO
        parts = [opening.replace("{TOOL_NAME}", self._tool.name), render_examples(self._shown)]
        return "\n\n".join(filter(None, parts))

    @property
    def examples(self) -> list[BaseMessage]:
        """The examples as a conversation, for a model that answers in text."""
        messages: list[BaseMessage] = []
        for example in self._shown if self.as_text else []:
            answer = f"```python\n{example.code}\n```"
            messages += [HumanMessage(example.question), AIMessage(answer)]
        return messages

    def build_prompt(self, messages: Sequence[BaseMessage], inputs: str) -> list[BaseMessage]:
        """Put our instructions and the conversation's own in one system message, before the conversation.

        Args:
            messages: The conversation.
            inputs: The text about the variables that the code is given; empty if there are none.
        """
        own = [self.system, self._budget_text if self.as_text else "", inputs]
        system = [*filter(None, own)]
        conversation: list[BaseMessage] = []
        names: dict[str | None, str] = {}
        for message in messages:
            if isinstance(message, SystemMessage) and not conversation:
                system.append(message.text)
            elif self.as_text:
                conversation.append(self._as_plain_text(message, names))
            else:
                conversation.append(message)
        return [SystemMessage("\n\n".join(system)), *self.examples, *conversation]

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
        """Return the messages about an attempt that was not the answer, for the model.

        Args:
            reply: The reply of the model.
            message: The same, with the calls that were found in it.
            outcomes: The answers to these calls.
            searched: The program only searched the tools.
        """
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
