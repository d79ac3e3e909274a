from collections import Counter, namedtuple
from functools import lru_cache

from tools import get_product, list_orders

Line = namedtuple("Line", ["order_id", "name", "total"])


@lru_cache(maxsize=None)
def product(product_id):
    return get_product(product_id=product_id)


lines = []
for row in list_orders():
    p = product(row["product_id"])
    lines.append(Line(row["order_id"], p["name"], round(p["price"] * row["quantity"], 2)))

per_order = Counter()
for line in lines:
    per_order[line.order_id] += line.total

print(per_order.most_common(3))
print(product.cache_info().hits, "hits")
print(lines[0])
