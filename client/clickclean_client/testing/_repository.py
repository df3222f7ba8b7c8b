"""The models that a fake server has, loaded or not, and what it counted for them."""

from __future__ import annotations

import threading
from typing import Any

from clickclean_client.protocol import service_pb2
from clickclean_client.testing._errors import Refusal
from clickclean_client.testing._model import FakeModel


class _Entry:
    """A version: its model, whether it is loaded, and its counters."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.loaded = True
        self.counts = service_pb2.ModelStatistics(name=model.name, version=str(model.version))


class Models:
    """Versions by name and number; safe for many threads.

    Who names no version gets the highest one that is loaded, as Triton does it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, dict[int, _Entry]] = {}

    def add(self, model: FakeModel) -> None:
        """Load a version, or replace it; its counters begin at zero."""
        with self._lock:
            self._entries.setdefault(model.name, {})[int(model.version)] = _Entry(model)

    def find(self, name: str, version: str) -> FakeModel:
        """What answers to this name and version ("" = the highest).

        Raises:
            Refusal: nothing does; with the codes and words of a real server.
        """
        with self._lock:
            return self._find(name, version).model

    def versions(self, name: str, version: str = "") -> list[str]:
        """The loaded versions, or the one that is named if it is loaded."""
        with self._lock:
            loaded = sorted(n for n, e in self._entries.get(name, {}).items() if e.loaded)
            return [str(n) for n in loaded if version in ("", str(n))]

    def load(self, name: str) -> None:
        """Load all versions again.

        Raises:
            Refusal: there is no such model.
        """
        with self._lock:
            if name not in self._entries:
                text = f"failed to load '{name}', failed to poll from model repository"
                raise Refusal("INTERNAL", text)
            for entry in self._entries[name].values():
                entry.loaded = True

    def unload(self, name: str, version: str = "") -> None:
        """Unload a version, or all; a name that is not there is no failure, as in Triton."""
        with self._lock:
            for number, entry in self._entries.get(name, {}).items():
                if version in ("", str(number)):
                    entry.loaded = False

    def index(self, *, ready: bool) -> Any:
        """The RepositoryIndexResponse; with `ready`, of loaded versions alone."""
        response = service_pb2.RepositoryIndexResponse()
        with self._lock:
            for name, entries in sorted(self._entries.items()):
                for number, entry in sorted(entries.items()):
                    if entry.loaded:
                        response.models.add(name=name, version=str(number), state="READY")
                    elif not ready:
                        response.models.add(
                            name=name, version=str(number), state="UNAVAILABLE", reason="unloaded"
                        )
        return response

    def count(self, model: FakeModel, *, rows: int, took_ns: int, ok: bool) -> None:
        """Note an inference; of one that failed, only that it did."""
        with self._lock:
            entry = self._entries.get(model.name, {}).get(int(model.version))
            if entry is None:
                return
            stats = entry.counts.inference_stats
            parts = [stats.success, stats.compute_infer] if ok else [stats.fail]
            for part in parts:
                part.count += 1
                part.ns += took_ns
            if ok:
                entry.counts.inference_count += rows
                entry.counts.execution_count += 1
                for part in (stats.queue, stats.compute_input, stats.compute_output):
                    part.count += 1

    def statistics(self, name: str, version: str) -> Any:
        """The ModelStatisticsResponse of one version, of all, or with name "" of all models.

        Raises:
            Refusal: nothing of that is loaded.
        """
        response = service_pb2.ModelStatisticsResponse()
        with self._lock:
            for model, entries in sorted(self._entries.items()):
                for number, entry in sorted(entries.items()):
                    if entry.loaded and name in ("", model) and version in ("", str(number)):
                        response.model_stats.add().CopyFrom(entry.counts)
            if name and not response.model_stats:
                known = any(entry.loaded for entry in self._entries.get(name, {}).values())
                text = f"requested model '{name}' is not available"
                if known:
                    text = f"requested model version is not available for model '{name}'"
                raise Refusal("INVALID_ARGUMENT", text)
        return response

    def _find(self, name: str, version: str) -> _Entry:
        entries = self._entries.get(name)
        unknown = f"Request for unknown model: '{name}'"
        if entries is None:
            raise Refusal("NOT_FOUND", f"{unknown} is not found")
        if not version:
            loaded = [number for number, entry in entries.items() if entry.loaded]
            if not loaded:
                raise Refusal("NOT_FOUND", f"{unknown} has no available versions")
            return entries[max(loaded)]
        if not version.isdecimal():
            raise Refusal(
                "INVALID_ARGUMENT",
                f"failed to get model version from specified version string '{version}' "
                "(details: stol), version should be an integral value > 0",
            )
        entry = entries.get(int(version))
        if entry is None:
            raise Refusal("NOT_FOUND", f"{unknown} version {version} is not found")
        if not entry.loaded:
            raise Refusal("UNAVAILABLE", f"{unknown} version {version} is not at ready state")
        return entry
