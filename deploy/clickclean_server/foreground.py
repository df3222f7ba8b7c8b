"""`clickclean serve`: the supervisor in the foreground."""

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clickclean_server.backend_directory import backend_directory
from clickclean_server.endpoint import Endpoint
from clickclean_server.errors import ServerError
from clickclean_server.events import Events
from clickclean_server.launch import Launch
from clickclean_server.places import events_path, new_log
from clickclean_server.ports import Ports, PortWishes
from clickclean_server.repository import Repository
from clickclean_server.supervisor import Settings, Supervisor
from clickclean_server.wheel import find_wheel


def serve(
    repository: Path,
    *,
    models: Sequence[str] | None = None,
    grpc_port: int | None = None,
    http_port: int | None = None,
    metrics_port: int | None = None,
    log: Path | None = None,
    config_name: str = "cpu",
    as_json: bool = False,
    quiet: bool = False,
    parent: int | None = None,
) -> None:
    """Serves the promoted versions on 127.0.0.1 until SIGINT or SIGTERM; main thread only.

    Prints where it listens on stdout once every promoted version gave its golden answer: one JSON
    object on one line with `as_json`, else a few lines for people. Ports that are None are chosen
    free. `models` limits what is served; None serves all that is promoted, also later. `log` is
    tritonserver's (default: below `$XDG_STATE_HOME/clickclean/servers`); what the supervisor sees
    and does goes to `<log>.events.jsonl` and, unless `quiet`, to stderr. With `parent` it also
    stops when that process is not the parent any more.

    Raises:
        ServerError: the subclass says what was wrong; nothing is left running.
    """
    log = open_log(log)
    settings = Settings(
        repository=repository,
        fleet=config_name,
        models=None if models is None else tuple(models),
        ports=PortWishes(grpc_port, http_port, metrics_port),
        log=log,
        parent=parent,
    )
    supervisor = Supervisor(settings, Events(events_path(log), quiet=quiet))
    with stopped_by_signals(supervisor):
        supervisor.run(lambda endpoint: announce(endpoint, as_json=as_json))


def open_log(log: Path | None) -> Path:
    """An empty log file, as an absolute path."""
    chosen = (new_log() if log is None else log).absolute()
    try:
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_bytes(b"")
        events_path(chosen).write_bytes(b"")
    except OSError as exc:
        raise ServerError(
            f"The log {chosen} cannot be written: {exc.strerror}.", hint="Give another --log."
        ) from exc
    return chosen


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """SIGINT and SIGTERM ask for a stop; the handlers that were there come back."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(_number: int, _frame: Any) -> None:
        supervisor.stop()

    for number in signals:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def announce(endpoint: Endpoint, *, as_json: bool) -> None:
    """Says on stdout where the server listens."""
    if as_json:
        shown = {name: value for name, value in asdict(endpoint).items() if name != "key"}
        sys.stdout.write(json.dumps({"ready": shown}, default=str) + "\n")
    else:
        rows = {"gRPC": endpoint.grpc, "metrics": endpoint.metrics, "log": str(endpoint.log)}
        for model, versions in endpoint.models.items():
            rows[model] = f"version {', '.join(map(str, versions))}"
        width = max(map(len, rows))
        sys.stdout.writelines(f"{name:{width}}  {value}\n" for name, value in rows.items())
    sys.stdout.flush()


def shell_command(
    repository: Path,
    *,
    models: Sequence[str] | None = None,
    grpc_port: int | None = None,
    http_port: int | None = None,
    metrics_port: int | None = None,
    config_name: str = "cpu",
) -> str:
    """The line that starts the same server by hand, unsupervised, on Triton's usual ports.

    Raises:
        ServerError: as `serve` does for the repository and the machine.
    """
    opened = Repository.open(repository, config_name)
    live, _ = opened.live(models)
    wheel = find_wheel()
    launch = Launch(
        wheel=wheel,
        backends=backend_directory(wheel),
        repository=opened.root,
        fleet=config_name,
        ports=Ports(grpc=grpc_port or 8001, http=http_port or 8000, metrics=metrics_port or 8002),
        owner=None,
        key="choose-a-key",
    )
    return launch.shell_line([model.model for model in live])
