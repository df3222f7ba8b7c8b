"""Open-loop load test on Locust with a verdict that an exit code can carry.

Import order matters: locust patches the interpreter, so this package imports it in one module
(`locustfile`) only, and `run` starts it in a process of its own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickclean_loadtest.durations import parse_duration
    from clickclean_loadtest.errors import LoadTestError
    from clickclean_loadtest.process import run
    from clickclean_loadtest.result import LatencySummary, LoadResult
    from clickclean_loadtest.spec import LoadSpec, Progress
    from clickclean_loadtest.target import Target
    from clickclean_loadtest.verdict import Verdict

__all__ = [
    "LatencySummary",
    "LoadResult",
    "LoadSpec",
    "LoadTestError",
    "Progress",
    "Target",
    "Verdict",
    "parse_duration",
    "run",
]

_HOME = {
    "LatencySummary": "result",
    "LoadResult": "result",
    "LoadSpec": "spec",
    "LoadTestError": "errors",
    "Progress": "spec",
    "Target": "target",
    "Verdict": "verdict",
    "parse_duration": "durations",
    "run": "process",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
