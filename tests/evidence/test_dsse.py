"""Envelopes, with securesystemslib as the other implementation."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from jurat.errors import IntegrityError
from jurat.evidence.canonical import canonical_json
from jurat.evidence.dsse import (
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    open_envelope,
    pre_authentication_encoding,
    seal,
    statement,
)
from jurat.evidence.keys import PublicKey, SigningKey

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
DOCUMENT = statement("urn:example:1", {"claim": "naïve"}, subject={"a": "0" * 64})


def peer_key(key: PublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.raw), keyid=key.keyid)


def test_the_encoding_is_the_test_vector_of_the_dsse_protocol() -> None:
    assert (
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(st.characters(codec="utf-8")), st.binary())
def test_the_encoding_is_that_of_securesystemslib(kind: str, payload: bytes) -> None:
    assert pre_authentication_encoding(kind, payload) == Envelope(payload, kind, {}).pae()


def test_securesystemslib_verifies_our_envelopes_and_finds_them_forged() -> None:
    envelope = seal(DOCUMENT, [KEY, OTHER])
    peer = Envelope.from_dict(copy.deepcopy(envelope))
    assert set(peer.verify([peer_key(KEY.public), peer_key(OTHER.public)], threshold=2)) == {
        KEY.keyid,
        OTHER.keyid,
    }
    peer.payload += b" "
    with pytest.raises(VerificationError):
        peer.verify([peer_key(KEY.public)], threshold=1)


def test_a_statement_has_the_four_fields_of_in_toto_v1() -> None:
    assert {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
        "predicateType": "urn:example:1",
        "predicate": {"claim": "naïve"},
    } == DOCUMENT


def test_what_was_sealed_comes_out() -> None:
    assert open_envelope(seal(DOCUMENT, [KEY]), [OTHER.public, KEY.public], place="it") == DOCUMENT


def _forge(change: str) -> dict[str, Any]:
    envelope = seal(DOCUMENT, [KEY])
    signature = envelope["signatures"][0]
    if change == "payload":
        envelope["payload"] = base64.b64encode(canonical_json({**DOCUMENT, "predicate": {}})).decode()
    elif change == "type":
        envelope["payloadType"] = "text/plain"
    elif change == "signature":
        signature["sig"] = base64.b64encode(bytes(64)).decode()
    elif change == "short signature":
        signature["sig"] = "AAAA"
    elif change == "claimed key":
        signature["sig"] = seal(DOCUMENT, [OTHER])["signatures"][0]["sig"]
    return envelope


@pytest.mark.parametrize("change", ["payload", "type", "signature", "short signature", "claimed key"])
def test_a_forged_envelope_does_not_open(change: str) -> None:
    with pytest.raises(IntegrityError, match="altered"):
        open_envelope(_forge(change), [KEY.public], place="it")


def test_a_good_signature_over_another_payload_type_is_not_accepted() -> None:
    payload = canonical_json(DOCUMENT)
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "text/plain",
        "signatures": [
            {
                "keyid": KEY.keyid,
                "sig": base64.b64encode(KEY.sign(pre_authentication_encoding("text/plain", payload))).decode(),
            }
        ],
    }
    with pytest.raises(IntegrityError):
        open_envelope(envelope, [KEY.public], place="it")


def test_a_stranger_s_signature_is_another_key() -> None:
    with pytest.raises(IntegrityError, match="another key"):
        open_envelope(seal(DOCUMENT, [OTHER]), [KEY.public], place="it")
    with pytest.raises(IntegrityError, match="another key"):
        open_envelope({**seal(DOCUMENT, [KEY]), "signatures": []}, [KEY.public], place="it")


def test_four_eyes_need_two_different_keys() -> None:
    both = [KEY.public, OTHER.public]
    assert open_envelope(seal(DOCUMENT, [KEY, OTHER]), both, place="it", threshold=2) == DOCUMENT
    with pytest.raises(IntegrityError, match="enough"):
        open_envelope(seal(DOCUMENT, [KEY, KEY]), both, place="it", threshold=2)
    with pytest.raises(ValueError, match="threshold"):
        open_envelope(seal(DOCUMENT, [KEY]), both, place="it", threshold=0)


def test_nobody_s_signature_is_no_envelope() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        seal(DOCUMENT, [])


@pytest.mark.parametrize(
    "bad",
    [
        {},
        [],
        None,
        {"payload": 1, "payloadType": PAYLOAD_TYPE, "signatures": []},
        {"payload": "AB==", "payloadType": PAYLOAD_TYPE, "signatures": []},
        {"payload": "é", "payloadType": PAYLOAD_TYPE, "signatures": []},
        {"payload": "AAAA", "payloadType": PAYLOAD_TYPE, "signatures": ["x"]},
        {"payload": "AAAA", "payloadType": PAYLOAD_TYPE, "signatures": None},
    ],
)
def test_what_is_no_envelope_is_named(bad: Any) -> None:
    with pytest.raises(IntegrityError, match="the waiver is not a signed envelope"):
        open_envelope(bad, [KEY.public], place="the waiver")


@pytest.mark.parametrize("payload", [b"no json", b"[1]", b"\xff", b"[" * 200_000])
def test_a_signature_does_not_make_bytes_into_a_document(payload: bytes) -> None:
    sig = base64.b64encode(KEY.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))).decode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": KEY.keyid, "sig": sig}],
    }
    with pytest.raises(IntegrityError, match="holds no JSON"):
        open_envelope(envelope, [KEY.public], place="it")
