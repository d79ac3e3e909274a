import asyncio
from datetime import datetime
from itertools import chain, groupby
from operator import itemgetter

from tools.hr import get_team_members, list_departments
from tools.finance import get_expenses

departments = await list_departments()
teams = await asyncio.gather(*[get_team_members(department=d) for d in departments])
members = list(chain.from_iterable(teams))
lists = await asyncio.gather(*[get_expenses(user_id=m["id"], quarter="Q4") for m in members])

rows = [
    {"month": datetime.strptime(e["date"], "%Y-%m-%d").strftime("%B"), "dept": m["department"], "amount": e["amount"]}
    for m, items in zip(members, lists)
    for e in items
]
rows.sort(key=itemgetter("dept", "month"))
for (dept, month), group in groupby(rows, key=itemgetter("dept", "month")):
    amounts = [r["amount"] for r in group]
    print(f"{dept}/{month}: n={len(amounts)}, avg={sum(amounts) / len(amounts):.2f}, max={max(amounts)}")
