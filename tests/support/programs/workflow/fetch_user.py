user = fetch_user("123")
orders = fetch_orders("123")

total_spent = sum(order["total"] for order in orders)
result = {
    "user": user["name"],
    "order_count": len(orders),
    "total_spent": total_spent,
    "average": round(total_spent / len(orders), 2),
}
