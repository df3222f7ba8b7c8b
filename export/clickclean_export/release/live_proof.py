"""Prove that running servers serve exactly the bytes of a version."""

from collections.abc import Sequence
from pathlib import Path

from clickclean_client import Golden
from clickclean_export.errors import IntegrityError
from clickclean_export.release.errors import ServersError
from clickclean_export.release.server import Address, LiveServer, NotProvenError, reason
from clickclean_export.repository import Repository
from clickclean_export.verify import Verified

_ASK_S = 10.0


class NotServedError(IntegrityError):
    """A server serves something else."""

    def __init__(self, endpoint: str, problem: str, *, hint: str) -> None:
        super().__init__(Path(endpoint), problem, hint=hint)


def verify_live(
    repository: Repository, proof: Verified, servers: Sequence[Address]
) -> tuple[str, ...]:
    """Compare every server with a version that was verified on disk; returns their addresses.

    The fingerprint of the manifest stands in the config that a server has loaded. The CPU fleet's
    backend loads nothing unless manifest, model file and golden data have these SHA-256 sums, so
    there it proves the bytes. TensorRT's backend does not look at it: on GPUs it proves which
    release was loaded, and the golden answer proves the rest (never run on a GPU).

    Raises:
        ServersError: there is no server to ask (exit 2).
        NotServedError: a server serves another fingerprint, version or answer (exit 3).
        ClientError: a server cannot be asked (exit 1).
    """
    if not servers:
        raise ServersError(
            "no server was named, and none runs here on this repository",
            hint="add --server host:port, or start clickclean serve",
        )
    golden = Golden.load(repository.version_dir(proof.model, proof.version) / "golden.npz")
    for address in servers:
        with LiveServer(address) as server:
            _compare(server, proof, golden)
    return tuple(address.endpoint for address in servers)


def _compare(server: LiveServer, proof: Verified, golden: Golden) -> None:
    hint = f"clickclean status {proof.model}, then promote version {proof.version} again"
    got = server.fingerprint(proof.model)
    if got != proof.fingerprint:
        raise NotServedError(
            server.endpoint,
            f"serves '{proof.model}' with the fingerprint {got or 'none'}, version {proof.version}"
            f" has {proof.fingerprint}",
            hint=hint,
        )
    try:
        server.prove(proof.model, proof.version, golden, _ASK_S, named=False)
    except NotProvenError as error:
        raise NotServedError(server.endpoint, reason(error), hint=hint) from error
