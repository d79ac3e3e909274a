"""`langchain-ptc demo`: one question, answered by ordinary tool calling and programmatically."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="openai:gpt-5 and the like; the address of a server, http://127.0.0.1:11434/v1#name; "
        "module:attribute of a chat model; or local, in a checkout of the repository. Without it the "
        "model is simulated.",
    ),
]
SecondsPerCall = Annotated[
    float,
    typer.Option(help="Simulated time before the first token of an inference.", min=0.0),
]
TokensPerSecond = Annotated[float, typer.Option(help="Simulated speed of writing.", min=0.001)]


def demo(
    *,
    model: Model = "",
    seconds_per_call: SecondsPerCall = 0.25,
    tokens_per_second: TokensPerSecond = 200.0,
) -> int:
    """Answer one question by ordinary tool calling and programmatically, side by side.

    The data, the tools, the agent and the sandbox are real; so are the calls, the times and the token
    counts. Without a model it needs no key and takes half a minute.

    Exit codes: 0, 1 if an answer is wrong that must be right, 2 if it cannot run here.
    """
    from langchain_ptc.demo.show import DemoOptions, show_demo

    return show_demo(
        DemoOptions(
            model=model, seconds_per_call=seconds_per_call, tokens_per_second=tokens_per_second
        )
    )
