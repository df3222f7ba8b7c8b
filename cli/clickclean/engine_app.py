"""The verbs of `clickclean engine`: plans for GPUs, and the check that needs none."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clickclean.options import (
    REPOSITORY,
    FleetGpuOption,
    JsonOption,
    RepositoryOption,
    TensorrtVersionOption,
    VersionCompatibleOption,
    split_version,
)

app = typer.Typer(
    name="engine",
    help=(
        "TensorRT plans: check the INT8 file on any machine, build plans on the GPU that serves "
        "them, and say before a server does why one would not load."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

VersionedModel = Annotated[str, typer.Argument(metavar="MODEL[:VERSION]", help="Default: newest.")]


@app.command()
def check(
    subject: Annotated[
        str,
        typer.Argument(metavar="MODEL[:VERSION]|FILE.onnx", help="A version, or any ONNX file."),
    ],
    axis: Annotated[
        list[str] | None,
        typer.Option(
            "--axis", help="Of a file: the range of a free axis, NAME=MIN:OPT:MAX; repeatable."
        ),
    ] = None,
    repository: RepositoryOption = REPOSITORY,
    as_json: JsonOption = False,
) -> None:
    """Have TensorRT-RTX parse and compile the INT8 file; no GPU is needed.

    Every finding names a node and what to do about it; then the exit code is 3. What passes is
    proven to parse, to be typed right and to compile, and nothing else: not its speed, not which
    layers fuse, not its accuracy on a GPU.
    """
    from clickclean.console import Steps, print_json
    from clickclean.engine_text import check_text, findings_text
    from clickclean_export.engine.check import check_file, check_version
    from clickclean_export.engine.profiles import AxisError, parse_axes
    from clickclean_export.errors import EngineRefused

    steps = Steps()
    try:
        with steps:
            steps.begin("TensorRT-RTX compile")
            if subject.lower().endswith(".onnx"):
                checked = check_file(Path(subject), parse_axes(axis or ()), steps.update)
                name = subject
            else:
                if axis:
                    raise AxisError(
                        axis[0], "a version has its ranges from its recipe", hint="leave --axis out"
                    )
                model, version = split_version(subject)
                number, checked = check_version(repository, model, version, steps.update)
                name = f"{model} version {number}"
            steps.end(f"{checked.seconds:.1f} s")
    except EngineRefused as refusal:
        if as_json:
            findings = [asdict(finding) for finding in refusal.findings]
            print_json({"subject": subject, "passes": False, "findings": findings})
        else:
            typer.echo(findings_text(refusal.findings))
        raise
    if as_json:
        print_json({"subject": subject, "passes": True, "findings": [], **asdict(checked)})
    else:
        typer.echo(check_text(name, checked))


@app.command()
def build(
    subject: VersionedModel,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Ask its evaluation data instead of the version's golden rows."),
    ] = None,
    repository: RepositoryOption = REPOSITORY,
    cache: Annotated[
        Path,
        typer.Option(envvar="CLICKCLEAN_ENGINE_CACHE", help="Where built plans are kept."),
    ] = Path("~/.cache/clickclean/engines"),
    device: Annotated[int, typer.Option(min=0, help="Which GPU of this machine.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Build, gate and register the plan for the GPU of this machine.

    Run it where the plan will run, in the Triton image. Accuracy is gated and INT8 : FP16 : FP32
    timed through the built plans; a plan that fails its gate is not registered (exit code 3). Equal
    inputs (ONNX, TensorRT, GPU, options) come from the cache.
    """
    from clickclean.console import Steps, print_json
    from clickclean.engine_text import record_text, record_tree
    from clickclean.files import without_tilde
    from clickclean_export.engine.build import build_engine
    from clickclean_export.engine.device import gpu_at
    from clickclean_export.engine.plan_runner import open_plan

    model, version = split_version(subject)
    kept = without_tilde(cache)
    with Steps() as steps:
        built = build_engine(
            repository,
            model,
            version,
            gpu=gpu_at(device),
            cache=kept,
            open_plan=open_plan,
            recipe_path=recipe,
            progress=steps,
        )
    if as_json:
        print_json({**record_tree(built.record), "from_cache": built.from_cache})
    else:
        typer.echo(record_text(built))


@app.command()
def preflight(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all promoted.")
    ] = None,
    repository: RepositoryOption = REPOSITORY,
    gpu: FleetGpuOption = None,
    tensorrt_version: TensorrtVersionOption = None,
    version_compatible: VersionCompatibleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say before a GPU server starts whether it can load what is promoted.

    Without --gpu and --tensorrt-version, this machine's are meant. A plan that is missing, altered,
    built for another GPU or TensorRT, or too small for the config gives exit code 4; so does a
    repository where nothing is promoted.
    """
    from clickclean.console import print_json
    from clickclean.engine_text import mismatches_text
    from clickclean.fleet import models_to_load, targets
    from clickclean_export.engine.preflight import enforce, examine

    wanted = targets(gpu, tensorrt_version, version_compatible=version_compatible)
    rows = [
        (name, target, examine(repository, name, target))
        for name in models_to_load(repository, models)
        for target in wanted
    ]
    if as_json:
        print_json(
            [
                {
                    "model": name,
                    "gpu": target.gpu.name,
                    "compute_capability": target.gpu.compute_capability,
                    "tensorrt_version": target.tensorrt_version,
                    "mismatches": [asdict(mismatch) for mismatch in mismatches],
                }
                for name, target, mismatches in rows
            ]
        )
    else:
        for name, target, mismatches in rows:
            typer.echo(mismatches_text(name, target, mismatches))
    enforce([mismatch for _, _, mismatches in rows for mismatch in mismatches])


@app.command()
def explain(
    log: Annotated[Path, typer.Argument(metavar="LOGFILE", help="Of tritonserver or trtexec.")],
    as_json: JsonOption = False,
) -> None:
    """Name cause and remedy of the TensorRT and Triton load errors in a log.

    The exit code is 1 when nothing in it is known.
    """
    from clickclean.console import print_json, say
    from clickclean.engine_text import explanations_text
    from clickclean.files import read_log
    from clickclean_export.engine.explain import explain as explain_log

    explanations = explain_log(read_log(log))
    if as_json:
        print_json([asdict(one) for one in explanations])
    elif explanations:
        typer.echo(explanations_text(explanations))
    if not explanations:
        say(f"nothing in {log} is a known TensorRT or Triton load error")
        raise typer.Exit(1)
