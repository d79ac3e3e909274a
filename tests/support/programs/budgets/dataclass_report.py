from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, asdict
from decimal import Decimal, ROUND_HALF_UP
from typing import List, Optional

from tools.finance import get_team_budget


@dataclass(order=True)
class TeamSummary:
    utilization: Decimal
    name: str = field(compare=False)
    allocated: float = field(compare=False, default=0.0)
    spent: Optional[float] = field(compare=False, default=None)

    @property
    def over_budget(self) -> bool:
        return self.utilization > 1

    @classmethod
    def from_budget(cls, budget: dict) -> TeamSummary:
        used = Decimal(str(budget["spent"])) / Decimal(str(budget["allocated"]))
        return cls(
            utilization=used.quantize(Decimal("0.001"), rounding=ROUND_HALF_UP),
            name=budget["team_name"],
            allocated=budget["allocated"],
            spent=budget["spent"],
        )

    def __str__(self) -> str:
        flag = " (OVER)" if self.over_budget else ""
        return f"{self.name}: {self.utilization}{flag}"


async def collect(ids: List[str]) -> List[TeamSummary]:
    return sorted(
        [TeamSummary.from_budget(b) for b in await asyncio.gather(*map(get_team_budget, ids))],
        reverse=True,
    )


summaries = await collect(["eng-1", "eng-2", "mkt-1", "ops-1"])
for s in summaries:
    print(s)
print(asdict(summaries[-1]))
print(repr(summaries[0]))
