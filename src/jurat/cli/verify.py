"""``jurat verify``: check what somebody else, or you yourself some time ago, swore to."""

from __future__ import annotations

from pathlib import Path

from jurat.cli.output import emit

__all__ = ["verify"]


def verify(path: Path, *, data: Path | None = None, key: Path | None = None, json: bool = False) -> int:
    """Check a review folder, a ledger, or one number, against everything it rests on.

    A folder: the ledger's chain and signatures, every file, the data, every number recomputed bit for bit, the verdict
    decided anew. Exit code 0 where everything holds; 1 with the culprit's name where not.

    Parameters
    ----------
    path
        A review folder, a ledger (.jsonl), or an evidence file of a review folder.
    data
        Where the data are now, if they were moved since.
    key
        Public key (PEM) that must have signed; your own by default.
    json
        Print the report as JSON.
    """
    from jurat.errors import UsageError
    from jurat.evidence.keys import load_public_key, own_public_key
    from jurat.launch.verification import verify_evidence, verify_ledger_file, verify_review

    pinned = load_public_key(key) if key is not None else own_public_key()
    if path.is_dir():
        report = verify_review(path, public_key=pinned, data=data)
    elif path.suffix == ".jsonl":
        report = verify_ledger_file(path, public_key=pinned)
    elif path.suffix == ".json":
        report = verify_evidence(path, public_key=pinned, data=data)
    else:
        raise UsageError(
            "nothing to verify there", seen=str(path), next_step="give a review folder, a ledger or an evidence file"
        )
    emit(str(report), report.to_json(), as_json=json)
    return 0
