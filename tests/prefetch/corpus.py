"""Programs of every kind: those of other tests, random ones, and modules of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support import ROOT
from tests.trials.programs import make_program


def programs() -> Iterator[str]:
    """Yield programs that call tools: written as models write them, and random ones."""
    for path in sorted((ROOT / "tests" / "support" / "programs").rglob("*.py")):
        yield path.read_text("utf-8")
    for name in ("right.txt", "wrong.txt"):
        text = (ROOT / "tests" / "check" / name).read_text("utf-8")
        for case in re.split(r"^=== .*\n", text, flags=re.MULTILINE)[1:]:
            yield case.partition("\n---\n")[0].rstrip() + "\n"
    yield from map(make_program, range(100))


def modules() -> Iterator[str]:
    """Yield modules of the package, which use more of the language."""
    for folder in ("prefetch", "replies", "sandbox/wire"):
        for path in sorted((ROOT / "langchain_ptc" / folder).glob("*.py")):
            yield path.read_text("utf-8")
