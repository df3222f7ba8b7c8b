"""Triton backend `openvino`, written in Python: runs ONNX or OpenVINO IR files on the CPU.

One file for all models. It lies in the backend directory, Triton runs it in a process of its own
for each instance, and the model's config selects it with `backend: "openvino"`. It reads what
Triton's native OpenVINO backend reads (`src/openvino.cc` there), so that one config serves in both:

* `default_model_filename` (`model.xml` when empty),
* parameters `INFERENCE_NUM_THREADS`, `COMPILATION_NUM_THREADS`, `NUM_STREAMS`, `PERFORMANCE_HINT`,
  `HINT_BF16`; `SKIP_OV_DYNAMIC_BATCHSIZE`, `ENABLE_BATCH_PADDING` and `RESHAPE_IO_LAYERS` are
  accepted and change nothing, because every batch runs here with the size that it has.

Layers that are float in the file run as float32 unless `HINT_BF16` says YES: OpenVINO's own default
is bfloat16 on a CPU that has it, and then the accuracy depends on the machine.

It imports nothing of this project, because Triton's stub process loads it by path.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

# Triton sends an error text in a gRPC trailer: above 8 KB in all the client sees
# RESOURCE_EXHAUSTED instead of the error.
MAX_ERROR_BYTES = 2048

DTYPES: Mapping[str, np.dtype[Any]] = {
    "TYPE_BOOL": np.dtype(np.bool_),
    "TYPE_UINT8": np.dtype(np.uint8),
    "TYPE_UINT16": np.dtype(np.uint16),
    "TYPE_UINT32": np.dtype(np.uint32),
    "TYPE_UINT64": np.dtype(np.uint64),
    "TYPE_INT8": np.dtype(np.int8),
    "TYPE_INT16": np.dtype(np.int16),
    "TYPE_INT32": np.dtype(np.int32),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_FP16": np.dtype(np.float16),
    "TYPE_FP32": np.dtype(np.float32),
    "TYPE_FP64": np.dtype(np.float64),
}

# Answers that the version's publisher got; the load fails when this machine gives others.
GOLDEN = "golden.npz"
MANIFEST = "manifest.json"
# The config's parameter with the SHA-256 of the manifest; clickclean_client/slots.py has it too.
FINGERPRINT = "CLICKCLEAN_FINGERPRINT"
PARENT_EVERY_S = 0.5

Arrays = dict[str, NDArray[Any]]


class RequestRefusedError(Exception):
    """The caller sent what the config does not allow."""


class AnswerRefusedError(Exception):
    """The model produced what the config does not allow; the caller must not see it."""


@dataclass(frozen=True)
class Tensor:
    """One input or output as the config declares it; `dims` includes the batch axis, -1 is free."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int, ...]

    def admits(self, shape: Sequence[int], max_batch: int) -> bool:
        """Whether an array of this shape may pass."""
        if len(shape) != len(self.dims) or (max_batch and shape[0] > max_batch):
            return False
        return all(want in (-1, got) for want, got in zip(self.dims, shape, strict=True))

    def describe(self, max_batch: int) -> str:
        """The shape in words for an error message."""
        axes = ["1.." if dim == -1 else str(dim) for dim in self.dims]
        if max_batch:
            axes[0] = f"1..{max_batch}"
        return "[" + ", ".join(axes) + "]"


def cut(text: str) -> str:
    """`text` within `MAX_ERROR_BYTES` of UTF-8."""
    raw = text.encode()
    if len(raw) <= MAX_ERROR_BYTES:
        return text
    return raw[: MAX_ERROR_BYTES - 4].decode(errors="ignore") + " ..."


def tensors(entries: Sequence[Mapping[str, Any]], max_batch: int) -> tuple[Tensor, ...]:
    """Inputs or outputs of the model config."""
    found = []
    for entry in entries:
        if entry["data_type"] not in DTYPES:
            raise ValueError(
                f"tensor '{entry['name']}' has {entry['data_type']}, "
                f"which this backend does not serve (it serves {', '.join(DTYPES)})"
            )
        if entry.get("reshape"):
            raise ValueError(f"tensor '{entry['name']}' asks for a reshape, which is not served")
        dims = tuple(int(dim) for dim in entry["dims"])
        batch = (-1,) if max_batch else ()
        found.append(Tensor(entry["name"], DTYPES[entry["data_type"]], (*batch, *dims)))
    return tuple(found)


def count(key: str, value: str) -> int:
    """A parameter that is a count."""
    if not value.isdecimal():
        raise ValueError(f"parameter {key} must be a number of at least 0, got '{value}'")
    return int(value)


def choice(key: str, value: str, allowed: Mapping[str, Any]) -> Any:
    """A parameter that is one of a few words, in any case, as the native backend reads it."""
    if value.upper() not in allowed:
        raise ValueError(f"parameter {key} must be one of {'/'.join(allowed)}, got '{value}'")
    return allowed[value.upper()]


def properties(parameters: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """OpenVINO's compile properties for the parameters of a model config."""
    # Every instance is a process of its own: pinned threads of two of them would share cores.
    found: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    for key, entry in parameters.items():
        value = entry.get("string_value", "").strip()
        if not value:
            continue
        if key in {"INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS"}:
            found[key] = count(key, value)
        elif key == "NUM_STREAMS":
            words = {"AUTO": "AUTO", "NUMA": "NUMA"}
            found[key] = count(key, value) if value.isdecimal() else choice(key, value, words)
        elif key == "PERFORMANCE_HINT":
            hints = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")
            found[key] = choice(key, value, {hint: hint for hint in hints})
        elif key == "HINT_BF16":
            found["INFERENCE_PRECISION_HINT"] = choice(key, value, {"YES": "bf16"})
    return found


def check_ports(kind: str, declared: Sequence[Tensor], ports: Sequence[Any]) -> None:
    """Raises ValueError when config and model file disagree on names, dtypes or ranks."""
    actual = {name: port for port in ports for name in port.get_names()}
    for tensor in declared:
        if tensor.name not in actual:
            known = ", ".join(sorted(actual)) or "none"
            raise ValueError(f"the model has no {kind} '{tensor.name}' (it has: {known})")
        port = actual[tensor.name]
        if port.get_element_type().to_dtype() != tensor.dtype:
            raise ValueError(
                f"{kind} '{tensor.name}' is {tensor.dtype} in the config and "
                f"{port.get_element_type().get_type_name()} in the model"
            )
        shape = port.get_partial_shape()
        if not shape.compatible(openvino.PartialShape(list(tensor.dims))):
            raise ValueError(
                f"{kind} '{tensor.name}' is {list(tensor.dims)} in the config and "
                f"{shape} in the model"
            )
    if kind == "input" and len(ports) != len(declared):
        names = ", ".join(sorted(port.get_any_name() for port in ports))
        raise ValueError(f"the config declares {len(declared)} inputs, the model has: {names}")


def check_fingerprint(path: Path, parameters: Mapping[str, Mapping[str, str]]) -> None:
    """Raises ValueError when the files are not those that the config was written for.

    So a loaded version is a proof: its config can be read from the server, and it loaded only
    because the manifest has this SHA-256 and the model file and golden data the ones in it.
    """
    wanted = parameters.get(FINGERPRINT, {}).get("string_value", "")
    if not wanted:
        return
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        raise ValueError(f"there is no file {manifest}, whose fingerprint the config has")
    if sha256(manifest) != wanted:
        raise ValueError(f"{manifest} is not what the config was written for: its SHA-256 differs")
    files = json.loads(manifest.read_bytes())["files"]
    for file in (path, path.with_name(GOLDEN)):
        if file.name not in files or sha256(file) != files[file.name]["sha256"]:
            raise ValueError(f"{file} is not what was published: its SHA-256 differs")


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def end_with_server() -> None:
    """Ends this process when tritonserver is gone; Triton's stub would wait for it for ever.

    Not when the server died between an answer and its receipt: there the stub waits with the
    interpreter's lock held, and no thread of Python runs. The supervisor's next start ends it.
    """
    server = os.getppid()

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="end_with_server", daemon=True).start()


class TritonPythonModel:
    """What Triton's stub calls: `initialize` once, `execute` for every batch, `finalize` once."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Reads the config, compiles the model; raises TritonModelException with one sentence."""
        if int(np.__version__.split(".")[0]) >= 2:  # noqa: PLR2004
            # The stub of this server sees arrays of NumPy 2 as zeros, with status OK.
            raise pb_utils.TritonModelException(
                f"NumPy {np.__version__} gives silently wrong answers in this server; "
                "install numpy>=1.26,<2 beside it"
            )
        end_with_server()
        try:
            self._load(args)
        except Exception as exc:
            raise pb_utils.TritonModelException(cut(f"{args['model_name']}: {exc}")) from exc

    def _load(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.max_batch = int(config["max_batch_size"])
        self.inputs = tensors(config["input"], self.max_batch)
        self.outputs = tensors(config["output"], self.max_batch)
        filename = config.get("default_model_filename") or "model.xml"
        path = Path(args["model_repository"]) / args["model_version"] / filename
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        check_fingerprint(path, config.get("parameters", {}))
        core = openvino.Core()
        model = core.read_model(path)
        check_ports("input", self.inputs, model.inputs)
        check_ports("output", self.outputs, model.outputs)
        compiled = core.compile_model(model, "CPU", properties(config.get("parameters", {})))
        self.request = compiled.create_infer_request()
        self.ports = {tensor.name: compiled.output(tensor.name) for tensor in self.outputs}
        golden = path.with_name(GOLDEN)
        if golden.is_file():
            self._prove(golden)

    def _prove(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        rows = slice(0, self.max_batch) if self.max_batch else slice(None)
        feed = {tensor.name: arrays[f"input.{tensor.name}"][rows] for tensor in self.inputs}
        answer = self._infer(feed)
        for tensor in self.outputs:
            expected = arrays.get(f"output.{tensor.name}")
            if expected is None:
                continue
            got, want = answer[tensor.name], expected[rows]
            if got.shape != want.shape:
                raise ValueError(
                    f"its golden answer '{tensor.name}' has shape {list(got.shape)}, "
                    f"expected {list(want.shape)}"
                )
            # Equal infinities differ by NaN; whatever else is NaN must not pass.
            gap = np.abs(got.astype(np.float64) - want.astype(np.float64))
            worst = float(np.where(got == want, 0.0, gap).max(initial=0.0))
            tolerance = float(arrays[f"tolerance.{tensor.name}"])
            if not worst <= tolerance:
                raise ValueError(
                    f"its golden answer '{tensor.name}' is off by {worst:.6g}, "
                    f"allowed is {tolerance:.6g}"
                )

    def _infer(self, feed: Arrays) -> Arrays:
        # share_inputs must not change between calls on one OpenVINO request.
        results = self.request.infer(feed, share_inputs=True)
        return {name: results[port] for name, port in self.ports.items()}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers every request; a request that cannot be answered fails alone."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[tuple[int, Arrays]]] = {}
        for index, request in enumerate(requests):
            try:
                feed = self._read(request)
            except RequestRefusedError as exc:
                responses[index] = failure(exc, pb_utils.TritonError.INVALID_ARG)
                continue
            except Exception as exc:  # noqa: BLE001 - its batch mates must be answered
                responses[index] = failure(exc, pb_utils.TritonError.INTERNAL)
                continue
            # Only requests that agree on all axes but the first can be stacked.
            batched = 1 if self.max_batch else 0
            key = tuple(array.shape[batched:] for array in feed.values())
            groups.setdefault(key, []).append((index, feed))
        for group in groups.values():
            for index, response in self._answer(group):
                responses[index] = response
        return responses

    def finalize(self) -> None:
        """Lets the compiled model go before the process ends."""
        self.ports = {}
        self.request = None

    def _read(self, request: Any) -> Arrays:
        feed: Arrays = {}
        rows = None
        for tensor in self.inputs:
            given = pb_utils.get_input_tensor_by_name(request, tensor.name)
            if given is None:
                raise RequestRefusedError(f"input '{tensor.name}' is missing")
            array = given.as_numpy()
            if array.dtype != tensor.dtype:
                raise RequestRefusedError(
                    f"input '{tensor.name}' must be {tensor.dtype}, got {array.dtype}"
                )
            # An empty axis has crashed engines, and no caller means it.
            if 0 in array.shape or not tensor.admits(array.shape, self.max_batch):
                raise RequestRefusedError(
                    f"input '{tensor.name}' must have shape {tensor.describe(self.max_batch)}, "
                    f"got {list(array.shape)}"
                )
            if self.max_batch:
                if rows not in (None, array.shape[0]):
                    raise RequestRefusedError(
                        f"input '{tensor.name}' has {array.shape[0]} rows, the others {rows}"
                    )
                rows = array.shape[0]
            feed[tensor.name] = array
        return feed

    def _answer(self, group: Sequence[tuple[int, Arrays]]) -> list[tuple[int, Any]]:
        try:
            return self._run(group)
        except Exception as exc:  # noqa: BLE001 - whatever fails here must not end the process
            if len(group) == 1:
                return [(group[0][0], failure(exc, pb_utils.TritonError.INTERNAL))]
        # One of them made the whole run fail: alone, only that one does.
        return [answer for member in group for answer in self._answer([member])]

    def _run(self, group: Sequence[tuple[int, Arrays]]) -> list[tuple[int, Any]]:
        feeds = [feed for _, feed in group]
        stacked = feeds[0]
        if len(feeds) > 1:
            stacked = {
                tensor.name: np.concatenate([feed[tensor.name] for feed in feeds])
                for tensor in self.inputs
            }
        outputs = self._infer(stacked)
        if not self.max_batch:
            return [(group[0][0], self._response(outputs))]
        rows = [next(iter(feed.values())).shape[0] for feed in feeds]
        for name, output in outputs.items():
            if output.ndim == 0 or output.shape[0] != sum(rows):
                raise AnswerRefusedError(
                    f"output '{name}' has shape {list(output.shape)} for {sum(rows)} rows"
                )
        answers = []
        start = 0
        for (index, _), length in zip(group, rows, strict=True):
            part = {name: output[start : start + length] for name, output in outputs.items()}
            answers.append((index, self._response(part)))
            start += length
        return answers

    def _response(self, outputs: Arrays) -> Any:
        for tensor in self.outputs:
            output = outputs[tensor.name]
            if output.dtype != tensor.dtype or not tensor.admits(output.shape, self.max_batch):
                problem = (
                    f"output '{tensor.name}' is {output.dtype}{list(output.shape)}, "
                    f"the config says {tensor.dtype}{tensor.describe(self.max_batch)}"
                )
                return failure(AnswerRefusedError(problem), pb_utils.TritonError.INTERNAL)
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                problem = f"output '{tensor.name}' has values that are not finite"
                return failure(AnswerRefusedError(problem), pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
        )


def failure(exc: Exception, code: int) -> Any:
    """A response that fails one request of a batch and no other."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(cut(str(exc)), code))
