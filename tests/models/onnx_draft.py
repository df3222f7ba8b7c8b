"""The smallest ONNX files with INT8, and what larger ones are drafted with.

Q/DQ nodes stand where ModelOpt puts them (``dq_only=True``): one in front of every convolution and
matrix product, on the skipping branch of an addition, and none on biases; INT8 weights with a scale
per output channel and a DequantizeLinear alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]
Constants = Mapping[str, NDArray[Any] | None]

_OPSET = 19
_ACTIVATION_SCALE = 0.05
# Standard deviation of integers that are evenly spread over -127..127.
_INT8_STD = 73.3


class Draft:
    """A graph in the making: nodes and constants, each of them named."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, values: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        self.constants[name] = np.asarray(values, dtype)
        return name

    def node(
        self, operator: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any
    ) -> str:
        made = helper.make_node(operator, inputs, [output], name=name or output, **attributes)
        self.nodes.append(made)
        return output

    def quantised(self, tensor: str, scale: float = _ACTIVATION_SCALE) -> str:
        """Send an activation through Q and DQ; once, however many read it."""
        output = f"{tensor}_DequantizeLinear_Output"
        if not any(output in node.output for node in self.nodes):
            step = [
                self.constant(f"{tensor}_scale", scale),
                self.constant(f"{tensor}_zero_point", 0, np.int8),
            ]
            between = f"{tensor}_QuantizeLinear_Output"
            self.node("QuantizeLinear", [tensor, *step], between, f"{tensor}_QuantizeLinear")
            self.node("DequantizeLinear", [between, *step], output, f"{tensor}_DequantizeLinear")
        return output

    def weights(self, name: str, shape: Sequence[int], axis: int = 0, gain: float = 1.0) -> str:
        """Make INT8 weights whose sums keep the size of their inputs, ``gain`` times."""
        channels = shape[axis]
        fan_in = int(np.prod(shape)) // channels
        spread = self.random.uniform(0.8, 1.2, channels)
        inputs = [
            self.constant(name, self.random.integers(-127, 128, shape, np.int8), np.int8),
            self.constant(f"{name}_scale", gain * spread / np.sqrt(fan_in) / _INT8_STD),
            self.constant(f"{name}_zero_point", np.zeros(channels), np.int8),
        ]
        output = f"{name}_DequantizeLinear_Output"
        return self.node("DequantizeLinear", inputs, output, f"{name}_DequantizeLinear", axis=axis)

    def noise(self, name: str, *shape: int, size: float = 0.05) -> str:
        return self.constant(name, size * self.random.standard_normal(shape))

    def model(
        self,
        inputs: Mapping[str, Dims],
        outputs: Mapping[str, Dims],
        *,
        domains: Sequence[str] = (),
        types: Mapping[str, int] | None = None,
    ) -> onnx.ModelProto:
        def infos(tensors: Mapping[str, Dims]) -> list[onnx.ValueInfoProto]:
            kinds = types or {}
            return [
                helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), dims)
                for name, dims in tensors.items()
            ]

        graph = helper.make_graph(
            self.nodes,
            "graph",
            infos(inputs),
            infos(outputs),
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


Tail = Callable[[Draft], object]


def conv_block(
    *,
    size: int | None = 8,
    constants: Constants | None = None,
    weight_axis: int = 0,
    tail: Tail | None = None,
    **ports: Any,
) -> onnx.ModelProto:
    """One quantised convolution: ``x`` float32[batch, 3, size, size] to ``y`` with 4 channels.

    Nodes are called layer1/q, layer1/dq, layer1/dq_w, layer1/conv and layer1/relu.

    Args:
        size: Height and width; None leaves both free ("height", "width").
        constants: Replaces values by name (scale, zero, weights, weight_scales, weight_zeros,
            bias), None drops the input; other names are added.
        weight_axis: Axis of the scales of the weights.
        tail: Makes ``y`` of ``features``, in place of Relu.
        ports: For ``Draft.model``.
    """
    draft = Draft()
    draft.constant("scale", _ACTIVATION_SCALE)
    draft.constant("zero", 0, np.int8)
    draft.constant("weights", draft.random.integers(-127, 128, (4, 3, 3, 3)), np.int8)
    draft.constant("weight_scales", np.full(4, 0.01))
    draft.constant("weight_zeros", np.zeros(4), np.int8)
    draft.noise("bias", 4)
    for name, values in (constants or {}).items():
        if values is None:
            del draft.constants[name]
        else:
            draft.constants[name] = values

    def known(*names: str) -> list[str]:
        made = {name for node in draft.nodes for name in node.output}
        return [name for name in names if name in draft.constants or name in made or name == "x"]

    draft.node("QuantizeLinear", known("x", "scale", "zero"), "x_q", "layer1/q")
    draft.node("DequantizeLinear", known("x_q", "scale", "zero"), "x_dq", "layer1/dq")
    inputs = known("weights", "weight_scales", "weight_zeros")
    draft.node("DequantizeLinear", inputs, "w_dq", "layer1/dq_w", axis=weight_axis)
    bias = "bias"
    if draft.constants["bias"].dtype == np.int32:
        draft.constant("bias_scale", 5e-4)
        bias = draft.node("DequantizeLinear", ["bias", "bias_scale"], "b_dq", "layer1/dq_b")
    draft.node("Conv", ["x_dq", "w_dq", bias], "features", "layer1/conv", pads=[1] * 4)
    (tail or (lambda d: d.node("Relu", ["features"], "y", "layer1/relu")))(draft)
    sizes: Dims = ["height", "width"] if size is None else [size, size]
    inputs_of_model = {"x": ["batch", 3, *sizes], **ports.pop("inputs", {})}
    return draft.model(inputs_of_model, {"y": ["batch", 4, *sizes]}, **ports)


def float_block() -> onnx.ModelProto:
    """``conv_block`` before it was quantised."""
    draft = Draft()
    draft.noise("weights", 4, 3, 3, 3, size=0.2)
    draft.node("Conv", ["x", "weights"], "features", "layer1/conv", pads=[1] * 4)
    draft.node("Relu", ["features"], "y", "layer1/relu")
    return draft.model({"x": ["batch", 3, 8, 8]}, {"y": ["batch", 4, 8, 8]})
