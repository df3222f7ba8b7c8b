"""One run: users take arrivals in turn, wait until they are due, send, and judge the answer.

Nothing here knows Locust. Under Locust the interpreter is patched, so `time.sleep` lets the other
users run.
"""

import contextlib
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from clickclean_client import ClickCleanError, Client, ClientError, InferResult
from clickclean_loadtest.arrivals import Arrival, Arrivals, Beats
from clickclean_loadtest.measure import result_of
from clickclean_loadtest.plan import Plan
from clickclean_loadtest.record import Record
from clickclean_loadtest.result import LoadResult

USERS_PER_CONNECTION = 50  # HTTP/2 servers commonly allow 100 streams on a connection
NAP_MAX_S = 0.25  # how soon a waiting user notices that the run was stopped
GRACE_S = 5.0  # for the last answers, beyond their deadline
MAKE_READY_TIMEOUT_S = 10.0

Fire = Callable[[float, int, str], None]
"""Called for every finished request: (latency in ms, bytes of the answer, kind of failure)."""


class Execution:
    """A plan that is being carried out.

    Args:
        plan: what to do.
        open_ended: the run has no length of its own and ends when it is stopped.
        fire: hears of every finished request.
    """

    def __init__(self, plan: Plan, *, open_ended: bool, fire: Fire) -> None:
        self.plan = plan
        self.record = Record()
        self.beats = Beats()
        self._open_ended = open_ended
        self._fire = fire
        self._arrivals = Arrivals(plan.spec.rate, plan.spec.arrivals)
        self._planned = self._arrivals.count
        self._start_s = 0.0
        self._stopped_s: float | None = None
        self._clients: list[Client] = []
        self._joined = 0
        self.started_at: datetime | None = None
        self.result: LoadResult | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the schedule began."""
        return time.perf_counter() - self._start_s

    @property
    def total(self) -> int:
        """Requests that belong to the run, fewer after `stop`."""
        return self._arrivals.count

    @property
    def done(self) -> bool:
        """Whether every request is finished, or long past its deadline."""
        spec = self.plan.spec
        late = self.elapsed_s > self.total / spec.rate + spec.timeout_s + GRACE_S
        return len(self.record) >= self.total or late

    def connect(self) -> None:
        """Open the connections, so that no timed request has to."""
        spec = self.plan.spec
        for _ in range(math.ceil(self.plan.users / USERS_PER_CONNECTION)):
            # A repetition would hide a failure, and count as a slow answer.
            client = Client(spec.endpoint, timeout_s=MAKE_READY_TIMEOUT_S, retry=None)
            with contextlib.suppress(ClientError):  # a failure is counted when it meets a request
                client.metadata(spec.model, version=spec.version)
            self._clients.append(client)

    def join(self) -> Client:
        """The connection of the next user."""
        self._joined += 1
        return self._clients[self._joined % len(self._clients)]

    def start(self) -> None:
        """Begin the schedule."""
        self.started_at = datetime.now(UTC)
        self._start_s = time.perf_counter()

    def stop(self) -> None:
        """Take no request that is not due yet."""
        if self._stopped_s is None and not self.done:
            self._stopped_s = self.elapsed_s
            self._arrivals.cut(self._stopped_s)

    def serve_next(self, client: Client) -> bool:
        """Take one arrival and see it through; False when there is none left."""
        arrival = self._arrivals.take()
        if arrival is None:
            return False
        on_time = self.elapsed_s <= arrival.due_s
        while (wait_s := arrival.due_s - self.elapsed_s) > 0:
            if not self._arrivals.holds(arrival):
                return False
            time.sleep(min(wait_s, NAP_MAX_S))
        if self._arrivals.holds(arrival):
            self._send(client, arrival, on_time=on_time)
        return True

    def finish(self) -> LoadResult:
        """Close the connections and judge what was recorded; repeated calls change nothing."""
        if self.result is not None:
            return self.result
        for client in self._clients:
            client.close()
        spec = self.plan.spec
        self.result = result_of(
            self.plan,
            self.record,
            self.beats,
            started_at=self.started_at or datetime.now(UTC),
            duration_s=spec.duration_s if self._stopped_s is None else self._stopped_s,
            unfinished=max(0, self.total - len(self.record)),
            complete=self._open_ended or len(self.record) >= self._planned,
            users=self._joined,
        )
        return self.result

    def _send(self, client: Client, arrival: Arrival, *, on_time: bool) -> None:
        spec = self.plan.spec
        sent_s = self.elapsed_s
        # A caller's patience begins when it wants the answer, not when it gets its turn.
        left_s = arrival.due_s + spec.timeout_s - sent_s
        rows = self.plan.workload.request(arrival.index)
        inputs = self.plan.workload.take(rows)
        answer: InferResult | None = None
        kind = why = ""
        if left_s <= 0:
            kind, why = "NotSent", f"no user was free for {spec.timeout_s:g} s"
            done_s = sent_s
        else:
            try:
                answer = client.infer(spec.model, inputs, version=spec.version, timeout_s=left_s)
            except ClickCleanError as exc:
                kind, why = type(exc).__name__, str(exc)
            done_s = self.elapsed_s
        size_bytes = 0
        if answer is not None:
            self.record.versions[answer.version] += 1
            size_bytes = sum(array.nbytes for array in answer.values())
            judged = self.plan.answers.judge(rows, answer.version, answer)
            self.record.checked += judged.checked
            self.record.labelled_rows += judged.labelled
            self.record.right_rows += judged.right
            if judged.why:
                kind, why = "WrongAnswer", judged.why
        self.record.note(arrival, sent_s=sent_s, done_s=done_s, on_time=on_time, kind=kind, why=why)
        self._fire((done_s - arrival.due_s) * 1000, size_bytes, kind)
