"""Add a plan to a version, and name it in the GPU fleet's config."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clickclean_client import ModelConfigError
from clickclean_export.disk import rename_whole, replace_text, staging, words
from clickclean_export.engine.record import (
    RECORD,
    EngineRecord,
    PlanInputs,
    read_records,
    record_json,
)
from clickclean_export.errors import IntegrityError, RepositoryError
from clickclean_export.manifest import ENGINES, file_record, read_manifest
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


def find_registered(version_dir: Path, inputs: PlanInputs) -> EngineRecord | None:
    """Return the record of an intact plan with exactly these inputs, or None."""
    for record in read_records(version_dir):
        if record.inputs == inputs:
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
    repository: Repository, model: str, version: int, prefer: EngineRecord | None = None
) -> TritonConfig:
    """Return the GPU fleet's config for a version as promoting it writes it, plans included.

    Of several plans for one compute capability it names ``prefer``, else the one that the present
    config names, else the latest.

    Raises:
        IntegrityError: manifest, a record or a plan is not what it should be (exit 3).
    """
    directory = repository.version_dir(model, version)
    records = read_records(directory)
    for record in records:
        verify_plan(directory, record)
    named = present_plans(repository, model)
    chosen = [r for r in records if r.path_in_version in named.values()]
    recipe = read_manifest(directory).recipe_of(directory)
    return with_plans(
        TritonConfig.from_recipe(recipe, "gpu", (version,)),
        [*records, *chosen, *([prefer] if prefer else [])],
    )


def present_plans(repository: Repository, model: str) -> dict[str, str]:
    """Return the plans that the config on disk names; none where it cannot be read."""
    try:
        text = (repository.root / model / GPU_CONFIG).read_text()
        return TritonConfig.from_text(text, "gpu").plans
    except (OSError, UnicodeDecodeError, ModelConfigError, LookupError, ValueError):
        return {}


def configure(repository: Repository, record: EngineRecord) -> str:
    """Name a plan in the GPU fleet's config, if its version is the promoted one.

    Returns:
        What came of it, in words.

    Raises:
        IntegrityError: see ``gpu_config``.
        RepositoryError: the config cannot be written (exit 1).
    """
    model, version = record.model, record.version
    if repository.promoted(model) != version:
        return "goes into config.pbtxt when the version is promoted"
    before = present_plans(repository, model).get(record.inputs.compute_capability, "")
    config = gpu_config(repository, model, version, record)
    try:
        replace_text(repository.root / model / GPU_CONFIG, config.to_text())
    except OSError as error:
        raise RepositoryError(repository.root, words(error)) from error
    # Triton tells GPUs apart by compute capability alone.
    replaced = before not in {"", record.path_in_version}
    return f"in config.pbtxt, instead of {before}" if replaced else "in config.pbtxt"
