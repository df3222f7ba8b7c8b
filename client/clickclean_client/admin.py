"""What an operator asks of a server: load and unload models, list them, read what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickclean_client._ask import Ask, Step
from clickclean_client._core import Core
from clickclean_client._driver import Driver
from clickclean_client._settings import Tls
from clickclean_client.protocol import service_pb2

KEY_HEADER = "triton-grpc-protocol-admin-key"
"""The header that `--grpc-restricted-protocol=...:admin-key=KEY` makes the server look for."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """One line of the repository index.

    `state` is READY, LOADING, UNLOADING or UNAVAILABLE; "" for a model that was never loaded,
    whose `version` is "" as well. `reason` says why it is not ready.
    """

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int
    ns: int


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Counters of one version since the server loaded it.

    `inference_count` counts rows, `execution_count` batches.
    """

    name: str
    version: str
    inference_count: int
    execution_count: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class Admin:
    """An operator's connection to one Triton server.

    `key` opens protocols that the server restricts; it is sent with every call. `timeout_s` is
    the deadline of calls that do not bring their own: loading takes seconds, and a broken model
    folder can make Triton never answer. `tls` encrypts.

    Raises:
        InvalidRequest: endpoint, timeout or key are malformed.
    """

    def __init__(
        self, endpoint: str, *, key: str = "", timeout_s: float = 30.0, tls: Tls | None = None
    ) -> None:
        headers: Mapping[str, str] = {KEY_HEADER: key} if key else {}
        # One server and no repetition: an operator wants to know what happened there.
        self._core = Core(endpoint, timeout_s=timeout_s, headers=headers, tls=tls, retry=None)
        self._driver = Driver(self._core.pool, self._core.lookup, self._core.security)

    @property
    def endpoint(self) -> str:
        """The "host:port" that is called."""
        return str(self._core)

    def load(
        self, model: str, *, config_json: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Load a model, or load it again after its files or configuration changed.

        `config_json` replaces the configuration on disk, for this load and those that follow.

        Raises:
            ServerFault: it cannot be loaded; versions that were serving go on.
            InvalidRequest: the server does not take load calls (its model control mode).
            ClientError: any other of its subclasses.
        """
        ask = self._core.ask_model(model, timeout_s=timeout_s)
        request = service_pb2.RepositoryModelLoadRequest(model_name=ask.model)
        if config_json is not None:
            request.parameters["config"].string_param = config_json
        self._call("RepositoryModelLoad", request, ask)

    def unload(self, model: str, *, timeout_s: float | None = None) -> None:
        """Take a model out of service; returns before requests under way have ended.

        Raises:
            ClientError: the subclass that fits.
        """
        ask = self._core.ask_model(model, timeout_s=timeout_s)
        request = service_pb2.RepositoryModelUnloadRequest(model_name=ask.model)
        self._call("RepositoryModelUnload", request, ask)

    def index(self, *, timeout_s: float | None = None) -> list[ModelState]:
        """Every version of every model that the server knows, loaded or not.

        Raises:
            ClientError: the subclass that fits.
        """
        request = service_pb2.RepositoryIndexRequest()
        ask = self._core.ask(timeout_s=timeout_s)
        response = self._call("RepositoryIndex", request, ask)
        return [ModelState(m.name, m.version, m.state, m.reason) for m in response.models]

    def statistics(
        self, model: str, version: str | int | None = None, *, timeout_s: float | None = None
    ) -> list[ModelStatistics]:
        """The counters of a model's versions, or of one version.

        Raises:
            ModelNotFound: the model or version is not loaded.
            ClientError: any other of its subclasses.
        """
        ask = self._core.ask_model(model, version, timeout_s=timeout_s)
        request = service_pb2.ModelStatisticsRequest(name=ask.model, version=ask.version)
        response = self._call("ModelStatistics", request, ask)
        return [_statistics(item) for item in response.model_stats]

    def config(
        self, model: str, version: str | int | None = None, *, timeout_s: float | None = None
    ) -> Any:
        """The `model_config_pb2.ModelConfig` that a loaded model serves with, parameters too.

        Raises:
            ModelNotFound: the model or version is not loaded.
            ClientError: any other of its subclasses.
        """
        ask = self._core.ask_model(model, version, timeout_s=timeout_s)
        request = service_pb2.ModelConfigRequest(name=ask.model, version=ask.version)
        return self._call("ModelConfig", request, ask).config

    def close(self) -> None:
        """Close the connection; calls under way end with `Cancelled`. May be repeated."""
        self._driver.close()

    def _call(self, rpc: str, request: Any, ask: Ask) -> Any:
        return self._driver.run(self._core.attempts.send(Step(rpc, request, ask)))

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Admin({self.endpoint!r})"


def _statistics(item: Any) -> ModelStatistics:
    stats = item.inference_stats
    return ModelStatistics(
        name=item.name,
        version=item.version,
        inference_count=item.inference_count,
        execution_count=item.execution_count,
        success=_duration(stats.success),
        fail=_duration(stats.fail),
        queue=_duration(stats.queue),
        compute_input=_duration(stats.compute_input),
        compute_infer=_duration(stats.compute_infer),
        compute_output=_duration(stats.compute_output),
    )


def _duration(value: Any) -> Duration:
    return Duration(value.count, value.ns)
