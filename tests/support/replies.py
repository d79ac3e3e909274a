"""The program that is found in a finished reply, for tests of what is known of it before."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from langchain_ptc.replies import extract_code


def program_of(text: str) -> str:
    """Return the program in a reply in text; empty if there is none."""
    calls = extract_code(AIMessage(text), tool_name="run_code", protocol="text").calls
    return calls[0].code if calls else ""
