"""Tools with state: what a graph injects into them, and what they keep on themselves."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import sys
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
)
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel, PrivateAttr

from langchain_ptc import (
    CatalogError,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    as_programmatic,
    native_tools,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import message_of


class State(AgentState[Any]):
    user: str


class Arguments(BaseModel):
    a: int


class WithInjected(BaseModel):
    a: int
    user: Annotated[str, InjectedState("user")]


HAS_V1 = sys.version_info < (3, 14)
"""Whether models of pydantic 1 can be made at all."""
if HAS_V1:
    from pydantic import v1

    class OldArguments(v1.BaseModel):
        a: int

    class OldWithState(v1.BaseModel):
        a: int
        state: Annotated[dict, InjectedState]

else:
    OldArguments = OldWithState = None

with_v1 = pytest.mark.skipif(not HAS_V1, reason="pydantic 1 does not work with this Python")

JSON = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OPEN_JSON = {**JSON, "additionalProperties": True}
ASK: Any = {"messages": [("user", "q")], "user": "ada"}
CONFIG: Any = {"configurable": {"who": "config"}}


def state(a, state: Annotated[dict, InjectedState]):
    return state["user"]


def field(a, user: Annotated[str, InjectedState("user")]):
    return user


def store(a, store: Annotated[BaseStore, InjectedStore()]):
    return type(store).__name__


def runtime(a, runtime: ToolRuntime):
    return runtime.state["user"]


def runtime_by_another_name(a, rt: ToolRuntime[Any, State]):
    return rt.state["user"]


def optional(a, runtime: ToolRuntime = None):  # type: ignore[assignment]
    return runtime and runtime.state["user"]


def config(a, config: RunnableConfig):
    return config["configurable"]["who"]


def call_id(a: int, tool_call_id: Annotated[str, InjectedToolCallId]):
    return "an id" if tool_call_id else "none"


def marked(a: int, secret: Annotated[str, InjectedToolArg] = "mine"):
    return secret


async def in_coroutine(a, runtime: ToolRuntime):
    return runtime.state["user"]


FUNCTIONS = (state, field, store, runtime, runtime_by_another_name, optional, config)


def of(function: Any, schema: Any) -> BaseTool:
    is_async = asyncio.iscoroutinefunction(function)
    return StructuredTool(
        name=function.__name__,
        description="d",
        args_schema=schema,
        **{"coroutine" if is_async else "func": function},
    )


def answer_of(tools: Any, first: Any, **options: Any) -> str:
    model = ScriptedChatModel(script=[first, "end"])
    agent = create_agent(model, tools, state_schema=State, store=InMemoryStore(), **options)
    return agent.invoke(ASK, CONFIG)["messages"][2].text.strip()


async def aanswer_of(tools: Any, first: Any, **options: Any) -> str:
    model = ScriptedChatModel(script=[first, "end"])
    agent = create_agent(model, tools, state_schema=State, store=InMemoryStore(), **options)
    return (await agent.ainvoke(ASK, CONFIG))["messages"][2].text.strip()


def as_node(tool_: BaseTool, first: Any) -> str:
    class Graph(MessagesState):
        user: str

    graph = StateGraph(Graph)
    graph.add_node("code", ProgrammaticToolNode(ScriptedChatModel(script=[first]), [tool_]))
    graph.add_edge(START, "code")
    return graph.compile(store=InMemoryStore()).invoke(ASK, CONFIG)["messages"][-1].text.strip()


def direct(tool_: BaseTool) -> str:
    return answer_of([tool_], tool_call_message(tool_.name, {"a": 1}))


def programmatic(tool_: BaseTool) -> str:
    return answer_of(as_programmatic([tool_]), code_for(tool_))


def through_middleware(tool_: BaseTool) -> str:
    middleware = ProgrammaticToolCallingMiddleware()
    return answer_of([tool_], code_for(tool_), middleware=[middleware])


def code_for(tool_: BaseTool) -> Any:
    return message_of(f"print(await {tool_.name}(a=1))")


SCHEMAS = {"model": Arguments, "json": JSON}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_injected_not_in_args_schema(function, schema):
    """What LangChain injects by a function's signature reaches it when code calls, too."""
    made = of(function, SCHEMAS[schema])
    expected = direct(made)
    assert expected in ("ada", "InMemoryStore", "config")
    assert programmatic(made) == expected
    assert through_middleware(made) == expected
    assert as_node(made, code_for(made)) == expected
    assert "(a: int) -> " in ToolCatalog([made]).render()


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(Arguments, id="model"),
        pytest.param(JSON, id="json"),
        pytest.param(OldArguments, id="v1", marks=with_v1),
    ],
)
async def test_injected_into_a_coroutine(schema):
    """A coroutine is injected by its signature as a function is."""
    made = of(in_coroutine, schema)
    assert await aanswer_of(as_programmatic([made]), code_for(made)) == "ada"


@pytest.mark.parametrize(
    ("function", "schema"),
    [
        pytest.param(runtime, OldArguments, id="v1-runtime", marks=with_v1),
        pytest.param(config, OldArguments, id="v1-config", marks=with_v1),
        pytest.param(state, OldWithState, id="v1-schema", marks=with_v1),
        pytest.param(field, WithInjected, id="schema-field"),
        pytest.param(call_id, None, id="own-call-id"),
        pytest.param(marked, None, id="own-marked"),
        pytest.param(runtime, None, id="own-runtime"),
    ],
)
def test_injected_in_other_schemas(function, schema):
    """Schemas of pydantic 1, schemas that name what is injected, and schemas made from signatures."""
    if schema is None:
        made: BaseTool = StructuredTool.from_function(function, description="d")
    else:
        made = of(function, schema)
    expected = direct(made)
    assert "rror" not in expected
    assert programmatic(made) == through_middleware(made) == expected


@with_v1
def test_old_schema_that_langgraph_cannot_inject_names_the_tool():
    """LangGraph cannot inject a field of the state beside a schema of pydantic 1: the tool is named."""
    with pytest.raises(CatalogError, match="tool 'field'"):
        as_programmatic([of(field, OldArguments)])


def keeps_runtime(runtime: ToolRuntime, **arguments: Any) -> Any:
    return type(runtime).__name__, sorted(arguments)


@pytest.mark.parametrize("in_graph", [True, False])
def test_open_schemas_do_not_let_code_forge_what_is_injected(in_graph):
    """A tool that takes any argument takes none from code under the name of an injected one."""
    made = StructuredTool(name="it", description="d", args_schema=OPEN_JSON, func=keeps_runtime)
    code = "try:\n    print(await it(a=1, runtime=2))\nexcept ToolCallError as e:\n    print(e)"
    if in_graph:
        told = answer_of(as_programmatic([made]), message_of(code))
    else:
        told = ProgrammaticToolExecutor([made]).execute(code).output
    assert "it() has no parameter 'runtime'" in told
    assert programmatic(made) == "('ToolRuntime', ['a'])"


class WhoAmI(BaseTool):
    name: str = "who_am_i"
    description: str = "d"

    def _run(self, a: int, config: RunnableConfig) -> str:
        return f"{a} {config['configurable']['who']}"


class OptionalConfig(BaseTool):
    name: str = "who_am_i"
    description: str = "d"

    def _run(self, a: int, cfg: RunnableConfig = None) -> str:  # type: ignore[assignment]
        return f"{a} {cfg and cfg['configurable']['who']}"


class AsyncConfig(WhoAmI):
    async def _arun(self, a: int, config: RunnableConfig) -> str:
        return f"{a} {config['configurable']['who']}"


class RuntimeInRun(BaseTool):
    name: str = "who_am_i"
    description: str = "d"

    def _run(self, a: int, runtime: ToolRuntime) -> str:
        return f"{a} {runtime.state['user']}"


class StateInRun(BaseTool):
    name: str = "who_am_i"
    description: str = "d"

    def _run(self, a: int, user: Annotated[str, InjectedState("user")]) -> str:
        return f"{a} {user}"


class SchemaAndConfig(WhoAmI):
    args_schema: Any = JSON


@pytest.mark.parametrize(
    "kind", [WhoAmI, OptionalConfig, AsyncConfig, RuntimeInRun, StateInRun, SchemaAndConfig]
)
async def test_basetool_config_parameter(kind):
    """What `_run` is given by LangChain is no parameter for code, and is given to it."""
    made = kind()
    expected = direct(made)
    assert expected in ("1 config", "1 ada")
    assert programmatic(made) == through_middleware(made) == expected
    assert await aanswer_of(as_programmatic([made]), code_for(made)) == expected
    stub = ToolCatalog([made]).render()
    assert "def who_am_i(a: int) -> str:" in stub
    assert not any(word in stub.lower() for word in ("config", "runtime", "user"))


class Api(BaseTool):
    name: str = "api"
    description: str = "Call the API."
    token: str = "old"
    calls: int = 0
    client: Any = None
    seen: list[str] = []
    _inner: int = PrivateAttr(default=0)

    def _run(self, q: str) -> str:
        self.calls += 1
        self._inner += 1
        self.client = self.client or object()
        self.seen.append(q)
        return f"{q} with {self.token}"


class AsyncApi(Api):
    async def _arun(self, q: str) -> str:
        return self._run(q)


class CachedApi(Api):
    @functools.cached_property
    def connection(self) -> list[str]:
        return []

    def _run(self, q: str) -> str:
        self.connection.append(q)
        return super()._run(q)


CALL = message_of("print(await api('a'))")


def by_executor(tool_: BaseTool) -> Any:
    return ProgrammaticToolExecutor([tool_]).execute("print(await api('a'))")


def by_programmatic(tool_: BaseTool) -> Any:
    return answer_of(as_programmatic([tool_]), CALL)


def by_middleware(tool_: BaseTool) -> Any:
    return answer_of([tool_], CALL, middleware=[ProgrammaticToolCallingMiddleware()])


def by_node(tool_: BaseTool) -> Any:
    return as_node(tool_, CALL)


WAYS = (by_executor, by_programmatic, by_middleware, by_node)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Api, AsyncApi, CachedApi])
def test_tool_object_is_copied(kind, way):
    """The tool that was passed is the tool that runs: what it sets on itself is on the user's object."""
    made = kind()
    client = made.client = None
    way(made)
    assert (made.calls, made._inner, made.seen) == (1, 1, ["a"])
    assert made.client is not client
    assert kind is not CachedApi or made.connection == ["a"]
    client = made.client
    way(made)
    assert (made.calls, made._inner, made.client is client) == (2, 2, True)


def test_what_is_set_on_a_tool_later_counts():
    """A token, a function or a method that is replaced on the tool is used by the next call."""
    made = Api()
    executor = ProgrammaticToolExecutor([made])
    assert "with old" in executor.execute("print(api('a'))").output
    made.token = "new"
    assert "with new" in executor.execute("print(api('a'))").output
    function = StructuredTool.from_function(lambda q: f"first {q}", name="f", description="d")
    single = Tool(name="g", description="d", func=lambda q: f"first {q}")
    executor = ProgrammaticToolExecutor([function, single])
    assert executor.execute("print(f(q='a'), g('a'))").output == "first a first a\n"
    function.func = single.func = lambda q: f"second {q}"
    assert executor.execute("print(f(q='a'), g('a'))").output == "second a second a\n"


def test_nothing_is_set_on_a_tool():
    """A tool is the same, to its own eyes and to others', before and after it was called."""
    made = Api()
    made.invoke({"q": "a"})  # LangChain sets something of its own
    before = dict(vars(made))
    by_middleware(made)
    by_executor(made)
    assert vars(made).keys() == before.keys()
    assert made.model_copy()._run("b") == "b with old"


class Overrides(StructuredTool):
    """A subclass that overrides what LangChain calls, as instrumented tools do."""

    log: list[str] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.log.append("run")
        return super().run(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        self.log.append("invoke")
        return super().invoke(*args, **kwargs)

    async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
        self.log.append("ainvoke")
        return await super().ainvoke(*args, **kwargs)


async def test_overridden_methods_run():
    """A subclass's own `invoke` and `run` run, on the tool, and the value is the tool's, no text."""
    made = Overrides.from_function(lambda a: {"a": a}, name="f", description="d")
    executor = ProgrammaticToolExecutor([made])
    assert executor.execute("print(f(a=1)['a'])").output == "1\n"
    assert made.log == ["invoke", "run"]
    made.log.clear()
    assert (await executor.aexecute("print(f(a=1)['a'])")).output == "1\n"
    assert made.log == ["ainvoke", "invoke", "run"]


def test_native_tools_are_the_tools_that_were_passed():
    """Tools for a provider's own code have another name; what runs is the tool itself."""
    made = Api()
    (native,) = [t for t in native_tools([made], provider="anthropic") if isinstance(t, BaseTool)]
    assert native.invoke({"q": "a"}) == "a with old"
    assert (made.calls, made._inner) == (1, 1)
    made.token = "new"
    assert native.invoke({"q": "a"}) == "a with new"


class Replaces(AgentMiddleware):
    """A middleware that looks at the tool, copies it, and puts a changed copy in its place."""

    def __init__(self, expected: BaseTool) -> None:
        self.expected = expected

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        if request.tool_call["name"] == "run_code":
            return handler(request)
        found = request.tool
        assert isinstance(found, Api)
        assert found == self.expected
        assert found.token == "old"
        for copied in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            assert copied.name == "api"
        return handler(request.override(tool=found.model_copy(update={"token": "replaced"})))


def test_middleware_sees_the_tool_and_may_replace_it():
    """What another middleware is given is the tool to its eyes; a copy that it makes is another one."""
    made = Api()
    middleware = [ProgrammaticToolCallingMiddleware(), Replaces(made)]
    assert answer_of([made], CALL, middleware=middleware) == "a with replaced"
    assert (made.calls, made.token) == (0, "old")


class Managed(BaseTool):
    name: str = "managed"
    description: str = "d"

    def _run(self, a: int, run_manager: CallbackManagerForToolRun | None = None) -> str:
        return type(run_manager).__name__


def test_callback_managers_are_passed():
    """A tool that asks for its callback manager is given one, and code sees no such parameter."""
    executor = ProgrammaticToolExecutor([Managed()])
    assert executor.execute("print(managed(1))").output == "CallbackManagerForToolRun\n"
    assert "def managed(a: int) -> str:" in ToolCatalog([Managed()]).render()


def minutes(title: str, runtime: int) -> str:
    return f"{title} {runtime}"


def test_a_parameter_that_is_only_named_runtime():
    """A parameter `runtime` with a type of its own is the code's, though LangGraph fills in others."""
    made = StructuredTool.from_function(minutes, name="f", description="d")
    call = message_of("print(await f('M', 90))")
    assert answer_of(as_programmatic([made]), call) == "M 90"


def test_a_tool_sees_itself():
    """Inside of the tool `self` is the user's object, by identity."""
    seen = []

    class Looks(BaseTool):
        name: str = "looks"
        description: str = "d"

        def _run(self, a: int) -> int:
            seen.append(self)
            return a

    made = Looks()
    ProgrammaticToolExecutor([made]).execute("looks(a=1)")
    assert seen[0] is made
