"""Who may import whom, and where heavy libraries may be imported."""

import json
import subprocess
import sys

import pytest

from tests.repo.sources import CODE_FOLDERS, PACKAGES, ROOT, imports, modules

ALLOWED = {
    "clickclean": set(PACKAGES),
    "clickclean_client": {"clickclean_client"},
    "clickclean_export": {"clickclean_client", "clickclean_export"},
    "clickclean_loadtest": {"clickclean_client", "clickclean_loadtest"},
    "clickclean_server": {"clickclean_client", "clickclean_server"},
}
# What is loaded only by the one module that is about it.
HOMES = {
    "cryptography": {"export/clickclean_export/signing/keys.py"},
    "gevent": {"loadtest/clickclean_loadtest/locustfile.py"},
    "grpc": {
        "client/clickclean_client/protocol.py",
        # Locust's switch for gRPC lies there; it must be thrown before the first channel.
        "loadtest/clickclean_loadtest/locustfile.py",
    },
    "locust": {"loadtest/clickclean_loadtest/locustfile.py"},
    "modelopt": {
        "export/clickclean_export/engine/half_worker.py",
        "export/clickclean_export/quantize_worker.py",
    },
    "onnxruntime": {"export/clickclean_export/runners.py"},
    "openvino": {
        "deploy/clickclean_server/backends/openvino/model.py",
        "export/clickclean_export/runners.py",
    },
    "opentelemetry": {"client/clickclean_client/opentelemetry.py"},
    "prometheus_client": {"client/clickclean_client/prometheus.py"},
    # One for each side of the log.
    "pyarrow": {
        "client/clickclean_client/experiments/tables.py",
        "export/clickclean_export/experiment/log_reader.py",
    },
    "polygraphy": {"export/clickclean_export/engine/plan_runner.py"},
    "pynvml": {"export/clickclean_export/engine/device.py"},
    # Both flavours, in a process of its own.
    "tensorrt": {"export/clickclean_export/engine/worker.py"},
    "tritonclient": {"client/clickclean_client/protocol.py"},
}
HEAVY = {
    *HOMES,
    "matplotlib",
    "onnx",
    "pydantic",
    "scipy",
    "torch",
}
LINES_MAX = 400


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_of_ours_that_it_may(package: str) -> None:
    foreign = {
        f"{found.place} imports {found.name}"
        for found in imports()
        if found.package == package and found.top in PACKAGES and found.top not in ALLOWED[package]
    }
    assert not foreign


def test_the_cli_imports_the_packages_when_a_verb_needs_them() -> None:
    eager = {
        f"{found.place} imports {found.name}"
        for found in imports()
        if found.package == "clickclean"
        and found.at_top
        and found.top in {"clickclean_export", "clickclean_loadtest", "clickclean_server"}
    }
    assert not eager


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_alone(library: str) -> None:
    places = {found.place for found in imports() if found.top == library}
    assert places == HOMES[library]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    program = f"import sys, json, {package}; json.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & HEAVY
    assert "numpy" not in loaded


def test_no_module_is_longer_than_400_lines() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in modules(*(ROOT / folder for folder in CODE_FOLDERS))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    }
    assert not long
