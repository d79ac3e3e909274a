"""`ProgrammaticToolExecutor`: run code over a catalog in a sandbox, and keep a record of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.limits import Limits
from langchain_ptc.run.approvals import Approvals, InterruptMode, InterruptOn
from langchain_ptc.run.budgets import Budget
from langchain_ptc.run.call_runner import build_pipeline
from langchain_ptc.run.dispatch import Dispatcher
from langchain_ptc.run.error_text import OnToolError
from langchain_ptc.run.events import OnEvent, Refusals
from langchain_ptc.run.execution import Check, Durable, Execution, ExecutorConfig
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.policies.call_policy import CallPolicies
from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.run.redaction import Redact, checked_redact
from langchain_ptc.run.run_budgets import Budgets, offer_budget
from langchain_ptc.sandbox.api import Sandbox
from langchain_ptc.sandbox.host.process import ProcessSandbox, checked_imports
from langchain_ptc.wording import check_choice


class ProgrammaticToolExecutor:
    """Runs code that calls tools.

    One executor serves any number of executions, from any event loop or thread.

    Args:
        catalog: The tools that the code may call; anything that `ToolCatalog` takes will do.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox` that all executors with the same
            `imports` share, and that ends with the process.
        imports: Modules that the code may import besides the standard ones, for the default
            sandbox.
        interrupt_on: Which calls a person must approve, by tool; see `Approvals`. Needs a graph with
            a checkpointer: elsewhere such calls are refused.
        interrupt_mode: `batched` asks about all calls that the code makes side by side in one
            question; `per_call` in one each.
        durable: `auto` keeps a journal of the execution wherever there is a checkpointer, so that
            nothing happens twice when the graph is interrupted and resumed; `always` refuses to run
            without one; `never` keeps none.
        on_event: Is told what happens while it happens; see `execution.events`.
        check: What the code is held against before anything of it runs: `static` finds calls that
            cannot work, `types` runs a type checker besides (needs the extra `typecheck`), `off`
            nothing.
        log: Keeps the record of each execution.
        redact: What is hidden of the arguments of calls in records, events and reports: `secrets`
            hides fields that are named like secrets, `none` nothing; or a function of the tool's name
            and the arguments, which returns what to show. The tools get the arguments as they are.
        budget: What each execution may spend.
        run_budget: What a whole run of the graph may spend: everything since the user's last message.
        on_tool_error: What the code is told when a tool raises: the exception's class and text
            (`message`), its class (`type`), or only that the tool failed (`hide`).
        call_policies: The state of breakers, rate limits and kept results, to share it with another
            executor over the same tools.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: Both `sandbox` and `imports` are given, approvals without a journal, or an option
            is none of what it may be.
    """

    def __init__(
        self,
        catalog: ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]],
        *,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
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
        check_choice("on_tool_error", on_tool_error, OnToolError)
        check_choice("durable", durable, Durable)
        check_choice("check", check, Check)
        self.catalog = catalog if isinstance(catalog, ToolCatalog) else ToolCatalog(catalog)
        if budget is not None or run_budget is not None:
            self.catalog = offer_budget(self.catalog)
        self.limits = limits or Limits()
        self.sandbox: Sandbox = sandbox or _default_sandbox(checked_imports(imports))
        approvals = Approvals(self.catalog, interrupt_on, interrupt_mode)
        if approvals and durable == "never":
            raise ValueError(
                "durable='never' with tools that need approval: after the pause the code would make "
                "again what it had made before it; leave out durable"
            )
        self.call_policies = call_policies or CallPolicies()
        """The policies of its tools, with their state."""
        dispatchers = {
            d.qualified_name: Dispatcher(d, is_own=d in self.catalog.discovery)
            for d in self.catalog.callables
        }
        budgets = Budgets(budget, run_budget, self.catalog)
        self._config = ExecutorConfig(
            catalog=self.catalog,
            limits=self.limits,
            sandbox=self.sandbox,
            dispatchers=dispatchers,
            pipelines={
                name: build_pipeline(dispatcher, self.call_policies, on_tool_error)
                for name, dispatcher in dispatchers.items()
            },
            approvals=approvals,
            durable=durable,
            on_event=on_event,
            check=check,
            redact=checked_redact(redact),
            log=log,
            refusals=Refusals(),
            budgets=budgets,
            on_tool_error=on_tool_error,
            reads_state=budgets.is_for_run or any(d.is_injected for d in dispatchers.values()),
        )

    @property
    def budgets(self) -> Budgets:
        """What its executions, and runs of the graph, may spend."""
        return self._config.budgets

    def start(self, code: str, **options: Any) -> Execution:
        """Prepare an execution; does not run it yet.

        Args:
            code: What the model wrote.
            options: What else `Execution` takes.
        """
        return Execution(self._config, code, **options)

    def execute(
        self, code: str, *, config: RunnableConfig | None = None, call_id: str | None = None
    ) -> ExecutionResult:
        """Run code to its end from synchronous code; see `aexecute`."""
        return self.start(code, config=config, call_id=call_id).run().result

    async def aexecute(
        self, code: str, *, config: RunnableConfig | None = None, call_id: str | None = None
    ) -> ExecutionResult:
        """Run code to its end.

        Args:
            code: What the model wrote.
            config: Callbacks, tags, metadata and the rest for the tools.
            call_id: Id of the tool call that asked for the execution.

        Returns:
            The record. Whatever the code does, it is told there and not raised.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            ValueError: `durable="always"` where there is no checkpointer.
        """
        return (await self.start(code, config=config, call_id=call_id).arun()).result


@functools.cache
def _default_sandbox(imports: tuple[str, ...]) -> ProcessSandbox:
    """Return the sandbox for those who choose none; it lives as long as the process.

    Whoever builds an agent for each request must not start a parent of workers for each.
    """
    return ProcessSandbox(imports=imports)
