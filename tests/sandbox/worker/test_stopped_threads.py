"""The threads that code starts in the process of the host."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from langchain_ptc.sandbox.worker.threads import Crew
from tests.support.threads import (
    ends,
    no_thread_of_code_is_left,
)


@pytest.mark.parametrize("place", ["in who starts it", "in itself"])
def test_a_limit_comes_while_a_thread_starts(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Nothing is raised in a thread that starts another, or is not yet there: both end, and others start."""
    crew, begun, come = Crew(2**20), [], []
    asked, stopped = threading.Lock(), threading.Lock()
    asked.acquire()
    stopped.acquire()

    def outer() -> None:
        begun.append(threading.get_ident())
        crew.start(lambda: None)
        while True:
            pass

    def stop() -> None:
        asked.acquire()
        crew.stop()
        stopped.release()

    def is_there() -> bool:
        here = threading.get_ident()
        return [here] == begun if place == "in who starts it" else here not in threading._active

    def stopping(self: Any) -> None:
        if begun and not come and is_there():
            come.append(place)
            asked.release()
            stopped.acquire()
        original(self)

    threading.Thread(target=stop, daemon=True).start()
    changed = threading.Thread if place == "in who starts it" else threading.Condition
    name = "start" if place == "in who starts it" else "notify_all"  # it says that it is there
    original = getattr(changed, name)
    monkeypatch.setattr(changed, name, stopping)
    crew.start(outer)
    assert no_thread_of_code_is_left()
    assert come
    ends(lambda: Crew(2**20).start(lambda: None))
