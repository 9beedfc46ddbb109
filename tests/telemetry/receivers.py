"""A real HTTP receiver and a real SMTP sink on loopback, for tests of notifiers."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """What came in, and what to answer: a list of (status, headers), the last repeated."""

    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@contextmanager
def http_receiver() -> Iterator[Received]:
    got = Received()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.posts.append((self.path, dict(self.headers.items()), body))
            status, headers = got.answers[min(len(got.posts), len(got.answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with _served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler), got):
        yield got


@contextmanager
def smtp_sink(*, refuse: int | None = None) -> Iterator[Received]:
    """Speak enough of RFC 5321 to take a mail; `refuse` answers RCPT with that code."""
    got = Received()

    class Session(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

        def handle(self) -> None:
            self.say("220 sink")
            while line := self.rfile.readline().decode().rstrip("\r\n"):
                got.commands.append(line)
                verb = line[:4].upper()
                if verb == "RCPT" and refuse is not None:
                    self.say(f"{refuse} no")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline().decode()) != ".\r\n":
                        lines.append(part)
                    got.mails.append("".join(lines))
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    with _served(server, got):
        yield got


@contextmanager
def _served(server: socketserver.TCPServer, got: Received) -> Iterator[None]:
    got.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
