"""Check a Jurat ledger without Jurat: python verify_ledger.py LEDGER [PUBLIC_KEY]. Needs only `cryptography`.

Each line is a DSSE envelope that holds the SHA-256 of the line before, over its bytes as they stand. The head
(*.head.json) is signed too. Without PUBLIC_KEY (PEM) it is shown that nothing changed, but not who signed.
"""

import base64
import json
import sys
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


def check(holds, fault):
    if not holds:
        raise ValueError(fault)


def opened(line, key, predicate_type):
    envelope = json.loads(line)
    (signature,) = envelope["signatures"]
    payload, sig = base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])
    envelope["payload"], signature["sig"] = base64.b64encode(payload).decode(), base64.b64encode(sig).decode()
    check(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() == line, "it is not canonical")
    keyid = sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
    check(signature["keyid"] == keyid, "it is signed by another key")
    kind = envelope["payloadType"].encode()
    key.verify(sig, b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    check((statement := json.loads(payload))["predicateType"] == predicate_type, "it is of another type")
    return statement["predicate"]


def verify(path, pem):
    place, previous, hashes = "entry 0 (line 1)", "0" * 64, []
    try:
        *lines, torn = path.read_bytes().split(b"\n")
        own = json.loads(base64.b64decode(json.loads(lines[0])["payload"]))["predicate"]["body"]["public_key"]
        key = load_pem_public_key(pem) if pem else Ed25519PublicKey.from_public_bytes(base64.b64decode(own))
        for index, line in enumerate([*lines, torn] if torn else lines):
            place = f"entry {index} (line {index + 1})"
            check(index < len(lines), "its line does not end")
            entry = opened(line, key, "urn:jurat:ledger-entry:1")
            check(entry["index"] == index, f"it holds entry {entry['index']}: dropped, repeated or moved")
            check(entry["previous"] == previous, "the chain breaks here")
            hashes.append(previous := sha256(line).hexdigest())
        place = "the head"
        line, end = path.with_suffix(".head.json").read_bytes().split(b"\n")
        count = (head := opened(line, key, "urn:jurat:ledger-head:1"))["count"]
        check(not end and 0 < count <= len(hashes), f"it names {count} entries, there are {len(hashes)}")
        check(head["last"] == hashes[count - 1], "it was signed over other entries")
    except Exception as fault:
        sys.exit(f"BAD {place}: {fault or type(fault).__name__}")
    return f"ok: {len(hashes)} entries, head {previous}, past the head {len(hashes) - count}"


if __name__ == "__main__":
    print(verify(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes() if sys.argv[2:] else None))
