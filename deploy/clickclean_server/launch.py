"""The command line and the environment of one tritonserver."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickclean_server.ownership import VARIABLE, Owner
from clickclean_server.ports import HOST, Ports
from clickclean_server.wheel import Wheel

EXIT_TIMEOUT_S = 15
# Over HTTP one request without any credentials kills this server, so inference is gRPC only there.
HTTP_RESTRICTED = "inference,model-repository,shared-memory,logging,trace"
GRPC_RESTRICTED = "model-repository,shared-memory,logging,trace"


@dataclass(frozen=True)
class Launch:
    """Everything that decides how tritonserver runs."""

    wheel: Wheel
    backends: Path
    repository: Path
    fleet: str  # names configs/<fleet>.pbtxt
    ports: Ports
    owner: Owner | None  # None for a server that nobody supervises
    key: str = field(repr=False)

    def arguments(self, load: Sequence[str] = ()) -> list[str]:
        """The program and its arguments; `load` names models to load at the start."""
        return [
            str(self.wheel.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.backends}",
            f"--model-config-name={self.fleet}",
            # Otherwise every folder is loaded, and one that was never promoted ends the server.
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in load),
            # Costs 1-3 s per load, and a config that was generated is complete.
            "--disable-auto-complete-config",
            # With it a failed hot load makes the whole server "not ready" until a restart.
            "--strict-readiness=false",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            f"--http-restricted-api={HTTP_RESTRICTED}:admin-key={self.key}",
            f"--grpc-restricted-protocol={GRPC_RESTRICTED}:admin-key={self.key}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
        ]

    @property
    def shm_prefix(self) -> str:
        """Two servers on one machine must not share it."""
        if self.owner is not None:
            return self.owner.shm_prefix
        return f"clickclean-by-hand-{self.ports.grpc}-"

    def variables(self) -> dict[str, str]:
        """What is set on top of the caller's environment."""
        path = os.environ.get("PATH", os.defpath)
        libraries = [str(self.wheel.library_dir), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "PATH": f"{self.wheel.interpreter_dir}{os.pathsep}{path}",
            "LD_LIBRARY_PATH": os.pathsep.join(part for part in libraries if part),
        }

    def environment(self) -> dict[str, str]:
        """The whole environment of the process."""
        mark = {} if self.owner is None else {VARIABLE: self.owner.mark}
        return {**os.environ, **self.variables(), **mark}

    def shell_line(self, load: Sequence[str]) -> str:
        """The same server as one line for a shell, unsupervised."""
        variables = {
            "PATH": f"{shlex.quote(str(self.wheel.interpreter_dir))}:$PATH",
            "LD_LIBRARY_PATH": shlex.quote(str(self.wheel.library_dir)),
        }
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        return f"{settings} {shlex.join(self.arguments(load))}"
