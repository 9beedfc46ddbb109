"""Signed envelopes that any DSSE verifier can open, around in-toto statements.

The Dead Simple Signing Envelope signs type and payload together through the pre-authentication encoding, so
that a payload can never be taken for one of another type. Payloads here are in-toto Statement v1 documents
in canonical JSON.

References
----------
DSSE v1.0.2 (secure-systems-lab, 2022). in-toto Attestation Framework, Statement v1 (2023).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from jurat.errors import IntegrityError
from jurat.evidence.canonical import canonical_json, parse_json
from jurat.evidence.keys import PublicKey, SigningKey

__all__ = [
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "open_envelope",
    "open_named",
    "pre_authentication_encoding",
    "seal",
    "statement",
]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Bytes that are signed: type and payload with their lengths.

    Examples
    --------
    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement(predicate_type: str, predicate: Mapping[str, Any], *, subject: Mapping[str, str]) -> dict[str, Any]:
    """Lay out an in-toto Statement v1.

    Parameters
    ----------
    predicate_type
        URI of what is claimed.
    predicate
        The claim.
    subject
        What it is claimed of: name to SHA-256 in hex.

    Examples
    --------
    >>> statement("urn:example:1", {"holds": True}, subject={"verdict.json": "00" * 32})["subject"][0]["name"]
    'verdict.json'
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha}} for name, sha in subject.items()],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def seal(document: Mapping[str, Any], keys: Sequence[SigningKey]) -> dict[str, Any]:
    """Sign a document with one or more keys.

    Parameters
    ----------
    document
        Plain JSON types, as `statement` makes them.
    keys
        At least one.

    Returns
    -------
    dict
        ``payload`` (base64 of canonical JSON), ``payloadType``, ``signatures``.

    Raises
    ------
    ValueError
        Where no key is given, or the document is not plain JSON.

    Examples
    --------
    >>> envelope = seal({"a": 1}, [SigningKey.generate()])
    >>> envelope["payload"], envelope["payloadType"]
    ('eyJhIjoxfQ==', 'application/vnd.in-toto+json')
    """
    if not keys:
        raise ValueError("an envelope needs at least one key to sign it, got none")
    payload = canonical_json(document)
    message = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode()} for key in keys],
    }


def open_envelope(
    envelope: Mapping[str, Any], keys: Sequence[PublicKey], *, place: str, threshold: int = 1
) -> dict[str, Any]:
    """Check an envelope against trusted keys and return the document in it.

    Parameters
    ----------
    envelope
        As `seal` makes it.
    keys
        Keys that are trusted.
    place
        What is being opened, for the message.
    threshold
        How many different trusted keys must have signed; one is enough by default.

    Raises
    ------
    IntegrityError
        Where the envelope is malformed, no signature is by a trusted key, or fewer than ``threshold`` of
        them hold.

    Examples
    --------
    >>> author, approver = SigningKey.generate(), SigningKey.generate()
    >>> envelope = seal({"waive": "latency"}, [author, approver])
    >>> open_envelope(envelope, [author.public, approver.public], place="the waiver", threshold=2)
    {'waive': 'latency'}
    """
    if threshold < 1:
        raise ValueError(f"threshold must be at least 1, got {threshold}")
    try:
        payload = _decode(envelope["payload"])
        signatures = [(str(s["keyid"]), _decode(s["sig"])) for s in envelope["signatures"]]
        kind = envelope["payloadType"]
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise IntegrityError(
            f"{place} is not a signed envelope",
            seen=str(error),
            next_step="restore it from an untouched copy",
        ) from error
    trusted = {key.keyid: key for key in keys}
    known = [(trusted[keyid], signature) for keyid, signature in signatures if keyid in trusted]
    if not known:
        raise IntegrityError(
            f"{place} is signed by another key",
            seen=", ".join(keyid[:16] for keyid, _ in signatures) or "no signature",
            next_step=f"expected key {', '.join(k[:16] for k in trusted)}; if you trust it, pass --key",
        )
    message = pre_authentication_encoding(str(kind), payload)
    holding = {key.keyid for key, signature in known if key.verifies(signature, message)}
    if kind != PAYLOAD_TYPE or not holding:
        raise IntegrityError(
            f"{place} was altered after it was signed",
            seen="its signature does not hold",
            next_step="restore it from an untouched copy",
        )
    if len(holding) < threshold:
        raise IntegrityError(
            f"{place} is not signed by enough trusted keys",
            seen=f"{len(holding)} of the {threshold} that are demanded",
            next_step="have the others sign it",
        )
    return _document(payload, place)


def _document(payload: bytes, place: str) -> dict[str, Any]:
    """Parse what was signed; a signature does not make bytes into JSON."""
    try:
        document = parse_json(payload)
    except ValueError as error:
        raise IntegrityError(
            f"{place} was signed, but holds no JSON", seen=str(error), next_step="ask the signer what it is"
        ) from error
    if not isinstance(document, dict):
        raise IntegrityError(
            f"{place} was signed, but holds no JSON object",
            seen=type(document).__name__,
            next_step="ask the signer what it is",
        )
    return document


def open_named(raw: bytes, *, predicate_type: str, place: str) -> tuple[dict[str, Any], PublicKey]:
    """Open a file that carries its signer's key in the predicate, as freezes and waivers do.

    It shows that nothing changed since that key signed; whose key it is, the reader judges by its id.

    Parameters
    ----------
    raw
        The file: one envelope in canonical JSON with the predicate's ``public_key`` in hex, and a line end.
    predicate_type
        What it must be.
    place
        How to call it in messages.

    Raises
    ------
    IntegrityError
        Where it is of another type, not in canonical form, or its signature does not hold.
    """
    try:
        envelope = parse_json(raw)
        claimed = parse_json(_decode(envelope["payload"]))
        key = PublicKey(bytes.fromhex(claimed["predicate"]["public_key"]))
        if claimed["predicateType"] != predicate_type:
            raise ValueError(f"it is a {claimed['predicateType']!r}")
        if len(key.raw) != 32 or canonical_json(envelope) + b"\n" != raw:
            raise ValueError("it is not in canonical form")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{place} was altered, or is something else",
            seen=str(error),
            next_step="restore it from an untouched copy, or sign it anew",
        ) from error
    return open_envelope(envelope, [key], place=place), key


def _decode(text: str) -> bytes:
    """Decode base64 that has exactly one spelling; a flipped unused bit is an error, not another spelling."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 is not in its canonical spelling")
    return raw
