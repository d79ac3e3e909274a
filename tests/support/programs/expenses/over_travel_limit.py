import asyncio
import json
from tools.hr import get_team_members
from tools.finance import get_expenses, get_budget_by_level

team = await get_team_members(department="engineering")

# Budgets only depend on the level, so fetch each one once
levels = list(set(m["level"] for m in team))
budgets = dict(zip(levels, await asyncio.gather(*[get_budget_by_level(level) for level in levels])))

expenses = await asyncio.gather(*[get_expenses(user_id=m["id"], quarter="Q3") for m in team])

exceeded = []
for member, items in zip(team, expenses):
    travel = sum(e["amount"] for e in items if e["category"] == "travel" and e["approved"])
    limit = budgets[member["level"]]["travel_limit"]
    if travel > limit:
        exceeded.append({"name": member["name"], "spent": travel, "limit": limit, "over": round(travel - limit, 2)})

exceeded.sort(key=lambda x: -x["over"])
print(json.dumps(exceeded, indent=2))
