"""Which rules look at what: every model, as every config serves it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clickclean_export.repository_lint import (
    batching,
    ensemble,
    layout,
    onnx_rules,
    placement,
    python_model,
    syntax,
    tensors,
    warmup,
)
from clickclean_export.repository_lint.backends import artefact, is_ensemble, loaded
from clickclean_export.repository_lint.finding import LintFinding
from clickclean_export.repository_lint.reading import (
    DEFAULT_SLO_MS,
    ConfigFile,
    ModelFolder,
    RepositoryFolder,
    Subject,
    chosen,
    read_repository,
    slo_in_manifest,
)

EXIT_BAD_CONFIG: Final = 2
_NO_ONNX: Final = (
    "the library 'onnx' is not installed, so configs were not compared with ONNX files"
    " (pip install 'clickclean[export]')"
)


@dataclass(frozen=True)
class LintReport:
    """What the rules found.

    Attributes:
        repository: Its root.
        models: Names of the models looked at.
        findings: In the order of the models; each once, also where several configs have it.
        skipped: Sentences about rules that could not run.
    """

    repository: Path
    models: tuple[str, ...]
    findings: tuple[LintFinding, ...]
    skipped: tuple[str, ...]

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of findings that are warnings."""
        return len(self.findings) - self.errors

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 2 if there is an error, or with ``strict`` any finding; else 0."""
        bad = self.findings if strict else self.errors
        return EXIT_BAD_CONFIG if bad else 0


def lint_repository(
    root: Path,
    models: Sequence[str] = (),
    *,
    slo_ms: float | None = None,
    fleet: str | None = None,
) -> LintReport:
    """Look at a model repository, made by whomever; nothing is changed, no server is needed.

    Args:
        root: The folder with the model folders.
        models: Only these; without any, all.
        slo_ms: Answer time aimed at, milliseconds. Without it, what the served version was
            published for, else 200.
        fleet: Only what a server with ``--model-config-name=fleet`` would read ("gpu" is the plain
            ``config.pbtxt``). Without it, every config that there is.

    Raises:
        LintError: the folder is missing, is no repository, or has no such model (exit 2).
    """
    repository = read_repository(root)
    names = chosen(repository, tuple(dict.fromkeys(models)))
    findings: dict[LintFinding, None] = {}
    skipped: dict[str, None] = {}
    if not models:
        findings |= dict.fromkeys(layout.check_repository(repository))
    for name in names:
        model = repository.models[name]
        bare = _subject(repository, model, model.no_config, slo_ms, fleet)
        findings |= dict.fromkeys(layout.check_folder(bare))
        for config in _configs(model, fleet):
            if config.message is None:
                explained = syntax.explain(repository, name, config)
                findings[explained] = None
                continue
            subject = _subject(repository, model, config, slo_ms, fleet)
            findings |= dict.fromkeys(_check(subject))
            try:
                for path in onnx_rules.onnx_paths(subject):
                    findings |= dict.fromkeys(onnx_rules.check_onnx(subject, path))
            except ModuleNotFoundError:
                skipped[_NO_ONNX] = None
    return LintReport(repository.root, names, tuple(findings), tuple(skipped))


def _check(subject: Subject) -> Iterator[LintFinding]:
    backend = _backend(subject)
    yield from layout.check_name(subject)
    yield from placement.check_backend(subject)
    yield from placement.check_versions(subject)
    yield from layout.check_files(subject)
    yield from layout.check_labels(subject)
    yield from tensors.check_tensors(subject, backend)
    yield from batching.check_batching(subject)
    yield from batching.check_queue(subject)
    yield from batching.check_policies(subject, backend)
    yield from ensemble.check_ensemble(subject)
    yield from ensemble.check_steps(subject)
    if not is_ensemble(subject.message):
        yield from placement.check_instances(subject)
        yield from warmup.check_warmup(subject)
    yield from python_model.check_python(subject)


def _backend(subject: Subject) -> str:
    version = subject.version_path(subject.loads[-1]) if subject.loads else None
    return artefact(subject.message, version).backend


def _configs(model: ModelFolder, fleet: str | None) -> tuple[ConfigFile, ...]:
    if fleet is not None:
        return (model.config_of("" if fleet == "gpu" else fleet),)
    return model.configs or (model.config_of(""),)


def _subject(
    repository: RepositoryFolder,
    model: ModelFolder,
    config: ConfigFile,
    slo_ms: float | None,
    fleet: str | None,
) -> Subject:
    loads = loaded(config.message, model.versions)
    known = slo_ms
    if known is None and loads:
        known = slo_in_manifest(model.path / str(loads[-1]))
    return Subject(
        repository,
        model,
        config,
        fleet or "",
        DEFAULT_SLO_MS if known is None else known,
        known is not None,
        loads,
    )
