"""The circuit breaker: who pulled a feature, when, why, and when it comes back by itself.

Open means that the feature is off. Every change is an entry of a ledger, and what is open follows from these entries alone:
nothing else is kept that could disagree with them. A breaker closes by itself when its time is over. Where a feature asks for two
people, the first only proposes; a monitor may propose, but never approve. A gateway reads `Breakers.answer`, or the file
``breaker.json`` beside the ledger.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jurat.errors import UnknownName, UsageError
from jurat.evidence.canonical import canonical_json
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger
from jurat.store.durable import locked, make_folder, write_atomically
from jurat.telemetry.breaker_states import BreakerState, FeaturePolicy, Outcome, Proposal, Wish, folded

__all__ = ["ENTRY_KIND", "BreakerState", "Breakers", "FeaturePolicy", "Outcome", "Proposal", "Wish", "folded"]

ENTRY_KIND = "breaker"
"""Kind of the ledger's entries."""

_MONITOR = "monitor:"
_LOCK_SECONDS = 10.0
_TRUSTED_SECONDS = 5
"""How long a gateway may go by an answer before it asks again."""


class Breakers:
    """The breakers of some features, over one ledger.

    Parameters
    ----------
    folder
        Holds ``breaker.jsonl`` (the ledger), its head, and ``breaker.json`` for gateways.
    key
        Signs the entries.
    policies
        The features that there are.

    Raises
    ------
    UsageError
        Where two policies are of one feature.

    Examples
    --------
    >>> import tempfile
    >>> now = dt.datetime(2026, 11, 2, 10, tzinfo=dt.UTC)
    >>> breakers = Breakers(Path(tempfile.mkdtemp()), SigningKey.generate(), [FeaturePolicy(feature="assistant")])
    >>> breakers.open("assistant", by="ada", reason="refusals up three points", now=now).done
    'opened'
    >>> later = now + dt.timedelta(minutes=61)
    >>> breakers.answer("assistant", now=now)["state"], breakers.answer("assistant", now=later)["state"]
    ('open', 'closed')
    """

    def __init__(self, folder: Path, key: SigningKey, policies: Iterable[FeaturePolicy]) -> None:
        self.folder = Path(folder)
        self.ledger = Ledger(self.folder / "breaker.jsonl", key)
        self.policies: dict[str, FeaturePolicy] = {}
        self._read: tuple[tuple[int, int], dict[str, BreakerState]] | None = None
        for policy in policies:
            if policy.feature in self.policies:
                raise UsageError("two policies of one feature", seen=repr(policy.feature), next_step="keep one")
            self.policies[policy.feature] = policy
        make_folder(self.folder)

    # Asking ---------------------------------------------------------------------------------------------------

    def state(self, feature: str, *, now: dt.datetime) -> BreakerState:
        """State of a feature's breaker at a moment; one whose time is over is closed, written down or not.

        Raises
        ------
        UnknownName
            For a feature without policy: a misspelt name must not read as closed.
        IntegrityError
            Where the ledger was altered.
        """
        self._policy(feature)
        held = self._states().get(feature, BreakerState(feature=feature))
        moment = _iso(now)
        if held.proposal is not None and held.proposal.lapses <= moment:
            held = replace(held, proposal=None)
        if held.state == "open" and held.expires is not None and held.expires <= moment:
            return replace(
                held, state="closed", reason=f"expired; was open: {held.reason}", since=held.expires, expires=None
            )
        return held

    def answer(self, feature: str, *, now: dt.datetime) -> dict[str, Any]:
        """Return the small document that a gateway acts on.

        Returns
        -------
        dict
            ``feature``, ``state`` (``"open"``: do not serve it), ``reason``, ``since``, ``expires``, ``by``, ``asked`` and
            ``ttl_seconds``.
        """
        found = self.state(feature, now=now)
        return {
            "feature": feature,
            "state": found.state,
            "reason": found.reason,
            "since": found.since,
            "expires": found.expires,
            "by": list(found.by),
            "asked": _iso(now),
            "ttl_seconds": _TRUSTED_SECONDS,
        }

    def history(self, feature: str | None = None) -> list[dict[str, Any]]:
        """Every change of a feature (of all by default) as the ledger has it, oldest first, with the entry's number."""
        if not self.ledger.path.exists():
            return []
        return [
            {"entry": entry.index, **entry.body}
            for entry in self.ledger.entries()
            if entry.kind == ENTRY_KIND and feature in (None, entry.body["feature"])
        ]

    def _policy(self, feature: str) -> FeaturePolicy:
        if feature not in self.policies:
            raise UnknownName("feature", feature, self.policies)
        return self.policies[feature]

    def _states(self) -> dict[str, BreakerState]:
        """Fold over the ledger, read again only where it has changed."""
        try:
            stat = self.ledger.path.stat()
        except FileNotFoundError:
            return {}
        stamp = (stat.st_size, stat.st_mtime_ns)
        if self._read is None or self._read[0] != stamp:
            states: dict[str, BreakerState] = {}
            for entry in self.ledger.entries():
                if entry.kind == ENTRY_KIND:
                    name = str(entry.body["feature"])
                    states[name] = folded(states.get(name, BreakerState(feature=name)), entry.body)
            self._read = (stamp, states)
        return self._read[1]

    # Acting ---------------------------------------------------------------------------------------------------

    def open(
        self,
        feature: str,
        *,
        by: str,
        reason: str,
        now: dt.datetime,
        minutes: float | None = None,
        evidence: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        """Pull a feature.

        Parameters
        ----------
        feature
            Which.
        by
            The person, or ``monitor:NAME``.
        reason
            In words; it is shown to those who ask.
        now
            Time, with its zone.
        minutes
            After how long it closes by itself; the policy's by default.
        evidence
            What it rests on (JSON types); goes into the ledger.
        dry_run
            Say what would happen, and write nothing.

        Raises
        ------
        UnknownName
            For a feature without policy.
        UsageError
            Without person or reason, or where the same person proposes and approves.
        """
        policy = self._policy(feature)
        length = policy.open_minutes if minutes is None else minutes
        if length <= 0:
            raise UsageError("a breaker opens for a positive time", seen=repr(length), next_step="give minutes")
        act = _Act("open", feature, by, reason, now, length, evidence)
        return self._do(policy, act, dry_run=dry_run)

    def close(self, feature: str, *, by: str, reason: str, now: dt.datetime, dry_run: bool = False) -> Outcome:
        """Put a feature back; parameters and errors as in `open`."""
        policy = self._policy(feature)
        act = _Act("close", feature, by, reason, now, policy.open_minutes, None)
        return self._do(policy, act, dry_run=dry_run)

    def settle(self, *, now: dt.datetime) -> list[Outcome]:
        """Write down what expired since the last look, so that the ledger tells every change; call it now and then."""
        with locked(self.folder / ".lock", wait_seconds=_LOCK_SECONDS):
            return self._expired(now)

    def _expired(self, now: dt.datetime) -> list[Outcome]:
        written = []
        for feature, held in sorted(self._states().items()):
            if held.state == "open" and held.expires is not None and held.expires <= _iso(now):
                body = {
                    "feature": feature,
                    "did": "expired",
                    "reason": f"expired; was open: {held.reason}",
                    "by": [],
                    "time": held.expires,
                }
                written.append(self._write("closed", body, now))
        return written

    def _do(self, policy: FeaturePolicy, act: _Act, *, dry_run: bool) -> Outcome:
        if not act.by.strip() or not act.reason.strip():
            raise UsageError("a change needs a person and a reason", seen=f"by={act.by!r}, reason={act.reason!r}")
        with locked(self.folder / ".lock", wait_seconds=_LOCK_SECONDS):
            if not dry_run:
                self._expired(act.now)
            held = self.state(policy.feature, now=act.now)
            if (held.state == "open") == (act.wish == "open"):
                return Outcome(done="nothing", dry_run=dry_run, state=held)
            approvers = self._approved(policy, act, held.proposal)
            if approvers is None:
                waits = held.proposal is not None and held.proposal.wish == act.wish
                if waits:
                    # A monitor says the same again every so often; the first proposal stands.
                    return Outcome(done="nothing", dry_run=dry_run, state=held)
                return self._finished("proposed", self._proposed(policy, act), act, held, dry_run=dry_run)
            did: Literal["opened", "closed"] = "opened" if act.wish == "open" else "closed"
            minutes = held.proposal.minutes if held.proposal and len(approvers) > 1 else act.minutes
            body: dict[str, Any] = {
                "feature": policy.feature,
                "did": did,
                "reason": act.reason,
                "by": approvers,
                "time": _iso(act.now),
            }
            if act.wish == "open":
                body["expires"] = _iso(act.now + dt.timedelta(minutes=minutes))
            if act.evidence is not None:
                body["evidence"] = dict(act.evidence)
            return self._finished(did, body, act, held, dry_run=dry_run)

    def _approved(self, policy: FeaturePolicy, act: _Act, proposal: Proposal | None) -> list[str] | None:
        """Who answers for the act; ``None`` where a second person must first agree."""
        if act.wish not in policy.two_person:
            return [act.by]
        if proposal is None or proposal.wish != act.wish or act.by.startswith(_MONITOR):
            return None
        if proposal.by == act.by:
            raise UsageError(
                f"{policy.feature} asks for two people to {act.wish} its breaker",
                seen=f"{act.by} proposed it at {proposal.time}",
                next_step="somebody else must approve",
            )
        return [proposal.by, act.by]

    def _proposed(self, policy: FeaturePolicy, act: _Act) -> dict[str, Any]:
        proposal = Proposal(
            wish=act.wish,
            by=act.by,
            reason=act.reason,
            time=_iso(act.now),
            lapses=_iso(act.now + dt.timedelta(minutes=policy.proposal_minutes)),
            minutes=act.minutes,
        )
        body: dict[str, Any] = {
            "feature": policy.feature,
            "did": "proposed",
            "reason": act.reason,
            "by": [act.by],
            "time": _iso(act.now),
            "proposal": asdict(proposal),
        }
        if act.evidence is not None:
            body["evidence"] = dict(act.evidence)
        return body

    def _finished(
        self,
        done: Literal["opened", "closed", "proposed"],
        body: dict[str, Any],
        act: _Act,
        held: BreakerState,
        *,
        dry_run: bool,
    ) -> Outcome:
        if dry_run:
            return Outcome(done=done, dry_run=True, state=folded(held, body))
        return self._write(done, body, act.now)

    def _write(self, done: Literal["opened", "closed", "proposed"], body: dict[str, Any], now: dt.datetime) -> Outcome:
        """Swear it first, then tell the gateways: a kill between the two is mended by whoever asks next."""
        entry = self.ledger.append(ENTRY_KIND, body)
        feature = str(body["feature"])
        document = {name: self.answer(name, now=now) for name in sorted(self.policies)}
        write_atomically(self.folder / "breaker.json", canonical_json(document) + b"\n")
        state = self.state(feature, now=now) if feature in self.policies else self._states()[feature]
        return Outcome(done=done, dry_run=False, state=state, entry=entry.index)


@dataclass(frozen=True, slots=True)
class _Act:
    wish: Wish
    feature: str
    by: str
    reason: str
    now: dt.datetime
    minutes: float
    evidence: Mapping[str, Any] | None


def _iso(moment: dt.datetime) -> str:
    if moment.tzinfo is None:
        raise UsageError("a time needs its zone", seen=str(moment), next_step="give it in UTC")
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds")
