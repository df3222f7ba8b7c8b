"""`clickclean ab`: compare a challenger with the promoted version on real traffic."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clickclean.options import (
    REPOSITORY,
    JsonOption,
    KeyFileOption,
    Model,
    RepositoryOption,
    ServersOption,
    TrustedOption,
    WhyOption,
)
from clickclean_client import ClickCleanError

if TYPE_CHECKING:
    from clickclean_export.experiment.judgement import Judgement
    from clickclean_export.experiment.store import Stored

STOPPED = 13


class NotJudgedError(ClickCleanError):
    """The log that the user named cannot be judged by."""

    exit_code = 2


app = typer.Typer(
    name="ab",
    help=(
        "Compare a challenger with the promoted version on real traffic.\n\n"
        "Callers that give the client a key are dealt to an arm by a hash of it; callers that give "
        "none, and callers in other languages, keep getting the promoted version."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Percent = Annotated[
    float, typer.Option(min=0, max=100, help="Of the keys go to the challenger; 3 decimals.")
]
_Shadow = Annotated[
    float,
    typer.Option(
        "--shadow", min=0, max=100, help="Of the champion's requests are mirrored, never answered."
    ),
]
_LogFolder = Annotated[
    Path | None,
    typer.Option(
        "--log", help="Folder of Parquet files that the clients write. Default: experiment_log."
    ),
]
_DEFAULT_LOG = Path("experiment_log")


@app.command()
def start(
    model: Model,
    challenger: Annotated[int, typer.Option("--challenger", help="A published version.")],
    percent: _Percent = 10.0,
    shadow: _Shadow = 0.0,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    trusted_key: TrustedOption = None,
    metric: Annotated[str, typer.Option(help="Name of the outcome in the log.")] = "reward",
    better: Annotated[
        Literal["higher", "lower"], typer.Option(help="Which mean of the metric is better.")
    ] = "higher",
    alpha: Annotated[
        float, typer.Option(help="Largest chance of a false decision, however often one looks.")
    ] = 0.05,
    latency_ratio_max: Annotated[
        float, typer.Option(help="Guardrail: the challenger may take so many times as long.")
    ] = 1.5,
    error_rate_margin: Annotated[
        float, typer.Option(help="Guardrail: its error rate may be so much higher (0.01: a point).")
    ] = 0.01,
    baseline: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Champion's mean of a 0/1 metric, to tell the keys needed."
        ),
    ] = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Load a challenger beside the champion on all servers, and send it its share of the keys.

    It is verified and gives its golden answers first. Clients read the split within seconds.
    """
    from clickclean.console import Steps, print_json, say
    from clickclean.servers import addresses
    from clickclean_export.experiment import live
    from clickclean_export.experiment.store import Share
    from clickclean_export.repository import Repository
    from clickclean_export.signing.keys import trusted_keys

    choices = {
        "metric": metric,
        "better": better,
        "alpha": alpha,
        "latency_ratio_max": latency_ratio_max,
        "error_rate_margin": error_rate_margin,
    }
    with Steps() as steps:
        plan = live.start(
            Repository(repository),
            model,
            challenger,
            Share(percent, shadow),
            servers=addresses(server, repository, key_file),
            choices=choices,
            trusted=trusted_keys(trusted_key),
            why=why,
            progress=steps,
        )
    if as_json:
        print_json(asdict(plan))
        return
    say(
        f"{plan.experiment}: version {plan.challenger} against {plan.champion},"
        f" {percent:g} % of the keys" + (f", {shadow:g} % mirrored" if shadow else "")
    )
    if baseline is not None and 0 < percent < 100:  # noqa: PLR2004
        from clickclean_export.experiment.sequential import units_needed

        effect = -0.02 if baseline > 0.5 else 0.02  # noqa: PLR2004
        keys = units_needed(baseline, effect, alpha=alpha, power=0.8, share=percent / 100)
        say(f"a difference of {effect:+.0%} from {baseline:.0%} is found with 80 % by {keys} keys")


@app.command()
def ramp(
    model: Model,
    percent: _Percent,
    shadow: Annotated[
        float | None,
        typer.Option("--shadow", min=0, max=100, help="Mirrored; without it as it is."),
    ] = None,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change the share of the running experiment; a higher share moves nobody out."""
    from clickclean.console import Steps, print_json, say
    from clickclean.servers import addresses
    from clickclean_export.experiment import live
    from clickclean_export.experiment.store import ExperimentStore, Share
    from clickclean_export.repository import Repository

    found = Repository(repository)
    found.find(model)
    running = ExperimentStore(found, model).running()
    mirrored = running.share.shadow_percent if running is not None else 0.0
    with Steps() as steps:
        stored = live.ramp(
            found,
            model,
            Share(percent, mirrored if shadow is None else shadow),
            servers=addresses(server, repository, key_file),
            why=why,
            progress=steps,
        )
    if as_json:
        print_json({"experiment": stored.plan.experiment, **asdict(stored.share)})
        return
    mirror = f", {stored.share.shadow_percent:g} % mirrored" if stored.share.shadow_percent else ""
    say(f"{stored.plan.experiment}: {stored.share.percent:g} % of the keys{mirror}")


@app.command()
def stop(
    model: Model,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the challenger the promoted version first.")
    ] = False,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    trusted_key: TrustedOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """End the experiment: share 0, wait until no client asks any more, unload the challenger."""
    from clickclean.console import Steps, print_json, say
    from clickclean.servers import addresses
    from clickclean_export.experiment import live
    from clickclean_export.repository import Repository
    from clickclean_export.signing.keys import trusted_keys

    with Steps() as steps:
        stored, released = live.stop(
            Repository(repository),
            model,
            servers=addresses(server, repository, key_file),
            promote=promote,
            trusted=trusted_keys(trusted_key),
            why=why,
            progress=steps,
        )
    experiment = stored.plan.experiment if stored else None
    if as_json:
        print_json({"experiment": experiment, "promoted": released.version if released else None})
        return
    now = f", version {released.version} is promoted" if released else ""
    say(f"{experiment or 'what was left of an experiment'} has ended{now}")


@app.command()
def status(
    model: Model,
    log: _LogFolder = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the course of the difference here (.svg, .png).")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="An earlier one; without it the latest.")
    ] = None,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what the experiment says now: counts, sample ratio, guardrails, the difference.

    Look as often as you like: every interval and alarm holds at all looks together. Exit code 13
    when it should be stopped, or when a server does not do what the repository says.
    """
    from clickclean.console import print_json
    from clickclean.experiment_text import arms_text, experiment_text
    from clickclean.servers import addresses
    from clickclean_export.experiment.live import arms
    from clickclean_export.experiment.store import ExperimentStore
    from clickclean_export.repository import Repository

    found = Repository(repository)
    found.find(model)
    store = ExperimentStore(found, model)
    stored = store.read(experiment) if experiment else store.latest()
    if stored is None:
        from clickclean_export.experiment.live import none_yet

        raise none_yet(model)
    # What an earlier experiment left on servers is gone; the present one may stand there.
    past = experiment is not None and stored.ended
    on_servers = () if past else arms(stored, addresses(server, repository, key_file))
    judgement, unread = _judged(stored, log)
    if judgement is None and log is not None:
        raise NotJudgedError(unread)
    problems = [f"{arm.endpoint}: {arm.problem}" for arm in on_servers if arm.problem]
    if not stored.ended and found.promoted(model) != stored.plan.champion:
        problems.append(
            f"version {found.promoted(model)} is promoted, and the champion of this experiment was"
            f" {stored.plan.champion}: stop it"
        )
    if plot is not None and judgement is not None:
        from clickclean_export.experiment.plot import plot_judgement

        plot_judgement(judgement, plot)
    if as_json:
        print_json(
            {
                "experiment": stored.plan.experiment,
                "ended": stored.ended,
                **asdict(stored.share),
                "servers": [asdict(arm) for arm in on_servers],
                "problems": problems,
                "judgement": judgement.as_tree() if judgement else None,
            }
        )
    else:
        typer.echo(experiment_text(stored))
        for line in (*arms_text(on_servers), *(f"problem: {problem}" for problem in problems)):
            typer.echo(line)
        typer.echo(judgement.as_text() if judgement else unread)
    if problems or (judgement is not None and not stored.ended and _must_end(judgement)):
        raise typer.Exit(STOPPED)


@app.command()
def watch(
    model: Model,
    log: _LogFolder = None,
    every_s: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds between two looks.")
    ] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="One look, for a CronJob.")] = False,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
) -> None:
    """Stop the experiment by itself when a guardrail is breached or the sample ratio is wrong.

    Runs until the experiment has ended; exit code 13 when this command ended it. The challenger is
    unloaded everywhere, and its callers get the champion. With --once the exit code is 1 when there
    is no log to judge by.
    """
    from clickclean.console import Steps, say
    from clickclean.servers import addresses
    from clickclean_export.experiment import live
    from clickclean_export.experiment.store import ExperimentStore
    from clickclean_export.repository import Repository

    found = Repository(repository)
    found.find(model)
    store = ExperimentStore(found, model)
    said = ""
    while True:
        stored = store.running()
        if stored is None:
            say(f"no experiment of '{model}' runs")
            return
        judgement, unread = _judged(stored, log)
        sentence = f"{judgement.decision}: {judgement.sentence}" if judgement else unread
        changed = found.promoted(model) != stored.plan.champion
        if changed:
            sentence = f"version {found.promoted(model)} is promoted, not the champion any more"
        if sentence != said:
            said = sentence
            say(sentence)
        if changed or (judgement is not None and _must_end(judgement)):
            try:
                with Steps() as steps:
                    live.stop(
                        found,
                        model,
                        servers=addresses(server, repository, key_file),
                        why=f"stopped by watch: {sentence}",
                        progress=steps,
                    )
            except ClickCleanError as error:
                if once:
                    raise
                say(f"error: {error}; trying again")
                time.sleep(every_s)
                continue
            say(f"{stored.plan.experiment} was stopped")
            raise typer.Exit(STOPPED)
        if once:
            # A CronJob whose log folder is wrong guards nothing.
            raise typer.Exit(0 if judgement is not None else 1)
        time.sleep(every_s)


def _must_end(judgement: "Judgement") -> bool:
    from clickclean_export.experiment.judgement import INVALID

    return judgement.must_stop or judgement.decision == INVALID


def _judged(stored: "Stored", log: Path | None) -> "tuple[Judgement | None, str]":
    from clickclean_export.experiment.errors import LogError
    from clickclean_export.experiment.judgement import RUNNING, judge

    try:
        judgement = judge(stored.plan, log or _DEFAULT_LOG, stored.changes)
    except LogError as error:
        # An experiment that has just begun has no log yet; what the servers do is known anyway.
        return None, f"no judgement: {error}"
    if stored.ended and judgement.decision == RUNNING:
        judgement = replace(judgement, decision="ended without a decision")
    return judgement, ""
