"""A writer to be killed. It forks from a process that has imported everything, so that a life costs milliseconds.

Each line on stdin is a request in JSON; the answers are the writer's process id and, once it is dead, its exit status.
An acknowledgement is one line in a file, written after the call returned: what a client would have been told.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset

from jurat.store.lake import Lake

TABLE = "exposures"
ROWS = 3


def rows_of(writer: str, number: int) -> pa.Table:
    """Rows of a writer's n-th append."""
    return pa.table({"unit_id": [f"{writer}-{number}-{i}" for i in range(ROWS)]})


def write_for_ever(lake: Lake, request: dict[str, Any], acknowledge: Callable[..., None]) -> None:
    """Append without end; keep house in between, where asked to."""
    choice = random.Random(request["seed"])
    for number in count(request["first"]):
        version = lake.append(TABLE, rows_of(request["writer"], number), transaction=(request["writer"], number + 1))
        acknowledge("append", number, version)
        work = choice.choice(request["work"])
        if work == "snapshot":
            acknowledge("snapshot", lake.snapshot().id)
        elif work == "compact":
            lake.compact(TABLE)
        elif work == "vacuum":
            lake.vacuum(TABLE, retain_hours=0, dry_run=False)


def do_once(lake: Lake, request: dict[str, Any], acknowledge: Callable[..., None]) -> None:
    """Do one thing, and die at a chosen sync: before it where ``crash_at`` is even, after it where it is odd."""
    sync, calls = os.fsync, count()

    def deadly(descriptor: int) -> None:
        call = next(calls)
        if call * 2 == request["crash_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)
        if call * 2 + 1 == request["crash_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = deadly  # type: ignore[assignment]
    act: dict[str, Callable[[], object]] = {
        "append": lambda: lake.append(TABLE, rows_of("w", request["first"]), transaction=("w", request["first"] + 1)),
        "compact": lambda: lake.compact(TABLE),
        "snapshot": lambda: lake.snapshot().id,
        "vacuum": lambda: lake.vacuum(TABLE, retain_hours=0, dry_run=False),
    }
    acknowledge(request["work"], act[request["work"]]())


def live(request: dict[str, Any]) -> None:
    """Do what was asked until it is done or the process is killed."""
    descriptor = os.open(request["acknowledged"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def acknowledge(*words: object) -> None:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())

    life = do_once if "crash_at" in request else write_for_ever
    life(Lake(Path(request["root"])), request, acknowledge)


def main() -> None:
    """Serve requests; one life each, and two answers."""
    for line in sys.stdin:
        pids = []
        for request in json.loads(line):
            pid = os.fork()
            if pid == 0:
                try:
                    live(request)
                    os._exit(0)
                except BaseException as error:
                    sys.stderr.write(f"{error!r}\n")
                    sys.stderr.flush()
                    os._exit(1)
            pids.append(pid)
        print(json.dumps(pids), flush=True)
        print(json.dumps([os.waitpid(pid, 0)[1] for pid in pids]), flush=True)


if __name__ == "__main__":
    main()
