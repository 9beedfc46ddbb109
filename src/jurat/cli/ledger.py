"""``jurat ledger …``: look at a ledger, check it, hand it on."""

from __future__ import annotations

from pathlib import Path

from jurat.cli.output import emit, table

__all__ = ["export", "key", "show", "verify"]


def show(path: Path | None = None, *, json: bool = False) -> int:
    """List the entries of a ledger, checking signatures and chain on the way.

    Parameters
    ----------
    path
        The ledger; your home's by default.
    json
        Print the entries as JSON.
    """
    from jurat.evidence.keys import home
    from jurat.evidence.ledger import read_entries

    entries = read_entries(path or home() / "ledger.jsonl")
    rows = [[str(e.index), e.time, e.kind, _short(e.body)] for e in entries]
    documents = [{"index": e.index, "time": e.time, "kind": e.kind, "body": dict(e.body)} for e in entries]
    emit(table(["#", "time", "kind", "says"], rows, left=4), documents, as_json=json)
    return 0


def _short(body: object) -> str:
    import json as codec

    text = codec.dumps(body, ensure_ascii=False)
    return text if len(text) <= 90 else text[:89] + "…"


def verify(path: Path, *, key: Path | None = None, json: bool = False) -> int:
    """Check every entry, the chain, the signatures and the head.

    Parameters
    ----------
    path
        The ledger.
    key
        Public key (PEM) that must have signed; your own by default.
    json
        Print the report as JSON.
    """
    from jurat.evidence.keys import load_public_key, own_public_key
    from jurat.launch.verification import verify_ledger_file

    pinned = load_public_key(key) if key is not None else own_public_key()
    report = verify_ledger_file(path, public_key=pinned)
    emit(str(report), report.to_json(), as_json=json)
    return 0


def export(path: Path, *, out: Path, json: bool = False) -> int:
    """Write a verified ledger's in-toto statements, each in its DSSE envelope, one a line.

    Parameters
    ----------
    path
        The ledger.
    out
        File to write.
    json
        Print a report as JSON.
    """
    from jurat.evidence.ledger import export as write_envelopes

    count = write_envelopes(path, out)
    emit(f"{count} envelopes written to {out}", {"count": count, "out": str(out)}, as_json=json)
    return 0


def key(*, json: bool = False) -> int:
    """Print your public key (PEM), to hand to those who verify; made on first use.

    Parameters
    ----------
    json
        Print key and id as JSON.
    """
    from jurat.evidence.keys import load_or_create_key

    public = load_or_create_key().public
    emit(public.pem.decode().strip(), {"keyid": public.keyid, "pem": public.pem.decode()}, as_json=json)
    return 0
