"""The records of a catalog: one tool, its parameters, its policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias, TypeVar

from langchain_core.tools import BaseTool
from pydantic import Field

from langchain_ptc.catalog.annotations import AnnotationReader, DeclaredField
from langchain_ptc.catalog.policy import ToolPolicy
from langchain_ptc.catalog.schemas import SchemaReader, read_result_schema
from langchain_ptc.catalog.text import MAX_NAME_CHARS
from langchain_ptc.catalog.types import (
    ANY,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordField,
    RecordRef,
    RecordTable,
    RecordType,
    TypeTree,
    merge_records,
)
from langchain_ptc.errors import CatalogError, ToolCallError
from langchain_ptc.wording import closest, cut, did_you_mean

MAX_PROBLEMS = 5
"""Problems with the arguments of one call that are named."""

T = TypeVar("T")
ReturnsFrom: TypeAlias = Literal["tool", "developer", "guess"]
"""Where a return type comes from: the tool's annotation or its server's schema; its developer; or a guess,
as for a function behind a decorator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolParameter:
    """One parameter of a tool."""

    name: str
    """What the code calls it; an identifier."""
    tool_name: str
    """What the tool calls it; any string."""
    type: TypeTree = ANY
    """What the code may pass."""
    required: bool = True
    default: object = ...
    """What the tool uses where the code passes nothing; `...` if there is none or it is unknown."""
    description: str = ""
    constraints: tuple[str, ...] = ()
    """What the type leaves out, for example `>= 1`."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class ToolDefinition:
    """One tool as the code sees it, with the tool itself.

    A catalog makes one for each tool. Make one yourself to add what a tool does not declare, and pass
    it in place of the tool: `ToolCatalog([ToolDefinition(tool=search, returns=list[Hit])])`. What is
    left out is read from the tool.

    Args:
        tool: A LangChain tool.
        name: Its name in the code; by default the tool's own, made an identifier.
        tool_name: The tool's own name.
        domain: The group that it is in: `from tools.<domain> import <name>`.
        description: What it does; by default the tool's own description.
        parameters: What it takes, required ones first; positional arguments go to them in this order.
        extra: The type of further keyword arguments under any name; None if there may be none.
        returns: What a call returns to the code: an annotation such as `list[Member]`, a JSON Schema
            as a dict, or a type tree.
        returns_text: The same in words, where the type does not say it.
        returns_from: Where `returns` comes from; `developer` if `returns` is given. A `guess` is shown,
            and never a reason to refuse code.
        records: The records that the types name.
        policy: What may be done with it, and by whom.

    Raises:
        CatalogError: `returns` is not a type.
    """

    name: str
    tool_name: str
    domain: str | None
    description: str
    parameters: tuple[ToolParameter, ...]
    extra: TypeTree | None
    returns: TypeTree
    returns_text: str
    returns_from: ReturnsFrom
    records: tuple[RecordType, ...]
    policy: ToolPolicy
    tool: BaseTool = field(repr=False, compare=False)
    _by_name: Mapping[str, ToolParameter] = field(init=False, repr=False, compare=False)
    """The parameters by either name. The code's names last: where a name is both, it is the code's."""

    def __init__(
        self,
        *,
        tool: BaseTool,
        name: str = "",
        tool_name: str = "",
        domain: str | None = None,
        description: str = "",
        parameters: Sequence[ToolParameter] = (),
        extra: TypeTree | None = None,
        returns: object = ANY,
        returns_text: str = "",
        returns_from: ReturnsFrom | None = None,
        records: Sequence[RecordType] = (),
        policy: ToolPolicy | None = None,
    ) -> None:
        called = name or tool_name or str(getattr(tool, "name", "tool"))[:100]
        tree, found = read_returns(returns, tool_name=called)
        own: dict[str, object] = {
            "name": name,
            "tool_name": tool_name,
            "domain": domain,
            "description": description,
            "parameters": tuple(parameters),
            "extra": extra,
            "returns": tree,
            "returns_text": returns_text,
            "returns_from": returns_from or ("tool" if tree == ANY else "developer"),
            "records": merge_records(records, found),
            "policy": ToolPolicy() if policy is None else policy,
            "tool": tool,
            "_by_name": {p.tool_name: p for p in parameters} | {p.name: p for p in parameters},
        }
        for attribute, value in own.items():
            object.__setattr__(self, attribute, value)  # frozen for everybody else

    @property
    def types(self) -> tuple[TypeTree, ...]:
        """Every type that it names: the return's, the parameters', and of further arguments."""
        further = () if self.extra is None else (self.extra,)
        return (self.returns, *(p.type for p in self.parameters), *further)

    @property
    def certain_returns(self) -> TypeTree:
        """What a call certainly gives: `returns`, or `Any` where that is only a guess.

        A hook `ToolPolicy.after` may make anything of what the tool itself says.
        """
        is_changed = self.returns_from == "tool" and self.policy.after is not None
        return ANY if is_changed or self.returns_from == "guess" else self.returns

    @property
    def qualified_name(self) -> str:
        """`domain.name`, or `name` for a tool without a domain."""
        return self.name if self.domain is None else f"{self.domain}.{self.name}"

    def record(self, reference: RecordRef) -> RecordType:
        """Return the record that a type of this tool names."""
        return next(record for record in self.records if record.key == reference.key)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments of a call under the tool's own names.

        Keyword arguments go by the code's name or by the tool's own. What is omitted stays omitted:
        the tool applies its own defaults and its own schema checks the values.

        Raises:
            ToolCallError: An argument is unknown, missing, given twice, or one too many.
        """
        bound, mistakes = self.match(args, kwargs)
        if mistakes:
            listed = [message for _, message in mistakes[:MAX_PROBLEMS]]
            listed += ["and more"] if len(mistakes) > MAX_PROBLEMS else []
            raise ToolCallError(
                f"{self.qualified_name}() {'; '.join(listed)}. {self._usage()}",
                tool=self.qualified_name,
            )
        return bound

    def match(
        self, args: Sequence[T], kwargs: Mapping[str, T]
    ) -> tuple[dict[str, T], list[tuple[str | None, str]]]:
        """Return the arguments of a call under the tool's own names, and what is wrong with them.

        Each mistake is a message and the name of the argument: empty for a positional one, None where
        one is missing.
        """
        mistakes: list[tuple[str | None, str]] = []
        bound: dict[str, T] = {}
        for parameter, value in zip(self.parameters, args, strict=False):
            bound[parameter.tool_name] = value
        if len(args) > len(self.parameters):
            takes = f"{len(self.parameters)} positional argument{'s' * (len(self.parameters) != 1)}"
            mistakes.append(
                ("", f"takes {takes}, {len(args)} {'were' if len(args) > 1 else 'was'} given")
            )
        own = self._by_name
        for name, value in kwargs.items():
            known = own.get(name)
            if known is None and self.extra is None:
                worth = len(mistakes) < MAX_PROBLEMS
                meant = did_you_mean(_closest(name, own, {*bound, *kwargs})) if worth else ""
                mistakes.append((name, f"has no parameter {cut(name, MAX_NAME_CHARS)!r}{meant}"))
                continue
            key = name if known is None else known.tool_name
            if key in bound:
                mistakes.append((name, f"got {name!r} twice"))
            bound[key] = value
        missing = [p.name for p in self.parameters if p.required and p.tool_name not in bound]
        if missing:
            mistakes.append((None, f"is missing {', '.join(map(repr, missing))}"))
        return bound, mistakes

    def _usage(self) -> str:
        shown = [p.name if p.required else f"{p.name}={_show(p.default)}" for p in self.parameters]
        if self.extra is not None:
            shown.append("**kwargs")
        required = ", ".join(p.name for p in self.parameters if p.required)
        return f"Call it as {self.name}({', '.join(shown)}); required: {required or 'none'}"


class DescribedTool(BaseTool):
    """A tool with a JSON Schema for its arguments and one for its value: of an MCP server, or an agent.

    LangChain's own tools with a JSON Schema do not describe their results, and cannot take arguments
    named `self`, `config` or `run_manager`. In subclasses only `self` has a name, and only by position.
    """

    result_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """Of what a call returns; None if it is not declared."""
    result_note: str = ""
    """The description of the value, if it has no schema."""
    policy: ToolPolicy = Field(default_factory=ToolPolicy, exclude=True)
    """What the tool's author declares; what the developer passes takes precedence."""

    def read_types(
        self, table: RecordTable
    ) -> tuple[list[ToolParameter], TypeTree | None, TypeTree]:
        """Return its parameters, the type of further ones, and that of its value."""
        schema = self.args_schema if isinstance(self.args_schema, dict) else {}
        parameters, extra = read_parameters(schema, table)
        note = self.result_note
        return (
            parameters,
            extra,
            read_result_schema(self.result_schema, self.name, table, note=note),
        )


def as_arguments_schema(schema: object) -> dict[str, Any]:
    """Return the schema of a tool's arguments with what LangChain expects of one."""
    made = {"type": "object", **(schema if isinstance(schema, Mapping) else {})}
    if not isinstance(made.get("properties"), Mapping):
        made["properties"] = {}
    return made


def read_parameters(
    schema: Mapping[str, Any], table: RecordTable, *, message: TypeTree | None = None
) -> tuple[list[ToolParameter], TypeTree | None]:
    """Return the parameters that a JSON Schema of arguments describes, and the type of further ones.

    Raises:
        CatalogError: A `$ref` of the schema leads out of it.
    """
    reader = SchemaReader(schema, table, scope="input:", message=message)
    fields, extra = reader.read_parameters(schema)
    properties = reader.flatten(schema).get("properties")
    found = []
    for item in fields:
        said = properties.get(item.name) if isinstance(properties, Mapping) else None
        default = said.get("default", ...) if isinstance(said, Mapping) else ...
        found.append(as_parameter(item, item.type, default=default))
    return found, extra


def as_parameter(
    field: RecordField | DeclaredField, tree: TypeTree, *, default: object, name: str = ""
) -> ToolParameter:
    """Return the parameter for a field of a tool's arguments."""
    return ToolParameter(
        name=name or field.name,
        tool_name=field.name,
        type=tree,
        required=field.required,
        default=default.value if isinstance(default, Enum) else default,
        description=field.description,
        constraints=field.constraints,
    )


def read_returns(given: object, *, tool_name: str) -> tuple[TypeTree, tuple[RecordType, ...]]:
    """Return the type that an annotation, a JSON Schema or a type tree describes, and its records.

    Raises:
        CatalogError: `given` is none of these, or a `$ref` of the schema leads out of it.
    """
    if isinstance(given, Named | Choice | Container | Alternatives | RecordRef):
        return given, ()
    table = RecordTable()
    if isinstance(given, Mapping):
        try:
            return read_result_schema(given, tool_name, table), table.records()
        except CatalogError as error:
            raise CatalogError(
                f"the schema of '{tool_name} result' cannot be read: {error}"
            ) from error
    if isinstance(given, str | bytes | int | float | Sequence):
        raise CatalogError(
            f"returns must be a type, such as list[str], or a JSON Schema as a dict, got {given!r:.80}"
        )
    tree = AnnotationReader(table, direction="output").read(given)
    return tree, table.records()


def _closest(name: str, own: Mapping[str, ToolParameter], given: set[str]) -> list[str]:
    """Return the parameter that was meant by `name`: one that was not given, if any is close."""
    free = [p.name for p in own.values() if given.isdisjoint((p.name, p.tool_name))]
    return [own[other].name for other in closest(name, free) or closest(name, own)]


def _show(default: object) -> str:
    shown = "..." if default is ... else repr(default)
    return shown if len(shown) <= 60 else "..."
