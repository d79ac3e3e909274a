from concurrent.futures import ThreadPoolExecutor, wait

ids = [str(n) for n in range(100, 130)]
with ThreadPoolExecutor(max_workers=10) as pool:
    users = [pool.submit(fetch_user, i) for i in ids]
    orders = [pool.submit(fetch_orders, user_id=i) for i in ids]
    done, not_done = wait(users + orders)

by_country = {}
for user, order in zip(users, orders):
    country = user.result()["country"]
    by_country.setdefault(country, []).extend(o["total"] for o in order.result())

print(len(done), len(not_done))
for country in sorted(by_country):
    values = by_country[country]
    print(f"{country}: {len(values)} orders, {sum(values):,.2f} total")
