"""THE CHECK BEFORE THE RUN: what in a program could not have worked."""

from __future__ import annotations

from langchain_ptc.execution.check.checker import check_code
from langchain_ptc.execution.check.rendering import render_problems

__all__ = ["check_code", "render_problems"]
