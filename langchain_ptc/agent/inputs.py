"""Data that the code is given as variables: whose values it is, and what the model reads of it.

The model sees the type of each, its size and how it begins; the data itself goes to the worker alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.prompts.texts import INPUTS
from langchain_ptc.run.inputs import as_received, check_names
from langchain_ptc.run.plain import clean_text, render_plain
from langchain_ptc.wording import count, cut

Inputs: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Values by the name of the variable, or keys of the state of the graph."""

_SHOWN_ITEMS = 100
"""Items whose types are read for the model."""
_SHOWN_CHARS = 200
"""How much of the beginning of each the model is shown."""


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
        """Return a text about them for the model; empty if there are none. Without a state it names the keys.

        Raises:
            ValueError: The code cannot be given one of them.
        """
        lines = [describe(name, value) for name, value in self.read(state).items()]
        if state is None and self._values is None:
            lines = [f"- `{key}`" for key in self._keys]
        return "\n".join([INPUTS, *lines]) if lines else ""


def describe(name: str, value: Any) -> str:
    """Return a line about a variable for the model: its type, its size, and how it begins.

    Raises:
        ValueError: The code cannot be given such a value.
    """
    sample, size = _sample(value)
    data = as_received(name, sample)
    shapes = ObservedShapes()
    shapes.observe(name, data)
    first = data[:1] if isinstance(data, list) else data
    begins = cut(clean_text(render_plain(first)).replace("\n", "\\n"), _SHOWN_CHARS)
    return f"- `{name}`: {shapes.text(name)}{size}; begins {begins}"


def _sample(value: Any) -> tuple[Any, str]:
    """Return a value, or its first items, and its size in words."""
    if isinstance(value, str | bytes):
        return value[: 2 * _SHOWN_CHARS], f", {count(len(value), 'character')}"
    if hasattr(value, "iloc") and hasattr(value, "head"):  # a frame or series of pandas
        return value.head(_SHOWN_ITEMS), f", {count(len(value), 'row')}"
    if isinstance(value, Mapping):
        items = itertools.islice(value.items(), _SHOWN_ITEMS)
        return dict(items), f", {count(len(value), 'key')}"
    if isinstance(value, list | tuple):
        return list(value[:_SHOWN_ITEMS]), f", {count(len(value), 'item')}"
    return value, ""
