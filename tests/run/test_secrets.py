"""Secrets that code passes to tools come back nowhere: not in errors, tracebacks, records or events."""

import base64
import html
import json
import shlex
import time
import urllib.parse
from typing import Any

import pytest
from langchain_core.tools import ToolException, tool

from langchain_ptc import ProgrammaticToolExecutor
from langchain_ptc.run.plain import is_secret, redact_arguments, redact_text

PEM = "-----BEGIN KEY-----\nc2VjcmV0LWtleS1ib2R5\n"
SECRETS: dict[str, tuple[Any, str]] = {
    "line-breaks": (PEM, "c2VjcmV0LWtleS1ib2R5"),
    "bytes": (b"hunter2-bytes", "hunter2-bytes"),
    "bytes-that-are-not-text": (b"\xff\x00hunter2", "hunter2"),
    "integer": (83749201, "83749201"),
    "float": (8374.9201, "8374.9201"),
    "negative": (-8374920, "8374920"),
    "plain": ("hunter2-plain", "hunter2-plain"),
    "single-quote": ("it's-hunter2", "hunter2"),
    "both-quotes": ('it\'s "hunter2"', "hunter2"),
    "backslash": ("hunter\\2\\x", "hunter\\\\2"),
    "tab": ("hunter2\tpass", "hunter2"),
    "accents": ("hüntér2-ß", "r2-"),
    "short": ("hx7", "hx7"),
    "nested": ({"user": "hunter2-user", "more": ["hunter2-list"]}, "hunter2"),
    "percent-signs": ("hunter2 & co/?", "hunter2"),
}

WAYS = {
    "repr": lambda secret: ValueError(f"cannot log in with {secret!r}"),
    "text": lambda secret: ValueError(f"cannot log in with {secret}"),
    "json": lambda secret: ValueError(json.dumps({"password": secret}, default=repr)),
    "json-in-json": lambda secret: ValueError(json.dumps(json.dumps([secret], default=repr))),
    "inside-a-repr": lambda secret: ValueError(repr(f"user 'ada' has \"{secret}\"")),
    "url": lambda secret: ValueError("https://x/?" + urllib.parse.urlencode({"p": str(secret)})),
    "other-case": lambda secret: ValueError(str(secret).upper().replace("\\X", "\\x")),
    "base64": lambda secret: ValueError(base64.b64encode(b"ada:" + str(secret).encode()).decode()),
    "html": lambda secret: ValueError(html.escape(str(secret))),
    "ascii": lambda secret: ValueError(ascii(secret)),
    "shell": lambda secret: ValueError(f"curl -u {shlex.quote(str(secret))}"),
    "tool-exception": lambda secret: ToolException(f"no: {secret!r}"),
    "key-error": lambda secret: KeyError(str(secret)),
    "behind-a-long-text": lambda secret: ValueError("x" * 1_980 + repr(secret)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_in_error_texts(kind, way):
    """However a tool's error writes a secret, neither the code nor record, event or report has it."""
    secret, fragment = SECRETS[kind]
    seen: list[Any] = []

    @tool
    def credentials() -> Any:
        """Get the credentials."""
        return secret

    @tool
    def login(password: Any) -> str:
        """Log in."""
        raise WAYS[way](secret)

    executor = ProgrammaticToolExecutor([credentials, login], on_event=seen.append)
    result = executor.execute("c = credentials()\nlogin(password=c)")
    told = [result.report(), str(result.to_dict()["error"]), result.tool_calls[1].error, str(seen)]
    written = base64.b64encode(b"ada:" + str(secret).encode()).decode()[6:-4]
    found = [
        t for t in told if fragment.lower() in t.lower() or (len(written) > 5 and written in t)
    ]
    assert found == []
    assert "login failed" in result.report()


@tool
def get_key() -> str:
    """Get the key."""
    return "hunter2-plain"


@tool
async def send(api_key: str) -> str:
    """Send."""
    raise ValueError(f"refused: {api_key}")


GROUPS = {
    "task-group": "async with asyncio.TaskGroup() as g:\n    g.create_task(send(api_key=k))\n    g.create_task(send(api_key=k))",
    "nested-groups": "try:\n    await send(api_key=k)\nexcept ToolCallError:\n    pass\nraise ExceptionGroup('a', [ExceptionGroup('b', [ValueError('bad ' + k)])])",
    "gather": "await asyncio.gather(send(api_key=k), send(api_key=k))",
    "cause": "try:\n    await send(api_key=k)\nexcept ToolCallError as error:\n    raise RuntimeError('no ' + k) from error",
    "context": "try:\n    await send(api_key=k)\nexcept ToolCallError:\n    {}[k]",
    "printed": "try:\n    await send(api_key=k)\nexcept ToolCallError as error:\n    print(error)",
    "own-error": "try:\n    await send(api_key=k)\nexcept ToolCallError:\n    pass\nraise ValueError('x' + k)",
}


@pytest.mark.parametrize("end", GROUPS.values(), ids=GROUPS)
def test_secrets_in_tracebacks_and_groups(end):
    """The tracebacks of groups, causes and contexts hold no secret either."""
    result = ProgrammaticToolExecutor([get_key, send]).execute(
        f"import asyncio\nk = await get_key()\n{end}"
    )
    assert "[redacted]" in result.report()
    assert "hunter2" not in str(result.to_dict())


def test_the_lines_of_the_code_stay_as_they_are():
    """A secret that the model wrote into its code is in the line that a traceback shows."""
    result = ProgrammaticToolExecutor([send]).execute('await send(api_key="hunter2-plain")')
    assert 'await send(api_key="hunter2-plain")' in result.report()
    assert "refused: [redacted]" in result.report()


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("on_tool_error", "text"),
    [("hide", "fail failed"), ("type", "fail failed: Broken"), ("message", "fail failed: Broken")],
)
def test_an_exception_without_a_text(on_tool_error, text):
    """`on_tool_error` holds for an exception whose own text and repr raise."""

    @tool
    def fail() -> str:
        """Fail."""
        raise Broken

    executor = ProgrammaticToolExecutor([fail], on_tool_error=on_tool_error)
    assert executor.execute("fail()").tool_calls[0].error == text


@pytest.mark.parametrize(
    "name",
    [
        "PGPASSWORD",
        "MYSQL_PWD",
        "SSHPASS",
        "DB_PASS",
        "REDISCLI_AUTH",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "GITHUB_TOKEN",
        "authToken",
        "dbpassword",
        "LDAPTLS_PASSWD",
        "clientsecret",
    ],
)
def test_names_of_the_environment(name):
    """The names under which an environment has its secrets are names of secrets."""
    assert is_secret(name, "x")


@pytest.mark.parametrize(
    "name",
    ["compass", "bypass", "passenger", "author", "authority", "secretary", "tokenizer", "passages"],
)
def test_names_that_only_look_like_secrets(name):
    """Words that contain such a word are no secrets."""
    assert not is_secret(name, "x")


INSIDE: dict[str, Any] = {
    "header": {"headers": {"Authorization": "Bearer hunter2-abc"}},
    "header-with-its-name-beside": {"headers": [{"name": "Authorization", "value": "hunter2-abc"}]},
    "header-as-a-pair": {"headers": [["Authorization", "Bearer hunter2-abc"]]},
    "json": {"body": '{"user": {"password": "hunter2-abc"}}'},
    "url-of-a-database": {"url": "postgres://ada:hunter2-abc@db/shop"},
    "field-of-a-url": {"url": "https://x/?q=1&api_key=hunter2-abc"},
    "urls-in-a-list": {"urls": ["https://x", "https://ada:hunter2-abc@x"]},
    "connection-string": {"CONNECTION_STRING": "hunter2-abc"},
    "bytes": {"token": b"hunter2-abc"},
}


@pytest.mark.parametrize("whole", [True, False], ids=["as-passed", "by-itself"])
@pytest.mark.parametrize("arguments", INSIDE.values(), ids=INSIDE)
def test_secrets_inside_of_arguments(arguments, whole):
    """A secret is hidden where a header, JSON or a URL holds it, and in errors by itself too."""
    seen: list[Any] = []

    @tool
    def arguments_of() -> Any:
        """Get the arguments."""
        return arguments

    @tool(args_schema={"type": "object", "properties": {name: {} for name in arguments}})
    def send(**given: Any) -> str:
        """Send."""
        raise ValueError(f"refused: {given}" if whole else "refused: hunter2-abc")

    executor = ProgrammaticToolExecutor([arguments_of, send], on_event=seen.append)
    result = executor.execute("send(**arguments_of())")
    assert "refused: " in result.report()
    assert "[redacted]" in result.report()
    call = result.tool_calls[1]
    assert "hunter2" not in f"{result.report()} {call.arguments} {call.error} {seen}"


def test_what_is_no_secret_is_shown():
    """URLs, JSON and pairs without one are shown as they were passed."""
    arguments = {
        "url": "https://x:8080/a@b?q=1&page=5",
        "body": '{"a":  1}',
        "pair": ["name", "ada"],
        "field": {"name": "colour", "value": "red"},
    }
    assert redact_arguments("t", arguments, "secrets") is arguments


@pytest.mark.parametrize(
    "secret",
    [
        "abc\n" * 250_000,
        "\n".join(map(str, range(1_000, 100_000))),
        [f"k{n:09}" for n in range(990)],
    ],
    ids=["lines", "different-lines", "many"],
)
def test_looking_for_secrets_costs_bounded_time(secret):
    """Code may pass what it likes as a password: an error text costs less than a second."""
    arguments = {"password": secret}
    shown = redact_arguments("t", arguments, "secrets")
    begun = time.process_time()
    redact_text("x" * 2_000, arguments, shown)
    assert time.process_time() - begun < 1
