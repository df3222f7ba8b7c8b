"""Errors of the load test itself. What the service does wrong is counted, not raised.

ClickCleanError
└── LoadTestError (exit 1)
    ├── BadLoadError             (exit 2) a rate, duration, batch or target that cannot be run
    ├── BadDurationError         (exit 2) a text that is no duration
    ├── BadInputsError           (exit 2) an inputs file that does not fit the model
    ├── NoInputsError            (exit 2) nothing to send
    ├── BadManifestError         (exit 2) a version's manifest that cannot be read
    ├── BadResultFileError       (exit 2) a result file that cannot be read or written
    ├── NotDistributedError      (exit 2) Locust's master/worker mode
    ├── LocustMissingError       (exit 4)
    ├── GeneratorFailedError     (exit 1) the Locust process ended without a result
    └── GeneratorRefusedError    (the exit code of its cause) it told why it could not start
"""

from pathlib import Path
from typing import ClassVar

from clickclean_client import ClickCleanError


class LoadTestError(ClickCleanError):
    """Root of this package's errors."""


class BadLoadError(LoadTestError):
    """A setting of the load is outside its limits."""

    exit_code: ClassVar[int] = 2

    def __init__(self, setting: str, got: object, allowed: str, *, hint: str = "") -> None:
        super().__init__(f"{setting} is {got}, it must be {allowed}", hint=hint)


class BadDurationError(LoadTestError):
    """A text is not a duration."""

    exit_code: ClassVar[int] = 2

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is not a duration",
            hint="write a number and a unit: 500ms, 20s, 2m or 1h",
        )


class BadInputsError(LoadTestError):
    """The inputs file cannot be read, or its arrays do not fit."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, reason: str, *, hint: str = "") -> None:
        super().__init__(f"inputs file {path}: {reason}", hint=hint)


class NoInputsError(LoadTestError):
    """There is no golden request on disk and no inputs file was given."""

    exit_code: ClassVar[int] = 2

    def __init__(self, model: str, version: str, looked_at: Path) -> None:
        super().__init__(
            f"nothing to send to {model} version {version}: {looked_at} does not exist",
            hint="name the model repository with --repository, or rows to send with --inputs",
        )


class BadManifestError(LoadTestError):
    """A version's manifest is not what `clickclean publish` writes."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"manifest {path}: {reason}", hint="state the target with --mean-ms and --p99-ms"
        )


class BadResultFileError(LoadTestError):
    """A result file cannot be written, or what it holds is no result."""

    exit_code: ClassVar[int] = 2

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"load test result {where}: {reason}")


class NotDistributedError(LoadTestError):
    """Locust was asked to spread the load over several processes."""

    exit_code: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__(
            "one schedule of arrivals cannot yet be shared between Locust processes",
            hint="leave out --master, --worker and --processes",
        )


class LocustMissingError(LoadTestError):
    """The extra `loadtest` is not installed."""

    exit_code: ClassVar[int] = 4

    def __init__(self) -> None:
        super().__init__("Locust is not installed", hint="run: pip install 'clickclean[loadtest]'")


class GeneratorFailedError(LoadTestError):
    """The Locust process ended, or hung, without leaving a result."""

    def __init__(self, what: str, log_tail: str) -> None:
        super().__init__(
            f"the load generator {what}", hint=f"its last words: {log_tail}" if log_tail else ""
        )


class GeneratorRefusedError(LoadTestError):
    """The Locust process could not start the load and said why."""

    def __init__(self, sentence: str, *, hint: str, exit_code: int) -> None:
        super().__init__(sentence, hint=hint)
        self.exit_code = exit_code  # type: ignore[misc]  # the cause's, known only here
