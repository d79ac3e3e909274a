"""Processes of their own that start soon: forked from one that has imported what agents need.

There is one such process for each process that runs tests, so what it imports is said here for all.
"""

from __future__ import annotations

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "langchain.agents",
        "langchain_ptc.middleware",
        "langchain_ptc.node",
        "langgraph.checkpoint.sqlite.aio",
        "tests.support.hosts",
    ]
)
