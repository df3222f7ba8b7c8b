"""Servers as users name them: host:port, a file of them, a DNS name, or those of this machine."""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clickclean_client import ClickCleanError

if TYPE_CHECKING:
    from clickclean_export.release.server import Address

KEY_VARIABLE = "CLICKCLEAN_ADMIN_KEY"
_DNS = re.compile(r"dns:(?P<host>[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")
_PORTS = 2**16
_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")


class ServerListError(ClickCleanError):
    """A list of servers that cannot be understood."""

    exit_code = 2


def addresses(
    named: Sequence[str] | None, repository: Path, key_file: Path | None
) -> "tuple[Address, ...]":
    """Return the servers to act on, without repetition, in the order named.

    With none named these are the running ``clickclean serve`` of this user on the same repository.
    The key of one of those is known; for others it comes from the file, else from the environment.

    Raises:
        ServerListError: a server is not host:port, a file or a name gives none (exit 2).
    """
    from clickclean_export.release.server import Address
    from clickclean_server.registry import running

    known = {entry.grpc: entry.key for entry in running()}
    if named is None or not named:
        here = [entry.grpc for entry in running(repository)]
        return tuple(Address(endpoint, known[endpoint]) for endpoint in here)
    key = _key(key_file)
    endpoints = dict.fromkeys(
        one
        for text in named
        for one in (_from_file(Path(text[1:])) if text.startswith("@") else _endpoints(text))
    )
    return tuple(Address(endpoint, known.get(endpoint, key)) for endpoint in endpoints)


def _endpoints(text: str) -> list[str]:
    match = _DNS.fullmatch(text)
    if match:
        return _from_dns(match["host"], int(match["port"]))
    port = text.rpartition(":")[2]
    if not _ENDPOINT.fullmatch(text) or not 0 < int(port) < _PORTS:
        raise ServerListError(
            f"'{text}' is no server",
            hint="write host:port, @FILE with one on each line, or dns:NAME:PORT for every address"
            " of a name",
        )
    return [text]


def _from_file(path: Path) -> list[str]:
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise ServerListError(f"the server list {path} cannot be read ({why})") from error
    found = [one for line in lines if line for one in _endpoints(line)]
    if not found:
        raise ServerListError(
            f"the server list {path} names no server", hint="one host:port a line"
        )
    return found


def _from_dns(host: str, port: int) -> list[str]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ServerListError(
            f"the name {host} has no address ({why})",
            hint="in Kubernetes a headless service has one address for each pod",
        ) from error
    hosts = sorted({str(answer[4][0]) for answer in answers})
    return [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts]


def _key(path: Path | None) -> str:
    if path is None:
        return os.environ.get(KEY_VARIABLE, "")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise ServerListError(f"the key file {path} cannot be read ({why})") from error
