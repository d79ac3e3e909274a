import asyncio
from tools.finance import get_expenses

async def worker(queue, totals):
    while True:
        user_id = await queue.get()
        try:
            items = await asyncio.wait_for(get_expenses(user_id), timeout=5)
            totals[user_id] = sum(i["amount"] for i in items)
        finally:
            queue.task_done()

async def main():
    queue = asyncio.Queue()
    for n in range(1, 16):
        queue.put_nowait(f"u{n}")
    totals = {}
    workers = [asyncio.create_task(worker(queue, totals)) for _ in range(4)]
    await queue.join()
    for w in workers:
        w.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return totals

totals = asyncio.run(main())
for user_id in sorted(totals, key=lambda u: int(u[1:])):
    print(user_id, totals[user_id])
