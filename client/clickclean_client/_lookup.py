"""The addresses behind the names of a client's endpoints, and when to look again. No I/O."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterable
from typing import Final

from clickclean_client._endpoints import Endpoints

_HURRY_S: Final = 1.0
"""After a connection was lost its name is looked up again, but not more often than this."""


class Lookup:
    """What is known of the names; safe for many threads."""

    def __init__(self, endpoints: Endpoints, every_s: float) -> None:
        self.names = endpoints.names
        self.problem = ""
        """Why there are no addresses."""
        self._fixed = endpoints.addresses
        self._every_s = every_s
        self._found: dict[tuple[str, int], tuple[str, ...]] = {}
        self._last_s = float("-inf")
        self._next_s = float("-inf") if self.names else float("inf")
        self._lock = threading.Lock()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that are known, each once; those of names in the order of the resolver."""
        found = (address for name in self.names for address in self._found.get(name, ()))
        return tuple(dict.fromkeys([*self._fixed, *found]))

    def due(self) -> bool:
        """Whether to look now."""
        return time.monotonic() >= self._next_s

    def begin(self) -> bool:
        """Whether the caller shall look; nobody else is told so until it has ended."""
        with self._lock:
            if not self.due():
                return False
            self._next_s = float("inf")
            return True

    def end(
        self, found: dict[tuple[str, int], tuple[str, ...]], failures: Iterable[str] = ()
    ) -> None:
        """Take in what was found; a name that could not be looked up keeps what it had."""
        with self._lock:
            self._found.update({name: hosts for name, hosts in found.items() if hosts})
            self.problem = "; ".join(failures)
            self._last_s = time.monotonic()
            # Without any address calls fail, so it is tried again soon.
            self._next_s = self._last_s + (self._every_s if self._found else _HURRY_S)

    def reset(self) -> None:
        """Begin anew, as a forked child has to: whoever was looking is not there."""
        self._lock = threading.Lock()
        self._next_s = float("-inf") if self.names else float("inf")

    def hurry(self) -> None:
        """A connection was lost: perhaps the addresses have changed."""
        if not self.names:
            return
        with self._lock:
            self._next_s = min(self._next_s, max(time.monotonic(), self._last_s + _HURRY_S))


def address_of(host: str, port: int) -> str:
    """An IP address with its port, "host:port"; IPv6 has brackets."""
    brackets = ipaddress.ip_address(host).version == 6  # noqa: PLR2004
    return f"[{host}]:{port}" if brackets else f"{host}:{port}"
