"""`timeline`: the tool calls of an execution in time, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_ptc.display.reading import as_record, read_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def timeline(result: object) -> Figure:
    """Return the tool calls of an execution in time, as a matplotlib figure.

    A thin bar is waiting, a full one the tool at work; what did not simply return says so in words and
    has another form. In a notebook the figure shows itself; elsewhere `figure.savefig("calls.png")`.

    Args:
        result: An `ExecutionResult`, or the dict that its `to_dict()` returns.

    Raises:
        TypeError: `result` is neither.
        ImportError: matplotlib is not installed.
    """
    read = read_timeline(as_record(result))
    try:
        from langchain_ptc.display.figure import build_figure
    except ImportError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        raise ImportError(
            "timeline() draws with matplotlib, which is not installed: "
            "pip install 'langchain-ptc[display]'. timeline_svg() needs nothing",
            name=error.name,
        ) from error
    return build_figure(read)
