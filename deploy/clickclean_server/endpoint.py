"""Where a started server is reached."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Endpoint:
    """A running, supervised server; everything listens on 127.0.0.1 only."""

    grpc: str  # "127.0.0.1:port", what `clickclean_client.Client` takes
    http: str  # "http://127.0.0.1:port"; health and metadata only, inference is restricted there
    metrics: str  # "http://127.0.0.1:port/metrics"
    log: Path  # of tritonserver
    events: Path  # one JSON object per line: what the supervisor saw and did
    pid: int  # of the supervisor
    models: dict[str, list[int]]  # the promoted versions that passed their golden request
    # Opens loading and unloading: `Admin(endpoint.grpc, key=endpoint.key)`. Never printed.
    key: str = field(default="", repr=False)
