from collections import defaultdict
from datetime import datetime, timedelta
from tools import get_sales_data

sales = await get_sales_data()
monthly: dict[str, float] = defaultdict(float)
for s in sales:
    when = datetime.fromisoformat(s["date"])
    monthly[f"{when:%Y-%m}"] += s["revenue"]

running = 0.0
for month, revenue in sorted(monthly.items()):
    running += revenue
    bar = "#" * int(revenue // 1500)
    print(f"{month} | {revenue:>9,.1f} | {running:>10,.1f} | {bar}")

last = max(datetime.fromisoformat(s["date"]) for s in sales)
print((last + timedelta(days=30)).date().isoformat(), f"{last:%A}")
