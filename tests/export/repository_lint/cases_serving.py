"""Mistakes in batching, queues and warm-up."""

from tests.export.repository_lint.repositories import (
    CONFIG,
    NET,
    ONNX,
    PYTHON,
    SERVER,
    Case,
    add,
    more,
)
from tests.export.repository_lint.trees import both, onnx_bytes, put, swap

WARMUP = """
model_warmup [ { name: "one" batch_size: 1 inputs {
  key: "x"
  value { data_type: TYPE_FP32 dims: [ 3, 8 ] zero_data: true }
} } ]
"""
FILE_WARMUP = WARMUP.replace("zero_data: true", 'input_data_file: "x.raw"')
BATCHING = """
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 2000
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 100000
    max_queue_size: 64
  }
}
"""
PRIORITIES = """
dynamic_batching { priority_levels: 2 default_priority_level: 1 }
"""


BATCHING_CASES = (
    Case(
        "max-batch-negative",
        PYTHON,
        swap(CONFIG, "max_batch_size: 8", "max_batch_size: -1"),
        f"{SERVER}264",
    ),
    Case(
        "batching-without-batch",
        more(PYTHON, "dynamic_batching { }"),
        swap(CONFIG, "max_batch_size: 8", "max_batch_size: 0"),
        f"{SERVER}5721",
    ),
    Case("preferred-above-max", more(ONNX, BATCHING), swap(CONFIG, "[ 4, 8 ]", "[ 4, 16 ]")),
    Case(
        "preferred-above-max",
        {
            CONFIG: 'backend: "onnxruntime"\nmax_batch_size: 128\n'
            "dynamic_batching { preferred_batch_size: [ 2 ] }",
            "net/1/model.onnx": onnx_bytes(),
        },
        swap(CONFIG, "max_batch_size: 128\n", ""),
        "https://github.com/triton-inference-server/onnxruntime_backend/issues/148",
    ),
    Case(
        "delay-above-slo",
        more(ONNX, BATCHING),
        swap(CONFIG, "max_queue_delay_microseconds: 2000", "max_queue_delay_microseconds: 300000"),
    ),
    Case(
        "timeout-above-slo",
        more(ONNX, BATCHING),
        swap(
            CONFIG, "default_timeout_microseconds: 100000", "default_timeout_microseconds: 900000"
        ),
    ),
    Case(
        "queue-without-timeout",
        more(ONNX, BATCHING),
        swap(CONFIG, "    default_timeout_microseconds: 100000\n", ""),
        slo_ms=150.0,
    ),
    Case(
        "queue-policy-loses-wakeups",
        {**ONNX, "net/configs/cpu.pbtxt": NET + "dynamic_batching { }"},
        swap("net/configs/cpu.pbtxt", "dynamic_batching { }", BATCHING),
        f"{SERVER}8870",
    ),
    Case(
        "queue-below-batch",
        more(ONNX, BATCHING),
        swap(CONFIG, "max_queue_size: 64", "max_queue_size: 4"),
    ),
    Case(
        "priority-out-of-range",
        more(PYTHON, PRIORITIES),
        swap(CONFIG, "default_priority_level: 1", ""),
    ),
    Case(
        "ordering-with-delay",
        more(PYTHON, BATCHING),
        both(
            swap(CONFIG, "timeout_action: REJECT", "timeout_action: DELAY"),
            swap(CONFIG, "  max_queue_delay", "  preserve_ordering: true\n  max_queue_delay"),
        ),
    ),
    Case(
        "cache-not-supported",
        more(PYTHON, "response_cache { enable: true }"),
        add("model_transaction_policy { decoupled: true }"),
        "https://github.com/triton-inference-server/core/pull/91",
    ),
    Case(
        "optional-with-batching",
        ONNX,
        swap(CONFIG, "dims: [ 3, 8 ]", "dims: [ 3, 8 ] optional: true"),
    ),
)

WARMUP_CASES = (
    Case(
        "warmup-input-missing",
        more(ONNX, WARMUP),
        swap(CONFIG, 'key: "x"', 'key: "input"'),
        f"{SERVER}1795",
        "'input'",
    ),
    Case(
        "warmup-dims-differ",
        more(ONNX, WARMUP),
        swap(CONFIG, "dims: [ 3, 8 ] zero", "dims: [ 1, 3, 8 ] zero"),
    ),
    Case(
        "warmup-type-differs",
        more(ONNX, WARMUP),
        swap(CONFIG, "data_type: TYPE_FP32 dims", "data_type: TYPE_INT32 dims"),
    ),
    Case("warmup-without-data", more(ONNX, WARMUP), swap(CONFIG, " zero_data: true", "")),
    Case(
        "warmup-file",
        {**more(ONNX, FILE_WARMUP), "net/warmup/x.raw": bytes(96)},
        put("net/warmup/x.raw", bytes(50)),
        f"{SERVER}1796",
        "96",
    ),
)
