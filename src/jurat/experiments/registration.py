"""Locking a spec: a signed statement, entered into the ledger, made before the first outcome.

A locked spec may be edited, nobody can prevent it; but then the analysis says so, the results are exploratory, and a new
lock is a new version that names the one it replaces.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jurat.errors import SpecError, UsageError
from jurat.evidence.canonical import canonical_json
from jurat.evidence.dsse import open_named, seal, statement
from jurat.evidence.keys import SigningKey, home
from jurat.evidence.ledger import Ledger
from jurat.experiments.plan import Plan, plan_experiment
from jurat.experiments.spec import Experiment
from jurat.store.durable import write_atomically

__all__ = ["LOCK_TYPE", "Lock", "load_lock", "lock_path", "lock_spec", "standing"]

LOCK_TYPE = "urn:jurat:experiment-lock:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A spec's registration.

    Attributes
    ----------
    version
        1 for the first lock, one more for each that replaced another.
    time
        UTC time of the lock, ISO 8601.
    keyid
        Who signed.
    spec_sha256
        The spec that was locked.
    statement_sha256
        Digest of the signed statement.
    holds
        Whether the spec is still the one that was locked.
    underpowered
        The reason given for locking a plan whose power is below its target; ``None`` where the power suffices.
    """

    version: int
    time: str
    keyid: str
    spec_sha256: str
    statement_sha256: str
    holds: bool
    underpowered: str | None


def lock_path(spec: Path) -> Path:
    """File of a spec's lock: ``experiment.toml`` has ``experiment.lock.json``."""
    return spec.with_suffix(".lock.json")


def lock_spec(
    experiment: Experiment,
    key: SigningKey,
    *,
    again: bool = False,
    underpowered: str | None = None,
    now: dt.datetime | None = None,
) -> tuple[Lock, Plan]:
    """Lock a spec.

    Parameters
    ----------
    experiment
        The spec.
    key
        Signs the statement.
    again
        Lock an edited spec as a new version.
    underpowered
        Why a plan without enough power is locked all the same; it is entered into the statement.
    now
        Time of the lock; the present by default.

    Raises
    ------
    SpecError
        Where the plan's power for value or risk is below the target, with the remedy.
    UsageError
        Where the spec is locked already.
    """
    plan = plan_experiment(experiment)
    if not plan.sufficient and underpowered is None:
        raise SpecError(
            f"{experiment.path.name}: the plan cannot answer its question",
            seen="; ".join(plan.shortfalls),
            next_step=plan.remedy + "; or pass --underpowered 'reason' to lock it all the same",
        )
    path = lock_path(experiment.path)
    version, replaces = 1, None
    if path.is_file():
        before = load_lock(experiment)
        assert before is not None  # noqa: S101 - the file is there
        if before.holds:
            raise UsageError(
                "the spec is locked already", seen=str(path), next_step="analyse it; nothing is to be done"
            )
        if not again:
            raise UsageError(
                "an earlier version of the spec is locked",
                seen=f"version {before.version} of {before.time}",
                next_step="pass --again to lock the edited spec as a new version: results from before it are exploratory",
            )
        version, replaces = before.version + 1, before.statement_sha256
    time = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")
    predicate = {
        "id": experiment.document.id,
        "version": version,
        "time": time,
        "replaces": replaces,
        "hypothesis": experiment.document.hypothesis,
        "planned_clusters": experiment.document.inference.planned_clusters,
        "underpowered": None if plan.sufficient else underpowered,
        "public_key": key.public.raw.hex(),
    }
    sealed = seal(statement(LOCK_TYPE, predicate, subject={experiment.path.name: experiment.sha256}), [key])
    content = canonical_json(sealed) + b"\n"
    sha = hashlib.sha256(content).hexdigest()
    # Into the ledger first: a lock that nobody else can see is no lock.
    Ledger(home() / "ledger.jsonl", key).append(
        "experiment.locked",
        {"id": experiment.document.id, "version": version, "spec_sha256": experiment.sha256, "statement_sha256": sha},
    )
    write_atomically(path, content)
    lock = Lock(
        version=version, time=time, keyid=key.keyid, spec_sha256=experiment.sha256, statement_sha256=sha, holds=True,
        underpowered=predicate["underpowered"] if isinstance(predicate["underpowered"], str) else None,
    )  # fmt: skip
    return lock, plan


def load_lock(experiment: Experiment) -> Lock | None:
    """Read a spec's lock and hold the spec against it; ``None`` where it was never locked.

    Raises
    ------
    IntegrityError
        Where the statement itself was altered.
    """
    path = lock_path(experiment.path)
    if not path.is_file():
        return None
    raw = path.read_bytes()
    document, key = open_named(raw, predicate_type=LOCK_TYPE, place=f"the lock {path.name}")
    predicate = document["predicate"]
    locked = document["subject"][0]["digest"]["sha256"]
    return Lock(
        version=int(predicate["version"]),
        time=str(predicate["time"]),
        keyid=key.keyid,
        spec_sha256=locked,
        statement_sha256=hashlib.sha256(raw).hexdigest(),
        holds=locked == experiment.sha256,
        underpowered=predicate["underpowered"],
    )


def standing(lock: Lock | None, first_day: str | None) -> tuple[str, str]:
    """Say whether results are confirmatory or exploratory, and why.

    Parameters
    ----------
    lock
        From `load_lock`.
    first_day
        First day of the outcomes; ``None`` where the data do not say.

    Examples
    --------
    >>> standing(None, "2026-03-02")
    ('exploratory', 'the spec was never locked: it may have been written after the data were seen')
    """
    if lock is None:
        return "exploratory", "the spec was never locked: it may have been written after the data were seen"
    if not lock.holds:
        return "exploratory", f"the spec was edited after version {lock.version} was locked on {lock.time[:10]}"
    if first_day is None:
        return "exploratory", "the data carry no time, so nobody can tell whether they came after the lock"
    if lock.time[:10] > first_day:
        return "exploratory", f"the spec was locked on {lock.time[:10]}, after the first outcome of {first_day}"
    if lock.time[:10] == first_day:
        # Outcomes are known by their day: which came first on it, nobody can tell.
        return "exploratory", f"the spec was locked on the day of the first outcome, {first_day}, perhaps after it"
    return (
        "confirmatory",
        f"locked on {lock.time[:10]} as version {lock.version}, before the first outcome of {first_day}",
    )
