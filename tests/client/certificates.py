"""Certificates for servers and callers of tests."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Signed = tuple[bytes, bytes]


def certificate(issuer: tuple[Any, Any] | None = None, name_of: str = "") -> tuple[Any, Any]:
    """A key and its certificate for a name, or 127.0.0.1; without an issuer, it may sign others."""
    whom = x509.DNSName(name_of) if name_of else x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
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
            x509.SubjectAlternativeName([whom]),
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
