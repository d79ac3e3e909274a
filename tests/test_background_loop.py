"""What runs in threads: synchronous tools, and work on large data."""

from __future__ import annotations

import asyncio
import threading

import pytest

from langchain_ptc import background_loop
from tests.support.waiting import SECONDS


def test_a_thread_that_the_system_refuses_is_not_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call for which there was no thread is not made by the next thread that is free."""
    calls: list[str] = []

    async def main() -> None:
        monkeypatch.setattr(background_loop, "tool_threads", None)
        await background_loop.call_in_thread(lambda: calls.append("before"))
        start = threading.Thread.start
        busy, go_on = threading.Event(), threading.Event()

        def block() -> None:
            busy.set()
            go_on.wait(SECONDS)

        blocked = asyncio.ensure_future(background_loop.call_in_thread(block))
        await asyncio.to_thread(busy.wait, SECONDS)

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await background_loop.call_in_thread(lambda: calls.append("refused"))
        monkeypatch.setattr(threading.Thread, "start", start)
        go_on.set()
        await blocked
        await background_loop.call_in_thread(lambda: calls.append("after"))

    asyncio.run(main())
    assert calls == ["before", "after"]


async def test_off_the_loop_errors_and_results_are_the_same() -> None:
    """A function for large data gives and raises what it would at once."""
    large = [0] * 10_000
    assert await background_loop.call_off_loop(lambda: len(large), large) == 10_000
    for data in ([], large):
        with pytest.raises(ZeroDivisionError):
            await background_loop.call_off_loop(lambda: 1 // 0, data)
