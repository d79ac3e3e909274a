"""Data that the code is given as variables: encoded like the result of a tool, if the code names it."""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from langchain_ptc.background_loop import call_off_loop
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import (
    UnsendableValue,
    ValueTooLarge,
    encode_sized,
    encode_value,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

_WORD = re.compile(r"\w+")


def names_of(catalog: ToolCatalog) -> set[str]:
    """Return the names that code has for the tools of a catalog."""
    domains = {definition.domain or "" for definition in catalog.callables}
    return {"tools", "ToolCallError", *domains, *(d.name for d in catalog.callables)}


def check_names(names: Collection[str], reserved: Collection[str]) -> None:
    """Check that names can be those of variables of the code.

    Raises:
        ValueError: One cannot.
    """
    name: Any
    for name in names:
        is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        if not is_name or name.startswith("_"):
            raise ValueError(f"inputs: {name!r} cannot be the name of a variable of the code")
        if name in reserved:
            raise ValueError(
                f"inputs: the code has a tool or a domain named {name!r}; rename one of them"
            )


def as_received(name: str, value: Any) -> Any:
    """Return a value as the code gets it.

    Raises:
        ValueError: The code cannot be given it.
    """
    try:
        return decode_value(encode_value(value))
    except UnsendableValue as error:
        raise ValueError(f"inputs: {name!r} cannot be given to the code: {error}") from error


async def encode_inputs(
    inputs: Mapping[str, Any], code: str, limits: Limits, reserved: Collection[str]
) -> dict[str, bytes]:
    """Return the values that the code names, as they are sent.

    Raises:
        ValueError: A name cannot be that of a variable, the code cannot be given a value, or it is larger
            than `Limits.result_bytes`.
    """
    check_names(inputs, reserved)
    named = set(_WORD.findall(code)) & inputs.keys()
    return {
        name: await call_off_loop(
            functools.partial(_encode, name, inputs[name], limits), inputs[name]
        )
        for name in sorted(named)
    }


def _encode(name: str, value: Any, limits: Limits) -> bytes:
    try:
        return encode_sized(value, limits.result_bytes)[0]
    except ValueTooLarge as error:
        raise ValueError(
            f"inputs: {name!r} has {error.size:,} bytes or more, and Limits.result_bytes allows "
            f"{limits.result_bytes:,}"
        ) from error
    except UnsendableValue as error:
        raise ValueError(f"inputs: {name!r} cannot be given to the code: {error}") from error
