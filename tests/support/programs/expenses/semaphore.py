import asyncio
from collections import Counter, defaultdict

from tools.finance import get_expenses
from tools.hr import get_team_members

MAX_CONCURRENT = 10
semaphore = asyncio.Semaphore(MAX_CONCURRENT)


async def fetch(member):
    async with semaphore:
        return member, await get_expenses(member["id"], "Q2")


async def main() -> None:
    members = await get_team_members(department="engineering")
    by_category = defaultdict(float)
    count = Counter()
    for coro in asyncio.as_completed([fetch(m) for m in members]):
        member, expenses = await coro
        for expense in expenses:
            by_category[expense["category"]] += expense["amount"]
            count[expense["category"]] += 1
    for category, n in sorted(count.most_common()):
        print(f"{category:10s} {n:3d} {by_category[category]:12.2f}")


await main()
