"""What `clickclean versions` says of one model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickclean_export.errors import IntegrityError
    from clickclean_export.repository import Repository


@dataclass(frozen=True)
class Listed:
    """A model with its versions, ascending.

    Attributes:
        model: Name.
        versions: Published ones.
        promoted: The one that unnamed calls get.
        plans: Compute capabilities with a registered plan, by version; versions without are left
            out, here and below.
        damaged: What keeps a plan's record from being read, by version.
    """

    model: str
    versions: list[int]
    promoted: int | None
    plans: dict[int, list[str]]
    damaged: dict[int, list[str]]


def listed(repository: "Repository", model: str) -> Listed:
    """Return what is on disk; a damaged plan is part of the list.

    Raises:
        RepositoryError: the model's folder or config cannot be read (exit 1).
    """
    from clickclean_export.engine.record import readable_records

    plans, damaged = {}, {}
    numbers = repository.versions(model)
    for number in numbers:
        records, errors = readable_records(repository.version_dir(model, number))
        if records:
            plans[number] = sorted({record.inputs.compute_capability for record in records})
        if errors:
            damaged[number] = [_one_line(error) for error in errors]
    return Listed(model, numbers, repository.promoted(model), plans, damaged)


def as_line(row: Listed) -> str:
    """Word a model on one line."""
    shown = ", ".join(_version(row, number) for number in row.versions)
    return f"{row.model}  versions {shown}  promoted {row.promoted or 'none'}"


def _version(row: Listed, number: int) -> str:
    known = []
    if number in row.plans:
        known.append(f"plans {', '.join(row.plans[number])}")
    if number in row.damaged:
        known.append(f"plans damaged: {', '.join(row.damaged[number])}")
    return f"{number} ({'; '.join(known)})" if known else str(number)


def _one_line(error: "IntegrityError") -> str:
    return f"{' '.join(str(error).split())} ({error.hint})"
