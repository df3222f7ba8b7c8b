"""The live server as the publishing side needs it: the two packages do not know each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serve_for_gate(repository: Path, model: str) -> Iterator[str]:
    """Serve one model of a repository on free ports; yields the gRPC address "host:port"."""
    from clickclean_server import serving

    log = repository.parent / "work" / "tritonserver.log"
    with serving(repository, models=[model], log=log) as endpoint:
        yield endpoint.grpc
