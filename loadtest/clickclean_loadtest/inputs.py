"""What is sent: real rows, cut into requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from clickclean_client import Golden, TensorSpec
from clickclean_loadtest.errors import BadInputsError, NoInputsError

Arrays = Mapping[str, NDArray[Any]]
LABEL = "label"
GOLDEN_PREFIX = "input."


@dataclass(frozen=True, eq=False)
class Workload:
    """Rows to send, in turn.

    Attributes:
        inputs: arrays by input name, rows along axis 0.
        labels: int64[rows, ...] or None.
        requests: row numbers int64[batch] of each request; they are sent in turn.
    """

    inputs: Arrays
    labels: NDArray[np.int64] | None
    requests: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, inputs: Arrays, labels: NDArray[np.int64] | None, *, batch: int) -> "Workload":
        """Cut the rows into requests of `batch` rows; the last one goes on at the first row."""
        rows = len(next(iter(inputs.values())))
        starts = range(0, rows, batch)
        return cls(
            inputs=inputs,
            labels=labels,
            requests=tuple((start + np.arange(batch, dtype=np.int64)) % rows for start in starts),
        )

    def request(self, index: int) -> NDArray[np.int64]:
        """Row numbers of the `index`-th request of a run."""
        return self.requests[index % len(self.requests)]

    def take(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The arrays of one request."""
        return {name: array[rows] for name, array in self.inputs.items()}


def golden_path(repository: Path, model: str, version: str) -> Path:
    """Where the golden request of a version lies."""
    return repository / model / version / "golden.npz"


def workload_from_golden(repository: Path, model: str, version: str, *, batch: int) -> Workload:
    """The golden rows of a version.

    Raises:
        NoInputsError: there is no such file.
        GoldenError: it cannot be read.
    """
    path = golden_path(repository, model, version)
    if not path.is_file():
        raise NoInputsError(model, version, path)
    golden = Golden.load(path)
    return Workload.of(golden.inputs, golden.labels, batch=batch)


def workload_from_file(path: Path, *, specs: Sequence[TensorSpec], batch: int) -> Workload:
    """Rows of an `.npz` with one array per model input, and `label` if known.

    A golden file (keys `input.<name>`) is read too.

    Args:
        path: the file.
        specs: the model's inputs; optional ones may be missing in the file.
        batch: rows per request.

    Raises:
        BadInputsError: the file is missing or no `.npz`, lacks an input, has a foreign array,
            or its arrays differ in rows.
    """
    arrays = _arrays(path)
    names = {spec.name: spec.optional for spec in specs}
    if any(key.startswith(GOLDEN_PREFIX) for key in arrays):
        kept = {
            key.removeprefix(GOLDEN_PREFIX): array
            for key, array in arrays.items()
            if key.startswith(GOLDEN_PREFIX) or key == LABEL
        }
        arrays = kept
    labels = arrays.pop(LABEL, None) if LABEL not in names else None
    has = ", ".join(sorted(arrays)) or "no arrays"
    if missing := [name for name in names if name not in arrays and not names[name]]:
        raise BadInputsError(path, f"lacks the input {missing[0]!r}", hint=f"it has {has}")
    if foreign := [name for name in arrays if name not in names]:
        raise BadInputsError(
            path, f"{foreign[0]!r} is no input", hint=f"the model's are {', '.join(names)}"
        )
    return Workload.of(arrays, _checked(path, arrays, labels), batch=batch)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise BadInputsError(path, "is a single array", hint="write it with numpy.savez")
        with file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError as exc:
        raise BadInputsError(path, "does not exist") from exc
    except (OSError, ValueError, BadZipFile, EOFError) as exc:
        raise BadInputsError(path, "is not an .npz of plain arrays", hint=str(exc)) from exc


def _checked(path: Path, arrays: Arrays, labels: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """The labels, once every array has the same number of rows."""
    everything = dict(arrays) if labels is None else {**arrays, LABEL: labels}
    rows = {name: len(array) if array.ndim else 0 for name, array in everything.items()}
    if min(rows.values()) == 0:
        raise BadInputsError(path, "has an array without rows")
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise BadInputsError(path, "its arrays differ in rows", hint=counts)
    if labels is None:
        return None
    if labels.dtype.kind not in "iu":
        raise BadInputsError(path, f"label is {labels.dtype}, not an integer array")
    return labels.astype(np.int64)
