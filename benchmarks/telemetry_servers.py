"""Servers of the telemetry benchmark, each a process of its own: ours, and Phoenix from its package in its environment.

CPU time is that of the process and all its threads, read from the system. Requests are sent by this process over one or more
connections that are kept open.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jurat.store.control import Control
from jurat.store.lake import Lake

__all__ = [
    "PHOENIX",
    "Measured",
    "folder_bytes",
    "measure_ours",
    "measure_phoenix",
    "phoenix_version",
    "send",
    "serving",
]

PHOENIX = os.environ.get("JURAT_BENCH_PHOENIX", "")
"""The command ``phoenix`` of the environment that has it."""

_TICK = os.sysconf("SC_CLK_TCK")
_SERVE = """
import sys
from pathlib import Path
import uvicorn
from jurat.store.control import Control
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
folder = Path(sys.argv[1])
ingest = Ingest(folder / "lake", Settings(user_secret=b"s" * 32), flush_seconds=5.0)
app = create_app(ingest, Control(folder / "control.sqlite"))
uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a server did with some spans.

    Attributes
    ----------
    stored
        Spans that were in its store in the end (or when time was up).
    cpu_seconds, wall_seconds
        CPU time of the server, and time from the first request until they were stored.
    bytes_per_span
        What its store grew by.
    acks
        Seconds until each request was acknowledged.
    """

    stored: int
    cpu_seconds: float
    wall_seconds: float
    bytes_per_span: float
    acks: Sequence[float]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _answers(port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    return False


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def send(port: int, bodies: Sequence[bytes], headers: dict[str, str], *, every: float = 0.0) -> list[float]:
    """Send requests in turn, not before their time; seconds until each was acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    acks, begun = [], time.monotonic()
    for i, body in enumerate(bodies):
        time.sleep(max(0.0, begun + i * every - time.monotonic()))
        at = time.monotonic()
        while True:
            connection.request(
                "POST", "/v1/traces", body=body, headers={**headers, "Content-Type": "application/x-protobuf"}
            )
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                break
            if answer.status not in (429, 503):
                raise RuntimeError(f"a server answered {answer.status}")
            time.sleep(float(answer.getheader("Retry-After") or 1))
        acks.append(time.monotonic() - at)
    connection.close()
    return acks


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    port: int
    pid: int
    headers: dict[str, str]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Running]:
    """Our server on a fresh lake."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    token = Control(folder / "control.sqlite").create_key(owner="bench", roles={"ingest"}).token
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _SERVE, str(folder), str(port)])
    try:
        if not _answers(port, 60):
            raise RuntimeError("our server did not start")
        yield Running(port=port, pid=process.pid, headers={"Authorization": f"Bearer {token}"})
    finally:
        process.terminate()
        process.wait(120)


def _stored(lake: Path) -> int:
    found = Lake(lake)
    return int(found.describe("spans")["rows"]) if "spans" in found.tables() else 0


def measure_ours(
    folder: Path, bodies: Sequence[bytes], spans: int, *, warm: Sequence[bytes], limit: float = 300
) -> Measured:
    """Send requests to our server and wait until all their spans are committed."""
    with serving(folder) as server:
        send(server.port, warm, server.headers)
        warmed = _wait(lambda: _stored(folder / "lake"), 1, limit)
        time.sleep(6.0)  # the rest of the warm-up is committed with the next flush
        warmed = _stored(folder / "lake")
        size, cpu, begun = (
            folder_bytes(folder / "lake") - folder_bytes(folder / "lake/_wal"),
            _cpu_seconds(server.pid),
            time.monotonic(),
        )
        acks = send(server.port, bodies, server.headers)
        stored = _wait(lambda: _stored(folder / "lake"), warmed + spans, limit) - warmed
        wall, cpu = time.monotonic() - begun, _cpu_seconds(server.pid) - cpu
    grown = folder_bytes(folder / "lake") - folder_bytes(folder / "lake/_wal") - size
    return Measured(stored=stored, cpu_seconds=cpu, wall_seconds=wall, bytes_per_span=grown / max(stored, 1), acks=acks)


def _wait(count: Callable[[], int], wanted: int, limit: float) -> int:
    deadline, found = time.monotonic() + limit, 0
    while time.monotonic() < deadline:
        found = count()
        if found >= wanted:
            break
        time.sleep(0.1)
    return found


def phoenix_version() -> str:
    """Name and version of the peer, or that it is missing."""
    python = Path(PHOENIX).with_name("python") if PHOENIX else Path()
    if not PHOENIX or not python.exists():
        return "Phoenix, missing"
    code = "import importlib.metadata as m; print(m.version('arize-phoenix'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return f"Phoenix {done.stdout.strip()}" if done.returncode == 0 else "Phoenix, missing"


def measure_phoenix(
    folder: Path, bodies: Sequence[bytes], spans: int, *, warm: Sequence[bytes], limit: float = 120
) -> Measured | None:
    """The same for Phoenix with its default store; ``None`` where it is not installed or does not start."""
    if "missing" in phoenix_version():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, database = _free_port(), folder / "phoenix.db"
    environment = {
        **os.environ, "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(_free_port()), "PHOENIX_TELEMETRY_ENABLED": "false",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PHOENIX, "serve"], env=environment, stdout=log, stderr=log)

    def stored() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM spans").fetchone()[0])

    def size() -> int:
        return sum(path.stat().st_size for path in folder.glob("phoenix.db*"))

    try:
        if not _answers(port, 180):
            return None
        send(port, warm, {})
        _wait(stored, 1, limit)
        time.sleep(10.0)
        warmed, empty, cpu, begun = stored(), size(), _cpu_seconds(process.pid), time.monotonic()
        acks = send(port, bodies, {})
        found = _wait(stored, warmed + spans, limit) - warmed
        wall, cpu = time.monotonic() - begun, _cpu_seconds(process.pid) - cpu
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # Stopped, its log is folded into the database: what stays is what a span costs.
    found_at_end = max(stored() - warmed, 1)
    return Measured(
        stored=found, cpu_seconds=cpu, wall_seconds=wall, bytes_per_span=(size() - empty) / found_at_end, acks=acks
    )
