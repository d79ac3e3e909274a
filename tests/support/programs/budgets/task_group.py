import asyncio
from tools.finance import get_team_budget

async with asyncio.TaskGroup() as tg:
    tasks = {
        year: tg.create_task(get_team_budget(team_id="eng-2", fiscal_year=year))
        for year in range(2022, 2026)
    }

previous = None
for year, task in tasks.items():
    allocated = task.result()["allocated"]
    if previous is None:
        print(f"{year}: ${allocated:,.0f}")
    else:
        change = (allocated - previous) / previous * 100
        print(f"{year}: ${allocated:,.0f} ({change:+.2f}%)")
    previous = allocated
