"""``config.pbtxt`` and ``configs/cpu.pbtxt``: from values through Triton's protobuf, read back.

Fields are those of model_config.proto
(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np

from clickclean_client.protocol import (
    NUMPY_DTYPES,
    config_dtype,
    format_model_config,
    model_config_pb2,
    parse_model_config,
)
from clickclean_export.errors import ConversionError
from clickclean_export.manifest import MODEL
from clickclean_export.recipe import Recipe, Tensor
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG

Fleet = Literal["gpu", "cpu"]


@dataclass(frozen=True)
class TensorConfig:
    """A tensor without its batch axis; a free axis is -1, ``warmup_dims`` has sizes instead."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    warmup_dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class TritonConfig:
    """How one fleet serves one model.

    Attributes:
        model: Name.
        fleet: "gpu" loads TensorRT plans, "cpu" the INT8 ONNX file.
        versions: The promoted versions; nothing else is loaded.
        inputs, outputs: Without the batch axis.
        max_batch: Largest batch of the artefact.
        queue_delay_us: How long a request may wait for company, microseconds.
        queue_size: Requests that may wait; 0 for no limit (always, on the cpu fleet).
        queue_timeout_us: A request that waited longer is refused, microseconds; 0 for never
            (always, on the cpu fleet).
        instances: Copies of the model that compute side by side.
        threads: CPU threads per instance (cpu fleet).
        warmup: Whether a load proves the model with one row and with a full batch.
        plans: By compute capability such as "8.9", the file name of the plan (gpu fleet).
    """

    model: str
    fleet: Fleet
    versions: tuple[int, ...]
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    max_batch: int
    queue_delay_us: int
    queue_size: int
    queue_timeout_us: int
    instances: int
    threads: int
    warmup: bool
    plans: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_recipe(cls, recipe: Recipe, fleet: Fleet, versions: tuple[int, ...]) -> Self:
        """Derive a fleet's config from the recipe of the promoted version."""

        def tensor(item: Tensor, *, warmup: bool) -> TensorConfig:
            sizes = tuple(
                axis if isinstance(axis, int) else recipe.axis_range(axis).opt
                for axis in item.axes[1:]
                if warmup
            )
            return TensorConfig(item.name, item.dtype, item.dims, sizes)

        serving = recipe.serving
        return cls(
            model=recipe.model.name,
            fleet=fleet,
            versions=versions,
            inputs=tuple(tensor(item, warmup=serving.warmup) for item in recipe.inputs),
            outputs=tuple(tensor(item, warmup=False) for item in recipe.outputs),
            max_batch=serving.max_batch,
            queue_delay_us=serving.queue_delay_us,
            # Any queue policy makes the batcher of the CPU fleet's server lose wake-ups: requests
            # stall for up to 500 ms (docs/decisions/0007; server#8870, core#509).
            queue_size=serving.queue_size if fleet == "gpu" else 0,
            queue_timeout_us=serving.queue_timeout_ms * 1000 if fleet == "gpu" else 0,
            instances=serving.instances,
            threads=serving.threads if fleet == "cpu" else 0,
            warmup=serving.warmup,
        )

    def to_text(self) -> str:
        """Return the protobuf text that Triton reads, proven by reading it back.

        Raises:
            ConversionError: what is read back is not what was written; a defect of ours.
        """
        text = format_model_config(self.to_proto())
        if type(self).from_text(text, self.fleet) != self:
            raise ConversionError("writing the Triton config", "it does not read back as written")
        return text

    def to_proto(self) -> "model_config_pb2.ModelConfig":
        """Return the protobuf message."""
        config = model_config_pb2.ModelConfig(name=self.model, max_batch_size=self.max_batch)
        if self.fleet == "gpu":
            config.platform = "tensorrt_plan"
            config.default_model_filename = "model.plan"
            config.cc_model_filenames.update(self.plans)
            kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
        else:
            config.backend = "openvino"
            config.default_model_filename = MODEL
            config.parameters["INFERENCE_NUM_THREADS"].string_value = str(self.threads)
            config.parameters["NUM_STREAMS"].string_value = "1"
            config.parameters["PERFORMANCE_HINT"].string_value = "LATENCY"
            # Triton's native OpenVINO backend would fix the batch at max_batch_size without it;
            # the batch of our file is free. Read in its README; never run there.
            config.parameters["SKIP_OV_DYNAMIC_BATCHSIZE"].string_value = "YES"
            kind = model_config_pb2.ModelInstanceGroup.KIND_CPU
        for tensor in self.inputs:
            config.input.add(
                name=tensor.name, data_type=config_dtype(tensor.dtype), dims=tensor.dims
            )
        for tensor in self.outputs:
            config.output.add(
                name=tensor.name, data_type=config_dtype(tensor.dtype), dims=tensor.dims
            )
        config.instance_group.add(count=self.instances, kind=kind)
        config.version_policy.specific.versions.extend(self.versions)
        batching = config.dynamic_batching
        batching.max_queue_delay_microseconds = self.queue_delay_us
        if self.queue_timeout_us or self.queue_size:
            policy = batching.default_queue_policy
            policy.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
            policy.default_timeout_microseconds = self.queue_timeout_us
            policy.allow_timeout_override = True
            policy.max_queue_size = self.queue_size
        if self.warmup:
            for name, rows in _warmups(self.max_batch):
                self._add_warmup(config, name, rows)
        return config

    def _add_warmup(self, config: "model_config_pb2.ModelConfig", name: str, rows: int) -> None:
        sample = config.model_warmup.add(name=name, batch_size=rows)
        for tensor in self.inputs:
            item = sample.inputs[tensor.name]
            item.data_type = config_dtype(tensor.dtype)
            item.dims.extend(tensor.warmup_dims)
            item.zero_data = True

    @classmethod
    def from_text(cls, text: str, fleet: Fleet) -> Self:
        """Read a config that ``to_text`` wrote."""
        config = parse_model_config(text)
        warm = config.model_warmup[0].inputs if config.model_warmup else {}
        batching = config.dynamic_batching
        threads = config.parameters["INFERENCE_NUM_THREADS"].string_value if fleet == "cpu" else "0"
        return cls(
            model=config.name,
            fleet=fleet,
            versions=tuple(config.version_policy.specific.versions),
            inputs=tuple(
                TensorConfig(
                    t.name,
                    _dtype_name(t.data_type),
                    tuple(t.dims),
                    tuple(warm[t.name].dims) if t.name in warm else (),
                )
                for t in config.input
            ),
            outputs=tuple(
                TensorConfig(t.name, _dtype_name(t.data_type), tuple(t.dims)) for t in config.output
            ),
            max_batch=config.max_batch_size,
            queue_delay_us=batching.max_queue_delay_microseconds,
            queue_size=batching.default_queue_policy.max_queue_size,
            queue_timeout_us=batching.default_queue_policy.default_timeout_microseconds,
            instances=config.instance_group[0].count,
            threads=int(threads),
            warmup=bool(config.model_warmup),
            plans=dict(config.cc_model_filenames),
        )


def config_texts(recipe: Recipe, promoted: int) -> dict[Path, str]:
    """Return both fleets' configs for one promoted version, by path in the model's folder.

    The GPU fleet's comes first, and is to be written first: the CPU config says what is promoted,
    so a machine that stops in between still tells the old truth, and promoting again repairs both.
    """
    return {
        GPU_CONFIG: TritonConfig.from_recipe(recipe, "gpu", (promoted,)).to_text(),
        CPU_CONFIG: TritonConfig.from_recipe(recipe, "cpu", (promoted,)).to_text(),
    }


def _warmups(max_batch: int) -> list[tuple[str, int]]:
    return [("one row", 1)] + ([("full batch", max_batch)] if max_batch > 1 else [])


def _dtype_name(data_type: int) -> str:
    for dtype in NUMPY_DTYPES.values():
        if dtype.kind != "O" and config_dtype(dtype) == data_type:
            return np.dtype(dtype).name
    raise ConversionError("reading the Triton config", f"data type {data_type} is not ours")
