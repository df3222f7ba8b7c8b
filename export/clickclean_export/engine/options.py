"""How a plan is built: the choices that end up in it, and so in its cache key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Flavour = Literal["tensorrt", "tensorrt_rtx"]
"""Which library compiles: TensorRT (production) or TensorRT-RTX (the check without a GPU)."""

HardwareCompatibility = Literal["none", "same_compute_capability", "ampere_plus"]


@dataclass(frozen=True)
class Range:
    """Sizes of one input for which a plan is built: each a full shape, the batch first.

    ``opt`` is the one it is tuned for. ``min <= opt <= max``, axis by axis.
    """

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def takes(self, shape: Sequence[int]) -> bool:
        """Tell whether a shape has as many axes, and lies within the range on each."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )


Profile = dict[str, Range]
"""One optimization profile: a range for every input of the network, by name."""


@dataclass(frozen=True)
class BuildOptions:
    """The builder's settings; the recipe's ``[engine]`` section as TensorRT understands it.

    Attributes:
        optimization_level: 0..5, ``IBuilderConfig.builder_optimization_level``; higher searches
            longer for faster kernels. TensorRT's own default is 3.
        workspace_mib: Limit of scratch memory, MiB; 0 leaves TensorRT's default, the GPU's memory.
        version_compatible: The plan loads in later TensorRT versions too. Costs: a plan that is
            larger by the lean runtime, some kernels are not available, and Triton must be started
            with ``--backend-config=tensorrt,version-compatible=true``, which runs code from plans.
        hardware_compatibility: "none": this GPU type. "same_compute_capability": GPUs of the same
            compute capability. "ampere_plus": compute capability 8.0 and later; fewer kernels.
    """

    optimization_level: int = 3
    workspace_mib: int = 0
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
