"""Where calls that name a version find it while a release moves it. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from clickclean_client._ask import Ask, Flow
from clickclean_client._exceptions import ModelNotFound
from clickclean_client.slots import alone, owner

REMEMBERED_S: Final = 5.0
"""How long a version's own slot is asked first. Longer would not be wrong, only slower after the
version moved back; shorter would ask the model's name in vain more often."""

_Result = TypeVar("_Result")


class Homes:
    """Which versions answered under their own slot a moment ago; safe for many threads."""

    def __init__(self) -> None:
        self._alone_until_s: dict[tuple[str, str], float] = {}

    def visit(self, ask: Ask, step: Callable[[Ask], Flow[_Result]]) -> Flow[_Result]:
        """Take a step where the version is: under the model's name, or alone in its slot.

        A version that moves between two tries is missed twice, so the first place is tried again:
        three tries at most. Only `ModelNotFound` leads to another one, which says that nothing
        was computed.

        Raises:
            ModelNotFound: it is in neither place; the error of the model's own name.
            ClientError: what the step raises.
        """
        if not ask.version or owner(ask.model):
            return (yield from step(ask))
        subject = ask.model, ask.version
        slot = ask.to(alone(ask.model, ask.version), ask.version)
        if self._alone_until_s.get(subject, 0.0) > time.monotonic():
            places = (slot, ask, slot)
        else:
            places = (ask, slot, ask)
        missing: ModelNotFound | None = None
        for place in places:
            if missing is not None and ask.left_s <= 0:
                break
            try:
                found = yield from step(place)
            except ModelNotFound as exc:
                self._alone_until_s.pop(subject, None)
                if missing is None or place is ask:
                    missing = exc
            else:
                if place is slot and subject not in self._alone_until_s:
                    self._alone_until_s[subject] = time.monotonic() + REMEMBERED_S
                return found
        assert missing is not None  # noqa: S101 - every way out but this one returned or raised
        raise missing
