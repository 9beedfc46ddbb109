"""Keys: made once, readable by their owner only, and clear about what is wrong with a file."""

from __future__ import annotations

import hashlib
import multiprocessing
import stat
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jurat.errors import IntegrityError, SpecError
from jurat.evidence.keys import (
    PublicKey,
    SigningKey,
    home,
    load_or_create_key,
    load_public_key,
    own_public_key,
)

# RFC 8032, section 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_rfc_8032_section_7_1_test_2() -> None:
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(SECRET))
    assert key.public.raw == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert key.public.verifies(SIGNATURE, b"\x72")
    assert not key.public.verifies(SIGNATURE, b"\x73")
    assert not key.public.verifies(SIGNATURE[:-1], b"\x72")
    assert key.keyid == hashlib.sha256(PUBLIC).hexdigest()


def test_the_key_is_made_once_with_mode_0600_beside_its_public_half(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "home"
    key = load_or_create_key(folder)
    assert load_or_create_key(folder).keyid == key.keyid
    assert stat.S_IMODE((folder / "signing-key.pem").stat().st_mode) == 0o600
    assert load_public_key(folder / "public-key.pem") == key.public == own_public_key(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["public-key.pem", "signing-key.pem"]


def test_the_home_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JURAT_HOME", str(tmp_path / "elsewhere"))
    assert home() == tmp_path / "elsewhere"
    assert own_public_key() is None
    assert load_or_create_key().public == own_public_key()
    monkeypatch.delenv("JURAT_HOME")
    assert home() == Path.home() / ".jurat"


def _keyid(folder: Path, barrier: object, found: multiprocessing.Queue[str]) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    found.put(load_or_create_key(folder).keyid)


def test_processes_that_race_for_the_first_key_end_with_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(6), context.Queue()
    racers = [context.Process(target=_keyid, args=(tmp_path / "home", barrier, found)) for _ in range(6)]
    for racer in racers:
        racer.start()
    keyids = {found.get(timeout=30) for _ in racers}
    for racer in racers:
        racer.join(30)
    assert keyids == {load_public_key(tmp_path / "home" / "public-key.pem").keyid}
    assert not list((tmp_path / "home").glob(".*"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create_key(tmp_path)
    (tmp_path / "signing-key.pem").chmod(mode)
    with pytest.raises(IntegrityError, match=f"mode {mode:04o}"):
        load_or_create_key(tmp_path)


def _foreign_pem() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _encrypted_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", _foreign_pem(), _encrypted_pem()]
)
def test_a_file_that_is_no_ed25519_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing-key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IntegrityError, match="signing key cannot be read"):
        load_or_create_key(tmp_path)
    path.rename(tmp_path / "public.pem")
    with pytest.raises(SpecError, match="public key cannot be read"):
        load_public_key(tmp_path / "public.pem")


def test_a_link_to_nowhere_and_a_folder_are_no_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "signing-key.pem").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b" / "signing-key.pem").mkdir(parents=True)
    for folder in ("a", "b"):
        with pytest.raises(IntegrityError, match="cannot be read"):
            load_or_create_key(tmp_path / folder)
    with pytest.raises(SpecError, match="no such public key"):
        load_public_key(tmp_path / "nowhere")


def test_a_signing_key_given_as_public_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    load_or_create_key(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_public_key(tmp_path / "signing-key.pem")
    secret = (tmp_path / "signing-key.pem").read_text().splitlines()[1]
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_the_secret_is_not_in_the_repr() -> None:
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(SECRET))
    assert repr(key) == f"SigningKey(keyid={key.keyid[:16]}…)"


def test_a_public_key_survives_pem(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(PublicKey(PUBLIC).pem)
    assert load_public_key(tmp_path / "k.pem").raw == PUBLIC
