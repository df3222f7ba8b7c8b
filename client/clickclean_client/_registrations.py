"""Makes shared memory known to servers, again where one has forgotten it. No I/O: yields effects.

Triton counts the requests that use a region. Until 2.49 it did not, and died when memory was taken
from it under a request; 2.50 and 2.51 refuse to unregister memory in use, and later ones unregister
it when the last of these requests has ended (server pull requests 7567 and 7743). In both a region
that can be registered anew is one that no request uses any more, and that is how this module finds
out.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from clickclean_client._ask import Ask
from clickclean_client._attempts import Attempts
from clickclean_client._effects import CLOSED, Effects, Failure, Pause
from clickclean_client._endpoints import Endpoints
from clickclean_client._errors import error_from_status, region_is_unknown, rule_of
from clickclean_client._exceptions import (
    AccessRefused,
    Call,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ServerFault,
    Unavailable,
)
from clickclean_client._places import CallMemory
from clickclean_client._pool import Pool
from clickclean_client._settings import header_pairs
from clickclean_client.protocol import service_pb2

if TYPE_CHECKING:
    from clickclean_client._shared_memory import SharedMemory

_Result = TypeVar("_Result")

_PAUSES_S: Final = (0.002, 0.1)
"""The first pause before asking again whether memory is in use, and the longest; it doubles."""

_log = logging.getLogger("clickclean_client")


class Registrations:
    """The shared memory of one client at its servers; safe for many threads."""

    def __init__(self, attempts: Attempts, pool: Pool, endpoints: Endpoints) -> None:
        self._attempts = attempts
        self._pool = pool
        self._endpoints = endpoints
        self._addresses = endpoints.addresses
        # Changed one entry at a time, which is atomic.
        self._memories: dict[str, SharedMemory] = {}

    def memories(self) -> Sequence[SharedMemory]:
        """Memory that is open, and closed memory as long as there are arrays of it."""
        if not self._memories:
            return ()
        known = list(self._memories.values())
        for memory in known:
            if not memory.alive:
                self._memories.pop(memory.name, None)
        return [memory for memory in known if memory.alive]

    def make(self, size_bytes: int, headers: Mapping[str, str] | None) -> SharedMemory:
        """Memory that no server knows yet; takes a while for many bytes.

        Raises:
            InvalidRequest: this is not Linux, the endpoints are names, headers are malformed, or
                there is not that much memory.
        """
        if sys.platform != "linux":
            raise InvalidRequest(
                Call(str(self._endpoints)),
                f"shared memory is not to be had on {sys.platform}",
                hint="Triton runs on Linux, and the caller would have to be on its host.",
            )
        # Late, because what it is made of does not exist everywhere.
        from clickclean_client._shared_memory import SharedMemory

        if self._endpoints.names:
            raise InvalidRequest(
                Call(str(self._endpoints)),
                "servers behind a name cannot share memory with their callers",
                hint='Give "host:port" of each server on this host.',
            )
        return SharedMemory(size_bytes, header_pairs(headers))

    def register(self, memory: SharedMemory, ask: Ask) -> Effects[None]:
        """Register memory with every server, and make its arrays known to calls.

        A server that cannot be reached learns of it at the first call.

        Raises:
            Unavailable, DeadlineExceeded: none of them can be reached.
            AccessRefused: one wants another key.
            InvalidRequest: one cannot open it, for instance because it is on another host.
            ClientError: any other of its subclasses.
        """
        failure: ClientError | None = None
        known = False
        for place, address in enumerate(self._addresses):
            # One that does not answer must leave time for the others.
            part = ask.to("", "", share=1 / (len(self._addresses) - place))
            try:
                yield from self._register(memory, part, address)
                known = True
                for name in memory.left_over:
                    yield from self._try_unregister(name, memory, part, address)
            except (Unavailable, DeadlineExceeded) as exc:
                failure = exc
        if failure is not None and not known:
            raise failure
        self.memories()
        self._memories[memory.name] = memory

    def unregister(self, memory: SharedMemory, ask: Ask) -> Effects[None]:
        """Let the servers forget memory; waits while it is in use. Failures are logged."""
        addresses = sorted(memory.registered_at)
        for place, address in enumerate(addresses):
            part = ask.to("", "", share=1 / (len(addresses) - place))
            pause_s, longest_s = _PAUSES_S
            try:
                while not (yield from self._try_unregister(memory.name, memory, part, address)):
                    if part.left_s <= pause_s:
                        raise ServerFault(part.facts(), "requests still use it")
                    yield Pause(pause_s)
                    pause_s = min(longest_s, 2 * pause_s)
            except Unavailable:
                pass  # with the server its memory is gone
            except ClientError as exc:
                _log.warning("shared memory %s stays with a server: %s", memory.name, exc)
            memory.registered_at.discard(address)

    def call(
        self, memory: CallMemory, ask: Ask, begin: Callable[[], Effects[_Result]]
    ) -> Effects[_Result]:
        """One call that may use shared memory; `begin` begins it.

        When a server says that it does not know the memory, it is told, and the call begins anew.

        Raises:
            DeadlineExceeded: a call that was given up still writes to the array of an output.
            ClientError: what the call raises.
        """
        if memory.destinations:
            # A late answer of one attempt must not overwrite that of the next.
            ask.repeatable = False
            yield from self._settle(memory, ask)
        for _ in range(len(self._addresses) * len(memory.memories)):
            try:
                return (yield from self._begun(memory, ask, begin))
            except InvalidRequest as exc:
                if not region_is_unknown(exc):
                    raise
                for each in memory.memories:
                    if each.name in exc.server_message:
                        yield from self._register(each, ask, exc.endpoint)
        return (yield from self._begun(memory, ask, begin))

    def _begun(
        self, memory: CallMemory, ask: Ask, begin: Callable[[], Effects[_Result]]
    ) -> Effects[_Result]:
        try:
            return (yield from begin())
        except InvalidRequest:
            raise
        except BaseException:
            memory.unsettle(ask.progress.endpoint)
            raise

    def _settle(self, memory: CallMemory, ask: Ask) -> Effects[None]:
        """Wait until no call that was given up can write to the outputs of this one any more."""
        for name, destination in memory.destinations.items():
            region = destination.memory
            notes = region.unsettled(destination.begin, destination.end)
            for address in sorted({note[0] for note in notes}):
                yield from self._wait_until_unused(region, name, ask, address)
            region.settle(notes)

    def _wait_until_unused(
        self, memory: SharedMemory, output: str, ask: Ask, address: str
    ) -> Effects[None]:
        pause_s, longest_s = _PAUSES_S
        try:
            while True:
                yield from self._try_unregister(memory.name, memory, ask, address)
                if (yield from self._register(memory, ask, address)):
                    return
                yield Pause(min(pause_s, max(0.0, ask.left_s)))
                pause_s = min(longest_s, 2 * pause_s)
        except Unavailable:
            # It answers such calls until the last of its requests has ended.
            return
        except DeadlineExceeded as exc:
            raise DeadlineExceeded(
                ask.facts(),
                f"a call that was given up may still write to the array for {output!r}",
                hint="Take another array of the memory. Callers that write outputs at the same "
                "time should each have shared memory of their own.",
            ) from exc

    def _register(self, memory: SharedMemory, ask: Ask, address: str) -> Effects[bool]:
        """Register memory with one server; False if it knew it already."""
        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=memory.name, key=f"/{memory.name}", byte_size=memory.size_bytes
        )
        # Also where the answer never comes.
        memory.registered_at.add(address)
        try:
            yield from self._ask("SystemSharedMemoryRegister", request, memory, ask, address)
        except DeadlineExceeded:
            raise
        except ClientError as exc:
            if exc.code == "ALREADY_EXISTS":
                return False
            memory.registered_at.discard(address)
            raise _explained(exc, ask) from exc
        return True

    def _try_unregister(
        self, name: str, memory: SharedMemory, ask: Ask, address: str
    ) -> Effects[bool]:
        """Whether a server has forgotten a region, or will by itself; False if it is in use."""
        request = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        try:
            yield from self._ask("SystemSharedMemoryUnregister", request, memory, ask, address)
        except ServerFault:
            return False
        return True

    def _ask(
        self, rpc: str, request: Any, memory: SharedMemory, ask: Ask, address: str
    ) -> Effects[None]:
        """One request to that server, which is not repeated."""
        ask = ask.to("", "")
        ask.headers += memory.headers
        if ask.left_s <= 0:
            raise DeadlineExceeded(ask.facts())
        others = [peer for peer in self._pool.peers if peer.address != address]
        sent = yield from self._attempts.pick(ask, others)
        try:
            reply = yield self._attempts.attempt(rpc, request, ask, sent.peer)
        except BaseException:
            self._attempts.unanswered(ask, sent)
            raise
        if not isinstance(reply, Failure):
            self._attempts.answered(ask, sent)
            return
        if reply is CLOSED or rule_of(reply.code, reply.text).kind is Unavailable:
            raise self._attempts.failed(reply, ask, sent)[0]
        # What a server says about memory tells nothing about its models.
        self._attempts.unanswered(ask, sent)
        raise error_from_status(reply.code, ask.facts(reply.code.name, reply.text)) from reply.cause


def _explained(error: ClientError, ask: Ask) -> ClientError:
    """The error of a registration, with a hint that fits."""
    call = ask.facts(error.code, error.server_message)
    if isinstance(error, AccessRefused):
        return AccessRefused(
            call,
            hint="Give the server's key: client.shared_memory(..., "
            "headers={'triton-grpc-protocol-admin-key': key}).",
        )
    if isinstance(error, ServerFault):
        return InvalidRequest(
            call,
            f"it cannot open the caller's shared memory ({call.quote})",
            hint="Server and caller must be on one host, see the same /dev/shm (containers: --ipc) "
            "and run as the same user, or the server as root.",
        )
    if error.code == "UNIMPLEMENTED":
        return InvalidRequest(
            call,
            "it has no shared memory extension",
            hint="Send the arrays inline: as ordinary arrays.",
        )
    return error
