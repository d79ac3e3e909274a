"""The tools that the programs call: plain LangChain tools over data that never changes.

Each world is what a developer would pass to `ToolCatalog`: a mapping by domain, or a flat list.
`build_world` makes fresh tools every time, since the tools of the workflow keep state.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from langchain_core.tools import BaseTool, ToolException, tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

Tools = Sequence[BaseTool] | Mapping[str, Sequence[BaseTool]]

TEAM_NAMES = {
    "eng-1": "Platform",
    "eng-2": "Mobile",
    "ops-1": "Operations",
    "mkt-1": "Marketing",
}
CATEGORIES = ("travel", "meals", "software", "equipment")


class TeamBudget(TypedDict):
    """Budget of one team in one fiscal year."""

    team_id: str
    team_name: str
    fiscal_year: int
    allocated: float
    spent: float | None
    currency: str


class Member(TypedDict):
    """A person in a team."""

    id: str
    name: str
    level: str
    department: str


class Expense(TypedDict):
    """One line of an expense report."""

    id: str
    user_id: str
    category: str
    amount: float
    date: str
    approved: bool


class Employee(BaseModel):
    """What HR knows about a person."""

    id: str
    name: str
    level: Literal["junior", "senior", "staff"]
    hired: datetime.date
    manager_id: str | None = None


@dataclasses.dataclass(frozen=True)
class LevelBudget:
    """What people of a level may spend in a quarter."""

    level: str
    travel_limit: float
    meals_limit: float


def _finance_tools() -> list[BaseTool]:
    @tool
    def get_team_budget(
        team_id: str, fiscal_year: int = 2024, include_spent: bool = True
    ) -> TeamBudget:
        """Get the budget of a team.

        Raises an error for a team that does not exist.
        """
        if team_id not in TEAM_NAMES:
            raise ToolException(f"no team has the id {team_id!r}")
        number = sorted(TEAM_NAMES).index(team_id) + 1
        allocated = 100_000.0 * number + 5_000.0 * (fiscal_year - 2024)
        return {
            "team_id": team_id,
            "team_name": TEAM_NAMES[team_id],
            "fiscal_year": fiscal_year,
            "allocated": allocated,
            "spent": allocated * (0.5 + 0.2 * number) if include_spent else None,
            "currency": "USD",
        }

    @tool
    async def get_expenses(user_id: str, quarter: str = "Q3") -> list[Expense]:
        """Get the expenses of a person in a quarter, oldest first."""
        number = int(user_id.removeprefix("u"))
        month = {"Q1": 1, "Q2": 4, "Q3": 7, "Q4": 10}[quarter]
        return [
            {
                "id": f"{user_id}-{quarter}-{k}",
                "user_id": user_id,
                "category": CATEGORIES[(number + k) % 4],
                "amount": (number * 137 + k * 411) % 1900 + 20.25,
                "date": f"2024-{month + k % 3:02d}-{(number * 3 + k * 7) % 28 + 1:02d}",
                "approved": (number + k) % 5 != 0,
            }
            for k in range(4)
        ]

    @tool
    def get_budget_by_level(level: str) -> LevelBudget:
        """Get what people of a level may spend in a quarter."""
        travel = {"junior": 800.0, "senior": 1500.0, "staff": 2500.0}[level]
        return LevelBudget(level=level, travel_limit=travel, meals_limit=travel / 4)

    return [get_team_budget, get_expenses, get_budget_by_level]


def _hr_tools() -> list[BaseTool]:
    sizes = {"engineering": 45, "marketing": 6}
    levels = ("junior", "senior", "staff")

    @tool
    def get_team_members(department: str) -> list[Member]:
        """Get everybody who works in a department."""
        first = 1 if department == "engineering" else 101
        return [
            {
                "id": f"u{number}",
                "name": f"Person {number}",
                "level": levels[number % 3],
                "department": department,
            }
            for number in range(first, first + sizes[department])
        ]

    @tool
    async def get_employee(employee_id: str) -> Employee:
        """Get what HR knows about a person."""
        number = int(employee_id.removeprefix("u"))
        return Employee(
            id=employee_id,
            name=f"Person {number}",
            level=levels[number % 3],
            hired=datetime.date(2015 + number % 8, number % 12 + 1, 15),
            manager_id=f"u{number // 5}" if number >= 5 else None,
        )

    @tool
    def list_departments() -> list[str]:
        """List the departments."""
        return sorted(sizes)

    return [get_team_members, get_employee, list_departments]


class Sale(TypedDict):
    """One sale."""

    id: int
    product: str
    region: str
    revenue: float
    units: int
    date: str


class Trend(TypedDict):
    """What an analysis found."""

    best_region: str
    total_revenue: float
    mean_units: float
    products: list[str]


class Customer(BaseModel):
    """A customer."""

    id: int
    name: str
    tier: Literal["free", "pro", "enterprise"]
    tags: list[str] = Field(default_factory=list)


def _sales_tools() -> list[BaseTool]:
    regions = ("north", "south", "east", "west")

    @tool
    async def get_sales_data(region: str | None = None, year: int = 2024) -> list[Sale]:
        """Get the sales of a year, of all regions unless one is named."""
        sales: list[Sale] = [
            {
                "id": number,
                "product": f"P{number % 7}",
                "region": regions[number % 4],
                "revenue": (number * 7919) % 10_007 / 2,
                "units": (number * 13) % 50 + 1,
                "date": f"{year}-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
            }
            for number in range(1, 41)
        ]
        return [sale for sale in sales if region in (None, sale["region"])]

    @tool
    def analyze_trends(sales: list[Sale]) -> Trend:
        """Find what is common to some sales."""
        by_region: dict[str, float] = {}
        for sale in sales:
            by_region[sale["region"]] = by_region.get(sale["region"], 0.0) + sale["revenue"]
        return {
            "best_region": max(by_region, key=lambda name: by_region[name]),
            "total_revenue": sum(by_region.values()),
            "mean_units": sum(sale["units"] for sale in sales) / len(sales),
            "products": sorted({sale["product"] for sale in sales}),
        }

    @tool
    async def get_customer(customer_id: int) -> Customer:
        """Get a customer by number."""
        tiers: tuple[Literal["free", "pro", "enterprise"], ...] = ("free", "pro", "enterprise")
        return Customer(
            id=customer_id,
            name=f"Customer {customer_id}",
            tier=tiers[customer_id % 3],
            tags=["new"] if customer_id > 10 else [],
        )

    return [get_sales_data, analyze_trends, get_customer]


class OrderLine(TypedDict):
    """One line of an order."""

    order_id: str
    product_id: int
    quantity: int


class Product(TypedDict):
    """A product in the catalogue."""

    id: int
    name: str
    category: str
    price: float
    stock: int


def _inventory_tools() -> list[BaseTool]:
    categories = ("tools", "garden", "kitchen")

    @tool
    def list_orders() -> list[OrderLine]:
        """List every line of every open order."""
        return [
            {
                "order_id": f"O-{number // 3 + 1}",
                "product_id": number * 5 % 9 + 1,
                "quantity": number % 4 + 1,
            }
            for number in range(18)
        ]

    @tool
    async def get_product(product_id: int) -> Product:
        """Get a product by number."""
        if not 1 <= product_id <= 9:
            raise ValueError(f"there is no product {product_id}")
        return {
            "id": product_id,
            "name": f"Product {product_id}",
            "category": categories[product_id % 3],
            "price": product_id * 2.5,
            "stock": product_id * 4 % 7,
        }

    @tool
    async def reorder(product_id: int, quantity: int) -> str:
        """Order more of a product from its supplier; gives the number of the order."""
        return f"R-{product_id}-{quantity}"

    return [list_orders, get_product, reorder]


class User(TypedDict):
    """A user of the shop."""

    id: str
    name: str
    email: str
    country: str


class Order(TypedDict):
    """An order of the shop."""

    id: int
    total: float
    status: Literal["open", "shipped", "returned"]
    items: list[str]


def _shop_tools() -> list[BaseTool]:
    @tool
    def fetch_user(user_id: str) -> User:
        """Fetch a user."""
        return {
            "id": user_id,
            "name": f"User {user_id}",
            "email": f"user{user_id}@example.com",
            "country": ("DE", "FR", "IT")[int(user_id) % 3],
        }

    @tool
    def fetch_orders(user_id: str, status: str | None = None) -> list[Order]:
        """Fetch the orders of a user, of every status unless one is named."""
        states: tuple[Literal["open", "shipped", "returned"], ...] = (
            "open",
            "shipped",
            "returned",
        )
        orders: list[Order] = [
            {
                "id": number,
                "total": (int(user_id) * number) % 97 + 0.5,
                "status": states[number % 3],
                "items": [f"item-{k}" for k in range(number % 3 + 1)],
            }
            for number in range(1, 7)
        ]
        return [order for order in orders if status in (None, order["status"])]

    return [fetch_user, fetch_orders]


def _workflow_tools() -> list[BaseTool]:
    tasks: dict[str, dict[str, object]] = {}

    @tool
    def assign_task(
        agent: str,
        task_id: str,
        description: str,
        priority: Literal["low", "normal", "high"] = "normal",
        dependencies: list[str] | None = None,
    ) -> dict[str, object]:
        """Give a task to an agent."""
        missing = [name for name in dependencies or [] if name not in tasks]
        if missing:
            raise ToolException(f"unknown dependencies: {', '.join(missing)}")
        tasks[task_id] = {
            "task_id": task_id,
            "agent": agent,
            "description": description,
            "priority": priority,
            "dependencies": dependencies or [],
            "status": "blocked" if dependencies else "ready",
        }
        return tasks[task_id]

    @tool
    def parallel_execute(task_ids: list[str]) -> list[dict[str, object]]:
        """Carry out the tasks that are ready; a blocked one stays blocked."""
        for name in task_ids:
            if tasks[name]["status"] == "ready":
                tasks[name]["status"] = "done"
        return [{"task_id": name, "status": tasks[name]["status"]} for name in task_ids]

    @tool
    def get_task_status(task_id: str) -> str:
        """Get the status of a task: ready, blocked or done."""
        return str(tasks[task_id]["status"])

    @tool
    def resolve_blocker(task_id: str, resolution: str) -> bool:
        """Make a blocked task ready; says whether it was blocked."""
        blocked = tasks[task_id]["status"] == "blocked"
        if blocked:
            tasks[task_id] |= {"status": "ready", "resolution": resolution}
        return blocked

    @tool
    def aggregate_results(task_ids: list[str]) -> dict[str, int]:
        """Count tasks by status."""
        counts: dict[str, int] = {}
        for name in task_ids:
            status = str(tasks[name]["status"])
            counts[status] = counts.get(status, 0) + 1
        return counts

    return [assign_task, parallel_execute, get_task_status, resolve_blocker, aggregate_results]


class Hit(TypedDict):
    """One thing that a search found."""

    title: str
    url: str
    year: int
    relevance: float


def _search_tools() -> list[BaseTool]:
    @tool
    def search(query: str, limit: int = 10) -> list[Hit]:
        """Search for documents, the most relevant first."""
        return [
            {
                "title": f"{query.title()} #{rank}",
                "url": f"https://example.org/{query.replace(' ', '-')}/{rank}",
                "year": 2024 - rank % 4,
                "relevance": round(1.0 - rank * 0.08, 2),
            }
            for rank in range(limit)
        ]

    @tool
    def summarize(data: list[Hit], max_titles: int = 3) -> str:
        """Summarize what a search found."""
        titles = "; ".join(hit["title"] for hit in data[:max_titles])
        return f"{len(data)} documents: {titles}"

    return [search, summarize]


_WORLDS: dict[str, Callable[[], Tools]] = {
    "budgets": lambda: {"finance": _finance_tools(), "hr": _hr_tools()},
    "expenses": lambda: {"finance": _finance_tools(), "hr": _hr_tools()},
    "sales": _sales_tools,
    "inventory": _inventory_tools,
    "workflow": lambda: {"shop": _shop_tools(), "workflow": _workflow_tools()},
    "search": _search_tools,
}


def build_world(shape: str) -> Tools:
    """Make the tools that the programs in the folder `shape` call.

    Args:
        shape: Name of a folder beside this file.

    Returns:
        What the developer would pass to `ToolCatalog`: a flat list, or a mapping by domain.
    """
    return _WORLDS[shape]()
