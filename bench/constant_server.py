"""A gRPC server that costs next to nothing: one constant answer, in a process of its own.

It shows what a client costs when the server costs little. A server made with the `grpc` package
would need more CPU per call than the clients that it is to show. So this one writes the frames of
HTTP/2 (RFC 9113) itself and keeps nothing but the bytes of each stream. It is no real server: it
reads no header but the path, and that only where a connection names it for the first time, before
HPACK (RFC 7541) abbreviates it. Each client asks for metadata once per connection, so that is
enough; every later call is taken for an inference.
"""

import argparse
import asyncio
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
WINDOW_UPDATE = 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CONNECTION = 0  # the stream number of what is about the connection itself
INITIAL_WINDOW_SIZE = 4
LARGEST_WINDOW_BYTES = 2**31 - 1
INITIAL_WINDOW_BYTES = 65_535

# HPACK: 0x88 is ":status: 200"; 0x0f 0x10 is "content-type" with a literal value.
ANSWER_HEADERS = b"\x88\x0f\x10\x10application/grpc"
# A literal name and a literal value, not remembered.
ANSWER_TRAILERS = b"\x00\x0bgrpc-status\x010"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame of HTTP/2."""
    return struct.pack(">I", len(payload) << 8 | kind) + struct.pack(">BI", flags, stream) + payload


class Answers:
    """The messages to answer with: `infer` for every call but the first ones for the other two."""

    def __init__(self, folder: Path) -> None:
        self.infer = (folder / "infer").read_bytes()
        self.metadata = (folder / "metadata").read_bytes()
        self.config = (folder / "config").read_bytes()


class Connection(asyncio.Protocol):
    """One connection of one client."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._received = bytearray()
        self._message: dict[int, bytes] = {}
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open every window as wide as it goes; from then on nobody waits for one."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio says BaseTransport
        self._transport = transport
        wide = struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW_BYTES)
        more = struct.pack(">I", LARGEST_WINDOW_BYTES - INITIAL_WINDOW_BYTES)
        transport.write(
            frame(SETTINGS, 0, CONNECTION, wide) + frame(WINDOW_UPDATE, 0, CONNECTION, more)
        )

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._received += data
        if self._received.startswith(PREFACE):
            del self._received[: len(PREFACE)]
        out = []
        eaten = 0
        while len(self._received) >= HEAD_BYTES:
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < HEAD_BYTES + size:
                break
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big")
            payload = bytes(self._received[HEAD_BYTES : HEAD_BYTES + size])
            del self._received[: HEAD_BYTES + size]
            eaten += size if kind == DATA else 0
            out.append(self._answer(kind, flags, stream, payload))
        if eaten:
            out.append(frame(WINDOW_UPDATE, 0, CONNECTION, struct.pack(">I", eaten)))
        self._transport.write(b"".join(out))

    def _answer(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind == HEADERS:
            self._message[stream] = self._answers.infer
            if b"/ModelMetadata" in payload:
                self._message[stream] = self._answers.metadata
            elif b"/ModelConfig" in payload:
                self._message[stream] = self._answers.config
        if kind in {DATA, HEADERS} and flags & END_STREAM:
            message = self._message.pop(stream)
            body = b"\x00" + struct.pack(">I", len(message)) + message
            return (
                frame(HEADERS, END_HEADERS, stream, ANSWER_HEADERS)
                + frame(DATA, 0, stream, body)
                + frame(HEADERS, END_HEADERS | END_STREAM, stream, ANSWER_TRAILERS)
            )
        if kind in {SETTINGS, PING} and not flags & ACK:
            return frame(kind, ACK, CONNECTION, payload if kind == PING else b"")
        if kind == RST_STREAM:
            self._message.pop(stream, None)
        return b""


@contextmanager
def constant_server(
    endpoint: str, model: str, row: NDArray[np.float32], folder: Path
) -> Iterator[str]:
    """Run it with what a real server answers; yields "host:port".

    Args:
        endpoint: Of the real server.
        model: There.
        row: Its only input, float32[1, ...]; the answer to it becomes the answer to all.
        folder: For the answers.
    """
    record(endpoint, model, row, folder)
    command = [sys.executable, __file__, str(folder)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.communicate()


def record(endpoint: str, model: str, row: NDArray[np.float32], folder: Path) -> None:
    """Ask a real server the three questions of a client, and keep the answers as files."""
    from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=model))
        config = stub.ModelConfig(service_pb2.ModelConfigRequest(name=model))
        request = service_pb2.ModelInferRequest(model_name=model)
        given = metadata.inputs[0]
        request.inputs.add(name=given.name, datatype=given.datatype, shape=row.shape)
        request.raw_input_contents.append(row.tobytes())
        answers = {"infer": stub.ModelInfer(request), "metadata": metadata, "config": config}
    for name, answer in answers.items():
        (folder / name).write_bytes(answer.SerializeToString())


async def serve(answers: Answers) -> None:
    """Print host and port of a free port of loopback; serve until stdin is closed."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers), "127.0.0.1", 0
    )
    async with server:
        host, port = server.sockets[0].getsockname()
        print(f"{host}:{port}", flush=True)
        # The other end of it is the parent's, which may die without saying so.
        await asyncio.to_thread(sys.stdin.buffer.read)


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path, help="folder with: infer, metadata, config")
    asyncio.run(serve(Answers(parser.parse_args().answers)))


if __name__ == "__main__":
    main()
