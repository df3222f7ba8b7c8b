"""The whole chain on one GPU, inside the image of deploy/docker/Dockerfile; verify.sh starts it.

NOT TESTED on a GPU. A checkpoint is trained and published, TensorRT compiles its plan, tritonserver
serves it on loopback, a load test asks it, and trtexec runs the same plan. ``results.json`` and
``results.md`` are written whatever happens. Needs nothing beyond Python itself.
"""

import argparse
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from trtexec_output import TrtexecOutputError, parse_trtexec
from verify_results import Measured, Outcome, assemble, page
from verify_steps import (
    BUILD,
    DEVICE,
    EXAMPLE,
    LARGEST,
    MODEL,
    SMALLEST,
    Settings,
    Step,
    before_serving,
    explain,
    load,
    planned,
    server,
    trtexec_runs,
)

STOP_TIMEOUT_S, POLL_S = 30.0, 0.5


class Ledger:
    """Runs steps and keeps what became of each that was planned, in the order of the plan."""

    def __init__(self, settings: Settings, plan: Sequence[Step]) -> None:
        self.settings = settings
        self._outcomes = {
            step.name: Outcome(step.name, step.command, "skipped", note="not reached")
            for step in plan
        }

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What is known by now; a step that was not reached counts as skipped."""
        return tuple(self._outcomes.values())

    def passed(self, name: str) -> bool:
        """Say whether a step was run and went well."""
        return name in self._outcomes and self._outcomes[name].status == "passed"

    def keep(self, outcome: Outcome) -> Outcome:
        """Take up an outcome in place of an earlier one of the same step, and say it."""
        self._outcomes[outcome.name] = outcome
        say(f"{outcome.name:<17} {outcome.status:<9} {outcome.seconds:7.1f} s  {outcome.note}")
        return outcome

    def lacking(self, step: Step) -> Outcome | None:
        """Return why a step cannot be run, or None when it can."""
        names = [name for name in step.needs if not self.passed(name)]
        if not names:
            return None
        return Outcome(step.name, step.command, "skipped", note=f"needs {', '.join(names)}")

    def run(self, step: Step) -> Outcome:
        """Run a step unless one that it needs did not pass; its output goes to the logs."""
        return self.keep(self.lacking(step) or self._run(step))

    def _run(self, step: Step) -> Outcome:
        say(f"$ {shlex.join(step.command)}")
        started = time.monotonic()
        try:
            process = self.start(step)
        except OSError as error:
            return Outcome(step.name, step.command, "failed", note=str(error))
        try:
            code = process.wait(step.timeout_s)
        except subprocess.TimeoutExpired:
            note = f"more than {step.timeout_s:g} s"
            return Outcome(step.name, step.command, "timed out", None, step.timeout_s, note)
        finally:
            end(process)
        seconds = time.monotonic() - started
        if code == 0:
            return Outcome(step.name, step.command, "passed", 0, seconds)
        note = _complaint(self.settings.log(step.name, "err"))
        return Outcome(step.name, step.command, "failed", code, seconds, note)

    def start(self, step: Step) -> subprocess.Popen[bytes]:
        """Start a step's process, in a session of its own so that all of it can be ended."""
        out, err = (self.settings.log(step.name, kind) for kind in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            return subprocess.Popen(
                step.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, "CLICKCLEAN_REPOSITORY": str(self.settings.repository)},
            )


def end(process: subprocess.Popen[bytes], *, patience_s: float = 0.0) -> None:
    """End a process: politely as long as the patience lasts, then it and its children by force."""
    if patience_s and process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            say(f"{process.args!r} does not end by itself")
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def served(ledger: Ledger, step: Step) -> Iterator[None]:
    """Run the server around the body. The body runs in any case: its steps need the server's."""
    blocked = ledger.lacking(step)
    if blocked is not None:
        ledger.keep(blocked)
        yield
        return
    say(f"$ {shlex.join(step.command)} &")
    started = time.monotonic()
    try:
        process = ledger.start(step)
    except OSError as error:
        ledger.keep(Outcome(step.name, step.command, "failed", note=str(error)))
        yield
        return
    try:
        note = wait_ready(process, step.timeout_s, ledger.settings.ready_url)
        outcome = Outcome(step.name, step.command, "passed", None, time.monotonic() - started)
        if note:
            outcome = replace(outcome, status="failed", code=process.poll(), note=note)
        ledger.keep(outcome)
        yield
    finally:
        end(process, patience_s=STOP_TIMEOUT_S)


def wait_ready(process: subprocess.Popen[bytes], timeout_s: float, url: str) -> str:
    """Return an empty text once the URL answers, else why it will not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f"it ended with exit code {process.returncode} before it was ready"
        try:
            with opener.open(url, timeout=5):
                return ""
        except (OSError, http.client.HTTPException):
            time.sleep(POLL_S)
    return f"not ready within {timeout_s:g} s"


def verify(settings: Settings, environment: Mapping[str, str]) -> int:
    """Run everything; write the results however it ends; return the exit code."""
    # What an earlier run left in the same folder must not be taken for this one's.
    shutil.rmtree(settings.logs, ignore_errors=True)
    settings.load_result.unlink(missing_ok=True)
    settings.logs.mkdir(parents=True)
    published = any((settings.repository / MODEL).glob("[1-9]*"))
    ledger = Ledger(settings, planned(settings, published=published))
    measured: list[Measured] = []
    try:
        _chain(ledger, measured, published=published)
    finally:
        csv = settings.log(DEVICE, "out")
        results = assemble(
            facts=facts(environment, csv.read_text(errors="replace") if csv.exists() else ""),
            outcomes=ledger.outcomes,
            build=_build(ledger),
            loadtest=_json(settings.load_result),
            trtexec=measured,
        )
        text = json.dumps(results, indent=1) + "\n"
        (settings.out / "results.json").write_text(text, encoding="utf-8")
        (settings.out / "results.md").write_text(page(results), encoding="utf-8")
        say(f"written: {settings.out / 'results.json'}, {settings.out / 'results.md'}")
    return int(results["exit_code"])


def _chain(ledger: Ledger, measured: list[Measured], *, published: bool) -> None:
    settings = ledger.settings
    ignored = shutil.ignore_patterns("build", "__pycache__")
    shutil.copytree(settings.example, settings.out / MODEL, ignore=ignored, dirs_exist_ok=True)
    for step in before_serving(settings, published=published):
        ledger.run(step)
    with served(ledger, server()):
        ledger.run(load(settings))
    if ledger.lacking(load(settings)) and settings.log(server().name, "err").exists():
        ledger.run(explain(settings))
    build = _build(ledger)
    if build is None:
        return
    try:
        runs = trtexec_runs(settings, build)
    except (LookupError, TypeError, ValueError) as error:
        note = f"engine build said something else than expected: {error!r}"
        for outcome in ledger.outcomes:
            if outcome.name in {SMALLEST, LARGEST}:
                ledger.keep(replace(outcome, status="failed", note=note))
        return
    for batch, step in runs:
        _measure(ledger, measured, batch, step)


def _measure(ledger: Ledger, measured: list[Measured], batch: int, step: Step) -> None:
    outcome = ledger.run(step)
    # Its figures go to stdout, its warnings and errors to stderr (samples/common/logging.h).
    logs = [ledger.settings.log(step.name, kind) for kind in ("out", "err")]
    if outcome.status != "passed":
        return
    try:
        run = parse_trtexec("\n".join(log.read_text(errors="replace") for log in logs))
    except TrtexecOutputError as error:
        ledger.keep(replace(outcome, status="failed", note=str(error)))
    else:
        measured.append(Measured(batch, run))


def facts(environment: Mapping[str, str], csv: str) -> dict[str, dict[str, str]]:
    """Return where this ran: variables of the image and of verify.sh, and nvidia-smi's line."""

    def named(**names: str) -> dict[str, str]:
        return {key: environment.get(name, "") for key, name in names.items()}

    words = [word.strip() for word in (csv.splitlines() or [""])[0].split(",")]
    device = ("name", "driver", "compute_capability", "memory")
    return {
        "device": {name: words[i] if i < len(words) else "" for i, name in enumerate(device)},
        "image": named(
            base="VERIFY_BASE_IMAGE", base_digest="VERIFY_BASE_DIGEST", built="VERIFY_IMAGE_ID"
        ),
        "versions": named(
            triton="TRITON_SERVER_VERSION",
            triton_container="NVIDIA_TRITON_SERVER_VERSION",
            tensorrt="TRT_VERSION",
            cuda="CUDA_VERSION",
        )
        | {"clickclean": _own_version()},
    }


def say(text: str) -> None:
    """Tell progress on stderr."""
    sys.stderr.write(f"{text.rstrip()}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments; run the steps, or only show them."""
    parser = argparse.ArgumentParser(description="The whole chain on one GPU, inside the image.")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything it writes")
    parser.add_argument("--example", type=Path, default=EXAMPLE, help="folder of the model")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--duration-s", type=int, default=20, help="of the load test")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and end")
    given = parser.parse_args(arguments)
    settings = Settings(given.out, given.example, given.rate, given.duration_s)
    if given.dry_run:
        for step in planned(settings):
            sys.stdout.write(f"{shlex.join(step.command)}\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_by_signal)
    return verify(settings, os.environ)


def _end_by_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _build(ledger: Ledger) -> Any:
    return _json(ledger.settings.log(BUILD, "out")) if ledger.passed(BUILD) else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _complaint(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("error:", "hint:"))]
    return " ".join(told or lines[-1:])


def _own_version() -> str:
    try:
        return metadata.version("clickclean")
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
