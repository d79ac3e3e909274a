"""`ProgrammaticToolExecutor`: runs code over a catalog in a sandbox, without a model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.check.checker import Checker
from langchain_ptc.limits import Limits
from langchain_ptc.run.approvals import Approvals, InterruptMode, InterruptOn
from langchain_ptc.run.arguments import ArgumentReader
from langchain_ptc.run.budgets import Budget
from langchain_ptc.run.call_policy import CallPolicies, build_pipeline
from langchain_ptc.run.dispatch import Dispatcher
from langchain_ptc.run.events import OnEvent, Refusals
from langchain_ptc.run.execution import (
    Check,
    Durable,
    Execution,
    ExecutorConfig,
    build_prefetcher,
)
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.prefetcher import Prefetch, Prefetcher
from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.run.redaction import OnToolError, Redact, checked_redact
from langchain_ptc.run.run_budgets import Budgets, build_budget_tool
from langchain_ptc.sandbox.api import Sandbox
from langchain_ptc.sandbox.host.process import ProcessSandbox, checked_imports
from langchain_ptc.wording import check_choice


class ProgrammaticToolExecutor:
    """Runs code that calls tools.

    One executor serves any number of executions, from any event loop or thread.

    Args:
        catalog: The tools that the code may call; anything that `ToolCatalog` takes.
        sandbox: Where the code runs; by default a `ProcessSandbox` that all executors with the same
            `imports` share, and that ends with the process.
        limits: As in `as_programmatic`, and so are `imports`, `files`, `interrupt_on`, `interrupt_mode`,
            `durable`, `prefetch`, `on_event`, `check`, `log`, `redact`, `budget`, `run_budget`,
            `on_tool_error` and `call_policies`.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: `imports` or `files` is given with `sandbox`, tools need approval with
            `durable="never"`, or an option is invalid.
        SandboxError: `files` on a system other than Linux.
    """

    def __init__(
        self,
        catalog: ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]],
        *,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
        prefetch: Prefetch = "off",
        on_event: OnEvent | None = None,
        check: Check = "static",
        log: ExecutionLog | None = None,
        redact: Redact = "secrets",
        budget: Budget | None = None,
        run_budget: Budget | None = None,
        on_tool_error: OnToolError = "message",
        call_policies: CallPolicies | None = None,
    ) -> None:
        if sandbox is not None and imports:
            raise ValueError(
                "pass imports to the sandbox itself, for example "
                f"ProcessSandbox(imports={list(imports)!r}), or leave out sandbox"
            )
        if sandbox is not None and files:
            raise ValueError(
                f"pass files to the sandbox itself, ProcessSandbox(files={files!r}), or leave out sandbox"
            )
        check_choice("on_tool_error", on_tool_error, OnToolError)
        check_choice("durable", durable, Durable)
        check_choice("prefetch", prefetch, Prefetch)
        check_choice("check", check, Check)
        self.catalog = catalog if isinstance(catalog, ToolCatalog) else ToolCatalog(catalog)
        if budget is not None or run_budget is not None:
            self.catalog = self.catalog.with_functions(build_budget_tool())
        self.limits = limits or Limits()
        self.sandbox: Sandbox = sandbox or _default_sandbox(checked_imports(imports), files)
        approvals = Approvals(self.catalog, interrupt_on, interrupt_mode)
        if approvals and durable == "never":
            raise ValueError(
                "durable='never' cannot be used with tools that need approval: after the pause, the code "
                "would repeat the calls that it made before it; leave out durable"
            )
        self.call_policies = call_policies or CallPolicies()
        """The policies of its tools, and their state."""
        dispatchers = {
            d.qualified_name: Dispatcher(d, is_own=d in self.catalog.discovery)
            for d in self.catalog.callables
        }
        budgets = Budgets(budget, run_budget, self.catalog)
        self._config = ExecutorConfig(
            catalog=self.catalog,
            limits=self.limits,
            sandbox=self.sandbox,
            readers={
                name: ArgumentReader(dispatcher.definition)
                for name, dispatcher in dispatchers.items()
            },
            pipelines={
                name: build_pipeline(dispatcher, self.call_policies, on_tool_error, self.catalog)
                for name, dispatcher in dispatchers.items()
            },
            approvals=approvals,
            durable=durable,
            prefetch=prefetch,
            on_event=on_event,
            check=check,
            checker=Checker(self.catalog, self.sandbox.modules),
            redact=checked_redact(redact),
            log=log,
            refusals=Refusals(),
            budgets=budgets,
            on_tool_error=on_tool_error,
            reads_state=budgets.is_for_run or any(d.is_injected for d in dispatchers.values()),
            readable=frozenset(n for n, d in dispatchers.items() if d.can_prefetch),
        )

    @property
    def budgets(self) -> Budgets:
        """What its executions, and runs of the graph, may spend."""
        return self._config.budgets

    @property
    def prefetching(self) -> Prefetch:
        """Which calls begin before the code makes them."""
        return self._config.prefetch

    def start(self, code: str, **options: Any) -> Execution:
        """Prepare an execution; does not run it yet.

        Args:
            code: The program that the model wrote.
            options: The other options of `Execution`.
        """
        return Execution(self._config, code, **options)

    def prefetch(self, *, config: RunnableConfig | None = None, **options: Any) -> Prefetcher:
        """Take code while it is written, and begin calls that it is going to make.

        Give it each piece as it comes (`feed`), and then to `execute` or `aexecute` with the whole code, on
        the same event loop; or `close` it.

        Args:
            config: Callbacks, tags, metadata and so on for the tools.
            options: The other options of `build_prefetcher`.

        Raises:
            ValueError: The executor does not have `prefetch="stream"`.
        """
        if self.prefetching != "stream":
            raise ValueError(
                "calls begin while the code is written only with prefetch='stream'; this executor has "
                f"prefetch={self.prefetching!r}"
            )
        return build_prefetcher(self._config, config=config, **options)

    def execute(
        self,
        code: str,
        *,
        config: RunnableConfig | None = None,
        inputs: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        call_id: str | None = None,
        prefetcher: Prefetcher | None = None,
    ) -> ExecutionResult:
        """Run code from synchronous code; see `aexecute`."""
        execution = self.start(
            code,
            config=config,
            inputs=inputs,
            files=files,
            call_id=call_id,
            prefetcher=prefetcher,
        )
        return execution.run().result

    async def aexecute(
        self,
        code: str,
        *,
        config: RunnableConfig | None = None,
        inputs: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        call_id: str | None = None,
        prefetcher: Prefetcher | None = None,
    ) -> ExecutionResult:
        """Run code and wait for its result.

        Args:
            code: The program that the model wrote.
            config: Callbacks, tags, metadata and so on for the tools.
            inputs: Values that the code finds in variables, by name: `{"orders": frame}`. They arrive as
                results of tools do: as plain data, a frame as a list of records.
            files: Files that the code finds in its folder, by name: `{"orders.csv": b"..."}`.
            call_id: Id of the tool call that requested the execution.
            prefetcher: What has taken the code while it was written; see `prefetch`.

        Returns:
            The record of the execution. Errors of the code are reported in it, and not raised.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            TypeError: The content of a file is not bytes.
            ValueError: `durable="always"` without a checkpointer; one of `inputs` that the code cannot be given,
                or that is larger than `Limits.result_bytes`; or files without a folder, that do not
                fit into it, or with a name that no file can have.
        """
        execution = self.start(
            code,
            config=config,
            inputs=inputs,
            files=files,
            call_id=call_id,
            prefetcher=prefetcher,
        )
        return (await execution.arun()).result


@functools.cache
def _default_sandbox(imports: tuple[str, ...], files: bool | int) -> ProcessSandbox:
    """Return the default sandbox; it lives as long as the process.

    An application that builds an agent for each request must not start a process pool for each.
    """
    return ProcessSandbox(imports=imports, files=files)
