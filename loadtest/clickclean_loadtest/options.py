"""The `--cc-*` flags of the locustfile: a `LoadSpec` as a command line, and back."""

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from clickclean_loadtest.errors import BadLoadError
from clickclean_loadtest.spec import ARRIVALS_MAX, DURATION_MAX_S, LoadSpec

DEFAULT_ENDPOINT = "127.0.0.1:8001"
DEFAULT_RATE = 10.0


def add_arguments(parser: Any) -> None:
    """Add the flags to Locust's parser; those that make sense there appear in its web page too."""

    def add(flag: str, kind: Any, default: Any, text: str, *, in_web_ui: bool = True) -> None:
        parser.add_argument(
            flag, type=kind, default=default, help=text, include_in_web_ui=in_web_ui
        )

    add("--cc-model", str, "", "model on the server; empty = the repository's only one")
    add("--cc-rate", _number, DEFAULT_RATE, "requests per second, by the clock")
    add("--cc-duration", str, "", "seconds of load, also fractions; empty = --run-time")
    add("--cc-version", str, "", "version to ask for; empty = the promoted one")
    add("--cc-repository", str, "model_repository", "model repository with golden.npz and target")
    add("--cc-inputs", str, "", "an .npz with one array per input, instead of golden.npz")
    add("--cc-batch", int, 1, "rows per request")
    add("--cc-timeout", _number, 5.0, "deadline of a request in seconds, from its intended start")
    add("--cc-mean-ms", str, "", "target mean in ms; empty = the recipe's")
    add("--cc-p99-ms", str, "", "target p99 in ms; empty = the recipe's")
    add("--cc-error-rate-max", str, "", "highest share of failed requests; empty = the recipe's")
    add("--cc-accuracy-min", str, "", "lowest share of answers that agree with the labels")
    add("--cc-result", str, "", "write the result to this file as JSON", in_web_ui=False)
    add("--cc-report-fd", int, -1, "tell a parent process through this descriptor", in_web_ui=False)


def to_arguments(spec: LoadSpec) -> list[str]:
    """Locust's arguments for a run without web page, without the users and the result file."""
    optional = {
        "--cc-version": spec.version,
        "--cc-inputs": spec.inputs,
        "--cc-mean-ms": spec.mean_ms,
        "--cc-p99-ms": spec.p99_ms,
        "--cc-error-rate-max": spec.error_rate_max,
        "--cc-accuracy-min": spec.accuracy_min,
    }
    needed = {
        "--host": spec.endpoint,
        "--cc-model": spec.model,
        "--cc-rate": repr(spec.rate),
        "--cc-duration": repr(spec.duration_s),
        "--cc-repository": spec.repository,
        "--cc-batch": spec.batch,
        "--cc-timeout": repr(spec.timeout_s),
    }
    given = needed | {flag: value for flag, value in optional.items() if value is not None}
    return [f"{flag}={value}" for flag, value in given.items()]


def duration_of(options: Any) -> float | None:
    """Seconds of load that were asked for; None = until it is stopped.

    Raises:
        BadLoadError: `--cc-duration` is not a number.
    """
    asked_s = _float("--cc-duration", options.cc_duration)
    return options.run_time if asked_s is None else asked_s


def from_options(options: Any) -> LoadSpec:
    """The settings in Locust's parsed options, from the command line or the web page.

    A run without a length may last for an hour.

    Raises:
        BadLoadError: a setting is missing or outside its limits.
    """
    repository = Path(options.cc_repository)
    duration_s = duration_of(options)
    rate = _float("--cc-rate", options.cc_rate) or 0.0
    limit_s = _longest_s(rate) if duration_s is None else float(duration_s)
    return LoadSpec(
        model=options.cc_model or only_model(repository),
        rate=rate,
        duration_s=limit_s,
        endpoint=(options.host or DEFAULT_ENDPOINT).removeprefix("grpc://").rstrip("/"),
        version=options.cc_version or None,
        repository=repository,
        inputs=Path(options.cc_inputs) if options.cc_inputs else None,
        batch=int(options.cc_batch),
        timeout_s=_float("--cc-timeout", options.cc_timeout) or 0.0,
        users=options.num_users or None,
        mean_ms=_float("--cc-mean-ms", options.cc_mean_ms),
        p99_ms=_float("--cc-p99-ms", options.cc_p99_ms),
        error_rate_max=_float("--cc-error-rate-max", options.cc_error_rate_max),
        accuracy_min=_float("--cc-accuracy-min", options.cc_accuracy_min),
    )


def only_model(repository: Path) -> str:
    """The model that is meant when none is named: the only one with a published version.

    Raises:
        BadLoadError: the repository holds none, or several.
    """
    models = sorted({path.parent.parent.name for path in repository.glob("*/*/golden.npz")})
    if len(models) == 1:
        return models[0]
    allowed = f"one of {', '.join(models)}" if models else "the name of a model on the server"
    raise BadLoadError("--cc-model", "missing", allowed)


def _longest_s(rate: float) -> float:
    return min(DURATION_MAX_S, ARRIVALS_MAX / rate) if rate > 0 else DURATION_MAX_S


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is not a number") from exc


def _float(flag: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as exc:
        raise BadLoadError(flag, repr(value), "a number") from exc
