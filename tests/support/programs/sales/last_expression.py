import asyncio

regions = ["north", "south", "east", "west"]
per_region = await asyncio.gather(*[get_sales_data(region=r) for r in regions])
{
    region: {
        "count": len(sales),
        "revenue": sum(s["revenue"] for s in sales),
        "best": max(sales, key=lambda s: s["revenue"])["product"],
    }
    for region, sales in zip(regions, per_region)
}
