"""Before any load: is the server there, what can it be sent, and what does it promise?"""

from dataclasses import dataclass

from clickclean_client import Client, ModelMetadata
from clickclean_loadtest.answers import Answers
from clickclean_loadtest.inputs import Workload, workload_from_file, workload_from_golden
from clickclean_loadtest.spec import LoadSpec
from clickclean_loadtest.target import Target, target_of_version

PROBE_TIMEOUT_S = 10.0  # the first request of a fresh server may wait for its warm-up


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the load needs, known to work: one request was answered.

    Attributes:
        spec: the settings.
        version: the one that answered.
        workload: rows to send.
        answers: judges what comes back.
        target: limits of that version, overridden by the settings.
        users: Locust users.
    """

    spec: LoadSpec
    version: str
    workload: Workload
    answers: Answers
    target: Target
    users: int


def prepare(spec: LoadSpec) -> Plan:
    """Ask the server, read the rows and the target, and send one request.

    Raises:
        ClientError: the server is not there, does not know the model, or refuses the request.
        LoadTestError: there is nothing to send, or a file is unusable.
        GoldenError: the version's golden file is unusable.
    """
    with Client(spec.endpoint, timeout_s=PROBE_TIMEOUT_S) as client:
        metadata = client.metadata(spec.model, version=spec.version)
        expected = spec.version or _newest(metadata)
        workload = _workload(spec, metadata, expected)
        rows = workload.request(0)
        version = client.infer(spec.model, workload.take(rows), version=spec.version).version
    if version != expected and spec.inputs is None:
        workload = _workload(spec, metadata, version)
    target = target_of_version(spec.repository, spec.model, version).overridden(
        mean_ms=spec.mean_ms, p99_ms=spec.p99_ms, error_rate_max=spec.error_rate_max
    )
    answers = Answers(workload, repository=spec.repository, model=spec.model)
    answers.can_check(version)  # reads the golden file now, not while requests are timed
    return Plan(
        spec=spec,
        version=version,
        workload=workload,
        answers=answers,
        target=target,
        users=spec.users_for(target),
    )


def _workload(spec: LoadSpec, metadata: ModelMetadata, version: str) -> Workload:
    if spec.inputs is not None:
        return workload_from_file(spec.inputs, specs=metadata.inputs, batch=spec.batch)
    return workload_from_golden(spec.repository, spec.model, version, batch=spec.batch)


def _newest(metadata: ModelMetadata) -> str:
    """The version that Triton gives to callers that name none: the highest that it serves."""
    numbered = [version for version in metadata.versions if version.isdigit()]
    return max(numbered, key=int, default="1")
