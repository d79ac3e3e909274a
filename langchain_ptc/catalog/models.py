"""Chat models as tools: code asks a model about parts of data that fit into no context."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, StructuredTool, ToolException

MAX_PROMPTS = 100
"""Prompts of one call of the batched tool."""


def model_tools(
    model: BaseChatModel,
    *,
    name: str = "ask_model",
    system: str = "",
    max_prompts: int = MAX_PROMPTS,
    max_concurrency: int = 8,
) -> list[BaseTool]:
    """Return two tools that ask a chat model: `ask_model(prompt)`, and `ask_model_batch(prompts)` for many.

    The model sees the prompt and nothing of the conversation. What it costs is bounded like the calls of any
    tool, by `ToolPolicy(max_calls=...)` or a `Budget`, and its tokens are in the traces of the run.

    Args:
        model: A chat model.
        name: Name of the tool; that of the batched one ends with `_batch`.
        system: Instructions that come before each prompt.
        max_prompts: Prompts that one call of the batched tool may have.
        max_concurrency: How many of them the model is asked at a time.

    Raises:
        ValueError: `max_prompts` or `max_concurrency` is not positive.
    """
    for option, value in (("max_prompts", max_prompts), ("max_concurrency", max_concurrency)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value!r}")

    def ask_of(prompt: str) -> LanguageModelInput:
        return [*([SystemMessage(system)] if system else []), HumanMessage(prompt)]

    def checked(prompts: list[str]) -> list[LanguageModelInput]:
        if len(prompts) > max_prompts:
            raise ToolException(
                f"{len(prompts)} prompts in one call, and {max_prompts} are allowed: use several calls"
            )
        return [ask_of(prompt) for prompt in prompts]

    def here() -> RunnableConfig:
        return {**ensure_config(), "max_concurrency": max_concurrency}

    def ask(prompt: str) -> str:
        return model.invoke(ask_of(prompt), ensure_config()).text

    async def aask(prompt: str) -> str:
        return (await model.ainvoke(ask_of(prompt), ensure_config())).text

    def ask_batch(prompts: list[str]) -> list[str]:
        return [reply.text for reply in model.batch(checked(prompts), here())]

    async def aask_batch(prompts: list[str]) -> list[str]:
        return [reply.text for reply in await model.abatch(checked(prompts), here())]

    return [
        StructuredTool.from_function(
            ask,
            aask,
            name=name,
            description="Ask a language model. It knows only what the prompt says: put the text into it.",
        ),
        StructuredTool.from_function(
            ask_batch,
            aask_batch,
            name=f"{name}_batch",
            description="Ask a language model several prompts at once; the replies are in their order. At most "
            f"{max_prompts} prompts.",
        ),
    ]
