"""One incarnation of the server: a tritonserver process and our connections to it."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from clickclean_client import Admin, Client, ClientError, Golden
from clickclean_server.errors import (
    PlatformError,
    ServerLostError,
    StartTimeoutError,
    VersionBrokenError,
)
from clickclean_server.launch import Launch
from clickclean_server.ownership import Owner, model_processes
from clickclean_server.ports import HOST
from clickclean_server.probe import Outcome, Prober
from clickclean_server.process import POLL_S, TritonProcess
from clickclean_server.repository import Promoted

LIVE_TIMEOUT_S = 30.0
# A load may never return when something is wrong with the folder.
LOAD_TIMEOUT_S = 30.0
# The first request to a model compiles kernels.
PROOF_TIMEOUT_S = 20.0
INDEX_TIMEOUT_S = 5.0
# A parameter that no backend reads: a config that differs in it alone makes Triton load every
# version anew, without a change to a published file, whose bytes and times are immutable.
REVIVAL = "CLICKCLEAN_REVIVAL"


class Stopped(Exception):  # noqa: N818 - not an error
    """The user asked to stop while something was waited for."""


class Instance:
    """Starts the process at construction; loads and proves models."""

    def __init__(self, launch: Launch, owner: Owner, log: Path) -> None:
        endpoint = f"{HOST}:{launch.ports.grpc}"
        self.process = TritonProcess(launch, owner, log)
        self.client = Client(endpoint, exact=True, retry=None)
        self.admin = Admin(endpoint, key=launch.key, timeout_s=LOAD_TIMEOUT_S)
        self.prober = Prober(self.client, self.admin)

    def wait_live(self, stopping: Callable[[], bool]) -> None:
        """Returns when the server answers.

        Raises Stopped, StartTimeoutError, PlatformError for a missing library, ServerLostError when
        the process ended.
        """
        deadline = time.monotonic() + LIVE_TIMEOUT_S
        while True:
            ready = self.client.is_ready(timeout_s=1.0)
            code = self.process.exit_code()
            if code is not None:
                # Asked second: somebody else's server may have taken the port and answer.
                raise self._ended(code)
            if ready:
                return
            if stopping():
                raise Stopped
            if time.monotonic() > deadline:
                raise StartTimeoutError(LIVE_TIMEOUT_S, "The server", self.process.log)
            time.sleep(POLL_S)

    def load(self, promoted: Promoted, revival: int) -> None:
        """Makes exactly the promoted versions live; raises ClientError, old ones then serve on.

        The config travels with the call: what was checked is what is loaded. A new `revival` number
        makes Triton start new model processes.
        """
        from google.protobuf import json_format  # type: ignore[import-untyped]

        config = type(promoted.config)()
        config.CopyFrom(promoted.config)
        if revival:
            config.parameters[REVIVAL].string_value = str(revival)
        text = json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None)
        self.admin.load(promoted.model, config_json=text, timeout_s=LOAD_TIMEOUT_S)

    def prove(self, promoted: Promoted) -> dict[int, float]:
        """Golden requests to each promoted version; raises VersionBrokenError.

        Returns how long a request of one row took in each version, in seconds.
        """
        took: dict[int, float] = {}
        for version in promoted.versions:
            for golden in (promoted.goldens[version], promoted.pulse(version)):
                took[version] = self._prove(promoted.model, version, golden)
        return took

    def _prove(self, model: str, version: int, golden: Golden) -> float:
        deadline = time.monotonic() + PROOF_TIMEOUT_S
        while True:
            start = time.monotonic()
            found = self.prober.probe(model, version, golden, max(0.1, deadline - start))
            if found.outcome is Outcome.RIGHT:
                return time.monotonic() - start
            # A queue policy may refuse golden requests of a busy server for a while.
            if found.outcome in {Outcome.FAULT, Outcome.GONE} or time.monotonic() > deadline:
                problem = f"its golden request failed: {found.reason}"
                raise VersionBrokenError(model, version, problem, log=self.process.log)
            time.sleep(POLL_S)

    def bring_up(self, promoted: Promoted, revival: int) -> dict[int, float]:
        """`load`, then `prove`; raises VersionBrokenError for either."""
        try:
            self.load(promoted, revival)
        except ClientError as exc:
            raise VersionBrokenError(
                promoted.model, promoted.versions[-1], reason_of(exc), log=self.process.log
            ) from exc
        return self.prove(promoted)

    def states(self, model: str) -> dict[int, tuple[str, str]]:
        """State and reason of each version that the server knows; raises ClientError."""
        index = self.admin.index(timeout_s=INDEX_TIMEOUT_S)
        return {
            int(entry.version): (entry.state, entry.reason)
            for entry in index
            if entry.name == model and entry.version
        }

    def serves(self, promoted: Promoted) -> bool:
        """Whether exactly this is loaded, so that loading it would only cost a reload.

        A release loads a version first and writes the config afterwards. Writing it changes time
        stamps in the model's folder, which Triton would take for another model.
        """
        try:
            states = self.states(promoted.model)
            served = self.admin.config(promoted.model)
        except ClientError:
            return False
        ready = [version for version, (state, _) in states.items() if state == "READY"]
        wanted = promoted.config
        plain = ("backend", "platform", "default_model_filename", "max_batch_size")
        return (
            sorted(ready) == promoted.versions
            and all(getattr(served, name) == getattr(wanted, name) for name in plain)
            and list(served.input) == list(wanted.input)
            and list(served.output) == list(wanted.output)
            and dict(served.parameters) == dict(wanted.parameters)
            and [(group.count, group.kind) for group in served.instance_group]
            == [(group.count, group.kind) for group in wanted.instance_group]
            and served.HasField("dynamic_batching") == wanted.HasField("dynamic_batching")
            # Triton fills in sizes where none are given, and a policy that changes nothing.
            and (
                not wanted.dynamic_batching.preferred_batch_size
                or list(served.dynamic_batching.preferred_batch_size)
                == list(wanted.dynamic_batching.preferred_batch_size)
            )
            and served.dynamic_batching.max_queue_delay_microseconds
            == wanted.dynamic_batching.max_queue_delay_microseconds
            and served.dynamic_batching.default_queue_policy
            == wanted.dynamic_batching.default_queue_policy
            and list(served.model_warmup) == list(wanted.model_warmup)
            and served.optimization.cuda == wanted.optimization.cuda
        )

    def pids(self, promoted: Promoted) -> dict[int, set[int]]:
        """The processes that run each version; empty for a backend without processes."""
        every = model_processes(self.process.owner)
        return {v: every.get((promoted.model, v), set()) for v in promoted.versions}

    def close(self) -> None:
        """Closes the connections; the process is ended by `TritonProcess`."""
        self.client.close()
        self.admin.close()

    def _ended(self, code: int) -> ServerLostError | PlatformError:
        # The dynamic linker has no other way to say it, and exits with 127.
        missing = re.search(rb"loading shared libraries: (\S+):", self.process.output())
        if missing:
            name = missing.group(1).decode(errors="replace")
            return PlatformError(
                f"Tritonserver needs the library {name}, which is not installed",
                remedy=f"Install the system package that has {name}",
            )
        problem = f"Tritonserver ended with code {code} while it started"
        return ServerLostError(problem, self.process.log)


def reason_of(exc: ClientError) -> str:
    """What a failed load says, without Triton's and Python's wrapping."""
    text = getattr(exc, "server_message", "") or str(exc)
    found = re.search(r"TritonModelException: (.*?)\s*(?:At:|$)", text, re.DOTALL)
    return json.dumps(found.group(1))[1:-1] if found else str(exc)
