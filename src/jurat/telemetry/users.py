"""Keys that stand for users: the same user gives the same key, and the key does not give the user."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from jurat.errors import IntegrityError
from jurat.store.durable import make_folder

__all__ = ["load_user_secret", "user_key"]

_BYTES = 32


def user_key(secret: bytes, tenant: str, user: str | None) -> str | None:
    """Key of a user: HMAC-SHA-256 over tenant and user, 128 bits in hex.

    Parameters
    ----------
    secret
        The installation's secret; without it keys can be neither made nor checked.
    tenant
        Whose user; the same name in two tenants gives two keys.
    user
        Name as received; ``None`` stays ``None``.

    Examples
    --------
    >>> user_key(b"s" * 32, "a", "ann") == user_key(b"s" * 32, "b", "ann"), user_key(b"s" * 32, "a", None)
    (False, None)
    """
    if user is None or user == "":
        return None
    message = len(tenant.encode()).to_bytes(4, "big") + tenant.encode() + user.encode("utf-8", "surrogatepass")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]


def load_user_secret(folder: Path) -> bytes:
    """Load the secret of an installation, or make it on first use.

    Parameters
    ----------
    folder
        Where it lies, readable by its owner alone.

    Raises
    ------
    IntegrityError
        Where the file is not one.
    """
    path = folder / "user-secret"
    if not path.exists():
        make_folder(folder)
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(path.with_suffix(".new"), path)
        except FileExistsError:
            return load_user_secret(folder)
        finally:
            path.with_suffix(".new").unlink(missing_ok=True)
    secret = path.read_bytes()
    if len(secret) != _BYTES:
        raise IntegrityError(
            "the secret of user keys is damaged", seen=f"{path}: {len(secret)} bytes",
            next_step="restore it: with another one no user is known again",
        )  # fmt: skip
    return secret
