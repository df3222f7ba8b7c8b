"""Model repositories with tiny ONNX models, as publishing and promoting would leave them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from clickclean_client import Golden
from clickclean_client.protocol import format_model_config, model_config_pb2

Shape = list[int | str]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
EMBEDDING = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
SLOW_SIDE = 1024
SLOW_LAYERS = 8


@dataclass(frozen=True)
class Tiny:
    """One model: its graph with inputs and outputs, and golden examples."""

    nodes: Sequence[Any]
    weights: Mapping[str, NDArray[Any]]
    shapes: Mapping[str, Shape]  # of inputs and outputs, the first axis is the batch
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    max_batch: int = 8

    def save(self, path: Path) -> None:
        def describe(arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), self.shapes[name]
                )
                for name, array in arrays.items()
            ]

        constants = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        graph = helper.make_graph(
            self.nodes, "tiny", describe(self.inputs), describe(self.outputs), constants
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def linear(scale: float = 1.0) -> Tiny:
    """Y = scale * x @ WEIGHTS, so that the answer tells which version gave it."""
    x = np.arange(32, dtype=np.float32).reshape(8, 4) / 10
    weights = WEIGHTS * np.float32(scale)
    return Tiny(
        nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])],
        weights={"w": weights},
        shapes={"x": ["n", 4], "y": ["n", 3]},
        inputs={"x": x},
        outputs={"y": x @ weights},
    )


def pair() -> Tiny:
    """Two inputs of different dtype, one with a free axis, as a text model has."""
    ids = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int64)
    bias = np.ones((2, 4), dtype=np.float32)
    return Tiny(
        nodes=[
            helper.make_node("Gather", ["table", "ids"], ["tokens"], axis=0),
            helper.make_node("ReduceMean", ["tokens"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("Add", ["mean", "bias"], ["score"]),
        ],
        weights={"table": EMBEDDING},
        shapes={"ids": ["n", "t"], "bias": ["n", 4], "score": ["n", 4], "tokens": ["n", "t", 4]},
        inputs={"ids": ids, "bias": bias},
        outputs={"score": EMBEDDING[ids].mean(axis=1) + bias, "tokens": EMBEDDING[ids]},
    )


def slow() -> Tiny:
    """Y = x after some 17 GFLOP: many products with the identity."""
    x = np.ones((1, 1), dtype=np.float32)
    layers = [
        helper.make_node("MatMul", [f"h{i}", "eye"], [f"h{i + 1}"]) for i in range(SLOW_LAYERS)
    ]
    return Tiny(
        nodes=[
            helper.make_node("Reshape", ["x", "one"], ["scalar"]),
            helper.make_node("Mul", ["scalar", "eye2"], ["h0"]),
            *layers,
            helper.make_node("ReduceMax", [f"h{SLOW_LAYERS}"], ["top"], keepdims=0),
            helper.make_node("Reshape", ["top", "cell"], ["y"]),
        ],
        weights={
            "eye": np.roll(np.eye(SLOW_SIDE, dtype=np.float32), 1, axis=1),
            "eye2": np.eye(SLOW_SIDE, dtype=np.float32),
            "one": np.array([1], dtype=np.int64),
            "cell": np.array([1, 1], dtype=np.int64),
        },
        shapes={"x": ["n", 1], "y": ["n", 1]},
        inputs={"x": x},
        outputs={"y": x},
        max_batch=1,
    )


def unbatched() -> Tiny:
    """No batch axis of Triton's (max_batch_size 0)."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3) - 3
    return Tiny(
        nodes=[helper.make_node("Relu", ["x"], ["y"])],
        weights={},
        shapes={"x": ["a", 3], "y": ["a", 3]},
        inputs={"x": x},
        outputs={"y": np.maximum(x, 0)},
        max_batch=0,
    )


@dataclass(frozen=True)
class TinyRepository:
    """A model repository that a test may change."""

    root: Path

    def publish(self, model: str, version: int, tiny: Tiny) -> Path:
        """Writes a version; nothing serves it yet."""
        folder = self.root / model / str(version)
        folder.mkdir(parents=True)
        tiny.save(folder / "model.onnx")
        tolerance = dict.fromkeys(tiny.outputs, 1e-3)
        Golden(tiny.inputs, tiny.outputs, tolerance).save(folder / "golden.npz")
        return folder

    def promote(
        self,
        model: str,
        versions: Sequence[int],
        tiny: Tiny,
        *,
        delay_us: int = 0,
        parameters: Mapping[str, str] | None = None,
    ) -> Path:
        """Writes configs/cpu.pbtxt atomically, as `clickclean promote` does."""
        config = model_config_pb2.ModelConfig(
            name=model,
            backend="openvino",
            default_model_filename="model.onnx",
            max_batch_size=tiny.max_batch,
        )
        batch = 1 if tiny.max_batch else 0
        for arrays, entries in ((tiny.inputs, config.input), (tiny.outputs, config.output)):
            for name, array in arrays.items():
                dims = [-1 if isinstance(d, str) else d for d in tiny.shapes[name][batch:]]
                entries.add(name=name, data_type=triton_type(array.dtype), dims=dims)
        config.version_policy.specific.versions.extend(versions)
        config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        if tiny.max_batch:
            config.dynamic_batching.max_queue_delay_microseconds = delay_us
        settings = {"INFERENCE_NUM_THREADS": "1", **(parameters or {})}
        for key, value in settings.items():
            config.parameters[key].string_value = value
        return self.write_config(model, format_model_config(config))

    def write_config(self, model: str, text: str) -> Path:
        path = self.root / model / "configs" / "cpu.pbtxt"
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(".cpu.pbtxt.new")
        staged.write_text(text)
        return staged.replace(path)

    def add(self, model: str, tiny: Tiny, *, delay_us: int = 0) -> None:
        """Publishes and promotes version 1."""
        self.publish(model, 1, tiny)
        self.promote(model, [1], tiny, delay_us=delay_us)


def triton_type(dtype: np.dtype[Any]) -> int:
    types = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
    return int(model_config_pb2.DataType.Value(types[dtype.name]))
