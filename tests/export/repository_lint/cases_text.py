"""Mistakes in the text of a config."""

from tests.export.repository_lint.ensembles import ALL, ENSEMBLE, PRE
from tests.export.repository_lint.repositories import CONFIG, ONNX, SERVER, Case, add, more
from tests.export.repository_lint.trees import swap

TEXT_CASES = (
    Case(
        "config-unknown-field",
        ONNX,
        swap(CONFIG, "max_batch_size", "max_batchsize"),
        "",
        "max_batch_size",
    ),
    Case(
        "config-unknown-field",
        more(ONNX, "instance_group [ { count: 1 } ]"),
        swap(CONFIG, "instance_group [ { count: 1 } ]", "count: 1"),
        "",
        "ModelInstanceGroup",
    ),
    Case(
        "config-unknown-value",
        ENSEMBLE,
        swap(PRE, "TYPE_STRING", "TYPE_BYTES"),
        "https://github.com/clearml/clearml-serving/issues/54",
        "TYPE_STRING",
    ),
    Case(
        "config-unknown-value",
        ONNX,
        swap(CONFIG, "TYPE_FP32", "FP32"),
        f"{SERVER}2502",
        "TYPE_FP32",
    ),
    Case(
        "config-unknown-value",
        more(ONNX, "instance_group [ { kind: KIND_GPU } ]"),
        swap(CONFIG, "KIND_GPU", "KIND_VPU"),
        f"{SERVER}3930",
        "KIND_GPU",
    ),
    Case(
        "config-placeholder",
        ONNX,
        swap(CONFIG, "max_batch_size: 8", "max_batch_size: ${batch}"),
        "https://github.com/triton-inference-server/tensorrtllm_backend/issues/501",
    ),
    Case(
        "config-placeholder",
        ONNX,
        swap(CONFIG, "data_type: TYPE_FP32", "data_type: ${type}"),
        "https://github.com/NVIDIA/TensorRT-LLM/issues/2758",
    ),
    Case(
        "config-placeholder",
        {CONFIG: 'backend: "fil"', "net/1/": ""},
        swap(CONFIG, "fil", "${triton_backend}"),
        "https://github.com/triton-inference-server/tensorrtllm_backend/issues/526",
    ),
    Case("config-punctuation", ENSEMBLE, swap(ALL, "    },\n", "    }\n"), "", "comma"),
    Case(
        "config-punctuation",
        ENSEMBLE,
        swap(ALL, "step [\n", "step [\n    {\n"),
        f"{SERVER}6571",
        "bracket",
    ),
    Case(
        "config-punctuation", ONNX, swap(CONFIG, "  }\n]\noutput", "  },\n]\noutput"), "", "comma"
    ),
    Case("config-punctuation", ONNX, swap(CONFIG, "[ 3, 8 ]", "[ 3, 8, ]"), "", "comma"),
    Case(
        "config-punctuation",
        ONNX,
        swap(CONFIG, "dims: [ 4 ]\n  }\n]", "dims: [ 4 ]\n  }\n"),
        "",
        "bracket",
    ),
    Case(
        "config-punctuation",
        ONNX,
        swap(CONFIG, "versions: [ 1 ]", "versions: 1, 2"),
        "",
        "brackets",
    ),
    Case(
        "parameter-not-a-string",
        more(ONNX, 'parameters { key: "a" value { string_value: "4" } }'),
        swap(CONFIG, 'string_value: "4"', "int64_value: 4"),
        "https://github.com/triton-inference-server/backend/pull/39",
    ),
    Case(
        "parameter-not-a-string",
        more(ONNX, 'parameters { key: "a" value { string_value: "4" } }'),
        swap(CONFIG, '{ string_value: "4" }', ': "4"'),
    ),
    Case(
        "parameter-not-a-string",
        more(ONNX, 'parameters { key: "a" value { string_value: "4" } }'),
        swap(CONFIG, '"4"', "4"),
    ),
    Case("two-schedulers", ENSEMBLE, add("dynamic_batching { }", ALL), f"{SERVER}1966"),
    Case("two-schedulers", more(ONNX, "dynamic_batching { }"), add("sequence_batching { }")),
    Case("config-field-twice", ONNX, add("max_batch_size: 4")),
    Case("config-not-a-number", ONNX, swap(CONFIG, "max_batch_size: 8", 'max_batch_size: "8"')),
    Case("config-syntax", more(ONNX, "# GPU 0"), swap(CONFIG, "# GPU", "// GPU"), "", "#"),
    Case("config-syntax", ONNX, swap(CONFIG, 'name: "net"', '\ufeffname: "net"'), "", "byte order"),
)
