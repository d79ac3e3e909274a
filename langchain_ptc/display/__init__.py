"""What a person sees: records as pages and as text on a terminal.

`ExecutionResult` shows itself, in notebooks and with `rich.print`. `show_run` shows a conversation with its executions,
`LiveProgress` an execution while it runs.

Everything here reads plain dicts, and imports nothing of the other packages.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_ptc.display.html import render_html as render_html
    from langchain_ptc.display.html import show_run
    from langchain_ptc.display.progress import LiveProgress
    from langchain_ptc.display.terminal import render_panel as render_panel

_MODULES = {
    "LiveProgress": "progress",
    "render_html": "html",
    "render_panel": "terminal",
    "show_run": "html",
}

__all__ = ["LiveProgress", "show_run"]


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
