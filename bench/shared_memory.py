"""What shared memory saves a caller on the server's host: ``python bench/shared_memory.py``.

One caller asks two models that compute next to nothing, so what is measured is how tensors come and
go: ``mean`` answers with three numbers for each image, ``relu`` with as much as it was sent. All
ways are asked in turn, again and again; a ratio compares calls that followed each other, so that a
machine that others use, too, moves both alike.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from clickclean_client import Client, SharedMemory
from clickclean_client.admin import KEY_HEADER
from clickclean_server import serving
from surroundings import surroundings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.server.tiny_models import Tiny, TinyRepository  # noqa: E402

# One image of a phone's preview, one of ImageNet's size, and a batch of those.
SHAPES = ((1, 3, 8, 8), (1, 3, 224, 224), (32, 3, 224, 224))
MOST_SECONDS = 60.0


def prepare(root: Path) -> Path:
    """Write a repository with both models."""
    images = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32) - np.float32(0.5)
    repository = TinyRepository(root)
    sizes: list[int | str] = ["n", 3, "h", "w"]
    pooled = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    means = {"y": images.mean(axis=(2, 3))}
    shapes = {"x": sizes, "y": list[int | str](["n", 3])}
    repository.add("mean", Tiny(pooled, {}, shapes, {"x": images}, means, 32))
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    positive = {"y": np.maximum(images, 0)}
    both = {"x": sizes, "y": sizes}
    repository.add("relu", Tiny(relu, {}, both, {"x": images}, positive, 32))
    return root


def ways(
    client: Client, memory: SharedMemory, shape: tuple[int, ...]
) -> dict[str, dict[str, Callable[[], object]]]:
    """Return, for each model, the ways to ask it; the first one is inline."""
    images = np.random.default_rng(1).random(shape, dtype=np.float32)
    there, back = memory.empty(shape, np.float32), memory.empty(shape, np.float32)
    there[:] = images

    def filled() -> object:
        there[:] = images
        return client.infer("mean", x=there)

    return {
        "mean": {
            "inline": lambda: client.infer("mean", x=images),
            "input shared": lambda: client.infer("mean", x=there),
            "input shared, copied there first": filled,
        },
        "relu": {
            "inline": lambda: client.infer("relu", x=images),
            "input shared": lambda: client.infer("relu", x=there),
            "input and output shared": lambda: client.infer("relu", x=there, outputs={"y": back}),
        },
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Return the times of all calls in ms, float64[rounds, way]."""
    for call in calls.values():
        for _ in range(3):
            call()
    times: list[list[float]] = []
    end = time.monotonic() + MOST_SECONDS
    while len(times) < rounds and time.monotonic() < end:
        row = []
        for call in calls.values():
            began = time.perf_counter()
            call()
            row.append(1e3 * (time.perf_counter() - began))
        times.append(row)
    return np.array(times)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    for name, value in surroundings().items():
        print(f"{name:<22}{value}")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(prepare(Path(folder, "repository"))) as endpoint,
        Client(endpoint.grpc, timeout_s=30) as client,
    ):
        key = {KEY_HEADER: endpoint.key}
        for shape in SHAPES:
            size_bytes = 4 * int(np.prod(shape))
            with client.shared_memory(size_bytes=2 * size_bytes + 4096, headers=key) as memory:
                for model, calls in ways(client, memory, shape).items():
                    times = measure(calls, rounds)
                    print(f"\n{model}, {size_bytes / 1e6:.3g} MB, {len(times)} rounds")
                    print(f"  {'':<34}{'p50 ms':>9}{'p90 ms':>9}{'of inline: median':>20}")
                    for way, name in enumerate(calls):
                        middle, slow = np.percentile(times[:, way], [50, 90])
                        ratio = np.percentile(times[:, way] / times[:, 0], [25, 50, 75])
                        print(
                            f"  {name:<34}{middle:>9.2f}{slow:>9.2f}{ratio[1]:>12.2f}"
                            f" ({ratio[0]:.2f} to {ratio[2]:.2f})"
                        )


if __name__ == "__main__":
    main()
