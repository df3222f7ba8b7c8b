"""What is known of a name inside an ONNX graph: who makes it, whether it is constant, its type."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

import numpy as np
from numpy.typing import NDArray

from clickclean_export.engine.lint_parts import (
    attributes,
    constant_tensor,
    optional_input,
    stored_values,
    subgraphs,
)

if TYPE_CHECKING:
    import onnx

Origin = Literal["constant", "run-time", "unknown"]
"""Known when the plan is built, dependent on an input, or given by the caller of a function."""

_PASSES_VALUES = frozenset({"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"})
# Operators whose output has the type of their first input.
_PASSES_TYPE = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad"),
        *("Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose"),
        "Unsqueeze",
    }
)


class Scope:
    """One graph, subgraph or function body, with the names of those around it.

    TensorRT's parser sees names the same way: subgraphs read the outer graph's tensors, function
    bodies only their inputs (onnx-tensorrt, ModelImporter.cpp, "parseGraph").
    """

    def __init__(
        self,
        body: "onnx.GraphProto | onnx.FunctionProto",
        folder: Path,
        opsets: Iterable["onnx.OperatorSetIdProto"],
        outer: Optional["Scope"] = None,
    ) -> None:
        import onnx

        self.nodes = list(body.node)
        self.folder = folder
        self.opsets = tuple(opsets)
        self._outer = outer
        self._tensors: dict[str, onnx.TensorProto] = {}
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        self._origins: dict[str, Origin] = {}
        self._types: dict[str, int] = {}
        if isinstance(body, onnx.GraphProto):
            self.outputs = {item.name for item in body.output}
            for info in (*body.value_info, *body.output, *body.input):
                self._types[info.name] = info.type.tensor_type.elem_type
            self._origins |= {info.name: "run-time" for info in body.input}
            for tensor in body.initializer:
                self._keep(tensor.name, tensor)
        else:
            self.outputs = set(body.output)
            self._origins |= dict.fromkeys(body.input, "unknown")
        for node in self.nodes:
            self._learn(node)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return max(
            (item.version for item in self.opsets if item.domain in {"", "ai.onnx"}), default=0
        )

    def producer(self, name: str) -> Optional["onnx.NodeProto"]:
        """Return the node that makes a tensor, or None for inputs and initializers."""
        scope = self._home(name)
        return scope._producers.get(name) if scope else None

    def consumers(self, name: str) -> list[tuple["onnx.NodeProto", int]]:
        """Return who reads a tensor in this body, with the number of the input."""
        return self._consumers.get(name, [])

    def origin(self, name: str) -> Origin:
        """Say when the values of a tensor are known."""
        scope = self._home(name)
        return scope._origins[name] if scope else "unknown"

    def elem_type(self, name: str) -> int:
        """Return ``TensorProto.DataType`` of a tensor; 0 where the file does not tell."""
        scope = self._home(name)
        return scope._types.get(name, 0) if scope else 0

    def quantized_type(self, node: "onnx.NodeProto") -> int:
        """Return the type that a QuantizeLinear makes, as ONNX defines it; 0 where it is not told.

        The zero point's, else ``output_dtype``, else uint8
        (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html).
        """
        if zero_point := optional_input(node, 2):
            return self.elem_type(zero_point)
        uint8 = 2
        return int(attributes(node).get("output_dtype", 0)) or uint8

    def dims(self, name: str) -> tuple[int, ...] | None:
        """Return the sizes of a constant; None where they are not written in the file."""
        scope, name = self._source(name, _PASSES_VALUES)
        tensor = scope._tensors.get(name) if scope else None
        return tuple(tensor.dims) if tensor is not None else None

    def maker(self, name: str) -> str:
        """Return the operator that gave a tensor its type, empty for inputs and initializers."""
        scope, name = self._source(name, _PASSES_TYPE)
        node = scope._producers.get(name) if scope else None
        return str(node.op_type) if node is not None else ""

    def values(self, name: str) -> NDArray[Any] | None:
        """Return the values of a constant, computed if need be; None where they are not known."""
        scope = self._home(name)
        if scope is None or scope._origins[name] != "constant":
            return None
        if name in scope._tensors:
            return stored_values(scope._tensors[name], scope.folder)
        return scope._computed(name)

    def _home(self, name: str) -> Optional["Scope"]:
        scope: Scope | None = self
        while scope and name not in scope._origins:
            scope = scope._outer
        return scope

    def _source(self, name: str, passing: frozenset[str]) -> tuple[Optional["Scope"], str]:
        """Follow first inputs up through nodes of some operators; where that ends, and in whom."""
        scope, seen = self._home(name), {name}
        while scope:
            node = scope._producers.get(name)
            if node is None or node.op_type not in passing or not node.input:
                break
            name = node.input[0]
            if name in seen:  # a circle, which the parser will tell
                break
            seen.add(name)
            scope = scope._home(name)
        return scope, name

    def _keep(self, name: str, tensor: "onnx.TensorProto") -> None:
        self._tensors[name] = tensor
        self._types[name] = tensor.data_type
        self._origins[name] = "constant"

    def _learn(self, node: "onnx.NodeProto") -> None:
        """Note what one more node tells; ONNX lists nodes after those that they read."""
        for index, name in enumerate(node.input):
            self._consumers.setdefault(name, []).append((node, index))
        if node.op_type == "Constant":
            tensor = constant_tensor(node)
            if tensor is not None:
                self._keep(node.output[0], tensor)
                return
        origin = self._origin_of(node)
        elem_type = self._output_type(node)
        for name in node.output:
            self._origins[name] = origin
            if elem_type:
                self._types[name] = elem_type

    def _origin_of(self, node: "onnx.NodeProto") -> Origin:
        if node.op_type == "Constant":
            return "unknown"
        origins = {self.origin(name) for name in node.input if name}
        # Without inputs it is a random number; a body may read what its node's inputs do not show.
        if not origins or "run-time" in origins or any(subgraphs(node)):
            return "run-time"
        return "unknown" if "unknown" in origins else "constant"

    def _output_type(self, node: "onnx.NodeProto") -> int:
        if node.op_type == "QuantizeLinear":
            return self.quantized_type(node)
        if node.op_type == "Cast":
            return int(attributes(node).get("to", 0))
        if node.op_type in _PASSES_TYPE and node.input:
            return self.elem_type(node.input[0])
        return 0

    def _computed(self, name: str) -> NDArray[Any] | None:
        """Run the nodes that lead from stored constants to ``name``, as TensorRT's builder does."""
        import onnx
        from onnx import helper, numpy_helper
        from onnx.reference import ReferenceEvaluator

        wanted = [name]
        nodes: list[onnx.NodeProto] = []
        stored: dict[str, NDArray[Any]] = {}
        for node in reversed(self.nodes):
            if not any(output in wanted for output in node.output) or node.op_type == "Constant":
                continue
            nodes.insert(0, node)
            wanted += node.input
        for each in wanted:
            if each and not any(each in node.output for node in nodes):
                values = self.values(each)
                if values is None:
                    return None
                stored[each] = values
        graph = helper.make_graph(
            nodes,
            "constants",
            [],
            [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)],
            [numpy_helper.from_array(values, each) for each, values in stored.items()],
        )
        model = helper.make_model(graph, opset_imports=self.opsets)
        try:
            with np.errstate(all="ignore"):
                return np.asarray(next(iter(ReferenceEvaluator(model).run(None, {}))))
        except Exception:  # noqa: BLE001 - operators raise what they like; then it is not known
            return None
