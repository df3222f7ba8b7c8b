"""The same repository, without any of our processes: tritonserver by hand, plain tritonclient."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

from tests.conftest import Command, PublishedModels

SCRIPT = """
    import sys
    import numpy as np
    import tritonclient.grpc as grpcclient

    golden = np.load(sys.argv[2])
    client = grpcclient.InferenceServerClient(sys.argv[1])
    image = golden["input.image"][:4]
    tensor = grpcclient.InferInput("image", image.shape, "FP32")
    tensor.set_data_from_numpy(image)
    answer = client.infer("digits", [tensor]).as_numpy("logits")
    difference = float(np.abs(answer - golden["output.logits"][:4]).max())
    print("difference", difference)
    sys.exit(0 if difference <= float(golden["tolerance.logits"]) else 1)
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def model_processes_of(repository: Path) -> list[int]:
    """Pids of Triton's stubs that run a model of this repository."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                program, arguments = words[0], words[1:]
                if b"triton_python_backend_stub" in program and any(
                    str(repository).encode() in one for one in arguments
                ):
                    found.append(int(entry.name))
    return found


def test_tritonserver_by_hand(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    grpc, http, metrics = free_ports(3)
    repository = published.copy(tmp_path / "repository", "digits")
    key = tmp_path / "key"
    key.write_text("choose-a-key\n")
    line = clickclean(
        *("serve", "-r", str(repository), "--print-command"),
        *("--grpc-port", str(grpc), "--http-port", str(http), "--metrics-port", str(metrics)),
    ).out
    assert "tritonserver" in line
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            ["/bin/bash", "-c", line],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), f"127.0.0.1:{grpc}"]
        command.append(str(repository / "digits" / "1" / "golden.npz"))
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0 or time.monotonic() > deadline or server.poll() is not None:
                break
            time.sleep(0.5)
        assert done.returncode == 0, (tmp_path / "log").read_text()[-3000:] + done.stderr
        assert "difference" in done.stdout

        # Nobody supervises it: a release reaches it with the key in the line, and status finds a
        # model process that has died while Triton's health goes on saying ready.
        status = ("status", "digits", "-r", str(repository), "--server", f"127.0.0.1:{grpc}")
        well = clickclean(*status, "--key-file", str(key))
        assert (well.code, "well" in well.out) == (0, True), well.err + well.out
        assert clickclean(*status).code == 13
        ready = f"http://127.0.0.1:{http}/v2/health/ready"
        for pid in model_processes_of(repository):
            os.kill(pid, signal.SIGKILL)
        dead = clickclean(*status, "--key-file", str(key), "--json")
        assert dead.code == 13
        assert dead.json[0]["problems"][0].startswith(f"127.0.0.1:{grpc}: ")
        with urllib.request.urlopen(ready, timeout=10) as answer:
            assert answer.status == 200
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
