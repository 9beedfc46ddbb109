"""Waivers: somebody answers, by name and for a time, for going on although a clause did not clear.

A waiver is a signed statement bound to one clause of one bar (by digest), with owner, scope, expiry and rationale. It sets
aside a violated or undecided clause; never a hard line, never a failed validity check, never missing evidence. Verdict
and dossier show every waiver, with or without force.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jurat.errors import SpecError, UnknownName
from jurat.evidence.canonical import canonical_json
from jurat.evidence.dsse import open_named, seal, statement
from jurat.evidence.keys import SigningKey, home
from jurat.evidence.ledger import Ledger
from jurat.launch.bar import Bar, Clause
from jurat.store.durable import write_atomically

__all__ = ["WAIVER_TYPE", "Waiver", "load_waiver", "sign_waiver"]

WAIVER_TYPE = "urn:jurat:waiver:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A waiver whose signature was verified.

    Attributes
    ----------
    clause, bar_sha256
        What it sets aside: a clause's name, in the bar with this digest.
    owner, scope, rationale
        Who answers for it, what it covers, and why.
    expires
        Last day it holds (UTC), ISO 8601.
    signed
        When it was signed, ISO 8601.
    keyid
        Key it was signed with.
    approvers
        Keys the bar accepted at signing; empty where the bar names none.
    raw
        The signed file, to be kept with the review.
    """

    clause: str
    bar_sha256: str
    owner: str
    scope: str
    rationale: str
    expires: str
    signed: str
    keyid: str
    approvers: tuple[str, ...]
    raw: bytes

    def why_void(self, clause: Clause, *, bar_sha256: str, now: dt.datetime) -> str | None:
        """Say why the waiver has no force on a clause; ``None`` where it has."""
        if clause.name != self.clause:
            return f"It is for the clause {self.clause!r}."
        if not clause.tradeable:
            return "A hard line cannot be waived."
        if bar_sha256 != self.bar_sha256:
            return f"It was signed for another bar ({self.bar_sha256[:8]})."
        if self.approvers and self.keyid not in self.approvers:
            return "Its key is not one of the bar's approvers."
        if now.astimezone(dt.UTC).date() > dt.date.fromisoformat(self.expires):
            return f"It expired on {self.expires}."
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, without the signed bytes."""
        document = asdict(self)
        del document["raw"]
        document["approvers"] = list(self.approvers)
        return document


def sign_waiver(
    bar: Bar,
    clauses: Sequence[Clause],
    key: SigningKey,
    *,
    clause: str,
    owner: str,
    scope: str,
    expires: dt.date,
    rationale: str,
    out: Path,
) -> Waiver:
    """Sign a waiver and write it.

    Parameters
    ----------
    bar, clauses
        The bar and its clauses.
    key
        Signs it.
    clause, owner, scope, expires, rationale
        As in `Waiver`.
    out
        File to write.

    Raises
    ------
    UnknownName
        Where the bar has no such clause.
    SpecError
        For a hard line, an expiry in the past, or an empty owner, scope or rationale.
    """
    by_name = {c.name: c for c in clauses}
    if clause not in by_name:
        raise UnknownName("clause", clause, by_name, place=bar.path.name)
    if not by_name[clause].tradeable:
        raise SpecError(
            "a hard line cannot be waived", seen=repr(clause), next_step="change the release, or freeze another bar"
        )
    now = dt.datetime.now(dt.UTC)
    if expires < now.date():
        raise SpecError("the waiver has expired already", seen=expires.isoformat(), next_step="give a day to come")
    for name, text in (("owner", owner), ("scope", scope), ("rationale", rationale)):
        if not text.strip():
            raise SpecError(f"a waiver needs its {name}", seen="an empty text", next_step=f"pass --{name}")
    predicate = {
        "clause": clause,
        "owner": owner,
        "scope": scope,
        "rationale": rationale,
        "expires": expires.isoformat(),
        "signed": now.isoformat(timespec="seconds"),
        "approvers": list(bar.document.approvers),
        "public_key": key.public.raw.hex(),
    }
    sealed = seal(statement(WAIVER_TYPE, predicate, subject={"bar": bar.sha256}), [key])
    Ledger(home() / "ledger.jsonl", key).append("waiver.signed", {**predicate, "bar_sha256": bar.sha256})
    write_atomically(out, canonical_json(sealed) + b"\n")
    return load_waiver(out)


def load_waiver(path: Path) -> Waiver:
    """Read a waiver and check its signature against the key it names.

    Raises
    ------
    SpecError
        Where there is no such file.
    IntegrityError
        Where it was altered, or is no waiver.
    """
    if not path.is_file():
        raise SpecError("no such waiver", seen=str(path), next_step="jurat bar waive signs one")
    raw = path.read_bytes()
    document, key = open_named(raw, predicate_type=WAIVER_TYPE, place=f"the waiver {path.name}")
    p = document["predicate"]
    return Waiver(
        clause=p["clause"],
        bar_sha256=document["subject"][0]["digest"]["sha256"],
        owner=p["owner"],
        scope=p["scope"],
        rationale=p["rationale"],
        expires=p["expires"],
        signed=p["signed"],
        keyid=key.keyid,
        approvers=tuple(p["approvers"]),
        raw=raw,
    )
