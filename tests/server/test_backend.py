"""The Python-based backend alone, loaded as Triton does, with a stand-in for Triton's module."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from clickclean_server.backend_directory import BACKENDS
from tests.server.tiny_models import TinyRepository, linear


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    pass


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    triton = ModuleType("triton_python_backend_utils")
    triton.TritonModelException = TritonModelException  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    spec = importlib.util.spec_from_file_location("model", BACKENDS / "openvino" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "model", module)
    spec.loader.exec_module(module)
    return module


def arguments(root: Path, **changes: Any) -> dict[str, str]:
    tensor = {"data_type": "TYPE_FP32"}
    config = {
        "max_batch_size": 8,
        "default_model_filename": "model.onnx",
        "input": [{"name": "x", "dims": ["4"], **tensor}],
        "output": [{"name": "y", "dims": ["3"], **tensor}],
        **changes,
    }
    return {
        "model_name": "linear",
        "model_repository": str(root / "linear"),
        "model_version": "1",
        "model_config": json.dumps(config),
    }


def test_numpy_2_is_refused(
    backend: Any, repository: TinyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish("linear", 1, linear())
    monkeypatch.setattr(np, "__version__", "2.0.1")
    with pytest.raises(TritonModelException, match=r"NumPy 2.0.1 .* install numpy>=1.26,<2"):
        backend.TritonPythonModel().initialize(arguments(repository.root))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"default_model_filename": ""}, "there is no file .*model.xml"),
        ({"input": []}, "declares 0 inputs, the model has: x"),
        ({"input": [{"name": "x", "dims": ["5"], "data_type": "TYPE_FP32"}]}, "in the config and"),
        ({"input": [{"name": "x", "dims": ["4"], "data_type": "TYPE_INT64"}]}, "int64 in the conf"),
        ({"input": [{"name": "x", "dims": ["4"], "data_type": "TYPE_STRING"}]}, "does not serve"),
        ({"output": [{"name": "z", "dims": ["3"], "data_type": "TYPE_FP32"}]}, "no output 'z'"),
        ({"parameters": {"INFERENCE_NUM_THREADS": {"string_value": "-1"}}}, "at least 0, got '-1'"),
        ({"parameters": {"PERFORMANCE_HINT": {"string_value": "FAST"}}}, "must be one of LATENCY/"),
    ],
)
def test_what_does_not_fit_is_refused_at_load(
    backend: Any, repository: TinyRepository, changes: dict[str, Any], says: str
) -> None:
    repository.publish("linear", 1, linear())
    with pytest.raises(TritonModelException, match=says):
        backend.TritonPythonModel().initialize(arguments(repository.root, **changes))


def test_parameters_of_the_native_backend(backend: Any) -> None:
    given = {
        "INFERENCE_NUM_THREADS": "2",
        "NUM_STREAMS": "auto",
        "PERFORMANCE_HINT": "latency",
        "ENABLE_BATCH_PADDING": "YES",
    }
    found = backend.properties({key: {"string_value": value} for key, value in given.items()})
    assert found == {
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": 2,
        "NUM_STREAMS": "AUTO",
        "PERFORMANCE_HINT": "LATENCY",
    }
    bf16 = backend.properties({"HINT_BF16": {"string_value": "YES"}})
    assert bf16["INFERENCE_PRECISION_HINT"] == "bf16"


def test_float_layers_are_compiled_as_float32(backend: Any, repository: TinyRepository) -> None:
    repository.publish("linear", 1, linear())
    model = backend.TritonPythonModel()
    model.initialize(arguments(repository.root))
    precision = model.request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
    assert precision.get_type_name() == "f32"


def test_error_texts_are_cut_to_what_a_trailer_carries(backend: Any) -> None:
    text = backend.cut("é" * 5000)
    assert len(text.encode()) <= 2048
    assert text.endswith(" ...")
    assert backend.cut("short") == "short"
