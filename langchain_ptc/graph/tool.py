"""`as_programmatic(tools)`: the tools behind one `run_code` tool."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg
from pydantic import BaseModel, Field, PrivateAttr

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.execution.executor import ProgrammaticToolExecutor
from langchain_ptc.execution.record import ExecutionResult
from langchain_ptc.graph.examples import Example, build_examples
from langchain_ptc.graph.prompts import CODE_ARGUMENT, EXAMPLES_HEADING, RUN_CODE_DESCRIPTION
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.base import Sandbox

Tools = ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]]
"""What can be offered to code: a catalog, tools, or tools by domain."""
Examples = Literal["auto"] | Sequence[tuple[str, str]] | None
"""Programs that the model is shown: none, generated from the catalog, or question-and-code pairs."""

_call_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("ptc_call_id", default=None)


def as_programmatic(
    tools: Tools,
    *,
    domain: str | None = None,
    policies: Mapping[str, ToolPolicy] | None = None,
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
    imports: Sequence[str] = (),
    examples: Examples = None,
    tool_name: str = "run_code",
) -> list[BaseTool]:
    """Put tools behind one tool that runs code.

    The list goes wherever the tools went: `create_agent`, `create_react_agent`, `ToolNode`,
    `model.bind_tools`, a deep agent.

    Args:
        tools: The tools that the code may call; a mapping gives each group a domain.
        domain: Domain of a flat list of tools, so that code says `from tools.<domain> import …`.
        policies: What holds for single tools, by the name that the code uses.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox`.
        imports: Modules that the code may import besides the standard ones.
        examples: Programs that the model is shown.
        tool_name: Name of the one tool.

    Returns:
        A list of one `BaseTool`. Its message holds what the code printed; the message's artifact is
        the `ExecutionResult`.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: Options that exclude each other.
    """
    catalog = build_catalog(tools, domain=domain, policies=policies)
    executor = ProgrammaticToolExecutor(catalog, limits=limits, sandbox=sandbox, imports=imports)
    shown = render_examples(resolve_examples(examples, catalog))
    return [
        RunCodeTool(
            name=tool_name,
            description=_describe(catalog, imports, shown),
            executor=executor,
        )
    ]


def build_catalog(
    tools: Tools, *, domain: str | None, policies: Mapping[str, ToolPolicy] | None
) -> ToolCatalog:
    """Wrap tools into a catalog, or take the one that there is.

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
            raise ValueError(f"domain={domain!r} with tools that are given by domain")
        tools = {domain: tools}
    return ToolCatalog(tools, policies=policies)


def resolve_examples(examples: Examples, catalog: ToolCatalog) -> list[Example]:
    """Return the examples that are meant.

    Raises:
        ValueError: `examples` is nothing of what it may be.
    """
    if examples is None:
        return []
    if examples == "auto":
        return build_examples(catalog)
    if isinstance(examples, str):
        raise ValueError(  # noqa: TRY004  # a wrong value among strings
            f"examples must be None, 'auto' or pairs, got {examples!r}"
        )
    return [Example(question=question, code=code) for question, code in examples]


def render_examples(examples: Sequence[Example]) -> str:
    """Render examples as text."""
    if not examples:
        return ""
    shown = [f"Request: {e.question}\n```python\n{e.code}\n```" for e in examples]
    return "\n\n".join([EXAMPLES_HEADING, *shown])


def _describe(catalog: ToolCatalog, imports: Sequence[str], examples: str) -> str:
    more = f", and {', '.join(imports)}" if imports else ""
    text = RUN_CODE_DESCRIPTION.replace("{IMPORTS}", more).replace("{STUBS}", catalog.render())
    return f"{text}\n\n{examples}" if examples else text


class RunCodeArguments(BaseModel):
    """Arguments of the tool that runs code."""

    code: str = Field(description=CODE_ARGUMENT)
    # Filled in by a graph, by its name; never by the model.
    runtime: Annotated[Any, InjectedToolArg] = None


class RunCodeTool(BaseTool):
    """Runs code that calls the wrapped tools; made by `as_programmatic`.

    Invoked with a tool call it gives a `ToolMessage` whose content is the report for the model,
    whose status is `error` unless the code succeeded, and whose artifact is the `ExecutionResult`.
    """

    args_schema: Any = RunCodeArguments
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    metadata: dict[str, Any] | None = Field(
        default_factory=lambda: {"ls_code_input_language": "python"}
    )
    _executor: ProgrammaticToolExecutor = PrivateAttr()

    def __init__(self, *, executor: ProgrammaticToolExecutor, **fields: Any) -> None:
        super().__init__(**fields)
        self._executor = executor

    @property
    def catalog(self) -> ToolCatalog:
        """The tools that the code may call."""
        return self._executor.catalog

    def _run(
        self,
        code: str,
        runtime: Any = None,
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> tuple[str, ExecutionResult]:
        # The config of this run, under which the inner calls nest, is in the context.
        del runtime, run_manager
        return _told(self._executor.execute(code, call_id=_call_id.get()))

    async def _arun(
        self,
        code: str,
        runtime: Any = None,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[str, ExecutionResult]:
        del runtime, run_manager
        return _told(await self._executor.aexecute(code, call_id=_call_id.get()))

    def run(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool; see `BaseTool.run`."""
        token = _call_id.set(tool_call_id)
        try:
            return _marked(super().run(*args, tool_call_id=tool_call_id, **kwargs))
        finally:
            _call_id.reset(token)

    async def arun(self, *args: Any, tool_call_id: str | None = None, **kwargs: Any) -> Any:
        """Run the tool; see `BaseTool.arun`."""
        token = _call_id.set(tool_call_id)
        try:
            return _marked(await super().arun(*args, tool_call_id=tool_call_id, **kwargs))
        finally:
            _call_id.reset(token)


def _told(result: ExecutionResult) -> tuple[str, ExecutionResult]:
    return result.report(), result


def _marked(answer: Any) -> Any:
    """Give the message of a failed execution the status that says so."""
    if isinstance(answer, ToolMessage) and isinstance(answer.artifact, ExecutionResult):
        answer.status = "success" if answer.artifact.error is None else "error"
    return answer
