"""Which endpoint gets the next request. Time is moved by the test: the pool only reads a clock."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from clickclean_client import Balancing
from clickclean_client import _pool as pool_module
from clickclean_client._pool import FAULTS_MAX, FIRST_PAUSE_S, SERVER, Peer, Pool

M = ("m", "")
OTHER = ("other", "")
FOREVER = Balancing(reconnect_s=None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pool_module, "time", found)
    return found


def pool_of(count: int, balancing: Balancing = FOREVER) -> Pool:
    return Pool([f"host{number}:1" for number in range(count)], balancing)


def spread(pool: Pool, calls: int = 200) -> Counter[str]:
    """Where that many calls go that are answered one after another."""
    found: Counter[str] = Counter()
    for _ in range(calls):
        peer = pool.pick(M)
        found[peer.address] += 1
        pool.answered(peer, M)
    return found


def block_server(pool: Pool, place: int = 0) -> Peer:
    peer = pool.peers[place]
    peer.outstanding += 1
    pool.lost(peer)
    return peer


def test_without_load_all_are_asked() -> None:
    counts = spread(pool_of(4), 400)
    assert len(counts) == 4
    assert min(counts.values()) > 50


def test_the_less_busy_of_two_gets_it() -> None:
    pool = pool_of(2)
    stuck = pool.pick(M)
    assert {pool.pick(M), pool.pick(M)} - {stuck}
    for _ in range(20):
        peer = pool.pick(M)
        assert peer.outstanding <= stuck.outstanding + 1
    assert abs(pool.peers[0].outstanding - pool.peers[1].outstanding) <= 1


def test_a_server_that_is_lost_gets_nothing_until_it_was_probed_and_tried(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    assert pool.probe_due() is None
    assert lost.address not in spread(pool)
    clock.now += 2 * FIRST_PAUSE_S
    assert pool.probe_due() == (lost, SERVER)
    assert pool.probe_due() is None, "one probe at a time"
    assert lost.address not in spread(pool)
    pool.probed(lost, SERVER, good=True)

    trial = pool.pick(M)
    assert trial is lost
    assert lost.address not in spread(pool), "one request is the trial"
    pool.answered(trial, M)
    assert not pool.blocked
    assert spread(pool)[lost.address] > 50


def test_pauses_double_up_to_a_limit(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    pauses = []
    for _ in range(6):
        begun = clock.now
        while pool.probe_due() is None:
            clock.now += 0.01
        pauses.append(clock.now - begun)
        pool.probed(lost, SERVER, good=False)
    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[-1] < 1.2


def test_a_trial_that_fails_blocks_longer(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    clock.now += 1
    pool.probe_due()
    pool.probed(lost, SERVER, good=True)
    assert pool.pick(M) is lost
    pool.lost(lost)
    clock.now += FIRST_PAUSE_S
    assert pool.probe_due() is None
    clock.now += 2 * FIRST_PAUSE_S
    assert pool.probe_due() == (lost, SERVER)


def test_a_trial_that_is_given_up_is_made_again(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    clock.now += 1
    pool.probe_due()
    pool.probed(lost, SERVER, good=True)
    for _ in range(3):
        assert pool.pick(M) is lost
        pool.unanswered(lost, M)


def test_a_probe_that_is_never_answered_is_made_again(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    clock.now += 1
    assert pool.probe_due() == (lost, SERVER)
    clock.now += 10
    assert pool.probe_due() == (lost, SERVER)


def test_a_model_is_blocked_without_the_others() -> None:
    pool = pool_of(2)
    peer = pool.pick(M)
    pool.failed(peer, M)
    assert peer.address not in spread(pool)
    others = {pool.pick(OTHER).address for _ in range(20)}
    assert peer.address in others


def test_a_server_that_is_lost_in_the_trial_of_a_model_is_tried_again(clock: Clock) -> None:
    pool = pool_of(2)
    peer = pool.peers[0]
    peer.outstanding += 1
    pool.failed(peer, M)
    clock.now += 1
    assert pool.probe_due() == (peer, M)
    pool.probed(peer, M, good=True)
    assert pool.pick(M) is peer
    pool.lost(peer)
    clock.now += 1
    assert pool.probe_due() == (peer, SERVER)
    pool.probed(peer, SERVER, good=True)
    assert pool.pick(M) is peer
    pool.answered(peer, M)
    assert not pool.blocked


def test_a_model_that_no_server_has_blocks_nothing() -> None:
    pool = pool_of(3)
    for peer in pool.peers:
        peer.outstanding += 1
        pool.failed(peer, M)
    assert not pool.blocked


def test_when_all_are_lost_all_are_used() -> None:
    pool = pool_of(2)
    for place in range(2):
        block_server(pool, place)
    assert len({pool.pick(M).address for _ in range(20)}) == 2


def test_what_was_tried_is_not_tried_again_while_there_is_another() -> None:
    pool = pool_of(3)
    tried: list[Peer] = []
    for _ in range(3):
        tried.append(pool.pick(M, tried))
    assert len(set(tried)) == 3
    assert pool.pick(M, tried) is tried[0], "then the one that failed longest ago"


def test_faults_that_may_be_the_requests_own_block_only_in_a_row() -> None:
    pool = pool_of(2)
    peer = pool.peers[0]
    for _ in range(5):
        for _ in range(FAULTS_MAX - 1):
            peer.outstanding += 1
            pool.faulted(peer, M)
        peer.outstanding += 1
        pool.answered(peer, M)
    assert not pool.blocked
    for _ in range(FAULTS_MAX):
        peer.outstanding += 1
        pool.faulted(peer, M)
    assert peer.address not in spread(pool)


def test_a_full_server_rests_a_moment(clock: Clock) -> None:
    pool = pool_of(2)
    peer = pool.peers[0]
    peer.outstanding += 1
    pool.rejected(peer, M)
    assert peer.address not in spread(pool)
    clock.now += 0.2
    assert pool.probe_due() == (peer, M)
    pool.probed(peer, M, good=True)
    assert pool.pick(M) is peer
    pool.rejected(peer, M)
    clock.now += 0.2
    assert pool.probe_due() == (peer, M), "the pause does not grow"


def test_a_single_endpoint_is_always_asked() -> None:
    pool = pool_of(1)
    for _ in range(5):
        peer = pool.pick(M)
        pool.rejected(peer, M)
        peer = pool.pick(M)
        pool.lost(peer)
    assert pool.pick(M) is pool.peers[0]


def test_no_addresses() -> None:
    with pytest.raises(LookupError):
        Pool([], FOREVER).pick(M)


def test_new_addresses_keep_the_connections_that_stay() -> None:
    pool = pool_of(2)
    first, second = pool.peers
    busy = pool.pick(M, [second])
    assert busy is first
    pool.update(["host1:1", "host7:1"])
    assert pool.peers[0] is second
    assert [peer.address for peer in pool.peers] == ["host1:1", "host7:1"]
    assert pool.take_idle() == [], "a call is under way there"
    pool.answered(busy, M)
    assert pool.take_idle() == [first]
    assert pool.take_idle() == []


def test_several_connections_to_one_address() -> None:
    pool = pool_of(1, Balancing(connections=3, reconnect_s=None))
    assert [peer.address for peer in pool.peers] == ["host0:1"] * 3
    assert len(set(pool.peers)) == 3


def test_connections_are_replaced_one_after_another(clock: Clock) -> None:
    pool = pool_of(3, Balancing(reconnect_s=100))
    before = pool.peers
    clock.now += 80
    spread(pool)
    assert pool.peers == before
    clock.now += 40
    spread(pool)
    assert not set(pool.peers) & set(before)
    assert [p.address for p in pool.peers] == [p.address for p in before]
    assert set(pool.take_idle()) == set(before)
    times = {round(peer.replace_s, 3) for peer in pool.peers}
    assert len(times) == 3


def test_counts_stay_right_with_many_threads() -> None:
    pool = pool_of(3)

    def call() -> None:
        for number in range(300):
            peer = pool.pick(M)
            (pool.answered if number % 3 else pool.unanswered)(peer, M)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [peer.outstanding for peer in pool.peers] == [0, 0, 0]


def test_the_trial_of_a_server_that_loads_its_model_still(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    clock.now += 1
    pool.probe_due()
    pool.probed(lost, SERVER, good=True)
    assert pool.pick(M) is lost
    pool.failed(lost, M)
    assert [*lost.blocks] == [M], "the server is there, its model is not"
    clock.now += 1
    assert pool.probe_due() == (lost, M)
    pool.probed(lost, M, good=True)
    assert pool.pick(M) is lost
    pool.answered(lost, M)
    assert not pool.blocked


def test_a_trial_that_nobody_answered_is_made_again(clock: Clock) -> None:
    pool = pool_of(2)
    lost = block_server(pool)
    clock.now += 1
    pool.probe_due()
    pool.probed(lost, SERVER, good=True)
    assert pool.pick(M) is lost
    pool.failed(lost, M, answered=False)
    assert set(lost.blocks) == {SERVER, M}
    clock.now += 1
    assert pool.probe_due() == (lost, M)
    pool.probed(lost, M, good=True)
    assert pool.pick(M) is lost
    pool.answered(lost, M)
    assert not pool.blocked
