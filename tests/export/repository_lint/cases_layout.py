"""Mistakes in folders and files."""

from tests.export.repository_lint.ensembles import ENSEMBLE
from tests.export.repository_lint.repositories import (
    CONFIG,
    NET,
    ONNX,
    OPENVINO,
    PLAN,
    PYTHON,
    SERVER,
    Case,
    add,
    more,
)
from tests.export.repository_lint.trees import both, drop, onnx_bytes, put, rename, swap

LAYOUT_CASES = (
    Case(
        "name-differs",
        ONNX,
        swap(CONFIG, '"net"', '"network"'),
        "https://github.com/michelangelo-ai/michelangelo/pull/709",
    ),
    Case("no-version-folder", ENSEMBLE, drop("all/1/"), f"{SERVER}3623"),
    Case(
        "no-version-folder",
        ONNX,
        both(
            rename("net/1/model.onnx", "net/model.onnx"),
            swap(CONFIG, "version_policy { specific { versions: [ 1 ] } }", ""),
        ),
    ),
    Case("version-leading-zero", ONNX, put("net/02/model.onnx", onnx_bytes())),
    Case(
        "version-not-a-number",
        ONNX,
        put("net/v2/model.onnx", onnx_bytes()),
        f"{SERVER}2144",
        "ignored",
    ),
    Case("version-not-a-number", ONNX, put("net/2-old/model.onnx", onnx_bytes()), "", "read as 2"),
    Case("version-link-broken", {**ONNX, "net/2": "-> 1"}, put("net/2", "-> ../other/2")),
    Case(
        "model-file-missing",
        ONNX,
        rename("net/1/model.onnx", "net/1/model.bin"),
        "https://github.com/clearml/clearml-serving/issues/53",
        "model.bin",
    ),
    Case(
        "model-file-missing",
        {CONFIG: 'platform: "pytorch_libtorch"', "net/1/model.pt": b"x"},
        rename("net/1/model.pt", "net/1/resnet.pt"),
        "https://github.com/clearml/clearml-serving/issues/6",
        "resnet.pt",
    ),
    Case(
        "model-file-missing",
        {**PYTHON, "net/1/model.py": PYTHON["net/1/model.py"]},
        add('default_model_filename: "post.py"'),
        f"{SERVER}3237",
    ),
    Case(
        "plan-missing",
        {
            **more(PLAN, 'cc_model_filenames { key: "8.6" value: "l4.plan" }'),
            "net/1/l4.plan": b"plan",
        },
        drop("net/1/l4.plan"),
    ),
    Case("openvino-weights-missing", OPENVINO, drop("net/1/model.bin")),
    Case("model-file-empty", PLAN, put("net/1/model.plan", b"")),
    Case(
        "git-lfs-pointer",
        ONNX,
        put(
            "net/1/model.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "https://github.com/microsoft/onnxruntime-genai/issues/684",
    ),
    Case(
        "label-file-missing",
        {
            CONFIG: NET.replace("dims: [ 4 ]", 'dims: [ 4 ] label_filename: "labels.txt"'),
            "net/1/model.onnx": onnx_bytes(),
            "net/labels.txt": "a\nb\n",
        },
        rename("net/labels.txt", "net/1/labels.txt"),
    ),
    Case(
        "pycache-in-version",
        PYTHON,
        put("net/1/__pycache__/model.cpython-311.pyc", b"x"),
        f"{SERVER}7489",
    ),
    Case("not-a-model-folder", ONNX, put(".ipynb_checkpoints/notes.txt", "x"), f"{SERVER}4488"),
)
