import asyncio
from collections import defaultdict
from tools import get_product, list_orders, reorder


async def find_shortages():
    wanted = defaultdict(int)
    for line in await list_orders():
        wanted[line["product_id"]] += line["quantity"]

    async def check_product(product_id, quantity):
        product = await get_product(product_id=product_id)
        missing = quantity - product["stock"]
        if missing <= 0:
            return None
        number = await reorder(product_id=product_id, quantity=missing)
        return {"product": product["name"], "missing": missing, "order": number}

    checks = [check_product(p, q) for p, q in sorted(wanted.items())]
    return [r for r in await asyncio.gather(*checks) if r is not None]


shortages = await find_shortages()
print(f"{len(shortages)} products reordered")
for s in shortages:
    print("*", s["product"], s["missing"], s["order"], sep=" | ")
