"""Prove on disk that a version is what was published, before anything loads it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from clickclean_export.engine.record import RECORD, EngineRecord, readable_records
from clickclean_export.engine.register import verify_plan
from clickclean_export.errors import GateRefused, IntegrityError
from clickclean_export.gates import GatedHop
from clickclean_export.manifest import (
    ENGINES,
    MANIFEST,
    MODEL,
    SIGNATURE,
    Manifest,
    fingerprint,
    plain_files,
    read_manifest,
    verify_files,
)
from clickclean_export.repository import Repository
from clickclean_export.signing.keys import refuse_inside
from clickclean_export.signing.signature import verify_signature

# What a builder that works now, or was killed, has there; no config names anything in it.
_BUILDERS = (".staging-", ".lock")


@dataclass(frozen=True)
class Verified:
    """A version whose every byte was compared.

    Attributes:
        model, version: Which.
        fingerprint: SHA-256 of ``manifest.json``, 64 hexadecimal digits.
        files: What was hashed, relative to the version's folder, plans included; sorted.
        signed_by: Id of the trusted key that signed; None where no key is configured.
        unreadable: What keeps a plan's record from being read; such a plan counts as none.
    """

    model: str
    version: int
    fingerprint: str
    files: tuple[str, ...]
    signed_by: str | None
    unreadable: tuple[str, ...] = ()


def verify_version(
    repository: Repository,
    model: str,
    version: int,
    *,
    trusted: Sequence[Path] = (),
    numbered: bool = True,
    strict: bool = False,
) -> Verified:
    """Compare a version, its plans and its signatures with what was published.

    Args:
        repository: The model repository.
        model: Name.
        version: Number.
        trusted: Public keys; where there is any, one of them must have signed the version, and
            each of its plans.
        numbered: The manifest and the records must name this version's number.
        strict: Refuse a plan whose record cannot be read, too.

    Raises:
        VersionNotFoundError: no such version (exit 1).
        IntegrityError: a file is missing, altered, foreign, of another version, or not signed by
            whom it should be; the sentence names it (exit 3).
        GateRefused: the manifest, or a plan's record, has a failed gate (exit 3).
        KeyFileError: a trusted key cannot be used, or lies in the repository (exit 2).
    """
    _, directory = repository.find(model, version)
    for key in trusted:
        refuse_inside(
            repository.root,
            key,
            ": who can change a version there could add a key as well",
            hint="keep trusted keys with the configuration of the servers",
        )
    manifest = read_manifest(directory)
    _check_name(directory, manifest, model, version if numbered else manifest.version)
    try:
        verify_files(directory, manifest.files)
        plans, unreadable = _verify_plans(directory, manifest, numbered=numbered)
        whole = fingerprint(directory)
        digests = {name: record.sha256 for name, record in manifest.files.items()}
        signer = None
        if trusted:
            signer = verify_signature(directory, trusted, digests={**digests, MANIFEST: whole})
            for plan in plans:
                verify_signature((directory / plan).parent, trusted)
    except OSError as error:
        path = Path(error.filename or directory)
        raise IntegrityError(path, f"cannot be read ({error.strerror})") from error
    _refuse_failed(manifest.hops)
    if strict and unreadable:
        raise unreadable[0]
    return Verified(
        model,
        version,
        whole,
        tuple(sorted([MANIFEST, *manifest.files, *plans])),
        signer,
        tuple(" ".join(str(error).split()) for error in unreadable),
    )


def _check_name(directory: Path, manifest: Manifest, model: str, version: int) -> None:
    path = directory / MANIFEST
    if manifest.model != model:
        raise IntegrityError(path, f"is of model '{manifest.model}', not of '{model}'")
    if manifest.version != version:
        raise IntegrityError(path, f"is of version {manifest.version}, not of {version}")
    if MODEL not in manifest.files:
        raise IntegrityError(path, f"lists no {MODEL}")
    try:
        manifest.recipe_of(directory)
    except ValidationError as error:
        spot = ".".join(map(str, error.errors()[0]["loc"]))
        raise IntegrityError(
            path, f"has a recipe that this release of clickclean does not take ('{spot}')"
        ) from None


def _verify_plans(
    directory: Path, manifest: Manifest, *, numbered: bool
) -> tuple[list[str], list[IntegrityError]]:
    """Return the plans that are intact, and what keeps others from being looked at."""
    engines = directory / ENGINES
    if not engines.is_dir():
        return [], []
    for path in engines.iterdir():
        if path.is_symlink():
            raise IntegrityError(path, "is a symbolic link; a version holds files of its own")
        if path.name.startswith(".") and not path.name.startswith(_BUILDERS):
            raise IntegrityError(path, "was not registered with this version")
        if not path.name.startswith(".") and not path.is_dir():
            raise IntegrityError(path, "was not registered with this version")
    records, unreadable = readable_records(directory)
    for record in records:
        _check_record(directory, record, manifest, numbered=numbered)
        verify_plan(directory, record)
        _refuse_failed(record.hops)
    return [record.path_in_version for record in records], list(unreadable)


def _check_record(
    directory: Path, record: EngineRecord, manifest: Manifest, *, numbered: bool
) -> None:
    plan = directory / record.path_in_version
    path = plan.parent / RECORD
    hint = f"rm -r {plan.parent}, then clickclean engine build again"
    if record.model != manifest.model or (numbered and record.version != manifest.version):
        raise IntegrityError(path, f"is of {record.model} version {record.version}", hint=hint)
    if record.inputs.onnx_sha256 != manifest.files[MODEL].sha256:
        raise IntegrityError(path, f"is of a plan that was built from another {MODEL}", hint=hint)
    if not plan.parent.is_dir():
        raise IntegrityError(plan, "is missing", hint=hint)
    for name in plain_files(plan.parent):
        if name not in {RECORD, record.plan_name, SIGNATURE}:
            raise IntegrityError(plan.parent / name, "was not registered with this plan", hint=hint)


def _refuse_failed(hops: Iterable[GatedHop]) -> None:
    for hop in hops:
        failed = [gate for gate in hop.gates if gate.outcome == "fail"]
        if failed:
            raise GateRefused(
                hop.result.hop, [gate.sentence(hop.result.samples) for gate in failed]
            )
