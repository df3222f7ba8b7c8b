"""Before a GPU fleet's server starts, or a version is promoted: would its plan load, and be right?

Triton says such things at a load, one at a time, in TensorRT's words, and after the old version may
have gone. TensorRT itself has no check before deserialising (support matrix of 11.4.1). Everything
here is read from files: no GPU, no TensorRT. How Triton picks a plan: ``cc_model_filenames`` by the
compute capability, else ``default_model_filename``, joined to the version's folder
(https://github.com/triton-inference-server/tensorrt_backend, src/model_state.cc,
"AutoCompleteConfig"; src/instance_state.cc, "Create").
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from clickclean_client import ClickCleanError, ModelConfigError
from clickclean_client.protocol import model_config_pb2, parse_model_config
from clickclean_export.engine.preflight_rules import (
    Mismatch,
    Subject,
    Target,
    has_sound_profiles,
    listed,
    load_rules,
    serve_rules,
    target_rules,
)
from clickclean_export.engine.record import RECORD, EngineRecord, read_record
from clickclean_export.errors import IncompatibleError, IntegrityError
from clickclean_export.hops import PLAN_INT8
from clickclean_export.manifest import (
    ENGINES,
    MANIFEST,
    MODEL,
    FileRecord,
    file_record,
    read_manifest,
)
from clickclean_export.repository import GPU_CONFIG
from clickclean_export.triton_config import DEFAULT_PLAN, TritonConfig

__all__ = ["Mismatch", "Target", "enforce", "examine", "examine_config"]


def examine(repository: Path, model: str, target: Target) -> tuple[Mismatch, ...]:
    """Examine what is on disk: ``config.pbtxt`` and what it leads to.

    Returns:
        Every mismatch found, the most basic first; nothing where all is well. Unreadable files are
        mismatches too, never errors.
    """
    model_dir = Path(repository).absolute() / model
    config = _read_config(model_dir)
    return (config,) if isinstance(config, Mismatch) else examine_config(config, model_dir, target)


def examine_config(config: TritonConfig, model_dir: Path, target: Target) -> tuple[Mismatch, ...]:
    """Examine a config that need not be on disk yet, for the versions in ``model_dir`` that are.

    Args:
        config: Of the GPU fleet.
        model_dir: ``<repository>/<model>``.
        target: The server and GPU.

    Returns:
        As ``examine``.
    """
    return tuple(target_rules(target)) or tuple(_config_rules(config, model_dir, target))


def enforce(mismatches: Sequence[Mismatch]) -> None:
    """Refuse if there is a mismatch.

    Raises:
        IncompatibleError: with the first sentence and its hint, and how many more there are.
    """
    if mismatches:
        first, more = mismatches[0], len(mismatches) - 1
        raise IncompatibleError(
            first.sentence + (f" ({more} more)" if more else ""), hint=first.hint
        )


def _read_config(model_dir: Path) -> TritonConfig | Mismatch:
    path, anew = model_dir / GPU_CONFIG, f"clickclean promote {model_dir.name} VERSION"
    try:
        text = path.read_text(encoding="utf-8")
        proto = parse_model_config(text)
    except FileNotFoundError:
        return Mismatch(
            "config-missing",
            str(path),
            "is missing, so nothing is promoted for the GPU fleet",
            f"{anew} writes it; clickclean versions lists what there is",
        )
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        problem = "cannot be read: it is not text"
    except ModelConfigError as error:
        # The cause is the parser's own finding, with line and column.
        problem = f"cannot be read: {' '.join(str(error.__cause__).split()).rstrip('.')}"
    else:
        return _understood(text, proto, path, anew)
    return Mismatch("config-unreadable", str(path), problem, f"{anew} writes it anew")


def _understood(text: str, proto: Any, path: Path, anew: str) -> TritonConfig | Mismatch:
    engine = proto.backend or proto.platform
    if engine not in {"tensorrt", "tensorrt_plan"}:
        return Mismatch(
            "config-not-gpu",
            str(path),
            f"is for {f'the backend {engine!r}' if engine else 'no backend'}, and the GPU fleet"
            " loads TensorRT plans",
            f"{anew} writes it anew",
        )
    group = model_config_pb2.ModelInstanceGroup
    kinds = {item.kind for item in proto.instance_group} - {group.KIND_GPU, group.KIND_AUTO}
    if kinds:
        return Mismatch(
            "instances-not-on-gpu",
            str(path),
            f"asks for {listed(map(group.Kind.Name, sorted(kinds)))} instances, and TensorRT runs"
            " on GPUs alone",
            f"{anew} writes it anew",
        )
    try:
        if not proto.instance_group:
            raise ValueError("it has no instance_group")
        return TritonConfig.from_text(text, "gpu")
    except (ClickCleanError, LookupError, ValueError) as error:
        return Mismatch(
            "config-unreadable",
            str(path),
            f"is not as clickclean promote writes it ({error})",
            f"{anew} writes it anew",
        )


def _config_rules(config: TritonConfig, model_dir: Path, target: Target) -> Iterator[Mismatch]:
    model = model_dir.name
    anew = f"clickclean promote {model} VERSION"
    if config.fleet != "gpu":
        yield Mismatch(
            "config-not-gpu",
            model,
            f"the config is the {config.fleet} fleet's, which loads no plans",
            anew,
        )
        return
    if config.model != model:
        yield Mismatch(
            "config-of-another-model",
            str(model_dir),
            f"its config names the model '{config.model}', and Triton wants the folder's name",
            f"{anew} writes it anew",
        )
    # Triton refuses them too: src/instance_state.cc, "ValidateGraphSpec".
    if graphs := [size for size in config.cuda_graph_batches if not 1 <= size <= config.max_batch]:
        yield Mismatch(
            "graph-batch",
            model,
            f"the config captures CUDA graphs for batch {listed(graphs)}, and its max_batch_size is"
            f" {config.max_batch}",
            f"{anew} writes it anew",
        )
    if not config.versions:
        yield Mismatch(
            "config-without-version",
            model,
            "the config names no version, so Triton would serve the newest, promoted or not",
            anew,
        )
    for version in config.versions:
        subject = Subject(model_dir / str(version), version, target.gpu)
        try:
            yield from _version_rules(config, target, subject)
        except OSError as error:
            path = error.filename or str(subject.folder)
            yield Mismatch(
                "unreadable",
                path,
                f"cannot be read ({error.strerror})",
                f"make it readable for the server's user: ls -ld '{path}' says for whom it is",
            )


def _version_rules(config: TritonConfig, target: Target, subject: Subject) -> Iterator[Mismatch]:
    folder, capability = subject.folder, target.gpu.compute_capability
    if not folder.is_dir():
        numbers = (p.name for p in folder.parent.glob("[1-9]*") if p.name.isdecimal())
        published = sorted(map(int, numbers))
        yield Mismatch(
            "version-missing",
            str(folder),
            f"is missing, but the config promotes it; published: {listed(published) or 'nothing'}",
            f"clickclean promote {subject.model} VERSION with one of those",
        )
        return
    name = config.plans.get(capability) or config.default_plan or DEFAULT_PLAN
    plan = folder / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        yield Mismatch(
            "plan-outside-version",
            subject.name,
            f"its plan for compute capability {capability} is '{name}', outside the version",
            f"{subject.promote} writes the config anew",
        )
    elif plan.is_file():
        yield from _plan_rules(config, plan, target, subject)
    elif capability in config.plans or name != DEFAULT_PLAN:
        yield Mismatch(
            "plan-missing",
            str(plan),
            f"is missing, but the config names it for compute capability {capability}",
            subject.replace(plan) if plan.parent.is_dir() else subject.build,
        )
    else:
        built = any(folder.glob(f"{ENGINES}/{capability}-*/{RECORD}"))
        yield Mismatch(
            "no-plan",
            subject.name,
            f"the config has no plan for compute capability {capability} ({target.gpu.name});"
            f" it has plans for: {listed(sorted(config.plans)) or 'none at all'}",
            f"one is registered, {subject.promote} takes it up" if built else subject.build,
        )


def _plan_rules(
    config: TritonConfig, plan: Path, target: Target, subject: Subject
) -> Iterator[Mismatch]:
    where = str(plan)
    record = _read_record(plan, subject)
    if isinstance(record, Mismatch):
        yield record
        return
    if altered := _difference(file_record(plan), record.plan):
        # What the record says is not said of these bytes.
        yield Mismatch(
            "plan-altered",
            where,
            f"is not what was registered: {altered}",
            f"copy it again, or {subject.replace(plan)}",
        )
        return
    yield from _origin_rules(record, where, subject)
    yield from load_rules(record.inputs, target, subject, where)
    yield from serve_rules(config, record.inputs, subject, where)


def _read_record(plan: Path, subject: Subject) -> EngineRecord | Mismatch:
    path = plan.parent / RECORD
    if not path.exists():
        return Mismatch(
            "plan-unregistered",
            str(plan),
            f"has no {RECORD} beside it, so nothing is known of it",
            subject.replace(plan),
        )
    try:
        record = read_record(plan.parent)
    except IntegrityError as error:
        return Mismatch("record-unreadable", str(path), _problem(error), subject.replace(plan))
    if not has_sound_profiles(record.inputs):
        return Mismatch(
            "record-unreadable",
            str(path),
            "has profiles that no plan can have",
            subject.replace(plan),
        )
    if record.plan_name != plan.name:
        return Mismatch(
            "plan-unregistered",
            str(plan),
            f"is not the plan of the {RECORD} beside it, which is '{record.plan_name}'",
            subject.replace(plan),
        )
    return record


def _origin_rules(record: EngineRecord, where: str, subject: Subject) -> Iterator[Mismatch]:
    """Whether the plan is this version's, and passed its gates."""
    if (record.model, record.version) != (subject.model, subject.version):
        yield Mismatch(
            "record-of-another-version",
            where,
            f"is a plan of {record.model}/{record.version} by its record, not of {subject.name}",
            subject.replace(Path(where)),
        )
    # The plans of floats are there to be compared with; theirs are not gates of this one.
    own = (hop for hop in record.hops if hop.result.hop == PLAN_INT8)
    if failed := [gate.name for hop in own for gate in hop.gates if gate.outcome == "fail"]:
        yield Mismatch(
            "gate-failed",
            where,
            f"failed its gate by its record: {listed(failed)}",
            subject.replace(Path(where)),
        )
    restore = "restore it from a backup, or publish anew: clickclean publish RECIPE"
    try:
        onnx = read_manifest(subject.folder).files.get(MODEL)
    except IntegrityError as error:
        yield Mismatch("manifest-unreadable", str(error.path), _problem(error), restore)
        return
    if onnx is None:
        manifest = str(subject.folder / MANIFEST)
        yield Mismatch("manifest-unreadable", manifest, f"lists no {MODEL}", restore)
    elif onnx.sha256 != record.inputs.onnx_sha256:
        yield Mismatch(
            "onnx-differs",
            where,
            f"was built from an ONNX file with SHA-256 {record.inputs.onnx_sha256[:12]}..., and"
            f" {MODEL} of {subject.name} has {onnx.sha256[:12]}...",
            subject.build,
        )


def _difference(found: FileRecord, recorded: FileRecord) -> str:
    if found.size_bytes != recorded.size_bytes:
        return f"{found.size_bytes} bytes, recorded were {recorded.size_bytes}"
    if found.sha256 != recorded.sha256:
        return f"SHA-256 {found.sha256[:12]}..., recorded was {recorded.sha256[:12]}..."
    return ""


def _problem(error: IntegrityError) -> str:
    return str(error).removeprefix(f"{error.path}: ")
