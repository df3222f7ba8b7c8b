"""Our client and tritonclient, side by side: a part of ``make bench``.

Both call the reference model, and then a server that costs next to nothing, which shows what a
client itself costs. They take turns in short blocks, and each figure is the median of the ratios of
neighbouring blocks with its 95 % interval (see pairs.py; how tritonclient is used: raw_triton.py).
Ours checks inputs and answers, bounds the wait in the server's queue and maps errors meanwhile.

The targets are for the reference model. They are not a gate: the exit code does not depend on them.
What a thin install downloads is a test, in tests/repo/test_packaging.py.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio

import clickclean_client
import raw_triton
from clickclean_client import ClickCleanError, Client
from clickclean_server import serving
from client_table import CPU, IMPORT, LATENCY, RATE, Figure, Line, as_table, as_tree, line_of
from constant_server import constant_server
from contestants import Subject, WrongAnswerError, prove
from import_time import alternate
from pairs import (
    AsyncCall,
    Call,
    NoAnswerError,
    OneCaller,
    Pairs,
    Tasks,
    Threads,
    ratio_of,
    take_turns,
)
from serving import ROOT, say, subject_in
from surroundings import surroundings

TIMEOUT_S = 5.0
CALLERS = 16

AsyncClient: Any = getattr(clickclean_client, "AsyncClient", None)
IMPORTS = {
    "import clickclean_client": "import clickclean_client",
    "from clickclean_client import Client": "from clickclean_client import Client",
    "... Client, AsyncClient": "from clickclean_client import Client, AsyncClient",
}
RAW_IMPORT = "import tritonclient.grpc"


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    pairs_of_one: int  # pairs of blocks, one caller
    calls: int  # in such a block
    pairs: int  # pairs of blocks, many callers
    seconds: float  # of such a block
    imports: int


FULL = Effort(pairs_of_one=150, calls=50, pairs=60, seconds=0.2, imports=20)
QUICK = Effort(pairs_of_one=4, calls=10, pairs=4, seconds=0.05, imports=1)


@dataclass(frozen=True)
class Scene:
    """A server, and what is sent there."""

    name: str
    endpoint: str
    subject: Subject
    rows: raw_triton.Rows

    @property
    def names(self) -> tuple[str, str, str]:
        """Of the model, its input and its output."""
        return self.subject.model, self.subject.input_name, self.subject.output_name


@contextmanager
def sync_callers(scene: Scene) -> Iterator[tuple[list[Call], list[Call]]]:
    """Yield the calls of as many callers, ours and raw; each side shares one client."""
    model, input_name, output_name = scene.names
    rows = scene.rows
    with (
        Client(scene.endpoint, timeout_s=TIMEOUT_S) as client,
        tritonclient.grpc.InferenceServerClient(scene.endpoint) as raw,
    ):

        def ours(row: int) -> object:
            return client.infer(model, {input_name: rows[row % len(rows)]})[output_name]

        # Metadata are fetched once, and not by sixteen threads at the same time.
        ours(0)
        yield (
            [ours] * CALLERS,
            [raw_triton.caller(raw, scene.names, rows, TIMEOUT_S) for _ in range(CALLERS)],
        )


@contextmanager
def async_callers(
    scene: Scene, runner: asyncio.Runner
) -> Iterator[tuple[list[AsyncCall], list[AsyncCall]]]:
    """Yield the calls of as many tasks, ours and raw; each side shares one client."""
    model, input_name, output_name = scene.names
    rows = scene.rows

    async def connect() -> tuple[Any, tritonclient.grpc.aio.InferenceServerClient]:
        client = AsyncClient(scene.endpoint, timeout_s=TIMEOUT_S)
        await client.infer(model, {input_name: rows[0]})
        return client, tritonclient.grpc.aio.InferenceServerClient(scene.endpoint)

    async def close() -> None:
        await client.close()
        await raw.close()

    client, raw = runner.run(connect())

    async def ours(row: int) -> object:
        answer = await client.infer(model, {input_name: rows[row % len(rows)]})
        output: object = answer[output_name]
        return output

    try:
        yield (
            [ours] * CALLERS,
            [raw_triton.async_caller(raw, scene.names, rows, TIMEOUT_S) for _ in range(CALLERS)],
        )
    finally:
        runner.run(close())


def measure(scene: Scene, effort: Effort, *, targets: bool) -> Iterator[Line]:
    """Let both take turns at one server: one caller, threads, tasks."""

    def lines(who: str, figure: Figure, pairs: Pairs) -> Iterator[Line]:
        yield line_of((scene.name, who), figure, pairs, targets=targets)
        yield line_of((scene.name, f"{who}: CPU per call"), CPU, pairs, targets=targets)

    say(f"{scene.name}: one caller")
    with sync_callers(scene) as (ours, raw):
        one, other = (OneCaller(calls[0], calls=effort.calls) for calls in (ours, raw))
        pairs = take_turns(one, other, pairs=effort.pairs_of_one)
        yield from lines("one caller, p50", LATENCY, pairs)
        say(f"{scene.name}: {CALLERS} threads")
        with (
            Threads(ours, seconds=effort.seconds) as first,
            Threads(raw, seconds=effort.seconds) as second,
        ):
            pairs = take_turns(first, second, pairs=effort.pairs)
        yield from lines(f"{CALLERS} threads", RATE, pairs)
    if AsyncClient is None:
        say(f"{scene.name}: {CALLERS} tasks are left out, there is no AsyncClient")
        return
    say(f"{scene.name}: {CALLERS} tasks")
    with asyncio.Runner() as runner, async_callers(scene, runner) as (our_tasks, raw_tasks):
        us, them = (
            Tasks(runner, calls, seconds=effort.seconds) for calls in (our_tasks, raw_tasks)
        )
        yield from lines(f"{CALLERS} tasks", RATE, take_turns(us, them, pairs=effort.pairs))


def measure_imports(effort: Effort) -> Iterator[Line]:
    """Time the imports in fresh interpreters."""
    wanted = [words for words in IMPORTS if AsyncClient is not None or "Async" not in words]
    say("imports in fresh interpreters")
    rounds = alternate([RAW_IMPORT, *(IMPORTS[name] for name in wanted)], rounds=effort.imports)
    for place, name in enumerate(wanted, start=1):
        ratio = ratio_of([(seconds[place], seconds[0]) for seconds in rounds])
        ours, raw = (median(seconds[k] for seconds in rounds) * 1e3 for k in (place, 0))
        yield Line("imports", name, "ms", ours, raw, ratio, IMPORT.verdict(ratio))


def prove_both(scene: Scene, runner: asyncio.Runner) -> None:
    """Compare the answers of all four with the golden ones.

    Raises:
        WrongAnswerError: one differs.
    """

    def sync(call: Call) -> None:
        prove(scene.subject, scene.name, lambda: _open(call), np.asarray)

    with sync_callers(scene) as (ours, raw):
        sync(ours[0])
        sync(raw[0])
    if AsyncClient is not None:
        with async_callers(scene, runner) as (tasks, raw_tasks):
            for ask in (tasks[0], raw_tasks[0]):
                sync(lambda row, ask=ask: runner.run(_awaited(ask, row)))  # type: ignore[misc]


@contextmanager
def _open(call: Call) -> Iterator[Call]:
    yield call


async def _awaited(ask: AsyncCall, row: int) -> object:
    return await ask(row)


def run(repository: Path, effort: Effort) -> list[Line]:
    """Measure at both servers, and the imports.

    Raises:
        ClickCleanError: nothing is promoted, or a server does not start.
        WrongAnswerError: a client does not give the golden answers.
    """
    subject = subject_in(repository)
    rows = [
        np.ascontiguousarray(subject.golden.row(row).inputs[subject.input_name])
        for row in range(subject.golden.rows)
    ]
    lines: list[Line] = []
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        say(f"starting the server of {subject.model} version {subject.version}")
        endpoint = stack.enter_context(serving(repository, models=[subject.model]))
        model = Scene(f"{subject.model} on tritonserver", endpoint.grpc, subject, rows)
        prove_both(model, runner)
        say("all give the golden answers")
        lines += measure(model, effort, targets=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(
            constant_server(endpoint.grpc, subject.model, rows[0], folder)
        )
        constant = Scene("a constant answer", address, subject, rows)
        lines += measure(constant, effort, targets=False)
    lines += measure_imports(effort)
    return lines


def main() -> int:
    """Measure and report; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--quick", action="store_true", help="a few seconds; rough figures")
    options = parser.parse_args()
    where = surroundings()
    try:
        lines = run(options.repository, QUICK if options.quick else FULL)
        print(", ".join(f"{name} {value}" for name, value in where.items()))
        print(as_table(lines))
        if options.json is not None:
            options.json.write_text(json.dumps(as_tree(lines, where), indent=2) + "\n")
    except ClickCleanError as error:
        say(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return error.exit_code
    except (NoAnswerError, WrongAnswerError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
