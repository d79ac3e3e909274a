from tools.finance import get_team_budget
import json

teams = ["eng-1", "eng-2", "ops-1", "mkt-1"]
total_allocated = 0
total_spent = 0
details = []

for team_id in teams:
    budget = await get_team_budget(team_id=team_id, fiscal_year=2024, include_spent=True)
    total_allocated += budget["allocated"]
    total_spent += budget["spent"]
    details.append({
        "team": budget["team_name"],
        "allocated": budget["allocated"],
        "spent": budget["spent"],
        "remaining": budget["allocated"] - budget["spent"],
    })

summary = {
    "teams": details,
    "total_allocated": total_allocated,
    "total_spent": total_spent,
    "utilization_pct": round(total_spent / total_allocated * 100, 2),
}
print(json.dumps(summary, indent=2))
