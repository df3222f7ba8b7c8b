"""Free ports on loopback.

A port is only known to be free until somebody else takes it, so whoever starts a server on a chosen
port must be ready to choose again.
"""

import random
import socket
from dataclasses import dataclass

from clickclean_server.errors import PortInUseError, PortInvalidError

HOST = "127.0.0.1"
# Below Linux' default ephemeral range (32768-60999): no outgoing connection takes one of these.
CHOICES = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """Where one server listens."""

    grpc: int
    http: int
    metrics: int


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT counts as free, one that somebody listens on does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise PortInvalidError(port, "is reserved for the system") from None
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class PortWishes:
    """Ports that the user gave; None is to be chosen."""

    grpc: int | None = None
    http: int | None = None
    metrics: int | None = None

    def choose(self) -> Ports:
        """Raises PortInUseError or PortInvalidError for a given port."""
        given = {"grpc": self.grpc, "http": self.http, "metrics": self.metrics}
        chosen: dict[str, int] = {}
        for name, port in given.items():
            if port is not None:
                if not 0 < port < 2**16:
                    raise PortInvalidError(port, "does not exist")
                if port in chosen.values() or not is_free(port):
                    raise PortInUseError(port, f"--{name}-port")
                chosen[name] = port
        draw = random.SystemRandom()
        for name in given:
            while name not in chosen:
                port = draw.choice(CHOICES)
                if port not in chosen.values() and is_free(port):
                    chosen[name] = port
        return Ports(**chosen)
