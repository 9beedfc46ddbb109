"""What a server compiles at its first request, compiled beforehand and kept: ``python -m jurat.cli.demo_warm``.

The decoder and the search for personal data are machine code that Numba makes once for each machine. Two processes make it at
the same time, one for each half; where it is there already they are done at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["compile_half", "is_compiled", "start_compiling"]

_HALVES = ("decoder", "redaction")
_PARTS = {"telemetry": "wire_kernel.scan-", "text": "pii_scan.find_candidates-"}


def is_compiled() -> bool:
    """Whether the machine code lies where Numba keeps it by default."""
    package = Path(__file__).resolve().parents[1]
    return all(any((package / part / "__pycache__").glob(f"{name}*.nbc")) for part, name in _PARTS.items())


def start_compiling() -> list[subprocess.Popen[bytes]]:
    """Begin to compile both halves, each in a process of its own; wait for them where the code is needed."""
    program = [sys.executable, "-m", "jurat.cli.demo_warm"]
    return [subprocess.Popen([*program, half], stderr=subprocess.DEVNULL) for half in _HALVES]


def compile_half(half: str) -> None:
    """Take a few calls through one half of what a server does.

    Parameters
    ----------
    half
        ``"decoder"`` or ``"redaction"``.

    Raises
    ------
    MissingExtra
        Where the packages of the server are not installed.
    """
    import datetime as dt

    from jurat.simulate.calls import simulate_calls
    from jurat.simulate.otlp import export_request

    if half == "redaction":
        from jurat.text.column import TextColumn
        from jurat.text.pii import pii_candidates, redact

        texts = TextColumn.of(["Write to a.b@example.org or call +1 202 555 0123.", "nothing here"])
        redact(texts, pii_candidates(texts))
        return
    from jurat.telemetry.aliases import load_aliases
    from jurat.telemetry.wire import decode_traces

    start = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
    calls = simulate_calls(start=start, days=0.05, rate=0.02, seed=1)
    decode_traces(export_request(calls.spans), encoding="protobuf", aliases=load_aliases())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compile_half(sys.argv[1])
    else:
        running = start_compiling()
        sys.exit(max(process.wait() for process in running))
