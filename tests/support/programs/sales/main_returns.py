import asyncio
from typing import Any


async def main() -> dict[str, Any]:
    sales, customer = await asyncio.gather(get_sales_data(), get_customer(11))
    match customer:
        case {"tier": "enterprise"}:
            top = 10
        case {"tier": "pro", "tags": [first, *_]}:
            top = 5
        case _:
            top = 3
    best = sorted(sales, key=lambda s: s["revenue"])[-top:]
    trend = await analyze_trends(best)
    return {"customer": customer.name, "tags": customer["tags"], "top": top, **trend}


return await main()
