"""The service level objective that a run is judged against."""

import json
from dataclasses import dataclass
from pathlib import Path

from clickclean_loadtest.errors import BadLoadError, BadManifestError

DEFAULT_MEAN_MS = 200.0
DEFAULT_ERROR_RATE_MAX = 0.001


@dataclass(frozen=True)
class Target:
    """Limits for one model; None = no limit of that kind.

    Attributes:
        mean_ms: the mean latency is at most this.
        p99_ms: at most 1 % of the requests take longer than this.
        error_rate_max: the share of failed requests (0..1) is at most this.
        source: where the limits come from, in words.
    """

    mean_ms: float | None = DEFAULT_MEAN_MS
    p99_ms: float | None = None
    error_rate_max: float = DEFAULT_ERROR_RATE_MAX
    source: str = "default"

    def __post_init__(self) -> None:
        for name, value in (("mean_ms", self.mean_ms), ("p99_ms", self.p99_ms)):
            if value is not None and not 0 < value < float("inf"):
                raise BadLoadError(f"target {name}", value, "more than 0 ms")
        if not 0 <= self.error_rate_max <= 1:
            raise BadLoadError("target error_rate_max", self.error_rate_max, "a share from 0 to 1")

    def overridden(
        self, *, mean_ms: float | None, p99_ms: float | None, error_rate_max: float | None
    ) -> "Target":
        """The same limits, those that are given here replaced."""
        if mean_ms is None and p99_ms is None and error_rate_max is None:
            return self
        return Target(
            mean_ms=self.mean_ms if mean_ms is None else mean_ms,
            p99_ms=self.p99_ms if p99_ms is None else p99_ms,
            error_rate_max=self.error_rate_max if error_rate_max is None else error_rate_max,
            source=f"{self.source}, overridden on the command line",
        )


def target_of_version(repository: Path, model: str, version: str) -> Target:
    """The target in `<repository>/<model>/<version>/manifest.json`, or the default without one.

    Raises:
        BadManifestError: the file is there, but is not a manifest with a usable `recipe.target`.
    """
    path = repository / model / version / "manifest.json"
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        fields = recipe.get("target", {})
        limits = {
            name: None if fields[name] is None else float(fields[name])
            for name in ("mean_ms", "p99_ms", "error_rate_max")
            if name in fields
        }
        return Target(**limits, source=f"manifest of version {version}")  # type: ignore[arg-type]
    except (FileNotFoundError, NotADirectoryError):
        return Target()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadManifestError(
            path, f"no usable recipe.target ({type(exc).__name__}: {exc})"
        ) from exc
    except BadLoadError as exc:
        raise BadManifestError(path, str(exc)) from exc
