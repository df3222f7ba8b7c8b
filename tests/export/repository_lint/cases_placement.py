"""Mistakes about backends, devices and versions."""

from tests.export.repository_lint.repositories import (
    CONFIG,
    NET,
    ONNX,
    OPENVINO,
    PLAN,
    PYTHON,
    SERVER,
    Case,
    more,
)
from tests.export.repository_lint.trees import drop, onnx_bytes, rename, swap

PLACEMENT_CASES = (
    Case(
        "platform-unknown",
        PYTHON,
        swap(CONFIG, "backend:", "platform:"),
        f"{SERVER}3650",
        'backend: "python"',
    ),
    Case(
        "platform-unknown",
        ONNX,
        swap(CONFIG, "backend:", "platform:"),
        "",
        'backend: "onnxruntime"',
    ),
    Case(
        "platform-unknown",
        {CONFIG: 'platform: "tensorflow_graphdef"', "net/1/x": "x"},
        swap(CONFIG, "tensorflow_graphdef", "caffe2_netdef"),
        f"{SERVER}2901",
    ),
    Case(
        "backend-is-a-platform",
        PLAN,
        swap(CONFIG, "platform:", "backend:"),
        f"{SERVER}6541",
        "tensorrt",
    ),
    Case(
        "platform-and-backend-differ",
        ONNX,
        swap(CONFIG, 'backend: "onnx', 'platform: "pytorch_libtorch"\nbackend: "onnx'),
    ),
    Case(
        "backend-unknown",
        {"net/1/model.onnx": onnx_bytes()},
        rename("net/1/model.onnx", "net/1/diabetes.onnx"),
        f"{SERVER}7336",
    ),
    Case(
        "kind-cpu-with-gpus",
        more(ONNX, "instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]"),
        swap(CONFIG, "KIND_GPU", "KIND_CPU"),
    ),
    Case(
        "openvino-kind-gpu",
        more(OPENVINO, "instance_group [ { kind: KIND_CPU } ]"),
        swap(CONFIG, "KIND_CPU", "KIND_GPU"),
    ),
    Case(
        "tensorrt-kind-cpu",
        more(PLAN, "instance_group [ { kind: KIND_GPU } ]"),
        swap(CONFIG, "KIND_GPU", "KIND_CPU"),
        f"{SERVER}5863",
    ),
    Case(
        "gpu-on-cpu-fleet",
        more(ONNX, "instance_group [ { kind: KIND_CPU } ]"),
        swap(CONFIG, "KIND_CPU", "KIND_GPU"),
        f"{SERVER}3912",
        fleet="cpu",
    ),
    Case(
        "gpu-on-cpu-fleet",
        {**PLAN, "net/configs/cpu.pbtxt": NET, "net/1/model.onnx": onnx_bytes()},
        drop("net/configs/cpu.pbtxt"),
        fleet="cpu",
    ),
    Case(
        "profile-not-tensorrt",
        more(ONNX, "instance_group [ { count: 1 } ]"),
        swap(CONFIG, "count: 1", 'count: 1 profile: [ "0" ]'),
    ),
    Case(
        "profile-not-an-index",
        more(PLAN, 'instance_group [ { profile: [ "0" ] } ]'),
        swap(CONFIG, '"0"', '"small"'),
    ),
    Case("version-absent", ONNX, swap(CONFIG, "versions: [ 1 ]", "versions: [ 2 ]"), "", "1"),
    Case("policy-loads-nothing", ONNX, swap(CONFIG, "specific { versions: [ 1 ] }", "latest { }")),
    Case(
        "newest-goes-live",
        {**ONNX, "net/2/model.onnx": onnx_bytes()},
        swap(CONFIG, "version_policy { specific { versions: [ 1 ] } }", ""),
    ),
    Case(
        "highest-version-answers",
        {**ONNX, "net/2/model.onnx": onnx_bytes()},
        swap(CONFIG, "specific { versions: [ 1 ] }", "all { }"),
        "",
        "unnamed calls get 2",
    ),
)
