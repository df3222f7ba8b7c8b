"""What a server of the fake shows to prove who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clickclean_client.protocol import grpc
from clickclean_client.testing._errors import FakeServerError


@dataclass(frozen=True, slots=True)
class FakeTls:
    """A certificate and its key, as PEM bytes; with `client_ca`, callers must show one as well.

    `certificate` is the server's (a chain begins with it), for 127.0.0.1 or for the name that
    the callers are told to expect. `client_ca` signed the certificates of the callers (mTLS).

    Raises:
        FakeServerError: something is no PEM.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes = b""

    def __post_init__(self) -> None:
        given = {"certificate": self.certificate, "key": self.key}
        if self.client_ca:
            given["client_ca"] = self.client_ca
        for name, value in given.items():
            if not isinstance(value, bytes) or b"-----BEGIN " not in value:
                raise FakeServerError(
                    f"FakeTls wants PEM bytes as {name}.",
                    hint="Read the file with Path(...).read_bytes(); it has a line -----BEGIN ...",
                )

    def credentials(self) -> Any:
        """The `grpc.ServerCredentials`."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca or None,
            require_client_auth=bool(self.client_ca),
        )
