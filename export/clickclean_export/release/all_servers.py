"""The same step on all servers side by side."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from clickclean_client import ClickCleanError
from clickclean_export.release.server import Address, LiveServer

_MOST_AT_ONCE = 32
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


@contextmanager
def connected(addresses: Sequence[Address], load_timeout_s: float) -> Iterator[list[LiveServer]]:
    """Yield the servers in their order; connections are closed at the end of the block.

    Raises:
        InvalidRequest: an address is malformed (exit 2).
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(LiveServer(one, load_timeout_s=load_timeout_s)) for one in addresses
        ]


def ask_all(asked: Sequence[_Asked], ask: Callable[[_Asked], _Answer]) -> tuple[_Answer, ...]:
    """Return the answers in the order of the asked; what the first raises is raised."""
    with ThreadPoolExecutor(max(1, min(_MOST_AT_ONCE, len(asked)))) as pool:
        return tuple(pool.map(ask, asked))


def on_all(
    targets: Sequence[_Asked], step: Callable[[_Asked], None], endpoint: Callable[[_Asked], str]
) -> dict[str, Exception]:
    """Take a step everywhere, whatever fails elsewhere.

    Args:
        targets: A server each.
        step: For one of them.
        endpoint: Its address.

    Returns:
        What went wrong, by address; a defect of ours is raised.
    """

    def attempt(target: _Asked) -> Exception | None:
        try:
            step(target)
        except (ClickCleanError, OSError) as error:
            return error
        return None

    outcomes = ask_all(targets, attempt)
    return {
        endpoint(target): error
        for target, error in zip(targets, outcomes, strict=True)
        if error is not None
    }
