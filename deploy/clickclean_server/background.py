"""`with serving(repository) as endpoint:` - a supervised server for as long as the block runs."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from clickclean_server import errors
from clickclean_server.endpoint import Endpoint
from clickclean_server.errors import ServerError, ServerLostError, StartTimeoutError
from clickclean_server.registry import running

# Longer than what tritonserver gets for the requests in flight.
STOP_TIMEOUT_S = 30.0


@contextmanager
def serving(
    repository: Path,
    *,
    models: Sequence[str] | None = None,
    grpc_port: int | None = None,
    http_port: int | None = None,
    metrics_port: int | None = None,
    log: Path | None = None,
    config_name: str = "cpu",
    timeout_s: float = 60.0,
) -> Iterator[Endpoint]:
    """Starts the supervisor as a process of its own and stops it at the end of the block.

    The server also ends when this process dies. Arguments are those of `serve`; `timeout_s` bounds
    the start.

    Raises:
        ServerError: it could not be started (the subclass that the supervisor raised), or it gave
            up before the block had ended.
    """
    command = [sys.executable, "-m", "clickclean_server", "--json", "--quiet"]
    command += ["--repository", str(repository), "--config-name", config_name]
    command += ["--parent", str(os.getpid())]
    for model in models or ():
        command += ["--model", model]
    ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
    for name, port in ports.items():
        command += [] if port is None else [f"--{name}-port", str(port)]
    command += [] if log is None else ["--log", str(log)]
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=noise,
            # Ctrl-C is for the caller, who then leaves the block.
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker; PIPE was asked for
        try:
            message = first_message(process.stdout, timeout_s, log)
            if message is None:
                process.wait(timeout=STOP_TIMEOUT_S)
                raise ServerLostError(f"The supervisor died: {last_line(noise)}", log)
            if "error" in message:
                raise rebuild(message["error"])
            endpoint = endpoint_from(message["ready"])
            yield endpoint
            if process.poll() is not None:
                raise ServerLostError("The server ended before it was stopped", endpoint.log)
        finally:
            stop(process)
            process.stdout.close()


def first_message(stdout: IO[bytes], timeout_s: float, log: Path | None) -> dict[str, Any] | None:
    """The supervisor's line, None when it ended without one; raises StartTimeoutError."""
    deadline = time.monotonic() + timeout_s
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise StartTimeoutError(timeout_s, "The server", log)
            chunk = os.read(stdout.fileno(), 65536)
            if not chunk:
                return None
            received += chunk
    message: dict[str, Any] = json.loads(received)
    return message


def endpoint_from(fields: dict[str, Any]) -> Endpoint:
    """The endpoint that the supervisor announced."""
    paths = {name: Path(fields[name]) for name in ("log", "events")}
    # The key does not pass through a stream that could be logged.
    key = next((known.key for known in running() if known.grpc == fields["grpc"]), "")
    return Endpoint(**{**fields, **paths}, key=key)


def error_message(error: ServerError) -> dict[str, Any]:
    """An error as JSON; `rebuild` is its inverse."""
    return {
        "class": type(error).__name__,
        "sentence": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def rebuild(fields: dict[str, Any]) -> ServerError:
    """The error that the supervisor raised in its process."""
    kind = getattr(errors, fields["class"], ServerError)
    # Constructors take facts and word the sentence; here it has been worded.
    error: ServerError = kind.__new__(kind)
    ServerError.__init__(error, fields["sentence"], hint=fields["hint"])
    return error


def last_line(noise: IO[bytes]) -> str:
    """The end of what a supervisor without any answer left on stderr."""
    noise.seek(0)
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks, waits for the requests in flight, then insists."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # tritonserver dies with it; its model processes notice by themselves.
        process.kill()
        process.wait()
