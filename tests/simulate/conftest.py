"""Two worlds for many tests: the safe win, and the same with every answered turn audited."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jurat.simulate.assistant import World, simulate_assistant
from jurat.simulate.parameters import AuditPlan, WorldParameters


@pytest.fixture(scope="session")
def world() -> World:
    """The default world."""
    return simulate_assistant(turns=24_000, seed=20261102, start=datetime(2026, 11, 2, tzinfo=UTC))


@pytest.fixture(scope="session")
def census() -> World:
    """A world in which humans look at every answered turn."""
    plan = AuditPlan(flagged_share=1.0, unflagged_share=1.0)
    return simulate_assistant(
        turns=30_000,
        seed=21,
        start=datetime(2026, 11, 2, tzinfo=UTC),
        parameters=WorldParameters(audit=plan),
    )
