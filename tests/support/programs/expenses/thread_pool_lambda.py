from concurrent.futures import ThreadPoolExecutor
from tools.hr import get_team_members
from tools.finance import get_expenses

members = get_team_members(department="engineering")

with ThreadPoolExecutor() as executor:
    results = executor.map(lambda m: (m["name"], get_expenses(user_id=m["id"], quarter="Q3")), members)

totals = {name: sum(item["amount"] for item in items) for name, items in results}
biggest = max(totals, key=totals.get)
print(f"{len(totals)} people, biggest spender: {biggest} with {totals[biggest]:.2f}")
