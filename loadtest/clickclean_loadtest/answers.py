"""Whether an answer is right: against the golden outputs and the labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_client import Golden
from clickclean_loadtest.inputs import Workload, golden_path


@dataclass(frozen=True)
class Judged:
    """One answer.

    Attributes:
        checked: it was compared with a golden one.
        why: what is wrong with it, "" if nothing.
        labelled, right: rows that have a label, and those answered with it.
    """

    checked: bool
    why: str
    labelled: int
    right: int


class Answers:
    """Judges answers by the golden files of the versions that gave them.

    The files are read once per version. One whose inputs are not the rows that were sent says
    nothing about the outputs, only which of them is the prediction.
    """

    def __init__(self, workload: Workload, *, repository: Path, model: str) -> None:
        self._workload = workload
        self._repository = repository
        self._model = model
        self._golden: dict[str, Golden | None] = {}

    def judge(self, rows: NDArray[np.int64], version: str, answer: Mapping[str, Any]) -> Judged:
        """Compare the outputs for these rows of the workload."""
        golden = self._of(version)
        checked, why = False, ""
        if golden is not None and _same(golden.inputs, self._workload.inputs):
            checked = True
            check = _part(golden, rows).compare(answer)
            why = "" if check.ok else check.reason
        labelled, right = self._score(golden, rows, answer)
        return Judged(checked=checked, why=why, labelled=labelled, right=right)

    def can_check(self, version: str) -> bool:
        """Whether answers of this version are compared with golden ones."""
        golden = self._of(version)
        return golden is not None and _same(golden.inputs, self._workload.inputs)

    def _of(self, version: str) -> Golden | None:
        if version not in self._golden:
            path = golden_path(self._repository, self._model, version)
            self._golden[version] = Golden.load(path) if path.is_file() else None
        return self._golden[version]

    def _score(
        self, golden: Golden | None, rows: NDArray[np.int64], answer: Mapping[str, Any]
    ) -> tuple[int, int]:
        labels = self._workload.labels
        name = golden.prediction if golden is not None else ""
        if not name and len(answer) == 1:
            name = next(iter(answer))
        if labels is None or name not in answer:
            return 0, 0
        wanted = labels[rows]
        scores = np.asarray(answer[name])
        if scores.dtype.kind not in "fiu" or scores.shape[:-1] != wanted.shape:
            return int(wanted.size), 0
        return int(wanted.size), int(np.count_nonzero(scores.argmax(axis=-1) == wanted))


def _same(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    if one is other:
        return True
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def _part(golden: Golden, rows: NDArray[np.int64]) -> Golden:
    return Golden(
        inputs={name: array[rows] for name, array in golden.inputs.items()},
        outputs={name: array[rows] for name, array in golden.outputs.items()},
        tolerance=golden.tolerance,
        labels=None if golden.labels is None else golden.labels[rows],
        prediction=golden.prediction,
    )
