"""What a client is told to call: addresses, or a name that stands for several."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clickclean_client._exceptions import Call, InvalidRequest

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_DNS: Final = "dns:///"
_LARGEST_PORT: Final = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`addresses` are "host:port" as given; `names` are looked up, each with its port."""

    addresses: tuple[str, ...]
    names: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, given: str | Sequence[str]) -> Endpoints:
        """Read "host:port" or "dns:///name:port", or several of them.

        Raises:
            InvalidRequest: it is none, or one is given twice.
        """
        single = isinstance(given, str) or not isinstance(given, Iterable)
        items: list[Any] = [given] if single else list(given)
        if not items:
            raise InvalidRequest(Call(), "no endpoint is given", hint=_HINT)
        addresses, names = [], []
        for item in items:
            if isinstance(item, str) and item.startswith(_DNS):
                host, port = _split(item.removeprefix(_DNS), item)
                names.append((host, port))
            else:
                _split(item, item)
                addresses.append(item)
        repeated = {item for item in items if items.count(item) > 1}
        if repeated:
            raise InvalidRequest(Call(), f"the endpoint {min(repeated)!r} is given twice")
        return cls(tuple(addresses), tuple(names))

    def __str__(self) -> str:
        return ", ".join([*self.addresses, *(f"{_DNS}{host}:{port}" for host, port in self.names)])

    @property
    def local(self) -> bool:
        """Whether none of them can be on another machine."""
        return not self.names and all(_is_loopback(address) for address in self.addresses)


_HINT: Final = (
    'Write "host:port" without a scheme, for instance "127.0.0.1:8001"; '
    '"dns:///name:port" stands for all addresses of a name.'
)


def _split(text: object, shown: object) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if match is None or not 0 < int(match[2]) <= _LARGEST_PORT:
        raise InvalidRequest(Call(), f"{shown!r} is no endpoint", hint=_HINT)
    return match[1], int(match[2])


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
