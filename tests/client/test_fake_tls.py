"""The fake behind TLS: who it shows itself as, and whom it lets in."""

import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clickclean_client import Client, ClientError
from clickclean_client.protocol import grpc, service_pb2, service_pb2_grpc
from clickclean_client.testing import FakeServer, FakeServerError, FakeTls
from tests.client.challengers import ROW

Signed = tuple[bytes, bytes]


def certificate(issuer: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """A key and its certificate for 127.0.0.1; without an issuer, it may sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca" if issuer is None else "leaf")])
    now = datetime.datetime.now(datetime.UTC)
    signer, above = issuer or (key, None)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above.subject if above is not None else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    return key, made


def pem(pair: tuple[Any, Any]) -> Signed:
    key, made = pair
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


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
