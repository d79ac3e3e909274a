"""The benchmark of calls that begin early: what it compares with, and that nothing is compared with another thing."""

from __future__ import annotations

import pytest

from benchmarks.prefetch import SHAPES, measure_all, render, summarise


async def test_programs_print_the_same_in_each_way():
    """Each shape runs in all three ways with equal output, and the tables have all of them."""
    runs = await measure_all(SHAPES, [2_000], [0.01], rounds=1)
    assert len(runs) == 3 * len(SHAPES)
    by_shape = {shape.name: {r.output for r in runs if r.shape == shape.name} for shape in SHAPES}
    assert all(len(outputs) == 1 and outputs != {""} for outputs in by_shape.values())
    tables = render(summarise(runs, SHAPES))
    assert all(f"| {shape.name} |" in tables for shape in SHAPES)


@pytest.mark.parametrize(
    ("name", "latency", "chained"),
    [
        ("three literal reads", 2.0, 1),
        ("a chain of four", 2.0, 4),
        ("a write in the middle", 2.0, 3),
    ],
)
def test_ideal(name, latency, chained):
    """With slow tools the ideal is the longest chain of calls, begun when the model has written the first."""
    (shape,) = [shape for shape in SHAPES if shape.name == name]
    at_once = shape.ideal(1e9, latency)
    assert at_once == pytest.approx(chained * latency, rel=0.01)
    assert shape.ideal(100, latency) > at_once
