"""A model server on loopback that speaks as OpenAI's API does."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """A server on loopback that answers as OpenAI's API does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.models: object = {"data": [{"id": "qwen2.5-coder"}]}
        self.status = 200
        self.asked: list[tuple[str, str, object]] = []
        """Path, `Authorization` and body of each request."""


@contextmanager
def serve(server):
    """Run it; give its address without a path."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, data):
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def note(self, body):
            server.asked.append((self.path, self.headers["Authorization"], body))

        def do_GET(self):
            self.note(None)
            self.answer(server.status, server.models)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.note(body)
            message = {
                "role": "assistant",
                "content": "```python\nprint(await get_price('tea'))\n```",
            }
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            told = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
            self.answer(200, {**told, "choices": [choice], "usage": usage})

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()
