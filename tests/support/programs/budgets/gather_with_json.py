import asyncio
import json
from tools.finance import get_team_budget

team_ids = ["eng-1", "eng-2", "ops-1", "mkt-1"]

# Fetch all budgets in parallel
budgets = await asyncio.gather(
    *[get_team_budget(team_id=t, fiscal_year=2024, include_spent=True) for t in team_ids]
)

summary = {b["team_id"]: {"allocated": b["allocated"], "spent": b["spent"]} for b in budgets}
summary["total"] = {
    "allocated": sum(b["allocated"] for b in budgets),
    "spent": sum(b["spent"] for b in budgets),
}
print(json.dumps(summary, indent=2))
