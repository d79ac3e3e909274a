"""Where the code runs: what a sandbox of your own implements, and the doctor.

`ProcessSandbox` and `InProcessSandbox` are names of `langchain_ptc` itself. Nothing here imports LangChain,
LangGraph or pydantic, since a worker must not hold them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_ptc.sandbox.api import (
    Call,
    CallFailure,
    Done,
    Failure,
    File,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Replay,
    Result,
    Sandbox,
    Session,
    Status,
)

if TYPE_CHECKING:
    from langchain_ptc.sandbox.host.doctor import Attack, Diagnosis, Layer, Level, diagnose
    from langchain_ptc.sandbox.host.workers import WorkerStats

__all__ = [
    "Attack",
    "Call",
    "CallFailure",
    "Diagnosis",
    "Done",
    "Failure",
    "File",
    "Layer",
    "Level",
    "Moment",
    "OnCalls",
    "OnIdle",
    "Program",
    "Replay",
    "Result",
    "Sandbox",
    "Session",
    "Status",
    "WorkerStats",
    "diagnose",
]

if not TYPE_CHECKING:  # the host's side, imported when it is first used: a worker must not hold it

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from langchain_ptc.sandbox.host import doctor, workers

        return getattr(workers if name == "WorkerStats" else doctor, name)
