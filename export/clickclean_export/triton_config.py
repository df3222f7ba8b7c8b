"""``config.pbtxt`` and ``configs/cpu.pbtxt``: from values through Triton's protobuf, read back.

Fields are those of model_config.proto
(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto).
"""

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from clickclean_client.axes import NamedAxes
from clickclean_client.protocol import (
    NUMPY_DTYPES,
    config_dtype,
    format_model_config,
    model_config_pb2,
    parse_model_config,
)
from clickclean_client.slots import AXES, FINGERPRINT, SPLIT
from clickclean_export.errors import ConversionError
from clickclean_export.manifest import MODEL
from clickclean_export.recipe import BATCH, Recipe, Tensor

Fleet = Literal["gpu", "cpu"]
DEFAULT_PLAN = "model.plan"
"""What Triton looks for when the config names no plan for a GPU."""


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
        plans: By compute capability such as "8.9", the plan as a path in the version's folder (gpu
            fleet).
        default_plan: The same for every other compute capability (gpu fleet).
        profiles: Indices of the optimization profiles that an instance uses (gpu fleet).
        cuda_graph_batches: Batches that a CUDA graph is captured for, ascending; a smaller batch
            runs in the next larger graph. Empty: no graphs (always, on the cpu fleet).
        fingerprint: SHA-256 of the version's manifest, in hex; travels with the config, so that a
            server can be asked which bytes it serves.
        split: Who is sent to this challenger, a JSON object; empty for what is no challenger.
        axes: Names and ranges of axes, a JSON object (``clickclean_client.axes``), so that clients
            can say which axis of a request is wrong; empty in configs that say nothing.
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
    default_plan: str = DEFAULT_PLAN
    profiles: tuple[int, ...] = (0,)
    cuda_graph_batches: tuple[int, ...] = ()
    fingerprint: str = ""
    split: str = ""
    axes: str = ""

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
            profiles=tuple(range(max(len(recipe.engine.profiles), 1))) if fleet == "gpu" else (0,),
            cuda_graph_batches=_graph_batches(recipe) if fleet == "gpu" else (),
            axes=_axes(recipe),
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
            config.default_model_filename = self.default_plan
            config.cc_model_filenames.update(self.plans)
            self._add_graphs(config)
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
        for key, value in (
            (FINGERPRINT, self.fingerprint),
            (SPLIT, self.split),
            (AXES, self.axes),
        ):
            if value:
                config.parameters[key].string_value = value
        for tensor in self.inputs:
            config.input.add(
                name=tensor.name, data_type=config_dtype(tensor.dtype), dims=tensor.dims
            )
        for tensor in self.outputs:
            config.output.add(
                name=tensor.name, data_type=config_dtype(tensor.dtype), dims=tensor.dims
            )
        group = config.instance_group.add(count=self.instances, kind=kind)
        if self.fleet == "gpu":
            group.profile.extend(map(str, self.profiles))
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

    def _add_graphs(self, config: "model_config_pb2.ModelConfig") -> None:
        """Capture graphs so that every batch from 1 to the largest runs in one.

        Left to itself, Triton captures batch 1, the preferred sizes and the largest, and everything
        between runs without a graph. A lower bound lets a batch run in the next larger graph, but
        only where the graph names the inputs' shapes too: without them the bound is compared with
        the full batch and never holds (tensorrt_backend, src/instance_state.cc,
        "InitializeGraphSpecs", "SetCudaGraphShape").
        """
        smaller = 0
        for batch in self.cuda_graph_batches:
            config.optimization.cuda.graphs = True
            spec = config.optimization.cuda.graph_spec.add(batch_size=batch)
            spec.graph_lower_bound.batch_size = smaller + 1
            for tensor in self.inputs:
                spec.input[tensor.name].dim.extend(tensor.dims)
                spec.graph_lower_bound.input[tensor.name].dim.extend(tensor.dims)
            smaller = batch

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
        parameters = {key: entry.string_value for key, entry in config.parameters.items()}
        warm = config.model_warmup[0].inputs if config.model_warmup else {}
        batching = config.dynamic_batching
        threads = parameters.get("INFERENCE_NUM_THREADS", "") if fleet == "cpu" else "0"
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
            default_plan=config.default_model_filename if fleet == "gpu" else DEFAULT_PLAN,
            profiles=tuple(int(index) for index in config.instance_group[0].profile) or (0,),
            cuda_graph_batches=tuple(
                spec.batch_size for spec in config.optimization.cuda.graph_spec
            ),
            fingerprint=parameters.get(FINGERPRINT, ""),
            split=parameters.get(SPLIT, ""),
            axes=parameters.get(AXES, ""),
        )


def _axes(recipe: Recipe) -> str:
    """Return what a config says of the axes; only axes of inputs have ranges in a recipe."""
    tensors = {tensor.name: tensor.axes for tensor in (*recipe.inputs, *recipe.outputs)}
    ranges = {axis: (sizes.min, sizes.max) for axis, sizes in recipe.axes.items() if axis != BATCH}
    return NamedAxes(tensors, ranges).to_json()


def _graph_batches(recipe: Recipe) -> tuple[int, ...]:
    """Return powers of two up to the largest batch: padding less than doubles the work.

    A graph is captured for fixed shapes, so a model with another free axis gets none. Nor does one
    with several profiles: Triton tries every graph in each profile, and logs an error for those
    that a profile cannot take (tensorrt_backend, src/instance_state.cc, "InitializeCudaGraph").
    """
    fixed = all(isinstance(axis, int) for tensor in recipe.inputs for axis in tensor.axes[1:])
    top = recipe.serving.max_batch
    if not (recipe.engine.cuda_graphs and fixed) or len(recipe.engine.profiles) > 1:
        return ()
    return (*(2**power for power in range((top - 1).bit_length())), top)


def _warmups(max_batch: int) -> list[tuple[str, int]]:
    return [("one row", 1)] + ([("full batch", max_batch)] if max_batch > 1 else [])


def _dtype_name(data_type: int) -> str:
    for dtype in NUMPY_DTYPES.values():
        if dtype.kind != "O" and config_dtype(dtype) == data_type:
            return np.dtype(dtype).name
    raise ConversionError("reading the Triton config", f"data type {data_type} is not ours")
