"""Data that the code is given as variables: what the model reads of it, and how it gets to the worker.

The model sees the type of each, its size and how it begins. The data itself goes to the worker, once for
each execution whose code names it, encoded like the result of a tool.
"""

from __future__ import annotations

import functools
import itertools
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_ptc.background_loop import call_off_loop
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.limits import Limits
from langchain_ptc.prompts.texts import INPUTS
from langchain_ptc.run.plain import clean_text, render_plain
from langchain_ptc.sandbox.wire.objects import UnsendableValue
from langchain_ptc.sandbox.wire.values import (
    ValueTooLarge,
    decode_value,
    encode_sized,
    encode_value,
)
from langchain_ptc.wording import cut

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

Inputs: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Values by the name of the variable, or keys of the state of the graph."""

_SHOWN_ITEMS = 100
"""Items whose types are read for the model."""
_SHOWN_CHARS = 200
"""How much of the beginning of each the model is shown."""
_WORD = re.compile(r"\w+")


class InputVariables:
    """The variables that the code of one agent is given.

    Args:
        inputs: Values by name, or keys of the state, whose values are read for each prompt and execution.

    Raises:
        TypeError: `inputs` is a string.
        ValueError: A name is not one that a variable can have.
    """

    def __init__(self, inputs: Inputs) -> None:
        if isinstance(inputs, str):
            raise TypeError(
                f"inputs must be a mapping, or a list of keys, got the string {inputs!r}"
            )
        check_names(inputs, ())
        self._values = dict(inputs) if isinstance(inputs, Mapping) else None
        self._keys = tuple(inputs)

    def read(self, state: Any) -> dict[str, Any]:
        """Return the values; of keys of the state those that it has."""
        if self._values is not None:
            return self._values
        if isinstance(state, Mapping):
            return {key: state[key] for key in self._keys if key in state}
        return {key: getattr(state, key) for key in self._keys if hasattr(state, key)}

    def render(self, state: Any) -> str:
        """Return a text about them for the model; empty if there are none.

        Raises:
            ValueError: The code cannot be given one of them.
        """
        lines = [describe(name, value) for name, value in self.read(state).items()]
        return "\n".join([INPUTS, *lines]) if lines else ""


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


def describe(name: str, value: Any) -> str:
    """Return a line about a variable for the model: its type, its size, and how it begins.

    Raises:
        ValueError: The code cannot be given such a value.
    """
    sample, size = _sample(value)
    try:
        data = decode_value(encode_value(sample))
    except UnsendableValue as error:
        raise ValueError(f"inputs: {name!r} cannot be given to the code: {error}") from error
    shapes = ObservedShapes()
    shapes.observe(name, data)
    first = data[:1] if isinstance(data, list) else data
    begins = cut(clean_text(render_plain(first)).replace("\n", "\\n"), _SHOWN_CHARS)
    return f"- `{name}`: {shapes.text(name)}{size}; begins {begins}"


def _sample(value: Any) -> tuple[Any, str]:
    """Return a value, or its first items, and its size in words."""
    if isinstance(value, str | bytes):
        return value[: 2 * _SHOWN_CHARS], f", {len(value):,} characters"
    if hasattr(value, "iloc") and hasattr(value, "head"):  # a frame or series of pandas
        return value.head(_SHOWN_ITEMS), f", {len(value):,} rows"
    if isinstance(value, Mapping):
        items = itertools.islice(value.items(), _SHOWN_ITEMS)
        return dict(items), f", {len(value):,} keys"
    if isinstance(value, list | tuple):
        return list(value[:_SHOWN_ITEMS]), f", {len(value):,} items"
    return value, ""


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
