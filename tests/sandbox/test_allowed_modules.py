"""What is known of the modules that a program may import, before it runs."""

from __future__ import annotations

from langchain_ptc import ProgrammaticToolExecutor
from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES, import_hint, is_member


def test_no_hint_for_an_unknown_name() -> None:
    """A name of no module has no hint."""
    assert import_hint("nowhere") == ""


def test_members_of_modules_are_those_that_programs_have() -> None:
    """The check knows every name of every module, with and without an event loop."""
    names = [name for name in STANDARD_MODULES if name not in ("__future__", "threading")]
    code = "\n".join(f"import {name}\nprint('{name}', *dir({name}))" for name in names)
    for head in ("", "async def f(): pass\n"):
        for line in ProgrammaticToolExecutor([]).execute(head + code).output.splitlines():
            module, *found = line.split()
            assert [name for name in found if not is_member(module, name)] == []
