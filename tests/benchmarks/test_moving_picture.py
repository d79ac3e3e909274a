"""The moving picture at the top of the README is made from a run of the demo, and says its result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.moving_picture import FASTER, FOLDER, PICTURE, render
from benchmarks.stored import read_newest
from tests.support import ROOT

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run() -> Any:
    """The stored run."""
    return read_newest(FOLDER, "python -m benchmarks.moving_picture --run")


def test_the_picture_is_the_stored_run(run: Any) -> None:
    """The picture is what is drawn of the newest run, in which each way was right."""
    assert PICTURE.read_text("utf-8") == render(run)
    assert all(way["is_right"] for way in run["ways"].values())
    direct, program = run["ways"]["direct"], run["ways"]["programmatic"]
    assert direct["answer"] == program["answer"]
    assert direct["tool_calls"] == program["tool_calls"] == len(direct["turns"])


def test_the_picture_stands_at_the_end_where_nothing_moves(run: Any) -> None:
    """Without animations the last state is shown: all inferences, tokens and seconds, and the answer."""
    text = PICTURE.read_text("utf-8")
    for way, name in (("direct", "l"), ("programmatic", "r")):
        stored = run["ways"][way]
        shown = f"{len(stored['inferences'])} inferences · {stored['tokens']:,} tokens read"
        assert re.search(rf"{shown} · [\d.]+ s</text></g></g></svg>", text)
        frames = re.search(rf"@keyframes {name}{{(.*?100%{{[^}}]*}})}}", text)
        assert frames is not None
        last = re.findall(r"translateY\(-?\d+px\)", frames[1])[-1]
        assert f".{name}{{animation-name:{name};transform:{last}}}" in text
    assert "prefers-reduced-motion:reduce" in text


def test_the_picture_keeps_the_time_of_the_run(run: Any) -> None:
    """Each inference ends at its share of the animation, for both ways on one clock."""
    text = PICTURE.read_text("utf-8")
    durations = set(re.findall(r"animation:([\d.]+)s", text))
    (total,) = durations
    for way, name in (("direct", "l"), ("programmatic", "r")):
        frames = re.search(rf"@keyframes {name}{{(.*?)}}}}", text)
        assert frames is not None
        at = [float(part) for part in re.findall(r"([\d.]+)%", frames[1])]
        assert at == sorted(at)
        for inference in run["ways"][way]["inferences"]:
            expected = 100 * inference["ends"] / FASTER / float(total)
            assert min(abs(place - expected) for place in at) < 0.02


def test_the_picture_works_where_readmes_are_shown() -> None:
    """It is small, has no script and nothing from elsewhere, knows both schemes, and is linked."""
    text = PICTURE.read_text("utf-8")
    root = ET.fromstring(text)
    assert root.findtext(f"{SVG}title")
    assert len(text.encode()) < 60_000
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"href|<script|<image|url\(|@import|\bon\w+=", text)
    assert f"({PICTURE.relative_to(ROOT)})" in Path(ROOT / "README.md").read_text("utf-8")
    assert json.dumps(str(ROOT))[1:-1] not in text
