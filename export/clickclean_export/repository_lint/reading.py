"""A model repository as values: model folders, their versions, their configs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clickclean_client import ClickCleanError
from clickclean_client.protocol import model_config_pb2, parse_model_config
from clickclean_export.errors import nearest
from clickclean_export.release.history import RECORDS
from clickclean_export.repository_lint.finding import LintError, LintFinding, Rule

CONFIG: Final = "config.pbtxt"
NAMED_CONFIGS: Final = "configs"
MANIFEST: Final = "manifest.json"
DEFAULT_SLO_MS: Final = 200.0

_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
# Triton's own folders beside the versions (core, model_lifecycle.cc, "VersionsToLoad").
_NOT_VERSIONS = frozenset({NAMED_CONFIGS, "warmup", "initial_state"})


@dataclass(frozen=True)
class ConfigFile:
    """One config of a model.

    Attributes:
        path: The file; it need not exist, since Triton completes a missing one.
        fleet: Name under which ``--model-config-name`` finds it; "" for ``config.pbtxt``.
        text: Its content.
        message: The ``model_config_pb2.ModelConfig``; None if the text is none.
        error: The parser's words where it is none, else "".
    """

    path: Path
    fleet: str
    text: str
    message: Any
    error: str

    def line(self, pattern: str) -> int:
        """Return the first line that a regular expression matches, from 1; 0 if none does."""
        expression = re.compile(pattern)
        lines = enumerate(self.text.splitlines(), start=1)
        return next((n for n, line in lines if expression.search(line.partition("#")[0])), 0)

    def line_of_name(self, name: str) -> int:
        """Return the line that names a tensor; 0 if there is none."""
        return self.line(rf"""["']{re.escape(name)}["']""")


@dataclass(frozen=True)
class ModelFolder:
    """A folder of the repository.

    Attributes:
        name: Of the folder.
        path: Of the folder.
        folders: Names of the folders in it, sorted; links to folders count, as for Triton.
        broken_links: Names of links in it that lead nowhere.
        configs: ``config.pbtxt`` first, then ``configs/*.pbtxt``.
    """

    name: str
    path: Path
    folders: tuple[str, ...]
    broken_links: tuple[str, ...]
    configs: tuple[ConfigFile, ...]

    @property
    def versions(self) -> tuple[int, ...]:
        """Numbers of the version folders, ascending."""
        return tuple(sorted(int(name) for name in self.folders if _VERSION.fullmatch(name)))

    @property
    def other_folders(self) -> tuple[str, ...]:
        """Folders that are neither versions nor known to Triton."""
        return tuple(
            name
            for name in self.folders
            if not _VERSION.fullmatch(name) and name not in _NOT_VERSIONS
        )

    @property
    def is_model(self) -> bool:
        """Whether it has a config or a version."""
        return bool(self.configs or self.versions)

    def config_of(self, fleet: str) -> ConfigFile:
        """Return what a server with ``--model-config-name=fleet`` reads; "" for no such option."""
        by_name = {config.fleet: config for config in self.configs}
        return by_name.get(fleet) or by_name.get("") or self.no_config

    @property
    def no_config(self) -> ConfigFile:
        """What Triton starts from where there is no config: it completes an empty one."""
        return ConfigFile(self.path / CONFIG, "", "", model_config_pb2.ModelConfig(), "")


@dataclass(frozen=True)
class RepositoryFolder:
    """A repository: its root, and the model folders by name."""

    root: Path
    models: dict[str, ModelFolder]


@dataclass(frozen=True)
class Subject:
    """What one run of the rules looks at: a model as one config serves it.

    Attributes:
        repository: All models, for those that name others.
        model: The folder.
        config: A config that could be parsed.
        fleet: The fleet that was asked for; "" if none was.
        slo_ms: Answer time aimed at, milliseconds.
        slo_known: Whether somebody said so; False for the default.
        loads: The versions that the config's policy loads, ascending.
    """

    repository: RepositoryFolder
    model: ModelFolder
    config: ConfigFile
    fleet: str = ""
    slo_ms: float = DEFAULT_SLO_MS
    slo_known: bool = False
    loads: tuple[int, ...] = ()

    @property
    def message(self) -> Any:
        """The ``model_config_pb2.ModelConfig``."""
        return self.config.message

    @property
    def on_cpu(self) -> bool:
        """Whether this config is for servers without a GPU."""
        return "cpu" in {self.fleet, self.config.fleet}

    def version_path(self, version: int) -> Path:
        """Return a version's folder."""
        return self.model.path / str(version)

    def find(
        self, rule: Rule, problem: str, *, path: Path | None = None, line: int = 0, hint: str = ""
    ) -> LintFinding:
        """Return a finding in the config, or in the file given."""
        return found_in(
            self.repository,
            self.model.name,
            rule,
            problem,
            path=path or self.config.path,
            line=line,
            hint=hint,
        )


def found_in(
    repository: RepositoryFolder,
    model: str,
    rule: Rule,
    problem: str,
    *,
    path: Path,
    line: int = 0,
    hint: str = "",
) -> LintFinding:
    """Return a finding of a rule in a file below the repository."""
    root = repository.root
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return LintFinding(
        rule.code, rule.severity, model, file, line, problem, hint or rule.remedy, rule.source
    )


def read_repository(root: Path) -> RepositoryFolder:
    """Read folders and configs; files of models are read by the rules that need them.

    Raises:
        LintError: it is no folder, cannot be read, or is a single model (exit 2).
    """
    root = Path(root).absolute()
    try:
        entries = sorted(
            path for path in root.iterdir() if path.is_dir() and path.name != RECORDS.name
        )
        if (root / CONFIG).is_file():
            raise LintError(
                root,
                f"is a model, it holds a {CONFIG} itself",
                hint=f"give its parent: {root.parent}",
            )
        models = {path.name: _read_model(path) for path in entries}
    except OSError as error:
        raise LintError(
            root, error.strerror or str(error), hint="give the folder that holds the model folders"
        ) from error
    if not any(model.is_model for model in models.values()):
        raise LintError(
            root,
            "holds no model",
            hint="a model is a folder with a config.pbtxt or a version folder",
        )
    return RepositoryFolder(root, models)


def chosen(repository: RepositoryFolder, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names given, or those of all models.

    Raises:
        LintError: the repository has no such model (exit 2).
    """
    known = sorted(name for name, model in repository.models.items() if model.is_model)
    for name in names:
        if name not in known:
            close = nearest(name, known)
            raise LintError(
                repository.root,
                f"holds no model '{name}'",
                hint=f"did you mean '{close}'?" if close else f"it has {', '.join(known)}",
            )
    return names or tuple(known)


def slo_in_manifest(version: Path) -> float | None:
    """Return the mean answer time that a version was published for, milliseconds, if it says so."""
    try:
        value = json.loads((version / MANIFEST).read_bytes())["recipe"]["target"]["mean_ms"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None


def _read_model(path: Path) -> ModelFolder:
    entries = sorted(path.iterdir())
    named = path / NAMED_CONFIGS
    files = [path / CONFIG] if (path / CONFIG).is_file() else []
    if named.is_dir():
        files += sorted(file for file in named.glob("*.pbtxt") if file.is_file())
    return ModelFolder(
        path.name,
        path,
        tuple(entry.name for entry in entries if entry.is_dir()),
        tuple(e.name for e in entries if e.is_symlink() and not e.exists()),
        tuple(_read_config(file, "" if file.parent == path else file.stem) for file in files),
    )


def _read_config(path: Path, fleet: str) -> ConfigFile:
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return ConfigFile(path, fleet, "", None, f"1:1 : not UTF-8 at byte {error.start}")
    try:
        return ConfigFile(path, fleet, text, parse_model_config(text), "")
    except ClickCleanError as error:
        return ConfigFile(path, fleet, text, None, str(error))
