"""Mistakes in inputs and outputs, by themselves and against the ONNX file."""

from onnx import TensorProto

from tests.export.repository_lint.ensembles import PRE_TEXT
from tests.export.repository_lint.repositories import (
    CONFIG,
    NET,
    ONNX,
    PLAN,
    PYTHON,
    SERVER,
    Case,
    add,
    more,
)
from tests.export.repository_lint.trees import both, drop, onnx_bytes, put, swap

TENSOR_CASES = (
    Case("tensor-without-name", PYTHON, swap(CONFIG, '    name: "y"\n', "")),
    Case(
        "tensor-without-type",
        PYTHON,
        swap(CONFIG, "data_type: TYPE_FP32\n    dims: [ 4 ]", "dims: [ 4 ]"),
    ),
    Case("tensor-without-dims", PYTHON, swap(CONFIG, "dims: [ 4 ]", "dims: [ ]"), f"{SERVER}294"),
    Case("dim-out-of-range", PYTHON, swap(CONFIG, "dims: [ 4 ]", "dims: [ 0 ]")),
    Case(
        "tensor-named-twice",
        PYTHON,
        add('output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]'),
    ),
    Case(
        "reshape-differs",
        {
            CONFIG: NET.replace("[ 3, 8 ]", "[ 24 ] reshape { shape: [ 3, 8 ] }"),
            "net/1/model.onnx": onnx_bytes(),
        },
        swap(CONFIG, "[ 24 ]", "[ 25 ]"),
    ),
    Case(
        "reshape-to-scalar-without-batch",
        {
            CONFIG: PRE_TEXT.replace(
                "STRING dims: [ 1 ]", "INT32 dims: [ 1 ] reshape { shape: [ ] }"
            ),
            "net/1/model.py": PYTHON["net/1/model.py"],
        },
        swap(CONFIG, "max_batch_size: 8", "max_batch_size: 0"),
        f"{SERVER}264",
    ),
    Case(
        "format-needs-three-dims",
        {
            CONFIG: PRE_TEXT.replace(
                "STRING dims: [ 1 ]", "FP32 format: FORMAT_NCHW dims: [ 3, 300, 300 ]"
            ),
            "net/1/model.py": PYTHON["net/1/model.py"],
        },
        swap(CONFIG, "[ 3, 300, 300 ]", "[ 1, 3, 300, 300 ]"),
        f"{SERVER}4815",
    ),
    Case(
        "shape-tensor-not-tensorrt",
        PYTHON,
        swap(CONFIG, "dims: [ 3, 8 ]", "dims: [ 3, 8 ] is_shape_tensor: true"),
    ),
    Case(
        "type-not-in-tensorrt",
        PLAN,
        swap(CONFIG, "TYPE_FP32\n    dims: [ 4 ]", "TYPE_UINT64\n    dims: [ 4 ]"),
    ),
    Case(
        "batch-input-or-output",
        more(
            PYTHON, 'batch_input { kind: BATCH_ITEM_SHAPE data_type: TYPE_INT32 source_input: "x" }'
        ),
        swap(CONFIG, 'source_input: "x"', 'source_input: "z"'),
        "",
    ),
)

TWO = onnx_bytes({"x": ["batch", 3, 8], "mask": ["batch", 3]})
TWO_INPUTS = NET.replace(
    "\n]\noutput", ',\n  { name: "mask" data_type: TYPE_FP32 dims: [ 3 ] }\n]\noutput'
)
ONNX_CASES = (
    Case(
        "onnx-unreadable", ONNX, put("net/1/model.onnx", b"\xff\xff not a model"), f"{SERVER}7654"
    ),
    Case("onnx-tensor-unknown", ONNX, swap(CONFIG, '"y"', '"model_output"'), f"{SERVER}4767", "y"),
    Case(
        "onnx-tensor-unknown",
        {CONFIG: TWO_INPUTS, "net/1/model.onnx": TWO},
        put("net/1/model.onnx", onnx_bytes()),
        "https://github.com/ELS-RD/transformer-deploy/pull/154",
        "mask",
    ),
    Case(
        "onnx-input-not-in-config",
        {CONFIG: TWO_INPUTS, "net/1/model.onnx": TWO},
        put(CONFIG, NET),
        f"{SERVER}4824",
        "mask",
    ),
    Case(
        "onnx-type-differs",
        {
            CONFIG: NET.replace("FP32", "INT64"),
            "net/1/model.onnx": onnx_bytes(dtype=TensorProto.INT64),
        },
        swap(CONFIG, "TYPE_INT64\n    dims: [ 3, 8 ]", "TYPE_FP32\n    dims: [ 3, 8 ]"),
        f"{SERVER}2644",
        "TYPE_INT64 in the model",
    ),
    Case(
        "batch-axis-in-dims",
        ONNX,
        both(swap(CONFIG, "[ 3, 8 ]", "[ -1, 3, 8 ]"), swap(CONFIG, "[ 4 ]", "[ -1, 4 ]")),
        f"{SERVER}3880",
    ),
    Case("batch-axis-in-dims", ONNX, swap(CONFIG, "[ 3, 8 ]", "[ 1, 3, 8 ]"), f"{SERVER}1338"),
    Case(
        "onnx-batch-axis-fixed",
        ONNX,
        put("net/1/model.onnx", onnx_bytes({"x": [1, 3, 8]}, {"y": ["batch", 4]})),
        f"{SERVER}1889",
    ),
    Case(
        "onnx-batch-axis-fixed",
        ONNX,
        put("net/1/model.onnx", onnx_bytes({"x": ["batch", 3, 8]}, {"y": [26, 4]})),
        f"{SERVER}7462",
    ),
    Case(
        "batch-axis-not-in-dims",
        ONNX,
        swap(CONFIG, "max_batch_size: 8", "max_batch_size: 0"),
        f"{SERVER}5721",
    ),
    Case(
        "onnx-dims-differ",
        {
            CONFIG: NET.replace("size: 8", "size: 0")
            .replace("[ 3, 8 ]", "[ 1, 3, 224, 224 ]")
            .replace("[ 4 ]", "[ 1, 4 ]"),
            "net/1/model.onnx": onnx_bytes({"x": [1, 3, 224, 224]}, {"y": [1, 4]}),
        },
        swap(CONFIG, "224, 224", "224, 244"),
        f"{SERVER}4194",
    ),
    Case("onnx-output-dims-differ", ONNX, swap(CONFIG, "[ 4 ]", "[ -1 ]"), f"{SERVER}4065"),
    Case(
        "onnx-output-dims-differ",
        {
            CONFIG: NET.replace("[ 4 ]", "[ -1 ]"),
            "net/1/model.onnx": onnx_bytes(outputs={"y": ["batch", "n"]}),
        },
        swap(CONFIG, "[ -1 ]", "[ 4 ]"),
        "https://github.com/triton-inference-server/onnxruntime_backend/issues/165",
    ),
    Case(
        "onnx-not-a-tensor",
        ONNX,
        put("net/1/model.onnx", onnx_bytes(sequence=True)),
        f"{SERVER}3798",
        "sequence",
    ),
    Case("onnx-ir-new", ONNX, put("net/1/model.onnx", onnx_bytes(ir_version=11)), f"{SERVER}8001"),
    Case(
        "onnx-weights-missing",
        {
            CONFIG: NET,
            "net/1/model.onnx": onnx_bytes(weights="model.data"),
            "net/1/model.data": bytes(16),
        },
        drop("net/1/model.data"),
    ),
    Case(
        "onnx-weights-missing",
        {
            CONFIG: NET,
            "net/1/model.onnx": onnx_bytes(weights="model.data"),
            "net/1/model.data": bytes(16),
        },
        put("net/1/model.data", bytes(8)),
        "https://github.com/microsoft/onnxruntime/issues/11848",
        "8 bytes",
    ),
)
