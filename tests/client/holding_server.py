"""A server in a process of its own that takes a request, says so, and never answers."""

import sys
import threading

from clickclean_client.testing import FakeServer

if __name__ == "__main__":
    with FakeServer() as server:
        server.serve("m", inputs={"x": ("FP32", [-1, 3])})
        server.block("ModelInfer")
        sys.stdout.write(f"{server.endpoint}\n")
        sys.stdout.flush()
        server.wait_for("ModelInfer", timeout_s=60)
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        threading.Event().wait()
