"""GPUs are asked through NVML. There is none here, so a stand-in plays the driver."""

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from clickclean_export.engine.device import Gpu, alone, gpu_at, gpus
from clickclean_export.errors import IncompatibleError, MissingExtraError

CARDS = [("NVIDIA L4", (8, 9), 23034), ("NVIDIA H100 80GB HBM3", (9, 0), 81559)]


class Driver(ModuleType):
    """A fake `pynvml` that shows the given cards."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards: list[tuple[str, tuple[int, int], int]]) -> None:
        super().__init__("pynvml")
        self._cards = cards
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self._cards[handle][0]

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:  # noqa: N802
        return self._cards[handle][1]

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=self._cards[handle][2] * 2**20)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "610.43.02"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    fake = Driver(CARDS)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_the_real_library_has_what_is_used() -> None:
    import pynvml

    used = {name for name in vars(Driver) if name.startswith("nvml")} | {"NVMLError"}
    assert used <= set(dir(pynvml))


def test_gpus_in_the_drivers_order(driver: Driver) -> None:
    assert gpus() == (
        Gpu("NVIDIA L4", "8.9", "610.43.02", 23034, "GPU-0"),
        Gpu("NVIDIA H100 80GB HBM3", "9.0", "610.43.02", 81559, "GPU-1"),
    )
    assert driver.open == 0
    assert gpu_at(1).compute_capability == "9.0"


def test_a_gpu_that_is_not_there(driver: Driver) -> None:
    with pytest.raises(IncompatibleError, match="no GPU 2") as caught:
        gpu_at(2)
    assert "0: NVIDIA L4" in caught.value.hint


def test_a_driver_that_shows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver([]))
    with pytest.raises(IncompatibleError, match="shows no GPU") as caught:
        gpus()
    assert "--gpus all" in caught.value.hint


def test_no_driver_at_all() -> None:
    """The real library on a machine without a GPU, as the tests' machine is."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(IncompatibleError, match="no usable NVIDIA GPU"):
            gpus()
    else:
        pynvml.nvmlShutdown()
        assert gpus()


def test_without_nvmls_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match="nvidia-ml-py"):
        gpus()


@pytest.mark.parametrize(("before", "seen"), [(None, "GPU-7"), ("0", "GPU-7"), ("MIG-1", "MIG-1")])
def test_cuda_sees_the_chosen_gpu_alone(
    before: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own name: NVML and CUDA count differently."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    program = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    with alone(Gpu("NVIDIA L4", "8.9", uuid="GPU-7")):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, text=True
        )
    assert done.stdout.strip() == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_a_described_gpu_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with alone(Gpu("NVIDIA L4", "8.9")):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
