"""Which reports of the type checker ty are certain. Pure.

Taken over are arguments of tools that cannot fit, and values of tools that are used as what they
certainly are not. Where ty is not sure of a type (`str | None`, `Unknown`), where the tool may convert
what it is given, where the code catches the error, and where a record may have got more keys, it says
nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.stubs import group
from langchain_ptc.check.checker import MAX_MESSAGE_CHARS, MAX_SOURCE_CHARS
from langchain_ptc.check.facts import Facts
from langchain_ptc.check.handled import TOOL_CALL_ERROR, Handlers
from langchain_ptc.check.leniency import Leniency
from langchain_ptc.check.scopes import Scopes
from langchain_ptc.check.shapes import is_closed
from langchain_ptc.check.words import clip, signature
from langchain_ptc.check.work import Work
from langchain_ptc.errors import Problem
from langchain_ptc.sandbox.language.shape import is_async

ARGUMENT_RULES = frozenset(
    {
        *("invalid-argument-type", "missing-argument", "unknown-argument"),
        *("parameter-already-assigned", "too-many-positional-arguments"),
    }
)
USE_RULES = frozenset(
    {
        *("invalid-await", "invalid-typed-dict-key", "missing-attribute", "not-callable"),
        *("not-iterable", "not-subscriptable", "unsupported-operator"),
    }
)
RULES = ARGUMENT_RULES | USE_RULES
"""The rules of ty that are looked at; the others are about style, or too seldom certain."""

_ERRORS: Mapping[str, tuple[str, ...]] = {
    "missing-attribute": ("AttributeError",),
    "invalid-typed-dict-key": ("KeyError",),
}
_AWAITING = frozenset({"to_thread", "run_in_executor"})
_DOUBT = re.compile(r"\b(Unknown|Any|Todo|Never|Divergent|object)\b|@|…")
_FAMILIES = (
    (re.compile(r"str|LiteralString|Literal\[\"[^\[\]|]*\"\]"), "str"),
    (re.compile(r"int|float|bool|Literal\[(-?\d+|True|False)\]"), "number"),
    (re.compile(r"(list|set|frozenset|tuple)\[.*\]"), "list"),
    (re.compile(r"dict\[.*\]"), "record"),
    (re.compile(r"CoroutineType\[.*\]"), "awaitable"),
    (re.compile(r"None"), "None"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One report of ty."""

    rule: str
    message: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""


class Judge:
    """Tells which reports on one program are certain.

    Args:
        tree: The program.
        nodes: Every node of it.
        code: Its text.
        catalog: The tools that it may call.
    """

    def __init__(
        self, tree: ast.Module, nodes: Sequence[ast.AST], code: str, catalog: ToolCatalog
    ) -> None:
        self._lines = code.splitlines()
        self._facts = Facts(nodes)
        scopes = Scopes(tree)
        self._own = scopes.own_names()
        self._handlers = Handlers(nodes, self._facts, scopes.names(), Work())
        # In the sandbox these await what they call, if it is to be awaited; ty does not know.
        self._awaits = not self._facts.loads.keys() & _AWAITING and not any(
            isinstance(node, ast.Attribute) and node.attr in _AWAITING for node in nodes
        )
        self._changes = bool(
            self._facts.changed - self._facts.displays - {"self"} or self._facts.opaque
        )
        self._asynchronous = is_async(list(nodes))
        self._places: dict[tuple[int, int], ast.AST] = {}
        for node in nodes:
            if hasattr(node, "lineno") and hasattr(node, "col_offset"):
                self._places.setdefault((node.lineno, node.col_offset), node)
        self._tools: dict[str, list[ToolDefinition]] = {}
        for definition in catalog:
            self._tools.setdefault(definition.name, []).append(definition)
        self._records: dict[str, bool] = {}
        for stubs in group(catalog):
            for name, (record, _) in stubs.records.items():
                self._records[name] = is_closed(record) and self._records.get(name, True)

    def problem_of(self, diagnostic: Diagnostic) -> Problem | None:
        """Return what a report means for the model, or None if it is not certain."""
        text = self._lines[diagnostic.line - 1] if diagnostic.line <= len(self._lines) else ""
        offset = len(text[: diagnostic.column - 1].encode())
        node = self._places.get((diagnostic.line, offset))
        definition = self._tool_of(diagnostic) if diagnostic.rule in ARGUMENT_RULES else None
        message = diagnostic.message.replace("`", "'")
        errors = _ERRORS.get(diagnostic.rule, ("TypeError",))
        if definition is not None:
            is_certain = self._is_wrong_argument(diagnostic, definition)
            errors = (TOOL_CALL_ERROR,)
        elif diagnostic.rule in ARGUMENT_RULES:
            indexed = self._find_wrong_index(diagnostic)
            is_certain = indexed is not None
            message = f"'{indexed}' has positions and no keys"
        else:
            is_certain = diagnostic.rule in USE_RULES and self._is_wrong_use(diagnostic, node)
        if not is_certain or node is None or self._is_caught(node, errors):
            return None
        return Problem(
            line=diagnostic.line,
            column=diagnostic.column,
            message=clip(message, MAX_MESSAGE_CHARS),
            source_line=clip(text, MAX_SOURCE_CHARS),
            signature="" if definition is None else signature(definition),
        )

    # --- arguments ------------------------------------------------------------------------------

    def _tool_of(self, diagnostic: Diagnostic) -> ToolDefinition | None:
        """Return the tool that a report on arguments is about."""
        found = re.search(r"(?:of|to) function `(\w+)`", diagnostic.message)
        tools = self._tools.get(found[1], []) if found else []
        is_own = found is not None and found[1] in self._own
        return tools[0] if len(tools) == 1 and not is_own else None

    def _is_wrong_argument(self, diagnostic: Diagnostic, definition: ToolDefinition) -> bool:
        if diagnostic.rule != "invalid-argument-type":
            return True
        types = re.search(r"Expected `(.*)`, found `(.*)`\Z", diagnostic.message)
        lenient = Leniency(definition)
        if types is None or any(map(lenient.accepts_anything, definition.parameters)):
            return False
        wanted = {self._family(part) for part in _split(types[1])}
        found = self._family(types[2])
        if found is None or found == "None" or None in wanted or found in wanted:
            return False
        if found == "str":
            return "number" not in wanted and not lenient.reads_text
        return not (found == "number" and lenient.takes_numbers_as_text)

    def _find_wrong_index(self, diagnostic: Diagnostic) -> str | None:
        """Return the list or text that is asked for a key by a report, or None."""
        found = re.search(
            r"\AMethod `__getitem__` .* called with key of type `Literal\[\".*\"\]` on object of "
            r"type `(.*)`\Z",
            diagnostic.message,
        )
        if found is None or self._changes or self._family(found[1]) not in ("list", "str"):
            return None
        return found[1]

    # --- uses -----------------------------------------------------------------------------------

    def _is_wrong_use(self, diagnostic: Diagnostic, node: ast.AST | None) -> bool:
        message = diagnostic.message
        if diagnostic.rule == "invalid-typed-dict-key":
            return self._is_wrong_key(message, node)
        if diagnostic.rule == "unsupported-operator":
            types = re.search(r"between objects of type `(.*)` and `(.*)`\Z", message)
            families = {self._family(part) for part in types.groups()} if types else {None}
            unsure = {None, "None"} if "awaitable" in families else {None, "None", "record"}
            return not families & unsure and self._is_sure(families)
        of = re.search(r"(?:Object of type |Cannot subscript object of type |\A)`(.*?)`", message)
        family = self._family(of[1]) if of else None
        if diagnostic.rule == "missing-attribute":
            name = re.search(r"attribute `(\w+)`", message)
            stored = name is None or name[1] in self._facts.stored
            known = family in ("awaitable", "str", "number", "list") and not stored
            return known and self._is_sure({family})
        return family is not None and family != "None" and self._is_sure({family})

    def _is_sure(self, families: AbstractSet[str | None]) -> bool:
        """Whether values of such kinds are at run time what ty takes them for."""
        if "awaitable" in families:
            return self._awaits and not self._facts.has_operators
        return not self._changes and not self._facts.has_operators

    def _is_wrong_key(self, message: str, node: ast.AST | None) -> bool:
        found = re.search(r'\AUnknown key "(.*)" for TypedDict `(\w+)`', message)
        if found is None or self._facts.open_records or found[1] in self._facts.stored:
            return False
        parent = self._facts.parents.get(node) if node is not None else None
        is_read = isinstance(parent, ast.Subscript) and isinstance(parent.ctx, ast.Load)
        return is_read and not self._changes and self._records.get(found[2], False)

    def _family(self, text: str) -> str | None:
        """Return what kind of value a type of ty is at the coarsest; None if that is not sure."""
        if text in self._records:
            return None if text in self._own else "record"
        if len(_split(text)) != 1 or _DOUBT.search(re.sub(r"\[.*", "", text)):
            return None
        return next((family for shape, family in _FAMILIES if shape.fullmatch(text)), None)

    def _is_caught(self, node: ast.AST, errors: Sequence[str]) -> bool:
        settled = True
        if TOOL_CALL_ERROR in errors and self._asynchronous:
            around = [node, *self._facts.ancestors(node)]
            call = next((part for part in around if isinstance(part, ast.Call)), None)
            settled = call is not None and self._handlers.is_settled(call)
        return any(self._handlers.may_catch(node, name, settled=settled) for name in errors)


def _split(text: str) -> list[str]:
    """Split a union at its top level."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char == "|" and not depth:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]
