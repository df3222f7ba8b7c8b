"""Golden data: a few inputs of a version with the answers that its publisher got.

`golden.npz` lies in every version directory. The server is proven with it before a version
takes traffic, and again for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from clickclean_client._exceptions import GoldenError
from clickclean_client._golden_check import GoldenCheck, byte_items, compare_output, severity

if TYPE_CHECKING:
    from clickclean_client._client import Client

__all__ = ["Golden", "GoldenCheck"]


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, expected outputs and the allowed absolute difference for each output.

    All arrays have the batch as first axis and the same number of rows. `labels` is int64 with
    `rows` on its first axis, or None. `prediction` names the output whose argmax over the last
    axis is the answer, "" if there is none.

    Raises:
        GoldenError: no inputs, outputs or rows, differing row counts, NaN in an expected output,
            a tolerance missing or not finite, an unknown `prediction`.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    tolerance: Mapping[str, float]
    labels: NDArray[np.int64] | None = None
    prediction: str = ""

    def __post_init__(self) -> None:
        problem = _inconsistency(self)
        if problem:
            raise GoldenError(problem)

    @property
    def rows(self) -> int:
        """How many examples there are: the size of every first axis."""
        return len(next(iter(self.inputs.values())))

    def save(self, path: Path) -> None:
        """Write the data as `.npz`, to exactly this path, replacing a file that is there.

        The file is not written atomically; publishing does that for the whole directory.

        Raises:
            GoldenError: the file cannot be written, or bytes end with a NUL (npz drops those).
        """
        arrays: dict[str, NDArray[Any]] = {}
        for name, array in self.inputs.items():
            arrays[f"input.{name}"] = _storable(name, array)
        for name, array in self.outputs.items():
            arrays[f"output.{name}"] = _storable(name, array)
            arrays[f"tolerance.{name}"] = np.array(self.tolerance[name], dtype=np.float64)
        if self.labels is not None:
            arrays["label"] = self.labels
        arrays["prediction"] = np.array(self.prediction)
        try:
            # An open file, because savez appends ".npz" to a name without it.
            with path.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as exc:
            raise GoldenError(
                f"it cannot be written ({exc.strerror})", source=str(path), hint="Check the disk."
            ) from exc

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read a file that `save` wrote; nothing in it can run code.

        Raises:
            GoldenError: the file is missing, damaged or inconsistent.
        """
        arrays = _read(path)
        try:
            return cls(
                inputs=_group(arrays, "input."),
                outputs=_group(arrays, "output."),
                tolerance={k: float(v) for k, v in _group(arrays, "tolerance.").items()},
                labels=arrays.get("label"),
                prediction=str(arrays.get("prediction", "")),
            )
        except GoldenError as exc:
            problem = str(exc).partition(": ")[2].rstrip(".")
            raise GoldenError(problem, source=str(path)) from exc
        except (TypeError, ValueError) as exc:
            raise GoldenError(f"a tolerance is no number ({exc})", source=str(path)) from exc

    def head(self, rows: int) -> Golden:
        """The first `rows` examples, as views; all of them if there are fewer."""
        return self._slice(slice(0, rows))

    def row(self, index: int) -> Golden:
        """One example with the batch axis kept, as views; IndexError outside 0..rows-1."""
        if not 0 <= index < self.rows:
            raise IndexError(f"row {index} of {self.rows}")
        return self._slice(slice(index, index + 1))

    def compare(self, answer: Mapping[str, NDArray[Any]]) -> GoldenCheck:
        """Compare an answer to `inputs` with the expected outputs.

        Not ok: a missing output, another shape or kind of dtype, NaN, a difference over the
        tolerance. Infinities must be the same, bytes equal. Extra outputs do not matter.
        """
        checks = (
            compare_output(name, expected, answer.get(name), self.tolerance[name])
            for name, expected in self.outputs.items()
        )
        return max(checks, key=severity)

    def check(
        self,
        client: Client,
        model: str,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
    ) -> GoldenCheck:
        """Send as many rows as the model takes in one request, and compare the answer.

        Only the name itself is asked, as by an exact client: the answer of a slot elsewhere would
        prove nothing about it.

        Raises:
            ClientError: the call failed; that is not a difference.
        """
        client = client.exactly()
        limit = client.metadata(model, version=version, timeout_s=timeout_s).max_batch
        part = self.head(min(self.rows, limit or self.rows))
        return part.compare(client.infer(model, part.inputs, version=version, timeout_s=timeout_s))

    def _slice(self, part: slice) -> Golden:
        return Golden(
            inputs={name: array[part] for name, array in self.inputs.items()},
            outputs={name: array[part] for name, array in self.outputs.items()},
            tolerance=self.tolerance,
            labels=None if self.labels is None else self.labels[part],
            prediction=self.prediction,
        )


def _inconsistency(golden: Golden) -> str:
    """What is wrong with the data, as the end of a sentence; "" if nothing is."""
    if not golden.inputs or not golden.outputs:
        return "it has no inputs" if not golden.inputs else "it has no outputs"
    arrays = [*golden.inputs.values(), *golden.outputs.values()]
    if golden.labels is not None:
        arrays.append(golden.labels)
        if golden.labels.dtype != np.int64:
            return f"its labels are {golden.labels.dtype}, not int64"
    rows = {array.shape[0] if array.ndim else 0 for array in arrays}
    if len(rows) != 1 or rows == {0}:
        return f"its arrays must have one number of rows, above 0, and have {sorted(rows)}"
    if golden.prediction and golden.prediction not in golden.outputs:
        return f"the prediction {golden.prediction!r} is none of its outputs"
    return _output_problem(golden)


def _output_problem(golden: Golden) -> str:
    for name, array in golden.outputs.items():
        tolerance = golden.tolerance.get(name, np.nan)
        if not (np.isfinite(tolerance) and tolerance >= 0):
            return f"the output {name!r} has no finite tolerance of 0 or more"
        if array.dtype.kind == "f" and np.isnan(array).any():
            return f"the expected output {name!r} holds NaN"
    return ""


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise ValueError("it is no npz file")
            return {key: _loaded(file[key]) for key in file.files}
    except FileNotFoundError as exc:
        raise GoldenError("the file does not exist", source=str(path)) from exc
    except Exception as exc:
        raise GoldenError(f"it cannot be read ({exc})", source=str(path)) from exc


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "OSU":
        return array
    items = byte_items(array)
    if any(item.endswith(b"\0") for item in items):
        raise GoldenError(f"an element of {name!r} ends with a NUL byte, which npz cannot keep")
    return np.array(items, dtype=np.bytes_).reshape(array.shape)


def _loaded(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.object_) if array.dtype.kind == "S" else array


def _group(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)
    }
