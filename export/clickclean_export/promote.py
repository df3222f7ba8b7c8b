"""Make one published version the one that unnamed calls get."""

from dataclasses import dataclass
from pathlib import Path

from clickclean_export.errors import GateRefused, RepositoryError
from clickclean_export.manifest import read_manifest, verify_files
from clickclean_export.repository import Repository, replace_text
from clickclean_export.triton_config import config_texts


@dataclass(frozen=True)
class Promotion:
    """What changed: ``previous`` is None at the first promotion."""

    model: str
    version: int
    previous: int | None


def promote(repository_path: Path, model: str, version: int | None = None) -> Promotion:
    """Write both fleets' configs so that ``version`` (default: the newest) is served.

    A running ``clickclean serve`` on the same repository notices the change, loads the version
    beside the old one, and proves it before the old one goes.

    Raises:
        VersionNotFoundError: no such version.
        IntegrityError: its files are not what was published.
        GateRefused: its manifest records a failed gate.
        RepositoryError: the configs cannot be written.
    """
    repository = Repository(repository_path)
    number, directory = repository.find(model, version)
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    for hop in manifest.hops:
        failed = [gate for gate in hop.gates if gate.outcome == "fail"]
        if failed:
            raise GateRefused(
                hop.result.hop, [gate.sentence(hop.result.samples) for gate in failed]
            )
    previous = repository.promoted(model)
    try:
        for path, text in config_texts(manifest.recipe_of(directory), number).items():
            replace_text(repository.root / model / path, text)
    except OSError as error:
        raise RepositoryError(repository.root, str(error)) from error
    return Promotion(model, number, previous)
