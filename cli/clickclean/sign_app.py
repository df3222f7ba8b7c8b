"""The verbs that guard a repository: keys and signatures, and pruning of old versions."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clickclean.options import (
    REPOSITORY,
    JsonOption,
    KeyFileOption,
    Model,
    RepositoryOption,
    ServersOption,
    split_version,
)


def keygen(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Of the private key; a new file.")],
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key pair to sign versions with: FILE and FILE.pub.

    FILE stays with whoever releases, and never in the model repository. FILE.pub goes to the
    servers that shall demand its signature.
    """
    from clickclean.console import print_json, say
    from clickclean.files import without_tilde
    from clickclean_export.signing.keys import generate_key

    pair = generate_key(without_tilde(path))
    if as_json:
        print_json(
            {"private": str(pair.private), "public": str(pair.public), "key_id": pair.key_id}
        )
        return
    say(f"private key {pair.private}, for you alone; public key {pair.public}")
    typer.echo(pair.key_id)


def sign(
    subject: Annotated[str, typer.Argument(metavar="MODEL[:VERSION]", help="Default: newest.")],
    key: Annotated[
        Path, typer.Option("--key", envvar="CLICKCLEAN_SIGNING_KEY", help="The private key.")
    ],
    repository: RepositoryOption = REPOSITORY,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of another signature.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a published version and its plans; what differs from its manifest is refused.

    Writes model.sig (OpenSSF model-signing format, Ed25519) beside the files. Sign again after
    `clickclean engine build`, since plans come later.
    """
    from clickclean.console import print_json, say
    from clickclean.files import without_tilde
    from clickclean_export.repository import Repository
    from clickclean_export.signing.signature import sign_version

    model, version = split_version(subject)
    _, directory = Repository(repository).find(model, version)
    signed = sign_version(directory, without_tilde(key), replace=replace)
    if as_json:
        print_json(asdict(signed))
        return
    plans = f" and the plans {', '.join(signed.plans)}" if signed.plans else ""
    say(
        f"signed {signed.model} version {signed.version}, {len(signed.files)} files{plans},"
        f" with key {signed.key_id[:12]}"
    )


def prune(
    model: Model,
    repository: RepositoryOption = REPOSITORY,
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the newest stay, the promoted one included.")
    ] = 3,
    spare: Annotated[
        list[int] | None, typer.Option(min=1, help="A version that never goes; repeatable.")
    ] = None,
    newer: Annotated[
        bool, typer.Option("--newer", help="Also versions that are newer than the promoted one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")
    ] = False,
    server: ServersOption = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old versions of a model.

    The promoted version, the one that was live before it, those of an experiment and those that a
    server has loaded stay. A number is never given again.
    """
    from clickclean.console import print_json
    from clickclean.servers import addresses
    from clickclean_export.prune import prune as prune_versions
    from clickclean_export.release.in_use import in_use
    from clickclean_export.repository import Repository

    found = Repository(repository)
    found.find(model)
    pruned = prune_versions(
        found,
        model,
        keep=keep,
        in_use=in_use(found, model, addresses(server, repository, key_file)) | {*(spare or ())},
        newer=newer,
        dry_run=dry_run,
    )
    if as_json:
        print_json(asdict(pruned))
        return
    done = "would go" if dry_run else "removed"
    for number in pruned.removed:
        typer.echo(f"{model}:{number}  {done}")
    for number, why in pruned.kept.items():
        typer.echo(f"{model}:{number}  stays: {why}")
    for slot in pruned.slots:
        typer.echo(f"{slot}  {done}: its version is gone")
