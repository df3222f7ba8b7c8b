"""Failures that lie in the request: names, versions, shapes, sizes, keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clickclean_client.protocol import grpc, service_pb2
from failing_server import KEY, Calls, Model, Repository, calls_to, infer_request, timed, triton
from failing_table import MAYBE, NO, Table

MODELS = (
    Model("plain"),
    Model("single", policy="-"),
    Model("cold"),
    Model("decoupled", policy="-", decoupled=True),
)
CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "an input is missing": (
        "missing required input(s)",
        lambda r: (r.ClearField("inputs"), r.ClearField("raw_input_contents")),
    ),
    "an input that the model does not have": (
        "unexpected inference input",
        lambda r: setattr(r.inputs[0], "name", "zz"),
    ),
    "another dtype": ("data-type is", lambda r: setattr(r.inputs[0], "datatype", "INT32")),
    "a dtype that does not exist": (
        "data-type is '<invalid>'",
        lambda r: setattr(r.inputs[0], "datatype", "FP31"),
    ),
    "another rank": ("unexpected shape for input", lambda r: r.inputs[0].shape.append(1)),
    "a batch over the limit": (
        "batch-size must be <=",
        lambda r: (
            r.inputs[0].shape.__setitem__(0, 9),
            r.raw_input_contents.__setitem__(0, bytes(36)),
        ),
    ),
    "too few bytes": (
        "input byte size mismatch",
        lambda r: r.raw_input_contents.__setitem__(0, bytes(2)),
    ),
    "no bytes": ("unable to find data for input", lambda r: r.ClearField("raw_input_contents")),
    "bytes given twice": (
        "contents field must not be specified",
        lambda r: r.inputs[0].contents.fp32_contents.append(1),
    ),
    "an output that the model does not have": (
        "unexpected inference output",
        lambda r: r.outputs.add(name="zz"),
    ),
    "an input given twice": (
        "already exists in request",
        lambda r: (
            r.inputs.append(r.inputs[0]),
            r.raw_input_contents.append(r.raw_input_contents[0]),
        ),
    ),
    "a timeout that is no number": (
        "invalid value type for 'timeout' parameter",
        lambda r: setattr(r.parameters["timeout"], "string_param", "soon"),
    ),
}


def measure(folder: Path, table: Table) -> None:
    """Ask one healthy server wrongly."""
    repository = Repository(folder, MODELS)
    with triton(repository, folder / "log") as server:
        server.load("plain", "single", "decoupled")
        with calls_to(server.endpoint) as calls:
            _names(calls, table, repository)
            _contents(calls, table, repository)
            _sizes(server.endpoint, calls, table, repository)
            _keys(server.endpoint, calls, table)
    with (
        triton(
            repository,
            folder / "log",
            without=("--model-control-mode", "--grpc-restricted"),
            extra=("--model-control-mode=none", "--exit-on-error=false"),
        ) as server,
        calls_to(server.endpoint) as calls,
    ):
        request = service_pb2.RepositoryModelLoadRequest(model_name="plain")
        table.note(
            "a load without explicit mode",
            calls.send("RepositoryModelLoad", request),
            "UNAVAILABLE",
            "explicit model load / unload is not allowed",
            computed=NO,
            raises="InvalidRequest",
            how="RepositoryModelLoad at --model-control-mode=none",
        )


def _names(calls: Calls, table: Table, repository: Repository) -> None:
    rows = (
        ("a model that the repository does not have", "nosuch", "", "NOT_FOUND", "is not found"),
        ("a model that was never loaded", "cold", "", "NOT_FOUND", "is not found"),
        ("a version that does not exist", "plain", "9", "NOT_FOUND", "is not found"),
        ("a version that is no number", "plain", "x", "INVALID_ARGUMENT", "model version"),
        ("a negative version", "plain", "-1", "INVALID_ARGUMENT", "model version"),
    )
    for case, model, version, code, part in rows:
        table.note(
            case,
            calls.infer(model, version=version),
            code,
            part,
            computed=NO,
            raises="ModelNotFound" if code == "NOT_FOUND" else "InvalidRequest",
            how=f"ModelInfer of model {model!r}, version {version!r}",
            reached=repository.reached,
        )
    request: Any
    for rpc, request, code, part in (
        (
            "ModelMetadata",
            service_pb2.ModelMetadataRequest(name="nosuch"),
            "NOT_FOUND",
            "is not found",
        ),
        ("ModelConfig", service_pb2.ModelConfigRequest(name="nosuch"), "NOT_FOUND", "is not found"),
        (
            "ModelStatistics",
            service_pb2.ModelStatisticsRequest(name="nosuch"),
            "INVALID_ARGUMENT",
            "requested model",
        ),
        (
            "ModelStatistics",
            service_pb2.ModelStatisticsRequest(name="plain", version="7"),
            "INVALID_ARGUMENT",
            "requested model version is not available",
        ),
    ):
        table.note(
            f"{rpc} of what is not loaded{', a version' if request.version else ''}",
            calls.send(rpc, request),
            code,
            part,
            computed=NO,
            raises="ModelNotFound",
            how=f"{rpc} of a name or version that is not loaded (ModelReady says ready=false, OK)",
        )


def _contents(calls: Calls, table: Table, repository: Repository) -> None:
    for case, (part, change) in CHANGES.items():
        table.note(
            case,
            calls.infer("plain", change=change),
            "INVALID_ARGUMENT",
            part,
            computed=NO,
            raises="InvalidRequest",
            how="ModelInfer, one field of a good request changed",
            reached=repository.reached,
        )
    table.note(
        "a model that streams its answers",
        calls.infer("decoupled"),
        "UNIMPLEMENTED",
        "decoupled transaction policy",
        computed=NO,
        raises="InvalidRequest",
        how="ModelInfer of a decoupled model",
        reached=repository.reached,
    )
    service = "/inference.GRPCInferenceService"
    raw = calls.channel.unary_unary(f"{service}/ModelInfer")
    table.note(
        "bytes that are no message",
        timed(lambda: raw(b"\xff\xff\xff\xff garbage", timeout=3)),
        "INTERNAL",
        "Unable to parse request",
        computed=NO,
        raises="ServerFault",
        how="ModelInfer with bytes that protobuf cannot read",
    )
    for name, path in (("method", f"{service}/NoSuch"), ("service", "/other.Service/ModelInfer")):
        unknown = calls.channel.unary_unary(path)
        table.note(
            f"a {name} that the server does not have",
            timed(lambda unknown=unknown: unknown(b"", timeout=3)),
            "UNIMPLEMENTED",
            "",
            computed=NO,
            raises="ProtocolError",
            how=f"{path} at tritonserver",
        )


def _sizes(endpoint: str, calls: Calls, table: Table, repository: Repository) -> None:
    def large(request: Any) -> None:
        request.inputs[0].shape[0] = 8
        request.raw_input_contents[0] = bytes(2000)

    with calls_to(endpoint, ("grpc.max_send_message_length", 1000)) as small:
        table.note(
            "a request over the client's own limit",
            small.infer("plain", change=large),
            "RESOURCE_EXHAUSTED",
            "Sent message larger than max",
            computed=NO,
            raises="InvalidRequest",
            how="grpc.max_send_message_length=1000",
            reached=repository.reached,
        )
    with calls_to(endpoint) as usual:
        table.note(
            "an answer over the client's own limit",
            usual.infer("single", order="large answer"),
            "RESOURCE_EXHAUSTED",
            "Received message larger than max",
            computed=MAYBE,
            raises="InvalidRequest",
            how="8 MB answer, gRPC's default limit of 4 MB",
            reached=repository.reached,
        )
    calls.headers = (("x-large", "v" * 20_000),)
    table.note(
        "headers over the server's limit",
        calls.infer("plain"),
        "RESOURCE_EXHAUSTED",
        "received metadata size exceeds hard limit",
        computed=NO,
        raises="InvalidRequest",
        how="ModelInfer with a header of 20,000 bytes; the server refuses it",
        reached=repository.reached,
    )
    calls.headers = (("x-large", "v" * 9_000),)
    tries = [calls.infer("plain") for _ in range(200)]
    refused = [one for one in tries if one.code != "OK"]
    if refused:
        table.note(
            "headers between the soft and the hard limit",
            refused[0],
            "RESOURCE_EXHAUSTED",
            "received metadata size exceeds soft limit",
            computed=NO,
            raises="InvalidRequest",
            how=f"a header of 9,000 bytes; {len(refused)} of {len(tries)} refused, by chance",
            reached=repository.reached,
        )
    calls.headers = ()


def _keys(endpoint: str, calls: Calls, table: Table) -> None:
    request = service_pb2.RepositoryIndexRequest()
    with calls_to(endpoint, key=f"not {KEY}") as wrong:
        for case, seen in (
            ("no key for a restricted protocol", calls.send("RepositoryIndex", request)),
            ("a wrong key for a restricted protocol", wrong.send("RepositoryIndex", request)),
        ):
            table.note(
                case,
                seen,
                "UNAVAILABLE",
                "This protocol is restricted",
                computed=NO,
                raises="AccessRefused",
                how="RepositoryIndex at --grpc-restricted-protocol=model-repository",
            )
    calls_closed = Calls(grpc.insecure_channel(endpoint))
    calls_closed.close()
    table.note(
        "a call on a closed channel",
        timed(lambda: calls_closed.stub.ModelInfer(infer_request("plain"), timeout=3)),
        "ValueError",
        "closed channel",
        computed=NO,
        raises="InvalidRequest",
        how="channel.close(), then ModelInfer",
    )
