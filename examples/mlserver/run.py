"""Our client calls MLServer, another server of the v2 protocol: metadata, answers, refusals.

MLServer gets an environment of its own, because its packages do not go together with ours. Prints a
line for each thing that is tried; the exit code is 1 if one of them does not hold, 4 if MLServer
cannot be installed or started.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from clickclean_client import Client, ClientError, InvalidRequest, ModelNotFound

VERSION = "1.7.1"
HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0

# Trains the model of `iris` with the libraries that load it.
TRAIN = """
import sys
import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rows, kinds = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=500).fit(rows.astype("float32"), kinds), sys.argv[1])
"""

# Rows 0, 50 and 100 of Fisher's iris data, which every release of scikit-learn gives.
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [7.0, 3.2, 4.7, 1.4], [6.3, 3.3, 6.0, 2.5]], np.float32)
KINDS = [[0], [1], [2]]
WORDS = np.array([["so"], ["näher"]])
LOUD = [["SO"], ["NÄHER"]]


class ServerFailedError(Exception):
    """MLServer cannot be installed or does not start."""


def environment(folder: Path) -> Path:
    """Return the Python of an environment with MLServer; makes it if it is not there.

    Raises:
        ServerFailedError: pip cannot install it.
    """
    python = folder / "venv" / "bin" / "python"
    installed = folder / f"mlserver-{VERSION}"
    if installed.exists():
        return python
    print(f"installing mlserver {VERSION} (some minutes)", flush=True)
    venv.create(folder / "venv", with_pip=True, clear=True)
    packages = [f"mlserver=={VERSION}", f"mlserver-sklearn=={VERSION}"]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *packages], check=False).returncode:
        raise ServerFailedError(f"pip could not install {' and '.join(packages)}")
    installed.touch()
    return python


def ready(endpoint: str) -> bool:
    """Whether both models can be called there."""
    with Client(endpoint) as client:
        return all(client.is_ready(model) for model in ("iris", "shout"))


@contextmanager
def mlserver(build: Path) -> Iterator[str]:
    """Serve the two models on loopback; yields "host:port" of gRPC.

    Args:
        build: Where its environment, its models and its log are.

    Raises:
        ServerFailedError: it cannot be installed, or does not start.
    """
    python = environment(build)
    folder = build / "models"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "models", folder)
    subprocess.run([str(python), "-c", TRAIN, str(folder / "iris" / "model.joblib")], check=True)
    grpc_port, http_port = free_ports(2)
    settings = {
        "host": "127.0.0.1",
        "grpc_port": grpc_port,
        "http_port": http_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    endpoint = f"127.0.0.1:{grpc_port}"
    log = build / "mlserver.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python.with_name("mlserver")), "start", str(folder)],
            cwd=build,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            give_up_s = time.monotonic() + START_TIMEOUT_S
            while not ready(endpoint):
                if process.poll() is not None or time.monotonic() > give_up_s:
                    raise ServerFailedError(f"it does not start: {_last_line(log)}")
                time.sleep(0.2)
            yield endpoint
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it says nothing"])[-1]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now; MLServer takes no port 0."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Checks:
    """Tries things and says whether they hold."""

    def __init__(self) -> None:
        self.failed = 0

    def holds(self, what: str, ask: Callable[[], object], wanted: object) -> None:
        """Compare what a call returns."""
        try:
            got = ask()
        except ClientError as error:
            got = f"{type(error).__name__}: {error}"
        self._say(what, good=got == wanted, got=got)

    def refused(self, what: str, ask: Callable[[], object], kind: type[ClientError]) -> None:
        """Expect an error of exactly one class."""
        try:
            got = ask()
            good = False
        except ClientError as error:
            got = f"{type(error).__name__}: {error}"
            good = type(error) is kind
        self._say(what, good=good, got=got)

    def _say(self, what: str, *, good: bool, got: object) -> None:
        self.failed += not good
        print(f"{'ok ' if good else 'NOT'}  {what}: {got}", flush=True)


def try_all(client: Client) -> int:
    """Call both models in every way; returns the number of failures."""
    checks = Checks()
    checks.holds("the server is ready", client.is_ready, wanted=True)
    checks.holds("a model is ready", lambda: client.is_ready("iris"), wanted=True)
    checks.holds("no model is not ready", lambda: client.is_ready("none"), wanted=False)

    checks.holds(
        "inputs of iris",
        lambda: [f"{i.name} {i}" for i in client.metadata("iris").inputs],
        ["rows FP32[any, 4]"],
    )
    checks.holds(
        "outputs of iris",
        lambda: [f"{o.name} {o}" for o in client.metadata("iris").outputs],
        ["predict INT64[any, 1]"],
    )
    checks.holds("no batch limit is told", lambda: client.metadata("iris").max_batch, 0)

    checks.holds("FP32 in", lambda: _kinds(client), KINDS)
    checks.holds("its version", lambda: client.infer("iris", rows=ROWS, version=1).version, "1")
    checks.holds(
        "BYTES in and out",
        lambda: _loud(client),
        LOUD,
    )
    checks.holds(
        "a request id comes back",
        lambda: client.infer("iris", rows=ROWS, request_id="a-7").request_id,
        "a-7",
    )

    checks.refused("an unknown model", lambda: client.infer("none", x=ROWS), ModelNotFound)
    checks.refused(
        "an unknown version", lambda: client.infer("iris", rows=ROWS, version=9), ModelNotFound
    )
    checks.refused("a wrong shape", lambda: client.infer("iris", rows=ROWS[:, :3]), InvalidRequest)
    checks.refused(
        "a wrong dtype", lambda: client.infer("iris", rows=ROWS.astype(np.float64)), InvalidRequest
    )
    checks.refused("a wrong name", lambda: client.infer("iris", row=ROWS), InvalidRequest)
    return checks.failed


def _kinds(client: Client) -> object:
    return client.infer("iris", rows=ROWS)["predict"].tolist()


def _loud(client: Client) -> object:
    return [[word.decode() for word in row] for row in client.infer("shout", words=WORDS)["loud"]]


def main() -> int:
    """Start it, try all, stop it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--build", type=Path, metavar="DIR", help="keep what is installed here for the next time"
    )
    chosen: Path | None = parser.parse_args().build
    with tempfile.TemporaryDirectory(prefix="clickclean-mlserver-") as temporary:
        build = Path(temporary) if chosen is None else chosen.resolve()
        build.mkdir(parents=True, exist_ok=True)
        try:
            with mlserver(build) as endpoint, Client(endpoint, timeout_s=5.0) as client:
                failed = try_all(client)
        except ServerFailedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 4
    print(f"{failed} did not hold" if failed else f"all hold with mlserver {VERSION}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
