"""Failures between client and model server: addresses, ports, TLS, proxies, other gRPC servers."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import failing_certificates
from clickclean_client.protocol import grpc
from failing_http2 import peer
from failing_server import Calls, Model, Repository, Seen, calls_to, timed, triton
from failing_table import MAYBE, NO, Table

REFUSED = "failed to connect to all addresses"
LONG_S = 25.0
TLS = (
    "use-ssl=true",
    "server-cert={}/server.pem",
    "server-key={}/server.key",
    "root-cert={}/ca.pem",
)
# What a proxy answers, the status that gRPC makes of it, its class; the text is gRPC's
# (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
PROXIES = (
    ("status 400", "INTERNAL", "ServerFault"),
    ("status 401", "UNAUTHENTICATED", "AccessRefused"),
    ("status 403", "PERMISSION_DENIED", "AccessRefused"),
    ("status 404", "UNIMPLEMENTED", "ProtocolError"),
    ("status 429", "UNAVAILABLE", "Overloaded"),
    ("status 500", "UNKNOWN", "ServerFault"),
    ("status 502", "UNAVAILABLE", "Unavailable"),
    ("status 503", "UNAVAILABLE", "Unavailable"),
    ("status 504", "UNAVAILABLE", "Unavailable"),
)


def measure(folder: Path, table: Table) -> None:
    """Ask at wrong places."""
    _addresses(table)
    _proxies(table)
    _servers_of_python(table)
    _ports_and_tls(folder, table)


def _ask(endpoint: str, timeout_s: float = 2.0) -> Seen:
    with calls_to(endpoint) as calls:
        return calls.infer("plain", timeout_s=timeout_s)


def _addresses(table: Table) -> None:
    def note(case: str, seen: Seen, code: str, part: str, how: str) -> None:
        raises = "DeadlineExceeded" if code == "DEADLINE_EXCEEDED" else "Unavailable"
        table.note(case, seen, code, part, computed=NO, raises=raises, how=how)

    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    note("nobody listens", _ask(closed), "UNAVAILABLE", REFUSED, "a port that was just closed")
    note(
        "a name that does not resolve",
        _ask("no-such-host.invalid:8001"),
        "UNAVAILABLE",
        "errors resolving",
        "no-such-host.invalid",
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket() as full,
        ThreadPoolExecutor() as pool,
    ):
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # the kernel answers no further connections then
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        time.sleep(0.2)
        places = {
            "a listener that never accepts": silent,
            "a listener whose backlog is full": full,
        }
        jobs = [
            (case, limit_s, pool.submit(_ask, f"127.0.0.1:{place.getsockname()[1]}", limit_s))
            for case, place in places.items()
            for limit_s in (1.0, LONG_S)
        ]
        for case, limit_s, job in jobs:
            seen = job.result()
            late = limit_s == LONG_S
            note(
                f"{case}, deadline {limit_s:g} s",
                seen,
                "UNAVAILABLE" if late else "DEADLINE_EXCEEDED",
                REFUSED if late else "",
                "gRPC gives a connection 20 s" if late else "a shorter deadline than gRPC's 20 s",
            )
        for filler in fillers:
            filler.close()


def _proxies(table: Table) -> None:
    def note(case: str, what: str, code: str, *, part: str, computed: str, raises: str) -> None:
        with peer(what) as endpoint:
            seen = _ask(endpoint)
        how = "an HTTP/2 peer that reads the whole request and then answers so"
        table.note(case, seen, code, part, computed=computed, raises=raises, how=how)

    for what, code, raises in PROXIES:
        number = what.partition(" ")[2]
        note(
            f"a proxy that answers HTTP {number}",
            what,
            code,
            part=number,
            computed=MAYBE,
            raises=raises,
        )
    # A peer's RST_STREAM or GOAWAY, or the end of the connection.
    for case, what, code, part, computed, raises in (
        (
            "a stream refused",
            "reset REFUSED_STREAM",
            "UNAVAILABLE",
            "error code 7",
            NO,
            "Unavailable",
        ),
        ("a stream cancelled", "reset CANCEL", "CANCELLED", "error code 8", MAYBE, "Unavailable"),
        (
            "a stream broken",
            "reset INTERNAL_ERROR",
            "INTERNAL",
            "error code 2",
            MAYBE,
            "ServerFault",
        ),
        ("GOAWAY, not seen", "goaway unseen", "UNAVAILABLE", "GOAWAY received", NO, "Unavailable"),
        ("closed after the request", "close", "UNAVAILABLE", "Socket closed", MAYBE, "Unavailable"),
    ):
        note(case, what, code, part=part, computed=computed, raises=raises)


def _servers_of_python(table: Table) -> None:
    """What a gRPC server or proxy with usual limits answers."""
    hold = threading.Event()

    def handle(request: bytes, _: Any) -> bytes:
        if request == b"raise":
            raise ValueError("handler")
        if request == b"hold":
            hold.wait(3)
        return b""

    handlers = grpc.method_handlers_generic_handler(
        "any.Service", {"Call": grpc.unary_unary_rpc_method_handler(handle)}
    )

    def served(act: Callable[[Any, Any], Seen], **settings: Any) -> Seen:
        server = grpc.server(ThreadPoolExecutor(4), handlers=(handlers,), **settings)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with calls_to(f"127.0.0.1:{port}") as calls:
            call = calls.channel.unary_unary("/any.Service/Call")
            call(b"", timeout=2)
            seen = act(server, call)
        hold.set()
        server.stop(None).wait()
        hold.clear()
        return seen

    def stopped(server: Any, call: Any) -> Seen:
        running = call.future(b"hold", timeout=3)
        time.sleep(0.2)
        server.stop(0.2)
        return timed(running.result)

    def stopping(server: Any, call: Any) -> Seen:
        running = call.future(b"hold", timeout=3)
        time.sleep(0.2)
        server.stop(2)
        time.sleep(0.1)
        seen = timed(lambda: call(b"", timeout=2))
        running.cancel()
        return seen

    def crowded(_: Any, call: Any) -> Seen:
        # A call that nobody holds is cancelled.
        running = call.future(b"hold", timeout=3)
        time.sleep(0.2)
        seen = timed(lambda: call(b"", timeout=2))
        running.cancel()
        return seen

    large = bytes(5_000_000)
    table.note(
        "a request over the server's limit",
        served(lambda _, call: timed(lambda: call(large, timeout=2))),
        "RESOURCE_EXHAUSTED",
        "Received message larger than max",
        computed=NO,
        raises="InvalidRequest",
        how="5 MB to a gRPC server with the default limit of 4 MB (tritonserver takes 2 GiB)",
    )
    table.note(
        "a handler that raises",
        served(lambda _, call: timed(lambda: call(b"raise", timeout=2))),
        "UNKNOWN",
        "Exception calling application",
        computed=MAYBE,
        raises="ServerFault",
        how="a gRPC server of Python",
    )
    table.note(
        "a limit of concurrent calls",
        served(crowded, maximum_concurrent_rpcs=1),
        "RESOURCE_EXHAUSTED",
        "Concurrent RPC limit exceeded",
        computed=NO,
        raises="Overloaded",
        how="a gRPC server of Python with maximum_concurrent_rpcs=1",
    )
    table.note(
        "a server that stops, its grace over",
        served(stopped),
        "UNAVAILABLE",
        "Cancelling all calls",
        computed=MAYBE,
        raises="Unavailable",
        how="server.stop(0.2) of gRPC with a call in flight",
    )
    table.note(
        "a server that stops, a new call",
        served(stopping),
        "UNAVAILABLE",
        "",
        computed=NO,
        raises="Unavailable",
        how="server.stop(2) of gRPC while another call is in flight",
    )


def _ports_and_tls(folder: Path, table: Table) -> None:
    repository = Repository(folder, [Model("plain")])

    def note(case: str, seen: Seen, part: str, how: str) -> None:
        table.note(case, seen, "UNAVAILABLE", part, computed=NO, raises="Unavailable", how=how)

    def secure(endpoint: str, authority: str) -> Seen:
        roots = (folder / authority).read_bytes()
        own = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.ssl_target_name_override", "localhost"),
        )
        credentials = grpc.ssl_channel_credentials(roots)
        calls = Calls(grpc.secure_channel(endpoint, credentials, options=own))
        seen = calls.infer("plain", timeout_s=3)
        calls.close()
        return seen

    failing_certificates.make(folder)
    with triton(repository, folder / "log") as server:
        for name in ("http", "metrics"):
            port = getattr(server.launch.ports, name)
            how = f"gRPC to tritonserver's --{name}-port"
            note(f"the {name} port", _ask(f"127.0.0.1:{port}"), REFUSED, how)
        seen = secure(server.endpoint, "ca.pem")
        note(
            "a TLS client at a plaintext server", seen, "Tls handshake failed", "plain tritonserver"
        )
    tls = [f"--grpc-{flag.format(folder)}" for flag in TLS]
    for mutual in (False, True):
        extra = [*tls, f"--grpc-use-ssl-mutual={str(mutual).lower()}"]
        with triton(repository, folder / "log", extra=extra) as server:
            until = time.monotonic() + 15
            while time.monotonic() < until:
                seen = secure(server.endpoint, "ca.pem")
                if "refused" not in seen.text:
                    break
                time.sleep(0.1)
            if mutual:
                note("no certificate for mutual TLS", seen, "", "--grpc-use-ssl-mutual=true")
                continue
            table.note(
                "TLS that works",
                seen,
                "NOT_FOUND",
                "is not found",
                computed=NO,
                raises="ModelNotFound",
                how="--grpc-use-ssl=true, no model loaded",
            )
            note("a plaintext client at a TLS server", _ask(server.endpoint), "", "--grpc-use-ssl")
            seen = secure(server.endpoint, "other-ca.pem")
            note("a certificate of another authority", seen, "CERTIFICATE_VERIFY_FAILED", "TLS")
