"""The moving picture of the README: the question of `make demo`, answered both ways at the same time.

`python -m benchmarks.moving_picture --run` runs the demo's agents (simulated model, real tools, loop and
sandbox), stores when each inference ended in `benchmarks/results/moving/`, and draws the picture from it;
without `--run` it draws what is stored. It is SVG with animations of CSS and no script. Where nothing
moves (a printer, `prefers-reduced-motion`), it shows the end.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, ToolMessage

from benchmarks.charts import Canvas
from benchmarks.stored import describe_machine, read_newest, write_dated
from examples.company import database
from examples.company.measuring import RUN_CODE, find_code, is_right, measure
from examples.company.models import build_direct_model, build_programmatic_model
from examples.company.tools import build_tools
from langchain_ptc import as_programmatic

FOLDER = Path(__file__).parent / "results" / "moving"
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "demo.svg"
COMMAND = "python -m benchmarks.moving_picture"
SPEED = {"seconds_per_call": 0.25, "tokens_per_second": 200.0}
"""Those of the demo."""
FASTER = 2.0
"""The picture plays so many times as fast as the run was."""
REST_SECONDS = 5.0
"""How long the end is shown before it begins again."""
PITCH = 17
ROWS = 17
PANE = 392
LEFT, RIGHT, TOP = 20, 428, 118
CHARS = 53


# --- the run ----------------------------------------------------------------------------------------


class Clock(BaseCallbackHandler):
    """Notes when inferences begin and end, and what they read."""

    run_inline = True

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.inferences: list[dict[str, Any]] = []

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        self.inferences.append({"begins": self._now()})

    def on_llm_end(self, response: Any, **_kwargs: Any) -> None:
        usage = response.generations[0][0].message.usage_metadata
        self.inferences[-1] |= {"ends": self._now(), "tokens": usage["input_tokens"]}

    def _now(self) -> float:
        return round(time.perf_counter() - self.started, 3)


async def run_both() -> dict[str, Any]:
    """Run each way of the demo once."""
    from examples.company.demo import load_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "company.db"
        database.create_company(path)
        tools, question = build_tools(path), database.OVERSPENDERS
        truth = question.find_answer(path)
        speed = {**SPEED, "count_tokens": load_tokenizer()}
        ways: dict[str, Any] = {
            "direct": (build_direct_model(calls_per_turn=1, **speed), tools),
            "parallel": (build_direct_model(calls_per_turn=1_000, **speed), tools),
            "programmatic": (
                build_programmatic_model(tool_name=RUN_CODE, **speed),
                as_programmatic(tools),
            ),
        }
        stored = {}
        for name, (model, offered) in ways.items():
            clock = Clock()
            agent = create_agent(model, tools=list(offered)).with_config(callbacks=[clock])
            outcome = await measure(name, agent, question.text, on_progress=lambda *_: None)
            stored[name] = {
                "inferences": clock.inferences,
                "tokens": outcome.tokens_in,
                "seconds": round(outcome.seconds, 2),
                "tool_calls": outcome.tool_calls,
                "is_right": is_right(outcome.answer, truth),
                "answer": outcome.answer.splitlines(),
                "turns": _turns(outcome.messages) if name == "direct" else [],
                "code": (find_code(outcome) or "").splitlines(),
            }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": today, "machine": describe_machine()["words"], **SPEED, "ways": stored}


def _turns(messages: Sequence[Any]) -> list[str]:
    """Return what the model asked for and got, in one line for each of its turns."""
    results = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    lines = []
    for message in messages:
        if isinstance(message, AIMessage) and message.tool_calls:
            (call,) = message.tool_calls
            found = json.loads(results[call["id"]] or "[]")
            what = next(iter(call["args"].values()), "")
            lines.append(f"{call['name']}({what!r}, …): {len(found)} rows")
    return lines


# --- the picture ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Strip:
    """Lines that appear one after another, and what the counters say at each."""

    name: str
    lines: Sequence[tuple[str, str]]
    """Text and style."""
    times: Sequence[float]
    """When each line appears, in seconds of the run; the last ones together."""
    counters: Sequence[str]
    shares: Sequence[float]
    """The length of the bar, of 1, at each line."""


def render(run: Mapping[str, Any]) -> str:
    """Draw a stored run."""
    ways = run["ways"]
    total = ways["direct"]["seconds"] / FASTER + REST_SECONDS
    most = ways["direct"]["tokens"]
    strips = [(_direct(ways["direct"], most), LEFT), (_code(ways["programmatic"], most), RIGHT)]
    style = [
        (
            ".c{font-size:13.5px;font-weight:600}.k{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:11.5px;"
            "white-space:pre}.k.s{fill:var(--soft)}.w{fill:var(--c);font-weight:600}.ok{fill:var(--d)}"
            ".well{fill:var(--shade)}.bar{fill:var(--e);transform-origin:0 0}.p .bar{fill:var(--d)}"
            f".mv{{animation:{total:g}s step-end infinite}}"
        ),
        "@media(prefers-reduced-motion:reduce){.mv{animation:none}}",
    ]
    canvas = Canvas(
        width=840, title="One question, answered by tool calls and by one program", height=TOP + 348
    )
    canvas.text(20, 32, "“Which of 45 people went over their travel budget?”", "t")
    canvas.text(820, 32, "same tools, same answer · played at double speed", "s e")
    for strip, left in strips:
        style += _keyframes(strip, total)
        heading = "The model calls each tool" if left == LEFT else "The model writes one program"
        canvas.text(left, 62, heading, "n")
        canvas.add(_pane(strip, left, "" if left == LEFT else " p"))
    parallel = ways["parallel"]
    footer = [
        (
            f"An agent that makes its calls in parallel: {len(parallel['inferences'])} inferences, "
            f"{parallel['tokens']:,} tokens read, {parallel['seconds']:.1f} s."
        ),
        (
            "The model is simulated; tools, agent loop, sandbox and clock are real. "
            f"{run['date']}, {COMMAND}"
        ),
    ]
    for place, text in enumerate(footer):
        canvas.text(20, TOP + 318 + 16 * place, text, "s")
    canvas.style = "".join(style)
    return canvas.render()


def _direct(way: Mapping[str, Any], most: int) -> Strip:
    ends = [inference["ends"] for inference in way["inferences"]]
    read, counters, shares = 0, ["0 inferences"], [0.0]
    for number, inference in enumerate(way["inferences"], 1):
        read += inference["tokens"]
        counters.append(_counter(number, read, inference["ends"]))
        shares.append(read / most)
    lines = [(f"{number:2} {text}", "k") for number, text in enumerate(way["turns"], 1)]
    lines += [(text, "k ok") for text in way["answer"]]
    answers = len(way["answer"]) - 1
    return Strip(
        "l",
        lines,
        [*ends, *[ends[-1]] * answers],
        [*counters, *[counters[-1]] * answers],
        [*shares, *[shares[-1]] * answers],
    )


def _code(way: Mapping[str, Any], most: int) -> Strip:
    first, second = way["inferences"]
    begins = first["begins"] + SPEED["seconds_per_call"]
    code, each = way["code"], (first["ends"] - begins) / len(way["code"])
    lines = [(text, "k w" if "await" in text or "get_" in text else "k") for text in code]
    times = [begins + each * (place + 1) for place in range(len(code))]
    counters, shares = ["0 inferences"], [0.0]
    counters += ["1 inference, writing"] * (len(code) - 1)
    counters += [_counter(1, first["tokens"], first["ends"])]
    shares += [first["tokens"] / most] * len(code)
    lines += [("", "k"), (f"{way['tool_calls']} calls in the sandbox; it printed:", "k s")]
    lines += [(text, "k ok") for text in way["answer"]]
    rest = len(lines) - len(code)
    read = first["tokens"] + second["tokens"]
    times += [second["begins"]] * (rest - 1) + [second["ends"]]
    counters += [counters[-1]] * (rest - 1) + [_counter(2, read, second["ends"])]
    shares += [shares[-1]] * (rest - 1) + [read / most]
    return Strip("r", lines, times, counters, shares)


def _counter(inferences: int, tokens: int, seconds: float) -> str:
    plural = "" if inferences == 1 else "s"
    return f"{inferences} inference{plural} · {tokens:,} tokens read · {seconds:.1f} s"


def _keyframes(strip: Strip, total: float) -> list[str]:
    """Return the animations of the lines and of the bar."""
    moves, bars = ["0%{transform:none}"], ["0%{transform:scaleX(0)}"]
    for number, seconds in enumerate(strip.times, 1):
        if number < len(strip.times) and strip.times[number] == seconds:
            continue  # the next line appears at the same time
        at = f"{100 * seconds / FASTER / total:.2f}%"
        moves.append(f"{at}{{transform:translateY({-PITCH * number}px)}}")
        bars.append(f"{at}{{transform:scaleX({strip.shares[number]:.4f})}}")
    end = f"translateY({-PITCH * len(strip.times)}px)"
    return [
        f"@keyframes {strip.name}{{{''.join(moves)}100%{{transform:{end}}}}}",
        f"@keyframes {strip.name}b{{{''.join(bars)}100%{{transform:scaleX({strip.shares[-1]:.4f})}}}}",
        f".{strip.name}{{animation-name:{strip.name};transform:{end}}}",
        f".{strip.name}b{{animation-name:{strip.name}b;transform:scaleX({strip.shares[-1]:.4f})}}",
    ]


def _pane(strip: Strip, left: int, kind: str) -> str:
    name, height = strip.name, ROWS * PITCH
    rows = _texts(strip.lines, CHARS)
    counters = _texts([(text, "c") for text in strip.counters], 80)
    return (
        f'<g class="{kind.strip() or "d"}" transform="translate({left} 0)">'
        f'<svg y="68" width="{PANE}" height="{PITCH}" overflow="hidden">'
        f'<g class="mv {name}"><g transform="translate(0 {PITCH})">{counters}</g></g></svg>'
        f'<rect y="92" width="{PANE}" height="10" rx="2" class="well"/>'
        f'<g transform="translate(0 92)"><rect width="{PANE}" height="10" class="mv bar {name}b"/></g>'
        f'<rect y="{TOP - 6}" width="{PANE}" height="{height + 12}" rx="4" class="well"/>'
        f'<svg x="8" y="{TOP}" width="{PANE - 16}" height="{height}" overflow="hidden">'
        f'<g transform="translate(0 {height})"><g class="mv {name}"><g transform="translate(0 {PITCH})">'
        f"{rows}</g></g></g></svg></g>"
    )


def _texts(lines: Sequence[tuple[str, str]], chars: int) -> str:
    cut = [
        (text if len(text) <= chars else text[: chars - 1] + "…", style) for text, style in lines
    ]
    return "".join(
        f'<text y="{place * PITCH - 5}" class="{style}">{escape(text, quote=False)}</text>'
        for place, (text, style) in enumerate(cut)
        if text
    )


def main() -> None:
    """Draw the picture, after a new run if that is asked for."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--run", action="store_true", help="run the demo again and store it")
    if parser.parse_args().run:
        write_dated(asyncio.run(run_both()), FOLDER)
    PICTURE.write_text(render(read_newest(FOLDER, f"{COMMAND} --run")), "utf-8")


if __name__ == "__main__":
    main()
