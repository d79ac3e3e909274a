"""Programs for the trials: made by chance from a seed, with one right output whatever is interrupted."""

from __future__ import annotations

import random

_MAX_QUESTIONS = 5


class _Maker:
    """Makes one program. Every call of it has an argument of its own, which is its identity."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0
        self._questions = 0

    def program(self) -> str:
        parts = [self._part() for _ in range(self._chance.randint(1, 4))]
        lines = ["import asyncio, random, time, uuid", "out = []", "async def main():"]
        for part in parts:
            lines += [f"    {line}" for line in part]
        if self._chance.random() < 0.15:
            lines.append(f"    raise ValueError({self._next()!r})")
        lines += ["try:", "    await main()", "except ValueError as e:", "    out.append(repr(e))"]
        lines.append("print(out)")
        return "\n".join(lines)

    def _next(self) -> str:
        self._number += 1
        return f"k{self._number}"

    def _call(self) -> str:
        """Return an awaitable of one call."""
        kinds = ["get", "get", "post", "post", "flaky"]
        if self._questions < _MAX_QUESTIONS:
            kinds += ["ask", "ask", "pay", "pay"]
        kind = self._chance.choice(kinds)
        if kind in ("ask", "pay"):
            self._questions += 1
        return f"{kind}({self._next()!r})"

    def _guarded(self, call: str, name: str) -> list[str]:
        return [
            "try:",
            f"    {name} = await {call}",
            "except ToolCallError as e:",
            f"    {name} = 'failed'",
        ]

    def _part(self) -> list[str]:
        return self._chance.choice(
            [self._chain, self._gather, self._chains, self._race, self._chosen, self._timed]
        )()

    def _chain(self) -> list[str]:
        lines = []
        for _ in range(self._chance.randint(1, 3)):
            lines += [*self._guarded(self._call(), "v"), "out.append(v)"]
        return lines

    def _gather(self) -> list[str]:
        calls = ", ".join(self._call() for _ in range(self._chance.randint(2, 5)))
        return [
            f"vs = await asyncio.gather({calls}, return_exceptions=True)",
            "out.append([v if isinstance(v, str) else 'failed' for v in vs])",
        ]

    def _chains(self) -> list[str]:
        """Chains side by side, whose calls come in an order that only the answers settle."""
        name = f"chain{self._number}"
        first, second, third = (self._call() for _ in range(3))
        rewritten = [c.replace("('", "(f'{i}-").replace('("', '(f"{i}-') for c in (first, second)]
        self._questions += 2 * sum(c.startswith(("ask", "pay")) for c in (first, second))
        return [
            f"async def {name}(i):",
            *(f"    {line}" for line in self._guarded(rewritten[0], "a")),
            "    await asyncio.sleep(random.random() / 200)",
            *(f"    {line}" for line in self._guarded(rewritten[1], "b")),
            "    return [a, b]",
            f"out.append(await asyncio.gather(*[{name}(i) for i in range(3)]))",
            *self._guarded(third, "v"),
            "out.append(v)",
        ]

    def _race(self) -> list[str]:
        """Calls whose arguments depend on who was first; the output does not."""
        name = f"racer{self._number}"
        key = self._next()
        return [
            f"order{key} = []",
            f"async def {name}(i):",
            f"    await get(f'{key}-{{i}}')",
            f"    order{key}.append(i)",
            f"    await post(f'{key}-{{i}}-{{len(order{key})}}')",
            "    return i",
            f"out.append(await asyncio.gather(*[{name}(i) for i in range(4)]))",
            *self._guarded(self._call(), "v"),
            "out.append(v)",
        ]

    def _chosen(self) -> list[str]:
        """A path that depends on chance and on a set's order, which must be the same each time."""
        one, other = self._call(), self._call()
        key = self._next()
        return [
            f"names = {{'x{key}', 'y{key}', 'z{key}'}}",
            f"await post('{key}-' + '-'.join(names) + '-' + str(uuid.uuid4()) + str(time.time()))",
            "if random.random() < 0.5:",
            *(f"    {line}" for line in self._guarded(one, "v")),
            "else:",
            *(f"    {line}" for line in self._guarded(other, "v")),
            "out.append(isinstance(v, str))",
        ]

    def _timed(self) -> list[str]:
        """A call with a time-out that it keeps, and a pause."""
        call = self._call()
        return [
            *self._guarded(f"asyncio.wait_for({call}, 20)", "v"),
            "out.append(v)",
            "await asyncio.sleep(0.002)",
        ]


def make_program(seed: int) -> str:
    """Return the program of a seed."""
    return _Maker(random.Random(seed)).program()
