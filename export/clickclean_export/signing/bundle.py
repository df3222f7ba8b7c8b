"""What is signed, and the file that carries it, as bytes and values; no keys, no disk.

The format is OpenSSF model signing 1.0: a Sigstore bundle with a DSSE envelope, in it an in-toto
statement that lists each file with its SHA-256. Sources: https://github.com/sigstore/model-transparency
(``model_signing/_signing/signing.py``), https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md,
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
https://docs.sigstore.dev/about/bundle/.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleError(ValueError):
    """Bytes that are no bundle, or no statement, as one sentence."""


@dataclass(frozen=True)
class Envelope:
    """What a bundle carries.

    Attributes:
        payload: The statement, exactly as it was signed.
        signature: 64 bytes.
        key_id: Whose it claims to be; nothing proves this.
    """

    payload: bytes
    signature: bytes
    key_id: str

    @property
    def message(self) -> bytes:
        """The bytes that the signature is over."""
        return signed_message(self.payload)


def statement(name: str, digests: Mapping[str, str], ignored: Iterable[str]) -> bytes:
    """Return the statement of a folder; equal arguments give equal bytes.

    Args:
        name: For people; what is proven is the content.
        digests: SHA-256 in hexadecimal by file name.
        ignored: Names in the folder that it does not cover.
    """
    listed = sorted(digests.items())
    tree = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(d for _, d in listed)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignored),
            },
            "resources": [
                {"name": file, "algorithm": "sha256", "digest": digest} for file, digest in listed
            ],
        },
    }
    return json.dumps(tree, indent=1).encode()


def signed_message(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of a statement."""
    return b"DSSEv1 %d %s %d %s" % (len(_IN_TOTO), _IN_TOTO.encode(), len(payload), payload)


def to_bytes(envelope: Envelope) -> bytes:
    """Return the content of the file."""
    tree = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": envelope.key_id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": _IN_TOTO,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(tree, indent=1).encode() + b"\n"


def from_bytes(content: bytes) -> Envelope:
    """Read the content of the file; nothing in it is proven by that.

    Raises:
        BundleError: it is not a bundle with one signature.
    """
    found: _Bundle = _parse(_Bundle, content)
    envelope = found.dsse_envelope
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
    except (binascii.Error, ValueError):
        raise BundleError("its base64 is damaged") from None
    return Envelope(payload, signature, found.verification_material.public_key.hint)


def digests_of(payload: bytes) -> dict[str, str]:
    """Return the SHA-256 by file name that a statement lists.

    Raises:
        BundleError: it is not a statement on the files of a folder.
    """
    found: _Statement = _parse(_Statement, payload)
    resources = found.predicate.resources
    digests = {resource.name: resource.digest for resource in resources}
    if len(digests) != len(resources):
        raise BundleError("it lists a file twice")
    if found.subject[0].digest.sha256 != _root(resource.digest for resource in resources):
        raise BundleError("its digest of the whole is not that of its parts")
    return digests


def _root(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _parse(kind: type[Any], content: bytes) -> Any:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(map(str, first["loc"]))
        raise BundleError(f"{spot or 'content'}: {first['msg']}") from None


class _Key(BaseModel):
    hint: str = ""


class _Material(BaseModel):
    public_key: _Key = Field(alias="publicKey")


class _Signature(BaseModel):
    sig: str


class _Dsse(BaseModel):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    # A bundle holds exactly one, says its format.
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=1)]


class _Bundle(BaseModel):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    verification_material: _Material = Field(alias="verificationMaterial")
    dsse_envelope: _Dsse = Field(alias="dsseEnvelope")


class _Sha256(BaseModel):
    sha256: Digest


class _Subject(BaseModel):
    name: str
    digest: _Sha256


class _Resource(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: Digest


class _Serialization(BaseModel):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(BaseModel):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(BaseModel):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[_Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate
