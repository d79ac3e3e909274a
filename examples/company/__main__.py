"""`python -m examples.company`: run the demonstration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from examples.company.demo import DemoOptions, show_demo
from langchain_ptc.cli.output import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: The command line without the program's name; None is `sys.argv`.

    Returns:
        0; 1 if an answer is wrong that must be right; 2 if the demo cannot run here; 130 for Ctrl-C.
    """
    try:
        return show_demo(_parse(arguments))
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str] | None) -> DemoOptions:
    usual = DemoOptions()
    parser = argparse.ArgumentParser(
        prog="python -m examples.company",
        description="One question, answered by ordinary tool calling and programmatically.",
    )
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL", ""),
        help="a model for init_chat_model, such as openai:gpt-5; the address of a server, such as "
        "http://127.0.0.1:11434/v1#name; or `local`; none is a simulated model (default: the variable "
        "MODEL)",
    )
    parser.add_argument(
        "--seconds-per-call",
        type=float,
        default=usual.seconds_per_call,
        help="simulated time before the first token of an inference (default: %(default)s)",
    )
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        default=usual.tokens_per_second,
        help="simulated speed of writing (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds-per-tool",
        type=float,
        default=usual.seconds_per_tool,
        help="simulated time of a tool call, where calls begin early (default: %(default)s)",
    )
    return DemoOptions(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
