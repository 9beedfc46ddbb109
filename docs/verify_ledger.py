"""Check a Jurat ledger without Jurat: python verify_ledger.py LEDGER [PUBLIC_KEY].

Needs Python 3.9 and the package `cryptography`, nothing else. Each line is a DSSE envelope around an in-toto statement.
The signature covers type and payload; the chain is the SHA-256 of the line before, taken over its bytes as they stand, so
nothing has to be put into canonical form again. The head (LEDGER with the suffix .head.json) is signed too and names
count and last hash. Without PUBLIC_KEY (PEM) the ledger's own key is used: that shows nothing changed, not who signed.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def opened(line, key, predicate_type):
    """Return the predicate of a signed line, or raise."""
    envelope = json.loads(line)
    # The envelope holds only ASCII strings, for which this is the canonical form: no byte of the line is free.
    assert json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() == line, "it is not canonical"
    assert set(envelope) == {"payload", "payloadType", "signatures"}, "it is not an envelope"
    payload, kind = base64.b64decode(envelope["payload"], validate=True), envelope["payloadType"].encode()
    assert base64.b64encode(payload).decode() == envelope["payload"], "its base64 is not canonical"
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    (signature,) = envelope["signatures"]
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert signature["keyid"] == hashlib.sha256(raw).hexdigest(), "it is signed by another key"
    key.verify(base64.b64decode(signature["sig"], validate=True), message)
    statement = json.loads(payload)
    assert statement["predicateType"] == predicate_type, "it is of another type"
    return statement["predicate"]


def verify(path, pem=None):
    """Return count, last hash and entries past the head; raise with the place of the first fault."""
    place, previous, hashes = "the ledger", "0" * 64, []
    try:
        *lines, torn = path.read_bytes().split(b"\n")
        genesis = json.loads(base64.b64decode(json.loads(lines[0])["payload"]))
        own = base64.b64decode(genesis["predicate"]["body"]["public_key"])
        key = load_pem_public_key(pem) if pem else Ed25519PublicKey.from_public_bytes(own)
        for index, line in enumerate(lines):
            place = "entry %d (line %d)" % (index, index + 1)
            entry = opened(line, key, "urn:jurat:ledger-entry:1")
            assert entry["index"] == index, "it holds entry %s: dropped, repeated or moved" % entry["index"]
            assert entry["previous"] == previous, "the chain breaks here"
            previous = hashlib.sha256(line).hexdigest()
            hashes.append(previous)
        place = "entry %d (line %d)" % (len(lines), len(lines) + 1)
        assert not torn, "its line does not end"
        *heads, end = path.with_suffix(".head.json").read_bytes().split(b"\n")
        head = opened(heads[0], key, "urn:jurat:ledger-head:1")
        assert len(heads) == 1 and not end, "the head has more than one line"
        assert head["count"] <= len(hashes), "it is missing; the head names %d" % head["count"]
        assert head["last"] == hashes[head["count"] - 1], "the head was signed over another ledger"
    except Exception as fault:
        raise SystemExit("BAD %s: %s" % (place, fault or type(fault).__name__)) from None
    return len(hashes), previous, len(hashes) - head["count"]


if __name__ == "__main__":
    count, last, unsealed = verify(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes() if sys.argv[2:] else None)
    print("ok: %d entries, head %s, past the head %d" % (count, last, unsealed))
