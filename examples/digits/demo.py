"""The whole way with real commands: ``make demo``. Each is printed as you would type it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "demo"
REPOSITORY = Path("model_repository")
STOP_TIMEOUT_S = 30


def say(text: str) -> None:
    """Write a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def environment() -> dict[str, str]:
    """Return the environment in which ``clickclean`` and ``python`` are the ones of this demo."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}


def run(*words: str, shown: bool = True) -> None:
    """Run one command in the project's root; its failure ends the demo with its exit code."""
    if shown:
        print(f"$ {shlex.join(words)}", flush=True)
    code = subprocess.run(words, cwd=ROOT, env=environment(), check=False).returncode
    if code:
        print(f"the demo stops here: exit code {code}", file=sys.stderr)
        sys.exit(code)


@contextmanager
def served() -> Iterator[str]:
    """Run ``clickclean serve`` beside the demo; yields its gRPC address."""
    words = ["clickclean", "serve", "--repository", str(REPOSITORY), "--model", "digits", "--json"]
    print(f"$ {shlex.join(words)} &", flush=True)
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            sys.exit(process.wait(STOP_TIMEOUT_S) or 1)
        ready = json.loads(line)["ready"]
        print(f"gRPC {ready['grpc']}  metrics {ready['metrics']}", flush=True)
        yield ready["grpc"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def main() -> None:
    """Train if needed, publish, check for TensorRT, serve, ask, load, report."""
    BUILD.mkdir(parents=True, exist_ok=True)
    result, page = BUILD / "loadtest.json", BUILD / "report.html"

    say("1. A checkpoint: a residual net on the UCI handwritten digits")
    if (HERE / "build" / "digits.pt").exists():
        print("examples/digits/build/digits.pt is there; remove it to train again")
    else:
        run("python", "examples/digits/train.py")

    say("2. Publish: ONNX, INT8, gates at every hop, an immutable version")
    run("clickclean", "publish", "examples/digits/recipe.toml", "--promote")

    say("3. Would TensorRT take it? Compiled ahead of time, no GPU needed")
    run("clickclean", "engine", "check", "digits")

    say("4. Serve it with the real tritonserver, ask it, load it")
    with served() as address:
        golden = newest_golden()
        run("clickclean", "infer", "digits", "-s", address, "-i", str(golden), "--rows", "3")
        run(
            *("clickclean", "loadtest", "digits", "-s", address),
            *("--rate", "50", "--duration", "20s"),
            *("--result", str(result.relative_to(ROOT))),
        )

    say("5. The release report")
    run(
        *("clickclean", "report", "digits", "--loadtest", str(result.relative_to(ROOT))),
        *("--out", str(page.relative_to(ROOT))),
    )
    print(f"\nOpen {page} in a browser. Go on with: clickclean serve")


def newest_golden() -> Path:
    """Return the golden rows of the newest version, as a path that can be typed."""
    numbers = [int(p.name) for p in (ROOT / REPOSITORY / "digits").iterdir() if p.name.isdigit()]
    return REPOSITORY / "digits" / str(max(numbers)) / "golden.npz"


if __name__ == "__main__":
    main()
