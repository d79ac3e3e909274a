"""A file of MCP servers -> connections as `ToolCatalog.from_mcp` takes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_ptc.resolve.mistakes import Mistake, did_you_mean

_WRAPPER = "mcpServers"
_TRANSPORTS = {
    "stdio": "stdio",
    "http": "http",
    "streamable_http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "sse": "sse",
    "websocket": "websocket",
}
_HTTP_FIELDS = ("url", "headers", "timeout", "sse_read_timeout")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "stdio": ("command", "args", "env", "cwd", "encoding", "encoding_error_handler"),
    "http": (*_HTTP_FIELDS, "terminate_on_close"),
    "sse": _HTTP_FIELDS,
    "websocket": ("url",),
}
"""What a file can say of a connection; what else there is in it is for other programs."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def read_servers(path: Path) -> dict[str, Any]:
    """Read connections by name from a file: `{"mcpServers": {...}}`, or the inner part alone.

    A connection without a `transport` (or `type`) is one by stdio if it has a `command`, by HTTP if it
    has a `url`. `${NAME}` in addresses and headers stands for a variable of the environment.

    Raises:
        Mistake: The file cannot be read, is not JSON, or does not say of a server how to reach it.
    """
    listed = _read_json(path)
    if isinstance(listed, dict) and _WRAPPER in listed:
        listed = listed[_WRAPPER]
    if not isinstance(listed, dict):
        raise Mistake(
            f'--mcp {str(path)!r} must hold an object: {{"{_WRAPPER}": {{"name": {{"command": "…"}}}}}}'
        )
    where = f"--mcp {str(path)!r}"
    return {
        name: _read_connection(f"{where}: the server {name!r}", given)
        for name, given in listed.items()
        if not (isinstance(given, dict) and given.get("disabled") is True)
    }


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise Mistake(
            f"--mcp {str(path)!r} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise Mistake(f"--mcp {str(path)!r} is not text in UTF-8: {error}") from error
    except OSError as error:
        near = [str(other) for other in path.parent.glob("*.json")]
        raise Mistake(
            f"--mcp {str(path)!r} cannot be read: {error.strerror}{did_you_mean(str(path), near)}"
        ) from error


def _read_connection(where: str, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Mistake(f"{where} must be an object, got {json.dumps(given)}")
    transport = _transport_of(where, given)
    fields = _FIELDS[transport]
    needed = fields[0]
    for field in given:
        close = "" if field in (*fields, "transport", "type") else did_you_mean(field, fields)
        if close:
            raise Mistake(f"{where} has {field!r}, which means nothing{close}")
    if not isinstance(given.get(needed), str) or not given[needed]:
        raise Mistake(f"{where} has no {needed!r}, which a connection by {transport} needs")
    connection = {field: given[field] for field in fields if field in given}
    if transport == "stdio":
        connection.setdefault("args", [])
        _check_args(where, connection["args"])
    else:
        connection["url"] = _expand(where, connection["url"])
        headers = connection.get("headers") or {}
        connection["headers"] = {key: _expand(where, str(text)) for key, text in headers.items()}
    if transport == "websocket":
        del connection["headers"]
    return {"transport": transport, **connection}


def _check_args(where: str, args: object) -> None:
    if not isinstance(args, list) or not all(isinstance(argument, str) for argument in args):
        raise Mistake(f"{where}: 'args' must be a list of texts, got {json.dumps(args)}")


def _transport_of(where: str, given: Mapping[str, Any]) -> str:
    named = given.get("transport", given.get("type"))
    if named is None:
        if "command" not in given and "url" not in given:
            raise Mistake(f"{where} needs a 'command' to start it, or a 'url' to reach it")
        return "stdio" if "command" in given else "http"
    transport = _TRANSPORTS.get(str(named).lower())
    if transport is None:
        raise Mistake(
            f"{where} has the transport {named!r}; there are 'stdio', 'http', 'sse' and 'websocket'"
        )
    return transport


def _expand(where: str, text: str) -> str:
    def replace(found: re.Match[str]) -> str:
        value = os.environ.get(found[1])
        if value is None:
            raise Mistake(f"{where} needs the variable {found[1]}: export {found[1]}=…")
        return value

    return _VARIABLE.sub(replace, text)
