"""The control plane: API keys with roles, who holds which snapshot, settings. Small state that changes in place.

SQLite in WAL mode, every transaction on disk before it returns. Statements keep to what PostgreSQL accepts as well
(text, integers, ``ON CONFLICT``; times as ISO 8601 text in UTC), so that the schema can move there unchanged.
A connection lives for one transaction: cheap, and safe across threads and forks.

A key is ``jrt_<id>_<secret>``. Only its scrypt hash is kept (Percival, *Stronger Key Derivation via Sequential
Memory-Hard Functions*, 2009; RFC 7914; N = 2¹⁴, r = 8, p = 1), so a stolen database opens no door. A secret that was
verified is remembered by its SHA-256 while the process lives; whether its key is still good is asked every time.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from jurat.errors import JuratError, UnknownName, UsageError
from jurat.store.sqlite_file import SqliteFile

__all__ = ["AccessDenied", "ApiKey", "Control", "NewKey", "Pin", "Role"]

Role = Literal["ingest", "annotate", "analyse", "approve", "admin"]
"""What a key may do. No role implies another: who administers does not thereby approve a launch."""

ROLES: tuple[Role, ...] = get_args(Role)

_MIGRATIONS = (
    """
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        tenant TEXT NOT NULL,
        salt TEXT NOT NULL,
        hash TEXT NOT NULL,
        created TEXT NOT NULL,
        expires TEXT,
        revoked TEXT
    );
    CREATE TABLE api_key_roles (
        key_id TEXT NOT NULL REFERENCES api_keys (id),
        role TEXT NOT NULL CHECK (role IN ('ingest', 'annotate', 'analyse', 'approve', 'admin')),
        PRIMARY KEY (key_id, role)
    );
    CREATE TABLE snapshot_pins (
        snapshot TEXT NOT NULL,
        holder TEXT NOT NULL,
        reason TEXT NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (snapshot, holder)
    );
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    """,
)
"""One script a schema version; a script that was released is never edited."""

_TOKEN = re.compile(r"jrt_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class AccessDenied(JuratError):
    """A key is unknown, wrong, revoked, expired, or may not do what was asked. Which of them is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key: id, owner, tenant, roles; created, expires and revoked as ISO 8601 in UTC."""

    id: str
    owner: str
    tenant: str
    roles: frozenset[Role]
    created: str
    expires: str | None = None
    revoked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made. ``token`` is shown once and kept nowhere; it stays out of ``repr`` and so out of logs."""

    key: ApiKey
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Who holds a snapshot, why, and since when (ISO 8601, UTC)."""

    snapshot: str
    holder: str
    reason: str
    created: str


class Control(SqliteFile):
    """The control plane in one SQLite file.

    Parameters
    ----------
    path
        The file; made, readable by its owner only, where it is missing.

    Raises
    ------
    SpecError
        Where a newer version of this package wrote the file.

    Examples
    --------
    >>> import tempfile
    >>> control = Control(Path(tempfile.mkdtemp()) / "control.sqlite")
    >>> made = control.create_key(owner="collector-1", roles={"ingest"})
    >>> control.verify_key(made.token, role="ingest").owner
    'collector-1'
    >>> control.revoke_key(made.key.id)
    >>> control.verify_key(made.token, role="ingest")
    Traceback (most recent call last):
    jurat.store.control.AccessDenied: the key does not open this
      next: ask an administrator for a key with the role ingest
    """

    def __init__(self, path: Path) -> None:
        self._verified: dict[str, bytes] = {}
        super().__init__(path, name="control", migrations=_MIGRATIONS, version_table="schema_version")

    @property
    def schema_version(self) -> int:
        """Version of the schema in the file."""
        with self._transaction() as connection:
            return int(connection.execute("SELECT MAX(version) FROM schema_version").fetchone()[0])

    # API keys -------------------------------------------------------------------------------------------------

    def create_key(
        self,
        *,
        owner: str,
        roles: Collection[Role],
        tenant: str = "default",
        expires: dt.datetime | None = None,
    ) -> NewKey:
        """Make a key; its token can be read from the result, and never again.

        Parameters
        ----------
        owner
            The person or program that it is for.
        roles
            What it may do; at least one.
        tenant
            Whose data it reaches.
        expires
            When it ceases to work, with its time zone; None for never.

        Raises
        ------
        UnknownName
            For a role that there is not.
        UsageError
            For a key without owner, role or tenant, or an expiry without time zone.
        """
        for role in roles:
            if role not in ROLES:
                raise UnknownName("role", role, ROLES)
        if not owner or not roles:
            raise UsageError("a key needs an owner and a role", seen=f"owner={owner!r}, roles={sorted(roles)}")
        if tenant.strip() in ("", "*"):
            # Neither is anybody: a view that takes the name for "all" would show everything.
            raise UsageError("a key needs its tenant", seen=repr(tenant), next_step="name it, or leave it out")
        if expires is not None and expires.tzinfo is None:
            raise UsageError("an expiry needs its time zone", seen=str(expires), next_step="give it in UTC")
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
        key = ApiKey(
            id=secrets.token_hex(8),
            owner=owner,
            tenant=tenant,
            roles=frozenset(roles),
            created=_now(),
            expires=None if expires is None else _iso(expires),
        )
        row = (key.id, owner, tenant, salt.hex(), _scrypt(secret, salt).hex(), key.created, key.expires)
        with self._transaction(writing=True) as connection:
            connection.execute(
                "INSERT INTO api_keys (id, owner, tenant, salt, hash, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            connection.executemany(
                "INSERT INTO api_key_roles (key_id, role) VALUES (?, ?)", [(key.id, role) for role in sorted(roles)]
            )
        return NewKey(key=key, token=f"jrt_{key.id}_{secret}")

    def verify_key(self, token: str, *, role: Role) -> ApiKey:
        """Check that a token is good for a role now.

        Raises
        ------
        AccessDenied
            Where it is not, for whatever reason.
        """
        denied = AccessDenied(
            "the key does not open this", next_step=f"ask an administrator for a key with the role {role}"
        )
        identifier, secret = _parts(token)
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM api_keys WHERE id = ?", (identifier,)).fetchone()
            key = None if row is None else _key(connection, row)
        if row is None or key is None:
            # As slow as a wrong secret, so that the time taken does not tell which ids exist.
            _scrypt(secret, b"\x00" * 16)
            raise denied
        if not self._is_secret(identifier, secret, row):
            raise denied
        if key.revoked is not None or (key.expires is not None and key.expires <= _now()) or role not in key.roles:
            raise denied
        return key

    def _is_secret(self, identifier: str, secret: str, row: sqlite3.Row) -> bool:
        seen = hashlib.sha256(secret.encode()).digest()
        if hmac.compare_digest(self._verified.get(identifier, b""), seen):
            return True
        if not hmac.compare_digest(_scrypt(secret, bytes.fromhex(row["salt"])), bytes.fromhex(row["hash"])):
            return False
        self._verified[identifier] = seen
        return True

    def revoke_key(self, identifier: str) -> None:
        """Make a key useless from now on; it stays listed.

        Raises
        ------
        UnknownName
            Where there is none of that id.
        """
        with self._transaction(writing=True) as connection:
            if not connection.execute("SELECT 1 FROM api_keys WHERE id = ?", (identifier,)).fetchone():
                known = [row["id"] for row in connection.execute("SELECT id FROM api_keys")]
                raise UnknownName("key", identifier, known)
            connection.execute("UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (_now(), identifier))

    def keys(self) -> list[ApiKey]:
        """Every key there ever was, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT * FROM api_keys ORDER BY created, id").fetchall()
            return [_key(connection, row) for row in rows]

    # Snapshots ------------------------------------------------------------------------------------------------

    def pin_snapshot(self, snapshot: str, *, holder: str, reason: str) -> None:
        """Record that somebody relies on a snapshot; a second pin of the same holder changes nothing.

        Parameters
        ----------
        snapshot
            Its id.
        holder
            Who relies on it: a review, a person, a job.
        reason
            Why.
        """
        with self._transaction(writing=True) as connection:
            connection.execute(
                "INSERT INTO snapshot_pins (snapshot, holder, reason, created) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (snapshot, holder) DO NOTHING",
                (snapshot, holder, reason, _now()),
            )

    def unpin_snapshot(self, snapshot: str, *, holder: str) -> bool:
        """Take a holder's pin away; return whether nobody holds the snapshot any more.

        Examples
        --------
        >>> import tempfile
        >>> control = Control(Path(tempfile.mkdtemp()) / "control.sqlite")
        >>> control.pin_snapshot("5c1f", holder="review 7", reason="launch of guard-2")
        >>> control.pin_snapshot("5c1f", holder="ada", reason="reading the misses")
        >>> control.unpin_snapshot("5c1f", holder="ada"), control.unpin_snapshot("5c1f", holder="review 7")
        (False, True)
        """
        with self._transaction(writing=True) as connection:
            connection.execute("DELETE FROM snapshot_pins WHERE snapshot = ? AND holder = ?", (snapshot, holder))
            left = connection.execute("SELECT COUNT(*) FROM snapshot_pins WHERE snapshot = ?", (snapshot,))
            return int(left.fetchone()[0]) == 0

    def pins(self, snapshot: str | None = None) -> list[Pin]:
        """Pins of a snapshot (of all by default), oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM snapshot_pins WHERE snapshot = COALESCE(?, snapshot) ORDER BY created, snapshot, holder",
                (snapshot,),
            )
            return [Pin(**dict(row)) for row in rows]

    # Settings -------------------------------------------------------------------------------------------------

    def setting(self, name: str, default: object = None) -> object:
        """Value of a setting (JSON types), or the default where it was never set."""
        with self._transaction() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row["value"])

    def set_setting(self, name: str, value: object) -> None:
        """Keep a setting.

        Raises
        ------
        UsageError
            For a value that JSON cannot hold.

        Examples
        --------
        >>> import tempfile
        >>> control = Control(Path(tempfile.mkdtemp()) / "control.sqlite")
        >>> control.set_setting("retain_text_days", 30)
        >>> control.setting("retain_text_days"), control.setting("retain_facts_days", default=395)
        (30, 395)
        """
        try:
            text = json.dumps(value, allow_nan=False, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise UsageError(f"setting {name} cannot be kept", seen=str(error), next_step="give JSON types") from error
        with self._transaction(writing=True) as connection:
            connection.execute(
                "INSERT INTO settings (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, text),
            )


def _key(connection: sqlite3.Connection, row: sqlite3.Row) -> ApiKey:
    roles = connection.execute("SELECT role FROM api_key_roles WHERE key_id = ?", (row["id"],))
    return ApiKey(
        id=row["id"],
        owner=row["owner"],
        tenant=row["tenant"],
        roles=frozenset(found["role"] for found in roles),
        created=row["created"],
        expires=row["expires"],
        revoked=row["revoked"],
    )


def _parts(token: str) -> tuple[str, str]:
    """Id and secret of a token; both empty where it is none."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else ("", "")


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, maxmem=64 << 20)


def _iso(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).isoformat(timespec="microseconds")


def _now() -> str:
    return _iso(dt.datetime.now(dt.UTC))
