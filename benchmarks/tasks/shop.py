"""A web shop: customers, their orders, products, coupons and cancellations."""

from __future__ import annotations

import random
from collections import Counter
from typing import TypedDict

from langchain_core.tools import tool

from benchmarks.tasks.base import Domain, Effect, Task, World
from benchmarks.tasks.checks import anything, says_names, says_number, says_pairs


class Customer(TypedDict):
    """Somebody who ordered."""

    id: int
    name: str
    city: str
    email: str


class Order(TypedDict):
    """An order of one product."""

    id: str
    customer_id: int
    product_id: str
    quantity: int
    status: str


class Product(TypedDict):
    """Something that is sold; the price is in EUR."""

    id: str
    name: str
    price: float
    stock: int


_CITIES = {
    "Berlin": "Anton Beate Cem Dora",
    "Madrid": "Elena Felipe Gael",
    "Oslo": "Hedda Iver Jorunn",
}
_STATUSES = ("open", "shipped", "returned")
_PRODUCTS = {
    "lamp": (34.5, 12),
    "chair": (89.0, 0),
    "desk": (249.9, 3),
    "shelf": (119.0, 0),
    "clock": (19.95, 40),
    "rug": (65.25, 7),
}


def _make_customers() -> list[Customer]:
    people = [(city, name) for city, names in _CITIES.items() for name in names.split()]
    return [
        Customer(id=100 + n, name=name, city=city, email=f"{name.lower()}@example.com")
        for n, (city, name) in enumerate(people, start=1)
    ]


def _make_orders() -> list[Order]:
    rng = random.Random(496)
    made: list[Order] = []
    for customer in CUSTOMERS:
        for _ in range(rng.randint(1, 6)):
            made.append(
                Order(
                    id=f"o{len(made) + 501}",
                    customer_id=customer["id"],
                    product_id=rng.choice(PRODUCTS)["id"],
                    quantity=rng.randint(1, 5),
                    status=rng.choice(_STATUSES),
                )
            )
    return made


CUSTOMERS = _make_customers()
PRODUCTS = [
    Product(id=f"p{n}", name=name, price=price, stock=stock)
    for n, (name, (price, stock)) in enumerate(_PRODUCTS.items(), start=1)
]
ORDERS = _make_orders()
NAMES = [customer["name"] for customer in CUSTOMERS]
WORDS = {*NAMES, *_CITIES, *_STATUSES, *_PRODUCTS}


def build() -> World:
    """Build the tools over the data."""
    world = World(tools=())

    @tool
    def list_customers(city: str) -> list[Customer]:
        """List the customers who live in a city, such as 'Berlin'."""
        return [customer for customer in CUSTOMERS if customer["city"] == city]

    @tool
    def list_orders(customer_id: int) -> list[Order]:
        """List the orders of a customer. The status is 'open', 'shipped' or 'returned'."""
        return [order for order in ORDERS if order["customer_id"] == customer_id]

    @tool
    def get_product(product_id: str) -> Product:
        """Get a product, with its price and how many are in stock."""
        for product in PRODUCTS:
            if product["id"] == product_id:
                return product
        raise ValueError(f"there is no product with the id {product_id!r}")

    @tool
    def cancel_order(order_id: str) -> str:
        """Cancel an order."""
        if order_id not in {order["id"] for order in ORDERS}:
            raise ValueError(f"there is no order with the id {order_id!r}")
        world.effects.append(Effect(tool="cancel_order", arguments={"order_id": order_id}))
        return "cancelled"

    @tool
    def send_coupon(customer_id: int, percent: int) -> str:
        """Send a customer a coupon for so many percent off the next order."""
        if customer_id not in {customer["id"] for customer in CUSTOMERS}:
            raise ValueError(f"there is no customer with the id {customer_id!r}")
        arguments = {"customer_id": customer_id, "percent": percent}
        world.effects.append(Effect(tool="send_coupon", arguments=arguments))
        return "sent"

    world.tools = (list_customers, list_orders, get_product, cancel_order, send_coupon)
    return world


# --- the truth ----------------------------------------------------------------------------------


def _in(city: str) -> list[Customer]:
    return [customer for customer in CUSTOMERS if customer["city"] == city]


def _of(customer: Customer) -> list[Order]:
    return [order for order in ORDERS if order["customer_id"] == customer["id"]]


def _orders(city: str) -> list[Order]:
    return [order for customer in _in(city) for order in _of(customer)]


def _items(orders: list[Order]) -> int:
    return sum(order["quantity"] for order in orders)


def _product(order: Order) -> Product:
    return next(product for product in PRODUCTS if product["id"] == order["product_id"])


_KEEN = max(_in("Madrid"), key=lambda customer: _items(_of(customer)))
_RETURNER = next(c for c in _in("Oslo") if any(o["status"] == "returned" for o in _of(c)))

TASKS = (
    Task(
        name="price",
        shape="look-up",
        question="What does product p3 cost?",
        program="""\
product = await get_product(product_id="p3")
print(product["price"])""",
        check=says_number(_PRODUCTS["desk"][0], words=WORDS),
    ),
    Task(
        name="emails",
        shape="filter",
        question="Print the name and the email address of every customer in Oslo.",
        program="""\
for customer in await list_customers(city="Oslo"):
    print(customer["name"], customer["email"])""",
        check=says_names(
            [word for c in _in("Oslo") for word in (c["name"], c["email"])],
            [word for c in CUSTOMERS for word in (c["name"], c["email"])],
        ),
    ),
    Task(
        name="many-items",
        shape="filter by total",
        question="Which customers in Berlin have ordered more than 10 items in total? Print their "
        "names.",
        program="""\
for customer in await list_customers(city="Berlin"):
    orders = await list_orders(customer_id=customer["id"])
    if sum(order["quantity"] for order in orders) > 10:
        print(customer["name"])""",
        check=says_names([c["name"] for c in _in("Berlin") if _items(_of(c)) > 10], NAMES),
    ),
    Task(
        name="items-by-city",
        shape="totals per group",
        question="How many items did the customers of Berlin, of Madrid and of Oslo order? Print the "
        "number for each city.",
        program="""\
for city in ["Berlin", "Madrid", "Oslo"]:
    items = 0
    for customer in await list_customers(city=city):
        for order in await list_orders(customer_id=customer["id"]):
            items += order["quantity"]
    print(city, items)""",
        check=says_pairs({city: _items(_orders(city)) for city in _CITIES}, _CITIES),
    ),
    Task(
        name="keenest",
        shape="maximum",
        question="Which customer in Madrid has ordered the most items, and how many?",
        program="""\
best, most = None, -1
for customer in await list_customers(city="Madrid"):
    items = sum(o["quantity"] for o in await list_orders(customer_id=customer["id"]))
    if items > most:
        best, most = customer["name"], items
print(best, most)""",
        check=says_pairs({_KEEN["name"]: _items(_of(_KEEN))}, NAMES),
    ),
    Task(
        name="items-an-order",
        shape="average",
        question="How many items does an order of a customer in Berlin have on average?",
        program="""\
quantities = []
for customer in await list_customers(city="Berlin"):
    quantities += [o["quantity"] for o in await list_orders(customer_id=customer["id"])]
print(sum(quantities) / len(quantities))""",
        check=says_number(
            _items(_orders("Berlin")) / len(_orders("Berlin")),
            beside=[_items(_orders("Berlin")), len(_orders("Berlin"))],
            words=WORDS,
        ),
    ),
    Task(
        name="coupons",
        shape="message those above",
        question="Send a coupon of 15 percent to every customer in Berlin who has more than 3 orders.",
        program="""\
for customer in await list_customers(city="Berlin"):
    if len(await list_orders(customer_id=customer["id"])) > 3:
        await send_coupon(customer_id=customer["id"], percent=15)
print("done")""",
        check=anything,
        effects=tuple(
            Effect(tool="send_coupon", arguments={"customer_id": c["id"], "percent": 15})
            for c in _in("Berlin")
            if len(_of(c)) > 3
        ),
    ),
    Task(
        name="open-value",
        shape="join",
        question="What are the open orders of the customers in Berlin worth in total, at price times "
        "quantity?",
        program="""\
total = 0
for customer in await list_customers(city="Berlin"):
    for order in await list_orders(customer_id=customer["id"]):
        if order["status"] == "open":
            product = await get_product(product_id=order["product_id"])
            total += product["price"] * order["quantity"]
print(round(total, 2))""",
        check=says_number(
            sum(
                _product(o)["price"] * o["quantity"]
                for o in _orders("Berlin")
                if o["status"] == "open"
            ),
            words=WORDS,
        ),
    ),
    Task(
        name="first-return",
        shape="early exit",
        question="Go through the customers in Oslo in the order in which they are listed. Who is the "
        "first with a returned order? Print only that name.",
        program="""\
for customer in await list_customers(city="Oslo"):
    orders = await list_orders(customer_id=customer["id"])
    if any(order["status"] == "returned" for order in orders):
        print(customer["name"])
        break""",
        check=says_names([_RETURNER["name"]], NAMES),
    ),
    Task(
        name="statuses",
        shape="count by key",
        question="How many orders of customers in Berlin are there of each status?",
        program="""\
counts = {}
for customer in await list_customers(city="Berlin"):
    for order in await list_orders(customer_id=customer["id"]):
        counts[order["status"]] = counts.get(order["status"], 0) + 1
print(counts)""",
        check=says_pairs(Counter(o["status"] for o in _orders("Berlin")), _STATUSES),
    ),
    Task(
        name="products-of-one",
        shape="join",
        question="Print the names of the products that Elena from Madrid has ordered.",
        program="""\
names = set()
for customer in await list_customers(city="Madrid"):
    if customer["name"] == "Elena":
        for order in await list_orders(customer_id=customer["id"]):
            names.add((await get_product(product_id=order["product_id"]))["name"])
print(sorted(names))""",
        check=says_names(
            {_product(o)["name"] for c in CUSTOMERS if c["name"] == "Elena" for o in _of(c)},
            _PRODUCTS,
        ),
    ),
    Task(
        name="cancel-unavailable",
        shape="conditional effect",
        question="Cancel every open order of the customers in Berlin whose product is out of stock.",
        program="""\
for customer in await list_customers(city="Berlin"):
    for order in await list_orders(customer_id=customer["id"]):
        if order["status"] == "open":
            product = await get_product(product_id=order["product_id"])
            if product["stock"] == 0:
                await cancel_order(order_id=order["id"])
print("done")""",
        check=anything,
        effects=tuple(
            Effect(tool="cancel_order", arguments={"order_id": o["id"]})
            for o in _orders("Berlin")
            if o["status"] == "open" and _product(o)["stock"] == 0
        ),
    ),
)

SHOP = Domain(name="shop", held_out=False, build=build, tasks=TASKS)
