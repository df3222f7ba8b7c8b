"""Batching, queues and caches, against the answer time aimed at."""

from collections.abc import Iterator
from typing import Any, Final

from clickclean_export.repository_lint.finding import (
    CORE_CHECKS,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import Subject

_GUIDE = "https://github.com/triton-inference-server/server/blob/main/docs/user_guide/batcher.md"

NEGATIVE = Rule(
    "max-batch-negative",
    "error",
    "max_batch_size is below 0.",
    "write 0 for a model that does not batch",
    server_issue(264),
)
NO_BATCH = Rule(
    "batching-without-batch",
    "warning",
    "dynamic_batching with max_batch_size 0: every request runs alone.",
    "set max_batch_size, and leave the batch axis out of dims",
    server_issue(5721),
)
PREFERRED = Rule(
    "preferred-above-max",
    "error",
    "A preferred_batch_size above max_batch_size, or not above 0.",
    "raise max_batch_size or drop the size; most models need no preferred sizes",
    "https://github.com/triton-inference-server/onnxruntime_backend/issues/148",
)
DELAY = Rule(
    "delay-above-slo",
    "warning",
    "A lone request waits for company longer than the whole answer may take.",
    "lower max_queue_delay_microseconds; it counts into every answer",
    f"{_GUIDE}#delayed-batching",
)
TIMEOUT = Rule(
    "timeout-above-slo",
    "warning",
    "A request may wait in the queue longer than the whole answer may take.",
    "default_timeout_microseconds: the target, less the time of a full batch",
    f"{_GUIDE}#queue-policy",
)
NO_TIMEOUT = Rule(
    "queue-without-timeout",
    "warning",
    "Requests wait without end, so an overloaded server answers everybody late.",
    "default_queue_policy { timeout_action: REJECT default_timeout_microseconds: ... }",
    f"{_GUIDE}#queue-policy",
)
WAKE_UPS = Rule(
    "queue-policy-loses-wakeups",
    "warning",
    "A queue policy in a CPU fleet's config: tritonserver without core#509 then loses wake-ups, and"
    " requests stall.",
    "leave default_queue_policy out where such a server runs",
    server_issue(8870),
)
SMALL_QUEUE = Rule(
    "queue-below-batch",
    "warning",
    "max_queue_size is below max_batch_size, so a full batch can never gather.",
    "let the queue hold at least one full batch for each instance",
    f"{_GUIDE}#queue-policy",
)
PRIORITY = Rule(
    "priority-out-of-range",
    "error",
    "default_priority_level, or one with a policy, is not between 1 and priority_levels.",
    "number priorities from 1, the highest",
    CORE_CHECKS,
)
ORDERING = Rule(
    "ordering-with-delay",
    "error",
    "preserve_ordering together with several priorities or with timeout_action DELAY.",
    "drop preserve_ordering, or keep one priority and REJECT",
    CORE_CHECKS,
)
CACHE = Rule(
    "cache-not-supported",
    "error",
    "response_cache for a decoupled model or one with sequence batching.",
    "remove response_cache",
    "https://github.com/triton-inference-server/core/pull/91",
)
OPTIONAL = Rule(
    "optional-with-batching",
    "error",
    "An optional input of an ONNX Runtime model that batches.",
    "set max_batch_size to 0, or make the input required",
    "https://github.com/triton-inference-server/onnxruntime_backend/blob/main/src/onnxruntime.cc",
)
RULES: Final = (
    NEGATIVE,
    NO_BATCH,
    PREFERRED,
    DELAY,
    TIMEOUT,
    NO_TIMEOUT,
    WAKE_UPS,
    SMALL_QUEUE,
    PRIORITY,
    ORDERING,
    CACHE,
    OPTIONAL,
)


def check_batching(subject: Subject) -> Iterator[LintFinding]:
    """Look at batch sizes and priorities."""
    message, config = subject.message, subject.config
    top = message.max_batch_size
    if top < 0:
        line = config.line("max_batch_size")
        yield subject.find(NEGATIVE, f"max_batch_size is {top}", line=line)
        return
    if message.HasField("dynamic_batching"):
        batching = message.dynamic_batching
        wrong = [size for size in batching.preferred_batch_size if not 0 < size <= top]
        if wrong:
            problem = f"preferred_batch_size {wrong[0]}, max_batch_size {top}"
            line = config.line("preferred_batch_size")
            yield subject.find(PREFERRED, problem, line=line)
        elif top == 0 and message.input:
            # Without inputs the backend may complete the config, max_batch_size included.
            line = config.line(r"^\s*dynamic_batching\b")
            yield subject.find(NO_BATCH, "max_batch_size is 0", line=line)
        yield from _priorities(subject, batching)
    elif message.sequence_batching.HasField("oldest"):
        sizes = message.sequence_batching.oldest.preferred_batch_size
        wrong = [size for size in sizes if not 0 < size <= top]
        if wrong:
            problem = f"preferred_batch_size {wrong[0]}, max_batch_size {top}"
            yield subject.find(PREFERRED, problem, line=config.line("preferred_batch_size"))


def check_queue(subject: Subject) -> Iterator[LintFinding]:
    """Compare waiting times with the answer time aimed at."""
    message, config = subject.message, subject.config
    if not message.HasField("dynamic_batching"):
        return
    batching = message.dynamic_batching
    slo_us = subject.slo_ms * 1000
    delay = batching.max_queue_delay_microseconds
    if delay >= slo_us:
        problem = f"requests wait up to {delay / 1000:g} ms for a batch; {_aim(subject)}"
        line = config.line("max_queue_delay_microseconds")
        yield subject.find(DELAY, problem, line=line)
    line = config.line(r"\bdefault_queue_policy\b")
    if config.fleet == "cpu":
        if batching.HasField("default_queue_policy") or batching.priority_queue_policy:
            yield subject.find(WAKE_UPS, "this fleet's config has a queue policy", line=line)
        return
    for policy in _policies(batching):
        if policy.default_timeout_microseconds >= slo_us:
            waited = policy.default_timeout_microseconds / 1000
            problem = f"requests may wait {waited:g} ms in the queue; {_aim(subject)}"
            yield subject.find(TIMEOUT, problem, line=config.line("default_timeout_microseconds"))
        if 0 < policy.max_queue_size < message.max_batch_size:
            problem = (
                f"max_queue_size {policy.max_queue_size}, max_batch_size {message.max_batch_size}"
            )
            yield subject.find(SMALL_QUEUE, problem, line=config.line("max_queue_size"))
    timeout = batching.default_queue_policy.default_timeout_microseconds
    if subject.slo_known and not timeout and not batching.priority_queue_policy:
        problem = f"nothing bounds the wait in the queue; {_aim(subject)}"
        yield subject.find(NO_TIMEOUT, problem, line=config.line(r"^\s*dynamic_batching\b"))


def check_policies(subject: Subject, backend: str) -> Iterator[LintFinding]:
    """Look at settings that exclude each other."""
    message, config = subject.message, subject.config
    if message.response_cache.enable:
        line = config.line("response_cache")
        if message.model_transaction_policy.decoupled:
            yield subject.find(CACHE, "response_cache and a decoupled model", line=line)
        if message.HasField("sequence_batching"):
            yield subject.find(CACHE, "response_cache and sequence_batching", line=line)
    if backend == "onnxruntime" and message.max_batch_size > 0:
        for tensor in message.input:
            if tensor.optional:
                problem = f"input '{tensor.name}' is optional, and the model batches"
                line = config.line_of_name(tensor.name)
                yield subject.find(OPTIONAL, problem, line=line)


def _priorities(subject: Subject, batching: Any) -> Iterator[LintFinding]:
    levels = batching.priority_levels
    line = subject.config.line("priority")
    if levels:
        given = [batching.default_priority_level, *batching.priority_queue_policy]
        wrong = [level for level in given if not 1 <= level <= levels]
        if wrong:
            problem = f"priority level {wrong[0]}, priority_levels {levels}"
            yield subject.find(PRIORITY, problem, line=line)
    if batching.preserve_ordering:
        late = any(p.timeout_action == p.DELAY for p in _policies(batching))
        if late or levels > 1:
            line = subject.config.line("preserve_ordering")
            yield subject.find(ORDERING, "preserve_ordering cannot be kept", line=line)


def _policies(batching: Any) -> list[Any]:
    policies = list(batching.priority_queue_policy.values())
    if batching.HasField("default_queue_policy"):
        policies.insert(0, batching.default_queue_policy)
    return policies


def _aim(subject: Subject) -> str:
    assumed = "" if subject.slo_known else " (assumed, see --slo-ms)"
    return f"the answer is wanted within {subject.slo_ms:g} ms{assumed}"
