"""A fake server with a model `m`, version 1, and a challenger beside it, version 2."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from clickclean_client.experiments.assignment import is_challenger
from clickclean_client.slots import SPLIT
from clickclean_client.testing import FakeServer

INPUTS = {"x": ("FP32", (-1, 3))}
ROW = np.zeros((1, 3), np.float32)
SALT = "s"
NAME = "m-2-20261123T201500"


def split_text(**changes: Any) -> str:
    fields = {
        "experiment": NAME,
        "salt": SALT,
        "percent": 50.0,
        "shadow_percent": 0.0,
        "champion": 1,
        "challenger": 2,
    }
    return json.dumps({**fields, **changes})


def start(fake: FakeServer, text: str | None = None, **changes: Any) -> None:
    """Load the challenger with a split, or change the split of the one that is loaded."""
    value = split_text(**changes) if text is None else text
    fake.serve(
        "m.challenger",
        version=2,
        inputs=INPUTS,
        parameters={SPLIT: value},
        answer=lambda x: {"y0": x + np.float32(0.5)},
    )


def keys_of(arm: str, count: int, percent: float = 50.0) -> list[str]:
    wanted = arm == "challenger"
    every = (f"user-{number}" for number in range(10_000))
    found = [key for key in every if is_challenger(SALT, key, percent) == wanted]
    return found[:count]


def until(happens: Callable[[], Any]) -> None:
    """Repeat until it is so; the test's own limit ends one that never is."""
    pause = threading.Event()
    while not happens():
        pause.wait(0.005)


IN_CHALLENGER = keys_of("challenger", 1)[0]
IN_CHAMPION = keys_of("champion", 1)[0]
