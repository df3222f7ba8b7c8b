import inspect
import json
import subprocess
import sys

import pytest

import clickclean_client
from clickclean_client import _exceptions


def test_all_is_sorted_and_every_name_exists() -> None:
    names = clickclean_client.__all__
    assert names == sorted(names)
    for name in names:
        found = getattr(clickclean_client, name)
        # `Hook` is the alias of a type.
        assert name in ("Hook", found.__name__)
    assert set(names) <= set(dir(clickclean_client))


def test_every_exception_is_exported() -> None:
    exceptions = {
        name
        for name, value in vars(_exceptions).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert exceptions <= set(clickclean_client.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = clickclean_client.Clinet


def _loaded_after(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = _loaded_after("import clickclean_client; clickclean_client.ClientError")
    assert loaded.isdisjoint({"numpy", "grpc", "google.protobuf", "tritonclient", "asyncio"})


def test_the_client_loads_only_the_base_dependencies() -> None:
    loaded = _loaded_after("from clickclean_client import *")
    heavy = {"torch", "openvino", "locust", "gevent", "onnx", "pandas", "tritonclient.http"}
    assert "tritonclient.grpc" in loaded
    assert loaded.isdisjoint(heavy)
