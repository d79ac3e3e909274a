from collections import defaultdict
from tools import list_orders, get_product

orders = await list_orders()
by_category = defaultdict(list)
for line in orders:
    product = await get_product(product_id=line["product_id"])
    by_category[product["category"]].append(product["price"] * line["quantity"])

for category, values in sorted(by_category.items()):
    print(f"{category}: {len(values)} lines, {sum(values):.2f}")
