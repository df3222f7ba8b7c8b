"""The cheapest HTTP/1.1 caller that Python allows: one connection, one question at a time.

A client library would be slower; what is compared here are servers.
"""

import socket
from typing import Self

TIMEOUT_S = 5.0
OK = 200


class RawHttp:
    """A kept-alive connection that posts bytes to one path.

    Raises:
        ConnectionError: no connection, it broke, or the answer was not 200.
    """

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self._socket = socket.create_connection(address, TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"POST {path} HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: "

    def post(self, body: bytes) -> bytes:
        """Send ``body`` and return the answer's body."""
        self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end].lower()
        if int(head.split(b" ", 2)[1]) != OK:
            raise ConnectionError(head.decode(errors="replace").splitlines()[0])
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            received += self._more()
        return received[end + 4 :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data
