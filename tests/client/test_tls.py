"""Encryption and tokens: who may call, who is believed, and what an error says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clickclean_client import AccessRefused, InvalidRequest, Tls, Unavailable
from clickclean_client.testing import FakeServer, FakeTls
from tests.client.certificates import certificate, pem
from tests.client.fleets import BOTH, INPUTS, ROW, retry

AUTHORITY = certificate()
ROOT, _ = pem(AUTHORITY)
SERVER, SERVER_KEY = pem(certificate(AUTHORITY))
NAMED, NAMED_KEY = pem(certificate(AUTHORITY, "triton.test"))
CALLER, CALLER_KEY = pem(certificate(AUTHORITY))
STRANGER = certificate()
SECRET = "s3cret-of-the-service"

both = pytest.mark.parametrize("kind", BOTH)


def serving(server: FakeServer) -> FakeServer:
    server.serve("m", inputs=INPUTS)
    return server


def failure(kind: Any, endpoint: str, error: type[Exception], **settings: Any) -> Any:
    with (
        kind(endpoint, timeout_s=10, retry=retry(attempts=1), **settings) as client,
        pytest.raises(error) as caught,
    ):
        client.infer("m", x=ROW)
    assert caught.value.__class__ is error
    return caught.value


@both
def test_tls(kind: Any, tmp_path: Path) -> None:
    root = tmp_path / "ca.pem"
    root.write_bytes(ROOT)
    with FakeServer(tls=FakeTls(SERVER, SERVER_KEY)) as server:
        serving(server)
        for ca in (ROOT, root, str(root)):
            with kind(server.endpoint, timeout_s=10, tls=Tls(ca=ca)) as client:
                assert client.infer("m", x=ROW)["y0"].shape == (1, 3)


@both
def test_a_server_that_nobody_vouches_for(kind: Any) -> None:
    with FakeServer(tls=FakeTls(SERVER, SERVER_KEY)) as server:
        serving(server)
        for tls in (Tls(ca=pem(STRANGER)[0]), Tls()):
            error = failure(kind, server.endpoint, Unavailable, tls=tls)
            assert "certificate" in str(error).lower()
            assert not server.calls


@both
def test_a_server_of_another_name(kind: Any) -> None:
    with FakeServer(tls=FakeTls(NAMED, NAMED_KEY)) as server:
        serving(server)
        named = Tls(ca=ROOT, server_name="triton.test")
        with kind(server.endpoint, timeout_s=10, tls=named) as client:
            client.infer("m", x=ROW)
        for wrong in (Tls(ca=ROOT), Tls(ca=ROOT, server_name="other.test")):
            error = failure(kind, server.endpoint, Unavailable, tls=wrong)
            assert "certificate" in error.hint.lower()


@both
def test_mutual_tls(kind: Any) -> None:
    with FakeServer(tls=FakeTls(SERVER, SERVER_KEY, client_ca=ROOT)) as server:
        serving(server)
        known = Tls(ca=ROOT, certificate=CALLER, key=CALLER_KEY)
        with kind(server.endpoint, timeout_s=10, tls=known) as client:
            client.infer("m", x=ROW)
        server.forget_calls()
        stranger, key = pem(certificate(STRANGER))
        for tls in (Tls(ca=ROOT), Tls(ca=ROOT, certificate=stranger, key=key)):
            error = failure(kind, server.endpoint, Unavailable, tls=tls)
            assert "certificate" in error.hint.lower()
        assert not server.calls


@both
def test_plain_text_to_a_server_with_tls(kind: Any) -> None:
    with FakeServer(tls=FakeTls(SERVER, SERVER_KEY)) as server:
        assert "tls=" in failure(kind, server.endpoint, Unavailable).hint


@both
def test_tls_to_a_server_without(kind: Any) -> None:
    with FakeServer() as server:
        error = failure(kind, server.endpoint, Unavailable, tls=Tls(ca=ROOT))
        assert "TLS" in error.hint


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"ca": b"nothing"}, "the TLS ca is no PEM"),
        ({"ca": "/no/such/file.pem"}, "the TLS ca in /no/such/file.pem cannot be read"),
        ({"certificate": CALLER}, "a TLS certificate is given without its key"),
        ({"key": CALLER_KEY}, "or a key without a certificate"),
        ({"certificate": CALLER, "key": SECRET.encode()}, "the TLS key is no PEM"),
        ({"ca": 3}, "the TLS ca is no PEM"),
    ],
)
def test_what_is_no_pem(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        Tls(**parts)
    assert caught.value.hint
    assert SECRET not in str(caught.value)


@both
def test_a_certificate_that_is_damaged(kind: Any) -> None:
    """It begins like PEM, so that only gRPC can find out, at the first call."""
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with FakeServer(tls=FakeTls(SERVER, SERVER_KEY)) as server:
        failure(kind, server.endpoint, Unavailable, tls=Tls(ca=damaged))


def test_the_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(Tls(certificate=CALLER, key=CALLER_KEY))


@both
def test_a_token(kind: Any) -> None:
    with FakeServer(token=SECRET) as server:
        serving(server)
        with kind(server.endpoint, timeout_s=10, token=SECRET) as client:
            client.infer("m", x=ROW)
            assert server.headers["authorization"] == f"Bearer {SECRET}"
            assert SECRET not in repr(client)
        error = failure(kind, server.endpoint, AccessRefused, token="another-" + SECRET)
        assert SECRET not in f"{error} {error.hint}"


@both
def test_a_function_gives_the_token_of_each_call(kind: Any) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"{SECRET}-{len(given)}")
        return given[-1]

    with FakeServer() as server:
        serving(server)
        with kind(server.endpoint, timeout_s=10, token=token, retry=retry()) as client:
            assert not given
            client.infer("m", x=ROW)
            assert len(given) == 1, "the metadata belong to the call"
            server.fail("ModelInfer", "UNAVAILABLE", times=1)
            client.infer("m", x=ROW)
            assert len(given) == 2, "so does a second attempt"
            assert server.headers["authorization"] == f"Bearer {SECRET}-1"


@both
@pytest.mark.parametrize("token", ["", "two\nlines", "ü", 5, lambda: None, lambda: SECRET + "\n"])
def test_what_is_no_token(kind: Any, token: Any) -> None:
    with (
        pytest.raises(InvalidRequest, match="the token cannot be sent") as caught,
        kind("127.0.0.1:1", token=token) as client,
    ):
        client.infer("m", x=ROW)
    assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("endpoint", ["10.0.0.1:8001", "triton:8001", "dns:///localhost:8001"])
def test_a_token_does_not_travel_in_plain_text(endpoint: str) -> None:
    client: Any = BOTH[0]
    with pytest.raises(InvalidRequest, match="would travel in plain text") as caught:
        client(endpoint, token=SECRET)
    assert "tls=Tls(...)" in caught.value.hint
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    with client(endpoint, token=SECRET, tls=Tls()) as opened:
        assert SECRET not in repr(opened)
