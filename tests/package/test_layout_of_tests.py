"""The tests mirror the package, and use of it what is public or what they test."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.package.test_architecture import MODULES, PACKAGE, PUBLIC_MODULES
from tests.support import ROOT
from tests.support.trees import parse

TESTS = ROOT / "tests"
OF_THE_WHOLE = {
    "benchmarks",
    "cluster",
    "docs",
    "escapes",
    "package",
    "server",
    "support",
    "trials",
    "typing",
}
"""Folders of tests that mirror no folder of the package."""
FILES = [
    path
    for path in sorted(TESTS.rglob("*.py"))
    if path.name != "__init__.py" and TESTS / "support" / "programs" not in path.parents
]

BOTH_SIDES = "langchain_ptc.sandbox.wire"
"""What the tests of every part of the sandbox may use, since the host and the worker both do."""
EXCEPTIONS = {
    "package/test_architecture.py": "looks at every module",
    "escapes/attacks_host.py": "removes walls of the host's side, in a process that imports nothing else",
}

NOT_OURS = {
    "_active",  # threading
    "_exit",  # os
    "_getframe",  # sys
    "_ready",  # of an event loop
    "_scheduled",  # the same
    "_replace",  # of a named tuple
    "_run",  # of a tool of LangChain, and of a handle of asyncio
}
"""Names with an underscore that others than us have given."""


def may_import(path: Path, module: str) -> bool:
    """Whether a file of tests may import a module of the package."""
    folder = path.relative_to(TESTS).parent
    if module in PUBLIC_MODULES or folder.parts[:1] == ("support",):
        return True
    own = ".".join(("langchain_ptc", *folder.parts))
    parent, _, _ = module.rpartition(".")
    if folder.parts[:1] == ("sandbox",):
        beside = parent == "langchain_ptc.sandbox" and module not in PACKAGES
        if beside or module.startswith(f"{BOTH_SIDES}."):
            return True
    if not folder.parts:
        return parent == "langchain_ptc" and module not in PACKAGES
    return module == own or module.startswith(f"{own}.")


PACKAGES = {
    ".".join(("langchain_ptc", *path.parent.relative_to(PACKAGE).parts))
    for path in PACKAGE.rglob("__init__.py")
}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the modules of the package that a file imports, with the line."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in MODULES else node.module


def test_folders_of_tests_are_those_of_the_package() -> None:
    """A folder of tests is named as the folder of the package that it tests, or is one of a few of the whole."""
    folders = {path.parent.relative_to(TESTS) for path in FILES}
    for folder in folders - {Path()}:
        assert (PACKAGE / folder).is_dir() or folder.parts[0] in OF_THE_WHOLE, folder


def test_names_of_files_are_unique() -> None:
    """A test is found by the name of its file."""
    times = Counter(path.name for path in FILES if path.name.startswith("test_"))
    assert [name for name, count in times.items() if count > 1] == []


def test_private_modules_are_imported_beside_them_only() -> None:
    """Tests of a folder use its modules, the public names, and what `tests/support` offers."""
    found = [
        f"{path}:{line}: {module}"
        for path in FILES
        if str(path.relative_to(TESTS)) not in EXCEPTIONS
        for line, module in imports_of(path)
        if module.split(".")[0] == "langchain_ptc" and not may_import(path, module)
    ]
    assert found == []


@cache
def private_names() -> set[str]:
    """Return the names with an underscore that the package gives to attributes and to what it defines."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return {name for name in found if re.fullmatch(r"_[A-Za-z]\w*?(?<!_)", name)} - NOT_OURS


def uses_of_private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield private names of the package that a file uses of other objects than its own, with the line."""
    private = private_names()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private:
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("langchain_ptc"):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in private)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "getattr")):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and argument.value in private:
                    yield node.lineno, argument.value


def own_names(tree: ast.AST) -> set[str]:
    """Return the attributes that the classes of a file give themselves."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    } | {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_no_test_reaches_into_an_object() -> None:
    """What a test needs to see of an object has a name without an underscore."""
    found = []
    for path in FILES:
        tree = parse(path)
        if private := list(uses_of_private_names(tree)):
            own = own_names(tree)
            found += [f"{path}:{line}: {used}" for line, used in private if used not in own]
    assert found == []


def test_every_exception_is_in_use() -> None:
    """The list of exceptions holds no more than what is used."""
    assert all((TESTS / name).exists() for name in EXCEPTIONS)
