"""A process that takes days into a state and is killed at a chosen place; run as a script by `test_state`.

It imports once and forks a life for each place, so that a kill costs milliseconds: SIGKILL before or after the n-th of the
calls by which the state reaches the disk (syncs, renames, removals, files written).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jurat.experiments.run import run_monitoring


def deadly(function: Callable[..., Any], calls: count[int], crash_at: int) -> Callable[..., Any]:
    """The same call, but the process dies before it at an even place, after it at an odd one."""

    def called(*arguments: Any, **named: Any) -> Any:
        call = next(calls)
        if call * 2 == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
        found = function(*arguments, **named)
        if call * 2 + 1 == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return called


def live(request: dict[str, Any]) -> None:
    """Update the state of a spec, to the end or to death."""
    calls = count()
    os.fsync = deadly(os.fsync, calls, request["crash_at"])
    Path.replace = deadly(Path.replace, calls, request["crash_at"])  # type: ignore[method-assign]
    Path.unlink = deadly(Path.unlink, calls, request["crash_at"])  # type: ignore[method-assign]
    pq.write_table = deadly(pq.write_table, calls, request["crash_at"])
    run_monitoring(Path(request["spec"]), state=Path(request["state"]))


def main() -> None:
    """One life per line of stdin; its exit status is the answer."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                live(json.loads(line))
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
                os._exit(1)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
