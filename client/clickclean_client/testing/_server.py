"""The fake server itself: where it listens, what it serves, how it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from clickclean_client.protocol import MAX_MESSAGE_BYTES, grpc
from clickclean_client.testing._calls import Call
from clickclean_client.testing._errors import FakeServerError, Refusal, nearest
from clickclean_client.testing._model import FakeModel, Tensors
from clickclean_client.testing._repository import Models
from clickclean_client.testing._service import Service
from clickclean_client.testing._shared_memory import Regions
from clickclean_client.testing._switches import Answer, Switches
from clickclean_client.testing._tensors import arrays_from_request, response_from_arrays
from clickclean_client.testing._threads import CallThreads
from clickclean_client.testing._tls import FakeTls

_HOST: Final = "127.0.0.1"
_SETTINGS: Final = ("delay_s", "token")
_OPTIONS: Final = (
    # Two servers on one port would share its callers.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


class FakeServer(Switches):
    """A fake Triton on loopback: real sockets, gRPC and messages, but it runs no model.

        with FakeServer() as server:
            server.serve("digits", inputs={"image": ("FP32", [-1, 1, 8, 8])},
                         outputs={"logits": ("FP32", [-1, 10])},
                         answer=lambda image: {"logits": image.reshape(-1, 64)[:, :10]})
            ...  # call server.endpoint

    `port` 0 takes a free one, which `stop()` and `start()` keep, so that callers see a server
    that comes back. With `tls` it speaks TLS; with `token` it demands a bearer token. Any number
    of calls is answered at once. Leaving the `with` statement stops it and raises the first of
    `mistakes`, if there is one and no other error.

    What it has in common with a real server was compared with tritonserver 2.51: codes and texts
    of refusals, the checks of inputs, which version answers whom. It batches nothing, keeps no
    queue, reads no files, and takes no notice of a `config` that comes with a load.

    Attributes (besides those of counters and switches, see below):
        mistakes: What the test's own answers did wrong; the caller got INTERNAL.

    Raises:
        FakeServerError: the port is none.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        tls: FakeTls | None = None,
        token: str = "",
        delay_s: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(port, int) or not 0 <= port < 2**16:
            raise FakeServerError(f"{port!r} is no port.", hint="0 takes a free one.")
        self.token = token
        self.delay_s = delay_s
        self.mistakes: list[FakeServerError] = []
        self.models = Models()
        self.regions = Regions()
        self._port = port
        self._tls = tls
        self._server: Any = None
        self._threads: CallThreads | None = None
        self._made = True

    @property
    def port(self) -> int:
        """The port, which stays the same over `stop` and `start`.

        Raises:
            FakeServerError: it is not known before the first start.
        """
        if not self._port:
            raise FakeServerError(
                "A fake server has no port before it starts.",
                hint="Use it in a `with` statement, or call start().",
            )
        return self._port

    @property
    def endpoint(self) -> str:
        """Where callers find it, as host:port; see `port`."""
        return f"{_HOST}:{self.port}"

    @property
    def last_inputs(self) -> dict[str, NDArray[Any]]:
        """The inputs of the last ModelInfer, by name.

        Raises:
            FakeServerError: there was none that a model here takes.
        """
        request = self.last_request.get("ModelInfer")
        if request is None:
            raise FakeServerError("No inference was asked for.", hint=f"Calls: {dict(self.calls)}.")
        try:
            model = self.models.find(request.model_name, request.model_version)
            return arrays_from_request(request, model, self.regions)
        except Refusal as refusal:
            raise FakeServerError(
                f"The last inference cannot be read: {refusal.text}.",
                hint='Its message is in last_request["ModelInfer"].',
            ) from refusal

    def start(self) -> FakeServer:
        """Listen. A server that runs already stays as it is.

        Raises:
            FakeServerError: the port is taken.
        """
        if self._server is not None:
            return self
        threads = CallThreads()
        server = grpc.server(threads, handlers=[Service(self)], options=_OPTIONS)
        address = f"{_HOST}:{self._port}"
        try:
            if self._tls is None:
                self._port = server.add_insecure_port(address)
            else:
                self._port = server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as exc:
            raise FakeServerError(
                f"A fake server cannot listen on {address}.",
                hint="Another process has the port, or the certificate and the key do not fit.",
            ) from exc
        self._running = True
        server.start()
        self._server, self._threads = server, threads
        return self

    def stop(self, grace_s: float = 0.0) -> None:
        """Close the port and all connections; models, switches and counters stay. Repeatable.

        Calls under way get `grace_s` to end, and are then cut off.
        """
        if self._server is None or self._threads is None:
            return
        server, threads = self._server, self._threads
        self._server = self._threads = None
        server.stop(grace_s or None).wait()
        with self._changed:
            self._running = False
            self._changed.notify_all()
        threads.shutdown()

    def serve(
        self,
        model: str,
        *,
        inputs: Tensors,
        outputs: Tensors | None = None,
        answer: Callable[..., Any] | None = None,
        max_batch: int = 4,
        version: str | int = "1",
        optional: Sequence[str] = (),
        parameters: Mapping[str, str] | None = None,
        decoupled: bool = False,
    ) -> FakeModel:
        """Load a version of a model, or replace it. Who names no version gets the highest.

        `inputs` and `outputs` map names to (dtype, shape), for instance
        `{"image": ("FP32", [-1, 1, 8, 8])}`; the shape has the batch axis in front, -1 is free.
        `answer` is called in a thread for each call with the inputs as numpy arrays by keyword,
        and returns the outputs as arrays by name (lists get the declared dtype); a decoupled
        model's may yield any number of them. BYTES are object arrays of `bytes`, BF16 are uint16
        bits. It may raise `Refusal` to answer with a gRPC status; what else it raises is
        answered as a Python model that raises. Without `answer` each output repeats the input in
        its place, or is zeros. See `FakeModel` for the rest.

        Raises:
            FakeServerError: something of it makes no sense.
        """
        served = FakeModel(
            name=model,
            inputs=inputs,
            outputs=outputs,
            answer=answer,
            max_batch=max_batch,
            version=version,
            optional=optional,
            parameters=parameters,
            decoupled=decoupled,
        )
        self.models.add(served)
        return served

    def unload(self, model: str, version: str | int = "") -> None:
        """Take a version out of service, or all of a model; RepositoryModelLoad brings it back."""
        self.models.unload(model, str(version))

    def respond(self, request: Any) -> Any:
        """The ModelInferResponse that a ModelInferRequest gets, for an `answer` that alters it.

        Raises:
            Refusal: what the caller would get instead.
        """
        model = self.models.find(request.model_name, request.model_version)
        if model.decoupled:
            text = "ModelInfer RPC doesn't support models with decoupled transaction policy"
            raise Refusal("UNIMPLEMENTED", text)
        (response,) = self._responses(model, request)
        return response

    def __enter__(self) -> FakeServer:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        self.regions.close()
        if kind is None and self.mistakes:
            raise self.mistakes[0]

    if not TYPE_CHECKING:  # a type checker finds such a mistake by itself

        def __setattr__(self, name: str, value: object) -> None:
            # A setting that does not exist would be a switch that nobody throws.
            if "_made" in self.__dict__ and name not in self.__dict__:
                method = hasattr(type(self), name)
                raise FakeServerError(
                    f"A fake server has no setting {name!r}.",
                    hint=f"Call server.{name}(...)." if method else nearest(name, _SETTINGS),
                )
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        place = f"{_HOST}:{self._port}" if self._port else "not started"
        return f"FakeServer({place})"

    def _responses(self, model: FakeModel, request: Any) -> Iterator[Any]:
        start_ns = time.perf_counter_ns()
        rows = 0
        ok = False
        try:
            inputs = arrays_from_request(request, model, self.regions)
            rows = next((a.shape[0] for a in inputs.values() if a.ndim), 1) or 1
            with closing(model.compute(inputs)) as answers:
                for arrays in answers:
                    yield response_from_arrays(request, model, arrays, self.regions)
            ok = True
        finally:
            took_ns = time.perf_counter_ns() - start_ns
            self.models.count(model, rows=rows if model.max_batch else 1, took_ns=took_ns, ok=ok)

    def _before_inference(self, call: Call) -> None:
        self._pause(call, self.delay_s)
        self._check_process(call)

    def _own_answer(self, call: Call) -> Answer | None:
        with self._changed:
            answers = self._answers
            return answers.get((call.rpc, call.model)) or answers.get((call.rpc, ""))

    def _revive(self, model: str) -> None:
        with self._changed:
            self._dead.pop(model, None)

    def _mistake(self, call: Call, exc: Exception) -> tuple[Any, str]:
        """What the caller of an answer that raised gets; the test gets it when the server stops."""
        if isinstance(exc, FakeServerError) or self._own_answer(call) is not None:
            mistake = exc if isinstance(exc, FakeServerError) else _raised(call, exc)
            with self._changed:
                self.mistakes.append(mistake)
            return grpc.StatusCode.INTERNAL, f"{mistake} {mistake.hint}".strip()
        text = f"Failed to process the request(s) for model instance '{call.model}_0_0', "
        return grpc.StatusCode.INTERNAL, f"{text}message: {type(exc).__name__}: {exc}"


def _raised(call: Call, exc: Exception) -> FakeServerError:
    error = FakeServerError(
        f"The answer for {call.rpc} raised {type(exc).__name__}: {exc}.",
        hint="It gets the request message, and returns a message or bytes.",
    )
    error.__cause__ = exc
    return error
