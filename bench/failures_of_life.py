"""Failures of the server's life: killed, stopping, loading, unloading, dead model processes."""

import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from clickclean_client.protocol import service_pb2
from failing_crowd import NOT_READY, NOT_THERE, REFUSED, SICK, crowd, judge_stop, note_crowd
from failing_server import KEY, Model, Repository, Seen, Triton, calls_to, triton
from failing_table import MAYBE, NO, Table


def measure(folder: Path, table: Table) -> None:
    """Start a server for each fault."""
    for part in (_killed, _stopping, _loading, _dead_model):
        place = folder / part.__name__
        place.mkdir()
        part(place, table)


def _killed(folder: Path, table: Table) -> None:
    repository = Repository(folder, [Model("plain")])
    with triton(repository, folder / "log") as server:
        server.load("plain")
        with calls_to(server.endpoint) as calls, calls_to(server.endpoint) as idle:
            calls.infer("plain")
            idle.infer("plain")
            running = [calls.begin("plain", 1.5) for _ in range(3)]
            time.sleep(0.4)
            server.signal(signal.SIGKILL)
            seen = [one.result() for one in running]
            for reached in (True, False):
                alike = [one for one in seen if repository.reached(one) is reached]
                table.note(
                    f"kill -9 of the server, {'computing' if reached else 'queued there'}",
                    alike[0],
                    "UNAVAILABLE",
                    "Stream removed (Socket closed)",
                    computed=MAYBE,
                    raises="Unavailable",
                    how="SIGKILL of tritonserver with requests in flight; the text is the same for"
                    " the one that the model has and those that wait",
                    reached=repository.reached,
                )
            for case, one in (("a call after that", calls), ("a connection that was idle", idle)):
                table.note(
                    f"kill -9 of the server, {case}",
                    one.infer("plain"),
                    "UNAVAILABLE",
                    REFUSED,
                    computed=NO,
                    raises="Unavailable",
                    how="nobody listens on the port any more",
                    reached=repository.reached,
                )
    with triton(repository, folder / "log") as server:
        server.load("plain")

        def kill() -> None:
            server.signal(signal.SIGKILL)
            time.sleep(0.3)

        seen = crowd(server.endpoint, "plain", 0.01, kill)
    note_crowd(table, repository, "kill -9 of the server", seen)


def _stopping(folder: Path, table: Table) -> None:
    repository = Repository(folder, [Model("plain"), Model("single", policy="-")])
    with triton(repository, folder / "log") as server:
        server.load("plain", "single")
        with calls_to(server.endpoint) as calls, calls_to(server.endpoint) as idle:
            calls.infer("plain")
            idle.infer("plain")
            running = [calls.begin("plain", 1.5) for _ in range(2)]
            time.sleep(0.3)
            server.signal(signal.SIGTERM)
            time.sleep(0.3)
            for case, seen in (
                ("a new call", calls.infer("plain")),
                ("a new call on an idle connection", idle.infer("single")),
                ("a new call on a new connection", _once(server.endpoint, "plain")),
            ):
                kind, computed, part = judge_stop(seen.code, seen.text)
                table.note(
                    f"SIGTERM, {case}",
                    seen,
                    seen.code if kind != "?" else "UNAVAILABLE",
                    part,
                    computed=computed,
                    raises=kind,
                    how="SIGTERM of tritonserver while it answers what is in flight; after the"
                    " first moments all models say that they have no versions, for 2 to 5 s",
                    reached=repository.reached,
                )
            table.note(
                "SIGTERM, is the server ready?",
                calls.send("ServerReady", service_pb2.ServerReadyRequest()),
                "UNAVAILABLE",
                "Server exiting",
                computed=NO,
                raises="Unavailable",
                how="ServerReady while it stops",
            )
            for one in running:
                table.note(
                    "SIGTERM, in flight",
                    one.result(),
                    "OK",
                    "",
                    computed=MAYBE,
                    raises="",
                    how="computing or queued when SIGTERM came: both are answered",
                    reached=repository.reached,
                )
            server.ended(20)
            table.note(
                "SIGTERM, after the end",
                calls.infer("plain"),
                "UNAVAILABLE",
                REFUSED,
                computed=NO,
                raises="Unavailable",
                how="nobody listens on the port any more",
                reached=repository.reached,
            )
    for busy_s in (0.0, 0.02):
        with triton(repository, folder / "log") as server:
            server.load("plain", "single")

            def stop(server: Triton = server) -> None:
                server.signal(signal.SIGTERM)
                server.ended(20)
                time.sleep(0.2)

            crowded = crowd(server.endpoint, "single" if busy_s else "plain", busy_s, stop)
        batching = "no batching" if busy_s else "batching"
        note_crowd(table, repository, f"SIGTERM ({batching})", crowded)


def _once(endpoint: str, model: str) -> Seen:
    with calls_to(endpoint) as calls:
        return calls.infer(model)


def _loading(folder: Path, table: Table) -> None:
    both = Model("versions", versions=(1, 2))
    repository = Repository(folder, [Model("plain"), Model("slow", load_s=1.5), both])

    def note(case: str, seen: Seen, code: str, part: str, how: str) -> None:
        table.note(
            case,
            seen,
            code,
            part,
            computed=NO,
            raises="ModelNotFound",
            how=how,
            reached=repository.reached,
        )

    with triton(repository, folder / "log") as server:
        server.load("plain", "versions")
        with calls_to(server.endpoint) as calls:
            load = threading.Thread(target=server.load, args=("slow",))
            load.start()
            time.sleep(0.7)
            how = "initialize() sleeps 1.5 s; the model was not loaded before"
            note("first load under way", calls.infer("slow"), "NOT_FOUND", NOT_THERE, how)
            named = calls.infer("slow", version="1")
            note("first load under way, a version named", named, "UNAVAILABLE", NOT_READY, how)
            load.join()
            running = calls.begin("plain", 0.8)
            time.sleep(0.2)
            server.unload("plain")
            how = "unloaded with a request in flight"
            note("unloading", calls.infer("plain"), "NOT_FOUND", NOT_THERE, how)
            named = calls.infer("plain", version="1")
            note("unloading, a version named", named, "UNAVAILABLE", NOT_READY, how)
            table.note(
                "unloading, in flight",
                running.result(),
                "OK",
                "",
                computed=MAYBE,
                raises="",
                how="in flight when the model was unloaded: it is answered",
                reached=repository.reached,
            )
            note("unloaded", calls.infer("plain"), "NOT_FOUND", NOT_THERE, "long after that")
            running = calls.begin("versions", 0.8, version="2")
            repository.add(Model("versions", versions=(1,)))
            server.load("versions")
            how = "loaded again without version 2 in its version_policy"
            note(
                "a version swapped out",
                calls.infer("versions", version="2"),
                "UNAVAILABLE",
                NOT_READY,
                how,
            )
            running.result()
        server.load("plain")

        def swap() -> None:
            for _ in range(4):
                server.unload("plain")
                time.sleep(0.1)
                server.load("plain")
                time.sleep(0.1)

        seen = crowd(server.endpoint, "plain", 0.0, swap)
        note_crowd(table, repository, "unloaded and loaded again", seen)
        with calls_to(server.endpoint, key=KEY) as calls:
            (repository.root / "slow" / "1" / "model.py").write_text("raise ValueError('broken')\n")
            for case, model, code, part, raises in (
                ("a load that fails", "slow", "INVALID_ARGUMENT", "load failed", "ServerFault"),
                (
                    "a load of what is not in the repository",
                    "nosuch",
                    "INTERNAL",
                    "failed to poll from model repository",
                    "ServerFault",
                ),
            ):
                request = service_pb2.RepositoryModelLoadRequest(model_name=model)
                table.note(
                    case,
                    calls.send("RepositoryModelLoad", request, timeout_s=15),
                    code,
                    part,
                    computed=NO,
                    raises=raises,
                    how="RepositoryModelLoad; a model that serves goes on serving",
                )


def _dead_model(folder: Path, table: Table) -> None:
    models = [Model("plain"), Model("single", policy="-")]
    repository = Repository(folder, models)

    def note(case: str, seen: Seen, how: str, computed: str = MAYBE) -> None:
        table.note(
            case,
            seen,
            "INTERNAL",
            SICK,
            computed=computed,
            raises="ServerFault",
            how=how,
            reached=repository.reached,
        )

    for model in models:
        batching = "no batching" if model.policy == "-" else "batching"
        with triton(repository, folder / "log") as server:
            server.load(model.name)
            with calls_to(server.endpoint) as calls:
                calls.infer(model.name)
                running = calls.begin(model.name, 1.0, timeout_s=9)
                time.sleep(0.3)
                queued = calls.begin(model.name, timeout_s=9)
                time.sleep(0.1)
                server.signal_model(model.name, signal.SIGKILL)
                time.sleep(0.1)
                new: list[Future[Seen]] = [calls.begin(model.name, timeout_s=9) for _ in range(4)]
                where = f"model process killed ({batching})"
                how = "kill -9 of triton_python_backend_stub, 1 s of work in flight"
                note(f"{where}, computing", running.result(), how)
                how += "; one execution after the other takes 1 s to fail, in their order"
                note(f"{where}, queued", queued.result(), how)
                last = max((one.result() for one in new), key=lambda seen: seen.after_s)
                note(f"{where}, the last of 4 new calls", last, how)
                seen = calls.infer(model.name)
                note(f"{where}, one call later", seen, "alone: after the 1 s that Triton waits")
    with triton(repository, folder / "log") as server:
        server.load("plain")
        with calls_to(server.endpoint) as calls:
            seen = calls.infer("plain", order="die")
            note("the model process ends by itself", seen, "os._exit(3) in execute()")
