"""Regions of system shared memory that callers registered: tensors that do not travel.

The parameters are those of docs/protocol/extension_shared_memory.md in Triton's repository.
"""

from __future__ import annotations

import mmap
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickclean_client.protocol import service_pb2
from clickclean_client.testing._errors import Refusal


@dataclass(frozen=True)
class _Region:
    name: str
    key: str
    offset: int
    size_bytes: int
    memory: mmap.mmap


class Regions:
    """The regions of one server by name; safe for many threads."""

    def __init__(self, folder: Path = Path("/dev/shm")) -> None:  # noqa: S108 - it is that place
        self._folder = folder
        self._regions: dict[str, _Region] = {}
        self._lock = threading.Lock()

    def register(self, request: Any) -> Any:
        """Map `byte_size` bytes of a shared memory object; Refusal if there are none."""
        key = request.key.removeprefix("/")
        size_bytes = request.byte_size
        with self._lock:
            if request.name in self._regions:
                text = f"shared memory region '{request.name}' already in manager"
                raise Refusal("ALREADY_EXISTS", text)
            try:
                if not key or "/" in key:
                    raise FileNotFoundError(key)
                handle = os.open(self._folder / key, os.O_RDWR)
            except OSError as exc:
                text = f"Unable to open shared memory region: '{request.key}'"
                raise Refusal("INTERNAL", text) from exc
            try:
                if not 0 < request.offset + size_bytes <= os.fstat(handle).st_size:
                    text = f"Invalid shared memory region: '{request.key}'"
                    raise Refusal("INTERNAL", text)
                memory = mmap.mmap(handle, request.offset + size_bytes)
            finally:
                os.close(handle)
            self._regions[request.name] = _Region(
                request.name, request.key, request.offset, size_bytes, memory
            )
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def unregister(self, request: Any) -> Any:
        """Forget a region, or all when no name is given; unknown names are no failure."""
        with self._lock:
            names = [request.name] if request.name else list(self._regions)
            for name in names:
                region = self._regions.pop(name, None)
                if region is not None:
                    region.memory.close()
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def status(self, request: Any) -> Any:
        """The regions that are registered, or the one that is named."""
        response = service_pb2.SystemSharedMemoryStatusResponse()
        with self._lock:
            if request.name and request.name not in self._regions:
                text = f"Unable to find system shared memory region: '{request.name}'"
                raise Refusal("NOT_FOUND", text)
            for region in self._regions.values():
                if request.name in ("", region.name):
                    found = response.regions[region.name]
                    found.name, found.key = region.name, region.key
                    found.offset, found.byte_size = region.offset, region.size_bytes
        return response

    def read(self, parameters: Any) -> bytes:
        """A copy of the bytes that a tensor's parameters point at."""
        with self._lock:
            region, start, size_bytes = self._place(parameters)
            return region.memory[start : start + size_bytes]

    def write(self, parameters: Any, data: bytes, output: str) -> None:
        """Put an output's bytes where its parameters point."""
        with self._lock:
            region, start, size_bytes = self._place(parameters)
            if len(data) > size_bytes:
                text = f"shared memory size specified with the request for output '{output}' "
                text += f"({size_bytes} bytes) should be at least {len(data)} bytes"
                raise Refusal("INTERNAL", f"{text} to hold the results")
            region.memory[start : start + len(data)] = data

    def close(self) -> None:
        """Forget all regions."""
        self.unregister(service_pb2.SystemSharedMemoryUnregisterRequest())

    def _place(self, parameters: Any) -> tuple[_Region, int, int]:
        name = parameters["shared_memory_region"].string_param
        region = self._regions.get(name)
        if region is None:
            raise Refusal("NOT_FOUND", f"Unable to find shared memory region: '{name}'")
        size_bytes = parameters["shared_memory_byte_size"].int64_param
        # Asking for a key of a protobuf map would add it.
        known = "shared_memory_offset" in parameters
        offset = parameters["shared_memory_offset"].int64_param if known else 0
        if offset < 0 or size_bytes < 0 or offset + size_bytes > region.size_bytes:
            text = f"Invalid offset + byte size for shared memory region: '{name}'"
            raise Refusal("INVALID_ARGUMENT", text)
        return region, region.offset + offset, size_bytes
