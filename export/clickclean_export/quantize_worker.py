"""The process in which ModelOpt quantises: it rewrites its input and patches ONNX Runtime."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.worker_process import Message, work

Batch = dict[str, NDArray[Any]]


class Batches:
    """The calibration data as ONNX Runtime's calibrators read it, batch by batch."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._next = 0

    def get_next(self) -> Batch | None:
        """Return the next batch, or None at the end."""
        if self._next >= len(self._batches):
            return None
        self._next += 1
        return self._batches[self._next - 1]

    def get_first(self) -> Batch:
        """Return the first batch without moving on."""
        return self._batches[0]

    def rewind(self) -> None:
        """Start again."""
        self._next = 0


def read_batches(path: Path) -> list[Batch]:
    """Read the numbered batches that ``quantize`` wrote."""
    batches: dict[str, Batch] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in sorted(archive.files):
            number, _, name = key.partition(".")
            batches.setdefault(number, {})[name] = archive[key]
    return list(batches.values())


def quantise(job: Message, _: object) -> Message:
    """Quantise one file with one method."""
    from modelopt.onnx.quantization import quantize

    # ModelOpt rewrites its input in place, and writes intermediates beside input and output under
    # names that the other methods' workers would use too.
    folder = Path(job["work"]) / f"modelopt-{job['method']}"
    folder.mkdir()
    source = folder / "fp32.onnx"
    shutil.copyfile(job["source"], source)
    output = folder / "int8.onnx"
    quantize(
        str(source),
        quantize_mode="int8",
        calibration_method=job["method"],
        # Without a reader it would calibrate on random data, silently.
        calibration_data_reader=Batches(read_batches(Path(job["feeds"]))),
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        # INT8 weights instead of float weights with a Q in front: a quarter of the size.
        dq_only=True,
        output_path=str(output),
    )
    output.replace(job["target"])
    return {}


if __name__ == "__main__":
    work(quantise)
