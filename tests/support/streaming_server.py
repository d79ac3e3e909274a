"""A model server on loopback that streams a call of `run_code` as OpenAI's or Anthropic's API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import SECONDS

_PIECE_CHARS = 7


class StreamingServer:
    """Answers the first question with a program, whose last piece it sends after `go_on`, and others with `done`.

    Attributes:
        url: Its address.
        asked: The body of each request.
        missed: How often it has waited for nothing.
    """

    def __init__(self, code: str) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.missed = 0
        self._code = code
        self._go_on = threading.Event()

    def go_on(self) -> None:
        """Have it send the last piece."""
        self._go_on.set()

    def events(self, path: str, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of an answer: their types and data."""
        self.asked.append(body)
        speak = _speak_anthropic if path.endswith("/messages") else _speak_openai
        if any(message["role"] == "tool" or _has_result(message) for message in body["messages"]):
            yield from speak([], "done")
            return
        encoded = json.dumps({"code": self._code})
        pieces = [encoded[at : at + _PIECE_CHARS] for at in range(0, len(encoded), _PIECE_CHARS)]
        for event, data in speak(pieces, ""):
            if _holds(data, pieces[-1]):
                self.missed += not self._go_on.wait(SECONDS)
            yield event, data


def _has_result(message: dict[str, Any]) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _holds(data: object, piece: str) -> bool:
    """Whether a piece is one of the strings in an event."""
    if isinstance(data, dict):
        return any(_holds(value, piece) for value in data.values())
    if isinstance(data, list):
        return any(_holds(value, piece) for value in data)
    return data == piece


def _speak_openai(pieces: list[str], text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[str, dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return "", {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": text})
    for number, piece in enumerate(pieces):
        call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
        if number == 0:
            call |= {"id": "call_1", "type": "function"}
            call["function"]["name"] = "run_code"
        yield chunk({"tool_calls": [call]})
    yield chunk({}, "tool_calls" if pieces else "stop")


def _speak_anthropic(pieces: list[str], text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    def event(kind: str, **data: Any) -> tuple[str, dict[str, Any]]:
        return kind, {"type": kind, **data}

    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": []}
    ending = {"stop_reason": None, "stop_sequence": None, "usage": usage}
    yield event("message_start", message={**message, **ending})
    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": text}]
    if pieces:
        block = {"type": "tool_use", "id": "call_1", "name": "run_code", "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    yield event("content_block_start", index=0, content_block=block)
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    stop = {"stop_reason": "tool_use" if pieces else "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=stop, usage=usage)
    yield event("message_stop")


@contextmanager
def stream(code: str) -> Iterator[StreamingServer]:
    """Run a server."""
    server = StreamingServer(code)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event, data in server.events(self.path, body):
                head = f"event: {event}\n" if event else ""
                self.wfile.write(f"{head}data: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
            if not self.path.endswith("/messages"):
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        try:
            yield server
        finally:
            server.go_on()
            listening.shutdown()
            thread.join()
