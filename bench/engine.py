"""The OpenVINO model that all contestants run, compiled with the settings of the served config."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Settings:
    """What decides how the engine runs; the same for every contestant.

    Attributes:
        model: The INT8 ONNX file.
        shape: Of one row, without the batch axis.
        threads: ``INFERENCE_NUM_THREADS``.
        streams: ``NUM_STREAMS``.
        hint: ``PERFORMANCE_HINT``.
    """

    model: Path
    shape: tuple[int, ...]
    threads: int
    streams: int
    hint: str

    @property
    def properties(self) -> Mapping[str, Any]:
        """OpenVINO's compile properties, those of our Triton backend for this config."""
        return {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.streams,
            "PERFORMANCE_HINT": self.hint,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }


class Engine:
    """The compiled model. Each thread has an inference request of its own."""

    def __init__(self, settings: Settings) -> None:
        import openvino as ov

        core = ov.Core()
        self._compiled = core.compile_model(
            core.read_model(settings.model), "CPU", dict(settings.properties)
        )
        self._own = threading.local()

    def infer(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Answer ``float32[batch, ...]``; the array is valid until the thread's next call."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        answer: NDArray[Any] = request.infer([rows], share_inputs=True, share_outputs=True)[0]
        return answer
