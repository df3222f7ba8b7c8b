"""One self-contained HTML page about one version: for a pull request, or to file with a release."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export import report_plots
from clickclean_export.disk import replace_text
from clickclean_export.engine.proof import PROVES, PROVES_NOT
from clickclean_export.engine.record import readable_records
from clickclean_export.errors import ExportError
from clickclean_export.manifest import MISREAD, Manifest, read_manifest
from clickclean_export.publish import size_ratio
from clickclean_export.repository import Repository


@dataclass(frozen=True)
class LoadTest:
    """What the report shows of a load test's ``result.json``; times in milliseconds."""

    verdict: str
    reasons: tuple[str, ...]
    rate: float
    requests: int
    errors: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    target_mean_ms: float
    duration_s: float
    latencies_ms: NDArray[np.float64]


@dataclass(frozen=True)
class Misread:
    """One wrong answer: drawn where the input is an image."""

    row: int
    label: int
    predicted: int
    picture: str


def write_report(
    repository_path: Path,
    model: str,
    version: int | None,
    target: Path,
    *,
    loadtest: Path | None = None,
) -> list[tuple[str, str]]:
    """Write the release report of a published version and return its key figures.

    Args:
        repository_path: The model repository.
        model: Name.
        version: Number; None for the newest.
        target: The HTML file; replaced when it exists.
        loadtest: A ``result.json`` of ``clickclean loadtest`` for the latency part.

    Raises:
        VersionNotFoundError, IntegrityError: no such version, or it is damaged.
        ExportError: the load test's result cannot be read, or the page not be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    _, directory = Repository(repository_path).find(model, version)
    manifest = read_manifest(directory)
    load = read_loadtest(loadtest) if loadtest is not None else None
    environment = Environment(
        loader=PackageLoader("clickclean_export", "."), autoescape=True, undefined=StrictUndefined
    )
    figures = key_figures(manifest, load)
    records, damaged = readable_records(directory)
    page = environment.get_template("report.html.j2").render(
        manifest=manifest,
        figures=figures,
        hops_plot=report_plots.accuracy_by_hop(manifest.hops),
        load=load,
        latency_plot=(
            report_plots.latency_distribution(load.latencies_ms, load.target_mean_ms)
            if load is not None and load.latencies_ms.size
            else ""
        ),
        proves=PROVES,
        proves_not=PROVES_NOT,
        records=records,
        damaged=damaged,
        plan_plot=report_plots.plan_speed(records) if records else "",
        misread=_misread(directory),
        wrong=manifest.hops[-1].result.samples - manifest.hops[-1].result.right,
        manifest_json=(directory / "manifest.json").read_text(),
    )
    try:
        replace_text(target, page)
    except OSError as error:
        raise ExportError(
            f"the report cannot be written ({error})", hint="name a file in a folder of yours"
        ) from error
    return figures


def key_figures(manifest: Manifest, load: LoadTest | None) -> list[tuple[str, str]]:
    """Return the short table that ends a demo and begins a report: name and figure."""
    reference, last = manifest.hops[0].result, manifest.hops[-1].result
    figures = [
        ("accuracy, float (PyTorch)", f"{reference.accuracy:.2%}"),
        (f"accuracy, INT8 ({last.hop})", f"{last.accuracy:.2%}"),
        ("agreement of INT8 with float", f"{last.agreement:.2%}"),
        ("size, INT8 : float", f"{size_ratio(manifest):.2f}"),
    ]
    figures += [
        (f"speed on this CPU, INT8 : float, batch {speed.batch}", f"{speed.ratio:.2f} x")
        for speed in manifest.speed
    ]
    checked = manifest.engine_check
    figures.append(
        (
            "TensorRT compile check, without a GPU",
            "not run" if checked is None else f"pass, {checked.seconds:.1f} s",
        )
    )
    if load is not None:
        figures += [
            (f"mean latency at {load.rate:g} requests/s", f"{load.mean_ms:.2f} ms"),
            ("p99 latency", f"{load.p99_ms:.2f} ms"),
            ("errors", f"{load.errors} of {load.requests}"),
            (f"verdict (mean <= {load.target_mean_ms:g} ms)", load.verdict),
        ]
    return figures


def read_loadtest(path: Path) -> LoadTest:
    """Read the fields shown here from a load test's result.

    Raises:
        ExportError: missing, or not such a result.
    """
    try:
        tree: dict[str, Any] = json.loads(path.read_text())
        return LoadTest(
            verdict=str(tree["verdict"]),
            reasons=tuple(tree["reasons"]),
            rate=float(tree["rate"]),
            requests=int(tree["requests"]),
            errors=sum(tree["errors"].values()),
            mean_ms=float(tree["latency"]["mean_ms"]),
            p50_ms=float(tree["latency"]["p50_ms"]),
            p95_ms=float(tree["latency"]["p95_ms"]),
            p99_ms=float(tree["latency"]["p99_ms"]),
            target_mean_ms=float(tree["target"]["mean_ms"]),
            duration_s=float(tree["duration_s"]),
            latencies_ms=np.asarray(tree["sample_ms"], dtype=np.float64),
        )
    except FileNotFoundError:
        raise ExportError(
            f"no load test result at {path}",
            hint="write one: clickclean loadtest MODEL --result FILE",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path} is not a load test result ({type(error).__name__}: {error})"
        ) from error


def _misread(directory: Path) -> list[Misread]:
    with np.load(directory / MISREAD, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    pictures = [
        array
        for name, array in arrays.items()
        if name.startswith("input.") and report_plots.is_image(array)
    ]
    return [
        Misread(
            row=int(row),
            label=int(arrays["label"][number]),
            predicted=int(arrays["predicted"][number]),
            picture=report_plots.image(pictures[0][number]) if pictures else "",
        )
        for number, row in enumerate(arrays["row"])
    ]
