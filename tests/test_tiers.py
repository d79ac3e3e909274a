"""A prompt shows as much of a catalog as its budget holds, and the code finds the rest."""

from __future__ import annotations

import ast
import time
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_ptc import (
    CatalogError,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.prompts import ToolsPrompt, count_roughly
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.company_tools import build_tools

TIERS: Any = ("full", "signatures", "names", "pointer")
DISCOVERY_NAMES = ("search_tools", "describe", "list_domains")

COMPANY = build_tools()


@tool
def get_user(user_id: int) -> Any:
    """Look a user up."""
    return {"id": user_id, "name": "Ada"}


@tool
def count_users() -> int:
    """Count the users."""
    return 3


class Member(BaseModel):
    """Somebody."""

    name: str


@tool("describe")
def own_describe(x: int) -> int:
    """Describe a number."""
    return -x


def prompt_of(catalog: ToolCatalog, **options: Any) -> ToolsPrompt:
    """Return a prompt with nothing around the tools."""
    return ToolsPrompt(catalog, "{TOOLS}", **options)


def calls(code: str) -> AIMessage:
    """Return a message that runs code."""
    return tool_call_message("run_code", {"code": code})


# --- tiers --------------------------------------------------------------------------------------


def test_tiers_hold_less_and_less() -> None:
    """Each tier is shorter than the one before, and says where each tool is, or how many there are."""
    catalog = ToolCatalog(COMPANY)
    texts = [catalog.render(tier) for tier in TIERS]
    assert [len(text) for text in texts] == sorted(map(len, texts), reverse=True)
    for text in texts[:3]:
        assert all(definition.name in text for definition in catalog)
    assert texts[3].startswith("500 tools in 20 domains: billing (25), subscriptions (25),")
    ast.parse(texts[0])


def test_text_of_the_tiers() -> None:
    """What a model reads of two tools in each tier, by domain and without one."""
    catalog = ToolCatalog({"users": [get_user, count_users]})
    assert catalog.render("signatures") == (
        "# tools.users\n"
        "get_user(user_id: int)  # Look a user up\n"
        "count_users() -> int  # Count the users\n"
    )
    assert catalog.render("names") == "users: get_user, count_users\n"
    assert catalog.render("pointer") == "2 tools in 1 domain: users (2)\n"
    flat = ToolCatalog([get_user, count_users])
    assert flat.render("signatures").startswith("# tools\nget_user(")
    assert flat.render("names") == "tools: get_user, count_users\n"
    assert flat.render("pointer") == "2 tools\n"
    mixed = ToolCatalog({None: [get_user], "more": [count_users]})
    assert mixed.render("names") == "tools: get_user\nmore: count_users\n"
    assert mixed.render("pointer") == "2 tools in 2 domains: tools (1), more (1)\n"


def test_no_tools() -> None:
    """A catalog without tools has no text in any tier."""
    assert [ToolCatalog([]).render(tier) for tier in TIERS] == ["", "", "", ""]


def test_500_tools_in_8000_characters() -> None:
    """A large catalog fits a small prompt, as text of the tool and over the wire."""
    (run_code,) = as_programmatic(COMPANY, prompt_tokens=2_000)
    assert len(run_code.description) <= 8_000
    assert len(str(convert_to_openai_tool(run_code))) <= 8_000
    assert "search_tools" in run_code.description
    start = time.process_time()
    ToolCatalog(COMPANY).render("signatures")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("budget", [1, 500, 2_000, 3_000, 5_000, 10_000, 12_000, 20_000, None])
def test_the_budget_is_kept(budget: int | None) -> None:
    """The text has no more tokens than it may, but that a pointer is always shown."""
    prompt = prompt_of(ToolCatalog(COMPANY), prompt_tokens=budget)
    if budget is None:
        assert prompt.tier == "full"
    elif budget >= 500:
        assert count_roughly(prompt.render()) <= budget
    else:
        assert prompt.tier == "pointer"


def test_larger_budgets_show_more() -> None:
    """A larger budget never shows less."""
    catalog = ToolCatalog(COMPANY)
    tiers = [prompt_of(catalog, prompt_tokens=n).tier for n in range(500, 20_000, 500)]
    places = [TIERS.index(tier) for tier in tiers]
    assert places == sorted(places, reverse=True)
    assert set(tiers) == set(TIERS)


def test_what_stands_around_the_tools_counts() -> None:
    """The budget is of the whole text."""
    catalog = ToolCatalog([get_user])
    size = count_roughly(ToolsPrompt(catalog, "{TOOLS}", prompt_tokens=None).render())
    assert ToolsPrompt(catalog, "{TOOLS}", prompt_tokens=size).tier == "full"
    assert ToolsPrompt(catalog, "{TOOLS}" + "x" * 40, prompt_tokens=size).tier != "full"


def test_a_counter_of_ones_own() -> None:
    """Tokens are counted as the user says."""
    catalog = ToolCatalog(COMPANY)
    prompt = prompt_of(catalog, prompt_tokens=8_000, count_tokens=lambda text: len(text.split()))
    assert prompt.tier == "full"


@pytest.mark.parametrize("tokens", [0, -1])
def test_no_budget_at_all_is_refused(tokens: int) -> None:
    """A budget must be positive."""
    with pytest.raises(ValueError, match="prompt_tokens must be a positive number or None, got"):
        as_programmatic([get_user], prompt_tokens=tokens)


def test_each_tier_tells_how_to_find_the_rest() -> None:
    """What is not shown can be looked up, and the text says how; what is shown whole needs nothing."""
    catalog = ToolCatalog(COMPANY)
    for budget, told in ((1, True), (3_000, True), (12_000, False), (None, False)):
        text = prompt_of(catalog, prompt_tokens=budget).render()
        assert ("search_tools(" in text) is told
        assert ("describe(" in text) is (budget is not None)
    assert "{" not in prompt_of(ToolCatalog([get_user]), prompt_tokens=1).render()


def test_tools_that_code_may_not_call_are_not_shown() -> None:
    """The code's prompt has the code's tools."""
    policy = ToolPolicy(allowed_callers=("direct",))
    catalog = ToolCatalog([get_user, count_users], policies={"get_user": policy})
    for tier in TIERS[:3]:
        assert "get_user" not in catalog.render(tier)
    assert "1 tool\n" in catalog.render("pointer")
    assert [d.name for d in catalog.callables] == ["count_users", *DISCOVERY_NAMES]


# --- the same from turn to turn -----------------------------------------------------------------


def test_the_tier_does_not_depend_on_what_is_learned() -> None:
    """What is learned is shown where there is room, and never pushes a tool out."""
    catalog = ToolCatalog([get_user])
    bare = prompt_of(catalog, prompt_tokens=None).render()
    tight = prompt_of(catalog, prompt_tokens=count_roughly(bare))
    roomy = prompt_of(catalog, prompt_tokens=count_roughly(bare) + 50)
    catalog.observe("get_user", {"id": 1, "name": "Ada"})
    assert tight.tier == roomy.tier == "full"
    assert tight.render() == bare
    assert "# observed: {'id': int, 'name': str}" in roomy.render()
    assert prompt_of(catalog, prompt_tokens=count_roughly(bare)).tier == "full"


def test_the_description_is_that_of_its_turn() -> None:
    """A tool that was made before is described with what was learned since, until it is overwritten."""
    catalog = ToolCatalog([get_user])
    (run_code,) = as_programmatic(catalog)
    first = run_code.description
    assert run_code.description is first
    catalog.observe("get_user", {"id": 1})
    assert "# observed: {'id': int}" in run_code.description
    wire = convert_to_openai_tool(run_code)["function"]["description"]
    assert wire == run_code.description == run_code.model_copy().description
    assert run_code.model_copy(update={"description": "Mine."}).description == "Mine."
    run_code.description = "Mine."
    assert run_code.description == "Mine."


def test_learned_in_an_agent() -> None:
    """The turn after a call shows the shape of its result; the turns after that show the same."""
    model = ScriptedChatModel(
        script=[calls("get_user(1)"), calls("print(get_user(2))"), calls("print(1)"), "Done."]
    )
    agent = create_agent(model, tools=as_programmatic([get_user, count_users]))
    agent.invoke({"messages": [HumanMessage("Who?")]})
    texts = [call.tools[0]["function"]["description"] for call in model.calls]
    assert "observed" not in texts[0]
    assert "# observed: {'id': int, 'name': str}" in texts[1]
    assert texts[1] == texts[2] == texts[3]
    assert "Ada" not in texts[3]


@pytest.mark.parametrize("protocol", ["tool", "text"])
def test_learned_in_a_node(protocol: Any) -> None:
    """A node shows what was learned in its next prompt, whether it binds the tool or writes text."""
    code = "print(get_user(1))"
    reply = calls(code) if protocol == "tool" else f"```python\n{code}\n```"
    model = ScriptedChatModel(script=[reply] * 3)
    node = ProgrammaticToolNode(model, [get_user], protocol=protocol)
    for _ in range(3):
        node.invoke({"messages": [HumanMessage("Who?")]})
    texts = [
        call.tools[0]["function"]["description"] if protocol == "tool" else call.messages[0].text
        for call in model.calls
    ]
    assert "observed" not in texts[0]
    assert "# observed: {'id': int, 'name': str}" in texts[1]
    assert texts[1] == texts[2]


# --- inside the code ----------------------------------------------------------------------------

LOOK = """
found = await search_tools("give money back to a customer", limit=5)
assert len(found) == 5
assert set(found[0]) == {"name", "signature", "summary"}
print([tool.name for tool in found if "refund" in tool["name"]])
print(await describe("billing.refund_payment"))
domains = await list_domains()
print(len(domains), len(domains["hr"]))
print((await describe("hr")).splitlines()[0])
"""
LOOKED = '''\
['billing.refund_payment']
# from tools.billing import refund_payment

async def refund_payment(payment_id: str, amount: str = ...) -> Any:
    """Return money for a captured payment to the card it came from."""

20 25
# tools.hr
'''


@pytest.mark.parametrize("synchronous", [False, True], ids=["await", "plain"])
async def test_code_looks_at_tools(synchronous: bool) -> None:
    """Code searches and describes tools and lists domains, with `await` and without, in any catalog."""
    executor = ProgrammaticToolExecutor(ToolCatalog(COMPANY))
    if synchronous:
        result = executor.execute(LOOK.replace("await ", ""))
    else:
        result = await executor.aexecute(LOOK)
    assert result.error is None
    assert result.output == LOOKED


def test_found_is_callable() -> None:
    """A tool that was found, or was not, is called by its name: nothing has to be loaded."""
    (run_code,) = as_programmatic(COMPANY, prompt_tokens=1)
    code = (
        "name = search_tools('refund a payment')[0].name\n"
        "from tools.billing import refund_payment\n"
        "import tools\n"
        "print(name, refund_payment('p1').tool, tools.hr.list_employees(1).tool)"
    )
    told = run_code.invoke({"code": code})
    assert told.strip() == "billing.refund_payment refund_payment list_employees"


def test_a_name_that_is_nobodys() -> None:
    """Describing what is not there tells what is, and the code may catch it."""
    executor = ProgrammaticToolExecutor(ToolCatalog(COMPANY))
    code = "try:\n    describe('billing.refnd_payment')\nexcept ToolCallError as error:\n    print(error)"
    assert executor.execute(code).output == (
        "describe failed: ValueError: 'billing.refnd_payment' names no single tool "
        "(did you mean 'billing.refund_payment'?)\n"
    )


def test_a_record_is_described_with_its_types() -> None:
    """The stub of one tool brings the records that it names, and nothing of other tools."""

    @tool
    def get_member(member_id: int) -> Member:
        """Return a member."""
        return Member(name=str(member_id))

    text = ToolCatalog([get_member, get_user]).describe("get_member")
    assert "class Member(TypedDict):" in text
    assert "-> Member:" in text
    assert "get_user" not in text
    ast.parse(text)


# --- names that are taken -----------------------------------------------------------------------


def test_a_tool_of_ones_own_comes_first() -> None:
    """A tool named like one of ours is the user's, as long as the prompt shows all tools."""
    for tools in ([own_describe, get_user], {"math": [own_describe], "users": [get_user]}):
        catalog = ToolCatalog(tools)
        assert catalog.discovery == ()
        assert ProgrammaticToolExecutor(catalog).execute("print(describe(3))").output == "-3\n"
        (run_code,) = as_programmatic(catalog)
        assert "Describe a number." in run_code.description


def test_a_name_that_the_prompt_needs() -> None:
    """Where the code must look for tools, a tool without a domain cannot have that name."""
    with pytest.raises(
        CatalogError, match=r"your tool 'describe' has that name; rename it, or put it"
    ):
        as_programmatic([own_describe], prompt_tokens=1)


def test_a_name_in_a_domain() -> None:
    """There a domain's tool of that name is called by its domain."""
    (run_code,) = as_programmatic({"math": [own_describe]}, prompt_tokens=1)
    code = (
        "import tools\n"
        "print(describe('math.describe').splitlines()[0])\n"
        "print(tools.math.describe(3))\n"
        "from tools.math import describe\n"
        "print(describe(4))"
    )
    told = run_code.invoke({"code": code})
    assert told.strip() == "# from tools.math import describe\n-3\n-4"


# --- the model looks itself ---------------------------------------------------------------------


def test_tools_for_the_model() -> None:
    """An agent may be given the same tools to call itself, beside `run_code`."""
    catalog = ToolCatalog(COMPANY)
    mine = catalog.discovery_tools()
    assert [t.name for t in mine] == list(DISCOVERY_NAMES)
    assert mine[0].invoke({"query": "refund a payment", "limit": 1})[0]["name"] == (
        "billing.refund_payment"
    )
    model = ScriptedChatModel(
        script=[
            tool_call_message("search_tools", {"query": "refund a payment"}),
            calls("print(refund_payment('p1').tool)"),
            lambda messages: messages[-1].text,
        ]
    )
    agent = create_agent(model, tools=[*as_programmatic(catalog, prompt_tokens=1_000), *mine])
    state = agent.invoke({"messages": [HumanMessage("Refund p1.")]})
    assert "billing.refund_payment" in state["messages"][2].text
    assert state["messages"][-1].text.strip() == "refund_payment"


async def test_tools_for_the_model_in_asynchronous_code() -> None:
    """They answer asynchronously alike."""
    search, describe, list_domains = ToolCatalog(COMPANY).discovery_tools()
    assert (await search.ainvoke({"query": "refund"}))[0]["name"] == "billing.refund_payment"
    assert "refund_payment" in await describe.ainvoke({"name": "billing.refund_payment"})
    assert len(await list_domains.ainvoke({})) == 20


# --- a node that looks first --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["tool", "text"])
def test_a_node_looks_and_then_answers(protocol: Any) -> None:
    """A program that only looks is no answer: its output goes back to the model, not into the state."""
    codes = ["print(search_tools('refund a payment')[0])", "print(refund_payment('p1').tool)"]
    fenced = [f"```python\n{code}\n```" for code in codes]
    model = ScriptedChatModel(script=list(map(calls, codes)) if protocol == "tool" else fenced)
    node = ProgrammaticToolNode(
        model, COMPANY, protocol=protocol, prompt_tokens=1_000, max_attempts=1
    )
    call, output = node.invoke({"messages": [HumanMessage("Refund p1.")]})["messages"]
    assert output.text.strip() == "refund_payment"
    assert call.tool_calls[0]["args"]["code"] == codes[1]
    assert "billing.refund_payment" in model.calls[1].messages[-1].text
    assert "Now write the complete program" in model.calls[1].messages[-1].text


def test_a_node_does_not_look_for_ever() -> None:
    """A model that only ever looks gets what it found as its answer."""
    model = ScriptedChatModel(script=lambda _: calls("print(len(list_domains()))"))
    node = ProgrammaticToolNode(model, COMPANY, prompt_tokens=1_000)
    _, output = node.invoke({"messages": [HumanMessage("How many domains?")]})["messages"]
    assert output.text.strip() == "20"
    assert len(model.calls) == 4
