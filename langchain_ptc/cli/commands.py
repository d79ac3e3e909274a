"""The work of `run`, `ask` and `stubs`, and what is named on their lines: imported when one of them is run.

| `--model` | what it means |
|---|---|
| `openai:gpt-5` | any name that LangChain's `init_chat_model` knows |
| `http://127.0.0.1:11434/v1#qwen2.5-coder` | a server that speaks OpenAI's protocol, and its model |
| `http://127.0.0.1:8080` | the same with `/v1`, and with the one model that it has |
| `my_models.py:model`, `package.module:model` | a chat model of your own, or a function returning one |
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO
from urllib.parse import urldefrag, urlsplit

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr, ValidationError

from langchain_ptc import (
    ExecutionResult,
    Limits,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    ToolDefinition,
)
from langchain_ptc.catalog.annotations import signature_of
from langchain_ptc.catalog.stubs import Tier
from langchain_ptc.cli.output import (
    SUCCESS,
    CommandError,
    Reporter,
    exit_code_of,
    read_text,
    render_value,
    report_failure,
    similar_files,
    write_json,
    write_output,
)
from langchain_ptc.errors import CatalogError, closest, count, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a command that runs code; see `cli.app`."""

    tools: Sequence[str]
    servers: Sequence[Path]
    limits: Limits
    modules: Sequence[str]
    as_json: bool
    quiet: bool


# --- run ----------------------------------------------------------------------------------------


async def run_program(code: str, options: Options, out: TextIO) -> int:
    """Run a program, write its output to `out`, and return the exit code.

    Raises `CommandError` if a tool was not found, and `OSError` if `out` cannot be written to.
    """
    reports = sys.stderr.isatty() and not options.quiet
    reporter = Reporter(shows_code=False, is_live=options.as_json or not out.isatty())
    broken: list[OSError] = []

    def write(text: str) -> None:
        try:
            if not broken:
                write_output(out, text)
        except OSError as error:
            broken.append(error)
            running.cancel()

    async with _open_catalog(options.tools, options.servers) as catalog:
        executor = ProgrammaticToolExecutor(
            catalog,
            limits=options.limits,
            imports=options.modules,
            on_event=reporter if reports else None,
        )
        started = executor.start(code, on_output=None if options.as_json else write)
        running = asyncio.ensure_future(started.arun())
        with reporter if reports else nullcontext():
            try:
                result = (await running).result
            except asyncio.CancelledError:
                if not broken:
                    raise
                raise broken[0] from None
    if options.as_json:
        write_json(out, result.to_dict())
    elif not result.output.strip():
        write(render_value(result))
    if broken:
        raise broken[0]
    if reports:
        reporter.show_calls(result)
    report_failure(result, quiet=options.quiet)
    return exit_code_of(result.status)


# --- ask ----------------------------------------------------------------------------------------


async def ask_model(question: str, model: str, options: Options, out: TextIO) -> int:
    """Ask a model that answers with a program, write the answer to `out`, return the exit code.

    Raises `CommandError` if the model or a tool was not found, or the model failed.
    """
    reporter = Reporter(shows_code=True, is_live=True)
    usage = UsageMetadataCallbackHandler()
    async with _open_catalog(options.tools, options.servers) as catalog:
        graph = _build_graph(model, catalog, options, reporter)
        with nullcontext() if options.quiet else reporter:
            state = await _invoke(graph, question, model, usage)
    message = state["messages"][-1]
    record = getattr(message, "artifact", None)
    result = ExecutionResult.from_dict(record) if isinstance(record, dict) else None
    if result is not None and not options.quiet:
        reporter.show_calls(result)
    answer = message.text if result is None else result.output or render_value(result)
    if options.as_json:
        data = {
            "question": question,
            "model": model,
            "answer": answer,
            "usage": usage.usage_metadata,
            "execution": None if result is None else result.to_dict(),
        }
        write_json(out, data)
    elif answer:
        write_output(out, answer if answer.endswith("\n") else f"{answer}\n")
    if result is None:
        return SUCCESS
    report_failure(result, quiet=options.quiet)
    return exit_code_of(result.status)


def _build_graph(model: str, catalog: ToolCatalog, options: Options, reporter: Reporter) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node(
        "answer",
        ProgrammaticToolNode(
            find_model(model),
            catalog,
            limits=options.limits,
            imports=options.modules,
            # Models that people serve themselves are mostly small ones.
            examples="auto" if model.startswith(("http:", "https:")) else None,
            on_event=None if options.quiet else reporter,
        ),
    )
    graph.add_edge(START, "answer")
    return graph.compile()


class _Failures(BaseCallbackHandler):
    """Records what the model raised, such as a refused key."""

    last: BaseException | None = None

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        """Record it."""
        self.last = error


async def _invoke(
    graph: Any, question: str, model: str, usage: UsageMetadataCallbackHandler
) -> dict[str, Any]:
    failures = _Failures()
    try:
        state: dict[str, Any] = await graph.ainvoke(
            {"messages": [HumanMessage(question)]}, {"callbacks": [failures, usage]}
        )
    except Exception as error:
        if failures.last is None:
            raise
        hint = _SERVER_HINT if model.startswith(("http://", "https://")) else ""
        raise CommandError(
            f"the model {model!r} failed: {_in_one_line(failures.last)}{hint}"
        ) from error
    if waiting := state.get("__interrupt__"):
        raise CommandError(
            f"a tool stopped to ask a person: {waiting[0].value!r}. That takes a graph with a "
            "checkpointer, which can be resumed; `ask` has none"
        )
    return state


# --- stubs --------------------------------------------------------------------------------------


async def write_stubs(
    tools: Sequence[str],
    servers: Sequence[Path],
    out: TextIO,
    *,
    folder: Path | None,
    detail: Tier,
    quiet: bool,
) -> int:
    """Write the stubs of tools to `out`, or as a package into `folder`; return the exit code.

    Raises `CommandError` if a tool was not found, or the folder cannot be written to.
    """
    async with _open_catalog(tools, servers) as catalog:
        if folder is None:
            out.write(catalog.render(detail))
            return SUCCESS
        try:
            written = catalog.write_stubs(folder)
        except OSError as error:
            raise CommandError(
                f"-o {str(folder)!r} cannot be written to: {error.strerror}"
            ) from error
    if not quiet:
        sys.stderr.write(f"wrote {count(len(written), 'file')} to {folder / 'tools'}\n")
    return SUCCESS


# --- tools ----------------------------------------------------------------------------------------

_KINDS = (
    "a tool, a list of tools, a mapping {domain: [tools]}, a ToolCatalog, or a function without "
    "arguments that returns one of these"
)


@asynccontextmanager
async def _open_catalog(
    references: Sequence[str], servers: Sequence[Path]
) -> AsyncIterator[ToolCatalog]:
    """Yield the catalog of all tools that were named; MCP servers are closed with the context.

    Raises `CommandError` if one was not found or is not a tool, or a server does not start.
    """
    connections: dict[str, Any] = {}
    for path in servers:
        for name, connection in _read_servers(path).items():
            if name in connections:
                raise CommandError(f"--mcp: two servers are named {name!r}; rename one of them")
            connections[name] = connection
    async with AsyncExitStack() as stack:
        found = [await _load_tools(name, stack) for name in references]
        try:
            if len(found) == 1 and not connections and isinstance(found[0], ToolCatalog):
                catalog = found[0]
            elif connections:
                opening = ToolCatalog.from_mcp(connections, tools=_merge(found))
                catalog = await stack.enter_async_context(opening)
            else:
                catalog = ToolCatalog(_merge(found))
        except CatalogError as error:
            raise CommandError(f"the tools cannot be used: {error}") from error
        except ImportError as error:
            raise CommandError(str(error)) from error
        yield catalog


async def _load_tools(reference: str, stack: AsyncExitStack) -> object:
    """Return what `reference` names, after calling it if it is a function."""
    found = _load_object(reference, option="--tools")
    if inspect.isroutine(found) or isinstance(found, functools.partial):
        found = await _call(reference, found)
    if isinstance(found, AbstractAsyncContextManager) and not isinstance(found, Runnable):
        try:
            found = await stack.enter_async_context(found)
        except CatalogError as error:
            raise CommandError(f"--tools {reference!r}: {error}") from error
        except Exception as error:
            raise _failed(f"--tools {reference!r} failed", error) from error
    if isinstance(found, BaseToolkit):
        found = found.get_tools()
    if isinstance(found, (BaseTool, ToolDefinition, Runnable)):
        return [found]
    if isinstance(found, (str, bytes)) or not isinstance(found, (Sequence, Mapping, ToolCatalog)):
        raise CommandError(f"--tools {reference!r} must be {_KINDS}, got {_describe(found)}")
    return found


async def _call(reference: str, function: Any) -> object:
    needed = [
        name
        for name, parameter in signature_of(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise CommandError(
            f"--tools {reference!r} is a function that needs {', '.join(map(repr, needed))}. To offer "
            "it to the code, put @tool of langchain_core.tools before it, or put it into a list; a "
            "function that returns tools takes no arguments"
        )
    try:
        found = function()
        return await found if inspect.isawaitable(found) else found
    except Exception as error:
        raise _failed(f"--tools {reference!r} failed", error) from error


def _describe(found: object) -> str:
    return f"the class {found.__name__!r}" if isinstance(found, type) else type(found).__name__


def _merge(found: Sequence[object]) -> Any:
    """Return all tools by domain, those without one under None."""
    merged: dict[str | None, list[Any]] = {}
    for tools in found:
        if isinstance(tools, Mapping):
            for domain, members in tools.items():
                is_list = isinstance(
                    members, (list, tuple)
                )  # else the catalog says what it must be
                merged.setdefault(domain, []).extend(members if is_list else [members])
        elif isinstance(tools, ToolCatalog):
            for definition in tools:
                merged.setdefault(definition.domain, []).append(definition)
        else:
            assert isinstance(tools, Sequence)
            merged.setdefault(None, []).extend(tools)
    return merged


# --- MCP servers ----------------------------------------------------------------------------------

_WRAPPER = "mcpServers"
_HTTP_FIELDS = ("url", "headers", "timeout", "sse_read_timeout", "terminate_on_close")
_STDIO_FIELDS = ("command", "args", "env", "cwd", "encoding", "encoding_error_handler")
"""What a file can say of a connection; what else there is in it is for other programs."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _read_servers(path: Path) -> dict[str, Any]:
    """Read connections by name from a file: `{"mcpServers": {...}}`, or the inner part alone.

    A connection without a `transport` (or `type`) is one by stdio if it has a `command`, by HTTP if it
    has a `url`. `${NAME}` in addresses and headers stands for a variable of the environment.
    """
    where = f"--mcp {str(path)!r}"
    try:
        listed = json.loads(read_text(path, "--mcp "))
    except json.JSONDecodeError as error:
        raise CommandError(
            f"{where} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    if isinstance(listed, dict) and _WRAPPER in listed:
        listed = listed[_WRAPPER]
    if not isinstance(listed, dict) or not all(isinstance(v, dict) for v in listed.values()):
        raise CommandError(
            f'{where} must hold an object: {{"{_WRAPPER}": {{"name": {{"command": "…"}}}}}}'
        )
    return {
        name: _read_connection(f"{where}: the server {name!r}", given)
        for name, given in listed.items()
        if given.get("disabled") is not True
    }


def _read_connection(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if "command" not in given and "url" not in given:
        raise CommandError(f"{where} needs a 'command' to start it, or a 'url' to reach it")
    default = "stdio" if "command" in given else "http"
    transport = str(given.get("transport", given.get("type", default))).lower()
    if transport.startswith("streamable"):  # other programs spell it in three ways
        transport = "http"
    fields = _STDIO_FIELDS if transport == "stdio" else _HTTP_FIELDS
    for field in given:
        if field not in (*fields, "transport", "type") and (close := closest(field, fields)):
            raise CommandError(f"{where} has {field!r}, which means nothing{did_you_mean(close)}")
    connection = {field: given[field] for field in fields if field in given}
    if transport == "stdio":
        connection.setdefault("args", [])
    elif "url" in connection:
        connection["url"] = _expand(where, str(connection["url"]))
        headers = connection.get("headers") or {}
        connection["headers"] = {key: _expand(where, str(text)) for key, text in headers.items()}
    return {"transport": transport, **connection}


def _expand(where: str, text: str) -> str:
    def replace(found: re.Match[str]) -> str:
        value = os.environ.get(found[1])
        if value is None:
            raise CommandError(f"{where} needs the variable {found[1]}: export {found[1]}=…")
        return value

    return _VARIABLE.sub(replace, text)


# --- models ------------------------------------------------------------------------------------------

API_KEY_VARIABLE = "LANGCHAIN_PTC_API_KEY"
"""Environment variable with the key of a server that is named by its address. A hosted provider's key
is never sent there."""
_SERVER_HINT = (
    ". Is it running, and is this its address, which usually ends in /v1? With a key: "
    f"export {API_KEY_VARIABLE}=…"
)
_SERVER_SECONDS = 10.0
_MAX_NAMES = 10


def find_model(name: str) -> BaseChatModel:
    """Return the chat model that `name` means, see the table above; raises `CommandError`, which says what to do."""
    name = name.strip()
    if not name.rpartition(":")[2]:
        raise CommandError(
            f"the model {name!r} has no name; write provider:model, such as openai:gpt-5"
        )
    if name.startswith(("http://", "https://")):
        return _connect(name)
    return _load(name) if _is_reference(name) else _init(name)


def _require(package: str, model: str, why: str, installed_as: str) -> None:
    """Raise `CommandError` unless a package is installed."""
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        raise CommandError(
            f"the model {model!r} cannot be used: {why} the package {package}: pip install {installed_as}"
        )


def _init(name: str) -> BaseChatModel:
    _require("langchain", name, "names of models need", "'langchain-ptc[langchain]'")
    from langchain.chat_models import init_chat_model

    try:
        model = init_chat_model(name)
    except Exception as error:  # providers raise errors of their own for a missing key
        raise CommandError(f"the model {name!r} cannot be used: {_explain(error)}") from error
    for field, variable in model.lc_secrets.items():  # without a key, some fail only when asked
        key = getattr(model, field, None)
        if isinstance(key, SecretStr) and not key.get_secret_value():
            raise CommandError(
                f"the model {name!r} cannot be used: it needs a key: export {variable}=…"
            )
    return model


def _explain(error: Exception) -> str:
    """Say why LangChain cannot make the model, and what to do."""
    if isinstance(error, ValidationError):
        reason = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    else:
        reason = str(error).partition("\n\n")[0].strip() or type(error).__name__
    return (
        f"{reason}\n--model is provider:model, such as openai:gpt-5, with the key of the provider in the "
        "environment; the address of a server; or file.py:attribute for a model of your own"
    )


def _is_reference(name: str) -> bool:
    """Whether a name is `file.py:attribute` or `module:attribute`, and not `provider:model`."""
    where, _, attribute = name.rpartition(":")
    if not all(part.isidentifier() for part in attribute.split(".")):
        return False
    is_here = Path(f"{where}.py").is_file() or (where != "" and Path(where).is_dir())
    return where.endswith(".py") or "." in where or is_here


def _load(reference: str) -> BaseChatModel:
    found = _load_object(reference, option="--model")
    if callable(found) and not isinstance(found, BaseChatModel):
        try:
            found = found()
        except Exception as error:
            raise _failed(f"--model {reference!r} failed", error) from error
    if not isinstance(found, BaseChatModel):
        raise CommandError(
            f"--model {reference!r} must be a chat model or a function that returns one, got "
            f"{type(found).__name__}"
        )
    return found


def _connect(name: str) -> BaseChatModel:
    _require("langchain-openai", name, "a server by its address needs", "langchain-openai")
    from langchain_openai import ChatOpenAI

    try:
        address, model = urldefrag(name)
        if not urlsplit(address).path.strip("/"):
            address = f"{address.rstrip('/')}/v1"
    except ValueError as error:
        raise CommandError(f"the model {name!r} is not a valid address: {error}") from error
    # The client wants a key where the server does not.
    key = os.environ.get(API_KEY_VARIABLE) or "none"
    model = model or _find_only_model(address, key)
    return ChatOpenAI(base_url=address, api_key=SecretStr(key), model=model)


def _find_only_model(address: str, key: str) -> str:
    """Ask a server for its model."""
    from openai import OpenAI

    try:
        with OpenAI(
            base_url=address, api_key=key, max_retries=0, timeout=_SERVER_SECONDS
        ) as client:
            known = [str(model.id) for model in client.models.list().data]
    except Exception as error:
        raise CommandError(
            f"the server at {address} does not list its models: {_in_one_line(error)}{_SERVER_HINT}; "
            f"with the name of a model: {address}#name"
        ) from error
    if len(known) != 1:
        raise CommandError(
            f"the server at {address} has {count(len(known), 'model')}: {', '.join(known[:_MAX_NAMES])}\n"
            f"Name one of them: {address}#name"
        )
    return known[0]


def _in_one_line(error: BaseException) -> str:
    """Return an error in one line, with its first cause."""
    lines, first = str(error).strip().splitlines(), error
    while first.__cause__ is not None:
        first = first.__cause__
    cause = "" if first is error else f" ({first})"
    return f"{type(error).__name__}: {lines[0]}{cause}" if lines else type(error).__name__


# --- objects by name ---------------------------------------------------------------------------------

_OWN_FRAMES = (f"{Path(__file__).parents[1]}{os.sep}", "<frozen ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _load_object(reference: str, *, option: str) -> object:
    """Return the object that `package.module:attribute` or `path/to/file.py:attribute` names, or raise `CommandError`.

    The attribute may be dotted. The current folder can be imported from, and so can the folder of a
    file. `option` names the option in messages: `--tools`.
    """
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        example = f"{reference.rstrip(':') or 'my_tools.py'}:tools"
        raise CommandError(
            f"{option} {reference!r} must be module:attribute or file.py:attribute, "
            f"for example {example!r}"
        )
    is_file = where.endswith(".py")
    module = _load_file(where, option) if is_file else _load_module(where, option)
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            names = found.__dict__ if inspect.ismodule(found) else dir(found)
            close = closest(name, [known for known in names if not known.startswith("_")])
            raise CommandError(
                f"{option} {reference!r}: {where} has no attribute {name!r}{did_you_mean(close)}"
            ) from error
    return found


def _load_module(name: str, option: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(
            f"{option} {name!r} is not the name of a module; write package.module:attribute, or "
            "path/to/file.py:attribute"
        )
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            close = did_you_mean(closest(name, sorted(path.stem for path in Path().glob("*.py"))))
            raise CommandError(
                f"{option} {name!r}: there is no module {error.name!r}, neither installed nor in the "
                f"current folder{close}"
            ) from error
        raise _failed(f"{option} {name!r} cannot be imported", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"{option} {name!r} cannot be imported", error) from error


def _load_file(path: str, option: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise CommandError(f"{option}: there is no file {path!r}{similar_files(file)}")
    file = file.resolve()
    loaded = sys.modules.get(file.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return loaded
    _make_importable(Path.cwd())
    _make_importable(file.parent)
    # Under its own name, so that what is defined in it can be looked up again; unless that is taken.
    name = file.stem
    if loaded is not None or not name.isidentifier() or name in sys.stdlib_module_names:
        name = f"_file_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(f"{option} {path!r} cannot be imported", error) from error
    return module


def _make_importable(folder: Path) -> None:
    text = str(folder)
    if text not in sys.path:
        sys.path.insert(0, text)


def _failed(what: str, error: BaseException) -> CommandError:
    """Return a failure of the user's code: its own frames and the last line, and no frames of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not frame.filename.startswith(_OWN_FRAMES)]
    own = [f for f in foreign if not any(folder in f.filename for folder in _INSTALLED)]
    lines = traceback.format_list(own or foreign) + traceback.format_exception_only(error)
    shown = "".join(f"  {line}\n" for text in lines for line in text.splitlines())
    return CommandError(f"{what}:\n{shown.rstrip()}")
