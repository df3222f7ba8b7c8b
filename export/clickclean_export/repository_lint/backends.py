"""Which backend runs a model and which file it wants, found as Triton's core finds them.

(https://github.com/triton-inference-server/core/blob/main/src/model_config_utils.cc,
"AutoCompleteBackendFields"; names in constants.h)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ENSEMBLE: Final = "ensemble"
PLATFORMS: Final = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "libtorch": "pytorch",
    "torch_aoti": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
"""Platform -> the backend that runs it."""

FILES: Final = {
    "tensorrt": "model.plan",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch": "model.pt",
    "python": "model.py",
    "dali": "model.dali",
}
"""Backend -> the file that it looks for when the config names none."""

_BY_FILE: Final = {
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.pt2": "pytorch",
    "model.py": "python",
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
}


DEFAULT_FILES: Final = frozenset(_BY_FILE)
"""Names that say a backend by themselves."""


@dataclass(frozen=True)
class Artefact:
    """What a version must hold.

    Attributes:
        backend: "" if nothing says which.
        file: Name in the version's folder; "" if only the backend knows.
    """

    backend: str
    file: str


def artefact(message: Any, version: Path | None) -> Artefact:
    """Return backend and model file; a version's folder helps where the config says nothing."""
    backend = message.backend or PLATFORMS.get(message.platform, "")
    named = message.default_model_filename
    if not backend and named:
        backend = _BY_FILE.get(named, "")
    if not backend and not message.platform and not named and version is not None:
        present = {path.name for path in version.iterdir()} if version.is_dir() else set()
        backend = next((kind for file, kind in _BY_FILE.items() if file in present), "")
    if named or message.runtime:
        # With a runtime of its own the backend decides what it reads.
        return Artefact(backend, named)
    if backend == "pytorch" and message.platform == "torch_aoti":
        return Artefact(backend, "model.pt2")
    return Artefact(backend, FILES.get(backend, ""))


def is_ensemble(message: Any) -> bool:
    """Whether the config describes a pipeline of models."""
    return bool(message.platform == ENSEMBLE or message.HasField("ensemble_scheduling"))


def loaded(message: Any, versions: tuple[int, ...]) -> tuple[int, ...]:
    """Return the versions that the policy loads, ascending; without a policy the highest."""
    policy = message.version_policy
    if policy.HasField("specific"):
        return tuple(v for v in versions if v in set(policy.specific.versions))
    if policy.HasField("all"):
        return versions
    count = policy.latest.num_versions if policy.HasField("latest") else 1
    return versions[-count:] if count else ()
