"""How each sandbox is driven. Runs in the environment of each, so nothing is imported before it is used.

An adapter is opened with tools and limits, runs programs, each from a fresh state, and returns what a
program printed; it raises whatever the sandbox raises. Each is set up as its documentation says.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import io
import operator
from collections.abc import Callable, Mapping
from typing import Any

_NAMES = (
    "abc asyncio base64 bisect calendar collections concurrent.futures contextlib copy csv "
    "dataclasses datetime decimal difflib enum fractions functools hashlib heapq html io itertools "
    "json math operator random re statistics string textwrap time typing unicodedata uuid zoneinfo"
)
MODULES = tuple(_NAMES.split())
"""Modules that programs may import, where a sandbox wants to be told."""
MANY_CALLS = 10_000_000


class Adapter:
    """Runs programs in one sandbox.

    Args:
        tools: Functions of the host that programs may call.
        seconds: Time that a program may take, if the sandbox can be told.
        memory_bytes: Memory that it may take, if the sandbox can be told.
    """

    sequential = "for i in range({N}):\n    add(i)\n"
    """Calls `add` so often."""
    gathered = ""
    """Calls `slow` a hundred times side by side; empty if the sandbox cannot."""
    payload = "print(len(big()))"

    def __init__(
        self, tools: Mapping[str, Callable[..., Any]], *, seconds: float, memory_bytes: int
    ) -> None:
        self.tools, self.seconds, self.memory_bytes = dict(tools), seconds, memory_bytes

    @staticmethod
    def load() -> None:
        """Import what is needed."""

    def run(self, code: str) -> str:
        """Run a program and return what it printed."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""


class Plain(Adapter):
    """CPython's own `exec`: what there is to be lost, and to be had."""

    gathered = (
        "import asyncio\n"
        "async def main():\n"
        "    await asyncio.gather(*[asyncio.sleep(0.05) for _ in range(100)])\n"
        "asyncio.run(main())\n"
    )

    def run(self, code: str) -> str:
        """Run it here."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<program>", "exec"), {"__name__": "__main__", **self.tools})
        return printed.getvalue()


class CodeAct(Plain):
    """The `eval` function of langgraph-codeact's README: locals and globals are two dicts."""

    def run(self, code: str) -> str:
        """Run it here."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, builtins.__dict__.copy(), dict(self.tools))
        return printed.getvalue()


class _Ours(Adapter):
    sequential = "for i in range({N}):\n    await add(i)\n"
    gathered = "import asyncio\nawait asyncio.gather(*[slow() for _ in range(100)])\n"
    payload = "print(len(await big()))"
    sandbox_name = ""

    def __init__(self, tools: Mapping[str, Callable[..., Any]], **limits: Any) -> None:
        import langchain_ptc

        super().__init__(tools, **limits)
        self._runner = asyncio.Runner()
        self._sandbox = getattr(langchain_ptc, self.sandbox_name)()

    def run(self, code: str) -> str:
        return self._runner.run(self._run(code))

    async def _run(self, code: str) -> str:
        from langchain_ptc import Limits
        from langchain_ptc.sandbox.api import Program, Result
        from langchain_ptc.sandbox.wire.values import encode_value

        session = self._sandbox.session()
        loop = asyncio.get_running_loop()

        def on_calls(calls: Any) -> None:
            at_once = []
            for call in calls:
                if call.tool == "slow":
                    loop.call_later(0.05, session.resume, [Result(id=call.id)])
                else:
                    value = self.tools[call.tool](*call.args, **call.kwargs)
                    at_once.append(Result(id=call.id, payload=encode_value(value)))
            if at_once:
                session.resume(at_once)

        limits = Limits(
            wall_seconds=self.seconds,
            memory_bytes=self.memory_bytes,
            max_tool_calls=1_000_000,
            max_concurrent_calls=1_000,
        )
        program = Program(code=code, tools=tuple(self.tools), limits=limits)
        done = await session.run(program, on_calls)
        if done.status != "success":
            raise RuntimeError(str(done.failure and done.failure.message))
        return done.output

    def close(self) -> None:
        self._sandbox.close()
        self._runner.close()


class Ours(_Ours):
    """langchain-ptc, the sandbox alone: a process for each program, forked from a warm one."""

    sandbox_name = "ProcessSandbox"

    @staticmethod
    def load() -> None:
        """Import it."""
        from langchain_ptc.sandbox.host.process import ProcessSandbox  # noqa: F401


class OursInProcess(_Ours):
    """langchain-ptc, the language policy alone, in this process."""

    sandbox_name = "InProcessSandbox"

    @staticmethod
    def load() -> None:
        """Import it."""
        from langchain_ptc.sandbox.host.inprocess import InProcessSandbox  # noqa: F401


class OursWhole(Adapter):
    """langchain-ptc as users have it: the executor, with its checks and its default sandbox."""

    in_process = False

    @staticmethod
    def load() -> None:
        """Import it."""
        from langchain_core.tools import StructuredTool  # noqa: F401

        import langchain_ptc

        _ = langchain_ptc.ProgrammaticToolExecutor, langchain_ptc.ProcessSandbox
        _ = langchain_ptc.InProcessSandbox

    def __init__(self, tools: Mapping[str, Callable[..., Any]], **limits: Any) -> None:
        from langchain_core.tools import StructuredTool

        from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor

        super().__init__(tools, **limits)
        allowed = Limits(wall_seconds=self.seconds, memory_bytes=self.memory_bytes)
        self._sandbox = InProcessSandbox() if self.in_process else ProcessSandbox()
        self._executor = ProgrammaticToolExecutor(
            [StructuredTool.from_function(tool) for tool in tools.values()],
            limits=allowed,
            sandbox=self._sandbox,
        )

    def run(self, code: str) -> str:
        """Run it."""
        result = self._executor.execute(code)
        if result.status != "success":
            raise RuntimeError(result.report())
        return result.output

    def close(self) -> None:
        """End the workers."""
        self._sandbox.close()


class OursWholeInProcess(OursWhole):
    """The same with `InProcessSandbox`."""

    in_process = True


class Monty(Adapter):
    """pydantic-monty: a Python of its own in Rust, in worker processes."""

    gathered = (
        "import asyncio\n"
        "async def main():\n"
        "    await asyncio.gather(*[slow() for _ in range(100)])\n"
        "await main()\n"
    )

    @staticmethod
    def load() -> None:
        """Import it."""
        import pydantic_monty  # noqa: F401

    def __init__(self, tools: Mapping[str, Callable[..., Any]], **limits: Any) -> None:
        from pydantic_monty import Monty as Pool

        super().__init__(tools, **limits)
        self._limits = {
            "max_suspensions": MANY_CALLS,
            "max_feed_duration_secs": self.seconds,
            "max_memory": self.memory_bytes,
        }
        self._runner: asyncio.Runner | None = None
        self._async_pool: Any = None
        self._pool = Pool(min_processes=2)
        self._pool.__enter__()

    def run(self, code: str) -> str:
        """Run it in a worker that waits."""
        from pydantic_monty import CollectString

        if code == self.gathered:
            return self._run_gathered(code)
        printed = CollectString()
        with self._pool.checkout(limits=self._limits) as session:
            session.feed_run(code, external_lookup=self.tools, print_callback=printed)
        return str(printed.output)

    def _run_gathered(self, code: str) -> str:
        """Run code that waits for several calls at once, which takes another pool, kept as well."""
        from pydantic_monty import AsyncMonty

        async def slow() -> None:
            await asyncio.sleep(0.05)

        async def start() -> None:
            self._async_pool = AsyncMonty()
            await self._async_pool.__aenter__()
            await run()

        async def run() -> None:
            async with self._async_pool.checkout(limits=self._limits) as session:
                await session.feed_run(code, external_lookup={"slow": slow})

        if self._runner is None:
            self._runner = asyncio.Runner()
            self._runner.run(start())
        self._runner.run(run())
        return ""

    async def _stop(self) -> None:
        await self._async_pool.__aexit__(None, None, None)

    def close(self) -> None:
        """End the workers."""
        self._pool.__exit__(None, None, None)
        if self._runner is not None:
            self._runner.run(self._stop())
            self._runner.close()


class Smolagents(Adapter):
    """smolagents' LocalPythonExecutor: walks the syntax tree, in this process."""

    @staticmethod
    def load() -> None:
        """Import it."""
        from smolagents.local_python_executor import LocalPythonExecutor  # noqa: F401

    def run(self, code: str) -> str:
        """Run it from a fresh state."""
        from smolagents.local_python_executor import LocalPythonExecutor

        executor = LocalPythonExecutor(
            list(MODULES), additional_functions=self.tools, timeout_seconds=self.seconds
        )
        executor.send_tools({})
        return str(executor(code).logs)


class Restricted(Adapter):
    """RestrictedPython with the guards that it ships, and the harmless built-ins that it leaves out.

    It ships no import, so there is none.
    """

    harmless = (all, any, bytearray, dict, enumerate, filter, frozenset, iter, list, map, max, min)
    harmless += (next, object, range, reversed, set, sorted, sum, super, tuple)

    @staticmethod
    def load() -> None:
        """Import it."""
        import RestrictedPython.Guards  # noqa: F401

    def run(self, code: str) -> str:
        """Run it here."""
        from RestrictedPython import (
            PrintCollector,
            compile_restricted_exec,
            safe_builtins,
            utility_builtins,
        )
        from RestrictedPython.Eval import default_guarded_getitem, default_guarded_getiter
        from RestrictedPython.Guards import (
            full_write_guard,
            guarded_iter_unpack_sequence,
            guarded_unpack_sequence,
            safer_getattr,
        )

        compiled = compile_restricted_exec(code)
        if compiled.errors:
            raise SyntaxError("; ".join(compiled.errors))
        extra = {each.__name__: each for each in self.harmless}
        scope = {
            "__builtins__": {**safe_builtins, **utility_builtins, **extra},
            "__name__": "restricted",
            "__metaclass__": type,
            "_print_": PrintCollector,
            "_getattr_": safer_getattr,
            "_getitem_": default_guarded_getitem,
            "_getiter_": default_guarded_getiter,
            "_iter_unpack_sequence_": guarded_iter_unpack_sequence,
            "_unpack_sequence_": guarded_unpack_sequence,
            "_write_": full_write_guard,
            "_inplacevar_": _in_place,  # it ships none; without one there is no `+=`
            **self.tools,
        }
        exec(compiled.code, scope)
        return str(scope["_print"]()) if "_print" in scope else ""


def _in_place(sign: str, left: Any, right: Any) -> Any:
    names = {
        "+=": "iadd", "-=": "isub", "*=": "imul", "/=": "itruediv", "//=": "ifloordiv",
        "%=": "imod", "**=": "ipow", "|=": "ior", "&=": "iand", "^=": "ixor", ">>=": "irshift",
        "<<=": "ilshift", "@=": "imatmul",
    }  # fmt: skip
    return getattr(operator, names[sign])(left, right)


class Codecell(Adapter):
    """codecell: CPython in a new process for each program, after a look at the syntax tree."""

    sequential = "for i in range({N}):\n    add(i=i)\n"

    @staticmethod
    def load() -> None:
        """Import it."""
        import codecell  # noqa: F401

    def __init__(self, tools: Mapping[str, Callable[..., Any]], **limits: Any) -> None:
        from codecell import IpcSubprocessRuntime
        from codecell.python import PythonValidator

        super().__init__(tools, **limits)
        self._runtime = IpcSubprocessRuntime(PythonValidator())

    def run(self, code: str) -> str:
        """Run it."""
        result = self._runtime.execute(code, namespace=self.tools, timeout=self.seconds)
        if result.return_code:
            raise RuntimeError(f"{result.stdout}\n{result.stderr}")
        return str(result.stdout)


class QuickJs(Adapter):
    """The engine under langchain-quickjs: JavaScript in WebAssembly, in this process."""

    sequential = "for (let i = 0; i < {N}; i++) add(i); 0"
    gathered = "await Promise.all(Array.from({length: 100}, () => slow()))"
    payload = "big().length"

    @staticmethod
    def load() -> None:
        """Import it."""
        import quickjs_rs  # noqa: F401

    def run(self, code: str) -> str:
        """Run it in a fresh context."""
        from quickjs_rs import Runtime

        runtime = Runtime()
        context = runtime.new_context(timeout=self.seconds)
        try:
            for name, tool in self.tools.items():
                context.register(name, self._slow if name == "slow" else tool)
            if code == self.gathered:
                return str(asyncio.run(context.eval_async(code)))
            return str(context.eval(code))
        finally:
            context.close()
            runtime.close()

    @staticmethod
    async def _slow() -> int:
        await asyncio.sleep(0.05)
        return 0


ADAPTERS: Mapping[str, type[Adapter]] = {
    "plain": Plain,
    "ours": Ours,
    "ours-inprocess": OursInProcess,
    "ours-whole": OursWhole,
    "ours-whole-inprocess": OursWholeInProcess,
    "monty": Monty,
    "smolagents": Smolagents,
    "restricted": Restricted,
    "codecell": Codecell,
    "quickjs": QuickJs,
    "codeact": CodeAct,
}
