import asyncio
from tools.finance import get_expenses

ids = ["u1", "u2", "nobody", "u4"]
results = await asyncio.gather(*(get_expenses(i) for i in ids), return_exceptions=True)

ok = {}
for user_id, res in zip(ids, results):
    if isinstance(res, Exception):
        print(f"⚠ {user_id}: failed")
    else:
        ok[user_id] = round(sum(e["amount"] for e in res), 2)
print(ok)
