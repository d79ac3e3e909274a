"""A chat model by what a person calls it.

| what is written | what it means |
|---|---|
| `openai:gpt-5` | any name that LangChain's `init_chat_model` knows |
| `http://127.0.0.1:11434/v1#qwen2.5-coder` | a server that speaks OpenAI's protocol, and its model |
| `http://127.0.0.1:8080` | the same with `/v1`, and with the one model that it has |
| `my_models.py:model`, `package.module:model` | a chat model of your own, or a function returning one |
"""

from __future__ import annotations

import functools
import http.client
import importlib.util
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urldefrag, urlsplit

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr, ValidationError

from langchain_ptc.cli.references import CommandError, can_load, load_object, render_error
from langchain_ptc.wording import closest, did_you_mean

API_KEY_VARIABLE = "LANGCHAIN_PTC_API_KEY"
"""Environment variable with the key of a server that is named by its address. A hosted provider's key
is never sent there."""
_SERVER_SECONDS = 10.0
_MAX_NAMES = 10
_MAX_LIST_BYTES = 4_000_000


def find_model(name: str) -> BaseChatModel:
    """Return the chat model that `name` means; see the table above.

    Raises:
        CommandError: There is no such model; the message says what to do.
    """
    name = name.strip()
    if not name:
        raise CommandError("the model has no name; write provider:model, such as openai:gpt-5")
    if name.startswith(("http://", "https://")):
        return _connect(name)
    return _load(name) if _is_reference(name) else _init(name)


# --- by the name of a provider ---------------------------------------------------------------------


def _init(name: str) -> BaseChatModel:
    if importlib.util.find_spec("langchain") is None:
        raise CommandError(
            f"the model {name!r} cannot be used: names of models need the package langchain: "
            "pip install 'langchain-ptc[langchain]'"
        )
    from langchain.chat_models import init_chat_model

    provider, colon, model = name.partition(":")
    if colon and provider in providers() and not model:
        raise CommandError(f"the model {name!r} cannot be used: write {provider}:name-of-the-model")
    try:
        made = init_chat_model(name)
    except Exception as error:  # providers raise errors of their own for a missing key
        raise CommandError(f"the model {name!r} cannot be used: {_explain(name, error)}") from error
    _check_key(name, made)
    return made


def _explain(name: str, error: Exception) -> str:
    """Say in a sentence or two why LangChain cannot make the model, and what to do."""
    if isinstance(error, ValidationError):
        reason = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    else:
        reason = str(error).partition("\n\n")[0].strip() or type(error).__name__
    if "nable to infer" in reason:
        provider, colon, _ = name.partition(":")
        if not colon:
            return f"its provider is unknown; write provider:model, such as 'openai:{name}'"
        return (
            f"{provider!r} is neither a provider that LangChain knows, nor a module to import a model "
            f"from{did_you_mean(closest(provider, providers()))}"
        )
    variable = re.search(r"\b[A-Z][A-Z0-9_]*_API_KEY\b", reason)
    return f"{reason}\nWith a key: export {variable[0]}=…" if variable else reason


def _check_key(name: str, model: BaseChatModel) -> None:
    """Refuse a model whose key is an empty text: some fail only when they are asked.

    Raises:
        CommandError: It has none.
    """
    for field, variable in model.lc_secrets.items():
        key = getattr(model, field, None)
        if isinstance(key, SecretStr) and not key.get_secret_value():
            raise CommandError(
                f"the model {name!r} cannot be used: it needs a key: export {variable}=…"
            )


@functools.cache
def providers() -> tuple[str, ...]:
    """Return the providers that `init_chat_model` knows; none without the package `langchain`.

    They are only listed in the error for an unknown one.
    """
    try:
        from langchain.chat_models import init_chat_model

        init_chat_model("?:?")
    except ImportError:
        return ()
    except ValueError as error:
        listed = re.search(r"providers: (.*)", str(error))
        return tuple(re.findall(r"\w+", listed[1])) if listed else ()
    return ()


# --- an object of the user's -----------------------------------------------------------------------


def _is_reference(name: str) -> bool:
    where, colon, attribute = name.rpartition(":")
    if not colon or not all(part.isidentifier() for part in attribute.split(".")):
        return False
    if where.endswith(".py"):
        return True
    is_module = all(part.isidentifier() for part in where.split("."))
    return is_module and where not in providers() and can_load(where)


def _load(reference: str) -> BaseChatModel:
    found = load_object(reference, option="--model")
    if callable(found) and not isinstance(found, BaseChatModel):
        try:
            found = found()
        except Exception as error:
            raise CommandError(f"--model {reference!r} failed:\n{render_error(error)}") from error
    if not isinstance(found, BaseChatModel):
        raise CommandError(
            f"--model {reference!r} must be a chat model or a function that returns one, got "
            f"{type(found).__name__}"
        )
    return found


# --- by the address of a server --------------------------------------------------------------------


def _connect(name: str) -> BaseChatModel:
    if importlib.util.find_spec("langchain_openai") is None:
        raise CommandError(
            f"the model {name!r} cannot be used: a server by its address needs the package "
            "langchain-openai: pip install langchain-openai"
        )
    from langchain_openai import ChatOpenAI

    try:
        address, model = urldefrag(name)
        address = address.rstrip("/")
        if not urlsplit(address).path:
            address += "/v1"
    except ValueError as error:
        raise CommandError(f"the model {name!r} is not a valid address: {error}") from error
    known = _list_models(address, has_name=bool(model))
    if not model:
        if len(known) != 1:
            raise CommandError(_ask_for_one(address, known))
        model = known[0]
    return ChatOpenAI(base_url=address, api_key=SecretStr(_key()), model=model)


def _key() -> str:
    # The client wants one where the server does not.
    return os.environ.get(API_KEY_VARIABLE) or "none"


def _ask_for_one(address: str, known: Sequence[str]) -> str:
    if not known:
        return f"the server at {address} has no model; give it one, and name it: {address}#name"
    more = ", …" if len(known) > _MAX_NAMES else ""
    return (
        f"the server at {address} has {len(known)} models: {', '.join(known[:_MAX_NAMES])}{more}\n"
        f"Name one of them: {address}#{known[0]}"
    )


def _list_models(address: str, *, has_name: bool) -> list[str]:
    """Ask a server for the names of its models.

    Raises:
        CommandError: It cannot be reached, or is not such a server.
    """
    request = urllib.request.Request(  # noqa: S310 - the scheme is http or https, see the caller
        f"{address}/models", headers={"Authorization": f"Bearer {_key()}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SERVER_SECONDS) as response:  # noqa: S310
            listed = json.loads(response.read(_MAX_LIST_BYTES))
            return [str(model["id"]) for model in listed["data"] or ()]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise CommandError(
                f"the server at {address} wants a key: export {API_KEY_VARIABLE}=…"
            ) from error
        if has_name:  # some servers have no list
            return []
        raise CommandError(
            f"the server at {address} does not list its models (HTTP {error.code}); the address of "
            f"the API usually ends in /v1, and the model can be named: {address}#name"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise CommandError(
            f"no server answers at {address}: {reason}. Is it running, and is this its address? "
            "Ollama: http://127.0.0.1:11434/v1, llama.cpp: http://127.0.0.1:8080/v1, "
            "vLLM: http://127.0.0.1:8000/v1"
        ) from error
    except (ValueError, TypeError, KeyError, http.client.HTTPException) as error:
        raise CommandError(
            f"the server at {address} does not speak OpenAI's protocol; the address of the API usually "
            "ends in /v1"
        ) from error
