from tools import get_product

async def check_product(product_id):
    product = await get_product(product_id=product_id)
    return product["stock"] == 0, product

for pid in range(1, 10):
    is_out, product = await check_product(pid)
    if is_out:
        print(f"First out of stock: {product['name']} ({product['category']})")
        return product

print("Everything is in stock")
