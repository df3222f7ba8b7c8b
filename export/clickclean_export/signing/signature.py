"""Sign what was published, and say who did.

``model.sig`` in a version's folder covers every file there, the manifest included. Plans come later
and from other machines, so each has a ``model.sig`` of its own beside its record.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickclean_export.disk import flush, words
from clickclean_export.engine.record import readable_records
from clickclean_export.engine.register import verify_plan
from clickclean_export.errors import RepositoryError
from clickclean_export.manifest import (
    ENGINES,
    SIGNATURE,
    file_record,
    plain_files,
    read_manifest,
    verify_files,
)
from clickclean_export.signing.bundle import (
    BundleError,
    Envelope,
    digests_of,
    from_bytes,
    signed_message,
    statement,
    to_bytes,
)
from clickclean_export.signing.errors import KeyFileError, SignatureError, SignedAlreadyError
from clickclean_export.signing.keys import (
    PrivateKey,
    PublicKey,
    load_private_key,
    load_public_keys,
    refuse_inside,
)

_SHOWN = 12
_BUNDLE_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Signed:
    """What a key vouches for now.

    Attributes:
        model, version: Of the manifest.
        key_id: SHA-256 of the public key's PEM.
        files: Covered by the version's signature.
        plans: Ids of the plans with a signature of their own.
    """

    model: str
    version: int
    key_id: str
    files: tuple[str, ...]
    plans: tuple[str, ...]


def sign_version(directory: Path, private_key_path: Path, *, replace: bool = False) -> Signed:
    """Sign a version and each of its plans; files that were there stay untouched.

    Nothing is signed that does not equal its manifest or record. Signing again with the same key
    changes nothing, so it may be repeated when a plan was added.

    Args:
        directory: The version's folder.
        private_key_path: PEM, not inside the repository.
        replace: Put the new signature in the place of another.

    Raises:
        KeyFileError: the key cannot be used (exit 2).
        SignedAlreadyError: there is another signature, and ``replace`` was not asked (exit 2).
        IntegrityError: a file is not what was published or registered (exit 3).
        RepositoryError: the signature cannot be written (exit 1).
    """
    directory = Path(directory).absolute()
    refuse_inside(
        directory.parent.parent,
        private_key_path,
        ", which every server reads",
        hint="make a new pair elsewhere, and trust this one no more",
    )
    key = load_private_key(private_key_path)
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    name = f"{directory.parent.name}/{directory.name}"
    records, _ = readable_records(directory)
    contents = {directory: _signature(directory, name, key)}
    for record in records:
        verify_plan(directory, record)
        folder = (directory / record.path_in_version).parent
        contents[folder] = _signature(folder, f"{name}/{ENGINES}/{record.id}", key)
    new = {folder: text for folder, text in contents.items() if _present(folder) != text}
    for folder in new:
        if _present(folder) is not None and not replace:
            raise SignedAlreadyError(folder / SIGNATURE)
    for folder, text in new.items():
        _put(folder / SIGNATURE, text, directory.parent)
    return Signed(
        manifest.model,
        manifest.version,
        key.id,
        tuple(sorted(digests_of(from_bytes(contents[directory]).payload))),
        tuple(record.id for record in records),
    )


def verify_signature(
    directory: Path, trusted: Sequence[Path], *, digests: Mapping[str, str] | None = None
) -> str:
    """Prove that a trusted key signed a folder's files, exactly these.

    Args:
        directory: A version's folder, or a plan's.
        trusted: Public keys.
        digests: SHA-256 by file name where the files were hashed already.

    Returns:
        The id of the key that signed.

    Raises:
        KeyFileError: a key cannot be used, or there is none (exit 2).
        SignatureError: no signature, an unknown key's, an altered one, or one that was made of
            other bytes; the altered file is named (exit 3).
    """
    if not trusted:
        raise KeyFileError(
            Path("--trusted-key"), "none was given", hint="name the public key of who signs"
        )
    keys = load_public_keys(trusted)
    path = directory / SIGNATURE
    content = _present(directory)
    if content is None:
        raise SignatureError(
            path, "is missing, and a signature is demanded", hint=_sign_hint(directory)
        )
    try:
        envelope = from_bytes(content)
        signer = _signer(path, envelope, keys)
        listed = digests_of(envelope.payload)
    except BundleError as error:
        raise SignatureError(path, f"is not a signature ({error})") from None
    _compare(directory, listed, _digests(directory) if digests is None else digests)
    return signer.id


def _signer(path: Path, envelope: Envelope, keys: Sequence[PublicKey]) -> PublicKey:
    for key in keys:
        if key.signed(envelope.signature, envelope.message):
            return key
    if envelope.key_id in {key.id for key in keys}:
        raise SignatureError(
            path,
            "was altered: it names a trusted key, which did not make it",
            hint=_sign_hint(path.parent),
        )
    shown = ", ".join(key.id[:_SHOWN] for key in keys)
    raise SignatureError(
        path,
        f"is of key '{envelope.key_id[:_SHOWN]}', which is not trusted here",
        hint=f"trusted: {shown}; --trusted-key FILE.pub adds one, if you know whose it is",
    )


def _compare(directory: Path, listed: Mapping[str, str], present: Mapping[str, str]) -> None:
    for name in sorted({*listed, *present}):
        if name not in present:
            raise SignatureError(directory / name, "is missing, and was signed")
        if name not in listed:
            raise SignatureError(directory / name, "was not there when the version was signed")
        if listed[name] != present[name]:
            raise SignatureError(directory / name, "is not what was signed: its SHA-256 differs")


def _signature(folder: Path, name: str, key: PrivateKey) -> bytes:
    # Named although it may not be there yet: a plan that comes later is no stranger to a tool that
    # reads these names, and signing again gives the same bytes.
    payload = statement(name, _digests(folder), {SIGNATURE, ENGINES})
    return to_bytes(Envelope(payload, key.sign(signed_message(payload)), key.id))


def _digests(folder: Path) -> dict[str, str]:
    names = [name for name in plain_files(folder, folders={ENGINES}) if name != SIGNATURE]
    return {name: file_record(folder / name).sha256 for name in names}


def _present(folder: Path) -> bytes | None:
    path = folder / SIGNATURE
    try:
        with path.open("rb") as stream:
            return stream.read(_BUNDLE_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignatureError(path, f"cannot be read ({error.strerror})") from error


def _put(path: Path, content: bytes, through: Path) -> None:
    """Write a file whole, by way of a folder where what a killed signer leaves is no stranger."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=through)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(handle)
            Path(temporary).chmod(0o444)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        flush(path.parent)
    except OSError as error:
        raise RepositoryError(path, words(error)) from error


def _sign_hint(folder: Path) -> str:
    version = folder.parent.parent if folder.parent.name == ENGINES else folder
    return f"clickclean sign {version.parent.name}:{version.name} --key FILE"
