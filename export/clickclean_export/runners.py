"""One way to ask every form of the model: ``infer(feed) -> outputs``."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from clickclean_client import Client, Overloaded
from clickclean_export.dataset import Feed
from clickclean_export.errors import ConversionError
from clickclean_export.recipe import Recipe
from clickclean_export.signal_stack import unchanged_signal_stack
from clickclean_export.torch_model import named_outputs

if TYPE_CHECKING:
    import torch

Outputs = Mapping[str, NDArray[Any]]

_PAUSE_S = 0.05


class Runner(Protocol):
    """Something that answers a batch."""

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch: arrays by input name to arrays by output name, rows first."""
        ...


class TorchRunner:
    """The module itself, on the CPU."""

    def __init__(self, recipe: Recipe, module: "torch.nn.Module") -> None:
        self._recipe = recipe
        self._module = module

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch."""
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in feed.items()}
        with torch.inference_mode():
            named = named_outputs(self._recipe, self._module(**tensors))
        return {name: tensor.numpy() for name, tensor in named.items()}


class OnnxRuntimeRunner:
    """An ONNX file in ONNX Runtime on the CPU, with its own rewrites of Q/DQ switched off.

    The point of this hop is the file's own arithmetic, so quantised operators stay as written:
    dequantise, compute in float, quantise.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = ort.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ConversionError(f"loading {path.name} in ONNX Runtime", str(error)) from error
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch."""
        values = self._session.run(self._names, dict(feed))
        return dict(zip(self._names, values, strict=True))


class OpenVinoRunner:
    """An ONNX file in OpenVINO, the engine of the CPU fleet.

    Layers left in float run in float32: on CPUs with AMX, OpenVINO would silently choose bfloat16
    (https://docs.openvino.ai, "Precision control").
    """

    def __init__(self, path: Path, *, threads: int = 2) -> None:
        import openvino as ov

        try:
            with unchanged_signal_stack():
                core = ov.Core()
                compiled = core.compile_model(
                    core.read_model(path),
                    "CPU",
                    {
                        "INFERENCE_PRECISION_HINT": "f32",
                        "INFERENCE_NUM_THREADS": threads,
                        "NUM_STREAMS": 1,
                        "PERFORMANCE_HINT": "LATENCY",
                    },
                )
        except Exception as error:
            raise ConversionError(
                f"compiling {path.name} for the CPU engine", str(error)
            ) from error
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch; the arrays are the caller's own."""
        result = self._request.infer(dict(feed), share_inputs=False, share_outputs=False)
        return {name: np.array(result[name]) for name in self._names}


class ServedRunner:
    """A live Triton server, asked through the client that services use.

    The gate asks what the server answers, not how fast, so a request that the queue policy refused
    (a busy machine does that) is sent again until ``timeout_s`` is over.
    """

    def __init__(self, endpoint: str, model: str, version: int, *, timeout_s: float = 30.0) -> None:
        self._client = Client(endpoint, timeout_s=timeout_s)
        self._model = model
        self._version = version
        self._timeout_s = timeout_s

    def infer(self, feed: Feed) -> Outputs:
        """Answer one batch."""
        give_up = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._client.infer(self._model, feed, version=self._version)
            except Overloaded:
                if time.monotonic() > give_up:
                    raise
                time.sleep(_PAUSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
