"""Which backend, on which devices, in how many copies; and which versions go live."""

from collections.abc import Iterator
from typing import Final

from clickclean_export.errors import nearest
from clickclean_export.repository_lint.backends import (
    ENSEMBLE,
    PLATFORMS,
    artefact,
    is_ensemble,
)
from clickclean_export.repository_lint.finding import (
    CONFIG_GUIDE,
    CORE_CHECKS,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import Subject
from clickclean_export.repository_lint.syntax import PLACEHOLDER

_POLICY = f"{CONFIG_GUIDE}#version-policy"
_LOADING = (
    "https://github.com/triton-inference-server/core/blob/main/src/model_repository_manager/"
    "model_lifecycle.cc"
)

PLATFORM = Rule(
    "platform-unknown",
    "error",
    "A platform that Triton does not know, often a backend's name or a framework long removed.",
    "write backend instead; platform is the older word and has few values",
    server_issue(3650),
)
BACKEND = Rule(
    "backend-is-a-platform",
    "error",
    "The name of a platform stands as the backend, so Triton looks for a library of that name.",
    "write platform instead of backend, or the backend's own name",
    server_issue(6541),
)
PAIR = Rule(
    "platform-and-backend-differ",
    "error",
    "platform and backend contradict each other.",
    "keep backend alone",
    CORE_CHECKS,
)
UNDETERMINED = Rule(
    "backend-unknown",
    "error",
    "Neither the config nor a file's name says which backend runs the model.",
    'write backend: "onnxruntime" or the like, or give the model file its default name',
    server_issue(7336),
)
CPU_WITH_GPUS = Rule(
    "kind-cpu-with-gpus",
    "error",
    "An instance group of KIND_CPU or KIND_MODEL lists gpus.",
    "remove gpus, or write KIND_GPU",
    CORE_CHECKS,
)
OPENVINO_GPU = Rule(
    "openvino-kind-gpu",
    "error",
    "KIND_GPU for OpenVINO, whose backend takes KIND_CPU and KIND_AUTO only.",
    "write KIND_CPU; the backend computes on the CPU",
    server_issue(3930),
)
TENSORRT_CPU = Rule(
    "tensorrt-kind-cpu",
    "error",
    "KIND_CPU for a TensorRT plan, which needs a GPU.",
    "write KIND_GPU",
    server_issue(5863),
)
NO_GPU = Rule(
    "gpu-on-cpu-fleet",
    "error",
    "A config for servers without a GPU asks for one.",
    "write KIND_CPU in this fleet's config, with a backend that runs on CPUs",
    server_issue(3912),
)
PROFILE = Rule(
    "profile-not-tensorrt",
    "error",
    "An instance group names a profile, which only TensorRT has.",
    "remove profile",
    CORE_CHECKS,
)
PROFILE_INDEX = Rule(
    "profile-not-an-index",
    "error",
    "A profile that is not the index of an optimization profile.",
    'write its index as a text: profile: [ "0" ]',
    CORE_CHECKS,
)
VERSION_ABSENT = Rule(
    "version-absent",
    "error",
    "version_policy names a version that does not exist.",
    "name a version that is there",
    _LOADING,
)
NOTHING_LOADS = Rule(
    "policy-loads-nothing",
    "error",
    "version_policy selects no version at all.",
    "name a version, or ask for the latest one",
    _LOADING,
)
NEWEST_LIVE = Rule(
    "newest-goes-live",
    "warning",
    "Without a version_policy the highest version is served: a new folder goes live by itself.",
    "write version_policy { specific { versions: [ N ] } } and change it to release",
    _POLICY,
)
HIGHEST_ANSWERS = Rule(
    "highest-version-answers",
    "warning",
    "Several versions are loaded, and calls that name none get the highest.",
    "load one version under this name; give others a name of their own",
    _POLICY,
)
RULES: Final = (
    PLATFORM,
    BACKEND,
    PAIR,
    UNDETERMINED,
    CPU_WITH_GPUS,
    OPENVINO_GPU,
    TENSORRT_CPU,
    NO_GPU,
    PROFILE,
    PROFILE_INDEX,
    VERSION_ABSENT,
    NOTHING_LOADS,
    NEWEST_LIVE,
    HIGHEST_ANSWERS,
)


def check_backend(subject: Subject) -> Iterator[LintFinding]:
    """Look at platform and backend."""
    message, config = subject.message, subject.config
    line = config.line(r"^\s*(platform|backend)\s*:")
    for value in (message.backend, message.platform):
        if "${" in value:
            yield subject.find(PLACEHOLDER, f"'{value}' is a placeholder", line=line)
            return
    if message.backend in PLATFORMS:
        right = PLATFORMS[message.backend]
        yield subject.find(
            BACKEND,
            f"'{message.backend}' is a platform, not a backend",
            line=config.line(r"^\s*backend\s*:"),
            hint=f'write backend: "{right}" or platform: "{message.backend}"',
        )
    elif message.platform and not message.backend and message.platform != ENSEMBLE:
        if message.platform not in PLATFORMS:
            yield subject.find(
                PLATFORM,
                f"there is no platform '{message.platform}'",
                line=config.line(r"^\s*platform\s*:"),
                hint=_instead(message.platform),
            )
    elif message.platform not in {"", ENSEMBLE} and message.backend in PLATFORMS.values():
        if PLATFORMS.get(message.platform) != message.backend:
            yield subject.find(
                PAIR,
                f"platform '{message.platform}' does not belong to backend '{message.backend}'",
                line=line,
            )
    elif not message.backend and not is_ensemble(message):
        version = subject.version_path(subject.loads[-1]) if subject.loads else None
        # A name such as model.identity says the backend: model_config_utils.cc, "Custom Backend".
        if version and not artefact(message, version).backend and "." not in subject.model.name:
            yield subject.find(UNDETERMINED, "nothing says which backend runs this model")


def check_instances(subject: Subject) -> Iterator[LintFinding]:
    """Look at kinds, devices and profiles of the instance groups."""
    message, config = subject.message, subject.config
    version = subject.version_path(subject.loads[-1]) if subject.loads else None
    backend = artefact(message, version).backend
    line = config.line(r"^\s*instance_group\b")
    if subject.on_cpu and backend == "tensorrt":
        yield subject.find(NO_GPU, "a TensorRT plan cannot be served without a GPU", line=line)
        return
    for group in message.instance_group:
        kind = group.Kind.Name(group.kind)
        if group.gpus and kind in {"KIND_CPU", "KIND_MODEL"}:
            problem = f"{kind} with gpus {list(group.gpus)}"
            yield subject.find(CPU_WITH_GPUS, problem, line=config.line(r"\bgpus\b"))
        if kind == "KIND_GPU" and backend == "openvino":
            yield subject.find(OPENVINO_GPU, "KIND_GPU for OpenVINO", line=config.line("KIND_GPU"))
        elif kind == "KIND_GPU" and subject.on_cpu:
            problem = "KIND_GPU in the config of a fleet without GPUs"
            yield subject.find(NO_GPU, problem, line=config.line("KIND_GPU"))
        if kind == "KIND_CPU" and backend == "tensorrt":
            problem = "KIND_CPU for a TensorRT plan"
            yield subject.find(TENSORRT_CPU, problem, line=config.line("KIND_CPU"))
        if group.profile and backend not in {"tensorrt", ""}:
            problem = f"backend '{backend}' has no profiles"
            yield subject.find(PROFILE, problem, line=config.line(r"\bprofile\b"))
        elif not all(profile.isdigit() for profile in group.profile):
            problem = f"profile {list(group.profile)} is not an index"
            yield subject.find(PROFILE_INDEX, problem, line=config.line(r"\bprofile\b"))


def check_versions(subject: Subject) -> Iterator[LintFinding]:
    """Look at what the policy loads, and at what unnamed calls will get."""
    policy, versions = subject.message.version_policy, subject.model.versions
    if not versions:
        return
    line = subject.config.line(r"^\s*version_policy\b")
    absent = sorted(set(policy.specific.versions) - set(versions))
    if absent:
        named = ", ".join(map(str, absent))
        problem = f"version {named} is to be served; there are {', '.join(map(str, versions))}"
        yield subject.find(VERSION_ABSENT, problem, line=line)
    elif not subject.loads:
        yield subject.find(NOTHING_LOADS, "the policy selects no version", line=line)
    elif not subject.message.HasField("version_policy") and len(versions) > 1:
        problem = f"no version_policy: version {versions[-1]} of {len(versions)} is served"
        yield subject.find(NEWEST_LIVE, problem)
    elif len(subject.loads) > 1:
        problem = f"{len(subject.loads)} versions are loaded, unnamed calls get {subject.loads[-1]}"
        yield subject.find(HIGHEST_ANSWERS, problem, line=line)


def _instead(platform: str) -> str:
    backends = {*PLATFORMS.values(), "openvino", "python", "dali", "fil"}
    if platform in backends:
        return f'write backend: "{platform}"'
    near = nearest(platform, [*PLATFORMS, ENSEMBLE])
    return f'did you mean platform: "{near}"?' if near else ""
