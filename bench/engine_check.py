"""How long `clickclean engine check` takes, and what it makes: three files, several rounds.

    python bench/engine_check.py [--rounds 5]

The files are those of the tests: weights are random, shapes are real. Every round checks each file
once, in turn; printed are medians. Memory is the largest of any process that compiled so far, so
the files go from small to large.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.models.onnx_files import conv_block, resnet50_qdq, transformer_block_qdq  # noqa: E402

from clickclean_export.engine.check import check_file  # noqa: E402
from clickclean_export.engine.profiles import parse_axis  # noqa: E402
from clickclean_export.engine.proof import EngineCheck  # noqa: E402

FILES: dict[str, tuple[Callable[[], onnx.ModelProto], list[str]]] = {
    "one convolution": (conv_block, ["batch=1:8:32"]),
    "transformer block, width 256": (transformer_block_qdq, ["batch=1:8:32", "length=1:64:128"]),
    "ResNet-50's shape, 224 x 224": (resnet50_qdq, ["batch=1:8:32"]),
}
MIB = 2**20


def main() -> None:
    """Check every file in turn and print a table."""
    parser = argparse.ArgumentParser(description="time the check without a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[EngineCheck]] = {name: [] for name in FILES}
    memory: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{number}.onnx" for number, name in enumerate(FILES)}
        for name, (build, _) in FILES.items():
            onnx.save(build(), paths[name])
        for _ in range(rounds):
            for name, (_, axes) in FILES.items():
                found[name].append(check_file(paths[name], dict(map(parse_axis, axes))))
                used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
                memory.setdefault(name, used)
        print(f"{'file':30}  ONNX MiB  plan MiB  compile s  check s  peak MiB")
        for name, checks in found.items():
            print(
                f"{name:30}  {paths[name].stat().st_size / MIB:8.1f}"
                f"  {checks[0].plan_bytes / MIB:8.1f}"
                f"  {median(c.compile_s for c in checks):9.2f}"
                f"  {median(c.seconds for c in checks):7.2f}"
                f"  {memory[name] / 1024:8.0f}"
            )


if __name__ == "__main__":
    main()
