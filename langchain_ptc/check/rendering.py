"""The problems of a program as the model reads them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_ptc.errors import Problem

OPENING = "The code was not run, and no tool was called: it could not have worked."
MAX_LINE_CHARS = 160
MAX_SIGNATURE_CHARS = 1_500
MAX_REPORT_CHARS = 6_000


def render_problems(problems: Sequence[Problem]) -> str:
    """Return what is wrong, line by line, with the right signatures.

    Args:
        problems: As `check_code` gives them, in order of line.

    Returns:
        Text for the model; an empty string if there are no problems.
    """
    if not problems:
        return ""
    blocks = [OPENING]
    told: set[str] = set()
    room = MAX_REPORT_CHARS
    for number, problem in enumerate(problems):
        lines = [f"line {problem.line}: {problem.message}", *_point(problem)]
        if problem.signature and problem.signature not in told:
            told.add(problem.signature)
            lines.append(f"  the tool is: {_indent(_cut(problem.signature, MAX_SIGNATURE_CHARS))}")
        block = "\n".join(lines)
        room -= len(block)
        if number and room < 0:
            blocks.append(f"… and {len(problems) - number} more problems")
            break
        blocks.append(block)
    return "\n".join(blocks)


def _point(problem: Problem) -> list[str]:
    """Return the line with a caret under the place; a long line around it."""
    source = problem.source_line.rstrip()
    if not source.strip():
        return []
    column = problem.column - 1
    if column > len(source):  # the line is longer than what is kept of it
        return [f"    {source.lstrip()[:MAX_LINE_CHARS]}"]
    start = len(source) - len(source.lstrip())
    if column - start > MAX_LINE_CHARS // 2:
        start = column - MAX_LINE_CHARS // 2
    shown = source[start : start + MAX_LINE_CHARS]
    space = "".join("\t" if char == "\t" else " " for char in shown[: max(column - start, 0)])
    return [f"    {shown}", f"    {space}^"]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")
