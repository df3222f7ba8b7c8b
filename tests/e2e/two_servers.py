"""Two supervised servers of one model, each at ports that stay, and what can befall them.

Used by the tests beside it, and by ``bench/faults.py`` and ``bench/soak.py``.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from clickclean_client import Client, ClientError, Golden
from clickclean_client.protocol import format_model_config, parse_model_config
from clickclean_server import Endpoint, ServerLostError, serving
from clickclean_server.ownership import processes_of
from clickclean_server.ports import HOST, PortWishes
from tests.server.watching import Watch

MODEL = "digits"
STALLING = "stalling"
STALLING_SOURCE = Path(__file__).parents[1] / "models" / "stalling_model.py"
ANSWER_S = 1.0
POLL_S = 0.05


class Server:
    """One of them. `root` is a folder of its own: its copy of the repository, its log."""

    def __init__(self, source: Path, root: Path) -> None:
        self.repository = root / "repository"
        self.log = root / "server.log"
        self._marker = root / "stalled"
        copy_live(source, self.repository)
        add_stalling(self.repository, self._marker)
        self._ports = PortWishes().choose()
        self.address = f"{HOST}:{self._ports.grpc}"
        self._stack = ExitStack()
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Of the server that runs."""
        assert self._endpoint is not None
        return self._endpoint

    def start(self) -> None:
        """Start the supervisor and wait until the models have proven themselves."""
        self._endpoint = self._stack.enter_context(
            serving(
                self.repository,
                grpc_port=self._ports.grpc,
                http_port=self._ports.http,
                metrics_port=self._ports.metrics,
                log=self.log,
            )
        )

    def stop(self) -> None:
        """Stop it as `clickclean serve` stops at SIGTERM; it may have gone already."""
        with suppress(ServerLostError):
            self._stack.close()

    def kill_server(self) -> None:
        """Kill tritonserver; its supervisor starts another one."""
        os.kill(Watch(self.endpoint).server(), signal.SIGKILL)

    def terminate_server(self) -> None:
        """Tell tritonserver alone to stop; its supervisor starts another one."""
        os.kill(Watch(self.endpoint).server(), signal.SIGTERM)

    def kill_model(self) -> None:
        """Kill the process of the model; the supervisor revives it."""
        (version,) = self.endpoint.models[MODEL]
        os.kill(Watch(self.endpoint).model_process(MODEL, version), signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the supervisor; the kernel ends tritonserver with it."""
        owner = Watch(self.endpoint).owner
        os.kill(self.endpoint.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while processes_of(owner) and time.monotonic() < until:
            time.sleep(POLL_S)

    def restart(self) -> None:
        """Stop, and start at the same ports."""
        self.stop()
        self.start()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """The stalling model computes nothing in the block."""
        self._marker.touch()
        try:
            yield
        finally:
            self._marker.unlink()

    def answers(self, model: str = MODEL) -> bool:
        """Whether it answers a request to itself alone."""
        with Client(self.address, timeout_s=ANSWER_S) as client:
            try:
                client.infer(model, image=np.zeros((1, 1, 8, 8), np.float32))
            except ClientError:
                return False
        return True


@contextmanager
def two_servers(source: Path, root: Path) -> Iterator[tuple[Server, Server]]:
    """Both, started, for the block; `source` is a repository in which `digits` is promoted."""
    servers = (Server(source, root / "a"), Server(source, root / "b"))
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def copy_live(source: Path, target: Path) -> None:
    """Copy the promoted version of the model and its config."""
    config = parse_model_config((source / MODEL / "configs" / "cpu.pbtxt").read_text())
    (version,) = config.version_policy.specific.versions
    shutil.copytree(source / MODEL / str(version), target / MODEL / str(version))
    shutil.copytree(source / MODEL / "configs", target / MODEL / "configs")


def add_stalling(repository: Path, marker: Path) -> None:
    """Publish and promote a model with the schema of `digits` that stalls at will."""
    config = parse_model_config((repository / MODEL / "configs" / "cpu.pbtxt").read_text())
    config.name = STALLING
    config.backend = "python"
    config.default_model_filename = "model.py"
    config.ClearField("model_warmup")
    config.ClearField("parameters")
    config.parameters["MARKER"].string_value = str(marker)
    config.version_policy.specific.versions[:] = [1]
    folder = repository / STALLING
    (folder / "1").mkdir(parents=True)
    (folder / "configs").mkdir()
    shutil.copy(STALLING_SOURCE, folder / "1" / "model.py")
    inputs = {one.name: np.zeros((1, *one.dims), np.float32) for one in config.input}
    outputs = {one.name: np.zeros((1, *one.dims), np.float32) for one in config.output}
    Golden(inputs, outputs, dict.fromkeys(outputs, 1e-6)).save(folder / "1" / "golden.npz")
    (folder / "configs" / "cpu.pbtxt").write_text(format_model_config(config))
