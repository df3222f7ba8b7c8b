"""What a client knows of the experiment of one model, and when it has to ask again. No I/O."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from clickclean_client._ask import Ask, Flow, Step
from clickclean_client._exceptions import (
    AccessRefused,
    ClientError,
    ExperimentError,
    ModelNotFound,
)
from clickclean_client._forks import renew_in_child
from clickclean_client.experiments.split import Split
from clickclean_client.protocol import service_pb2
from clickclean_client.slots import challenger

FIRST_SHARE: Final = 0.25
"""How much of its time the first call with a key may spend on finding out about experiments."""

PAUSE_S = 1.0
"""A split that was due to be read for longer is asked for before a call goes by it."""

_log = logging.getLogger("clickclean_client")


class Watch:
    """The split of one model as last read; safe for many threads."""

    def __init__(self, model: str, refresh_s: float) -> None:
        self.split: Split | None = None
        self._model = model
        self._refresh_s = refresh_s
        self._asked_once = False
        self._next_s = 0.0
        self._complained = ""
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """After a fork: whoever was asking is not there."""
        self._asking = False
        self._lock = threading.Lock()

    def known(self, ask: Ask) -> Flow[Split | None]:
        """The split; who comes first, or after a long pause, asks for it.

        Never raises: without an answer at first there is no experiment, later it is as it was.
        """
        if not self._asked_once or (self._stale() and self._take()):
            try:
                response = yield self.question(ask.to(ask.name, ask.number, share=FIRST_SHARE))
            except ClientError as exc:
                self.answered(None, exc)
            except BaseException:
                self._asking = False
                raise
            else:
                self.answered(response, None)
        return self.split

    def question(self, ask: Ask) -> Step:
        """The step that reads the split."""
        request = service_pb2.ModelConfigRequest(name=challenger(self._model))
        return Step("ModelConfig", request, ask)

    def claim(self) -> bool:
        """Whether it is time to ask again; then True for one caller, who must tell `answered`."""
        if not self._asked_once or self._stale() or time.monotonic() < self._next_s:
            return False
        return self._take()

    def _take(self) -> bool:
        """Whether nobody is asking; then the caller does, and must tell `answered`."""
        with self._lock:
            if self._asking:
                return False
            self._asking = True
            return True

    def _stale(self) -> bool:
        """Whether the split is so old that a call must not go by it."""
        return time.monotonic() > self._next_s + max(self._refresh_s, PAUSE_S)

    def answered(self, response: Any, error: ClientError | None) -> None:
        """Take in what came back. Without connection or time the last split stays."""
        if error is None:
            self.split = self._read(response.config)
        elif isinstance(error, ModelNotFound | AccessRefused):
            self.split = None
        self._next_s = time.monotonic() + self._refresh_s
        self._asked_once = True
        self._asking = False

    def drop(self) -> None:
        """The challenger is gone: nobody is sent there until it is read again."""
        self.split = None

    def _read(self, config: Any) -> Split | None:
        try:
            return Split.from_config(config)
        except ExperimentError as exc:
            if str(exc) != self._complained:
                self._complained = str(exc)
                _log.warning("model %r: no experiment is followed. %s", self._model, exc)
            return None
