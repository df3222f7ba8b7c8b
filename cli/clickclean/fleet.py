"""GPU types as users name them on the command line, and the models that such GPUs would load."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clickclean_client import ClickCleanError

if TYPE_CHECKING:
    from clickclean_export.engine.device import Gpu
    from clickclean_export.engine.preflight import Target

_GPU = re.compile(r"(?P<name>.*\S)\s*=\s*(?P<cc>[0-9]{1,4}\.[0-9]{1,4})")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){3}([.+-].*)?")


class FleetError(ClickCleanError):
    """A GPU or a version that cannot be understood."""

    exit_code = 2


def targets(
    gpus: Sequence[str] | None, tensorrt_version: str | None, *, version_compatible: bool
) -> "tuple[Target, ...]":
    """Return what will load plans: the GPUs named, or those of this machine.

    Raises:
        FleetError: a GPU is not written NAME=COMPUTE_CAPABILITY, a version not
            major.minor.patch.build, or GPUs of elsewhere are named without their TensorRT version
            (exit 2).
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
    if tensorrt_version is not None and not _VERSION.fullmatch(tensorrt_version):
        raise FleetError(
            f"--tensorrt-version '{tensorrt_version}' is not major.minor.patch.build",
            hint="docker run --rm IMAGE printenv TRT_VERSION says it",
        )
    found = tuple(map(_gpu, gpus)) if gpus else tuple(dict.fromkeys(local_gpus()))
    version = tensorrt_version or library_version("tensorrt")
    return tuple(Target(gpu, version, version_compatible) for gpu in found)


def named_targets(
    gpus: Sequence[str] | None, tensorrt_version: str | None, *, version_compatible: bool
) -> "tuple[Target, ...]":
    """Return the GPUs named; none where none is.

    Raises:
        FleetError: as ``targets``, or servers are described and no GPU is named (exit 2).
    """
    if gpus:
        return targets(gpus, tensorrt_version, version_compatible=version_compatible)
    if tensorrt_version is not None or version_compatible:
        option = "--version-compatible" if tensorrt_version is None else "--tensorrt-version"
        raise FleetError(f"{option} needs --gpu", hint="name the GPU types: --gpu 'NVIDIA L4=8.9'")
    return ()


def models_to_load(repository: Path, named: Sequence[str] | None) -> list[str]:
    """Return the models that a server would load: those named, or all that are promoted.

    Raises:
        IncompatibleError: the repository has no such model, or nothing is promoted (exit 4).
        RepositoryError: the repository, or a config in it, cannot be read.
    """
    from clickclean_export.errors import IncompatibleError, nearest
    from clickclean_export.repository import Repository

    found = Repository(repository)
    published = found.models()
    # One whose versions are all gone has a folder still, and its config asks for them.
    folders = sorted(path.name for path in found.root.iterdir() if path.is_dir())
    mounted = "is the right folder mounted?"
    for name in named or ():
        if name not in folders:
            close = nearest(name, folders)
            raise IncompatibleError(
                f"model '{name}' is not in the repository {found.root}",
                hint=f"did you mean '{close}'?"
                if close
                else f"it has {', '.join(published) or 'no model'}; {mounted}",
            )
    names = list(named or (name for name in folders if found.promoted(name) is not None))
    if not names:
        raise IncompatibleError(
            f"nothing is promoted in {found.root}, so a server would load no model",
            hint=f"clickclean promote {published[0]} VERSION"
            if published
            else f"no version is published there; {mounted}",
        )
    return names


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
