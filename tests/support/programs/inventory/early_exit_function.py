async def first_affordable(category: str, budget: float):
    """Stop at the first product of the category that fits the budget."""
    looked_at = 0
    for product_id in range(9, 0, -1):
        product = await get_product(product_id=product_id)
        looked_at += 1
        if product["category"] != category:
            continue
        if product["price"] <= budget:
            return product, looked_at
    return None, looked_at

for category, budget in [("garden", 12), ("kitchen", 100), ("tools", 1)]:
    product, looked_at = await first_affordable(category, budget)
    name = product["name"] if product else "nothing"
    print(f"{category} under {budget}: {name} after {looked_at} lookups")
