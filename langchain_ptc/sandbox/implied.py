"""Imports that a program forgot: modules that it uses by name and binds nowhere. Pure.

The check on the host and the program in its worker ask the same function, so that both know the same
names.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Mapping, Sequence

from langchain_ptc.sandbox.shape import bound_globals
from langchain_ptc.sandbox.stdlib import STANDARD_MODULES

_ALIASES = {"np": "numpy", "pd": "pandas"}
"""Short names that everybody gives to these modules."""

_MADE = {
    "asyncio": "run to_thread get_event_loop get_running_loop new_event_loop",
    "concurrent.futures": "ThreadPoolExecutor",
    "contextlib": "redirect_stderr redirect_stdout",
    "sys": "stderr stdout",
    "traceback": "format_exc format_exception format_exception_only print_exc print_exception",
}
"""Names of modules that are made for each program."""


def find_implied(
    tree: ast.Module, nodes: Sequence[ast.AST], modules: Collection[str]
) -> dict[str, str]:
    """Return what to import for a program: the name -> the dotted name of what it stands for.

    A name counts if the top level does not bind it and every use of it fits: `json.dumps` reads an
    attribute that the module has. A name that is a member of its own module (`datetime`, `pprint`) is
    that member where it is called or read as only the member can be: `datetime.now()`.

    Args:
        tree: The program.
        nodes: Every node of it.
        modules: Names of the modules that it may import.
    """
    attributes: dict[str, set[str]] = {}
    bare: dict[str, int] = {}
    for node in nodes:
        if isinstance(node, ast.Name):
            if node.id in modules or node.id in _ALIASES:
                loads = isinstance(node.ctx, ast.Load)
                bare[node.id] = bare.get(node.id, 0) + 1 if loads else len(nodes)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name in modules or name in _ALIASES:
                attributes.setdefault(name, set()).add(node.attr)
                bare[name] = bare.get(name, 0) - 1
    if not bare:
        return {}
    bound = bound_globals(tree, nodes)
    found = {
        name: _meaning(name, attributes.get(name, set()), alone=bare[name] > 0, modules=modules)
        for name in bare
        if name not in bound
    }
    return {name: meant for name, meant in found.items() if meant is not None}


def _meaning(
    name: str, attributes: set[str], *, alone: bool, modules: Collection[str]
) -> str | None:
    module = _ALIASES.get(name, name)
    if module not in modules:
        return None
    listed = STANDARD_MODULES.get(module)
    if listed is None:  # a module of the developer, whose names are not known here
        return None if alone else module
    known = _members(module)
    if name in listed and (alone or not attributes & known):
        return None if attributes & known else f"{name}.{name}"
    return None if alone or not attributes & known else module


@functools.cache
def _members(module: str) -> frozenset[str]:
    """Return the names of a module, its submodules among them."""
    prefix = f"{module}."
    made = _MADE.get(module, "").split()
    inner = {other[len(prefix) :] for other in STANDARD_MODULES if other.startswith(prefix)}
    return frozenset(
        (*STANDARD_MODULES[module], *made, *(part.partition(".")[0] for part in inner))
    )


def import_hint(name: str) -> str:
    """Return `from collections import Counter` for `Counter`; empty where no module has the name."""
    return _homes().get(name, "")


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
        "collections",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "itertools",
        "math",
        "random",
        "re",
    }
    | {"json", "statistics", "functools", "string", "time"}
)
"""Where a name is in several modules, one of these is meant."""
