"""Repositories with one planted mistake each, after public threads, and their correct twins.

Texts are our own; the mistakes are those of the threads.
"""

from tests.export.repository_lint.cases_ensemble import ENSEMBLE_CASES, PYTHON_CASES
from tests.export.repository_lint.cases_layout import LAYOUT_CASES
from tests.export.repository_lint.cases_placement import PLACEMENT_CASES
from tests.export.repository_lint.cases_serving import BATCHING_CASES, WARMUP_CASES
from tests.export.repository_lint.cases_tensors import ONNX_CASES, TENSOR_CASES
from tests.export.repository_lint.cases_text import TEXT_CASES

CASES = (
    *TEXT_CASES,
    *LAYOUT_CASES,
    *PLACEMENT_CASES,
    *TENSOR_CASES,
    *ONNX_CASES,
    *BATCHING_CASES,
    *WARMUP_CASES,
    *ENSEMBLE_CASES,
    *PYTHON_CASES,
)
