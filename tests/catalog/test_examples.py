"""Examples are made from types alone, can be run over the tools, and are the same each time."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import random
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel

from langchain_ptc import ToolCatalog, ToolPolicy
from langchain_ptc.catalog.examples import Example, build_examples


class Member(BaseModel):
    id: str
    name: str
    department: str
    title: str


class Expense(BaseModel):
    id: str
    user_id: str
    amount: float
    category: str
    quarter: str


class Budget(BaseModel):
    department: str
    limit: float


@tool
def get_team_members(department: str) -> list[Member]:
    """List the members of a department."""
    return [
        Member(id=f"{department}{n}", name=f"Name{n}", department=department, title="T")
        for n in range(3)
    ]


@tool
def get_expenses(user_id: str, quarter: str) -> list[Expense]:
    """List the expenses of a user."""
    number = int(user_id[-1])
    return [
        Expense(id=f"e{n}", user_id=user_id, amount=2.0 * number + n, category="D", quarter=quarter)
        for n in range(number + 1)
    ]


@tool
def get_budget(department: str) -> Budget:
    """Return the budget of a department."""
    return Budget(department=department, limit=5)


SENT: list[str] = []


@tool
def send_message(user_id: str, text: str) -> bool:
    """Send a message."""
    SENT.append(f"{user_id}: {text}")
    return True


class Shop(BaseModel):
    id: str
    name: str


class Sale(BaseModel):
    product_id: int
    pieces: int


class Rent(BaseModel):
    amount: float


class Alarm(BaseModel):
    id: str
    shop_id: str


class Order(BaseModel):
    id: int
    product_id: int
    status: Literal["open", "done"]


class Product(BaseModel):
    id: int
    price: float


@tool
def list_orders(status: Literal["open", "done"]) -> list[Order]:
    """List."""
    return [Order(id=1, product_id=7, status=status)]


@tool
def get_product(product_id: int) -> Product:
    """Get."""
    return Product(id=product_id, price=float(product_id))


def parse(example: Example) -> ast.Module:
    """Return the tree of an example's code, which may await at its top."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    tree = compile(example.code, "example", "exec", flags=flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def check(catalog: ToolCatalog, example: Example) -> None:
    """Assert that the code calls tools of the catalog only, with arguments that they have."""
    tree = parse(example)
    imported = {
        alias.name: f"{node.module}.{alias.name}".removeprefix("tools.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = [node.value for node in ast.walk(tree) if isinstance(node, ast.Await)]
    assert calls
    for call in calls:
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        definition = catalog[imported.get(call.func.id, call.func.id)]
        assert not call.args
        definition.bind((), {str(keyword.arg): None for keyword in call.keywords})
    assert example.question
    assert "\n" not in example.question


def run(catalog: ToolCatalog, example: Example) -> str:
    """Run the code over the real tools and return what it prints."""

    def caller(name: str) -> Callable[..., Any]:
        async def call(**kwargs: Any) -> Any:
            definition = catalog[name]
            value = await definition.tool.ainvoke(definition.bind((), kwargs))
            if isinstance(value, list):
                return [item.model_dump() for item in value]
            return value.model_dump() if isinstance(value, BaseModel) else value

        return call

    names = {d.name: caller(d.qualified_name) for d in catalog}
    code = compile(
        example.code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        ended = eval(code, names)
        if inspect.iscoroutine(ended):
            asyncio.run(ended)
    return output.getvalue()


def test_root_and_child() -> None:
    """A tool that lists records and one that takes their id give the shapes that most tasks have."""
    catalog = ToolCatalog(
        {"hr": [send_message, get_team_members], "finance": [get_budget, get_expenses]}
    )
    examples = build_examples(catalog)
    assert [e.question for e in examples] == [
        (
            'Which member with department "A" has the largest total amount for quarter "B", and how '
            "much is it?"
        ),
        'Which members with department "A" have a total amount below 10 for quarter "B"?',
        'What is the total amount of department "A" and of department "C" for quarter "B"?',
        'How many expenses with department "A" are there of each category for quarter "B"?',
        'How much is the limit of department "A" minus its total amount for quarter "B"?',
        (
            'Call send_message with text "B" for every member with department "A" whose total amount '
            'is below 10 for quarter "B".'
        ),
    ]
    for example in examples:
        check(catalog, example)
    SENT.clear()
    assert [run(catalog, e) for e in examples] == [
        "Name2 15.0\n",
        "[('Name0', 0.0), ('Name1', 5.0)]\n",
        "A 20.0\nC 20.0\n",
        "{'D': 6}\n",
        "-15.0\n",
        "done: 2\n",
    ]
    assert SENT == ["A0: B", "A1: B"]
    assert examples[0].code == (
        "best, most = None, 0\n"
        'for member in await get_team_members(department="A"):\n'
        '    expenses = await get_expenses(user_id=member["id"], quarter="B")\n'
        '    total = sum(expense["amount"] for expense in expenses)\n'
        "    if best is None or total > most:\n"
        '        best, most = member["name"], total\n'
        "print(best, most)"
    )


def test_child_that_returns_one_record() -> None:
    """A child may give one record for an id; the field of the same name is the link."""
    catalog = ToolCatalog([list_orders, get_product])
    examples = build_examples(catalog)
    assert 'get_product(product_id=order["product_id"])' in examples[1].code
    assert [run(catalog, e) for e in examples] == [
        "1 7.0\n",
        "[(1, 7.0)]\n",
        "open 7.0\ndone 7.0\n",
        "1\n",
    ]


def test_tools_of_one_name_are_imported() -> None:
    """A name that two domains have is imported from the domain that is meant."""
    catalog = ToolCatalog({"hr": [get_team_members], "a": [get_expenses], "b": [get_expenses]})
    examples = build_examples(catalog)
    assert len(examples) == 4
    for example in examples:
        assert example.code.startswith("from tools.a import get_expenses\n")
        assert example.code.count("import") == 1
        check(catalog, example)


def test_third_tool_that_the_parts_lead_to() -> None:
    """Where a field of the child's records is what a third tool takes, both are called."""

    @tool
    def list_shops(city: str) -> list[Shop]:
        """List shops."""
        return [Shop(id="s1", name="North")]

    @tool
    def list_sales(shop_id: str) -> list[Sale]:
        """List sales."""
        return [Sale(product_id=7, pieces=2)]

    catalog = ToolCatalog([list_shops, list_sales, get_product])
    [joined] = [e for e in build_examples(catalog) if "get_product" in e.code]
    assert joined.question == 'Print the price of the product of every sale with city "A".'
    assert run(catalog, joined) == "North 7.0\n"


def test_third_tool_that_names_the_items() -> None:
    """Where records of a third tool hold the id of the items, they are matched by it."""

    @tool
    def list_shops(city: str) -> list[Shop]:
        """List shops."""
        return [Shop(id="s1", name="North"), Shop(id="s2", name="South")]

    @tool
    def get_rent(shop_id: str) -> Rent:
        """Get the rent."""
        return Rent(amount=3.0)

    @tool
    def list_alarms(state: Literal["on", "off"]) -> list[Alarm]:
        """List alarms."""
        return [Alarm(id="a", shop_id="s2")]

    catalog = ToolCatalog([list_shops, get_rent, list_alarms])
    [joined] = [e for e in build_examples(catalog) if "list_alarms" in e.code]
    assert joined.question == 'Which shops with city "A" have an alarm with state "on"?'
    assert run(catalog, joined) == "South\n"


def test_values_that_the_author_tells() -> None:
    """What a description quotes as a value of a parameter is used for it, and nothing else is."""

    @tool
    def list_shops(city: str) -> list[Shop]:
        """List the 'open' shops of a city: 'Bonn', "Ulm" or 'Kiel'. Never 'all'."""
        return [Shop(id="s1", name=city)]

    @tool
    def get_rent(shop_id: str, month: Annotated[str, "Such as 'May'"]) -> Rent:
        """Get what the `rent` of a shop is in a month."""
        return Rent(amount=3.0)

    examples = build_examples(ToolCatalog([list_shops, get_rent]))
    assert examples[2].question == (
        'What is the total amount of city "Bonn" and of city "Ulm" for month "May"?'
    )
    assert 'for city in ["Bonn", "Ulm"]:' in examples[2].code
    assert 'get_rent(shop_id=shop["id"], month="May")' in examples[2].code


@pytest.mark.parametrize("name", ["cancel_member", "delete_member", "remove", "payMember"])
def test_no_example_destroys(name: str) -> None:
    """A tool that by its name destroys or pays is called in no example for every record."""

    async def act(user_id: str) -> bool:
        """Do it."""
        return True

    acting = StructuredTool.from_function(coroutine=act, name=name)
    for example in build_examples(ToolCatalog([get_team_members, get_expenses, acting])):
        assert name not in example.code


def test_single_tools() -> None:
    """Without a root and a child, up to three tools are called, and one of them for two values."""
    catalog = ToolCatalog([send_message, get_budget, get_team_members])
    examples = build_examples(catalog)
    assert [e.code for e in examples] == [
        'budget = await get_budget(department="A")\nprint(budget["department"], budget["limit"])',
        (
            'for member in await get_team_members(department="A"):\n'
            '    print(member["name"], member["department"], member["title"])'
        ),
        'print(await send_message(user_id="B", text="A"))',
        (
            'for department in ["A", "C"]:\n    result = await get_budget(department=department)\n'
            "    print(department, result)"
        ),
    ]
    for example in examples:
        check(catalog, example)


def test_tools_that_read_come_first() -> None:
    """A tool that only looks is shown before one that does something."""

    async def echo(**arguments: Any) -> Any:
        return arguments

    given = [
        StructuredTool(name=name, description="", args_schema={"type": "object"}, coroutine=echo)
        for name in ("delete_all", "wipe", "peek", "listFiles")
    ]
    catalog = ToolCatalog(given, policies={"peek": ToolPolicy(read_only=True)})
    assert [e.code for e in build_examples(catalog)] == [
        "print(await peek())",
        "print(await listFiles())",
        "print(await delete_all())",
    ]


def test_nothing_to_show() -> None:
    """An empty catalog, and one whose tools need what no placeholder can stand for, give no examples."""

    @tool
    def remember(what: bytes) -> None:
        """Remember."""

    assert build_examples(ToolCatalog([])) == []
    assert build_examples(ToolCatalog([remember])) == []


TYPES: list[Any] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": "number"},
    {"type": "boolean"},
    {},
    {"enum": ["x", 'q"\\\n', 3]},
    {"type": "array", "items": {"type": "string"}},
    {"type": ["null", "string"]},
    {
        "type": "object",
        "properties": {"k-k": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["k-k"],
    },
    {"type": "object"},
]
WORDS = [
    "id",
    "user_id",
    "item",
    "print",
    "result",
    "total",
    "class",
    "count",
    "A",
    "x-y",
    "é",
    "entry",
    "quarter",
]


@pytest.mark.parametrize("seed", range(60))
def test_examples_over_any_catalog(seed: int) -> None:
    """Over any catalog: the code is Python, calls what exists with arguments that exist, and is stable."""
    rng = random.Random(seed)

    async def echo(**arguments: Any) -> Any:
        return arguments

    def make(name: str) -> StructuredTool:
        names = rng.sample(WORDS, rng.randrange(6))
        properties = {word: rng.choice(TYPES) for word in names}
        required = [word for word in names if rng.random() < 0.6]
        returned = {rng.choice(WORDS): rng.choice([int, str, float, Any]) for _ in range(4)}
        record = type(
            "Record" + rng.choice("XY"),
            (BaseModel,),
            {"__annotations__": {k.replace("-", "_"): v for k, v in returned.items()}},
        )
        made = StructuredTool(
            name=name,
            description="",
            args_schema={"type": "object", "properties": properties, "required": required},
            coroutine=echo,
        )

        def returns() -> Any: ...

        returns.__annotations__["return"] = rng.choice([list[record], record, Any, str, list[int]])  # type: ignore[valid-type]
        made.func = returns
        return made

    names = ["get_items", "result", "total", "member", "fetch-x", "item", "find", "entry"]
    tools = [make(name) for name in rng.sample(names, rng.randrange(1, 6))]
    catalog = ToolCatalog(tools if rng.random() < 0.5 else {"a": tools, "item": tools[:1]})
    examples = build_examples(catalog)
    assert examples == build_examples(catalog)
    assert len(examples) <= 6
    for example in examples:
        check(catalog, example)
        stored = {
            n.id
            for n in ast.walk(parse(example))
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        assert not stored & {d.name for d in catalog}
