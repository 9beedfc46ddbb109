"""Who signs: one Ed25519 key per home, made on first use.

The home is ``$JURAT_HOME``, or ``~/.jurat``. The private key never leaves its file (mode 0600); the public
key is what one hands to those who verify. A key is named by its id, the SHA-256 of the 32 raw public bytes
in hex.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jurat.errors import IntegrityError, SpecError
from jurat.store.durable import fsync_directory, write_atomically

__all__ = ["PublicKey", "SigningKey", "home", "load_or_create_key", "load_public_key", "own_public_key"]

_KEY_FILE = "signing-key.pem"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, 32 raw bytes."""

    raw: bytes

    @property
    def keyid(self) -> str:
        """SHA-256 of the raw key, in hex."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def pem(self) -> bytes:
        """The key as PEM (SubjectPublicKeyInfo)."""
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature over a message is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """An Ed25519 private key. Its bytes are never shown: neither by ``repr`` nor in errors."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(
            private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def keyid(self) -> str:
        """Id of the public half."""
        return self.public.keyid

    def sign(self, message: bytes) -> bytes:
        """Sign a message; 64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(keyid={self.keyid[:16]}…)"

    def _pem(self) -> bytes:
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def home() -> Path:
    """Folder of keys and of the home ledger: ``$JURAT_HOME``, or ``~/.jurat``."""
    return Path(os.environ.get("JURAT_HOME") or Path.home() / ".jurat")


def load_or_create_key(folder: Path | None = None) -> SigningKey:
    """Load the home's signing key, or make it on first use.

    Two processes that race end with one key: the first link to the final name wins, the other reads it.

    Parameters
    ----------
    folder
        The home; `home` by default.

    Raises
    ------
    IntegrityError
        Where the key file can be read by others, or is not an Ed25519 key.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> key = load_or_create_key(folder)
    >>> load_or_create_key(folder).keyid == key.keyid
    True
    """
    folder = folder or home()
    path = folder / _KEY_FILE
    if not os.path.lexists(path):
        _create(path)
    if not path.is_file():
        raise _not_a_key(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise IntegrityError(
            "the signing key can be read by others",
            seen=f"{path} has mode {mode:04o}",
            next_step=f"chmod 600 {path}, and make a new key if somebody may have copied it",
        )
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _not_a_key(path)
    return SigningKey(private)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = SigningKey.generate()
    descriptor, name = tempfile.mkstemp(prefix=".signing-key.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(key._pem())
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(name, path)  # fails where another process was first: its key is the key
        except FileExistsError:
            return
        write_atomically(path.with_name("public-key.pem"), key.public.pem)
    finally:
        Path(name).unlink()
        fsync_directory(path.parent)


def load_public_key(path: Path) -> PublicKey:
    """Read a public key from PEM.

    Raises
    ------
    SpecError
        Where there is no such file or it holds no Ed25519 public key.
    """
    if not path.is_file():
        raise SpecError(
            "no such public key", seen=str(path), next_step="give a PEM file; jurat ledger key prints yours"
        )
    try:
        public = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _not_a_public_key(path) from error
    if not isinstance(public, Ed25519PublicKey):
        raise _not_a_public_key(path)
    return PublicKey(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def own_public_key(folder: Path | None = None) -> PublicKey | None:
    """Return the home's public key, or ``None`` where no key was made yet."""
    folder = folder or home()
    return load_or_create_key(folder).public if (folder / _KEY_FILE).exists() else None


def _not_a_public_key(path: Path) -> SpecError:
    return SpecError(
        "the public key cannot be read",
        seen=f"{path} is not an Ed25519 public key in PEM",
        next_step="give the signer's public-key.pem, never the signing key; jurat ledger key prints yours",
    )


def _not_a_key(path: Path) -> IntegrityError:
    return IntegrityError(
        "the signing key cannot be read",
        seen=f"{path} is not an Ed25519 key in PEM",
        next_step="restore the file from a backup; a key that is lost cannot be made again",
    )
