"""Carries out effects over `grpc.aio`, for callers on an event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from clickclean_client._channels import COMPRESSION, Security, Wire
from clickclean_client._effects import (
    CLOSED,
    Attempt,
    Effect,
    Effects,
    Failure,
    Item,
    Next,
    Open,
    Pause,
    Race,
    Resolve,
    Start,
)
from clickclean_client._forks import check_opening, leave, renew_in_child
from clickclean_client._lookup import Lookup, address_of
from clickclean_client._pool import Peer, Pool
from clickclean_client.protocol import grpc

_Result = TypeVar("_Result")


class OtherLoopError(RuntimeError):
    """A client is used from another event loop than before."""


class AsyncDriver:
    """The connections of one client on one event loop, that of its first call.

    Construction does no I/O. After a fork the child has connections of its own, on a loop of its
    own, if the parent had none: see `_forks`.
    """

    def __init__(self, pool: Pool, lookup: Lookup, security: Security) -> None:
        self.closed = False
        self._pool = pool
        self._lookup = lookup
        self._security = security
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._hanging_up: set[asyncio.Task[None]] = set()
        renew_in_child(self)

    async def run(self, effects: Effects[_Result]) -> _Result:
        """Carry out what is yielded until it returns.

        Raises:
            ClientError: what it raises.
            OtherLoopError: the client belongs to another event loop.
        """
        self._enter(effects)
        try:
            effect = next(effects)
            while True:
                try:
                    given = await (
                        self._send(effect) if type(effect) is Attempt else self._do(effect)
                    )
                except BaseException as exc:  # noqa: BLE001 - what it is about decides
                    effect = effects.throw(exc)
                else:
                    effect = effects.send(given)
        except StopIteration as end:
            result: _Result = end.value
            return result

    async def iterate(self, effects: Effects[None]) -> AsyncIterator[Any]:
        """Carry out what is yielded, and give out its items.

        Raises:
            ClientError: what it raises.
            OtherLoopError: the client belongs to another event loop.
        """
        self._enter(effects)
        given: Any = None
        try:
            while True:
                try:
                    effect = effects.send(given)
                except StopIteration:
                    return
                if isinstance(effect, Item):
                    given = None
                    yield effect.value
                else:
                    given = await self._do(effect)
        finally:
            effects.close()

    def start(self, effect: Start | None) -> Any | None:
        """Send and return at once what has a `cancel()`, in any thread; None if it cannot be sent.

        `done` is called in any case, here or in the loop's thread.
        """
        loop = self._loop
        if effect is None:
            return None
        if loop is None or self.closed or loop.is_closed():
            effect.done(CLOSED)
            return None
        return asyncio.run_coroutine_threadsafe(self._started(effect), loop)

    async def close(self) -> None:
        """Close all connections; calls under way end with `Cancelled`. May be repeated."""
        self.closed = True
        for peer in [*self._pool.peers, *self._pool.retired]:
            await self._hang_up(peer)
        tasks = [*self._hanging_up, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin_in_child(self) -> None:
        """After a fork."""
        leave(self._pool.reset(), self._loop, self._looking, self._hanging_up, asynchronous=True)
        self._lookup.reset()
        self._loop = self._looking = None
        self._hanging_up = set()

    def _enter(self, effects: Effects[Any]) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            effects.close()
            raise OtherLoopError(
                "This AsyncClient belongs to the event loop of its first call; "
                "open one for each loop."
            )

    async def _do(self, effect: Effect) -> Any:
        match effect:
            case Attempt():
                return await self._send(effect)
            case Pause():
                await asyncio.sleep(effect.seconds)
            case Race():
                return await self._race(effect)
            case Start():
                return self.start(effect)
            case Resolve():
                await self._resolve(effect.wait_s)
            case Open():
                return self._open(effect.attempt)
            case Next():
                return await _next(effect.stream)
        return None

    def _call(self, attempt: Attempt) -> Any:
        wire = attempt.peer.wire or self._connect(attempt.peer)
        return wire.unary(attempt.path)(
            attempt.data,
            timeout=attempt.timeout_s,
            metadata=attempt.headers or None,
            compression=COMPRESSION[attempt.compression],
        )

    async def _send(self, attempt: Attempt) -> bytes | Failure:
        try:
            reply: bytes = await self._call(attempt)
        except grpc.aio.AioRpcError as exc:
            return Failure(exc.code(), exc.details() or "", exc)
        except grpc.aio.UsageError:
            # What gRPC raises on a channel that is closed.
            if not self.closed:
                raise
            return CLOSED
        except asyncio.CancelledError as exc:
            # Closing a channel cancels the calls on it, but not the tasks of their callers.
            if not self.closed or _is_cancelling():
                raise
            return Failure(grpc.StatusCode.CANCELLED, "Channel closed!", exc)
        finally:
            if self._pool.retired:
                self._clear()
        return reply

    async def _started(self, effect: Start) -> None:
        reply: bytes | Failure = CLOSED
        try:
            reply = await self._send(effect.attempt)
        finally:
            effect.done(reply)

    async def _race(self, race: Race) -> list[tuple[Attempt, bytes | Failure | None]]:
        sent = [(race.first, asyncio.ensure_future(self._send(race.first)))]
        try:
            done, _ = await asyncio.wait([sent[0][1]], timeout=race.after_s)
            if not done:
                second = race.second()
                if second is not None:
                    sent.append((second, asyncio.ensure_future(self._send(second))))
                waiting = {task for _, task in sent}
                while waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if any(not isinstance(task.result(), Failure) for task in done):
                        break
        finally:
            for _, task in sent:
                task.cancel()
        return [
            (attempt, task.result() if task.done() and not task.cancelled() else None)
            for attempt, task in sent
        ]

    def _open(self, attempt: Attempt) -> Any:
        try:
            wire = attempt.peer.wire or self._connect(attempt.peer)
        except grpc.aio.UsageError:
            return CLOSED
        return wire.channel.stream_stream(attempt.path)(
            iter([attempt.data]),
            timeout=attempt.timeout_s,
            metadata=attempt.headers or None,
            compression=COMPRESSION[attempt.compression],
        )

    def _connect(self, peer: Peer) -> Wire:
        if self.closed:
            raise grpc.aio.UsageError
        check_opening(peer.address, asynchronous=True)
        wire = peer.wire = self._security.open(grpc.aio, peer.address)
        return wire

    def _clear(self) -> None:
        for peer in self._pool.take_idle():
            task = asyncio.ensure_future(self._hang_up(peer))
            self._hanging_up.add(task)
            task.add_done_callback(self._hanging_up.discard)

    async def _hang_up(self, peer: Peer) -> None:
        wire, peer.wire = peer.wire, None
        if wire is not None:
            await wire.channel.close()

    async def _resolve(self, wait_s: float) -> None:
        if self._lookup.begin():
            self._looking = asyncio.ensure_future(self._look_up())
        if wait_s > 0 and self._looking is not None:
            await asyncio.wait([self._looking], timeout=wait_s)

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        found: dict[tuple[str, int], tuple[str, ...]] = {}
        failures = []
        try:
            for name in self._lookup.names:
                try:
                    entries = await loop.getaddrinfo(*name, type=socket.SOCK_STREAM)
                except OSError as exc:
                    failures.append(f"the name {name[0]!r} has no address ({exc.strerror})")
                else:
                    found[name] = tuple(address_of(*entry[4][:2]) for entry in entries)
        finally:
            self._lookup.end(found, failures)
            self._pool.update(self._lookup.addresses)


def _is_cancelling() -> bool:
    """Whether the caller's own task is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _next(stream: Any) -> bytes | Failure | None:
    """The next message of a stream; None at its end."""
    try:
        message = await stream.read()
    except grpc.aio.AioRpcError as exc:
        return Failure(exc.code(), exc.details() or "", exc)
    return None if message is grpc.aio.EOF else message
