"""Hooks: what a program is told at the beginning and at the end of each of its calls. No I/O."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clickclean_client._exceptions import HookError

if TYPE_CHECKING:
    from clickclean_client._exceptions import ClientError

_log = logging.getLogger("clickclean_client")


@dataclass(slots=True)
class CallStart:
    """A call that begins. A hook may add to `headers`, which are sent with every attempt.

    `version` is the one asked for, "" for the promoted one. `key_given` says that the call takes
    part in experiments. `start_ns` is `time.time_ns()`. `stream` says that it is answered several
    times.
    """

    model: str
    version: str
    key_given: bool
    request_id: str
    headers: dict[str, str]
    start_ns: int
    stream: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One remote procedure call of a call.

    `start_ns` is `time.time_ns()`, `outcome` "ok" or the class name of the error, and `hedge`
    says that it was sent while an earlier one had no answer yet.
    """

    endpoint: str
    start_ns: int
    duration_s: float
    outcome: str
    hedge: bool


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call that ended.

    `version` is the one asked for ("" for the promoted one), `answered_version` the one that
    answered ("" if none did). `arm` is "champion", "challenger", or "" outside of experiments,
    and so is `experiment`. `outcome` is "ok" or the class name of what the caller got instead;
    `error` is that error. `duration_s` covers everything from the caller's point of view.
    """

    model: str
    version: str
    answered_version: str
    arm: str
    experiment: str
    outcome: str
    duration_s: float
    attempts: tuple[AttemptRecord, ...]
    request_bytes: int
    response_bytes: int
    error: ClientError | None
    stream: bool = False


Hook = Callable[[CallStart], Callable[[CallEnd], None]]
"""Called at the beginning of a call; what it returns is called at the end. It must not wait: it
runs in the caller's thread or event loop."""


class Hooks:
    """The hooks of one client; false without any. Safe for many threads.

    A hook that raises an `Exception`, at the beginning or the end of a call, costs its own
    numbers and one warning with the traceback, never the call; later failures of the same hook
    are only counted (`failures`).

    Raises:
        HookError: something in `hooks` is not callable, or is a coroutine function.
    """

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        if callable(hooks):
            raise HookError("hooks must be a sequence.", hint="Write hooks=[hook].")
        self._hooks = tuple(hooks)
        for hook in self._hooks:
            _check(hook)
        self._failures = [0] * len(self._hooks)
        self._counting = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def failures(self) -> int:
        """How many times a hook raised."""
        return sum(self._failures)

    def begin(self, start: CallStart) -> Callable[[CallEnd], None]:
        """Tell all hooks of a call; what is returned tells them, in the same order, of its end.

        Neither raises an `Exception`. A hook that failed at the beginning is not told of the end.
        """
        ends: list[tuple[int, Callable[[CallEnd], None]]] = []
        for index, hook in enumerate(self._hooks):
            try:
                end = hook(start)
                if not callable(end):
                    raise TypeError(f"it returned {end!r} instead of what is called at the end")
            except Exception as exc:  # noqa: BLE001 - code of the program's own, of any kind
                self._failed(index, exc)
            else:
                ends.append((index, end))

        def finish(ended: CallEnd) -> None:
            for index, end in ends:
                try:
                    end(ended)
                except Exception as exc:  # noqa: BLE001 - as above
                    self._failed(index, exc)

        return finish

    def _failed(self, index: int, error: Exception) -> None:
        with self._counting:
            self._failures[index] += 1
            first = self._failures[index] == 1
        if first:
            hook = _name(self._hooks[index])
            text = "the hook %s failed; calls go on, and this is not reported again: %s"
            _log.warning(text, hook, error, exc_info=error)


def _check(hook: Hook) -> None:
    if not callable(hook):
        raise HookError(
            f"A hook must be callable, not {hook!r}.",
            hint="It takes a CallStart and returns a function that takes a CallEnd.",
        )
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        raise HookError(
            f"The hook {_name(hook)} is a coroutine function, and nothing would await it.",
            hint="Hooks are plain functions that do not wait, in AsyncClient too.",
        )


def _name(hook: object) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__qualname__))
