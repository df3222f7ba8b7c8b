"""Add a plan to a version, and name it in the GPU fleet's config."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clickclean_client import ModelConfigError
from clickclean_export.disk import locked, rename_whole, replace_text, staging, words
from clickclean_export.engine.preflight_rules import Subject, Target, load_rules
from clickclean_export.engine.record import (
    RECORD,
    EngineRecord,
    PlanInputs,
    readable_records,
    record_json,
)
from clickclean_export.errors import IntegrityError, RepositoryError
from clickclean_export.manifest import ENGINES, file_record, fingerprint, read_manifest
from clickclean_export.repository import GPU_CONFIG, Repository
from clickclean_export.triton_config import DEFAULT_PLAN, TritonConfig

_STAGING = ".staging-"


def register(version_dir: Path, record: EngineRecord, plan: Path) -> Path:
    """Copy a plan beside its record into a version, by one rename; returns the plan's path.

    Raises:
        RepositoryError: the file system refuses, or a damaged record is in the way (exit 1).
        IntegrityError: what was copied is not what was recorded (exit 3).
    """
    engines = version_dir / ENGINES
    goal = engines / record.id
    try:
        engines.mkdir(exist_ok=True)
        with staging(engines, _STAGING) as staged:
            files = staged / record.id
            files.mkdir()
            copy = files / record.plan_name
            shutil.copyfile(plan, copy)
            if file_record(copy) != record.plan:
                raise IntegrityError(copy, "is not the plan that was gated: its SHA-256 differs")
            (files / RECORD).write_bytes(record_json(record))
            for path in files.iterdir():
                path.chmod(0o444)
            if not rename_whole(files, goal):
                raise RepositoryError(
                    goal, "is in the way, and is damaged", hint="remove that folder, build again"
                )
    except OSError as error:
        raise RepositoryError(engines, words(error)) from error
    return goal / record.plan_name


def find_registered(
    version_dir: Path, inputs: PlanInputs, data_sha256: str = ""
) -> EngineRecord | None:
    """Return the record of an intact plan with exactly these inputs, or None.

    Args:
        version_dir: The version's folder.
        inputs: What went in.
        data_sha256: Of the rows that its gate must have asked; empty for any, the most first.

    Raises:
        IntegrityError: its plan is altered (exit 3).
    """
    records, _ = readable_records(version_dir)
    same = [r for r in records if r.inputs == inputs and data_sha256 in {"", r.data.sha256}]
    for record in sorted(same, key=lambda record: -record.data.rows):
        verify_plan(version_dir, record)
        return record
    return None


def verify_plan(version_dir: Path, record: EngineRecord) -> None:
    """Compare a registered plan with its record.

    Raises:
        IntegrityError: it is missing or altered (exit 3).
    """
    path = version_dir / record.path_in_version
    hint = f"rm -r {path.parent}, then clickclean engine build again"
    if not path.is_file():
        raise IntegrityError(path, "is missing", hint=hint)
    if file_record(path) != record.plan:
        raise IntegrityError(path, "is not what was registered: its SHA-256 differs", hint=hint)


def with_plans(config: TritonConfig, records: Sequence[EngineRecord]) -> TritonConfig:
    """Name plans in a config: the last one of every compute capability.

    A plan for compute capability 8.0 and later also becomes the default, which Triton takes for a
    GPU that ``cc_model_filenames`` does not list (tensorrt_backend, src/model_state.cc,
    "AutoCompleteConfig").

    Args:
        config: The GPU fleet's.
        records: The later one is preferred.
    """
    plans = {r.inputs.compute_capability: r.path_in_version for r in records}
    anywhere = [r for r in records if r.inputs.options.hardware_compatibility == "ampere_plus"]
    return replace(
        config,
        plans=dict(sorted(plans.items())),
        default_plan=anywhere[-1].path_in_version if anywhere else DEFAULT_PLAN,
    )


def gpu_config(
    repository: Repository,
    model: str,
    version: int,
    *,
    prefer: EngineRecord | None = None,
    fleet: Sequence[Target] = (),
) -> TritonConfig:
    """Return the GPU fleet's config for a version as promoting it writes it, plans included.

    Of several plans for one compute capability it names ``prefer``, else one that a GPU of the
    ``fleet`` takes, else the one that the present config names, else the latest. A record that
    cannot be read counts as none.

    Raises:
        IntegrityError: the manifest, or a plan that would be named, is not what it should be
            (exit 3).
    """
    directory = repository.version_dir(model, version)
    records, _ = readable_records(directory)
    named = present_plans(repository, model).values()
    recipe = read_manifest(directory).recipe_of(directory)
    config = with_plans(
        replace(
            TritonConfig.from_recipe(recipe, "gpu", (version,)), fingerprint=fingerprint(directory)
        ),
        [
            *records,
            *(record for record in records if record.path_in_version in named),
            *(record for record in records if any(_fits(record, t, directory) for t in fleet)),
            *([prefer] if prefer else []),
        ],
    )
    for record in records:
        if record.path_in_version in {*config.plans.values(), config.default_plan}:
            verify_plan(directory, record)
    return config


def _fits(record: EngineRecord, target: Target, directory: Path) -> bool:
    subject = Subject(directory, record.version, target.gpu)
    return not tuple(load_rules(record.inputs, target, subject, ""))


def present_config(repository: Repository, model: str) -> TritonConfig | None:
    """Return the GPU fleet's config on disk; None where there is none that can be read."""
    try:
        text = (repository.root / model / GPU_CONFIG).read_text()
        return TritonConfig.from_text(text, "gpu")
    except (OSError, UnicodeDecodeError, ModelConfigError, LookupError, ValueError):
        return None


def present_plans(repository: Repository, model: str) -> dict[str, str]:
    """Return the plans that the config on disk names, by compute capability."""
    config = present_config(repository, model)
    return {} if config is None else config.plans


def configure(repository: Repository, record: EngineRecord) -> str:
    """Name a plan in the GPU fleet's config, if its version is the promoted one.

    Returns:
        What came of it, in words.

    Raises:
        IntegrityError: see ``gpu_config``.
        RepositoryError: the config cannot be written (exit 1).
    """
    model, folder = record.model, repository.root / record.model
    try:
        # Builders for several GPU types, and promote, read and write the same file.
        with locked(folder):
            if repository.promoted(model) != record.version:
                return "goes into config.pbtxt when the version is promoted"
            before = present_plans(repository, model).get(record.inputs.compute_capability, "")
            config = gpu_config(repository, model, record.version, prefer=record)
            replace_text(folder / GPU_CONFIG, config.to_text())
    except OSError as error:
        raise RepositoryError(repository.root, words(error)) from error
    # Triton tells GPUs apart by compute capability alone.
    replaced = before not in {"", record.path_in_version}
    return f"in config.pbtxt, instead of {before}" if replaced else "in config.pbtxt"
