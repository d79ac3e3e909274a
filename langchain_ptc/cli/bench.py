"""`langchain-ptc bench`: what the sandbox costs on this machine."""

from __future__ import annotations

import platform
import sys

from langchain_ptc.cli.exits import SUCCESS
from langchain_ptc.cli.options import AsJson


def bench(*, as_json: AsJson = False) -> int:
    """Measure what the sandbox costs on this machine, in less than fifteen seconds.

    Each figure stands beside the same work done without the sandbox, taken in turn; the ratio says
    more than the milliseconds, which depend on the machine and on what else it does.
    """
    from langchain_ptc.cli.measuring import Figure, measure_all
    from langchain_ptc.cli.results import write_json

    def show(figure: Figure) -> None:
        sys.stdout.write(
            f"{figure.name:<52}{figure.seconds * 1000:>9.1f} ms{figure.ratio:>8.2f} x"
            f"{figure.plain_seconds * 1000:>9.1f} ms  {figure.plain}\n"
        )
        sys.stdout.flush()

    if not as_json:
        sys.stdout.write(f"{'':<52}{'median':>12}{'ratio':>10}{'beside':>12}\n")
    figures = measure_all((lambda _: None) if as_json else show)
    if as_json:
        machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        told = [
            {
                "name": figure.name,
                "seconds": figure.seconds,
                "plain": figure.plain,
                "plain_seconds": figure.plain_seconds,
                "ratio": figure.ratio,
                "tries": figure.tries,
            }
            for figure in figures
        ]
        write_json(sys.stdout, {"machine": machine, "figures": told})
    return SUCCESS
