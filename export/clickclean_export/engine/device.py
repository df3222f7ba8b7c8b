"""The NVIDIA GPUs of this machine, asked through NVML."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clickclean_export.errors import IncompatibleError, MissingExtraError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A GPU type.

    Attributes:
        name: As the driver says it, such as "NVIDIA L4".
        compute_capability: Such as "8.9".
        driver: Version of the driver; empty when only described, not present.
        memory_mib: Its memory, MiB; 0 when only described.
        uuid: Of this very card, as CUDA_VISIBLE_DEVICES takes it; empty when only described.
    """

    name: str
    compute_capability: str
    driver: str = ""
    memory_mib: int = 0
    uuid: str = ""


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine in the driver's order.

    Raises:
        IncompatibleError: there is no driver or no GPU (exit 4).
        MissingExtraError: NVML's bindings are not installed (exit 4).
    """
    try:
        import pynvml
    except ImportError as error:
        raise MissingExtraError("nvidia-ml-py", "engine") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise IncompatibleError(
            f"this machine has no usable NVIDIA GPU (NVML: {error})",
            hint="plans are built where they run: on a machine with an NVIDIA GPU and its driver,"
            " in the Triton image (docs/gpu.md)",
        ) from error
    try:
        found = tuple(_gpu(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(_count()))
    finally:
        pynvml.nvmlShutdown()
    if not found:
        raise IncompatibleError(
            "the NVIDIA driver is here, but it shows no GPU",
            hint="in a container, start it with --gpus all",
        )
    return found


def gpu_at(index: int) -> Gpu:
    """Return one GPU of this machine, counted as the driver does.

    Raises:
        IncompatibleError, MissingExtraError: as ``gpus``, or there are fewer GPUs (exit 4).
    """
    found = gpus()
    if index >= len(found):
        names = ", ".join(f"{number}: {gpu.name}" for number, gpu in enumerate(found))
        raise IncompatibleError(
            f"this machine has no GPU {index}", hint=f"there are {len(found)}: {names}"
        )
    return found[index]


@contextmanager
def alone(gpu: Gpu) -> Iterator[None]:
    """Let CUDA see this GPU only, here and in processes that are started, during the block.

    NVML counts GPUs by their slot and CUDA by speed, so an index would not name the same card. CUDA
    reads the variable once, when it is first used in a process.
    """
    before = os.environ.get(_VISIBLE)
    # A slice of a GPU has a name of its own, which NVML does not tell here.
    if gpu.uuid and not (before or "").startswith("MIG-"):
        os.environ[_VISIBLE] = gpu.uuid
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VISIBLE, None)
        else:
            os.environ[_VISIBLE] = before


def _count() -> int:
    import pynvml

    return int(pynvml.nvmlDeviceGetCount())


def _gpu(handle: object) -> Gpu:
    import pynvml

    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        compute_capability=f"{major}.{minor}",
        driver=str(pynvml.nvmlSystemGetDriverVersion()),
        memory_mib=int(memory.total) // 2**20,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
    )
