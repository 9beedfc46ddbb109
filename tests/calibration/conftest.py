"""Print what was measured: calibration is read as a table of rates, not as a row of dots."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List every rate that the calibration tests measured, passed or failed."""
    lines = [
        str(text)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, text in getattr(report, "user_properties", [])
        if name == "calibration"
    ]
    if lines:
        terminalreporter.section("calibration")
        for line in sorted(lines):
            terminalreporter.write_line(line)
