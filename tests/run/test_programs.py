"""Programs as models write them run untouched and print what plain Python would print."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from langchain_ptc import (
    ExecutionResult,
    InProcessSandbox,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    ToolCatalog,
)
from langchain_ptc.run.plain import render_plain
from tests.support import SUPPORT
from tests.support.programs.world import build_world

PROGRAMS = sorted((SUPPORT / "programs").glob("*/*.py"))
SHAPES = ("budgets", "expenses", "inventory", "sales", "search", "workflow")
PROGRAM = pytest.mark.parametrize(
    "path", [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in PROGRAMS]
)


def check(path: Path, result: ExecutionResult) -> None:
    """Hold an execution against the files beside its program."""
    assert result.status == "success", result.report()
    assert not result.notes, "honest code is told nothing besides"
    printed, value = path.with_suffix(".txt"), path.with_suffix(".value")
    assert result.output == (printed.read_text("utf-8") if printed.exists() else "")
    if value.exists():
        assert result.value == ast.literal_eval(value.read_text("utf-8"))
        assert result.report() == render_plain(result.value)
    else:
        assert result.report() == result.output.rstrip("\n")


@PROGRAM
def test_execute(path: Path, sandbox: ProcessSandbox | InProcessSandbox) -> None:
    """A program runs from synchronous code of the host."""
    executor = ProgrammaticToolExecutor(ToolCatalog(build_world(path.parent.name)), sandbox=sandbox)
    check(path, executor.execute(path.read_text("utf-8")))


@PROGRAM
async def test_aexecute(path: Path, sandbox: ProcessSandbox | InProcessSandbox) -> None:
    """The same program runs from asynchronous code of the host, with the same end."""
    executor = ProgrammaticToolExecutor(ToolCatalog(build_world(path.parent.name)), sandbox=sandbox)
    check(path, await executor.aexecute(path.read_text("utf-8")))


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_programs(shape: str) -> None:
    """Every shape of the issue is there several times, each program with what it should print."""
    paths = [path for path in PROGRAMS if path.parent.name == shape]
    assert len(paths) >= 6
    for path in paths:
        printed, value = path.with_suffix(".txt"), path.with_suffix(".value")
        assert printed.exists() != value.exists(), path


def test_no_expectation_without_a_program() -> None:
    """A renamed program leaves no expectation behind."""
    folder = SUPPORT / "programs"
    expected = {
        path.with_suffix("") for kind in ("txt", "value") for path in folder.glob(f"*/*.{kind}")
    }
    assert expected == {path.with_suffix("") for path in PROGRAMS}
