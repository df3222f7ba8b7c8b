"""The fake behind TLS: who it shows itself as, and whom it lets in."""

from typing import Any

import pytest

from clickclean_client import Client, ClientError
from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_client.testing import FakeServer, FakeServerError, FakeTls
from tests.client.certificates import certificate, pem
from tests.client.challengers import ROW


def ready(endpoint: str, credentials: Any) -> bool:
    with grpc.secure_channel(endpoint, credentials) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return bool(stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=20).ready)


def test_tls_and_mutual_tls() -> None:
    authority = certificate()
    root, _ = pem(authority)
    server_pem, server_key = pem(certificate(authority))
    caller_pem, caller_key = pem(certificate(authority))
    stranger_pem, stranger_key = pem(certificate(certificate()))
    tls = FakeTls(server_pem, server_key)
    assert "PRIVATE" not in repr(tls)
    plain = grpc.ssl_channel_credentials(root)
    with FakeServer(tls=tls) as server:
        assert ready(server.endpoint, plain)
        with Client(server.endpoint, timeout_s=5) as client, pytest.raises(ClientError):
            client.infer("m", x=ROW)
    with FakeServer(tls=FakeTls(server_pem, server_key, client_ca=root)) as server:
        known = grpc.ssl_channel_credentials(root, caller_key, caller_pem)
        assert ready(server.endpoint, known)
        for stranger in (plain, grpc.ssl_channel_credentials(root, stranger_key, stranger_pem)):
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                ready(server.endpoint, stranger)
    with pytest.raises(FakeServerError, match="cannot listen"):
        FakeServer(tls=FakeTls(server_pem, b"-----BEGIN nothing")).start()
