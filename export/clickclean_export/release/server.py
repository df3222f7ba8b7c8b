"""One running Triton server, as a release sees it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from clickclean_client import (
    AccessRefused,
    Admin,
    Client,
    ClientError,
    Golden,
    ModelNotFound,
    Overloaded,
)
from clickclean_client.slots import FINGERPRINT
from clickclean_export.errors import ExportError
from clickclean_export.triton_config import Fleet, TritonConfig

_POLL_S = 0.1
_ASK_S = 5.0
_WARM_ROUNDS = 3
# What Triton says of a folder that it does not see.
_NOT_THERE = "failed to poll from model repository"


class NotProvenError(ExportError):
    """A server loaded a version and did not give its golden answer."""


@dataclass(frozen=True)
class Address:
    """Where a server listens for gRPC, and the key of its restricted protocols."""

    endpoint: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Standing:
    """What a server says of one name.

    Attributes:
        versions: Those that are ready, ascending.
        states: State and reason of every version that it knows: ("UNAVAILABLE", "unloaded").
    """

    versions: tuple[int, ...]
    states: dict[int, tuple[str, str]]


class LiveServer:
    """Connections to one server; every call has a deadline.

    ``load_timeout_s`` bounds loads: a model process that hangs makes Triton never answer.
    """

    def __init__(self, address: Address, *, load_timeout_s: float = 120.0) -> None:
        self.endpoint = address.endpoint
        self._load_timeout_s = load_timeout_s
        # Exact: what stands under one name is asked, not where else a version may be found.
        self._client = Client(address.endpoint, timeout_s=_ASK_S, exact=True, retry=None)
        self._admin = Admin(address.endpoint, key=address.key, timeout_s=_ASK_S)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._admin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[str]:
        """Return every name with a ready version, slots too.

        Raises:
            ClientError: the server cannot be asked, or refuses the key.
        """
        return sorted({entry.name for entry in self._admin.index() if entry.state == "READY"})

    def standing(self, name: str) -> Standing:
        """Return the states of a name's versions.

        Raises:
            ClientError: as ``names``.
        """
        states = {
            int(entry.version): (entry.state, entry.reason)
            for entry in self._admin.index()
            if entry.name == name and entry.version.isdecimal()
        }
        ready = sorted(version for version, (state, _) in states.items() if state == "READY")
        return Standing(tuple(ready), states)

    def config(self, name: str) -> Any | None:
        """Return the ``model_config_pb2.ModelConfig`` that is served; None when nothing is.

        Raises:
            ClientError: as ``names``.
        """
        try:
            return self._admin.config(name)
        except ModelNotFound:
            return None

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint in the served config; "" for none."""
        config = self.config(name)
        if config is None or FINGERPRINT not in config.parameters:
            return ""
        return str(config.parameters[FINGERPRINT].string_value)

    def load(self, config: TritonConfig) -> None:
        """Make exactly what a config says live under its name.

        Raises:
            ClientError: it cannot be loaded, or not in time; what served before serves on.
        """
        self.load_message(config.to_proto())

    def load_message(self, config: Any) -> None:
        """Do the same with a ``model_config_pb2.ModelConfig``."""
        from google.protobuf import json_format  # type: ignore[import-untyped]

        text = json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None)
        self._admin.load(config.name, config_json=text, timeout_s=self._load_timeout_s)

    def unload(self, name: str) -> None:
        """Take a name out of service; requests under way are answered.

        Raises:
            ClientError: the server refuses.
        """
        self._admin.unload(name)

    def prove(
        self, name: str, version: int, golden: Golden, timeout_s: float, *, named: bool
    ) -> None:
        """Ask golden requests, a full batch and one row, several times: proof and warm-up.

        Args:
            name: Of the model or slot.
            version: That must answer.
            golden: Its golden data.
            timeout_s: For each request; the first one compiles kernels.
            named: Whether the requests name the version, or take what unnamed calls get.

        Raises:
            NotProvenError: an answer is wrong, or another version gave it.
            ClientError: an answer did not come.
        """
        limit = self._client.metadata(name, version=version if named else None).max_batch
        full = golden.head(min(golden.rows, limit or golden.rows))
        for part in (full, *((full, full.row(0)) * _WARM_ROUNDS if limit else ())):
            self._ask(name, version, part, timeout_s, named=named)

    def _ask(self, name: str, version: int, part: Golden, timeout_s: float, *, named: bool) -> None:
        deadline = time.monotonic() + timeout_s
        wanted = version if named else None
        while True:
            left_s = max(_POLL_S, deadline - time.monotonic())
            try:
                answer = self._client.infer(name, part.inputs, version=wanted, timeout_s=left_s)
                break
            except Overloaded:
                # A queue policy may refuse golden requests of a busy server for a while.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
        if answer.version != str(version):
            raise NotProvenError(f"version {answer.version} of '{name}' answered, not {version}")
        check = part.compare(answer)
        if not check.ok:
            raise NotProvenError(
                f"the golden answer of version {version} is not what its publisher got:"
                f" {check.reason}"
            )

    def answering(self, name: str, part: Golden, timeout_s: float) -> tuple[int, bool]:
        """Return the version that an unnamed call gets, and whether its answer is golden.

        Raises:
            ClientError: no answer came.
        """
        answer = self._client.infer(name, part.inputs, timeout_s=timeout_s)
        return int(answer.version), part.compare(answer).ok

    def requests(self, name: str) -> int:
        """Return how many requests a name has got since it was loaded; 0 when it is not.

        Raises:
            ClientError: as ``names``.
        """
        return sum(self.counts(name))

    def counts(self, name: str) -> tuple[int, int]:
        """Return how many requests succeeded and failed since a name was loaded.

        Raises:
            ClientError: as ``names``.
        """
        try:
            entries = self._admin.statistics(name)
        except ModelNotFound:
            return 0, 0
        return sum(e.success.count for e in entries), sum(e.fail.count for e in entries)

    def fleet(self, names: Sequence[str]) -> Fleet | None:
        """Tell from what is loaded which of the two configs this server takes.

        Args:
            names: To ask about; the first that is loaded decides.

        Raises:
            ClientError: as ``names``.
        """
        for name in names:
            config = self.config(name)
            if config is not None:
                return "gpu" if "tensorrt" in (config.platform or config.backend) else "cpu"
        return None


def servers_text(count: int) -> str:
    """Word a number of servers."""
    return f"{count} server" if count == 1 else f"{count} servers"


def hint_for(errors: Iterable[Exception]) -> str:
    """Return what an operator can do about the first error that says; "" for nothing."""
    for error in errors:
        if isinstance(error, AccessRefused):
            return "give the server's key: --key-file FILE, or CLICKCLEAN_ADMIN_KEY"
        if isinstance(error, ClientError) and _NOT_THERE in error.server_message:
            return "does that server read this very repository? It found no such folder"
        if getattr(error, "hint", ""):
            return str(getattr(error, "hint", ""))
    return ""


def reason(error: Exception) -> str:
    """Return what went wrong, on one line."""
    if isinstance(error, ClientError) and error.server_message:
        text = error.server_message
        _, found, rest = text.partition("TritonModelException: ")
        return " ".join((rest if found else str(error)).split())[:600].rstrip(".")
    return " ".join(str(error).split()).rstrip(".")
