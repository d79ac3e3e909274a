"""What a part of the check has found, before it is known whether the code catches it. Pure."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from langchain_ptc.catalog.definition import ToolDefinition


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that would go wrong."""

    node: ast.AST
    """Where."""
    message: str
    error: str
    """The class of the exception that it would be; empty where nothing would be raised."""
    definition: ToolDefinition | None = None
    """The tool whose signature helps."""
    module: str = ""
    """The module that the sandbox does not have."""
