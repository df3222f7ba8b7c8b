"""What a forked child may do: threads of gRPC do not come along, so not everything works there.

Seen with gRPC 1.85 on Linux, for connections that the child opens itself: calls work after those
of the parent, unless `GRPC_ENABLE_FORK_SUPPORT` is 0 (then they hang). Those of `grpc.aio` end the
process, or hang, while the parent has connections of `grpc.aio`. What would hang is refused
instead. With `GRPC_ENABLE_FORK_SUPPORT=1` a fork during a call hangs in gRPC's own handler, before
anything here could refuse it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from clickclean_client._exceptions import Call, InvalidRequest

if TYPE_CHECKING:
    from clickclean_client._pool import Peer

# gRPC reads it when it is imported, too.
_SUPPORT: Final = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower()
_OFF: Final = _SUPPORT in {"0", "f", "false", "n", "no"}


class Forkable(Protocol):
    """What must not go on in a child where its parent was: it has locks, threads, connections."""

    def begin_in_child(self) -> None:
        """Begin anew; nobody else runs meanwhile. It must neither wait nor raise."""


class _Connections:
    """Those of the process, and what the child of a fork must not do because of them."""

    def __init__(self) -> None:
        self.opened = False
        self.refused = False
        self.refused_async = False
        # Kept for good: in the child, even their destructors may wait for threads of the parent.
        self.left: list[Any] = []


_living: weakref.WeakSet[Forkable] = weakref.WeakSet()
_connections = _Connections()


def renew_in_child(each: Forkable) -> None:
    """From now on, as long as it lives, it is told after a fork in the child."""
    _living.add(each)


def leave(peers: Iterable[Peer], *more: Any, asynchronous: bool = False) -> None:
    """In a child: what belonged to the parent is not touched any more."""
    for peer in peers:
        if peer.wire is not None:
            _connections.refused_async |= asynchronous
            _connections.left.append(peer.wire)
            peer.wire = None
    _connections.left += more


def check_opening(address: str, *, asynchronous: bool = False) -> None:
    """Before a connection is opened.

    Raises:
        InvalidRequest: this process was forked from one whose connections stand in the way.
    """
    if not _connections.refused and not (asynchronous and _connections.refused_async):
        _connections.opened = True
        return
    raise InvalidRequest(
        Call(address),
        "a client was used before this process was forked, and gRPC would hang here",
        hint="Call clients in the children only, or start these with 'spawn' or 'forkserver'"
        + (
            "; an AsyncClient may also be closed before the fork."
            if not _connections.refused
            else ", or leave GRPC_ENABLE_FORK_SUPPORT unset."
        ),
    )


def _begin_in_child() -> None:
    _connections.refused |= _OFF and _connections.opened
    for each in list(_living):
        each.begin_in_child()


# Once for all: it can never be taken back.
os.register_at_fork(after_in_child=_begin_in_child)
