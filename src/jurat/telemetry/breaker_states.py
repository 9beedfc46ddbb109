"""What a feature's breaker is: its policy, its state, what waits for a second person, and how an entry changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["BreakerState", "FeaturePolicy", "Outcome", "Proposal", "Wish", "folded"]

Wish = Literal["open", "close"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePolicy:
    """How a feature's breaker may be used.

    Attributes
    ----------
    feature
        Its name.
    two_person
        Which acts need two people: ``"open"``, ``"close"``.
    open_minutes
        After how long an open breaker closes by itself, where nothing else is said.
    proposal_minutes
        How long a proposal waits for the second person.
    """

    feature: str
    two_person: frozenset[Wish] = frozenset()
    open_minutes: float = 60.0
    proposal_minutes: float = 60.0

    def __post_init__(self) -> None:
        if not self.feature or self.open_minutes <= 0 or self.proposal_minutes <= 0:
            raise ValueError(
                f"a feature needs a name and positive times, got {self.feature!r}, {self.open_minutes!r}, "
                f"{self.proposal_minutes!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What one person (or a monitor) asks another to approve; times in ISO 8601, UTC."""

    wish: Wish
    by: str
    reason: str
    time: str
    lapses: str
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """One feature's breaker; times in ISO 8601, UTC.

    Attributes
    ----------
    feature, state
        Which, and whether it is open (the feature is off).
    reason, since, by
        Of the last change; empty where there was none.
    expires
        When an open breaker closes by itself.
    proposal
        What waits for a second person.
    """

    feature: str
    state: Literal["open", "closed"] = "closed"
    reason: str = "never opened"
    since: str | None = None
    by: tuple[str, ...] = ()
    expires: str | None = None
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an act did, or would have done.

    Attributes
    ----------
    done
        ``"opened"``, ``"closed"``, ``"proposed"``, or ``"nothing"`` where it was so already.
    dry_run
        Whether nothing was written.
    state
        Afterwards.
    entry
        Number of the ledger's entry; ``None`` where none was written.
    """

    done: Literal["opened", "closed", "proposed", "nothing"]
    dry_run: bool
    state: BreakerState
    entry: int | None = None


def folded(state: BreakerState, body: Mapping[str, Any]) -> BreakerState:
    """State after one entry; all that is known follows from a fold over the entries.

    Parameters
    ----------
    state
        Before.
    body
        The entry's body, as `Breakers` writes it.

    Examples
    --------
    >>> body = {"feature": "search", "did": "opened", "reason": "errors", "by": ["ada"],
    ...         "time": "2026-11-02T10:00:00+00:00", "expires": "2026-11-02T11:00:00+00:00"}
    >>> folded(BreakerState(feature="search"), body).state
    'open'
    """
    did = body["did"]
    if did == "proposed":
        return replace(state, proposal=Proposal(**body["proposal"]))
    return replace(
        state,
        state="open" if did == "opened" else "closed",
        reason=str(body["reason"]),
        since=str(body["time"]),
        by=tuple(body["by"]),
        expires=body.get("expires"),
        proposal=None,
    )
