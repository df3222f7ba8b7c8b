"""Hooks are told of calls, and what they do wrong never reaches the caller."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from clickclean_client._exceptions import HookError
from clickclean_client._observe import CallEnd, CallStart, Hook, Hooks
from tests.client.observed_calls import begun, ended


def test_hooks_are_told_in_their_order_and_share_the_headers() -> None:
    seen: list[tuple[str, object]] = []

    def hook(name: str) -> Hook:
        def begin(start: CallStart) -> Callable[[CallEnd], None]:
            start.headers[name] = "1"
            seen.append((name, start.model))
            return lambda end: seen.append((name, end.outcome))

        return begin

    hooks = Hooks([hook("a"), hook("b")])
    start = begun()
    finish = hooks.begin(start)
    assert seen == [("a", "digits"), ("b", "digits")]
    finish(ended())
    assert seen[2:] == [("a", "ok"), ("b", "ok")]
    assert start.headers == {"a": "1", "b": "1"}
    assert hooks
    assert hooks.failures == 0


def test_without_hooks_there_is_nothing_to_ask() -> None:
    assert not Hooks()
    Hooks().begin(begun())(ended())


def fails_at_the_beginning(start: CallStart) -> Callable[[CallEnd], None]:
    raise ValueError("no luck")


def fails_at_the_end(start: CallStart) -> Callable[[CallEnd], None]:
    def finish(end: CallEnd) -> None:
        raise LookupError("no luck")

    return finish


def returns_nothing(start: CallStart) -> Any:
    return None


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (fails_at_the_beginning, "no luck"),
        (fails_at_the_end, "no luck"),
        (returns_nothing, "it returned None"),
    ],
)
def test_a_failing_hook_is_logged_once_and_the_others_are_told(
    hook: Hook, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = []

    def well(start: CallStart) -> Callable[[CallEnd], None]:
        return lambda end: outcomes.append(end.outcome)

    hooks = Hooks([hook, well])
    for _ in range(3):
        hooks.begin(begun())(ended())
    assert outcomes == ["ok"] * 3
    assert hooks.failures == 3
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("clickclean_client", logging.WARNING)
    assert hook.__qualname__ in record.message
    assert reason in record.message
    assert record.exc_info


def test_each_failing_hook_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks([fails_at_the_end, fails_at_the_beginning])
    for _ in range(2):
        hooks.begin(begun())(ended())
    assert len(caplog.records) == 2
    assert hooks.failures == 4


def test_failures_of_many_threads_are_all_counted(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks([fails_at_the_end])

    def call() -> None:
        for _ in range(200):
            hooks.begin(begun())(ended())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hooks.failures == 1600
    assert len(caplog.records) == 1


def test_what_ends_a_program_is_not_caught() -> None:
    def interrupted(start: CallStart) -> Callable[[CallEnd], None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Hooks([interrupted]).begin(begun())


async def awaited(start: CallStart) -> None:
    pass


class AwaitedObject:
    async def __call__(self, start: CallStart) -> None:
        pass


@pytest.mark.parametrize(
    ("hooks", "sentence"),
    [
        (["prometheus"], "must be callable, not 'prometheus'"),
        ([awaited], "hook awaited is a coroutine function"),
        ([AwaitedObject()], "hook AwaitedObject is a coroutine function"),
        (fails_at_the_end, "must be a sequence"),
    ],
)
def test_what_is_no_hook_is_refused_when_the_client_is_made(hooks: Any, sentence: str) -> None:
    with pytest.raises(HookError, match=sentence) as caught:
        Hooks(hooks)
    assert caught.value.exit_code == 2
    assert caught.value.hint
