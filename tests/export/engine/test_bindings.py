"""What our builder uses of TensorRT exists in the installed bindings of both flavours.

mypy holds the code against `typings/tensorrt`; these tests hold that stub against the libraries.
Together they keep out what TensorRT 10 had and 11 has not.
"""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import lief
import pytest

from tests.conftest import ROOT

STUB = ROOT / "typings" / "tensorrt" / "__init__.pyi"
SURFACE = Path(__file__).with_name("surface.py")


def stubbed() -> dict[str, set[str]]:
    """Names of the stub's classes, dotted where they are nested, with their members."""
    found: dict[str, set[str]] = {"": set()}
    waiting: list[tuple[str, ast.Module | ast.ClassDef]] = [("", ast.parse(STUB.read_text()))]
    while waiting:
        name, tree = waiting.pop()
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(name, set()).add(node.name)
                found.setdefault(node.name, set())
                waiting.append((node.name, node))
            elif isinstance(node, ast.FunctionDef):
                found[name].add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[name].add(node.target.id)
    return found


def printed_surface(module: str, **environment: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, str(SURFACE), module],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def rtx() -> dict[str, list[str]]:
    return printed_surface("tensorrt_rtx")


@pytest.fixture(scope="module")
def tensorrt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """TensorRT's own bindings, loaded over the libraries of TensorRT-RTX.

    No wheel has TensorRT's libraries. To be imported, the bindings need symbols of that name, and
    TensorRT-RTX exports all but one. Nothing may be called so; names may be read.
    """
    folder = tmp_path_factory.mktemp("libraries")
    libraries = library_folder("tensorrt_rtx_libs")
    for library in libraries.glob("*.so.*"):
        (folder / library.name).symlink_to(library)
    (folder / "libnvinfer.so.11").symlink_to(libraries / "libtensorrt_rtx.so.1")
    (folder / "libnvonnxparser.so.11").symlink_to(libraries / "libtensorrt_onnxparser_rtx.so.1")
    donor = lief.ELF.parse(str(next(library_folder("msgpack").glob("*.so"))))
    assert donor is not None
    anywhere = next(s for s in donor.dynamic_symbols if str(s.name).startswith("PyInit"))
    donor.add_exported_function(anywhere.value, "initLibNvInferPlugins")
    donor.write(str(folder / "libnvinfer_plugin.so.11"))
    return printed_surface("tensorrt_bindings", LD_LIBRARY_PATH=str(folder))


def library_folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
@pytest.mark.parametrize("name", sorted(stubbed()))
def test_what_is_stubbed_exists(flavour: str, name: str, request: pytest.FixtureRequest) -> None:
    surface: dict[str, list[str]] = request.getfixturevalue(flavour)
    owner = "ILogger" if name == "Severity" else ""
    assert name in ({""} | set(surface[owner]))
    if name == "Severity":
        # Nested: its members are the logger's too.
        return
    # Data may be read from a buffer without a method of that name before Python 3.12.
    assert stubbed()[name] - {"__buffer__"} <= set(surface[name])


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
def test_habits_of_tensorrt_10_are_gone(flavour: str, request: pytest.FixtureRequest) -> None:
    surface: dict[str, list[str]] = request.getfixturevalue(flavour)
    assert not {"INT8", "FP16"} & set(surface["BuilderFlag"])
    assert "max_workspace_size" not in surface["IBuilderConfig"]
    assert not {"IInt8Calibrator", "QuantizationFlag"} & set(surface[""])


@pytest.mark.parametrize(
    "line", ["config.set_flag(trt.BuilderFlag.INT8)", "config.max_workspace_size = 1"]
)
def test_mypy_refuses_them(line: str, tmp_path: Path) -> None:
    program = tmp_path / "habit.py"
    program.write_text(
        f"import tensorrt as trt\n\ndef build(config: trt.IBuilderConfig) -> None:\n    {line}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(program)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert "has no attribute" in done.stdout
