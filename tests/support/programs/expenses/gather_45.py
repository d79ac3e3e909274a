from tools.hr import get_team_members
from tools.finance import get_expenses
import asyncio

team = await get_team_members("engineering")
all_expenses = await asyncio.gather(*[get_expenses(m["id"]) for m in team])

totals = {}
for member, expenses in zip(team, all_expenses):
    totals[member["name"]] = sum(e["amount"] for e in expenses)

top = sorted(totals.items(), key=lambda x: x[1], reverse=True)[:5]
print(f"Team size: {len(team)}")
print(f"Grand total: ${sum(totals.values()):,.2f}")
for name, amount in top:
    print(f"  {name}: ${amount:,.2f}")
