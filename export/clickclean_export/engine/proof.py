"""What a check without a GPU found, and what it is worth."""

from dataclasses import dataclass

from clickclean_export.engine.options import Flavour

PROVES = (
    "TensorRT's ONNX parser reads the file",
    "types and Q/DQ are what a strongly typed network accepts",
    "the profiles fit the inputs, and the network compiles ahead of time",
)
PROVES_NOT = (
    "speed on a GPU",
    "which layers are fused, or really run in INT8",
    "accuracy on a GPU",
    "that TensorRT itself, of the version that serves, makes a plan of it",
)


@dataclass(frozen=True)
class EngineCheck:
    """A file that passed; kept in the manifest.

    Attributes:
        library: Always "tensorrt_rtx".
        library_version: Such as "1.7.1.116".
        seconds: The whole check: reading, linting, starting the library, compiling.
        compile_s: Compiling alone.
        plan_bytes: Size of the plan, which is thrown away: Triton could not load it.
        layers: Of the network as TensorRT's parser made it.
        profiles: Number of optimization profiles.
        warnings: What the builder said that is no error.
        not_checked: Options of the recipe that TensorRT-RTX does not have.
    """

    library: Flavour
    library_version: str
    seconds: float
    compile_s: float
    plan_bytes: int
    layers: int
    profiles: int
    warnings: tuple[str, ...]
    not_checked: tuple[str, ...]
