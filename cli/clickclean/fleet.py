"""GPU types as users name them on the command line."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clickclean_client import ClickCleanError

if TYPE_CHECKING:
    from clickclean_export.engine.device import Gpu
    from clickclean_export.engine.preflight import Target

_GPU = re.compile(r"(?P<name>.*\S)\s*=\s*(?P<cc>\d+\.\d+)")


class FleetError(ClickCleanError):
    """A GPU or a version that cannot be understood."""

    exit_code = 2


def targets(
    gpus: Sequence[str] | None, tensorrt_version: str | None, *, version_compatible: bool
) -> "tuple[Target, ...]":
    """Return what will load plans: the GPUs named, or those of this machine.

    Raises:
        FleetError: a GPU is not written NAME=COMPUTE_CAPABILITY, or GPUs of elsewhere are named
            without their TensorRT version (exit 2).
        IncompatibleError: this machine is meant, and has no GPU or no TensorRT (exit 4).
    """
    from clickclean_export.engine.compiler import library_version
    from clickclean_export.engine.device import gpus as local_gpus
    from clickclean_export.engine.preflight import Target

    if gpus and tensorrt_version is None:
        raise FleetError(
            "--gpu names GPUs of elsewhere, and their TensorRT version is not known",
            hint="add --tensorrt-version; in the Triton image it is $TRT_VERSION",
        )
    found = tuple(map(_gpu, gpus)) if gpus else tuple(dict.fromkeys(local_gpus()))
    version = tensorrt_version or library_version("tensorrt")
    return tuple(Target(gpu, version, version_compatible) for gpu in found)


def _gpu(text: str) -> "Gpu":
    from clickclean_export.engine.device import Gpu

    match = _GPU.fullmatch(text.strip())
    if match is None:
        raise FleetError(
            f"'{text}' is not a GPU type",
            hint="write its name and compute capability: --gpu 'NVIDIA L4=8.9'"
            " (nvidia-smi --query-gpu=name,compute_cap --format=csv)",
        )
    return Gpu(match["name"], match["cc"])
