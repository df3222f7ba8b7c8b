"""Who signed which bytes, and everything that makes a signature worthless."""

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clickclean_export.errors import IntegrityError
from clickclean_export.manifest import MANIFEST, SIGNATURE
from clickclean_export.signing.bundle import BundleError, digests_of, signed_message, statement
from clickclean_export.signing.errors import KeyFileError, SignatureError, SignedAlreadyError
from clickclean_export.signing.keys import (
    TRUSTED_KEYS,
    KeyPair,
    generate_key,
    load_private_key,
    load_public_key,
    trusted_keys,
)
from clickclean_export.signing.signature import sign_version, verify_signature
from tests.export.bare_version import NAMES, bare_plan, bare_version, rewrite


@pytest.fixture
def key(tmp_path: Path) -> KeyPair:
    return generate_key(tmp_path / "release.key")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return bare_version(tmp_path / "repository")


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, time and permissions of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_pair_is_written_once_and_tells_nothing(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert pair.public == tmp_path / "k.pub"
    private = load_private_key(pair.private)
    assert private.id == load_public_key(pair.public).id == pair.key_id
    secret = pair.private.read_text().splitlines()[1]
    assert secret not in repr(private) + repr(pair)
    before = snapshot(tmp_path)
    with pytest.raises(KeyFileError, match="is there already"):
        generate_key(tmp_path / "k")
    pair.private.unlink()
    with pytest.raises(KeyFileError, match=r"k\.pub: is there already"):
        generate_key(tmp_path / "k")
    del before["k"]
    assert snapshot(tmp_path) == before, "not half a pair"
    with pytest.raises(KeyFileError, match="cannot be written"):
        generate_key(tmp_path / "none" / "k")


def test_a_signature_is_added_and_nothing_else_changes(version: Path, key: KeyPair) -> None:
    before = snapshot(version.parent)
    signed = sign_version(version, key.private)
    assert signed.files == tuple(sorted([*NAMES, MANIFEST]))
    after = snapshot(version.parent)
    name = f"{version.name}/{SIGNATURE}"
    assert stat.S_IMODE(after[name][2]) == 0o444
    assert {k: v for k, v in after.items() if k != name} == before
    assert verify_signature(version, [key.public]) == key.key_id == signed.key_id
    sign_version(version, key.private)
    assert snapshot(version.parent) == after, "signing again changes nothing"


def test_one_of_several_trusted_keys_will_do(version: Path, key: KeyPair, tmp_path: Path) -> None:
    other = generate_key(tmp_path / "other")
    sign_version(version, key.private)
    assert verify_signature(version, [other.public, key.public]) == key.key_id


def test_another_key_replaces_a_signature_only_when_asked(
    version: Path, key: KeyPair, tmp_path: Path
) -> None:
    other = generate_key(tmp_path / "other")
    sign_version(version, key.private)
    with pytest.raises(SignedAlreadyError, match=r"model\.sig") as caught:
        sign_version(version, other.private)
    assert caught.value.exit_code == 2
    assert verify_signature(version, [key.public]) == key.key_id
    sign_version(version, other.private, replace=True)
    assert verify_signature(version, [other.public]) == other.key_id
    with pytest.raises(SignatureError, match="not trusted") as refused:
        verify_signature(version, [key.public])
    assert refused.value.exit_code == 3
    assert key.key_id[:12] in refused.value.hint


def test_no_signature_where_one_is_demanded(version: Path, key: KeyPair) -> None:
    with pytest.raises(SignatureError, match=r"model\.sig: is missing") as caught:
        verify_signature(version, [key.public])
    assert caught.value.exit_code == 3
    assert "clickclean sign tiny:1" in caught.value.hint
    with pytest.raises(KeyFileError):
        verify_signature(version, [])


@pytest.mark.parametrize("name", [*NAMES, MANIFEST])
def test_every_altered_file_is_named(version: Path, key: KeyPair, name: str) -> None:
    sign_version(version, key.private)
    rewrite(version / name, (version / name).read_bytes() + b" ")
    with pytest.raises(SignatureError, match=f"{name}: is not what was signed"):
        verify_signature(version, [key.public])


def test_a_lost_file_and_a_stranger(version: Path, key: KeyPair) -> None:
    sign_version(version, key.private)
    (version / ".hidden").write_text("x")
    with pytest.raises(SignatureError, match=r"\.hidden: was not there"):
        verify_signature(version, [key.public])
    (version / ".hidden").unlink()
    (version / "golden.npz").unlink()
    with pytest.raises(SignatureError, match=r"golden\.npz: is missing, and was signed"):
        verify_signature(version, [key.public])


def test_what_differs_from_its_manifest_is_never_signed(version: Path, key: KeyPair) -> None:
    rewrite(version / "model.onnx", b"other")
    with pytest.raises(IntegrityError, match=r"model\.onnx: is not what was published"):
        sign_version(version, key.private)
    assert not (version / SIGNATURE).exists()


Tree = dict[str, Any]


def forged(change: Callable[[Tree], None]) -> Callable[[Tree], None]:
    """Change the statement inside, the signature left as it is."""

    def apply(tree: Tree) -> None:
        payload = json.loads(base64.b64decode(tree["dsseEnvelope"]["payload"]))
        change(payload)
        text = json.dumps(payload).encode()
        tree["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()

    return apply


def first_digest(payload: Tree) -> None:
    payload["predicate"]["resources"][0]["digest"] = "0" * 64


def flipped(tree: Tree) -> None:
    spot = tree["dsseEnvelope"]["signatures"][0]
    raw = bytearray(base64.b64decode(spot["sig"]))
    raw[0] ^= 1
    spot["sig"] = base64.b64encode(raw).decode()


def two_signatures(tree: Tree) -> None:
    tree["dsseEnvelope"]["signatures"] *= 2


def drop(*path: str) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        for step in path[:-1]:
            tree = tree[step]
        del tree[path[-1]]

    return apply


def put(value: object, *path: str) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        for step in path[:-1]:
            tree = tree[step]
        tree[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forged(first_digest), "was altered"),
        (forged(lambda _: None), "was altered"),  # the same meaning, other bytes
        (flipped, "was altered"),
        (put("AA==", "dsseEnvelope", "signatures"), "not a signature"),
        (two_signatures, "not a signature"),
        (put([{"sig": "AA=="}], "dsseEnvelope", "signatures"), "was altered"),
        (put([{"sig": "no base64"}], "dsseEnvelope", "signatures"), "base64"),
        (put("text/plain", "dsseEnvelope", "payloadType"), "payloadType"),
        (put("?", "mediaType"), "mediaType"),
        (drop("dsseEnvelope", "payload"), "payload"),
        (drop("verificationMaterial"), "verificationMaterial"),
    ],
)
def test_an_altered_signature_is_refused(
    version: Path, key: KeyPair, change: Callable[[Tree], None], words: str
) -> None:
    sign_version(version, key.private)
    path = version / SIGNATURE
    tree = json.loads(path.read_bytes())
    change(tree)
    rewrite(path, json.dumps(tree).encode())
    with pytest.raises(SignatureError, match=words) as caught:
        verify_signature(version, [key.public])
    assert caught.value.path == path


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\x00", b"null"])
def test_what_is_no_signature_at_all(version: Path, key: KeyPair, content: bytes) -> None:
    (version / SIGNATURE).write_bytes(content)
    with pytest.raises(SignatureError, match=r"model\.sig: is not a signature"):
        verify_signature(version, [key.public])


def test_a_signature_of_another_version_is_none(tmp_path: Path, key: KeyPair) -> None:
    one, two = (bare_version(tmp_path / "repository") for _ in range(2))
    sign_version(one, key.private)
    (two / SIGNATURE).write_bytes((one / SIGNATURE).read_bytes())
    with pytest.raises(SignatureError, match="is not what was signed"):
        verify_signature(two, [key.public])


def test_a_plan_has_a_signature_of_its_own(version: Path, key: KeyPair) -> None:
    signed = sign_version(version, key.private)
    assert signed.plans == ()
    record = bare_plan(version)
    assert verify_signature(version, [key.public]) == key.key_id, "a plan came later"
    folder = (version / record.path_in_version).parent
    with pytest.raises(SignatureError, match=r"model\.sig: is missing") as caught:
        verify_signature(folder, [key.public])
    assert "clickclean sign tiny:1" in caught.value.hint
    before = snapshot(version)
    assert sign_version(version, key.private).plans == (record.id,)
    assert before.items() <= snapshot(version).items()
    assert verify_signature(folder, [key.public]) == key.key_id
    rewrite(version / record.path_in_version, b"another plan")
    with pytest.raises(SignatureError, match=r"model\.8\.9\.plan: is not what was signed"):
        verify_signature(folder, [key.public])


def rsa_like() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def encrypted() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_a_plan_that_changed_is_never_signed(version: Path, key: KeyPair) -> None:
    plan = version / bare_plan(version).path_in_version
    rewrite(plan, b"another plan")
    with pytest.raises(IntegrityError, match=r"model\.8\.9\.plan: is not what was registered"):
        sign_version(version, key.private)
    assert not list(version.rglob(SIGNATURE))


def test_private_keys_that_cannot_be_used(version: Path, key: KeyPair, tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes | None, str, str]] = {
        "none": (None, "no such file", "keygen"),
        "empty": (b"", "no private key", "keygen"),
        "junk": (b"\x00junk", "no private key", "keygen"),
        "public": (key.public.read_bytes(), "no private key", "public half"),
        "curve": (rsa_like(), "not an Ed25519", "keygen"),
        "encrypted": (encrypted(), "passphrase", "openssl pkey"),
    }
    for name, (content, words, hint) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(KeyFileError, match=words) as caught:
            sign_version(version, path)
        assert caught.value.exit_code == 2, name
        assert hint in caught.value.hint, name
    with pytest.raises(KeyFileError, match="cannot be read"):
        sign_version(version, tmp_path)
    with pytest.raises(KeyFileError, match="is no public key") as caught:
        load_public_key(key.private)
    assert "secret" in caught.value.hint
    inside = version.parent / "k"
    inside.write_bytes(key.private.read_bytes())
    with pytest.raises(KeyFileError, match="lies in the model repository"):
        sign_version(version, inside)
    assert not (version / SIGNATURE).exists()


def test_which_keys_are_trusted(
    key: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    assert trusted_keys() == trusted_keys([]) == ()
    folder = tmp_path / "keys"
    folder.mkdir()
    with pytest.raises(KeyFileError, match=r"no \*\.pub") as caught:
        trusted_keys([folder])
    assert caught.value.exit_code == 2, "an empty folder does not mean that all is trusted"
    second = generate_key(folder / "b").public
    first = generate_key(folder / "a").public
    monkeypatch.setenv(TRUSTED_KEYS, os.pathsep.join([str(folder), "", str(key.public)]))
    assert trusted_keys() == (first, second, key.public), "no private keys"
    assert trusted_keys([key.public, key.public]) == (key.public,), "what is named counts alone"
    monkeypatch.setenv(TRUSTED_KEYS, str(tmp_path / "gone"))
    with pytest.raises(KeyFileError, match="no such file or folder"):
        trusted_keys()
    monkeypatch.setenv(TRUSTED_KEYS, "")
    assert trusted_keys() == ()


def test_the_signed_message_is_that_of_dsse() -> None:
    """https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md, its type replaced."""
    assert (
        signed_message(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    )


def test_a_statement_is_read_back_and_checked() -> None:
    digests = {"b": "1" * 64, "a": "2" * 64}
    payload = statement("m/1", digests, {"x"})
    assert digests_of(payload) == digests
    assert payload == statement("m/1", dict(reversed(digests.items())), {"x"})
    tree = json.loads(payload)
    tree["predicate"]["resources"].append(tree["predicate"]["resources"][0])
    with pytest.raises(BundleError, match="twice"):
        digests_of(json.dumps(tree).encode())
    tree["predicate"]["resources"] = tree["predicate"]["resources"][:1]
    with pytest.raises(BundleError, match="of the whole"):
        digests_of(json.dumps(tree).encode())


def test_a_signer_that_dies_leaves_no_stranger(
    version: Path, key: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    before = snapshot(version.parent)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        sign_version(version, key.private)
    assert snapshot(version.parent) == before
