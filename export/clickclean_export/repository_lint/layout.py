"""Folders and files: names, versions, and whether the artefacts are there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clickclean_client import slots
from clickclean_export.repository_lint.backends import (
    DEFAULT_FILES,
    Artefact,
    artefact,
    is_ensemble,
)
from clickclean_export.repository_lint.finding import (
    REPOSITORY_GUIDE,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import (
    MANIFEST,
    RepositoryFolder,
    Subject,
    found_in,
)

_CLEARML = "https://github.com/clearml/clearml-serving/issues"

NAME = Rule(
    "name-differs",
    "error",
    "The name in the config is not that of the folder.",
    "remove the name from the config, it is optional, or rename the folder",
    "https://github.com/michelangelo-ai/michelangelo/pull/709",
)
NO_VERSION = Rule(
    "no-version-folder",
    "error",
    "No folder whose name is a version number; an ensemble needs one too, if an empty one.",
    "make a folder '1'; git keeps no empty folder, so put a file such as .gitkeep into it",
    server_issue(3623),
)
LEADING_ZERO = Rule(
    "version-leading-zero",
    "warning",
    "A version folder begins with 0, and Triton ignores it.",
    "rename it without the zero",
    REPOSITORY_GUIDE,
)
NOT_A_NUMBER = Rule(
    "version-not-a-number",
    "warning",
    "A folder looks like a version but its name is no number: Triton ignores it, or reads only the"
    " digits it begins with.",
    "name it with digits only",
    server_issue(2144),
)
BROKEN_LINK = Rule(
    "version-link-broken",
    "error",
    "A version is a link that leads nowhere.",
    "make the link again; a relative one survives when the repository is mounted elsewhere",
    REPOSITORY_GUIDE,
)
FILE_MISSING = Rule(
    "model-file-missing",
    "error",
    "A version that is to be loaded lacks the model file under the name that Triton looks for.",
    "rename the file, or name it in default_model_filename",
    f"{_CLEARML}/53",
)
PLAN_MISSING = Rule(
    "plan-missing",
    "error",
    "cc_model_filenames names a plan that the version does not have.",
    "build the plan for that GPU, or remove its entry",
    REPOSITORY_GUIDE,
)
WEIGHTS_MISSING = Rule(
    "openvino-weights-missing",
    "error",
    "An OpenVINO .xml without the .bin of the same name.",
    "copy both files; the names must agree",
    REPOSITORY_GUIDE,
)
EMPTY = Rule(
    "model-file-empty",
    "error",
    "The model file has no bytes, as after a copy that broke off.",
    "copy it again",
    REPOSITORY_GUIDE,
)
LFS = Rule(
    "git-lfs-pointer",
    "error",
    "The model file is a Git LFS pointer, a text of three lines, not the model.",
    "git lfs install, then git lfs pull",
    "https://github.com/microsoft/onnxruntime-genai/issues/684",
)
LABELS = Rule(
    "label-file-missing",
    "error",
    "label_filename names a file that is not in the model's folder.",
    "put it beside config.pbtxt, not into the version, or remove label_filename",
    "https://github.com/triton-inference-server/core/blob/main/src/model.cc",
)
PYCACHE = Rule(
    "pycache-in-version",
    "warning",
    "A __pycache__ in a version's folder: Python changes it, and Triton reloads the version.",
    "delete it, and start the server with PYTHONDONTWRITEBYTECODE=1",
    server_issue(7489),
)
NOT_A_MODEL = Rule(
    "not-a-model-folder",
    "warning",
    "A folder in the repository with neither a config nor a version: polling it fails, and a server"
    " that is to load all models stops.",
    "move it out of the repository",
    server_issue(4488),
)
RULES: Final = (
    NAME,
    NO_VERSION,
    LEADING_ZERO,
    NOT_A_NUMBER,
    BROKEN_LINK,
    FILE_MISSING,
    PLAN_MISSING,
    WEIGHTS_MISSING,
    EMPTY,
    LFS,
    LABELS,
    PYCACHE,
    NOT_A_MODEL,
)

_LIKE_A_VERSION = re.compile(r"(v|ver|version)[-_. ]?\d+.*|\d+\D.*", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/"


def check_repository(repository: RepositoryFolder) -> Iterator[LintFinding]:
    """Look for folders that are no models."""
    for model in repository.models.values():
        # A slot of Click Clean is a folder for a moment before it holds its link.
        if not model.is_model and not slots.owner(model.name):
            problem = f"'{model.name}' has neither a config.pbtxt nor a version folder"
            yield found_in(repository, model.name, NOT_A_MODEL, problem, path=model.path)


def check_folder(subject: Subject) -> Iterator[LintFinding]:
    """Look at the versions of a model, whichever config serves it."""
    model = subject.model
    for name in model.broken_links:
        if name.isdigit():
            yield subject.find(
                BROKEN_LINK, f"version {name} is a link to nowhere", path=model.path / name
            )
    for name in model.other_folders:
        if re.fullmatch(r"0\d+", name):
            problem = f"'{name}' is ignored because it begins with a zero"
            yield subject.find(LEADING_ZERO, problem, path=model.path / name)
        elif _LIKE_A_VERSION.fullmatch(name):
            digits = re.match(r"\d+", name)
            problem = f"'{name}' is " + (f"read as {digits[0]}" if digits else "ignored")
            yield subject.find(NOT_A_NUMBER, problem, path=model.path / name)
    # What else begins with digits is a version to Triton, and was named above.
    others = [*model.other_folders, *model.broken_links]
    if not model.versions and not any(re.match("[1-9]", name) for name in others):
        yield subject.find(NO_VERSION, "no folder here is a version", path=model.path)
    for version in model.versions:
        cache = subject.version_path(version) / "__pycache__"
        if cache.is_dir():
            yield subject.find(PYCACHE, f"version {version} holds a __pycache__", path=cache)


def check_name(subject: Subject) -> Iterator[LintFinding]:
    """Compare the name in the config with the folder's."""
    name = subject.message.name
    if name and name != subject.model.name:
        yield subject.find(
            NAME,
            f"the config says '{name}', the folder is '{subject.model.name}'",
            line=subject.config.line(r"^\s*name\s*:"),
        )


def check_files(subject: Subject) -> Iterator[LintFinding]:
    """Look for the model file in every version that is to be loaded."""
    if is_ensemble(subject.message):
        return
    for version in subject.loads:
        folder = subject.version_path(version)
        wanted = artefact(subject.message, folder)
        plans = subject.message.cc_model_filenames if wanted.backend == "tensorrt" else {}
        for capability, name in sorted(plans.items()):
            if (folder / name).is_file():
                yield from _content(subject, folder / name)
            else:
                yield subject.find(
                    PLAN_MISSING,
                    f"version {version} has no '{name}' for compute capability {capability}",
                    line=subject.config.line_of_name(name),
                )
        if wanted.file and not plans:
            yield from _check_file(subject, folder, wanted)


def _check_file(subject: Subject, folder: Path, wanted: Artefact) -> Iterator[LintFinding]:
    path = folder / wanted.file
    if path.is_dir() and wanted.backend == "onnxruntime":
        # A model of several files: onnxruntime.cc, "LoadModel".
        path = path / "model.onnx"
    if not path.exists():
        if not _plans_come_later(subject, folder, wanted.backend):
            yield _missing(subject, path)
        return
    yield from _content(subject, path)
    if wanted.backend == "openvino" and path.suffix == ".xml":
        weights = path.with_suffix(".bin")
        if weights.is_file():
            yield from _content(subject, weights)
        else:
            problem = f"'{path.name}' has no '{weights.name}' beside it"
            yield subject.find(WEIGHTS_MISSING, problem, path=path)


def check_labels(subject: Subject) -> Iterator[LintFinding]:
    """Look for the label files of the outputs."""
    for output in subject.message.output:
        name = output.label_filename
        if name and not (subject.model.path / name).is_file():
            yield subject.find(
                LABELS,
                f"output '{output.name}' wants '{name}', which is not in the model's folder",
                line=subject.config.line_of_name(name),
            )


def _plans_come_later(subject: Subject, folder: Path, backend: str) -> bool:
    # Click Clean writes both fleets' configs at once, and plans are built later, on GPUs; whether a
    # GPU fleet can load them is asked with --fleet gpu.
    return (
        backend == "tensorrt"
        and subject.fleet != "gpu"
        and (folder / MANIFEST).is_file()
        and len(subject.model.configs) > 1
    )


def _missing(subject: Subject, path: Path) -> LintFinding:
    folder = path.parent
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    # A file that is another backend's is not this one's under a wrong name.
    free = [name for name in present if name not in DEFAULT_FILES]
    stem = [name for name in free if Path(name).stem == path.stem]
    near = next(iter(stem or [name for name in free if name.endswith(path.suffix)]), "")
    hint = f"is '{near}' meant? rename it, or name it in default_model_filename" if near else ""
    if path.suffix == ".plan" and MANIFEST in present:
        hint = f"clickclean engine build {subject.model.name}:{folder.name} on such a GPU"
    where = folder.relative_to(subject.model.path)
    return subject.find(FILE_MISSING, f"'{where}' has no '{path.name}'", path=folder, hint=hint)


def _content(subject: Subject, path: Path) -> Iterator[LintFinding]:
    if not path.is_file():
        return
    if path.stat().st_size == 0:
        yield subject.find(EMPTY, f"'{path.name}' is empty", path=path)
        return
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            yield subject.find(LFS, f"'{path.name}' is a Git LFS pointer", path=path)
