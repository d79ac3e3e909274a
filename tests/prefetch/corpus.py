"""Programs of every kind: those of other tests, random ones, and modules of the package."""

from __future__ import annotations

import random
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
    for folder in ("agent", "catalog", "prefetch", "run"):
        for path in sorted((ROOT / "langchain_ptc" / folder).glob("*.py")):
            yield path.read_text("utf-8")


def random_program(seed: int) -> str:
    """Return a program that reads by `get` and writes by `pay`, in all ways that models do."""
    return _Maker(random.Random(seed)).program()


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._number = 0
        self._is_async = rng.random() < 0.6

    def program(self) -> str:
        body = [line for _ in range(self._rng.randint(2, 6)) for line in self._statement(0)]
        if not self._is_async:
            return "\n".join(["out = []", *body, "print(out)"]) + "\n"
        lines = ["import asyncio", "out = []"]
        if self._rng.random() < 0.4:
            body = ["async def main():", *(f"    {line}" for line in body), "await main()"]
        return "\n".join([*lines, *body, "print(out)"]) + "\n"

    def _call(self, tool: str, *arguments: object) -> str:
        given = ", ".join(map(str, arguments))
        return f"(await {tool}({given}))" if self._is_async else f"{tool}({given})"

    def _statement(self, depth: int) -> list[str]:
        self._number += 1
        n, key = self._number, repr(self._rng.choice("abcd"))
        inner = (
            [f"    {line}" for line in self._statement(depth + 1)] if depth < 3 else ["    pass"]
        )
        define = "async def" if self._is_async else "def"
        keys = "[get(k) for k in out[:3]]"
        return self._rng.choice(
            [
                [f"v{n} = {self._call('get', key)}", f"out.append(v{n})"],
                [
                    f"v{n} = {self._call('get', key)}",
                    f"out.append({self._call('get', f'v{n}[-1:]')})",
                ],
                [f"out.append({self._call('pay', key, 'len(out)')})"],
                [f"v{n} = len(out) + sum(range({n}))", f"out.append(str(v{n}))"],
                [
                    f"{define} h{n}(k):",
                    f"    r = {self._call('get', 'k')}",
                    "    return r",
                    f"out.append({self._call(f'h{n}', key)})",
                ],
                [
                    f"w{n} = 0",
                    f"while w{n} < 2:",
                    f"    out.append({self._call('get', f'str(w{n})')})",
                    f"    w{n} += 1",
                ],
                [
                    f"out.extend(await asyncio.gather(*{keys}))"
                    if self._is_async
                    else f"out.extend({keys})"
                ],
                [
                    f"for i{n} in range({self._rng.randint(1, 3)}):",
                    *inner,
                    f"    out.append(str(i{n}))",
                ],
                [
                    f"for i{n} in 'ab':",
                    f"    v{n} = {self._call('get', f'i{n}')}",
                    f"    if v{n}[-1:] in '13579': {self._rng.choice(['break', 'continue'])}",
                    *inner,
                ],
                [
                    f"if len(out) % 2 == {n % 2}:",
                    *inner,
                    "else:",
                    f"    out.append({self._call('get', key)})",
                ],
                [f"if {self._call('get', key)}[-1:] in '02468':", *inner],
                [
                    "try:",
                    *inner,
                    f"    out.append({self._call('get', key)})",
                    "except ToolCallError:",
                    *inner,
                ],
            ]
        )
