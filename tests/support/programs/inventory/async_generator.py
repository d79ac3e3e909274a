import asyncio
from contextlib import asynccontextmanager
from enum import Enum


class Level(Enum):
    EMPTY = "empty"
    LOW = "low"
    FINE = "fine"

    @classmethod
    def of(cls, stock: int) -> "Level":
        if stock == 0:
            return cls.EMPTY
        return cls.LOW if stock < 3 else cls.FINE


async def products(ids):
    for product_id in ids:
        yield await get_product(product_id=product_id)


@asynccontextmanager
async def section(title):
    print(f"== {title}")
    yield title.lower()
    print(f"== end of {title}")


async with section("Stock") as name:
    levels = {p["name"]: Level.of(p["stock"]) async for p in products(range(1, 10))}
    for level in Level:
        print(level.value, [n for n, found in levels.items() if found is level])
print(name)
