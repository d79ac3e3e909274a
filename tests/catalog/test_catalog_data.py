"""Whatever real definitions hold: they wrap, their stubs are true, and arguments arrive as given."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.schema_values import valid_values
from benchmarks.stubs import call_source, closed, is_same
from langchain_ptc import InProcessSandbox, ProgrammaticToolExecutor, ToolCatalog, ToolDefinition
from langchain_ptc.catalog.stubs import MAX_LINE_CHARS, MAX_WORDS_CHARS, group, render_line
from tests.support.catalog_data import DEFINITIONS

EACH = pytest.mark.parametrize("definition", DEFINITIONS, ids=[d["name"] for d in DEFINITIONS])
QUICK = settings(
    max_examples=8,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all calls: a test of hypothesis cannot await."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def wrap(definition: Mapping[str, Any], received: list[Any]) -> StructuredTool:
    async def keep(**arguments: Any) -> None:
        received.append(arguments)

    return StructuredTool(
        name=definition["name"],
        description=definition["description"],
        args_schema=definition["parameters"],
        coroutine=keep,
    )


def run(text: str) -> dict[str, Any]:
    """Run the text for a model as a module that pydantic can read."""
    module = types.ModuleType("stubs_under_test")
    sys.modules[module.__name__] = module  # where records that hold themselves are looked up
    # pydantic reads `typing.TypedDict` from Python 3.12 on only
    source = text.replace("from typing import", "from typing_extensions import")
    exec(compile(source, "stub", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


@EACH
def test_generated_arguments_arrive(
    definition: dict[str, Any], loop: asyncio.AbstractEventLoop
) -> None:
    """What code passes under the stub's names reaches the tool unchanged, under the tool's own."""
    received: list[Any] = []
    catalog = ToolCatalog([wrap(definition, received)])
    executor = ProgrammaticToolExecutor(catalog, sandbox=InProcessSandbox())

    @QUICK
    @given(valid_values(closed(definition["parameters"])))
    def call(values: dict[str, Any]) -> None:
        received.clear()
        code = call_source(next(iter(catalog)), values)
        result = loop.run_until_complete(executor.aexecute(code))
        assert result.error is None, code
        assert is_same(received, [values]), code

    call()


@EACH
def test_types_are_never_narrower(definition: dict[str, Any]) -> None:
    """Every value that a schema accepts is of the type that the stub says."""
    catalog = ToolCatalog([wrap(definition, [])])
    (entry,) = catalog
    namespace = run(catalog.render())
    annotations = namespace[entry.name].__annotations__
    adapters = {p.tool_name: TypeAdapter(annotations[p.name]) for p in entry.parameters}
    further = TypeAdapter(annotations["kwargs"]) if entry.extra is not None else None

    @QUICK
    @given(valid_values(closed(definition["parameters"])))
    def hold(values: dict[str, Any]) -> None:
        for name, value in values.items():
            adapter = adapters.get(name, further)
            assert adapter is not None, f"{name!r} is not in the stub"
            adapter.validate_python(value, strict=True)
        assert {p.tool_name for p in entry.parameters if p.required} <= set(values)

    hold()


@EACH
def test_return_schemas_are_never_narrower(definition: dict[str, Any]) -> None:
    """What a JSON Schema says of a return becomes a type that every such value has."""
    schema = definition["parameters"]
    made = ToolDefinition(tool=wrap(DEFINITIONS[0], []), returns=schema)
    namespace = run(ToolCatalog([made]).render())
    adapter = TypeAdapter(namespace["no_arguments"].__annotations__["return"])

    @QUICK
    @given(valid_values(schema))
    def hold(value: object) -> None:
        adapter.validate_python(value, strict=True)

    hold()


def test_package_of_all_is_typed(tmp_path: Path) -> None:
    """mypy in strict mode accepts the package of all stubs, and the text for a model."""
    tools: list[Any] = [wrap(d, []) for d in DEFINITIONS]
    returning = [
        ToolDefinition(tool=wrap({**d, "name": f"r{n}"}, []), returns=d["parameters"])
        for n, d in enumerate(DEFINITIONS)
    ]
    catalog = ToolCatalog({"first": tools, "second": returning})
    catalog.write_stubs(tmp_path)
    for domain in ("first", "second"):
        members = [d for d in catalog if d.domain == domain]
        Path(tmp_path, f"{domain}.pyi").write_text(ToolCatalog(members).render(), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("ty") is None, reason="ty is not installed")
def test_package_of_all_passes_ty(tmp_path: Path) -> None:
    """ty accepts it too."""
    ToolCatalog([wrap(d, []) for d in DEFINITIONS]).write_stubs(tmp_path)
    command = [sys.executable, "-m", "ty", "check", "--python", sys.prefix, "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@EACH
def test_text_is_the_same_each_time(definition: dict[str, Any]) -> None:
    """A definition that was written out and read again has the same stub, character for character."""
    again = json.loads(json.dumps(definition))
    texts = {ToolCatalog([wrap(d, [])]).render() for d in (definition, again, definition)}
    assert len(texts) == 1


# --- one line -----------------------------------------------------------------------------------


def line_of(given_tool: Any) -> str:
    (stubs,) = group(ToolCatalog([given_tool]))
    (definition,) = stubs.definitions
    return render_line(definition, stubs.names[definition.name])


@EACH
def test_each_tool_has_one_line(definition: dict[str, Any]) -> None:
    """A tool on one line is one line, begins with its name and is short."""
    line = line_of(wrap(definition, []))
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{ToolCatalog([wrap(definition, [])]).names[0]}(")
    assert len(line) <= MAX_LINE_CHARS + MAX_WORDS_CHARS + 60


def test_lines_say_what_matters() -> None:
    """A line has required parameters, defaults, the return and the first sentence."""

    @tool
    def get_team(department: str, limit: int = 10) -> list[str]:
        """List the members of a team. Sorted by name."""
        return []

    expected = (
        "get_team(department: str, limit: int = 10) -> list[str]  # List the members of a team"
    )
    assert line_of(get_team) == expected
    (names,) = (d for d in DEFINITIONS if d["name"] == "names_of_the_framework")
    assert "(self: int, config: int, run_manager: int, callbacks: " in line_of(wrap(names, []))
    long = {f"parameter_{n}": {"type": "string"} for n in range(40)}
    wide = {"type": "object", "properties": long, "required": ["parameter_39"]}
    line = line_of(wrap({"name": "t", "description": "", "parameters": wide}, []))
    assert line.startswith("t(parameter_39: str, parameter_0: str = ..., ")
    assert line.endswith(", ...) -> None")


# --- names that LangChain takes for its own -----------------------------------------------------


async def test_config_is_passed_where_it_is_an_argument() -> None:
    """A tool may take an argument `config` and the caller's config besides."""
    seen = []

    @tool
    def deploy(config: dict[str, int], caller: RunnableConfig) -> int:
        """Deploy."""
        seen.append((config, caller.get("tags")))
        return config["size"]

    executor = ProgrammaticToolExecutor([deploy], sandbox=InProcessSandbox())
    for code in ("print(await deploy(config={'size': 3}))", "print(deploy(config={'size': 3}))"):
        result = await executor.aexecute(code, config={"tags": ["mine"]})
        assert result.output == "3\n", result.error
    assert seen == [({"size": 3}, ["mine"])] * 2


async def test_models_with_further_fields() -> None:
    """A model that allows further fields has `**kwargs` in its stub, and they reach the tool."""

    class Query(BaseModel):
        model_config = ConfigDict(extra="allow")
        text: str

    received: list[Any] = []

    async def keep(**arguments: Any) -> None:
        received.append(arguments)

    given_tool = StructuredTool(name="q", description="", args_schema=Query, coroutine=keep)
    assert "async def q(text: str, **kwargs: Any)" in ToolCatalog([given_tool]).render()
    executor = ProgrammaticToolExecutor([given_tool], sandbox=InProcessSandbox())
    result = await executor.aexecute("await q('a', page=2)")
    assert result.error is None
    assert received == [{"text": "a", "page": 2}]


@given(name=st.text(min_size=1, max_size=12))
@QUICK
def test_any_name_of_a_parameter(name: str) -> None:
    """A parameter of any name has one in code, and both lead to the tool's own."""
    parameters = {"type": "object", "properties": {name: {"type": "integer"}, "other": {}}}
    given_tool = wrap({"name": "t", "description": "", "parameters": parameters}, [])
    definition = ToolCatalog([given_tool])["t"]
    code_name = next(p.name for p in definition.parameters if p.tool_name == name)
    assert code_name.isidentifier()
    assert not code_name.startswith("_")
    assert definition.bind((), {code_name: 1}) == definition.bind((), {name: 1}) == {name: 1}
