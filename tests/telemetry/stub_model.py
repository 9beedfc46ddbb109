"""A server that answers as a model's would, with answers of our own."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "stub-2026-11-01"
PLAIN, STREAMED = "Ask the desk on the second floor.", "One, two, three."
_NUMBERS = itertools.count(1)


class _Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shared = {"id": f"chatcmpl-{next(_NUMBERS):08d}", "created": 1_790_000_000, "model": MODEL}
        if asked["model"] == "broken":
            self._send(json.dumps({"error": {"message": "too many requests", "type": "rate_limit"}}), status=429)
        elif asked.get("stream"):
            self._send("".join(f"data: {piece}\n\n" for piece in _pieces(shared)), media="text/event-stream")
        else:
            choice = _choice("message", content=PLAIN, role="assistant", reason="stop")
            whole = shared | {"object": "chat.completion", "choices": [choice], "usage": _usage(21, 8)}
            self._send(json.dumps(whole))

    def _send(self, text: str, *, status: int = 200, media: str = "application/json") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _usage(asked: int, answered: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _choice(part: str, *, reason: str | None = None, **said: str) -> dict[str, Any]:
    return {"index": 0, "finish_reason": reason, part: said}


def _pieces(shared: dict[str, Any]) -> Iterator[str]:
    shared = shared | {"object": "chat.completion.chunk", "usage": None}
    yield json.dumps(shared | {"choices": [_choice("delta", role="assistant", content="")]})
    for piece in re.findall(r"\S+\s*", STREAMED):
        yield json.dumps(shared | {"choices": [_choice("delta", content=piece)]})
    yield json.dumps(shared | {"choices": [_choice("delta", reason="stop")]})
    yield json.dumps(shared | {"choices": [], "usage": _usage(14, 6)})
    yield "[DONE]"


@contextlib.contextmanager
def stub_model() -> Iterator[str]:
    """Serve it; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
