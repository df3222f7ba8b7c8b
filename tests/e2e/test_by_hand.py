"""The same repository, without any of our processes: tritonserver by hand, plain tritonclient."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
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


def test_tritonserver_by_hand(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    grpc, http, metrics = free_ports(3)
    line = clickclean(
        *("serve", "-r", str(published.repository), "--print-command"),
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
        command.append(str(published.repository / "digits" / "1" / "golden.npz"))
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0 or time.monotonic() > deadline or server.poll() is not None:
                break
            time.sleep(0.5)
        assert done.returncode == 0, (tmp_path / "log").read_text()[-3000:] + done.stderr
        assert "difference" in done.stdout
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
