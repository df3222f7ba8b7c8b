"""An unsupervised tritonserver with models that fail to order, and plain gRPC calls to it.

Nothing here repairs anything: what the supervisor would revive at once stays broken.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickclean_client import Admin
from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_server.backend_directory import backend_directory
from clickclean_server.launch import Launch
from clickclean_server.ownership import Owner, model_processes
from clickclean_server.ports import HOST, PortWishes
from clickclean_server.process import TritonProcess
from clickclean_server.wheel import find_wheel

MODEL_SOURCE = Path(__file__).with_name("failing_model.py")
KEY = "the-key"
START_S = 20.0
# Ports, pids, times and addresses differ between runs; the rest of a text is what is compared.
_VARIABLE = (
    (re.compile(r"(127\.0\.0\.1|0\.0\.0\.0):\d+"), r"\1:PORT"),
    (re.compile(r"request id: r\d+"), "request id: ID"),
    (re.compile(r"\[::1\]:\d+"), "[::1]:PORT"),
    (re.compile(r"/\S+/model\.py"), "PATH/model.py"),
)


@dataclass(frozen=True)
class Seen:
    """What one call came to: status name ("OK" too), its text, and after how many seconds."""

    code: str
    text: str
    after_s: float
    request_id: str = ""


@dataclass(frozen=True)
class Model:
    """One model of the repository."""

    name: str
    policy: str = ""  # what stands in dynamic_batching {}; "-" for no dynamic batching
    load_s: float = 0.0
    versions: tuple[int, ...] = (1,)
    instances: int = 1
    max_batch: int = 8
    decoupled: bool = False


class Calls:
    """Calls over one channel; `headers` go with each."""

    def __init__(self, channel: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.channel = channel
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.headers = tuple(headers)
        self._pool = ThreadPoolExecutor(64)

    def infer(
        self,
        model: str,
        busy_s: float = 0.0,
        *,
        order: str = "",
        version: str = "",
        timeout_s: float = 4.0,
        queue_us: int = 0,
        change: Any = None,
    ) -> Seen:
        """Ask; `change` may alter the request before it is sent."""
        request = infer_request(model, busy_s, order=order, version=version, queue_us=queue_us)
        if change is not None:
            change(request)
        return self.send("ModelInfer", request, timeout_s=timeout_s)

    def begin(self, *words: Any, **settings: Any) -> "Future[Seen]":
        """`infer` in another thread."""
        return self._pool.submit(self.infer, *words, **settings)

    def send(self, rpc: str, request: Any, *, timeout_s: float = 4.0) -> Seen:
        """Call one remote procedure."""
        return timed(
            lambda: getattr(self.stub, rpc)(request, timeout=timeout_s, metadata=self.headers),
            getattr(request, "id", ""),
        )

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()
        self._pool.shutdown()


def timed(call: Any, request_id: str = "") -> Seen:
    """Make a call and say what it came to."""
    start = time.monotonic()
    try:
        call()
    except grpc.RpcError as error:
        text = error.details() or ""
        return Seen(error.code().name, text, time.monotonic() - start, request_id)
    except ValueError as error:
        return Seen("ValueError", str(error), time.monotonic() - start, request_id)
    return Seen("OK", "", time.monotonic() - start, request_id)


_numbers = iter(range(1, 1_000_000))


def infer_request(
    model: str, busy_s: float = 0.0, *, order: str = "", version: str = "", queue_us: int = 0
) -> Any:
    """A request of one row, with an id that the model's journal will name."""
    request = service_pb2.ModelInferRequest(
        model_name=model, model_version=version, id=f"r{next(_numbers)}"
    )
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.array([[busy_s]], np.float32).tobytes())
    if order:
        request.parameters["order"].string_param = order
    if queue_us:
        request.parameters["timeout"].int64_param = queue_us
    return request


class Repository:
    """The models, their one journal, and the folder that holds both."""

    def __init__(self, root: Path, models: Sequence[Model]) -> None:
        self.root = root / "repository"
        self.journal = root / "journal"
        self.journal.touch()
        for model in models:
            self.add(model)

    def add(self, model: Model) -> None:
        """Write a model, or write it anew."""
        folder = self.root / model.name
        for version in model.versions:
            (folder / str(version)).mkdir(parents=True, exist_ok=True)
            shutil.copy(MODEL_SOURCE, folder / str(version) / "model.py")
        (folder / "configs").mkdir(exist_ok=True)
        batching = "" if model.policy == "-" else f"dynamic_batching {{ {model.policy} }}"
        (folder / "configs" / "cpu.pbtxt").write_text(f"""
            name: "{model.name}" backend: "python" max_batch_size: {model.max_batch}
            input {{ name: "x" data_type: TYPE_FP32 dims: 1 }}
            output {{ name: "y" data_type: TYPE_FP32 dims: -1 }}
            instance_group {{ count: {model.instances} kind: KIND_CPU }}
            version_policy {{ specific {{ versions: {list(model.versions)} }} }}
            parameters {{ key: "JOURNAL" value {{ string_value: "{self.journal}" }} }}
            parameters {{ key: "LOAD_S" value {{ string_value: "{model.load_s}" }} }}
            model_transaction_policy {{ decoupled: {str(model.decoupled).lower()} }}
            {batching}
        """)

    def reached(self, seen: Seen) -> bool:
        """Whether the model saw this request."""
        return seen.request_id in self.journal.read_text().split()


@dataclass(frozen=True)
class BareLaunch(Launch):
    """The usual command line with something added and something left out."""

    extra: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def arguments(self, load: Sequence[str] = ()) -> list[str]:
        """The program and its arguments."""
        usual = [
            one for one in super().arguments(load) if not one.startswith(self.without or ("\0",))
        ]
        return [*usual, *self.extra]


class Triton:
    """One running tritonserver. Only one at a time: they share a mark for what they leave."""

    def __init__(
        self,
        repository: Repository,
        log: Path,
        *,
        extra: Sequence[str] = (),
        without: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        wheel = find_wheel()
        self.launch = BareLaunch(
            wheel=wheel,
            backends=backend_directory(wheel),
            repository=repository.root,
            fleet="cpu",
            ports=PortWishes(grpc=port).choose(),
            owner=Owner.me(),
            key=KEY,
            extra=tuple(extra),
            without=tuple(without),
        )
        self.endpoint = f"{HOST}:{self.launch.ports.grpc}"
        self.process = TritonProcess(self.launch, Owner.me(), log)

    def wait_live(self, channel: Any = None) -> None:
        """Return when the server answers."""
        with channel or grpc.insecure_channel(self.endpoint) as open_channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(open_channel)
            stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=START_S, wait_for_ready=True)

    def load(self, *models: str) -> None:
        """Load models."""
        with Admin(self.endpoint, key=KEY) as admin:
            for model in models:
                admin.load(model)

    def unload(self, model: str) -> None:
        """Unload a model."""
        with Admin(self.endpoint, key=KEY) as admin:
            admin.unload(model)

    def signal(self, number: int) -> None:
        """Send a signal to tritonserver alone."""
        os.kill(self.process.pid, number)

    def signal_model(self, model: str, number: int, version: int = 1) -> None:
        """Send a signal to the processes of a model."""
        for pid in model_processes(Owner.me())[model, version]:
            os.kill(pid, number)

    def ended(self, within_s: float) -> bool:
        """Whether the process ends in time."""
        until = time.monotonic() + within_s
        while self.process.exit_code() is None and time.monotonic() < until:
            time.sleep(0.02)
        return self.process.exit_code() is not None


@contextmanager
def triton(repository: Repository, log: Path, **settings: Any) -> Iterator[Triton]:
    """A live server for the block; killed at its end."""
    server = Triton(repository, log, **settings)
    try:
        if "--grpc-use-ssl=true" not in server.launch.extra:
            server.wait_live()
        yield server
    finally:
        server.process.kill()


@contextmanager
def calls_to(endpoint: str, *options: tuple[str, Any], key: str = "") -> Iterator[Calls]:
    """A connection of its own to a server."""
    own = ("grpc.use_local_subchannel_pool", 1)
    calls = Calls(
        grpc.insecure_channel(endpoint, options=(own, *options)),
        (("triton-grpc-protocol-admin-key", key),) if key else (),
    )
    try:
        yield calls
    finally:
        with suppress(ValueError):
            calls.close()


def after(seconds: float, act: Any) -> threading.Thread:
    """Do something a little later."""
    thread = threading.Timer(seconds, act)
    thread.start()
    return thread


def plain(seen: Seen) -> Seen:
    """The same without what differs between runs."""
    text = seen.text
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    return replace(seen, text=text)
