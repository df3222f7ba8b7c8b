"""Ed25519 keys in files: PEM as OpenSSL writes it, PKCS #8 and SubjectPublicKeyInfo.

The one module that imports ``cryptography``.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clickclean_export.errors import MissingExtraError
from clickclean_export.signing.errors import KeyFileError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

TRUSTED_KEYS: Final = "CLICKCLEAN_TRUSTED_KEYS"
"""Environment variable: paths of public keys, separated as in PATH."""
_PUBLIC = ".pub"
_PEM_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class PublicKey:
    """Proves signatures. ``id`` is the SHA-256 of its PEM, 64 hexadecimal digits."""

    path: Path
    id: str
    _key: "Ed25519PublicKey" = field(repr=False)

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Return whether the signature of 64 bytes is this key's, over exactly this message."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """Makes signatures. ``id`` is that of its public key."""

    path: Path
    id: str
    _key: "Ed25519PrivateKey" = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes; the same message gives the same (RFC 8032)."""
        return self._key.sign(message)


@dataclass(frozen=True)
class KeyPair:
    """Files of a new pair."""

    private: Path
    public: Path
    key_id: str


def generate_key(path: Path) -> KeyPair:
    """Write a new private key, for its owner alone, and ``<path>.pub`` beside it.

    Raises:
        KeyFileError: a file is there already, or cannot be written; nothing changed then (exit 2).
        MissingExtraError: ``cryptography`` is not installed (exit 4).
    """
    _need_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = Path(path).absolute()
    public = path.with_name(path.name + _PUBLIC)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with ExitStack() as undo:
        for place, content, mode in (
            (path, secret, 0o600),
            (public, _pem(key.public_key()), 0o644),
        ):
            try:
                handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                undo.callback(place.unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(handle)
            except FileExistsError:
                raise KeyFileError(
                    place, "is there already", hint="name a new file; no key is overwritten"
                ) from None
            except OSError as error:
                raise KeyFileError(
                    place,
                    f"cannot be written ({error.strerror})",
                    hint="name a file in a folder of yours",
                ) from error
        undo.pop_all()
    return KeyPair(path, public, _id(key.public_key()))


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        KeyFileError: the file is missing or holds no unencrypted Ed25519 private key (exit 2).
        MissingExtraError: ``cryptography`` is not installed (exit 4).
    """
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path)
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise KeyFileError(
            path,
            "is encrypted, and no passphrase is ever asked for",
            hint="give a copy without passphrase that only you can read:"
            " openssl pkey -in FILE -out COPY",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's words may quote the content; they stay out of the sentence and the chain.
        key = None
    if key is None:
        raise KeyFileError(path, "is no private key in PEM", hint=_given_instead(content))
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(path, "is a private key, but not an Ed25519 one")
    return PrivateKey(path, _id(key.public_key()), key)


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        KeyFileError: the file is missing or holds no Ed25519 public key (exit 2).
        MissingExtraError: ``cryptography`` is not installed (exit 4).
    """
    _need_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if key is None:
        raise KeyFileError(path, "is no public key in PEM", hint=_given_instead(content))
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(path, "is a public key, but not an Ed25519 one")
    return PublicKey(path, _id(key), key)


def load_public_keys(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """Read public keys; raises as ``load_public_key``."""
    return tuple(load_public_key(path) for path in paths)


def trusted_keys(named: Sequence[Path] | None = None) -> tuple[Path, ...]:
    """Return the files of the public keys that an operator trusts; empty where none is configured.

    Args:
        named: On the command line; without any, the environment variable CLICKCLEAN_TRUSTED_KEYS
            counts. A folder stands for all ``*.pub`` in it.

    Raises:
        KeyFileError: a path does not exist, or a folder holds no key: nothing would be demanded
            where a signature is meant to be (exit 2).
    """
    given = list(named or ())
    if not given:
        words = os.environ.get(TRUSTED_KEYS, "").split(os.pathsep)
        given = [Path(word) for word in words if word]
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            keys = sorted(path.glob(f"*{_PUBLIC}"))
            if not keys:
                raise KeyFileError(
                    path, f"no *{_PUBLIC} is in this folder", hint="put a public key there"
                )
        elif path.is_file():
            keys = [path]
        else:
            raise KeyFileError(path, "no such file or folder", hint="name a public key, FILE.pub")
        found.update(dict.fromkeys(keys))
    return tuple(found)


def refuse_inside(repository: Path, key: Path, why: str, *, hint: str) -> None:
    """Refuse a key that lies in the model repository.

    Raises:
        KeyFileError: it does (exit 2).
    """
    if Path(key).resolve().is_relative_to(repository.resolve()):
        raise KeyFileError(key, f"lies in the model repository{why}", hint=hint)


def _need_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise MissingExtraError("cryptography") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_PEM_MAX_BYTES)
    except FileNotFoundError:
        raise KeyFileError(path, "no such file") from None
    except OSError as error:
        raise KeyFileError(path, f"cannot be read ({error.strerror})") from error


def _given_instead(content: bytes) -> str:
    if b"PUBLIC KEY-----" in content:
        return "this is the public half; signing takes the file without .pub"
    if b"PRIVATE KEY-----" in content:
        return "this is the private half, which stays secret; give the file that ends in .pub"
    return ""


def _pem(key: "Ed25519PublicKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _id(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(_pem(key)).hexdigest()
