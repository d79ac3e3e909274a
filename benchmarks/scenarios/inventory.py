"""Inventory with suppliers: what to order again, and of whom? Three rounds of dependent calls."""

from __future__ import annotations

import random
from typing import Any, TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql

WAREHOUSE = "Hamburg"
SUPPLIERS = 8


class Stock(TypedDict):
    """How much of a product there is; what is reserved is not free."""

    product_id: str
    name: str
    on_hand: int
    reserved: int
    reorder_point: int


class Offer(TypedDict):
    """What a supplier asks for one piece."""

    supplier_id: str
    price: float
    lead_days: int


class Supplier(TypedDict):
    """A supplier; nothing may be ordered of a blocked one."""

    id: str
    name: str
    blocked: bool


PROGRAM = f"""\
import asyncio

low = [
    s for s in await list_stock(warehouse="{WAREHOUSE}")
    if s["on_hand"] - s["reserved"] < s["reorder_point"]
]
offers = await asyncio.gather(*[get_offers(product_id=s["product_id"]) for s in low])
ids = sorted({{o["supplier_id"] for each in offers for o in each}})
suppliers = dict(zip(ids, await asyncio.gather(*[get_supplier(supplier_id=i) for i in ids])))
for stock, each in zip(low, offers):
    usable = [
        o for o in each if o["lead_days"] <= 14 and not suppliers[o["supplier_id"]]["blocked"]
    ]
    if usable:
        best = min(usable, key=lambda o: o["price"])
        missing = stock["reorder_point"] - stock["on_hand"] + stock["reserved"]
        cost = missing * best["price"]
        print(f"{{stock['product_id']}}: {{missing}} of {{suppliers[best['supplier_id']]['name']}}, {{cost:.2f}}")
"""


def build_inventory(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tools and task over so many products."""
    rng = random.Random(f"inventory {rows}")
    stock = [_make_stock(rng, number) for number in range(1, rows + 1)]
    suppliers: list[Supplier] = [
        {"id": f"S{number}", "name": f"Supplier {number}", "blocked": number in (3, 6)}
        for number in range(1, SUPPLIERS + 1)
    ]
    offers = {s["product_id"]: _make_offers(rng, suppliers) for s in stock}

    @tool
    async def list_stock(warehouse: str) -> list[Stock]:
        """List every product of a warehouse with its stock.

        A product is low if `on_hand - reserved` is below `reorder_point`.
        """
        return stock if warehouse == WAREHOUSE else []

    @tool
    async def get_offers(product_id: str) -> list[Offer]:
        """Get what suppliers ask for a product, in EUR."""
        return offers[product_id]

    @tool
    async def get_supplier(supplier_id: str) -> Supplier:
        """Get a supplier."""
        return suppliers[int(supplier_id[1:]) - 1]

    truth = _ask_truth(stock, offers, suppliers)
    task = Task(
        name="inventory",
        title="Inventory with suppliers",
        question=f"Which products in {WAREHOUSE} are low, and of whom do we order what is missing to "
        "the reorder point? Take the cheapest offer that arrives within 14 days and is not of a "
        "blocked supplier; leave out products without one. One line for each in the order of the "
        "list, `product: pieces of supplier, cost`, two decimals, and nothing else.",
        plan=_plan,
        answer=_answer,
        program=PROGRAM,
        truth="\n".join(f"{p}: {missing} of {who}, {cost:.2f}" for p, missing, who, cost in truth),
    )
    return [list_stock, get_offers, get_supplier], task


def _ask_truth(
    stock: list[Stock], offers: dict[str, list[Offer]], suppliers: list[Supplier]
) -> list[tuple[Any, ...]]:
    return ask_sql(
        {
            "stock": stock,
            "offers": [{"product": p, **offer} for p, each in offers.items() for offer in each],
            "suppliers": suppliers,
        },
        """
        SELECT stock.product_id, reorder_point - (on_hand - reserved) AS missing, suppliers.name,
               (reorder_point - (on_hand - reserved)) * MIN(price)
        FROM stock JOIN offers ON offers.product = stock.product_id
        JOIN suppliers ON suppliers.id = offers.supplier_id
        WHERE missing > 0 AND lead_days <= 14 AND NOT blocked
        GROUP BY stock.product_id ORDER BY stock.rowid
        """,
    )


def _make_stock(rng: random.Random, number: int) -> Stock:
    point = rng.randint(10, 60)
    # One in ten is low; the fourth always is, so that there is something to order in ten rows too.
    is_low = number == 4 or rng.random() < 0.1
    free = rng.randint(0, point - 1) if is_low else point + rng.randint(0, 90)
    reserved = rng.randint(0, 9)
    return {
        "product_id": f"A{number:04}",
        "name": f"Article {number}",
        "on_hand": free + reserved,
        "reserved": reserved,
        "reorder_point": point,
    }


def _make_offers(rng: random.Random, suppliers: list[Supplier]) -> list[Offer]:
    price = rng.uniform(3, 90)
    return [
        {
            "supplier_id": supplier["id"],
            "price": round(price * rng.uniform(0.8, 1.2), 2),
            "lead_days": rng.choice((3, 7, 10, 21)),
        }
        for supplier in rng.sample(suppliers, 3)
    ]


def _low(found: Found) -> list[Stock]:
    listed = found.get("list_stock", warehouse=WAREHOUSE) or []
    return [s for s in listed if s["on_hand"] < s["reorder_point"] + s["reserved"]]


def _plan(found: Found) -> list[Request]:
    requests: list[Request] = [("list_stock", {"warehouse": WAREHOUSE})]
    requests += [("get_offers", {"product_id": stock["product_id"]}) for stock in _low(found)]
    named = set()
    for stock in _low(found):
        for offer in found.get("get_offers", product_id=stock["product_id"]) or []:
            named.add(offer["supplier_id"])
    return requests + [("get_supplier", {"supplier_id": name}) for name in sorted(named)]


def _answer(found: Found) -> str:
    lines = []
    for stock in _low(found):
        best: tuple[float, str] | None = None
        for offer in found.get("get_offers", product_id=stock["product_id"]):
            supplier = found.get("get_supplier", supplier_id=offer["supplier_id"])
            if supplier["blocked"] or offer["lead_days"] > 14:
                continue
            if best is None or offer["price"] < best[0]:
                best = offer["price"], supplier["name"]
        if best is not None:
            missing = stock["reorder_point"] - (stock["on_hand"] - stock["reserved"])
            lines.append(f"{stock['product_id']}: {missing} of {best[1]}, {missing * best[0]:.2f}")
    return "\n".join(lines)
