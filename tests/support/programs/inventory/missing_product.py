import asyncio

async def safe_get(product_id):
    try:
        return await get_product(product_id)
    except Exception as error:
        if f"there is no product {product_id}" in str(error):
            return None
        raise

products = await asyncio.gather(*[safe_get(p) for p in [1, 42, 3, 0]])
known = [p for p in products if p]
print([p["name"] for p in known], products.count(None))
assert len(known) == 2, "two of the four exist"
