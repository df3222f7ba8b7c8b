"""FastAPI in front of the same OpenVINO model, written to be as fast as FastAPI can be.

Raw float32 bytes in and out: no JSON, no pydantic model, no checks. The model is called on the
event loop: for calls of less than a millisecond a hop to a thread costs more than it frees.
One uvicorn worker, because a second one would run a second copy of the model on the same cores.
"""

import argparse
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response

from engine import Engine, Settings

MEDIA_TYPE = "application/octet-stream"


def application(settings: Settings) -> FastAPI:
    """Return the app: ``/infer`` computes, ``/nothing`` answers without a model."""
    app = FastAPI()
    engine = Engine(settings)

    @app.post("/infer")
    async def infer(request: Request) -> Response:
        rows = np.frombuffer(await request.body(), np.float32).reshape(-1, *settings.shape)
        return Response(engine.infer(rows).tobytes(), media_type=MEDIA_TYPE)

    @app.post("/nothing")
    async def nothing(request: Request) -> Response:
        await request.body()
        return Response(b"", media_type=MEDIA_TYPE)

    return app


def end_with_parent() -> None:
    """End this process when the other end of its stdin is closed."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Serve on a listening socket that was inherited."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shape", required=True, help="of one row, such as 1,8,8")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--hint", required=True)
    parser.add_argument("--socket-fd", type=int, required=True)
    options = parser.parse_args()
    end_with_parent()
    shape = tuple(int(size) for size in options.shape.split(","))
    settings = Settings(options.model, shape, options.threads, options.streams, options.hint)
    config = uvicorn.Config(
        application(settings), log_level="warning", access_log=False, lifespan="off"
    )
    listener = socket.socket(fileno=options.socket_fd)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
