"""Where the references of a JSON Schema lead. Pure.

Source: https://json-schema.org/draft/2020-12/json-schema-core#section-8
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote, urldefrag, urljoin

from langchain_ptc.errors import CatalogError

Schema: TypeAlias = Mapping[str, Any]

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
"""Keywords whose value is a reference."""
MAX_SHOWN_CHARS = 120
"""Length of a reference or a place in a message."""


def reference_of(schema: Schema) -> str | None:
    """Return what `schema` refers to, or None."""
    for keyword in REFERENCES:
        if isinstance(schema.get(keyword), str):
            return str(schema[keyword])
    return None


def escape(name: str) -> str:
    """Return `name` as one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


class Resolver:
    """Follows the references of one document.

    Args:
        root: The document.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolve(self, reference: str, *, where: str = "#") -> object:
        """Return the schema that `reference` names, or `True` (anything) if it names nothing.

        Args:
            reference: As the document writes it.
            where: The place that refers, as a JSON pointer, for the message.

        Raises:
            CatalogError: It leads out of the document.
        """
        try:
            url, fragment = urldefrag(reference)
            whole = urljoin(self._base, url) if url else ""
        except ValueError:  # no address at all
            url, fragment, whole = reference, "", reference
        resource = self._resources.get(whole, self._resources.get(url)) if url else self._root
        if resource is None:
            raise CatalogError(
                f"at {_cut(where)} it refers to {_cut(reference)!r}, which is outside of it; put that "
                "definition under '$defs' of the same schema and refer to it as '#/$defs/<name>'"
            )
        if fragment.startswith("/"):
            return _follow(resource, fragment)
        return self._anchors.get(fragment, True) if fragment else resource

    @cached_property
    def _base(self) -> str:
        return _identity(self._root) or ""

    @cached_property
    def _resources(self) -> dict[str, Schema]:
        """The schemas that have an address of their own, by it; the root has the empty one too."""
        found = {"": self._root}
        for part in _subschemas(self._root):
            own = _identity(part)
            if own is not None:
                found.setdefault(urldefrag(own)[0], part)
                found.setdefault(urldefrag(urljoin(self._base, own))[0], part)
        return found

    @cached_property
    def _anchors(self) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        for part in _subschemas(self._root):
            own = part.get("$id", part.get("id"))
            old = own[1:] if isinstance(own, str) and own.startswith("#") else None  # draft 7
            for name in (part.get("$anchor"), part.get("$dynamicAnchor"), old):
                if isinstance(name, str):
                    found.setdefault(name, part)
        return found


def _identity(schema: Schema) -> str | None:
    """Return the address of a schema. A property may be called `id`: only text is an address."""
    own = schema.get("$id", schema.get("id"))
    try:
        return own if isinstance(own, str) and own and urljoin("", own) else None
    except ValueError:
        return None


def _follow(resource: Schema, pointer: str) -> object:
    found: object = resource
    for step in pointer[1:].split("/"):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and len(key) < 9 and int(key) < len(found):
            found = found[int(key)]
        else:
            return True
    return found


def _subschemas(schema: object) -> Iterator[Schema]:
    stack = [schema]
    seen: set[int] = set()
    while stack:
        found = stack.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Mapping):
            yield found
            stack.extend(reversed([*found.values()]))
        elif isinstance(found, list):
            stack.extend(reversed(found))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
