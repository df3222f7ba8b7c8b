"""What is compared, and what each comparison costs without the model."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clickclean_client import Client, Golden, InferResult, Overloaded
from clickclean_server import serving
from closed_loop import Call, Connect
from engine import Engine, Settings
from raw_http import RawHttp

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 5.0
CHECKED_ROWS = 16
PATIENCE_S = 10.0

RAW, SERVED, FASTAPI = "OpenVINO in process", "Click Clean (Triton, gRPC)", "FastAPI (HTTP, bytes)"


class WrongAnswerError(Exception):
    """A contestant does not give the golden answers, so its speed means nothing."""


@dataclass(frozen=True)
class Contestant:
    """Something that is timed. ``computes`` is false for the ceilings."""

    name: str
    connect: Connect
    computes: bool


@dataclass(frozen=True)
class Subject:
    """The version under test: its golden rows, and how its engine is set."""

    model: str
    version: int
    repository: Path
    golden: Golden
    settings: Settings

    @property
    def input_name(self) -> str:
        """The one input."""
        return next(iter(self.golden.inputs))

    @property
    def output_name(self) -> str:
        """The one output."""
        return next(iter(self.golden.outputs))


@contextmanager
def contestants(subject: Subject) -> Iterator[tuple[Contestant, ...]]:
    """Start both servers; yields the three contestants and the three ceilings, proven right.

    Raises:
        WrongAnswerError: one of them gives other answers than the golden ones.
        ServerError: our server does not start.
    """
    rows = [subject.golden.row(i).inputs[subject.input_name] for i in range(subject.golden.rows)]
    bodies = [row.tobytes() for row in rows]
    engine = Engine(subject.settings)
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(subject.repository, models=[subject.model]))
        address = stack.enter_context(_fastapi(subject.settings))

        @contextmanager
        def in_process() -> Iterator[Call]:
            yield lambda i: engine.infer(rows[i % len(rows)])

        @contextmanager
        def served() -> Iterator[Call]:
            with Client(endpoint.grpc, timeout_s=TIMEOUT_S) as client:
                yield lambda i: client.infer(
                    subject.model, {subject.input_name: rows[i % len(rows)]}
                )

        @contextmanager
        def no_inference() -> Iterator[Call]:
            with Client(endpoint.grpc, timeout_s=TIMEOUT_S) as client:
                yield lambda _: client.is_ready(subject.model)

        def posted(path: str) -> Connect:
            @contextmanager
            def connect() -> Iterator[Call]:
                with RawHttp(address, path) as http:
                    yield lambda i: http.post(bodies[i % len(bodies)])

            return connect

        @contextmanager
        def nothing() -> Iterator[Call]:
            yield lambda _: None

        prove(subject, RAW, in_process, np.asarray)
        prove(subject, SERVED, served, lambda a: _output(a, subject.output_name))
        prove(
            subject,
            FASTAPI,
            posted("/infer"),
            lambda a: np.frombuffer(a, np.float32).reshape(1, -1) if isinstance(a, bytes) else a,
        )
        yield (
            Contestant(RAW, in_process, computes=True),
            Contestant(SERVED, served, computes=True),
            Contestant(FASTAPI, posted("/infer"), computes=True),
            Contestant("the loop alone", nothing, computes=False),
            Contestant("gRPC, ModelReady only", no_inference, computes=False),
            Contestant("FastAPI, no model", posted("/nothing"), computes=False),
        )


def _output(answer: object, name: str) -> object:
    return answer[name] if isinstance(answer, InferResult) else None


def prove(subject: Subject, name: str, connect: Connect, read: Callable[[object], object]) -> None:
    """Compare one-row answers with the golden ones.

    Args:
        subject: Whose golden rows.
        name: Of the contestant.
        connect: Gives its call.
        read: Makes an array of what the call returns.

    Raises:
        WrongAnswerError: one differs by more than the version's tolerance.
    """
    with connect() as call:
        for i in range(min(CHECKED_ROWS, subject.golden.rows)):
            answer = np.array(read(_answer(call, i)))
            check = subject.golden.row(i).compare({subject.output_name: answer})
            if not check.ok:
                raise WrongAnswerError(f"{name} gives a wrong answer to row {i}: {check.reason}")


def _answer(call: Call, row: int) -> object:
    """Ask until there is an answer: a refusal by the queue policy is timed, but proves nothing."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call(row)
        except Overloaded:
            if time.monotonic() > give_up:
                raise


@contextmanager
def _fastapi(settings: Settings) -> Iterator[tuple[str, int]]:
    """Run the app in a process of its own; yields host and port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        address: tuple[str, int] = listener.getsockname()
        process = subprocess.Popen(
            [
                *(sys.executable, str(HERE / "fastapi_app.py"), str(settings.model)),
                *("--shape", ",".join(map(str, settings.shape))),
                *("--threads", str(settings.threads), "--streams", str(settings.streams)),
                *("--hint", settings.hint, "--socket-fd", str(listener.fileno())),
            ],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        try:
            _wait_for_answer(address, process)
            yield address
        finally:
            process.terminate()
            process.communicate()


def _wait_for_answer(address: tuple[str, int], process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + 30.0
    while True:
        if process.poll() is not None:
            raise ConnectionError(f"the FastAPI process ended with code {process.returncode}")
        try:
            with _connection(address) as http:
                http.post(b"")
                return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def _connection(address: tuple[str, int]) -> AbstractContextManager[RawHttp]:
    return RawHttp(address, "/nothing")
