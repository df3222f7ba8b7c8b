"""An HTTP/2 peer of a few lines that answers every request in one wrong way, as proxies do.

Frames are those of RFC 9113, section 4.1: length (24 bits), type, flags, stream; a status that is
not in HPACK's static table is a literal with the name of entry 8 (RFC 7541, section 6.2.2).
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PREFACE_BYTES = 24
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CODES = {"NO_ERROR": 0, "INTERNAL_ERROR": 2, "REFUSED_STREAM": 7, "CANCEL": 8}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def status(stream: int, number: int) -> bytes:
    """A response of headers alone, with an HTTP status and no gRPC status."""
    block = b"\x08\x03" + str(number).encode()
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, block)


def reset(stream: int, code: str) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CODES[code]))


def go_away(last_stream: int) -> bytes:
    """GOAWAY: streams above `last_stream` were not looked at."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, CODES["NO_ERROR"]))


def answer_of(what: str, stream: int) -> bytes:
    """What to send for a request; "close" sends nothing and closes."""
    kind, _, detail = what.partition(" ")
    if kind == "status":
        return status(stream, int(detail))
    if kind == "reset":
        return reset(stream, detail)
    return go_away(0) if what == "goaway unseen" else b""


def speak(connection: socket.socket, what: str) -> None:
    """Answer one connection until it ends."""
    with connection, suppress(OSError), connection.makefile("rb") as received:
        received.read(PREFACE_BYTES)
        connection.sendall(frame(SETTINGS, 0, 0))
        while head := received.read(9):
            length = int.from_bytes(head[:3], "big")
            kind, flags = head[3], head[4]
            stream = int.from_bytes(head[5:9], "big")
            payload = received.read(length)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                connection.sendall(frame(PING, ACK, 0, payload))
            elif kind == DATA and flags & END_STREAM:
                # The whole request has come.
                if not (answer := answer_of(what, stream)):
                    return
                connection.sendall(answer)
                if what.startswith("goaway"):
                    return


@contextmanager
def peer(what: str) -> Iterator[str]:
    """A listener for the block; its "host:port"."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=speak, args=(connection, what), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
