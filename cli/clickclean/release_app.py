"""The verbs that change what servers answer, and tell what they answer now."""

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from clickclean.options import (
    REPOSITORY,
    FleetGpuOption,
    JsonOption,
    KeyFileOption,
    Model,
    RepositoryOption,
    ServersOption,
    TensorrtVersionOption,
    TrustedOption,
    VersionCompatibleOption,
    WhyOption,
)

DEGRADED = 13

_FleetOption = Annotated[
    # In the order of `triton_config.Fleet`: typing hands out whichever equal union came first.
    Literal["gpu", "cpu"] | None,
    typer.Option("--fleet", help="Which config servers take that have not loaded anything yet."),
]
_LoadTimeout = Annotated[
    float, typer.Option(min=0.1, help="Longest that one load may take, seconds.")
]
_WithoutPlans = Annotated[
    bool,
    typer.Option(
        "--without-plans", help="Although a GPU type that has a plan now would have none."
    ),
]


def promote(
    model: Model,
    version: Annotated[int, typer.Argument(help="A published version.")],
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    why: WhyOption = "",
    trusted_key: TrustedOption = None,
    gpu: FleetGpuOption = None,
    tensorrt_version: TensorrtVersionOption = None,
    version_compatible: VersionCompatibleOption = False,
    without_plans: _WithoutPlans = False,
    fleet: _FleetOption = None,
    load_timeout_s: _LoadTimeout = 120.0,
    drain_s: Annotated[
        float, typer.Option(min=0, help="Longest wait for calls that name the old version.")
    ] = 10.0,
    quiet_s: Annotated[
        float,
        typer.Option(min=0, help="The old version goes when nobody has named it for so long."),
    ] = 1.0,
    hold: Annotated[
        bool, typer.Option(help="Keep the old version for callers that name it, while they do.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Make a published version the one that unnamed calls get: on all servers, or on none.

    Its files, plans and signature are verified; then every server loads it beside the old one,
    gives its golden answers, and is switched. Without --server this acts on the running `clickclean
    serve` of this machine, if any. What fails anywhere leaves the old version live everywhere: exit
    code 3 when the version was refused, 4 when a GPU of --gpu could not load it.
    """
    from clickclean.console import Steps, print_json, say
    from clickclean.fleet import named_targets
    from clickclean.servers import addresses
    from clickclean_export.release.live import release
    from clickclean_export.release.rollout import Settings
    from clickclean_export.repository import Repository
    from clickclean_export.signing.keys import trusted_keys

    targets = named_targets(gpu, tensorrt_version, version_compatible=version_compatible)
    with Steps() as steps:
        done = release(
            Repository(repository),
            model,
            version,
            servers=addresses(server, repository, key_file),
            fleet=targets,
            without_plans=without_plans,
            trusted=trusted_keys(trusted_key),
            why=why,
            settings=Settings(
                load_timeout_s=load_timeout_s,
                quiet_s=quiet_s,
                drain_s=drain_s,
                hold=hold,
                fleet=fleet,
            ),
            progress=steps,
        )
    if as_json:
        print_json(asdict(done))
        return
    before = f" (before: {done.previous})" if done.previous else ""
    say(f"promoted {model} version {done.version}{before}, {_where(len(done.servers))}")
    for endpoint in done.still_asked:
        say(f"{endpoint}: callers still name an old version, which stays there beside the new one")


def rollback(
    model: Model,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    why: WhyOption = "",
    trusted_key: TrustedOption = None,
    without_plans: _WithoutPlans = False,
    hold: Annotated[
        bool,
        typer.Option(help="Keep the version that is left for callers that name it; takes longer."),
    ] = False,
    load_timeout_s: _LoadTimeout = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Make the version live again that was live before, on all servers or on none.

    It was proven there when it was promoted, so each server is switched by one call and asked its
    golden request afterwards. After a promote that was killed, it goes back to what the repository
    says. Two rollbacks end where they began.
    """
    from clickclean.console import Steps, print_json, say
    from clickclean.servers import addresses
    from clickclean_export.release.live import roll_back
    from clickclean_export.release.rollout import Settings
    from clickclean_export.repository import Repository
    from clickclean_export.signing.keys import trusted_keys

    with Steps() as steps:
        done = roll_back(
            Repository(repository),
            model,
            servers=addresses(server, repository, key_file),
            trusted=trusted_keys(trusted_key),
            without_plans=without_plans,
            why=why,
            settings=Settings(load_timeout_s=load_timeout_s, hold=hold),
            progress=steps,
        )
    if as_json:
        print_json(asdict(done))
        return
    if done.previous == done.version:
        say(f"{model} is at version {done.version}, as the repository says, on every server")
        return
    before = f" (before: {done.previous})" if done.previous else ""
    say(f"{model} is back at version {done.version}{before}, {_where(len(done.servers))}")


def status(
    model: Annotated[str | None, typer.Argument(help="Name of a model; all without it.")] = None,
    repository: RepositoryOption = REPOSITORY,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what every server answers, by a golden request, beside what the repository says.

    Exit code 13 when anything differs: another version or other bytes on a server, a wrong answer,
    a model process that is dead or hung although health says ready, a change whose command was
    killed.
    """
    from clickclean.console import print_json
    from clickclean.release_text import status_text
    from clickclean.servers import addresses
    from clickclean_export.release.status import status as model_status
    from clickclean_export.repository import Repository

    found = Repository(repository)
    where = addresses(server, repository, key_file)
    statuses = [
        model_status(found, name, where)
        for name in ([model] if model is not None else found.models())
    ]
    if as_json:
        print_json([{**asdict(one), "degraded": one.degraded} for one in statuses])
    else:
        typer.echo("\n".join(map(status_text, statuses)))
    if any(one.degraded for one in statuses):
        raise typer.Exit(DEGRADED)


def verify(
    model: Annotated[str, typer.Argument(help="MODEL or MODEL:VERSION; else the promoted one.")],
    repository: RepositoryOption = REPOSITORY,
    live: Annotated[
        bool, typer.Option("--live", help="Also that the servers serve exactly these bytes.")
    ] = False,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a version with its manifest, and with --live the servers with the version.

    Every SHA-256, the signature where a trusted key is configured, and the gates. With --live each
    server must serve the manifest's fingerprint and give the golden answer. Exit code 3 when not.
    """
    from clickclean.console import print_json
    from clickclean.options import split_version
    from clickclean.servers import addresses
    from clickclean_export.release.live_proof import verify_live
    from clickclean_export.repository import Repository
    from clickclean_export.signing.keys import trusted_keys
    from clickclean_export.verify import verify_version

    name, number = split_version(model)
    found = Repository(repository)
    version = number or found.promoted(name) or found.find(name)[0]
    found.find(name, version)
    proof = verify_version(found, name, version, trusted=trusted_keys(trusted_key), strict=True)
    served = verify_live(found, proof, addresses(server, repository, key_file)) if live else ()
    if as_json:
        print_json({**asdict(proof), "served_by": list(served)})
        return
    signed = f", signed by {proof.signed_by}" if proof.signed_by else ""
    typer.echo(f"{name} version {version}: {len(proof.files)} files as published{signed}")
    typer.echo(f"fingerprint {proof.fingerprint}")
    for endpoint in served:
        typer.echo(f"{endpoint} serves exactly these bytes")


def history(
    model: Model,
    repository: RepositoryOption = REPOSITORY,
    last: Annotated[int, typer.Option(min=1, help="How many, from the end.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List who changed the live version when, from what to what, why, and how it ended."""
    from clickclean.console import print_json
    from clickclean.release_text import history_text
    from clickclean_export.release.history import History
    from clickclean_export.repository import Repository

    found = Repository(repository)
    found.find(model)
    entries = History(found, model).entries()
    if as_json:
        chosen = list(dict.fromkeys(entry.id for entry in entries))[-last:]
        print_json([asdict(entry) for entry in entries if entry.id in chosen])
        return
    typer.echo(history_text(entries, last))


def _where(servers: int) -> str:
    if not servers:
        return "in the repository; no server was asked"
    return f"on {servers} server{'s' if servers > 1 else ''}"
