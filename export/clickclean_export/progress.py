"""Telling what is going on: the steps of this package take seconds to hours."""

from typing import Protocol


class Progress(Protocol):
    """Told what is going on."""

    def begin(self, step: str) -> None:
        """Announce a step."""
        ...

    def update(self, detail: str, share: float) -> None:
        """Say how far the announced step is: 0..1, and what it is at."""
        ...

    def end(self, outcome: str) -> None:
        """Say how the announced step ended."""
        ...


class Silence:
    """Progress that nobody watches."""

    def begin(self, step: str) -> None:
        """Ignore."""

    def update(self, detail: str, share: float) -> None:
        """Ignore."""

    def end(self, outcome: str) -> None:
        """Ignore."""
