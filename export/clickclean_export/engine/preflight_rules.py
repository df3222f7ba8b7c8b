"""What a plan asks of a server and its GPU, and a config of a plan: rules on values alone.

Who may load what ("Engine Portability", "Engine Compatibility"):
https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/getting-started/support-matrix.html and
https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/inference-library/engine-compatibility.html.
What Triton compares: https://github.com/triton-inference-server/tensorrt_backend, the functions
named below. A record tells neither dtypes nor outputs of a plan, so those are not compared.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import Profile
from clickclean_export.engine.record import PlanInputs
from clickclean_export.manifest import ENGINES
from clickclean_export.triton_config import TritonConfig

VERSION_COMPATIBLE_FLAG = "--backend-config=tensorrt,version-compatible=true"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)(?:[.+-].*)?")
_CAPABILITY = re.compile(r"(\d+)\.(\d+)")
_AMPERE = (8, 0)
_MAJOR_STEPS = {(10, 11), (8, 10)}
"""From which major version of TensorRT to which a version-compatible plan may go; support matrix of
11.4.1: "No other combination across major versions is supported"."""


@dataclass(frozen=True)
class Target:
    """What will load the plan.

    Attributes:
        gpu: Name and compute capability.
        tensorrt_version: Of the server, such as "11.4.0.106"; ``$TRT_VERSION`` of its image.
        version_compatible: The server is started with ``VERSION_COMPATIBLE_FLAG``.
    """

    gpu: Gpu
    tensorrt_version: str
    version_compatible: bool = False


@dataclass(frozen=True)
class Mismatch:
    """One reason why a plan would not load, or would be wrong.

    Attributes:
        code: Stable kebab-case name of the rule.
        where: A path, or model/version.
        problem: What is wrong, without the place.
        hint: What to do, with the command to type.
    """

    code: str
    where: str
    problem: str
    hint: str

    @property
    def sentence(self) -> str:
        """Place and problem, as an error says them."""
        return f"{self.where}: {self.problem}"


@dataclass(frozen=True)
class Subject:
    """The version that is examined, and the commands that repair it.

    Attributes:
        folder: ``<repository>/<model>/<version>``.
        version: Its number.
        gpu: What wants to load its plan.
    """

    folder: Path
    version: int
    gpu: Gpu

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.folder.parent.name

    @property
    def name(self) -> str:
        """Such as "digits/2"."""
        return f"{self.model}/{self.version}"

    @property
    def promote(self) -> str:
        """The command that writes the config anew."""
        return f"clickclean promote {self.model} {self.version}"

    @property
    def build(self) -> str:
        """The command that builds the plan and names it in the config, and where."""
        command = f"clickclean engine build {self.model}:{self.version}"
        return f"on a machine with {self.gpu.name}: {command}"

    def replace(self, plan: Path) -> str:
        """The commands that build a plan whose files are damaged; builds stop at a damaged one."""
        if plan.parent.parent != self.folder / ENGINES:
            return self.build
        return f"rm -r '{plan.parent}', then {self.build}"


def has_sound_profiles(inputs: PlanInputs) -> bool:
    """Whether every profile has the same inputs, each with a batch axis; the rules rely on it."""
    names = inputs.profiles[0].keys() if inputs.profiles else set()
    return bool(names) and all(
        profile.keys() == names
        and all(len(s.min) == len(s.opt) == len(s.max) > 0 for s in profile.values())
        for profile in inputs.profiles
    )


def target_rules(target: Target) -> Iterator[Mismatch]:
    """Whether the target is described well enough to compare plans with it."""
    if _numbers(_VERSION, target.tensorrt_version) is None:
        yield Mismatch(
            "target-version-unclear",
            "server",
            f"its TensorRT version is given as '{target.tensorrt_version}', which is not"
            " major.minor.patch.build",
            "docker run --rm IMAGE printenv TRT_VERSION says it",
        )
    if _numbers(_CAPABILITY, target.gpu.compute_capability) is None:
        yield Mismatch(
            "target-gpu-unclear",
            target.gpu.name or "GPU",
            f"its compute capability is given as '{target.gpu.compute_capability}', which is not"
            " major.minor",
            "nvidia-smi --query-gpu=name,compute_cap --format=csv says it",
        )


def load_rules(
    inputs: PlanInputs, target: Target, subject: Subject, where: str
) -> Iterator[Mismatch]:
    """Whether TensorRT in the server can deserialise the plan on the GPU; the target is clear."""
    if inputs.flavour != "tensorrt":
        yield Mismatch(
            "plan-of-tensorrt-rtx",
            where,
            f"was built by {inputs.flavour} {inputs.library_version}, and Triton loads plans of"
            " TensorRT alone",
            subject.build,
        )
        return
    yield from _version_rules(inputs, target, subject, where)
    yield from _gpu_rules(inputs, target.gpu, subject, where)


def _version_rules(
    inputs: PlanInputs, target: Target, subject: Subject, where: str
) -> Iterator[Mismatch]:
    """Compare all four numbers, as TensorRT does by default.

    A version-compatible plan goes forward only, and carries a runtime of its own that TensorRT
    refuses to run unless it may (``IRuntime::setEngineHostCodeAllowed``; tensorrt_backend,
    src/loader.cc, "LoadPlan"), in the version that built it too.
    """
    here, there = inputs.library_version, target.tensorrt_version
    built, server = _numbers(_VERSION, here), _numbers(_VERSION, there)
    if built is None or server is None:
        yield Mismatch(
            "plan-version-unclear",
            where,
            f"its record gives its TensorRT version as '{here}', which is not"
            " major.minor.patch.build",
            subject.build,
        )
    elif not inputs.options.version_compatible:
        if built != server:
            yield Mismatch(
                "other-tensorrt",
                where,
                f"was built by TensorRT {here}, loads in no other version, and the server has"
                f" {there}",
                f"in the server's image, {subject.build}",
            )
    elif built > server:
        yield Mismatch(
            "newer-tensorrt",
            where,
            f"was built by TensorRT {here}; as a version-compatible plan it loads in that version"
            f" and later ones, and the server has {there}",
            f"start a server with TensorRT {here} or later, or in this one's image,"
            f" {subject.build}",
        )
    elif built[0] != server[0] and (built[0], server[0]) not in _MAJOR_STEPS:
        yield Mismatch(
            "unsupported-major-step",
            where,
            f"was built by TensorRT {here}; a version-compatible plan of TensorRT {built[0]} does"
            f" not load in TensorRT {server[0]}, and the server has {there}",
            f"in the server's image, {subject.build}",
        )
    elif not target.version_compatible:
        yield Mismatch(
            "version-compatible-off",
            where,
            "is a version-compatible plan and brings code of its own, which the server is not"
            " allowed to run",
            f"start tritonserver with {VERSION_COMPATIBLE_FLAG} if you trust who built the plan",
        )


def _gpu_rules(inputs: PlanInputs, gpu: Gpu, subject: Subject, where: str) -> Iterator[Mismatch]:
    """Compare GPUs at the plan's ``HardwareCompatibilityLevel`` (TensorRT, NvInfer.h).

    With none, TensorRT refuses another compute capability. It may load a plan on another model of
    the same one, with a warning that this "is likely to affect performance or even cause errors"
    (https://github.com/NVIDIA/TensorRT/issues/2900); here that is a mismatch.
    """
    level, built = inputs.options.hardware_compatibility, inputs.compute_capability
    if level == "ampere_plus":
        capability = _numbers(_CAPABILITY, gpu.compute_capability)
        if capability is not None and capability < _AMPERE:
            yield Mismatch(
                "gpu-before-ampere",
                where,
                "was built for compute capability 8.0 and later (ampere_plus), and"
                f" {gpu.name} has {gpu.compute_capability}",
                subject.build,
            )
    elif built != gpu.compute_capability:
        yield Mismatch(
            "other-compute-capability",
            where,
            f"was built for compute capability {built} ({inputs.gpu_name}), and {gpu.name} has"
            f" {gpu.compute_capability}",
            subject.build,
        )
    elif level == "none" and _gpu_type(inputs.gpu_name) != _gpu_type(gpu.name):
        yield Mismatch(
            "other-gpu-model",
            where,
            f"was built for {inputs.gpu_name} alone; {gpu.name} has the same compute capability,"
            f" {built}, and may still refuse it, or be slow or wrong with it",
            'for one plan on both, [engine] hardware_compatibility = "same_compute_capability" and'
            f" clickclean publish RECIPE; for this GPU alone, {subject.build}",
        )


def serve_rules(
    config: TritonConfig, inputs: PlanInputs, subject: Subject, where: str
) -> Iterator[Mismatch]:
    """Whether the plan can do what the config promises; every profile has every input.

    Triton's counterparts are src/model_state.cc, "GetProfileIndices", "GetMaxSupportedBatchSize",
    and src/instance_state.cc, "ValidateIO", "ConfigureInputDimensions".
    """
    hint = f"{subject.promote} writes the config anew; if that does not help, {subject.build}"
    for code, problem in _promises(config, inputs.profiles):
        yield Mismatch(code, where, problem, hint)


_Problems = Iterator[tuple[str, str]]
"""Code and problem; place and hint are the same for all promises."""


def _promises(config: TritonConfig, profiles: tuple[Profile, ...]) -> _Problems:
    have = len(profiles)
    if absent := [index for index in config.profiles if not 0 <= index < have]:
        wanted = f"{listed(absent)}, which the config wants"
        yield "profile-missing", f"has no profile {wanted}; it has {listed(range(have))}"
    used = {index: profiles[index] for index in config.profiles if 0 <= index < have}
    if used:
        problems = [
            *_name_rules(config, profiles[0]),
            *_shape_rules(config, used),
            *_batch_rules(config, used),
        ]
        yield from problems or _warmup_rules(config, used)


def _name_rules(config: TritonConfig, profile: Profile) -> _Problems:
    ours = {tensor.name for tensor in config.inputs}
    if unknown := sorted(ours - profile.keys()):
        yield (
            "input-unknown",
            f"has no input {listed(unknown)}, which the config names; it has {listed(profile)}",
        )
    if missing := sorted(profile.keys() - ours):
        yield "input-missing", f"needs input {listed(missing)}, left out in the config"


def _shape_rules(config: TritonConfig, used: dict[int, Profile]) -> _Problems:
    """Compare fixed axes with every profile that is used; a free axis is checked per request."""
    for tensor in config.inputs:
        for index, profile in used.items():
            span = profile.get(tensor.name)
            if span is None:
                continue
            low, high = span.min[1:], span.max[1:]
            if len(high) != len(tensor.dims):
                axes = f"{len(high)} axes after the batch, and {len(tensor.dims)} in the config"
                yield "input-rank", f"input '{tensor.name}' has {axes}"
                break
            if any(
                size != -1 and not least <= size <= most
                for size, least, most in zip(tensor.dims, low, high, strict=True)
            ):
                sizes = f"{_spans(low, high)} in profile {index}, without the batch"
                given = _spans(tensor.dims, tensor.dims)
                yield "input-shape", f"input '{tensor.name}' takes {sizes}; the config has {given}"


def _batch_rules(config: TritonConfig, used: dict[int, Profile]) -> _Problems:
    """Compare batches; Triton's batcher makes every one from 1 to ``max_batch_size``."""
    batches = sorted(
        (max(s.min[0] for s in profile.values()), min(s.max[0] for s in profile.values()))
        for profile in used.values()
    )
    top, where = max(high for _, high in batches), f"in profile {listed(used)}"
    if config.max_batch > top:
        wanted = f"the config has max_batch_size {config.max_batch}"
        yield "batch-above-profile", f"takes batches up to {top} {where}, and {wanted}"
    reached = 0
    for low, high in batches:
        if low <= reached + 1:
            reached = max(reached, high)
    if reached < min(top, config.max_batch):
        wanted = f"Triton makes every batch from 1 to {config.max_batch}"
        yield "batch-between-profiles", f"takes no batch of {reached + 1} {where}, and {wanted}"


def _warmup_rules(config: TritonConfig, used: dict[int, Profile]) -> _Problems:
    """Compare the shapes that the config itself sends with the profiles that are used."""
    for rows in sorted({1, config.max_batch}) if config.warmup else ():
        sent = {tensor.name: (rows, *tensor.warmup_dims) for tensor in config.inputs}
        if not any(_takes(profile, sent) for profile in used.values()):
            shown = listed(f"{name} {_spans(size, size)}" for name, size in sent.items())
            yield (
                "warmup-outside-profiles",
                f"does not take {shown}, the config's own warm-up, in profile {listed(used)}",
            )
            return


def _takes(profile: Profile, sent: dict[str, tuple[int, ...]]) -> bool:
    return all(profile[name].takes(shape) for name, shape in sent.items())


def _numbers(pattern: re.Pattern[str], text: str) -> tuple[int, ...] | None:
    found = pattern.fullmatch(text)
    return tuple(map(int, found.groups())) if found else None


def _gpu_type(name: str) -> str:
    # A GPU that is not in this machine is described by hand: "L4" is the driver's "NVIDIA L4".
    return name.casefold().removeprefix("nvidia ").strip()


def listed(items: Iterable[object]) -> str:
    """The items as a sentence names them."""
    return ", ".join(map(str, items))


def _spans(low: tuple[int, ...], high: tuple[int, ...]) -> str:
    """Such as "(1, 8..64)"; one number where both are the same."""
    sizes = (f"{a}" if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True))
    return f"({', '.join(sizes)})"
