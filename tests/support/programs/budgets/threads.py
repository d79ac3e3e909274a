import json
from concurrent.futures import ThreadPoolExecutor

from tools.finance import get_team_budget

teams = ["eng-1", "eng-2", "ops-1", "mkt-1"]

with ThreadPoolExecutor(max_workers=4) as pool:
    budgets = list(pool.map(lambda t: get_team_budget(team_id=t, fiscal_year=2024), teams))

total = sum(b["allocated"] for b in budgets)
shares = {b["team_name"]: round(b["allocated"] / total, 4) for b in budgets}
print(json.dumps(shares, indent=2))
