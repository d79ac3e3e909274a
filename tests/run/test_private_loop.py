"""The threads of synchronous tools."""

from __future__ import annotations

import asyncio
import threading

import pytest

from langchain_ptc.run import private_loop as portal
from tests.support.waiting import SECONDS


def test_a_thread_that_the_system_refuses_is_not_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call for which there was no thread is not made by the next thread that is free."""
    calls: list[str] = []

    async def main() -> None:
        monkeypatch.setattr(portal, "tool_threads", None)
        await portal.call_in_thread(lambda: calls.append("before"))
        start = threading.Thread.start
        busy, go_on = threading.Event(), threading.Event()

        def block() -> None:
            busy.set()
            go_on.wait(SECONDS)

        blocked = asyncio.ensure_future(portal.call_in_thread(block))
        await asyncio.to_thread(busy.wait, SECONDS)

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await portal.call_in_thread(lambda: calls.append("refused"))
        monkeypatch.setattr(threading.Thread, "start", start)
        go_on.set()
        await blocked
        await portal.call_in_thread(lambda: calls.append("after"))

    asyncio.run(main())
    assert calls == ["before", "after"]
