"""`clickclean-serve` with a real tritonserver: the wheel's, with the CPU fleet's config."""

import http.client
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from clickclean_client import Client
from clickclean_server import shell_command
from clickclean_server.ports import HOST, Ports, PortWishes
from tests.conftest import ROOT
from tests.deploy_gpu.stand_ins import StandIns
from tests.server.tiny_models import TinyRepository, linear
from verify import end, wait_ready

# What differs from the GPU fleet's server in the image.
OF_THE_WHEEL = ("--backend-", "--model-config-name=", "--http-", "--grpc-", "--metrics-")


def of_the_wheel(repository: Path, ports: Ports) -> tuple[dict[str, str], list[str]]:
    """The environment of the wheel's server, and the options that it needs."""
    line = shell_command(
        repository, grpc_port=ports.grpc, http_port=ports.http, metrics_port=ports.metrics
    )
    path, libraries, server, *options = shlex.split(line)
    before = path.removeprefix("PATH=").replace("$PATH", os.environ["PATH"])
    return {
        "PATH": f"{Path(server).parent}{os.pathsep}{before}",
        "LD_LIBRARY_PATH": libraries.removeprefix("LD_LIBRARY_PATH="),
    }, [word for word in options if word.startswith(OF_THE_WHEEL) and "-restricted-" not in word]


def post(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, headers=named)
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_serves_and_only_a_key_may_unload(
    stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repository = TinyRepository(tmp_path / "model_repository")
    repository.publish("tiny", 1, linear())
    repository.promote("tiny", [1], linear())
    ports = PortWishes().choose()
    environment, options = of_the_wheel(repository.root, ports)
    stand_ins.add("clickclean", "exit 0")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/bash", str(ROOT / "deploy/docker/serve.sh"), "tiny", "--", *options],
            env={
                **os.environ,
                **environment,
                "PATH": f"{stand_ins.folder}{os.pathsep}{environment['PATH']}",
                "CLICKCLEAN_REPOSITORY": str(repository.root),
                "CLICKCLEAN_ADMIN_KEY": "secret",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        waited = wait_ready(process, 90, f"http://{HOST}:{ports.http}/v2/models/tiny/ready")
        assert waited == "", (tmp_path / "log").read_text(errors="replace")
        with Client(f"{HOST}:{ports.grpc}") as client:
            assert client.infer("tiny", x=linear().inputs["x"]).version == "1"
        unload = "/v2/repository/models/tiny/unload"
        assert post(ports.http, unload) == http.client.FORBIDDEN
        assert post(ports.http, unload, admin_key="wrong") == http.client.FORBIDDEN
        assert post(ports.http, unload, admin_key="secret") == http.client.OK
    finally:
        end(process, patience_s=30)
