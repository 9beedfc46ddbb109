"""Reading what people wrote: only for those who may, for a reason, and only once the ledger says so.

Text is stored redacted, and still it is theirs. Who reveals a conversation must have the role ``annotate`` or ``approve`` and
say why; who, what, why and when are on disk and signed before the first character is read from the table of texts. Where
that entry cannot be made, nothing is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.errors import UnknownName, UsageError
from jurat.evidence.keys import home, load_or_create_key
from jurat.evidence.ledger import Ledger
from jurat.store.control import AccessDenied
from jurat.telemetry.conversations import OF_ONE_CONVERSATION
from jurat.telemetry.tenant_view import TenantView

__all__ = ["REVEALING_ROLES", "Reader", "Revealed", "RevealedTurn", "ledger_of_reveals", "reveal_conversation"]

REVEALING_ROLES = frozenset({"annotate", "approve"})
"""Roles of which one is needed to read text."""

LEAST_REASON, MOST_REASON = 8, 500
_MOST_TURNS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who asks: the name on the person's key, its tenant and its roles."""

    name: str
    tenant: str
    roles: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedTurn:
    """Stored text of a turn, redacted as it was stored, and the comments people left on it."""

    span_id: str
    prompt: str | None
    response: str | None
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """Text of a conversation.

    Attributes
    ----------
    turns
        By the id of the turn.
    entry
        Number of the ledger's entry, where the ledger gives one.
    """

    turns: Mapping[str, RevealedTurn]
    entry: int | None


def ledger_of_reveals(folder: Path | None = None) -> Callable[[Mapping[str, Any]], int]:
    """Make the record of reveals: entries of kind ``text.revealed`` in the home's ledger.

    Parameters
    ----------
    folder
        The home; `jurat.evidence.keys.home` by default.

    Returns
    -------
    Callable
        Appends a body and gives the entry's number once it is on disk.
    """
    place = folder or home()

    def record(body: Mapping[str, Any]) -> int:
        return Ledger(place / "ledger.jsonl", load_or_create_key(place)).append("text.revealed", body).index

    return record


def reveal_conversation(
    view: TenantView, identifier: str, *, reader: Reader, reason: str, record: Callable[[Mapping[str, Any]], int | None]
) -> Revealed:
    """Give the stored text of a conversation, after that was recorded.

    Parameters
    ----------
    view
        A lake as the reader's tenant sees it.
    identifier
        Id of the conversation.
    reader
        Who asks.
    reason
        Why, in 8 to 500 characters.
    record
        Puts an entry on disk; see `ledger_of_reveals`. Where it raises, nothing is read.

    Returns
    -------
    Revealed
        Text of at most the first thousand turns.

    Raises
    ------
    AccessDenied
        Without one of the roles, or with a view of another tenant.
    UsageError
        For a reason that is none.
    UnknownName
        Where the tenant has no such conversation.
    """
    if not REVEALING_ROLES & set(reader.roles) or reader.tenant != view.tenant:
        raise AccessDenied(
            "the key does not open this",
            next_step=f"ask an administrator for a key with the role {' or '.join(sorted(REVEALING_ROLES))}",
        )
    why = " ".join(reason.split())
    # Signs that nobody sees, or one letter again and again, say nothing.
    letters = len(set(filter(str.isalnum, why)))
    if not LEAST_REASON <= len(why) <= MOST_REASON or letters < LEAST_REASON // 2:
        raise UsageError(
            "a reveal needs a reason",
            seen=f"{len(why)} characters" if letters >= LEAST_REASON // 2 else "no words",
            next_step=f"say in {LEAST_REASON} to {MOST_REASON} characters why this text must be read",
        )
    turns = view.query(_TURNS, parameters={"one": identifier}).column("span_id").to_pylist()
    if not turns:
        raise UnknownName("conversation", identifier, ())
    # Digests say exactly what was shown, and hold no word of it.
    held = view.query(_DIGESTS, parameters={"one": identifier}).to_pylist()
    shown = "\n".join(f"{row['span_id']} {row['sha256']}" for row in held)
    entry = record(
        {
            "who": reader.name,
            "tenant": reader.tenant,
            "conversation": identifier,
            "turns": len(turns),
            "texts": len(held),
            "texts_sha256": hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest(),
            "reason": why,
        }
    )
    return Revealed(turns=_texts(view, identifier, turns), entry=entry)


# Only constants are pasted; the id of the conversation is bound.
_OWN = f"span_id IN (SELECT span_id FROM spans WHERE {OF_ONE_CONVERSATION} ORDER BY ts_us LIMIT {_MOST_TURNS})"  # noqa: S608
_TURNS = f"SELECT span_id FROM spans WHERE {OF_ONE_CONVERSATION} ORDER BY ts_us LIMIT {_MOST_TURNS}"  # noqa: S608
# Words that another organisation sent under the id of one of these turns are not theirs.
_OF_THEIRS = f"(org_id IS NULL OR org_id IN (SELECT org_id FROM spans WHERE {OF_ONE_CONVERSATION}))"  # noqa: S608
_DIGESTS = f"SELECT DISTINCT span_id, sha256 FROM span_text WHERE {_OWN} AND {_OF_THEIRS} ORDER BY span_id, sha256"  # noqa: S608
_TEXTS = f"SELECT span_id, prompt, response FROM span_text WHERE {_OWN} AND {_OF_THEIRS}"  # noqa: S608
_COMMENTS = f"SELECT span_id, text FROM feedback WHERE text IS NOT NULL AND {_OWN} ORDER BY ts, feedback_id"  # noqa: S608


def _texts(view: TenantView, identifier: str, turns: Collection[str]) -> dict[str, RevealedTurn]:
    comments: dict[str, tuple[str, ...]] = {}
    for row in view.query(_COMMENTS, parameters={"one": identifier}).to_pylist():
        comments[row["span_id"]] = (*comments.get(row["span_id"], ()), row["text"])
    texts = {row["span_id"]: row for row in view.query(_TEXTS, parameters={"one": identifier}).to_pylist()}
    return {
        span: RevealedTurn(
            span_id=span,
            prompt=texts[span]["prompt"] if span in texts else None,
            response=texts[span]["response"] if span in texts else None,
            comments=comments.get(span, ()),
        )
        for span in turns
        if span in texts or span in comments
    }
