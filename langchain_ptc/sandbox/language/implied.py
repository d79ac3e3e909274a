"""Imports that a program forgot: modules that it uses by name and binds nowhere. Pure.

The check on the host and the program in its worker ask the same function, so that both know the same
names.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Collection, Mapping, Sequence

from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES
from langchain_ptc.sandbox.language.scopes import SyntaxTree

_ALIASES = {"np": "numpy", "pd": "pandas"}
"""Short names that everybody gives to these modules."""

_MADE = {
    "asyncio": "run to_thread get_event_loop get_running_loop new_event_loop set_event_loop",
    "concurrent.futures": "ThreadPoolExecutor",
    "contextlib": "redirect_stderr redirect_stdout",
    "sys": "stderr stdout",
    "traceback": "format_exc format_exception format_exception_only print_exc print_exception",
}
"""Names of modules that are made for each program."""


def find_implied(tree: SyntaxTree, modules: Collection[str]) -> dict[str, str]:
    """Return what to import for a program: the name -> the dotted name of what it stands for.

    A name counts if nothing binds it where it is read, and every use of it fits: `json.dumps` reads an
    attribute that the module has. A name that is a member of its own module (`datetime`, `pprint`) is
    that member where it is called or read as only the member can be: `datetime.now()`. Uses of a
    variable of the same name, such as the parameter in `def wait(time)`, do not count.

    Args:
        tree: The program.
        modules: Names of the modules that it may import.
    """
    uses: dict[str, list[str]] = {}
    for node in tree.kinds.get(ast.Name, ()):
        name = node.id
        if (
            (name in modules or name in _ALIASES)
            and name not in tree.module.bindings
            and isinstance(node.ctx, ast.Load)
            and tree.resolve(node) is None
        ):
            parent = tree.parents[node]
            attribute = parent.attr if isinstance(parent, ast.Attribute) else ""
            uses.setdefault(name, []).append(attribute)
    found = {name: _meaning(name, attributes, modules) for name, attributes in uses.items()}
    return {name: meant for name, meant in found.items() if meant is not None}


def _meaning(name: str, attributes: Sequence[str], modules: Collection[str]) -> str | None:
    """Return what a name stands for that is used with these attributes; None if nothing fits."""
    module = _ALIASES.get(name, name)
    if module not in modules:
        return None
    listed = STANDARD_MODULES.get(module)
    if listed is None:  # a module of the developer, whose names are not known here
        return None if "" in attributes else module
    known = [attribute in _members(module) for attribute in attributes]
    if name in listed and not all(known):
        return None if any(known) else f"{name}.{name}"
    return module if any(known) and "" not in attributes else None


@functools.cache
def _members(module: str) -> frozenset[str]:
    """Return the names of a module, its submodules among them."""
    prefix = f"{module}."
    made = _MADE.get(module, "").split()
    inner = {other[len(prefix) :] for other in STANDARD_MODULES if other.startswith(prefix)}
    return frozenset(
        (*STANDARD_MODULES[module], *made, *(part.partition(".")[0] for part in inner))
    )


def is_member(module: str, name: str) -> bool:
    """Whether a module of the standard library has a name, here or in another Python.

    Returns:
        True for a module that is not listed.
    """
    if module not in STANDARD_MODULES or name.startswith("_") or name in _members(module):
        return True
    return hasattr(sys.modules.get(module), name)


def member_hint(module: str, name: str) -> str:
    """Return `datetime.datetime.now` for `now` of the module `datetime`; empty for anything else."""
    if module in STANDARD_MODULES.get(module, ()):
        cls = getattr(sys.modules.get(module), module, None)
        if isinstance(cls, type) and name in vars(cls):
            return f"{module}.{module}.{name}"
    return ""


def import_hint(name: str) -> str:
    """Return what to write for a name that nothing binds; empty where no module has it.

    `from collections import Counter` for `Counter`, and for a module its import.
    """
    member = _homes().get(name, "")
    if name not in STANDARD_MODULES:
        return member
    both = member if name in STANDARD_MODULES[name] else ""
    return f"import {name}" + (f"` or `{both}" if both else "")


@functools.cache
def _homes() -> Mapping[str, str]:
    homes: dict[str, list[str]] = {}
    for module, listed in STANDARD_MODULES.items():
        for name in (*listed, *_MADE.get(module, "").split()):
            if len(name) > 2:  # `e`, `pi` and the like are rather variables
                homes.setdefault(name, []).append(module)
    best = {name: min(found, key=_preference) for name, found in homes.items()}
    return {name: f"from {module} import {name}" for name, module in best.items()}


def _preference(module: str) -> tuple[bool, str]:
    return module not in _USUAL, module


_USUAL = frozenset(
    {
        *("collections", "dataclasses", "datetime", "decimal", "enum", "functools", "itertools"),
        *("json", "math", "random", "re", "statistics", "string", "time"),
    }
)
"""Where a name is in several modules, one of these is meant."""
