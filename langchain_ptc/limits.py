"""How much one execution may use. Standard library only: the worker reads it too."""

from __future__ import annotations

from dataclasses import dataclass, fields

MIB = 1024 * 1024
MOST = 2**63 - 1
"""Whole numbers beyond it are refused; up to it, one that the kernel does not take counts as the most that
it does. `math.inf` seconds are no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one execution may use, each with its unit in the name.

    A limit that is reached ends the execution with `status="limit"`, naming the limit, what was
    allowed and what was used, with the output and the tool calls so far. The two limits of a single
    call (`tool_seconds`, `result_bytes`) are first raised in the code, at the call, as
    `ToolCallError`: code that catches it goes on.

    Raises:
        ValueError: A limit is not a positive number, or is a whole number above 2**63 - 1.
    """

    wall_seconds: float = 30.0
    """From the start of the code to its end, the time of its tools included."""
    cpu_seconds: int = 10
    """Processor time of the worker, in whole seconds: the kernel counts no finer."""
    memory_bytes: int = 512 * MIB
    """Address space that the code may add to an idle worker's."""
    max_tool_calls: int = 100
    """Tool calls that one execution may make."""
    tool_seconds: float = 30.0
    """Each tool call."""
    max_concurrent_calls: int = 64
    """Tool calls that run at once; further ones wait for their turn."""
    output_chars: int = 20_000
    """Printed characters that the model is shown; more is cut in the middle, keeping both ends."""
    output_bytes: int = 8 * MIB
    """Printed text that is kept for the artifact, in UTF-8; printing more ends the execution."""
    result_bytes: int = 64 * MIB
    """Each tool result: a string in UTF-8, anything else as MessagePack."""
    code_chars: int = 100_000
    """Length of the code."""
    session_bytes: int = 8 * MIB
    """The variables and files that one execution of a session leaves for the next; the largest ones that
    do not fit are not kept."""
    max_returned_files: int = 32
    """Files that one execution of code with files returns; a note says that there are more."""
    returned_bytes: int = 8 * MIB
    """The content of these files together; one that does not fit is named with its size, and not
    returned."""

    max_shown: int = 8
    """Pictures, and other content, that one execution shows; a line of the output says that there are more."""
    shown_bytes: int = 15 * MIB // 4
    """All of these together; for one that does not fit, a line of the output says so. By default what base64 makes
    5 MiB of, the most that Anthropic takes for a picture."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = int if field.type == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                raise ValueError(
                    f"Limits.{field.name} must be a positive "
                    f"{'whole number' if kind is int else 'number'}, got {_show(value)}"
                )
            if isinstance(value, int) and value > MOST:
                raise ValueError(
                    f"Limits.{field.name} must be at most {MOST} (sys.maxsize), got {_show(value)}"
                )


def _show(value: object) -> str:
    """Return the `repr` of a value, cut; Python refuses that of a number of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
