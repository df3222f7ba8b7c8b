"""Requests per second and latency, side by side in one run: ``make bench``.

The raw OpenVINO call in process, our served model, and FastAPI with the same model. All three run
the promoted INT8 version of `digits`, one row per request, with the same engine settings, and give
the golden answers before they are timed. They take turns in several rounds; the table shows medians
over the rounds.

The callers are threads of this process and share its cores with the servers, so the table also
shows what the callers cost: their CPU time per call, and three ceilings without any inference.
(For the call in process, that CPU time includes the engine's.) FastAPI gets the kindest conditions:
raw bytes instead of JSON, no validation, and the cheapest possible HTTP caller, while our side pays
for the whole client with its checks.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clickclean_client import ClickCleanError, Golden
from closed_loop import Sample, run_round
from contestants import FASTAPI, RAW, SERVED, Contestant, Subject, WrongAnswerError, contestants
from engine import Settings
from figures import as_table, as_tree, line_of, ratio_of
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
MODEL = "digits"
CALLERS = (1, 16)


class NothingToBenchError(ClickCleanError):
    """There is no promoted version to measure."""

    exit_code = 2

    def __init__(self, repository: Path) -> None:
        super().__init__(f"no version of '{MODEL}' is promoted in {repository}", hint="make demo")


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds per contestant and round, and for a ceiling."""

    rounds: int
    seconds: float
    ceiling_seconds: float


FULL = Effort(rounds=7, seconds=1.5, ceiling_seconds=0.5)
QUICK = Effort(rounds=3, seconds=0.3, ceiling_seconds=0.1)

Samples = dict[tuple[str, int], list[Sample]]


def say(text: str) -> None:
    """Write one line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def subject_in(repository: Path) -> Subject:
    """Return the promoted version, with the engine settings of its config.

    Raises:
        NothingToBenchError: there is none.
        ClickCleanError: the repository or the golden rows cannot be read.
    """
    from clickclean_client.protocol import parse_model_config
    from clickclean_export.repository import CPU_CONFIG, Repository

    version = Repository(repository).promoted(MODEL)
    if version is None:
        raise NothingToBenchError(repository)
    config = parse_model_config((repository / MODEL / CPU_CONFIG).read_text())
    folder = repository / MODEL / str(version)
    golden = Golden.load(folder / "golden.npz")
    parameter = config.parameters
    return Subject(
        model=MODEL,
        version=version,
        repository=repository,
        golden=golden,
        settings=Settings(
            model=folder / config.default_model_filename,
            shape=next(iter(golden.inputs.values())).shape[1:],
            threads=int(parameter["INFERENCE_NUM_THREADS"].string_value),
            streams=int(parameter["NUM_STREAMS"].string_value),
            hint=parameter["PERFORMANCE_HINT"].string_value,
        ),
    )


def measure(field: Sequence[Contestant], effort: Effort) -> Samples:
    """Let the contestants take turns, round by round."""
    samples: Samples = defaultdict(list)
    for number in range(1, effort.rounds + 1):
        for callers in CALLERS:
            rates = []
            for one in field:
                seconds = effort.seconds if one.computes else effort.ceiling_seconds
                sample = run_round(one.connect, callers=callers, seconds=seconds)
                samples[one.name, callers].append(sample)
                if one.computes:
                    rates.append(f"{one.name} {sample.rate:,.0f}/s")
            say(f"round {number} of {effort.rounds}, {callers:>2} callers: {', '.join(rates)}")
    return samples


def report(
    subject: Subject, field: Sequence[Contestant], samples: Samples, where: dict[str, str]
) -> dict[str, object]:
    """Print the table; returns the same figures JSON-ready."""
    lines = [line_of(name, found) for (name, _), found in samples.items()]
    ratios = [
        ratio
        for callers in CALLERS
        for over, under in ((SERVED, FASTAPI), (SERVED, RAW), (FASTAPI, RAW))
        if (ratio := ratio_of(over, under, {n: samples[n, callers] for n in (over, under)}))
    ]
    settings = subject.settings
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(
        f"{subject.model} version {subject.version}, one row per request, {settings.threads} engine"
        f" threads, {settings.streams} stream; callers are threads of one process, closed loop;"
        f" medians of {lines[0].rounds} rounds\n"
    )
    print(as_table(lines, ratios, [one.name for one in field if not one.computes]))
    for (name, callers), found in samples.items():
        first = next((sample.first_error for sample in found if sample.errors), "")
        if first:
            print(f"first error of {name} at {callers} callers: {first}")
    tree = as_tree(lines, ratios)
    engine = {**asdict(settings), "model": settings.model.name}
    return {
        "model": subject.model,
        "version": subject.version,
        "engine": engine,
        "surroundings": where,
        **tree,
    }


def main() -> int:
    """Measure and report; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--quick", action="store_true", help="a few seconds; rough figures")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    where = surroundings()
    try:
        subject = subject_in(options.repository)
        say(f"starting both servers for {subject.model} version {subject.version}")
        with contestants(subject) as field:
            say("all three give the golden answers")
            samples = measure(field, effort)
        tree = report(subject, field, samples, where)
        if options.json is not None:
            options.json.write_text(json.dumps(tree, indent=2) + "\n")
    except ClickCleanError as error:
        say(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return error.exit_code
    except (WrongAnswerError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
