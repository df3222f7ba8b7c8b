"""Which server gets the next request: the least busy of two, without those that fail. No I/O.

A peer that fails is blocked, for one model or altogether, and its pause doubles each time. After
the pause it is probed beside the calls; then one real request is its trial, and the answer to that
one opens it again. A block is advice: when all peers are blocked, all are used.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from clickclean_client._settings import Balancing

Key = tuple[str, str]
"""A model's name in the server, and the version that is asked for ("" = none)."""

SERVER: Final[Key] = ("", "")
"""The key under which a whole peer is blocked, and not only one of its models."""

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = {True: 1.0, False: 2.0}
"""For a peer without connection, which costs no request to probe, and for one of its models."""

REJECTED_PAUSE_S: Final = 0.1
"""For a peer whose queue is full. Without a pause it would look idle and be asked first."""

FAULTS_MAX: Final = 3
"""Failures of a model in a row, of kinds that may be the request's fault, until it is blocked."""

PROBE_TIMEOUT_S: Final = 0.5
_NAMES_MAX: Final = 1_000
# Connections are replaced at different times.
_SPREAD: Final = 0.2


@dataclass(slots=True)
class _Block:
    until_s: float
    pause_s: float
    state: str = "pause"  # -> "probing" -> "open" for one trial -> "trial"


class Peer:
    """One connection to one address. `wire` is what the driver keeps there."""

    __slots__ = ("address", "blocks", "faults", "outstanding", "replace_s", "wire")

    def __init__(self, address: str, replace_s: float) -> None:
        self.address = address
        self.replace_s = replace_s
        self.outstanding = 0
        self.blocks: dict[Key, _Block] = {}
        self.faults: dict[Key, int] = {}
        self.wire: Any = None


class Pool:
    """The peers of one client; safe for many threads."""

    def __init__(self, addresses: Iterable[str], balancing: Balancing) -> None:
        self.retired: list[Peer] = []
        """No request is sent to these any more; the driver closes them once they are idle."""
        self._balancing = balancing
        self._lock = threading.RLock()
        # Of its own, because programs seed the one of the module.
        self._random = random.Random()  # noqa: S311 - for a choice
        self._peers: tuple[Peer, ...] = ()
        self._blocked: set[Peer] = set()
        self._next_replace_s = float("inf")
        self.update(addresses)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Those that requests are sent to."""
        return self._peers

    @property
    def blocked(self) -> bool:
        """Whether any is, so that one may be due for a probe."""
        return bool(self._blocked)

    def update(self, addresses: Iterable[str]) -> None:
        """Call these addresses from now on; connections to those that stay are kept."""
        with self._lock:
            kept: dict[str, list[Peer]] = {}
            for peer in self._peers:
                kept.setdefault(peer.address, []).append(peer)
            fresh: list[Peer] = []
            for address in dict.fromkeys(addresses):
                fresh += kept.pop(address, []) or self._new(address)
            self._retire(peer for peers in kept.values() for peer in peers)
            self._set(fresh)

    def pick(self, key: Key, tried: Collection[Peer] = ()) -> Peer:
        """The peer for a request about a model, which is begun with it.

        Raises:
            LookupError: there are no addresses.
        """
        with self._lock:
            peers = self._peers
            if time.monotonic() >= self._next_replace_s:
                peers = self._replace()
            if len(peers) == 1:
                chosen = peers[0]
            elif not peers:
                raise LookupError
            else:
                chosen = self._choose(peers, key, tried)
            chosen.outstanding += 1
            return chosen

    def another(self, key: Key, peer: Peer) -> bool:
        """Whether some other peer can take a request to this model."""
        if len(self._peers) <= 1:
            return False
        return any(other is not peer and _is_free(other, key) for other in self._peers)

    def answered(self, peer: Peer, key: Key) -> None:
        """A request came back with an answer: the peer and its model work."""
        with self._lock:
            peer.outstanding -= 1
            if peer.faults:
                peer.faults.pop(key, None)
            if peer.blocks:
                self._unblock(peer, key)
                block = peer.blocks.get(SERVER)
                if block is not None and block.state != "pause":
                    self._unblock(peer, SERVER)

    def unanswered(self, peer: Peer, key: Key) -> None:
        """A request was given up by its caller: that says nothing about the peer."""
        with self._lock:
            peer.outstanding -= 1
            for each in (key, SERVER):
                block = peer.blocks.get(each)
                if block is not None and block.state == "trial":
                    block.state = "open"

    def lost(self, peer: Peer) -> None:
        """A request failed because the peer cannot be reached, or is stopping."""
        with self._lock:
            peer.outstanding -= 1
            for block in peer.blocks.values():
                # If it was the trial of its model, that one is still to be made.
                if block.state == "trial":
                    block.state = "open"
            self._block(peer, SERVER)

    def failed(self, peer: Peer, key: Key, *, answered: bool = True) -> None:
        """A request failed because this model does not work on this peer.

        `answered` is false where time ran out, and the peer said nothing.
        """
        with self._lock:
            peer.outstanding -= 1
            self._end_trial(peer, answered=answered)
            self._block(peer, key)

    def faulted(self, peer: Peer, key: Key, *, answered: bool = True) -> None:
        """A request failed, and whose fault it is is open: several in a row block the model."""
        with self._lock:
            peer.outstanding -= 1
            self._end_trial(peer, answered=answered)
            count = peer.faults.get(key, 0) + 1
            if count >= FAULTS_MAX or key in peer.blocks:
                self._block(peer, key)
            elif len(peer.faults) < _NAMES_MAX:
                peer.faults[key] = count

    def rejected(self, peer: Peer, key: Key) -> None:
        """A request was refused because the peer has too much to do."""
        with self._lock:
            peer.outstanding -= 1
            self._end_trial(peer, answered=True)
            known = peer.blocks.get(key)
            if len(self._peers) > 1 and (known is None or known.state == "trial"):
                until_s = time.monotonic() + REJECTED_PAUSE_S
                peer.blocks[key] = _Block(until_s, REJECTED_PAUSE_S)
                self._blocked.add(peer)
                self._forget_useless(key)

    def _end_trial(self, peer: Peer, *, answered: bool) -> None:
        """The trial of a whole peer met a model that fails: the peer itself is there, or silent."""
        block = peer.blocks.get(SERVER)
        if block is None or block.state != "trial":
            return
        if answered:
            self._unblock(peer, SERVER)
        else:
            block.state = "open"

    def probe_due(self) -> tuple[Peer, Key] | None:
        """A peer and key to be probed now; whoever gets it must tell `probed`."""
        if not self._blocked:
            return None
        now = time.monotonic()
        with self._lock:
            for peer in self._blocked:
                for key, block in peer.blocks.items():
                    if block.state == "pause" and now >= block.until_s:
                        block.state = "probing"
                        # One that is never told must not stay blocked for good.
                        block.until_s = now + 4 * PROBE_TIMEOUT_S
                        return peer, key
                    if block.state == "probing" and now >= block.until_s:
                        block.until_s = now + 4 * PROBE_TIMEOUT_S
                        return peer, key
        return None

    def probed(self, peer: Peer, key: Key, *, good: bool) -> None:
        """A probe has ended."""
        with self._lock:
            block = peer.blocks.get(key)
            if block is None or block.state != "probing":
                return
            if good:
                block.state = "open"
            else:
                self._block(peer, key)

    def take_idle(self) -> list[Peer]:
        """Retired peers that nobody uses any more; each is given once."""
        with self._lock:
            idle = [peer for peer in self.retired if not peer.outstanding]
            self.retired = [peer for peer in self.retired if peer.outstanding]
            return idle

    def reset(self) -> list[Peer]:
        """Begin anew, as a forked child has to; gives back the peers of before, as they were."""
        self._lock = threading.RLock()
        before = [*self._peers, *self.retired]
        self.retired = []
        self._blocked = set()
        self._set([peer for p in self._peers for peer in self._new(p.address, 1)])
        return before

    def _choose(self, peers: tuple[Peer, ...], key: Key, tried: Collection[Peer]) -> Peer:
        if self._blocked or tried:
            fresh = [peer for peer in peers if peer not in tried]
            for peer in fresh:
                if peer.blocks and _claim_trial(peer, key):
                    return peer
            peers = (
                tuple(peer for peer in fresh if _is_free(peer, key))
                or tuple(fresh)
                # Everything was tried: the one that failed longest ago.
                or tuple(peer for peer in list(tried)[:1] if peer in peers)
                or peers
            )
            if len(peers) == 1:
                return peers[0]
        if len(peers) == 2:  # noqa: PLR2004
            one, two = peers
        else:
            one, two = self._random.sample(peers, 2)
        if one.outstanding == two.outstanding:
            return one if self._random.random() < 0.5 else two  # noqa: PLR2004
        return one if one.outstanding < two.outstanding else two

    def _block(self, peer: Peer, key: Key) -> None:
        known = peer.blocks.get(key)
        now = time.monotonic()
        if known is not None and known.state == "pause" and now < known.until_s:
            return  # one of several that failed together
        if len(peer.blocks) >= _NAMES_MAX:
            peer.blocks.clear()
        longest_s = LONGEST_PAUSE_S[key == SERVER]
        pause_s = min(longest_s, 2 * known.pause_s) if known is not None else FIRST_PAUSE_S
        spread = 1 + _SPREAD * (self._random.random() - 0.5)
        peer.blocks[key] = _Block(now + pause_s * spread, pause_s)
        self._blocked.add(peer)
        if key != SERVER:
            self._forget_useless(key)

    def _forget_useless(self, key: Key) -> None:
        """Where all are blocked for a model, as for one that nobody serves, no block helps."""
        if not any(_is_free(peer, key) for peer in self._peers):
            for peer in self._peers:
                self._unblock(peer, key)

    def _unblock(self, peer: Peer, key: Key) -> None:
        peer.blocks.pop(key, None)
        if not peer.blocks:
            self._blocked.discard(peer)

    def _new(self, address: str, count: int | None = None) -> list[Peer]:
        return [
            Peer(address, self._replace_time())
            for _ in range(count if count is not None else self._balancing.connections)
        ]

    def _replace_time(self) -> float:
        after_s = self._balancing.reconnect_s
        if after_s is None:
            return float("inf")
        return time.monotonic() + after_s * (1 + _SPREAD * (self._random.random() - 0.5))

    def _replace(self) -> tuple[Peer, ...]:
        now = time.monotonic()
        old = [peer for peer in self._peers if now >= peer.replace_s]
        fresh = [
            Peer(peer.address, self._replace_time()) if peer in old else peer
            for peer in self._peers
        ]
        self._retire(old)
        self._set(fresh)
        return self._peers

    def _retire(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            self._blocked.discard(peer)
            self.retired.append(peer)

    def _set(self, peers: list[Peer]) -> None:
        self._peers = tuple(peers)
        self._next_replace_s = min((p.replace_s for p in peers), default=float("inf"))


def _is_free(peer: Peer, key: Key) -> bool:
    blocks = peer.blocks
    return not blocks or (key not in blocks and SERVER not in blocks)


def _claim_trial(peer: Peer, key: Key) -> bool:
    """Whether this request shall be the trial of a peer; then no other one is."""
    blocks = [block for each in (SERVER, key) if (block := peer.blocks.get(each)) is not None]
    if not blocks or any(block.state != "open" for block in blocks):
        return False
    for block in blocks:
        block.state = "trial"
    return True
