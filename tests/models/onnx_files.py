"""ONNX files for the tests of engines, made without training: small, broken, and of real shape.

The same bytes each time. The two of real shape compute nothing that means anything.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from tests.models.onnx_broken import BROKEN, Broken
from tests.models.onnx_draft import Dims, Draft, conv_block, float_block

__all__ = [
    "BROKEN",
    "Broken",
    "conv_block",
    "float_block",
    "resnet50_qdq",
    "transformer_block_qdq",
]


def resnet50_qdq() -> onnx.ModelProto:
    """ResNet-50's shape: ``image`` float32[batch, 3, 224, 224] to ``logits`` float32[batch, 1000].

    53 quantised convolutions (batch normalisation folded, stride in the 3 x 3 ones), and the last
    layer in float, as ModelOpt leaves it: a matrix product with one row gains nothing in INT8.
    """
    draft = Draft(50)

    def conv(x: str, name: str, shape: tuple[int, int, int], stride: int, gain: float) -> str:
        outputs, inputs, kernel = shape
        weights = draft.weights(f"{name}.weight", (outputs, inputs, kernel, kernel), 0, gain)
        tensors = [draft.quantised(x), weights, draft.noise(f"{name}.bias", outputs)]
        pads, strides = [kernel // 2] * 4, [stride] * 2
        return draft.node(
            "Conv", tensors, f"{name}_out", f"{name}/Conv", pads=pads, strides=strides
        )

    def relu(x: str) -> str:
        return draft.node("Relu", [x], f"{x}_relu")

    x = relu(conv("image", "conv1", (64, 3, 7), 2, 1.4))
    pooling: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    x = draft.node("MaxPool", [draft.quantised(x)], "pooled", **pooling)
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            y = relu(conv(x, f"{name}.conv1", (width, channels, 1), 1, 1.4))
            y = relu(conv(y, f"{name}.conv2", (width, width, 3), stride, 1.4))
            y = conv(y, f"{name}.conv3", (4 * width, width, 1), 1, 0.5)
            if not block:
                x = conv(x, f"{name}.downsample", (4 * width, channels, 1), stride, 0.8)
            channels = 4 * width
            x = relu(draft.node("Add", [y, draft.quantised(x)], f"{name}_sum"))
    x = draft.node("GlobalAveragePool", [draft.quantised(x)], "average")
    x = draft.node("Flatten", [draft.quantised(x)], "flat")
    dense = [x, draft.noise("fc.weight", 1000, 2048, size=0.03), draft.noise("fc.bias", 1000)]
    draft.node("Gemm", dense, "logits", "fc/Gemm", transB=1)
    return draft.model({"image": ["batch", 3, 224, 224]}, {"logits": ["batch", 1000]})


def transformer_block_qdq(width: int = 256, heads: int = 4) -> onnx.ModelProto:
    """One encoder block: ``tokens`` and ``encoded``, float32[batch, length, width], both free."""
    draft = Draft(51)
    draft.constant("split", [0, 0, heads, width // heads], np.int64)
    draft.constant("join", [0, 0, width], np.int64)
    draft.constant("temperature", (width // heads) ** -0.5)
    draft.constant("sqrt2", 2**0.5)
    draft.constant("one", 1.0)
    draft.constant("half", 0.5)

    def dense(x: str, name: str, inputs: int, outputs: int) -> str:
        weights = draft.weights(f"{name}.weight", (inputs, outputs), 1)
        y = draft.node("MatMul", [draft.quantised(x), weights], f"{name}_mm", f"{name}/MatMul")
        return draft.node("Add", [y, draft.noise(f"{name}.bias", outputs)], name, f"{name}/Add")

    def head(name: str, order: Sequence[int]) -> str:
        y = draft.node("Reshape", [dense("tokens", name, width, width), "split"], f"{name}_split")
        return draft.quantised(draft.node("Transpose", [y], f"{name}_heads", perm=order))

    def normalised(x: str, skipped: str, output: str) -> str:
        y = draft.node("Add", [draft.quantised(x), draft.quantised(skipped)], f"{output}_sum")
        gain = draft.constant(f"{output}.weight", np.ones(width))
        tensors = [y, gain, draft.noise(f"{output}.bias", width)]
        return draft.node("LayerNormalization", tensors, output, f"{output}/LayerNorm", axis=-1)

    query, key, value = head("query", [0, 2, 1, 3]), head("key", [0, 2, 3, 1]), "value"
    scores = draft.node("MatMul", [query, key], "scores", "attention/scores")
    scores = draft.node("Mul", [scores, "temperature"], "scaled")
    shares = draft.quantised(draft.node("Softmax", [scores], "shares", axis=-1), 1 / 127)
    mixed = [shares, head(value, [0, 2, 1, 3])]
    context = draft.node("MatMul", mixed, "context", "attention/context")
    context = draft.node("Transpose", [context], "context_rows", perm=[0, 2, 1, 3])
    context = draft.node("Reshape", [context, "join"], "context_joined")
    attended = normalised(dense(context, "projection", width, width), "tokens", "attended")
    x = dense(attended, "hidden", width, 4 * width)
    gate = draft.node("Erf", [draft.node("Div", [x, "sqrt2"], "gelu_in")], "gelu_erf")
    gate = draft.node("Mul", [x, draft.node("Add", [gate, "one"], "gelu_one")], "gelu_twice")
    x = dense(draft.node("Mul", [gate, "half"], "gelu"), "shrunk", 4 * width, width)
    normalised(x, attended, "encoded")
    dims: Dims = ["batch", "length", width]
    return draft.model({"tokens": dims}, {"encoded": dims})
