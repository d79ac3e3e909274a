"""The program of the notebook on inputs with a real, small model in the place of the scripted one.

    python -m benchmarks.long_text [--model local] [--answers FOLDER]

The text is the reference of the Python language, which comes with Python. A program finds what changed in
Python 3.8, and the model tells for each change whether it is one of the syntax. It is judged by a person's
answers, below. Temperature is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from benchmarks.local import load_model
from benchmarks.local_model import LocalModelError
from benchmarks.local_model.answers import Answers
from langchain_ptc import Budget, ProgrammaticToolExecutor, model_tools

SYSTEM = (
    "Is the change about the syntax of the language, or about what a type or function does? "
    "Answer with one word: syntax or behavior."
)
PROGRAM = """
import re

marker = "Changed in version 3.8: "
paragraphs = [" ".join(part.split()) for part in reference.split("\\n\\n")]
changes = sorted({part.split(marker)[1] for part in paragraphs if marker in part})
kinds = await ask_model_batch(changes)
for change, kind in zip(changes, kinds):
    print(f"{kind.strip().lower()[:20]} | {change[:60]}")
"""
SYNTAX = ("annotated assignments", '"continue" statement', "dict comprehensions", '"/" function')
"""What names the changes of the syntax; the others are of behavior."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return the exit status: 0, or 2 without a model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_text", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="local")
    parser.add_argument("--answers", type=Path, help="folder that keeps answers, to go on later")
    options = parser.parse_args(arguments)
    text = "\n\n".join(topics.values())
    try:
        with load_model(options.model) as model:
            counted = model.model_copy(update={"cache": Answers(options.answers)})
            executor = ProgrammaticToolExecutor(
                model_tools(counted, system=SYSTEM, max_concurrency=1),
                budget=Budget(model_calls=20),
            )
            result = asyncio.run(executor.aexecute(PROGRAM, inputs={"reference": text}))
    except LocalModelError as error:
        print(error, file=sys.stderr)
        return 2
    print(result.report())
    lines = [line.partition(" | ") for line in result.output.splitlines()]
    right = [
        ("syntax" in kind) == any(word in change for word in SYNTAX) for kind, _, change in lines
    ]
    used = result.spent or {}
    print(
        f"{sum(right)} of {len(right)} right; {len(text):,} characters; "
        f"{used['model_calls']} inferences, {used['model_tokens']} tokens"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
