"""The log: what was acknowledged is there after a kill, once; what was torn is cut; a full or failing disk is said."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.errors import EngineError, IntegrityError
from jurat.telemetry.wal import LogFull, WriteAheadLog


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=200), st.text(max_size=8), st.integers(0, 255)), max_size=30),
    st.integers(50, 400),
)
def test_what_is_appended_is_read_in_order_over_any_segments(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[bytes, str, int]], segment: int
) -> None:
    log = WriteAheadLog(tmp_path_factory.mktemp("wal"), segment_bytes=segment, window_seconds=0)
    offsets = [log.append(p, tenant=t, kind=k, received_us=7).result() for p, t, k in records]
    found = list(log.read(0))
    assert [(r.payload, r.tenant, r.kind, r.received_us) for r in found] == [(p, t, k, 7) for p, t, k in records]
    assert [r.offset for r in found] == offsets and [r.end for r in found] == [*offsets[1:], log.end][: len(found)]
    for place, record in enumerate(found):
        assert [r.offset for r in log.read(record.end)] == offsets[place + 1 :]
    log.close()


def test_a_log_that_was_freed_goes_on_counting_after_a_restart(tmp_path: Path) -> None:
    """Offsets name what is in the lake: were they to begin again, new records would count as known."""
    log = WriteAheadLog(tmp_path, segment_bytes=100)
    for _ in range(10):
        log.append(b"x" * 80).result()
    end = log.end
    log.free(end)
    assert log.waiting_bytes == 0 and len(list(tmp_path.glob("*.wal"))) == 1
    log.close()
    again = WriteAheadLog(tmp_path, segment_bytes=100)
    assert again.end == end and again.append(b"y").result() == end
    assert [r.payload for r in again.read(end)] == [b"y"]
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 20, 21, 30, 40])
def test_a_torn_tail_is_cut_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    log = WriteAheadLog(tmp_path)
    for text in (b"first", b"second", b"third is a longer one"):
        log.append(text).result()
    log.close()
    (path,) = tmp_path.glob("*.wal")
    os.truncate(path, path.stat().st_size - cut)
    again = WriteAheadLog(tmp_path)
    assert [r.payload for r in again.read(0)] == [b"first", b"second"]
    assert again.cut_bytes == len(b"third is a longer one") + 19 - cut
    again.append(b"fourth").result()
    assert [r.payload for r in again.read(0)] == [b"first", b"second", b"fourth"]
    again.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_in_the_last_segment_never_gives_a_changed_record(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("wal")
    log = WriteAheadLog(folder, window_seconds=0)
    payloads = [bytes([i]) * (10 + i) for i in range(5)]
    for payload in payloads:
        log.append(payload).result()
    log.close()
    (path,) = folder.glob("*.wal")
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    again = WriteAheadLog(folder)
    found = [r.payload for r in again.read(0)]
    assert found == payloads[: len(found)] and len(found) < 5
    again.close()


def test_a_damaged_segment_before_the_last_is_an_error_not_a_gap(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, segment_bytes=60)
    for _ in range(4):
        log.append(b"x" * 50).result()
    log.close()
    first = sorted(tmp_path.glob("*.wal"))[0]
    first.write_bytes(first.read_bytes()[:-3])
    with pytest.raises(IntegrityError, match="missing or damaged"):
        WriteAheadLog(tmp_path)


def test_a_full_log_refuses_and_takes_again_once_freed(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, most_bytes=1000)
    log.append(b"x" * 600).result()
    with pytest.raises(LogFull) as error:
        log.append(b"x" * 600)
    assert error.value.retry_after > 0
    log.free(log.end)
    assert log.append(b"x" * 600).result() > 0
    assert [len(r.payload) for r in log.read(0)] == [600], "what was let go of is gone from disk"
    log.close()


def test_a_disk_that_refuses_tells_every_caller_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = WriteAheadLog(tmp_path, window_seconds=0.05)
    log.append(b"kept").result()
    real, broken = os.fdatasync, [True]

    def fdatasync(descriptor: int) -> None:
        if broken[0]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    refused = [log.append(b"lost" * 10) for _ in range(3)]
    for future in refused:
        with pytest.raises(EngineError, match="cannot be written"):
            future.result()
    broken[0] = False
    log.append(b"after").result()
    assert [r.payload for r in log.read(0)] == [b"kept", b"after"]
    log.close()
    again = WriteAheadLog(tmp_path)
    assert [r.payload for r in again.read(0)] == [b"kept", b"after"]
    again.close()


def test_closing_writes_what_is_queued_and_then_refuses(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path)
    futures = [log.append(b"x") for _ in range(50)]
    log.close()
    assert all(f.done() for f in futures) and len(list(log.read(0))) == 50
    with pytest.raises(EngineError, match="closed"):
        log.append(b"x")
    log.close()


_RUN = """
import sys, threading
from pathlib import Path
from jurat.telemetry.wal import WriteAheadLog
log = WriteAheadLog(Path(sys.argv[1]), segment_bytes=3000)
lock = threading.Lock()
def work(name):
    for i in range(100000):
        log.append(f"{name}-{i}".encode() * (1 + i % 40)).result()
        with lock:
            sys.stdout.write(f"{name}-{i}\\n"); sys.stdout.flush()
for n in range(4):
    threading.Thread(target=work, args=(f"{sys.argv[2]}.{n}",), daemon=True).start()
threading.Event().wait()
"""


def test_forty_kills_lose_and_double_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(5)
    acknowledged: list[str] = []
    for attempt in range(40):
        process = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path), str(attempt)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        # The last line may be cut by the kill; a line is written only after its acknowledgement.
        acknowledged += [line for line in (first + rest).decode().split("\n")[:-1] if line]
    log = WriteAheadLog(tmp_path)
    found = [r.payload.decode() for r in log.read(0)]
    log.close()
    present: dict[str, int] = {}
    for text in found:
        name = text.split("-")[0]
        number = text[len(name) + 1 :].split(name)[0]
        key = f"{name}-{number}"
        present[key] = present.get(key, 0) + 1
        assert text == key * (1 + int(number) % 40)
    assert len(acknowledged) > 200
    assert all(present.get(name) == 1 for name in acknowledged)
    assert all(count == 1 for count in present.values())
