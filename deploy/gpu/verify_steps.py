"""What a verification runs, as data: names, commands, limits, and which step needs which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "digits"
EXAMPLE = Path("/opt/clickclean/examples/digits")
PYTHON = "/opt/clickclean/venv/bin/python"
# Where Triton's own tests look for it (qa/L0_perf_resnet/test.sh of the server's repository).
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
GRPC, READY = "127.0.0.1:8001", f"http://127.0.0.1:8000/v2/models/{MODEL}/ready"
DEVICE, TRAIN, PUBLISH, BUILD = "device", "train", "publish", "engine build"
PREFLIGHT, SERVE, EXPLAIN, LOADTEST = "engine preflight", "serve", "engine explain", "loadtest"
SMALLEST, LARGEST = "trtexec smallest", "trtexec largest"
TRTEXEC_S = 10
# The first TensorRT whose trtexec copies nothing to and from the GPU unless it is told to, and the
# first that knows the flag (samples/common/sampleOptions.cpp of https://github.com/NVIDIA/TensorRT).
TRANSFERS_ASKED_FOR = 11


@dataclass(frozen=True)
class Step:
    """A command with a limit, run when the steps that it needs have passed."""

    name: str
    command: tuple[str, ...]
    timeout_s: float
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Where things go, how much load, and where the server says that the model is ready."""

    out: Path
    example: Path = EXAMPLE
    rate: float = 50.0
    duration_s: int = 20
    ready_url: str = READY

    @property
    def repository(self) -> Path:
        """The model repository."""
        return self.out / "model_repository"

    @property
    def recipe(self) -> Path:
        """The recipe, in a copy of the example: training writes beside it."""
        return self.out / MODEL / "recipe.toml"

    @property
    def load_result(self) -> Path:
        """The load test's result."""
        return self.out / "loadtest.json"

    @property
    def logs(self) -> Path:
        """Folder of what the steps print."""
        return self.out / "logs"

    def log(self, name: str, kind: str) -> Path:
        """Where a step's stdout ("out") or stderr ("err") goes."""
        return self.logs / f"{name.replace(' ', '-')}.{kind}"


def before_serving(settings: Settings, *, published: bool = False) -> tuple[Step, ...]:
    """Return the steps from the GPU's name to the check that the plan fits it.

    Args:
        settings: Where things go.
        published: Whether a version is there already; then none is trained and published.
    """
    repository = f"--repository={settings.repository}"
    query = "--query-gpu=name,driver_version,compute_cap,memory.total"
    publish = (
        Step(TRAIN, (PYTHON, str(settings.recipe.with_name("train.py"))), 600),
        Step(
            PUBLISH,
            (
                *("clickclean", "publish", str(settings.recipe), repository),
                *("--promote", "--no-live-gate", "--json"),
            ),
            900,
            (TRAIN,),
        ),
    )
    return (
        Step(DEVICE, ("nvidia-smi", query, "--format=csv,noheader"), 60),
        *(() if published else publish),
        Step(
            BUILD,
            (
                *("clickclean", "engine", "build", MODEL, f"--recipe={settings.recipe}"),
                *(repository, f"--cache={settings.out / 'cache'}", "--json"),
            ),
            1800,
            (DEVICE,) if published else (DEVICE, PUBLISH),
        ),
        Step(
            PREFLIGHT,
            ("clickclean", "engine", "preflight", MODEL, repository, "--json"),
            120,
            (BUILD,),
        ),
    )


def server() -> Step:
    """Return the server; it runs until the load test is done, its limit is for getting ready."""
    addresses = (f"--{service}-address=127.0.0.1" for service in ("http", "grpc", "metrics"))
    return Step(SERVE, ("clickclean-serve", MODEL, "--", *addresses), 180, (PREFLIGHT,))


def load(settings: Settings) -> Step:
    """Return the load test, whose exit code is its verdict."""
    return Step(
        LOADTEST,
        (
            *("clickclean", "loadtest", MODEL, f"--rate={settings.rate:g}"),
            *(f"--duration={settings.duration_s}s", f"--server={GRPC}"),
            *(f"--repository={settings.repository}", f"--result={settings.load_result}"),
        ),
        settings.duration_s + 180,
        (SERVE,),
    )


def explain(settings: Settings) -> Step:
    """Return what is asked when the server did not come up."""
    return Step(EXPLAIN, ("clickclean", "engine", "explain", str(settings.log(SERVE, "err"))), 60)


def trtexec(name: str, plan: str = "PLAN", shapes: str = "SHAPES", *, transfers: bool) -> Step:
    """Return a run of the plan in trtexec, with copies to and from the GPU as Triton makes them.

    Args:
        name: Of the step.
        plan: Path of the plan.
        shapes: As trtexec takes them, such as "image:32x1x8x8".
        transfers: Whether copies must be asked for; see ``TRANSFERS_ASKED_FOR``.
    """
    flags = ["--percentile=90,95,99", f"--duration={TRTEXEC_S}"]
    flags += ["--includeDataTransfers"] * transfers
    command = (TRTEXEC, f"--loadEngine={plan}", f"--shapes={shapes}", *flags)
    return Step(name, command, TRTEXEC_S + 170, (BUILD,))


def trtexec_runs(settings: Settings, build: Mapping[str, Any]) -> tuple[tuple[int, Step], ...]:
    """Return runs of the smallest and the largest batch of the plan's first profile, by batch.

    Args:
        settings: Where the model repository is.
        build: What ``clickclean engine build --json`` said.

    Raises:
        LookupError, TypeError, ValueError: that is not what it says.
    """
    inputs = build["record"]["inputs"]
    profile: Mapping[str, Mapping[str, Sequence[int]]] = inputs["profiles"][0]
    smallest = max(sizes["min"][0] for sizes in profile.values())
    largest = min(sizes["max"][0] for sizes in profile.values())
    major = int(inputs["library_version"].partition(".")[0])
    plan = settings.repository / build["model"] / str(build["version"]) / build["path"]

    def run(name: str, batch: int) -> tuple[int, Step]:
        shapes = ",".join(
            f"{tensor}:{'x'.join(map(str, [batch, *sizes['opt'][1:]]))}"
            for tensor, sizes in profile.items()
        )
        return batch, trtexec(name, str(plan), shapes, transfers=major >= TRANSFERS_ASKED_FOR)

    return run(SMALLEST, smallest), run(LARGEST, largest)


def planned(settings: Settings, *, published: bool = False) -> tuple[Step, ...]:
    """Return every step that must pass, in order; trtexec's with placeholders for the plan."""
    return (
        *before_serving(settings, published=published),
        server(),
        load(settings),
        trtexec(SMALLEST, transfers=True),
        trtexec(LARGEST, transfers=True),
    )
