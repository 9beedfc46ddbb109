"""The server when things go wrong: what was acknowledged is in the lake once, and what was refused is not there at all."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from jurat.errors import EngineError, IntegrityError
from jurat.store.lake import Lake
from jurat.telemetry import wal
from jurat.telemetry.ingest import Ingest
from tests.telemetry.served import SETTINGS, Served, free_port, memory_bytes, served, start_process, token_of

otlp = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
EPOCH_NS = 1_770_000_000 * 10**9


def request(first: int, n: int = 5, *, text: str = "", start_ns: int = EPOCH_NS) -> bytes:
    """An export request of ``n`` turns whose output tokens number them from ``first``."""
    message = otlp.ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(first, first + n):
        span = scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="chat",
            start_time_unix_nano=start_ns + number * 10**6, end_time_unix_nano=start_ns + number * 10**6 + 10**9,
        )  # fmt: skip
        span.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
        span.attributes.add(key="user.id").value.string_value = f"u{number % 7}"
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = number
        if text:
            span.attributes.add(key="gen_ai.input.messages").value.string_value = text
    return bytes(message.SerializeToString())


def stored(folder: Path) -> list[int]:
    """Numbers of the turns in the lake, after a last server has committed what is logged; counted alike by the rollup."""
    last = Ingest(folder / "lake", SETTINGS, start=False)
    try:
        last.flush()
    finally:
        last.close()
    lake = Lake(folder / "lake")
    found = sorted(lake.read("spans")["tokens_out"].to_pylist())
    counted = sum(r["n"] for r in lake.read("rollup_1m").to_pylist() if r["measure"] == "requests")
    assert counted == len(found) and len(lake.read("dead_letters")) == 0
    return found


_ZYGOTE = """
import os, signal, sys
from pathlib import Path
import uvicorn
from jurat.store.control import Control
from jurat.telemetry.aliases import load_aliases
from jurat.telemetry.derive import Settings, derive
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.rollup import minute_rollup
from jurat.telemetry.wire import decode_traces
from jurat.web.app import create_app
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
settings = Settings(user_secret=b"s" * 32)
# Machine code is loaded before the first fork, so that a server commits from its first tenth of a second on.
body = Path(sys.argv[1], "warm").read_bytes()
minute_rollup(derive(decode_traces(body, encoding="protobuf", aliases=load_aliases()).spans, settings).spans)
for line in sys.stdin:
    port = int(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = Path(sys.argv[1])
        ingest = Ingest(folder / "lake", settings, flush_seconds=0.02, flush_bytes=16_000)
        app = create_app(ingest, Control(folder / "control.sqlite"))
        uvicorn.run(app, port=port, log_level="critical", access_log=False)
        os._exit(0)
    print(pid, flush=True)
"""


class Zygote:
    """A process that has everything loaded and forks a server where one is wanted, in a fraction of the time."""

    def __init__(self, folder: Path) -> None:
        (folder / "warm").write_bytes(request(0, 3, text="write to a.b@example.org"))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _ZYGOTE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def fork(self) -> tuple[int, int]:
        """Process and port of a new server; it may not answer yet."""
        assert self.process.stdin and self.process.stdout
        port = free_port()
        self.process.stdin.write(f"{port}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), port


def _gone(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def _await_commit(lake: Path) -> None:
    """Wait until the next version of the turns is written."""
    log = lake / "spans" / "_delta_log"
    before = len(list(log.glob("*.json")))
    deadline = time.monotonic() + 60
    while len(list(log.glob("*.json"))) == before:
        assert time.monotonic() < deadline, "the server commits nothing"
        time.sleep(0.002)


def _kills(folder: Path, kills: int, seed: int) -> None:
    """Kill servers at random moments, under load from two clients, in every state: starting, logging, committing.

    One in five is killed within a second of its start, two within a second of the first acknowledgement, and two within a
    tenth of a second of a commit of the turns, while those of the other tables are due. Batches are small.
    """
    chance = random.Random(seed)
    headers = {"authorization": f"Bearer {token_of(folder)}", "content-type": "application/x-protobuf"}
    acknowledged: set[int] = set()
    number, guard = [0], threading.Lock()

    def load(port: int, dead: threading.Event, alive: threading.Event) -> None:
        with httpx.Client(timeout=5, headers=headers) as http:
            while not dead.is_set():
                with guard:
                    first = number[0]
                    number[0] += 5
                try:
                    answer = http.post(f"http://127.0.0.1:{port}/v1/traces", content=request(first))
                except httpx.HTTPError:
                    time.sleep(0.005)
                    continue
                if answer.status_code == 200:
                    acknowledged.update(range(first, first + 5))
                    alive.set()
                time.sleep(
                    0.015
                )  # what comes must fit what is committed in a short life, or no commit is ever interrupted

    with Zygote(folder) as zygote:
        for _ in range(kills):
            pid, port = zygote.fork()
            dead, alive = threading.Event(), threading.Event()
            with ThreadPoolExecutor(2) as clients:
                sending = [clients.submit(load, port, dead, alive) for _ in range(2)]
                moment = chance.random()
                if moment > 0.2:
                    assert alive.wait(60), "the server did not start"
                if moment > 0.6:
                    _await_commit(folder / "lake")
                    time.sleep(chance.uniform(0.0, 0.1))
                else:
                    time.sleep(chance.uniform(0.0, 1.0))
                _gone(pid)
                dead.set()
                for one in sending:
                    one.result()
    commits = {table: Lake(folder / "lake").version(table) for table in ("spans", "rollup_1m")}
    found = stored(folder)
    assert len(found) == len(set(found)), "doubled"
    assert acknowledged <= set(found), f"lost {sorted(acknowledged - set(found))[:5]}"
    assert len(acknowledged) > 20 * kills and min(commits.values()) >= kills // 4, commits
    print(
        f"{kills} kills, commits {commits}: {len(acknowledged):,} acknowledged, 0 lost, 0 doubled, {len(found):,} stored"
    )


def test_twenty_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kills(tmp_path, 20, seed=1)


@pytest.mark.slow
def test_two_hundred_random_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    _kills(tmp_path, int(os.environ.get("JURAT_KILLS", "200")), seed=2)


def test_a_disk_that_takes_no_more_is_told_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    token, port = token_of(tmp_path), free_port()
    # A limit on the size of files stands for a full disk: writes fail half way through.
    process = start_process(tmp_path, port, flush_seconds=0.05, largest_file=400_000)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
    answers: list[int] = []
    try:
        with httpx.Client(timeout=10, headers=headers) as http:
            for number in range(0, 400, 5):
                body = request(number, text="words " * 400)
                answer = http.post(f"http://127.0.0.1:{port}/v1/traces", content=body)
                answers.append(answer.status_code)
                if answer.status_code != 200:
                    assert answer.status_code == 503 and "write-ahead log" in answer.json()["error"]
            assert http.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    finally:
        process.kill()
        process.communicate()
    taken = [5 * i + k for i, status in enumerate(answers) if status == 200 for k in range(5)]
    assert 10 < answers.count(200) < len(answers) - 10
    assert stored(tmp_path) == taken


def test_a_full_disk_under_the_lake_is_waited_out_and_each_table_gets_its_rows_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = Lake.append, {"rollup_1m": 2, "span_text": 1, "spans": 1}

    def append(self: Lake, table: str, *args: Any, **options: Any) -> Any:
        if full.get(table, 0):
            full[table] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, table, *args, **options)

    monkeypatch.setattr(Lake, "append", append)
    with served(tmp_path, flush_seconds=0.02) as server:
        for number in range(0, 100, 5):
            answer = httpx.post(
                f"{server.url}/v1/traces", content=request(number, text="hello"), headers=server.headers
            )
            assert answer.status_code == 200
        deadline = time.monotonic() + 20
        while server.ingest.lag_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.ingest.counts.flush_errors == 4 and "No space left" in (server.ingest.counts.last_error or "")
    assert stored(tmp_path) == list(range(100))
    assert len(Lake(tmp_path / "lake").read("span_text")) == 100


def test_a_sync_that_fails_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fails = os.fdatasync, [False]

    def fdatasync(descriptor: int) -> None:
        if fails[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(wal.os, "fdatasync", fdatasync)
    taken = []
    with served(tmp_path, start=False) as server:
        for number in range(0, 150, 5):
            fails[0] = number % 3 == 0
            answer = httpx.post(f"{server.url}/v1/traces", content=request(number), headers=server.headers)
            assert answer.status_code == (503 if fails[0] else 200)
            taken += [] if fails[0] else range(number, number + 5)
        fails[0] = False
    assert stored(tmp_path) == taken


def _crashed(folder: Path, requests: int) -> Path:
    """A folder as a kill leaves it: everything acknowledged, nothing committed."""
    ingest = Ingest(folder / "running" / "lake", SETTINGS, start=False)
    for number in range(requests):
        ingest.receive("traces/protobuf", request(5 * number), tenant="acme").result()
    shutil.copytree(folder / "running", folder / "crashed")
    (folder / "crashed" / "lake" / ".server.lock").unlink(missing_ok=True)
    ingest.close()
    return folder / "crashed"


def _half_record(log: Path) -> bytes:
    whole = log.read_bytes()
    return whole[: len(whole) // 2][-200:] if len(whole) < 400 else whole[:157]


@pytest.mark.parametrize(
    "tail",
    [
        lambda _: b"\0" * 4096,
        lambda _: random.Random(1).randbytes(777),
        _half_record,
        lambda _: struct.pack("<II", 0xFFFFFFFF, 0),
        lambda _: struct.pack("<II", 20, 12345) + b"x" * 20,
    ],
    ids=["zeros", "noise", "half a record", "a huge length", "a wrong checksum"],
)
def test_a_damaged_tail_of_the_log_is_cut_and_the_rest_is_kept(tmp_path: Path, tail: Callable[[Path], bytes]) -> None:
    crashed = _crashed(tmp_path, 20)
    (log,) = (crashed / "lake" / "_wal").glob("*.wal")
    with log.open("ab") as stream:
        stream.write(tail(log))
    ingest = Ingest(crashed / "lake", SETTINGS, start=False)
    assert ingest.log.cut_bytes > 0
    ingest.receive("traces/protobuf", request(100), tenant="acme").result()
    ingest.close()
    assert stored(crashed) == list(range(105))


def test_damage_before_the_tail_is_no_silent_loss(tmp_path: Path) -> None:
    log = wal.WriteAheadLog(tmp_path / "lake" / "_wal", segment_bytes=500)
    for number in range(20):
        log.append(request(5 * number), tenant="acme", kind=1).result()
    log.close()
    first = sorted((tmp_path / "lake" / "_wal").glob("*.wal"))[0]
    bytes_ = bytearray(first.read_bytes())
    bytes_[len(bytes_) // 2] ^= 0x40
    first.write_bytes(bytes_)
    with pytest.raises(IntegrityError, match="missing or damaged"):
        Ingest(tmp_path / "lake", SETTINGS, start=False)
    # What was refused let go of the lake: the folder can be mended and opened.
    bytes_[len(bytes_) // 2] ^= 0x40
    first.write_bytes(bytes_)
    assert stored(tmp_path) == list(range(100))


def test_clocks_that_jump_change_nothing_but_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, ahead = time.time_ns, [0]
    monkeypatch.setattr(wal.time, "time_ns", lambda: max(real() + ahead[0], 0))
    year = 365 * 86_400 * 10**9
    with served(tmp_path, flush_seconds=0.02) as server:
        for number, jump in enumerate((0, year, -year, -60 * year, 200 * year, -(10**9), 0) * 4):
            ahead[0] = jump
            answer = httpx.post(f"{server.url}/v1/traces", content=request(5 * number), headers=server.headers)
            assert answer.status_code == 200
    assert stored(tmp_path) == list(range(5 * 28))


def test_clients_whose_clocks_are_wrong_are_stored_once(tmp_path: Path) -> None:
    starts = (1, 10**9, 4_102_444_800 * 10**9, EPOCH_NS, (2**63 - 1) // 10**9 * 10**9)
    with served(tmp_path, start=False) as server:
        for number, start in enumerate(starts):
            body = request(5 * number, start_ns=start - 5 * number * 10**6 if start > 10**10 else start)
            assert httpx.post(f"{server.url}/v1/traces", content=body, headers=server.headers).status_code == 200
        server.ingest.flush()
        counts = server.ingest.counts
        assert counts.spans + counts.dead == 25 and counts.spans >= 20, counts
    found = Lake(tmp_path / "lake").read("spans")["tokens_out"].to_pylist()
    assert len(found) == len(set(found)) == counts.spans


def test_a_second_server_on_one_lake_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    token, port = token_of(tmp_path), free_port()
    first = start_process(tmp_path, port)
    try:
        with pytest.raises(AssertionError, match="another writer"):
            start_process(tmp_path, free_port())
        with pytest.raises(EngineError, match="another writer"):
            Ingest(tmp_path / "lake", SETTINGS, start=False)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/traces", content=request(0), headers=headers)
        assert answer.status_code == 200
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate()
    assert stored(tmp_path) == list(range(5))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, flush_seconds=0.2) as running:
        yield running


def test_slow_clients_hold_nobody_up_and_a_broken_off_body_is_not_logged(server: Served, tmp_path: Path) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = request(1_000_000)
    head = (
        f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    slow = [socket.create_connection((host, int(port))) for _ in range(60)]
    for one in slow:
        one.sendall(head + body[:10])
    took = []
    with httpx.Client(timeout=10, headers=server.headers) as http:
        for number in range(0, 500, 5):
            for one in slow[number % 60 : number % 60 + 5]:
                one.sendall(b"\n")
            begun = time.monotonic()
            assert http.post(f"{server.url}/v1/traces", content=request(number)).status_code == 200
            took.append(time.monotonic() - begun)
    for one in slow:
        one.close()
    assert statistics.median(took) < 0.25 and max(took) < 3
    server.ingest.flush()
    assert sorted(Lake(tmp_path / "lake").read("spans")["tokens_out"].to_pylist()) == list(range(500))


def test_ten_times_too_much_is_answered_429_and_the_server_recovers(tmp_path: Path) -> None:
    token, port = token_of(tmp_path), free_port()
    process = start_process(tmp_path, port, most_waiting=3_000_000, flush_seconds=0.5)
    url = f"http://127.0.0.1:{port}"
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
    bodies = [request(1000 * i, 100, text="words " * 150) for i in range(160)]
    acknowledged: list[int] = []
    refused: list[str] = []

    def flood(part: list[int]) -> None:
        with httpx.Client(timeout=30, headers=headers) as http:
            for i in part:
                answer = http.post(f"{url}/v1/traces", content=bodies[i])
                if answer.status_code == 200:
                    acknowledged.extend(range(1000 * i, 1000 * i + 100))
                else:
                    assert answer.status_code == 429, answer.text
                    refused.append(answer.headers["retry-after"])

    try:
        with ThreadPoolExecutor(16) as clients:
            list(clients.map(flood, [list(range(k, 160, 16)) for k in range(16)]))
        assert len(refused) > 16 and all(int(after) > 0 for after in refused)
        assert httpx.get(f"{url}/healthz").status_code == 200
        deadline, again = time.monotonic() + 30, 0
        while again != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
            again = httpx.post(f"{url}/v1/traces", content=request(900_000), headers=headers).status_code
        assert again == 200 and httpx.get(f"{url}/readyz").status_code == 200
        assert memory_bytes(process.pid) < 1_500_000_000
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert stored(tmp_path) == sorted([*acknowledged, *range(900_000, 900_005)])


@pytest.mark.slow
def test_memory_is_flat_over_a_long_run(tmp_path: Path) -> None:
    """At about half of what the machine can take: 4 requests of 250 spans a second, for JURAT_SOAK_MINUTES (30)."""
    minutes, rate, n = float(os.environ.get("JURAT_SOAK_MINUTES", "30")), 4.0, 250
    token, port = token_of(tmp_path), free_port()
    process = start_process(tmp_path, port, flush_seconds=5.0)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
    sent, memory, took = 0, [], []
    begun = time.monotonic()
    try:
        with httpx.Client(timeout=30, headers=headers) as http:
            while (now := time.monotonic() - begun) < 60 * minutes:
                body = request(sent, n, text="words " * 200, start_ns=time.time_ns() - sent * 10**6)
                at = time.monotonic()
                assert http.post(f"http://127.0.0.1:{port}/v1/traces", content=body).status_code == 200
                took.append(time.monotonic() - at)
                sent += n
                memory.append((now, memory_bytes(process.pid)))
                time.sleep(max(0.0, sent / n / rate - (time.monotonic() - begun)))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    thirds = [[m for t, m in memory if i / 3 <= t / (60 * minutes) < (i + 1) / 3] for i in range(3)]
    middle = [statistics.median(third) for third in thirds]
    took.sort()
    lines = ", ".join(f"{m / 2**20:.0f}" for m in middle)
    print(
        f"{sent:,} spans in {minutes:g} min: memory by thirds {lines} MiB, largest {max(m for _, m in memory) / 2**20:.0f}; "
        f"ack p50 {1e3 * took[len(took) // 2]:.1f} ms, p99 {1e3 * took[int(0.99 * len(took))]:.1f} ms"
    )
    assert middle[2] < 1.10 * middle[1] + (32 << 20)
    numbers = Lake(tmp_path / "lake").read("spans")["tokens_out"]
    assert len(numbers) == sent == len(numbers.unique())
