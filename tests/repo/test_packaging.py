"""What a service installs is thin: the wheel, its base dependencies, and that can call a server."""

import json
import subprocess
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from clickclean_server import Endpoint
from tests.repo.conftest import Thin
from tests.repo.sources import PACKAGES, ROOT

BASE_PACKAGES = 9
NOT_OURS_TO_COUNT = {"clickclean", "pip", "setuptools"}
CALL = """
import json, sys
import numpy as np
from clickclean_client import Client

with Client(sys.argv[1]) as client:
    answer = client.infer("digits", image=np.ones((2, 1, 8, 8), np.float32))
json.dump(list(answer["logits"].shape), sys.stdout)
"""


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert "clickclean_server/backends/openvino/model.py" in names
    assert "clickclean_export/report.html.j2" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_offers_the_extras_of_the_project(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert metadata["Version"] == project["version"]


def test_base_dependencies_are_nine_packages(thin: Thin) -> None:
    listed = subprocess.run(
        [str(thin.python), "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    )
    names = {entry["name"].lower() for entry in json.loads(listed.stdout)}
    assert "clickclean" in names
    assert len(names - NOT_OURS_TO_COUNT) == BASE_PACKAGES, sorted(names)


@pytest.mark.parametrize("library", ["locust", "onnx", "openvino", "pytriton", "torch", "typer"])
def test_nothing_of_the_extras_is_there(thin: Thin, library: str) -> None:
    find = f"import importlib.util as u, sys; sys.exit(u.find_spec({library!r}) is not None)"
    assert subprocess.run([str(thin.python), "-c", find], check=False).returncode == 0


def test_the_thin_environment_can_call_a_server(thin: Thin, digits: Endpoint) -> None:
    done = subprocess.run(
        [str(thin.python), "-W", "error", "-c", CALL, digits.grpc],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [2, 10]


def test_the_thin_command_says_which_extra_to_install(thin: Thin) -> None:
    done = subprocess.run([str(thin.clickclean)], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: the library 'typer' is not installed.",
        "hint: pip install 'clickclean[cli]'",
    ]


def test_a_load_test_in_the_thin_environment_says_which_extra_to_install(thin: Thin) -> None:
    program = """
from clickclean_loadtest import LoadSpec, LoadTestError, run

try:
    run(LoadSpec("digits", rate=1.0, duration_s=1.0))
except LoadTestError as error:
    print(error.exit_code, error.hint)
"""
    done = subprocess.run(
        [str(thin.python), "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "4 run: pip install 'clickclean[loadtest]'\n"


def test_a_server_in_the_thin_environment_says_which_extra_to_install(
    thin: Thin, digits_repository: Path
) -> None:
    done = subprocess.run(
        [str(thin.python), "-m", "clickclean_server", "--repository", str(digits_repository)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "error: The package nvidia-pytriton is not installed.",
        "hint: Run `pip install 'clickclean[server]'`.",
    ]
