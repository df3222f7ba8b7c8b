"""How connections are opened: options of gRPC's channels, encryption, compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from clickclean_client._settings import Tls
from clickclean_client.protocol import MAX_MESSAGE_BYTES, grpc

COMPRESSION: Final = {
    # None leaves the channel's default; gRPC's NoCompression would be the same on the wire.
    "none": None,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}

_OPTIONS: Final = (
    # Options replace gRPC's defaults one by one: without both lines a message is limited to 4 MB.
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Without it all channels of the process to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC waits up to 120 s between attempts to connect; a restarted server is back in 2 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a word is noticed between calls, too.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class Wire:
    """A channel of `grpc` or `grpc.aio`, and what calls over it: bytes in, bytes out."""

    __slots__ = ("_unary", "channel")

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._unary: dict[str, Any] = {}

    def unary(self, path: str) -> Any:
        """What sends one message and gets one back."""
        call = self._unary.get(path)
        if call is None:
            call = self._unary[path] = self.channel.unary_unary(path)
        return call


@dataclass(frozen=True, slots=True)
class Security:
    """How connections are encrypted; None is plain text."""

    tls: Tls | None = None

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Options of a channel."""
        options: list[tuple[str, Any]] = list(_OPTIONS)
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def open(self, library: Any, address: str) -> Wire:
        """A channel of `grpc` or `grpc.aio`; it connects at its first use."""
        if self.tls is None:
            return Wire(library.insecure_channel(address, options=self.options))
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self.tls.ca,
            private_key=self.tls.key,
            certificate_chain=self.tls.certificate,
        )
        return Wire(library.secure_channel(address, credentials, options=self.options))
