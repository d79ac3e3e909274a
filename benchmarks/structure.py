"""How large the package is, and how far a call travels through it.

    python -m benchmarks.structure

Counts: lines of `langchain_ptc/`, and those that are code; modules; the longest chain of imports; public
modules; functions of ours that the host calls for a small program, and for one tool call of it. The
counts do not depend on the machine; `tests/package/test_architecture.py` holds them against their limits.
"""

from __future__ import annotations

import ast
import asyncio
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import langchain_ptc

PACKAGE = Path(langchain_ptc.__file__).parent
CODE = "x = await get_x(3)\nprint(x)"
CODE_OF_ONE, CODE_OF_TWO = (
    f"for n in range({n}):\n    x = await get_x(n)\nprint(x)" for n in (1, 2)
)

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def list_files() -> list[Path]:
    """Return the files of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def count_lines(paths: Iterable[Path]) -> tuple[int, int]:
    """Return the lines of some files, and how many of them are code: no docstring, comment or blank."""
    lines = code = 0
    for path in paths:
        text = path.read_text("utf-8")
        lines += text.count("\n")
        docstrings: set[int] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        marked: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in _NO_CODE:
                marked.update(range(token.start[0], token.end[0] + 1))
        code += len(marked - docstrings)
    return lines, code


def name_module(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = ("langchain_ptc", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(*, for_types: bool = False) -> dict[str, set[str]]:
    """Return which modules of the package each module imports, in functions too.

    Args:
        for_types: Whether imports under `if TYPE_CHECKING:` count.
    """
    modules = {name_module(path): path for path in list_files()}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in _walk(ast.parse(path.read_text("utf-8")), for_types=for_types):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                targets = [
                    inner if (inner := f"{node.module}.{alias.name}") in modules else node.module
                    for alias in node.names
                    if node.module
                ]
            found[name].update(target for target in targets if target in modules)
        found[name].discard(name)
    return found


def _walk(node: ast.AST, *, for_types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    if isinstance(node, ast.expr):
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
        children = node.orelse
    for child in children:
        yield from _walk(child, for_types=for_types)


def longest_chain(imports: dict[str, set[str]]) -> list[str]:
    """Return the longest chain of modules of which each imports the next.

    The doors, `langchain_ptc` and its public packages, are left out: they import when a name is used.
    """

    @cache
    def chain(name: str) -> tuple[str, ...]:
        return (name, *max((chain(target) for target in imports[name]), key=len, default=()))

    return list(max((chain(name) for name in imports if "." in name), key=len))


@dataclass(frozen=True, slots=True, order=True)
class Travel:
    """What the host called of ours."""

    calls: int
    functions: int
    files: int
    switches: int
    """How often a call came from a function in another of our files."""


class _Profile:
    """Counts calls of our functions, in the thread of the event loop."""

    def __init__(self) -> None:
        self.called: list[tuple[CodeType, str | None]] = []
        self._root = str(PACKAGE)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._root):
            caller = frame.f_back
            while caller is not None and not caller.f_code.co_filename.startswith(self._root):
                caller = caller.f_back
            self.called.append((code, caller.f_code.co_filename if caller else None))

    def summary(self) -> Travel:
        """Return the counts."""
        return Travel(
            calls=len(self.called),
            functions=len({code for code, _ in self.called}),
            files=len({code.co_filename for code, _ in self.called}),
            switches=sum(code.co_filename != caller for code, caller in self.called),
        )


def profile_program(code: str = CODE) -> _Profile:
    """Run a program with one tool, after warm runs, and return what the host called of ours."""
    from langchain_core.tools import tool

    @tool
    async def get_x(n: int) -> int:
        """Get a number."""
        return n

    from langchain_ptc import ProgrammaticToolExecutor

    async def run() -> _Profile:
        executor = ProgrammaticToolExecutor([get_x])
        for _ in range(3):
            assert (await executor.aexecute(code)).status == "success"
        profile = _Profile()
        sys.setprofile(profile)
        try:
            assert (await executor.aexecute(code)).status == "success"
        finally:
            sys.setprofile(None)
        return profile

    return asyncio.run(run())


def one_call() -> Travel:
    """Return what one tool call more adds to a program: calls and switches, and all it goes through."""
    one, two = profile_program(CODE_OF_ONE), profile_program(CODE_OF_TWO)
    more = Counter(two.called) - Counter(one.called)
    return Travel(
        calls=sum(more.values()),
        functions=len({code for code, _ in more}),
        files=len({code.co_filename for code, _ in more}),
        switches=sum(n for (code, caller), n in more.items() if code.co_filename != caller),
    )


def main() -> None:
    """Print the table."""
    files = list_files()
    lines, code = count_lines(files)
    chain = longest_chain(read_imports())
    program, call = profile_program().summary(), one_call()
    print(f"lines / of them code    {lines:,} / {code:,}")
    print(f"modules                 {len(files)}")
    print(f"longest import chain    {len(chain)}: {' -> '.join(part[14:] for part in chain)}")
    print(f"a small program         {program}")
    print(f"one tool call           {call}")


if __name__ == "__main__":
    main()
