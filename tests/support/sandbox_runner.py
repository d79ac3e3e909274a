"""Runs code under the sandbox's language alone, in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from langchain_ptc.sandbox.language.guards import build_namespace
from langchain_ptc.sandbox.language.modules import ModuleLoader
from langchain_ptc.sandbox.language.policy import compile_code


@dataclass
class Ran:
    """What a run left."""

    output: str = ""
    has_value: bool = False
    value: object = None
    mode: str = ""
    namespace: dict[str, object] = field(default_factory=dict)


def run_code(
    code: str,
    *,
    guard_writes: bool = False,
    names: Mapping[str, object] | None = None,
    extra: Sequence[str] = (),
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    stdout: io.TextIOBase | None = None,
) -> Ran:
    """Run `code` and return what it printed and gave."""
    ran = Ran()

    def write(*values: object, sep: str = " ", end: str = "\n", **_: object) -> None:
        ran.output += sep.join(map(str, values)) + end

    compiled = compile_code(code, guard_writes=guard_writes, tool_names=frozenset(names or ()))
    names_of_modules = {"asyncio": {"run": _run}, **(overrides or {})}
    loader = ModuleLoader(extra=extra, overrides=lambda: names_of_modules, stdout=stdout)
    ran.namespace = build_namespace(compiled, importer=loader.load, print=write)
    ran.namespace.update(names or {})
    started = compiled.start(ran.namespace)
    if started is not None:
        asyncio.run(started)
    ran.mode = compiled.mode
    ran.has_value, ran.value = compiled.value(ran.namespace)
    return ran


def _run(main: object) -> None:
    raise NotImplementedError("a program's own event loop is not under test here")


Runner = Callable[..., Ran]
