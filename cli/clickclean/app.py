"""The verbs. Each calls one function of one package and shows what came back."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clickclean.ab_app import app as ab_app
from clickclean.engine_app import app as engine_app
from clickclean.lint_app import lint
from clickclean.options import (
    REPOSITORY,
    SERVER,
    JsonOption,
    Model,
    RepositoryOption,
    ServerOption,
    VersionOption,
)
from clickclean.release_app import history, promote, rollback, status, verify
from clickclean.schema_app import schema
from clickclean.sign_app import keygen, prune, sign

app = typer.Typer(
    name="clickclean",
    help=(
        "From a PyTorch checkpoint to a proven INT8 service on NVIDIA Triton.\n\n"
        "Exit codes: 0 done, 1 failed, 2 usage or a bad recipe, 3 a gate refused (nothing was "
        "published), 4 environment not compatible, 10 SLO missed, 11 inconclusive, 12 the load "
        "generator was the bottleneck, 13 degraded."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(engine_app)
app.add_typer(ab_app)


@app.command()
def publish(
    recipe: Annotated[Path, typer.Argument(help="The recipe.toml of a model.")],
    repository: RepositoryOption = REPOSITORY,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the new version the one that is served.")
    ] = False,
    live_gate: Annotated[
        bool,
        typer.Option(help="Ask a real tritonserver for every answer before publishing."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Convert, quantise, prove and publish a new version.

    Every hop (PyTorch, ONNX, INT8 ONNX, CPU engine, live server) is gated on labelled data. When
    a gate refuses, the exit code is 3 and nothing is published.
    """
    from clickclean.console import Steps, print_json, say
    from clickclean.live import serve_for_gate
    from clickclean.servers import addresses
    from clickclean_export.publish import publish as publish_recipe
    from clickclean_export.publish import summary
    from clickclean_export.release.live import release
    from clickclean_export.repository import Repository

    with Steps() as steps:
        published = publish_recipe(
            recipe, repository, serve=serve_for_gate if live_gate else None, progress=steps
        )
        if promote:
            # A running `clickclean serve` of this repository goes along.
            release(
                Repository(repository),
                published.model,
                published.version,
                servers=addresses(None, repository, None),
                why="published with --promote",
                progress=steps,
            )
    if as_json:
        print_json({**summary(published), "promoted": promote})
        return
    say(
        f"published {published.model} version {published.version} in {published.path}"
        + (", promoted" if promote else "; not live until promoted")
    )


@app.command()
def versions(
    repository: RepositoryOption = REPOSITORY,
    as_json: JsonOption = False,
) -> None:
    """List models, their versions, the GPUs each has a plan for, and which one is promoted.

    A plan whose record cannot be read is listed as damaged.
    """
    from clickclean.console import print_json
    from clickclean.listing import as_line, listed
    from clickclean_export.repository import Repository

    found = Repository(repository)
    rows = [listed(found, model) for model in found.models()]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        typer.echo(as_line(row))


@app.command()
def serve(
    repository: RepositoryOption = REPOSITORY,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Serve this model only; repeatable.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Default: a free port.")] = None,
    log: Annotated[Path | None, typer.Option(help="Where tritonserver logs to.")] = None,
    print_command: Annotated[
        bool, typer.Option("--print-command", help="Print the tritonserver line and exit.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve the promoted versions with the real tritonserver, supervised, on 127.0.0.1.

    For development and CI on machines without a GPU: the server of the wheel is old (2.51) and
    has known holes. Ctrl-C stops it; requests in flight are answered.
    """
    from clickclean_server import serve as serve_forever
    from clickclean_server import shell_command

    if print_command:
        typer.echo(
            shell_command(
                repository,
                models=model,
                grpc_port=grpc_port,
                http_port=http_port,
                metrics_port=metrics_port,
            )
        )
        return
    serve_forever(
        repository,
        models=model,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        log=log,
        as_json=as_json,
    )


@app.command()
def infer(
    model: Model,
    inputs: Annotated[
        Path, typer.Option("--inputs", "-i", help="An .npz with one array per input.")
    ],
    server: ServerOption = SERVER,
    version: VersionOption = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Send the first rows only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the outputs to this .npz.")] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Deadline in seconds.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Ask a server, with arrays from a file; without --version the promoted one answers.

    More rows than the model takes at once are sent in parts. A version's own golden.npz will do
    as a file.
    """
    from clickclean import ask
    from clickclean.console import print_json

    answer = ask.ask_once(server, model, inputs, version=version, rows=rows, timeout_s=timeout_s)
    if out is not None:
        ask.save(answer, out)
    if as_json:
        print_json(ask.as_tree(answer))
    else:
        typer.echo(ask.as_text(answer))


@app.command()
def loadtest(
    model: Model,
    rate: Annotated[float, typer.Option(help="Requests per second, intended (open loop).")] = 50.0,
    duration: Annotated[str, typer.Option(help="Such as 20s, 2m.")] = "20s",
    server: ServerOption = SERVER,
    repository: RepositoryOption = REPOSITORY,
    version: VersionOption = None,
    inputs: Annotated[
        Path | None, typer.Option(help="An .npz instead of the version's golden rows.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Rows per request.")] = 1,
    mean_ms: Annotated[float | None, typer.Option(help="Instead of the recipe's target.")] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Instead of the recipe's target.")] = None,
    error_rate_max: Annotated[
        float | None, typer.Option(help="Instead of the recipe's target, 0 to 1.")
    ] = None,
    result: Annotated[Path | None, typer.Option(help="Write the result as JSON here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Load a server at a constant rate and judge it against the recipe's target.

    Latency counts from the intended start of each request, so a stall shows. Exit code: 0 meets
    the target, 10 misses it, 11 inconclusive, 12 the generator was the bottleneck. Without
    --version the promoted one answers.
    """
    from clickclean.console import LoadProgress
    from clickclean.files import replacing
    from clickclean_loadtest import LoadSpec, parse_duration, run

    spec = LoadSpec(
        model=model,
        rate=rate,
        duration_s=parse_duration(duration),
        endpoint=server,
        version=None if version is None else str(version),
        repository=repository,
        inputs=inputs,
        batch=batch,
        mean_ms=mean_ms,
        p99_ms=p99_ms,
        error_rate_max=error_rate_max,
    )
    with ExitStack() as stack:
        # Opened first: a place that cannot be written must not cost a load test.
        stream = stack.enter_context(replacing(result)) if result is not None else None
        progress = stack.enter_context(LoadProgress())
        outcome = run(spec, on_progress=progress)
        if stream is not None:
            stream.write(outcome.to_json().encode() + b"\n")
    typer.echo(outcome.to_json() if as_json else outcome.table())
    raise typer.Exit(outcome.exit_code)


@app.command()
def report(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path(
        "report.html"
    ),
    repository: RepositoryOption = REPOSITORY,
    version: VersionOption = None,
    loadtest: Annotated[
        Path | None, typer.Option(help="A result of `clickclean loadtest --result`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the release report of a version as one HTML page; print its key figures.

    Without --version the newest is reported.
    """
    from clickclean.console import print_json, print_table, say
    from clickclean_export.report import write_report

    figures = write_report(repository, model, version, out, loadtest=loadtest)
    if as_json:
        print_json(dict(figures))
    else:
        print_table(figures)
    say(f"report: {out}")


for verb in (promote, rollback, status, verify, history, schema, prune, lint, keygen, sign):
    app.command()(verb)
