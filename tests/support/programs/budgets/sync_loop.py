from tools.finance import get_team_budget
import json

def summarize_team(team_id, year=2024):
    b = get_team_budget(team_id=team_id, fiscal_year=year, include_spent=True)
    return b["team_name"], b["allocated"], b["spent"]

rows = [summarize_team(t) for t in ["eng-1", "ops-1"]]
for name, allocated, spent in rows:
    status = "over" if spent > allocated else "under"
    print(f"{name} is {status} budget by {abs(allocated - spent):,.2f}")
print(json.dumps(dict((name, [a, s]) for name, a, s in rows)))
