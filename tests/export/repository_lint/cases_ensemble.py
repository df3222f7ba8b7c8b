"""Mistakes in ensembles and Python models."""

from tests.export.repository_lint.ensembles import ALL, ENSEMBLE, ENSEMBLE_TEXT, PRE, PRE_TEXT
from tests.export.repository_lint.repositories import CONFIG, PYTHON, SERVER, Case, add
from tests.export.repository_lint.trees import both, onnx_bytes, put, swap

OTHER = "pair/config.pbtxt"
ENSEMBLE_CASES = (
    Case(
        "ensemble-platform", ENSEMBLE, swap(ALL, "max_batch_size", 'backend: "x"\nmax_batch_size')
    ),
    Case("ensemble-extra-setting", ENSEMBLE, add("instance_group [ { count: 1 } ]", ALL)),
    Case(
        "ensemble-step-incomplete",
        ENSEMBLE,
        swap(ALL, 'output_map { key: "y" value: "scores" }', ""),
    ),
    Case(
        "map-key-twice",
        ENSEMBLE,
        swap(
            ALL,
            'output_map { key: "IDS" value: "ids" }',
            'output_map { key: "IDS" value: "ids" } output_map { key: "IDS" value: "mask" }',
        ),
        f"{SERVER}4560",
        "IDS",
    ),
    Case(
        "ensemble-tensor-unwritten",
        ENSEMBLE,
        swap(ALL, 'key: "x" value: "ids"', 'key: "x" value: "idz"'),
        f"{SERVER}5742",
        "ids",
    ),
    Case(
        "ensemble-tensor-unwritten",
        ENSEMBLE,
        both(
            swap(ALL, 'key: "TEXT" value: "text"', 'key: "TEXT" value: "scores"'),
            swap(PRE, "TYPE_STRING dims: [ 1 ]", "TYPE_FP32 dims: [ 4 ]"),
        ),
        "",
        "circle",
    ),
    Case(
        "ensemble-tensor-unused",
        ENSEMBLE,
        swap(
            ALL,
            "output [",
            'input [ { name: "spare" data_type: TYPE_INT32 dims: [ 1 ] } ]\noutput [',
        ),
    ),
    Case(
        "ensemble-tensor-written-twice",
        {**ENSEMBLE, PRE: PRE_TEXT + 'output [ { name: "S" data_type: TYPE_FP32 dims: [ 4 ] } ]'},
        swap(
            ALL,
            '{ key: "IDS" value: "ids" }',
            '[ { key: "IDS" value: "ids" }, { key: "S" value: "scores" } ]',
        ),
    ),
    Case(
        "ensemble-key-unknown",
        ENSEMBLE,
        swap(ALL, 'key: "IDS"', 'key: "input_ids"'),
        f"{SERVER}4520",
        "IDS",
    ),
    Case(
        "ensemble-input-unmapped",
        ENSEMBLE,
        swap(
            PRE, "output [", 'input [ { name: "LEN" data_type: TYPE_INT32 dims: [ 1 ] } ]\noutput ['
        ),
        f"{SERVER}5742",
        "LEN",
    ),
    Case(
        "ensemble-type-differs",
        ENSEMBLE,
        swap(PRE, "TYPE_FP32", "TYPE_STRING"),
        f"{SERVER}2885",
        "TYPE_STRING",
    ),
    Case("ensemble-shape-differs", ENSEMBLE, swap(PRE, "[ 3, 8 ]", "[ 3, 9 ]"), f"{SERVER}7355"),
    Case(
        "ensemble-batch-too-large",
        ENSEMBLE,
        swap(ALL, "max_batch_size: 8", "max_batch_size: 16"),
        f"{SERVER}6776",
    ),
    Case("ensemble-model-missing", ENSEMBLE, swap(ALL, '"pre"', '"prep"'), f"{SERVER}4630", "pre"),
    Case(
        "ensemble-version-missing",
        ENSEMBLE,
        swap(ALL, '"net"\n      model_version: -1\n', '"net"\n'),
        f"{SERVER}5474",
        "version 0",
    ),
    Case(
        "ensemble-circle",
        {
            **ENSEMBLE,
            OTHER: ENSEMBLE_TEXT.replace('"pre"', '"all"')
            .replace('"TEXT"', '"text"')
            .replace('"IDS"', '"scores"')
            .replace('key: "x"', 'key: "IN"')
            .replace('"net"', '"post"'),
            "pair/1/": "",
            "post/1/model.py": PYTHON["net/1/model.py"],
            "post/config.pbtxt": 'backend: "python" max_batch_size: 8'
            ' input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]'
            ' output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]',
        },
        both(
            swap(ALL, '"pre"', '"pair"'),
            swap(ALL, '"TEXT"', '"text"'),
            swap(ALL, '"IDS"', '"scores"'),
            swap(CONFIG, "[ 3, 8 ]", "[ 4 ]"),
            put("net/1/model.onnx", onnx_bytes({"x": ["batch", 4]})),
        ),
    ),
)

PYTHON_CASES = (
    Case(
        "python-syntax", PYTHON, swap("net/1/model.py", "requests):", "requests)"), f"{SERVER}6534"
    ),
    Case(
        "python-class-missing",
        PYTHON,
        swap("net/1/model.py", "TritonPythonModel", "Model"),
        "https://github.com/triton-inference-server/python_backend/blob/main/README.md#usage",
    ),
    Case(
        "python-execute-missing",
        PYTHON,
        swap("net/1/model.py", "execute", "run"),
        "https://github.com/triton-inference-server/python_backend/blob/main/README.md#execute",
    ),
)
