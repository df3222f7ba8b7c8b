"""Carries out effects over gRPC's blocking API."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
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


class Driver:
    """The connections of one client; safe for many threads. Construction does no I/O.

    After a fork the child has connections of its own, opened at its first call; those of the
    parent are left to the parent. See `_forks` for where that is not possible.
    """

    def __init__(self, pool: Pool, lookup: Lookup, security: Security) -> None:
        self.closed = False
        self._pool = pool
        self._lookup = lookup
        self._security = security
        self._lock = threading.Lock()
        self._looked_up = threading.Event()
        renew_in_child(self)

    def run(self, effects: Effects[_Result]) -> _Result:
        """Carry out what is yielded until it returns.

        Raises:
            ClientError: what it raises.
        """
        try:
            effect = next(effects)
            while True:
                try:
                    # The common one first, without a call in between.
                    given = self._send(effect) if type(effect) is Attempt else self._do(effect)
                except BaseException as exc:  # noqa: BLE001 - what it is about decides
                    effect = effects.throw(exc)
                else:
                    effect = effects.send(given)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def iterate(self, effects: Effects[None]) -> Iterator[Any]:
        """Carry out what is yielded, and give out its items.

        Raises:
            ClientError: what it raises.
        """
        given: Any = None
        try:
            while True:
                effect = effects.send(given)
                if isinstance(effect, Item):
                    given = None
                    yield effect.value
                    continue
                try:
                    given = self._do(effect)
                except BaseException as exc:
                    effects.throw(exc)
                    raise
        except StopIteration:
            return
        finally:
            effects.close()

    def start(self, effect: Start | None) -> Any | None:
        """Send and return at once what has a `cancel()`; None if it could not be sent.

        `done` is called in any case, here or in a thread of gRPC.
        """
        if effect is None:
            return None
        try:
            future = self._future(effect.attempt)
        except ValueError:
            effect.done(CLOSED)
            return None
        future.add_done_callback(lambda ended: effect.done(_reply(ended)))
        return future

    def close(self) -> None:
        """Close all connections; calls under way end with `Cancelled`. May be repeated."""
        with self._lock:
            self.closed = True
            peers = [*self._pool.peers, *self._pool.retired]
        for peer in peers:
            self._hang_up(peer)

    def begin_in_child(self) -> None:
        """After a fork."""
        self._lock = threading.Lock()
        leave(self._pool.reset())
        self._lookup.reset()

    def _do(self, effect: Effect) -> Any:
        match effect:
            case Attempt():
                return self._send(effect)
            case Pause():
                time.sleep(effect.seconds)
            case Race():
                return self._race(effect)
            case Start():
                return self.start(effect)
            case Resolve():
                self._resolve(effect.wait_s)
            case Open():
                return self._open(effect.attempt)
            case Next():
                return _next(effect.stream)
        return None

    def _send(self, attempt: Attempt) -> bytes | Failure:
        peer, path, data, timeout_s, headers, compression = attempt
        try:
            wire = peer.wire or self._connect(peer)
            reply: bytes = wire.unary(path)(
                data, timeout=timeout_s, metadata=headers, compression=COMPRESSION[compression]
            )
        except grpc.RpcError as exc:
            return Failure(exc.code(), exc.details() or "", exc)
        except ValueError:
            # What gRPC raises on a channel that another thread closes in this moment.
            if not self.closed:
                raise
            return CLOSED
        finally:
            if self._pool.retired:
                self._clear()
        return reply

    def _future(self, attempt: Attempt) -> Any:
        wire = attempt.peer.wire or self._connect(attempt.peer)
        return wire.unary(attempt.path).future(
            attempt.data,
            timeout=attempt.timeout_s,
            metadata=attempt.headers,
            compression=COMPRESSION[attempt.compression],
        )

    def _race(self, race: Race) -> list[tuple[Attempt, bytes | Failure | None]]:
        ended: SimpleQueue[Any] = SimpleQueue()
        futures: list[tuple[Attempt, Any]] = []

        def begin(attempt: Attempt) -> None:
            future = self._future(attempt)
            futures.append((attempt, future))
            future.add_done_callback(ended.put)

        try:
            begin(race.first)
            try:
                done = ended.get(timeout=race.after_s)
            except Empty:
                second = race.second()
                if second is not None:
                    begin(second)
                done = ended.get()
                if len(futures) > 1 and done.code() is not grpc.StatusCode.OK:
                    # The other one may still answer.
                    done = ended.get()
        except ValueError:
            if not self.closed:
                raise
            return [(attempt, CLOSED) for attempt, _ in futures] or [(race.first, CLOSED)]
        finally:
            for _, future in futures:
                future.cancel()
        return [
            (attempt, _reply(future) if future is done or _failed(future) else None)
            for attempt, future in futures
        ]

    def _open(self, attempt: Attempt) -> Any:
        try:
            wire = attempt.peer.wire or self._connect(attempt.peer)
            return wire.channel.stream_stream(attempt.path)(
                iter([attempt.data]),
                timeout=attempt.timeout_s,
                metadata=attempt.headers,
                compression=COMPRESSION[attempt.compression],
            )
        except ValueError:
            return CLOSED

    def _connect(self, peer: Peer) -> Wire:
        with self._lock:
            if self.closed:
                raise ValueError
            if peer.wire is None:
                check_opening(peer.address)
                peer.wire = self._security.open(grpc, peer.address)
            wire: Wire = peer.wire
            return wire

    def _clear(self) -> None:
        for peer in self._pool.take_idle():
            self._hang_up(peer)

    def _hang_up(self, peer: Peer) -> None:
        with self._lock:
            wire, peer.wire = peer.wire, None
        if wire is not None:
            wire.channel.close()

    def _resolve(self, wait_s: float) -> None:
        with self._lock:
            mine = self._lookup.begin()
            if mine:
                self._looked_up = threading.Event()
            looked_up = self._looked_up
        if mine:
            # getaddrinfo knows no deadline, but a call does.
            name = "clickclean-lookup"
            threading.Thread(target=self._look_up, args=[looked_up], name=name, daemon=True).start()
        if wait_s > 0:
            looked_up.wait(wait_s)

    def _look_up(self, looked_up: threading.Event) -> None:
        found: dict[tuple[str, int], tuple[str, ...]] = {}
        failures = []
        try:
            for name in self._lookup.names:
                try:
                    entries = socket.getaddrinfo(*name, type=socket.SOCK_STREAM)
                except OSError as exc:
                    failures.append(f"the name {name[0]!r} has no address ({exc.strerror})")
                else:
                    found[name] = tuple(address_of(*entry[4][:2]) for entry in entries)
        finally:
            self._lookup.end(found, failures)
            self._pool.update(self._lookup.addresses)
            looked_up.set()


def _reply(future: Any) -> bytes | Failure:
    code = future.code()
    if code is grpc.StatusCode.OK:
        reply: bytes = future.result()
        return reply
    return Failure(code, future.details() or "")


def _failed(future: Any) -> bool:
    """Whether it ended by itself, and not well."""
    return future.done() and not future.cancelled() and future.code() is not grpc.StatusCode.OK


def _next(stream: Any) -> bytes | Failure | None:
    """The next message of a stream; None at its end."""
    try:
        message: bytes = next(stream)
    except StopIteration:
        return None
    except grpc.RpcError as exc:
        return Failure(exc.code(), exc.details() or "", exc)
    return message
