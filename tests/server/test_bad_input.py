"""What a user can get wrong before a server runs: a sentence, a hint, an exit code."""

import importlib.metadata
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clickclean_server import (
    ConfigBrokenError,
    NothingPromotedError,
    PlatformError,
    PortInUseError,
    PortInvalidError,
    RepositoryError,
    ServerError,
    UnknownModelError,
    VersionBrokenError,
    serving,
    shell_command,
)
from clickclean_server.wheel import find_wheel
from tests.server.tiny_models import TinyRepository, linear


def refused(kind: type[ServerError], repository: Path, **options: object) -> ServerError:
    """The error of a start; it has passed through the supervisor's process."""
    with pytest.raises(kind) as caught, serving(repository, **options):  # type: ignore[arg-type]
        pytest.fail("it must not start")
    assert type(caught.value) is kind
    assert "\n" not in caught.value.hint
    return caught.value


def test_no_such_folder(tmp_path: Path) -> None:
    error = refused(RepositoryError, tmp_path / "nowhere")
    assert str(error) == f"The model repository {tmp_path / 'nowhere'} does not exist."
    assert error.exit_code == 2
    assert "Publish" in error.hint


def test_the_folder_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    assert "is not a folder" in str(refused(RepositoryError, path))


def test_unknown_model(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    error = refused(UnknownModelError, repository.root, models=["lineer"])
    assert error.hint == "Did you mean 'linear'?"


def test_nothing_promoted(repository: TinyRepository) -> None:
    repository.publish("linear", 1, linear())
    assert "promote" in refused(NothingPromotedError, repository.root).hint
    refused(NothingPromotedError, repository.root, models=["linear"])
    repository.promote("linear", [], linear())
    refused(NothingPromotedError, repository.root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: {", "Triton model configuration"),
        ('name: "other"', "names the model 'other'"),
        ('name: "linear" version_policy { all {} }', "version_policy"),
        ('name: "linear" version_policy { specific { versions: [1] } }', "default_model_filename"),
    ],
)
def test_a_broken_config(repository: TinyRepository, text: str, says: str) -> None:
    repository.add("linear", linear())
    path = repository.write_config("linear", text)
    error = refused(ConfigBrokenError, repository.root)
    assert says in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize("missing", ["model.onnx", "golden.npz"])
def test_a_version_without_a_file(repository: TinyRepository, missing: str) -> None:
    repository.add("linear", linear())
    (repository.root / "linear" / "1" / missing).unlink()
    error = refused(VersionBrokenError, repository.root)
    assert missing in str(error)
    assert error.exit_code == 1


def test_a_damaged_model_file(repository: TinyRepository) -> None:
    repository.add("linear", linear())
    (repository.root / "linear" / "1" / "model.onnx").write_bytes(b"no model")
    error = refused(VersionBrokenError, repository.root)
    assert "Version 1 of model 'linear'" in str(error)
    assert "\n" not in str(error)
    assert "log" in error.hint


def test_a_model_that_contradicts_its_config(repository: TinyRepository) -> None:
    repository.publish("linear", 1, linear())
    config = repository.promote("linear", [1], linear())
    repository.write_config("linear", config.read_text().replace('"y"', '"logits"'))
    assert "no output 'logits' (it has: y)" in str(refused(VersionBrokenError, repository.root))


def test_a_parameter_that_means_nothing(repository: TinyRepository) -> None:
    repository.publish("linear", 1, linear())
    repository.promote("linear", [1], linear(), parameters={"NUM_STREAMS": "many"})
    error = refused(VersionBrokenError, repository.root)
    assert "NUM_STREAMS must be one of AUTO/NUMA, got 'many'" in str(error)


@pytest.mark.parametrize("service", ["grpc", "http", "metrics"])
def test_a_given_port_in_use(repository: TinyRepository, service: str) -> None:
    repository.add("linear", linear())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(PortInUseError, repository.root, **{f"{service}_port": port})
    assert str(error) == f"Port {port} on 127.0.0.1 is in use."
    assert f"--{service}-port" in error.hint


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_does_not_exist(repository: TinyRepository, port: int) -> None:
    repository.add("linear", linear())
    error = refused(PortInvalidError, repository.root, grpc_port=port)
    assert str(error) == f"Port {port} does not exist."
    assert error.exit_code == 2


def test_a_log_that_cannot_be_written(repository: TinyRepository, tmp_path: Path) -> None:
    repository.add("linear", linear())
    (tmp_path / "file").write_text("")
    error = refused(ServerError, repository.root, log=tmp_path / "file" / "server.log")
    assert "--log" in error.hint


def test_a_cache_folder_that_cannot_be_written(
    repository: TinyRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add("linear", linear())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    error = refused(PlatformError, repository.root)
    assert error.exit_code == 4
    assert "XDG_CACHE_HOME" in error.hint


@pytest.mark.parametrize(
    ("package", "found", "says"),
    [
        ("numpy", "2.1.0", "reads its arrays as zeros"),
        ("nvidia-pytriton", None, "not installed"),
        ("openvino", None, "not installed"),
    ],
)
def test_packages_that_cannot_serve(
    monkeypatch: pytest.MonkeyPatch, package: str, found: str | None, says: str
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name != package:
            return real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr("clickclean_server.wheel.version", version)
    with pytest.raises(PlatformError, match=says) as caught:
        find_wheel()
    assert "pip install" in caught.value.hint


def test_a_python_without_shared_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: "")
    with pytest.raises(PlatformError, match="shared library of Python"):
        find_wheel()


def test_a_library_that_the_machine_lacks(repository: TinyRepository, tmp_path: Path) -> None:
    """The dynamic linker's own message, from a program that needs what nobody has."""
    repository.add("linear", linear())
    linker = tmp_path / "tritonserver"
    linker.write_text(
        "#!/bin/sh\n"
        "echo 'x: error while loading shared libraries: libnone.so.9: cannot open' >&2\n"
        "exit 127\n"
    )
    linker.chmod(0o755)
    program = (
        "import os, sys; from pathlib import Path; from dataclasses import replace\n"
        "import clickclean_server.supervisor as s\n"
        "from clickclean_server.wheel import find_wheel\n"
        "s.find_wheel = lambda: replace(find_wheel(), tritonserver=Path(os.environ['LINKER']))\n"
        "from clickclean_server.__main__ import main; sys.exit(main())\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, "--repository", str(repository.root)],
        env={**os.environ, "LINKER": str(linker)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 4
    assert "error: Tritonserver needs the library libnone.so.9" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_command_line_gives_sentence_hint_and_exit_code(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "clickclean_server", "--repository", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: No version in")
    assert "\nhint: Run `clickclean promote" in found.stderr


def test_the_printed_command_needs_something_promoted(repository: TinyRepository) -> None:
    repository.publish("linear", 1, linear())
    with pytest.raises(NothingPromotedError):
        shell_command(repository.root)
    assert [entry.name for entry in repository.root.iterdir()] == ["linear"]
