"""A tool that reports how far its call is."""

from __future__ import annotations

from langchain_core.tools import tool

from langchain_ptc.catalog.definition import current_call


@tool
def add(first: int, second: int) -> int:
    """Add two numbers."""
    call = current_call.get()
    if call is not None:
        call.report("working", "adding")
    return first + second
