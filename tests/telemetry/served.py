"""A server to test against: in a thread of this process, or as a process of its own that may be killed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import uvicorn

from jurat.store.control import Control
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.bodies import Limits

SETTINGS = Settings(user_secret=b"s" * 32)


@dataclass
class Served:
    url: str
    token: str
    ingest: Ingest

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "content-type": "application/x-protobuf"}


def token_of(folder: Path, *roles: str, tenant: str = "acme") -> str:
    """A key of the control plane in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted: Any = set(roles or ("ingest",))
    return Control(folder / "control.sqlite").create_key(owner="test", roles=wanted, tenant=tenant).token


@contextlib.contextmanager
def served(
    folder: Path,
    *,
    settings: Settings = SETTINGS,
    limits: Limits | None = None,
    keep_alive: int = 5,
    tenant: str = "acme",
    **options: Any,
) -> Iterator[Served]:
    """Run the application in a thread; the lake is committed and let go of at the end."""
    token = token_of(folder, tenant=tenant)
    ingest = Ingest(folder / "lake", settings, **options)
    app = create_app(ingest, Control(folder / "control.sqlite"), limits=limits)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", access_log=False, timeout_keep_alive=keep_alive
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(url=f"http://127.0.0.1:{port}", token=token, ingest=ingest)
    finally:
        server.should_exit = True
        thread.join(60)
        ingest.close()


_SERVE = """
import resource
import sys
from pathlib import Path
import uvicorn
from jurat.store.control import Control
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
folder, port, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if int(sys.argv[5]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), int(sys.argv[5])))
ingest = Ingest(folder / "lake", Settings(user_secret=b"s" * 32), flush_seconds=float(sys.argv[4]), most_waiting_bytes=most)
uvicorn.run(create_app(ingest, Control(folder / "control.sqlite")), port=port, log_level="error", access_log=False)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_process(
    folder: Path,
    port: int,
    *,
    most_waiting: int = 1 << 30,
    flush_seconds: float = 0.05,
    largest_file: int = 0,
) -> subprocess.Popen[bytes]:
    """A server of its own process, once it answers."""
    numbers = (port, most_waiting, flush_seconds, largest_file)
    program = [sys.executable, "-W", "ignore", "-c", _SERVE, str(folder), *map(str, numbers)]
    process = subprocess.Popen(program, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            error = process.communicate()[1].decode()
            raise AssertionError(f"the server did not start: {error[-800:]}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).status_code == 200:
                return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the server did not answer")


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
