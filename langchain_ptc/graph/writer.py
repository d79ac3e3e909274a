"""The model that writes the code of a node, and what it is told besides the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable

from langchain_ptc.graph.description import CountTokens, ToolsPrompt
from langchain_ptc.graph.examples import Example
from langchain_ptc.graph.extract import Protocol
from langchain_ptc.graph.prompts import NODE_AUTO, NODE_TEXT, NODE_TEXT_MANY, NODE_TOOL
from langchain_ptc.graph.tool import RunCodeTool, render_examples


class CodeWriter:
    """A chat model that is given the tool, or, if it takes none, told to answer in text.

    What it is told of the tools is what is known of them at that time.

    Args:
        model: A chat model, or its name for `init_chat_model`.
        tool: The tool that runs code.
        protocol: How the model hands over its code.
        examples: Programs that it is shown.
        prompt_tokens: Tokens that the text about the tools may have.
        count_tokens: Counts them; by default four characters are one.

    Raises:
        ImportError: A name of a model needs langchain.
        ValueError: The model cannot bind tools, and `protocol` is `tool`.
    """

    def __init__(
        self,
        model: BaseChatModel | str,
        tool: RunCodeTool,
        *,
        protocol: Protocol,
        examples: Sequence[Example],
        prompt_tokens: int | None,
        count_tokens: CountTokens | None,
    ) -> None:
        self._loaded = _load(model)
        self._tool = tool
        self._protocol = protocol
        self._bound_to = tool.description
        self._bound = None if protocol == "text" else _bind(self._loaded, tool, protocol)
        self._shown = examples
        self._prompt = ToolsPrompt(
            tool.catalog,
            NODE_TEXT,
            text_many=NODE_TEXT_MANY,
            prompt_tokens=prompt_tokens,
            count_tokens=count_tokens,
        )

    @property
    def as_text(self) -> bool:
        """Whether the model answers in text, since it takes no tools or is to be given none."""
        return self._bound is None

    @property
    def model(self) -> Runnable[LanguageModelInput, AIMessage]:
        """The model, with the tool as it is described now."""
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
