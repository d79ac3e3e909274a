"""Graphs, entrypoints, remote graphs and other runnables in a catalog, called by code as tools are."""

from __future__ import annotations

import dataclasses
import datetime
import json
import operator
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.managed import RemainingSteps
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_ptc import (
    CatalogError,
    ProgrammaticToolExecutor,
    ToolCatalog,
    agent_tool,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel


async def run(catalog: ToolCatalog, code: str) -> str:
    """Run code and return what it prints."""
    result = await ProgrammaticToolExecutor(catalog).aexecute(code)
    assert result.error is None, result.error
    return result.output.rstrip("\n")


class Chat(MessagesState):
    """Answers a question of a customer."""


def answer(state: MessagesState) -> dict[str, Any]:
    """Answer the last message."""
    last = state["messages"][-1]
    call = {"name": "look", "args": {"at": "menu"}, "id": "c1"}
    return {"messages": [AIMessage(f"You said {last.content}.", tool_calls=[call])]}


def build(state: Any, node: Any, name: str, **options: Any) -> CompiledStateGraph[Any]:
    """Compile a graph of one node."""
    graph = StateGraph(state).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    return graph.compile(name=name, **options)


class Line(BaseModel):
    product: str
    amount: int = 1


class Order(TypedDict):
    """Prices an order."""

    lines: list[Line]
    currency: NotRequired[str]


class Priced(TypedDict):
    total: float
    seen: list[str]


def price(state: Order) -> Priced:
    """Price the lines."""
    names = [line.product if isinstance(line, Line) else line["product"] for line in state["lines"]]
    return {"total": 2.5 * len(names), "seen": names}


def order_graph() -> CompiledStateGraph[Any]:
    """Return a graph with an input and an output of its own."""

    class All(Order, Priced):
        pass

    graph = StateGraph(All, input_schema=Order, output_schema=Priced)
    graph.add_node("price", price).add_edge(START, "price")
    return graph.compile(name="price_order")


# --- what the model reads -----------------------------------------------------------------------


def test_messages_are_small_records() -> None:
    """Messages in a graph's schemas are shown as a person would write them, not as twelve classes."""
    text = ToolCatalog([build(Chat, answer, "support")]).render()
    assert "async def support(messages: list[NewMessage | Message]) -> Chat:" in text
    assert '"""Answers a question of a customer."""' in text
    assert "    role: Literal['user', 'assistant', 'system']\n" in text
    assert "    tool_calls: NotRequired[list[MessageToolCall]]\n" in text
    assert len(text) < 1_200
    compile(text, "stubs", "exec")


def test_own_input_and_output() -> None:
    """A graph's input schema gives the parameters, its output schema the return type."""
    tool = agent_tool(order_graph(), description="Price an order.")
    text = ToolCatalog({"shop": [tool]}).render()
    assert "async def price_order(lines: list[Line], currency: str = ...) -> Priced:" in text
    assert "    total: NotRequired[float]\n" in text
    assert "product: str" in text


def test_entrypoint() -> None:
    """An entrypoint is named and described by its function; what is no record is one `input`."""

    @entrypoint()
    def count_words(text: str) -> dict[str, int]:
        """Count the words of a text."""
        return {"words": len(text.split())}

    text = ToolCatalog([count_words]).render()
    assert "async def count_words(input: str) -> dict[str, int]:" in text
    assert "Count the words of a text." in text


def test_agent_of_langchain() -> None:
    """An agent of `create_agent` takes messages and gives messages."""
    model = ScriptedChatModel(script=[AIMessage("done")])
    agent = create_agent(model, [], name="research")
    text = ToolCatalog([agent_tool(agent, description="Research a topic.")]).render()
    assert "async def research(messages: list[NewMessage | Message]) ->" in text


def test_chain() -> None:
    """A chain takes the variables of its prompt."""
    model = ScriptedChatModel(script=[AIMessage("Guten Tag")])
    chain = ChatPromptTemplate.from_template("Say {text} in {language}.") | model
    tool = agent_tool(chain, name="translate", description="Translate.")
    assert "async def translate(language: str, text: str)" in ToolCatalog([tool]).render()


def test_states_that_hold_more_than_json() -> None:
    """A field without a schema may be anything, and takes nothing from the others."""

    class Odd(TypedDict):
        lock: Any
        socket: socket.socket
        count: int

    tool = agent_tool(build(Odd, lambda state: state, "odd"), description="Odd.")
    assert "async def odd(lock: Any, socket: Any, count: int)" in ToolCatalog([tool]).render()


def test_list_of_messages_in_a_state_of_its_own() -> None:
    """Messages are found wherever they stand, with other fields beside them."""

    class Inbox(TypedDict):
        history: Annotated[list[AnyMessage], add_messages]
        last: AnyMessage | None
        drafts: dict[str, list[HumanMessage]]
        urgent: bool

    tool = agent_tool(build(Inbox, lambda state: {}, "inbox"), description="Read.")
    text = ToolCatalog([tool]).render()
    assert "history: list[NewMessage | Message]" in text
    assert "last: NewMessage | Message | None" in text
    assert "drafts: dict[str, list[NewMessage | Message]]" in text
    assert "response_metadata" not in text


class Tree(TypedDict):
    label: str
    children: list[Tree]


class Grown(TypedDict):
    tree: Tree
    note: NotRequired[str]
    total: Annotated[int, operator.add]
    steps: RemainingSteps


def test_records_of_records() -> None:
    """Records inside records are shown, one that holds itself ends, and what the graph knows is not."""
    graph = build(Grown, lambda state: {"note": "grown"}, "grow")
    text = ToolCatalog([agent_tool(graph, description="Grow.")]).render()
    assert "async def grow(tree: Tree, total: int, note: str = ...) -> Grown:" in text
    assert "    children: 'list[Tree]'\n" in text
    grown = text[text.index("class Grown(") :].split("\n\n")[0]
    assert grown.split("\n")[1:] == [
        "    tree: Tree",
        "    note: NotRequired[str]",
        "    total: int",
    ]


def test_schema_for_a_model_that_calls_an_agent_itself() -> None:
    """What a model reads that calls an agent without code is small, complete JSON Schema."""

    class Booking(TypedDict):
        day: datetime.date
        seats: list[int]
        rows: dict[str, float]
        kind: Annotated[Literal["window", "aisle"], "Where to sit."]
        line: Line
        thanks: NotRequired[AnyMessage]

    tool = agent_tool(build(Booking, lambda state: {}, "book"), description="Book.")
    schema = convert_to_openai_tool(tool)["function"]["parameters"]
    assert schema["required"] == ["day", "seats", "rows", "kind", "line"]
    kind = {"enum": ["window", "aisle"], "description": "Where to sit."}
    assert schema["properties"]["kind"] == kind
    assert schema["properties"]["day"] == {"type": "string", "format": "date"}
    assert schema["properties"]["seats"] == {"type": "array", "items": {"type": "integer"}}
    assert schema["properties"]["rows"]["additionalProperties"] == {"type": "number"}
    jsonschema.Draft202012Validator.check_schema(schema)
    value = {"day": "2026-01-02", "seats": [1], "rows": {"a": 1}, "kind": "aisle"}
    jsonschema.validate({**value, "line": {"product": "tea"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "line": {"amount": 1}}, schema)
    assert len(json.dumps(schema)) < 2_500


# --- calls --------------------------------------------------------------------------------------


async def test_messages_go_in_and_come_out() -> None:
    """Code writes a message, reads the answer by key and attribute, and goes on from there."""
    code = """
first = await support(messages=[{"role": "user", "content": "hello"}])
last = first["messages"][-1]
print(last.type, last["content"], last.tool_calls[0].args)
second = await support(messages=first["messages"] + [{"role": "user", "content": "again"}])
print([message.type for message in second.messages])
"""
    told = "ai You said hello. {'at': 'menu'}\n['human', 'ai', 'human', 'ai']"
    assert await run(ToolCatalog([build(Chat, answer, "support")]), code) == told


async def test_values() -> None:
    """Arguments reach a graph as its input, and its output is the value."""

    @entrypoint()
    async def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    def shout(line: Line) -> str:
        """Shout what is ordered."""
        return line.product.upper() * line.amount

    tools = [order_graph_tool(), double, RunnableLambda(shout)]
    code = """
print(await price_order(lines=[{"product": "tea"}, {"product": "pie"}]))
print(await double(21), await shout(product="tea"))
"""
    assert await run(ToolCatalog(tools), code) == "{'total': 5.0, 'seen': ['tea', 'pie']}\n42 TEA"


def order_graph_tool() -> Any:
    """Return the order graph as a tool."""
    return agent_tool(order_graph(), description="Price an order.")


class Basket(BaseModel):
    lines: list[Line] = []
    paid: bool = False


@dataclasses.dataclass
class Crate:
    bottles: int
    full: bool = False


async def test_states_of_other_kinds() -> None:
    """States may be models of pydantic or dataclasses, as LangGraph allows."""

    def pay(state: Basket) -> dict[str, Any]:
        return {"paid": all(line.amount > 0 for line in state.lines)}

    def fill(state: Crate) -> dict[str, Any]:
        return {"full": state.bottles > 5}

    tools = [
        agent_tool(build(Basket, pay, "pay"), description="Pay."),
        agent_tool(build(Crate, fill, "fill"), description="Fill."),
    ]
    catalog = ToolCatalog(tools)
    text = catalog.render()
    assert "async def pay(lines: list[Line] = [], paid: bool = False) -> Basket:" in text
    assert "async def fill(bottles: int, full: bool = False) -> Crate:" in text
    code = """
print(await pay(lines=[{"product": "tea"}]))
print(await fill(6))
try:
    await pay(lines=[{"product": "tea", "amount": "many"}])
except ToolCallError as error:
    print("valid integer" in str(error))
"""
    told = [
        "{'lines': [{'product': 'tea', 'amount': 1}], 'paid': True}",
        "{'bottles': 6, 'full': True}",
        "True",
    ]
    assert (await run(catalog, code)).split("\n") == told


async def test_bad_arguments_of_a_typed_runnable() -> None:
    """A runnable that takes a model of pydantic refuses what is none, at the call in the code."""

    def shout(line: Line) -> str:
        """Shout."""
        return line.product

    code = (
        "try:\n    await shout(product='tea', amount='many')\nexcept ToolCallError as e: print(e)"
    )
    assert "valid integer" in await run(ToolCatalog([RunnableLambda(shout)]), code)


async def test_arguments_that_frameworks_name() -> None:
    """A state's fields may be called as the parameters of LangChain's own methods."""

    class Named(TypedDict):
        self: str
        config: str
        run_manager: str

    tool = agent_tool(build(Named, lambda state: {}, "named"), description="Give back.")
    code = "print(await named(self='1', config='2', run_manager='3'))"
    told = "{'self': '1', 'config': '2', 'run_manager': '3'}"
    assert await run(ToolCatalog([tool]), code) == told


async def test_config_and_callbacks_pass_through() -> None:
    """The agent runs under the caller's config, as a child of its own tool call."""
    seen: list[tuple[str, str | None]] = []
    runs: dict[Any, str] = {}

    class Handler(AsyncCallbackHandler):
        async def on_tool_start(self, serialized: Any, input_str: str, **rest: Any) -> None:
            runs[rest["run_id"]] = serialized["name"]

        async def on_chain_start(self, serialized: Any, inputs: Any, **rest: Any) -> None:
            runs[rest["run_id"]] = rest["name"]
            seen.append((rest["name"], runs.get(rest["parent_run_id"])))

    def who(state: Chat, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [AIMessage(config["configurable"]["user"])]}

    catalog = ToolCatalog([build(Chat, who, "support")])
    code = "print((await support(messages=[])).messages[-1].content)"
    config: RunnableConfig = {"callbacks": [Handler()], "configurable": {"user": "ada"}}
    result = await ProgrammaticToolExecutor(catalog).aexecute(code, config=config)
    assert result.output == "ada\n"
    assert ("support", "support") in seen  # the graph's run, below the tool's of the same name


async def test_errors_of_an_agent() -> None:
    """An agent that raises fails at the call in the code."""

    def fail(state: Chat) -> dict[str, Any]:
        raise RuntimeError("no idea")

    code = "try:\n    await support(messages=[])\nexcept ToolCallError as error:\n    print(error)"
    told = await run(ToolCatalog([build(Chat, fail, "support")]), code)
    assert told == "support failed: RuntimeError: no idea"


def ask(state: MessagesState) -> dict[str, Any]:
    """Ask a person."""
    return {"messages": [AIMessage(f"The person says {interrupt('really?')}.")]}


async def test_interrupts_go_up() -> None:
    """An agent's interrupt pauses the graph that the code runs in, and its answer comes back."""
    catalog = ToolCatalog([build(Chat, ask, "support")])
    code = "print((await support(messages=[])).messages[-1].content)"
    call = {"name": "run_code", "args": {"code": code}, "id": "1"}
    model = ScriptedChatModel(script=[AIMessage("", tool_calls=[call]), AIMessage("done")])
    agent = create_agent(model, as_programmatic(catalog), checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    paused = await agent.ainvoke({"messages": [("user", "go")]}, config)
    assert [one.value for one in paused["__interrupt__"]] == ["really?"]
    ended = await agent.ainvoke(Command(resume="yes"), config)
    assert [m.content for m in ended["messages"] if m.type == "tool"] == ["The person says yes."]


async def test_interrupt_where_nobody_answers() -> None:
    """Outside a graph an agent that asks is an error of the call, which says what to do."""
    graph = build(Chat, ask, "support", checkpointer=InMemorySaver())
    code = "try:\n    await support(messages=[])\nexcept ToolCallError as error:\n    print(error)"
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    executor = ProgrammaticToolExecutor(ToolCatalog([graph]))
    told = (await executor.aexecute(code, config=config)).output
    assert "stopped to ask ['really?']" in told
    assert "in a graph with a checkpointer" in told


def test_from_synchronous_code() -> None:
    """Synchronous code calls an agent as it calls any tool."""
    catalog = ToolCatalog([order_graph_tool()])
    code = "print(price_order(lines=[{'product': 'tea'}]).total)"
    assert ProgrammaticToolExecutor(catalog).execute(code).output == "2.5\n"
    assert catalog["price_order"].tool.invoke({"lines": []}) == {"total": 0.0, "seen": []}


# --- what is missing ----------------------------------------------------------------------------


def unnamed(value: int) -> int:
    return value


REFUSED: dict[str, tuple[Any, str]] = {
    "no description": (
        build(MessagesState, answer, "support"),
        r"tools\[0\], the agent 'support', has no description.*agent_tool\(agent, name=",
    ),
    "no name": (
        StateGraph(Chat).add_node("node", answer).add_edge(START, "node").compile(),
        r"tools\[0\], a CompiledStateGraph, has no name of its own; wrap it: agent_tool",
    ),
    "a lambda": (RunnableLambda(lambda value: value), "a RunnableLambda, has no name"),
    "a graph that is not compiled": (
        StateGraph(Chat),
        r"got a StateGraph; pass what its \.compile",
    ),
    "no docstring": (RunnableLambda(unnamed), "the agent 'unnamed', has no description"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """An agent without a name or a description is refused, with the way to give one."""
    agent, told = REFUSED[case]
    with pytest.raises(CatalogError, match=told):
        ToolCatalog([agent])


def test_docstring_that_python_made_describes_nothing() -> None:
    """The docstring that `dataclass` writes by itself is no description."""

    @dataclasses.dataclass
    class State:
        count: int = 0

    with pytest.raises(CatalogError, match="has no description"):
        ToolCatalog([build(State, lambda state: {}, "counter")])


# --- remote graphs ------------------------------------------------------------------------------


class GraphServer(BaseHTTPRequestHandler):
    """As much of a LangGraph server as `RemoteGraph` asks: it runs `support`."""

    graph = build(Chat, answer, "support")

    def do_GET(self) -> None:
        if self.path == "/assistants/support/schemas":
            schemas = {
                "graph_id": "support",
                "input_schema": self.graph.get_input_jsonschema(),
                "output_schema": self.graph.get_output_jsonschema(),
            }
            self.reply("application/json", json.dumps(schemas))
        elif self.path == "/assistants/support":
            self.reply("application/json", json.dumps({"description": "Answer from afar."}))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(length))
        state = self.graph.invoke(request["input"])
        shown = {"messages": [message.model_dump() for message in state["messages"]]}
        self.reply("text/event-stream", f"event: values\ndata: {json.dumps(shown)}\n\n")

    def reply(self, kind: str, body: str) -> None:
        data = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a graph server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), GraphServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_remote_graph(url: str) -> None:
    """A remote graph tells its schemas and its description, and is called over the network."""
    with_clients = RemoteGraph("support", url=url)
    catalog = ToolCatalog([with_clients])
    assert "async def support(messages: list[NewMessage | Message])" in catalog.render()
    assert catalog["support"].description == "Answer from afar."
    code = """
value = await support(messages=[{"role": "user", "content": "hello"}])
print([message["content"] for message in value["messages"]])
print(sorted(value["messages"][0]))
"""
    told = "['hello', 'You said hello.']\n['content', 'id', 'type']"
    assert await run(catalog, code) == told
    assert with_clients.client is not None
    await with_clients.client.aclose()
    assert with_clients.sync_client is not None
    with_clients.sync_client.close()


def test_remote_graph_that_is_described(url: str) -> None:
    """A remote graph that is described in full is not asked for anything."""
    schema = {"type": "object", "properties": {"question": {"type": "string"}}}
    remote = RemoteGraph("elsewhere", url=url)
    tool = agent_tool(
        remote,
        name="ask",
        description="Ask.",
        input_schema=schema,
        output_schema={"type": "string"},
    )
    assert "async def ask(question: str = ...) -> str:" in ToolCatalog([tool]).render()
    with pytest.raises(CatalogError, match="the remote graph 'elsewhere', cannot be asked for its"):
        ToolCatalog([remote])
    assert remote.sync_client is not None
    remote.sync_client.close()
