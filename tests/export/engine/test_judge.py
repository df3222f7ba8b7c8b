"""A builder's log is read: what means "ignored" refuses, noise does not."""

from typing import Any

import pytest

from clickclean_export.engine.judge import judge_build


def outcome(
    *log: tuple[str, str], stage: str = "parse", complete: bool = True, **more: Any
) -> dict[str, Any]:
    heard = [(stage, *line) for line in log]
    return {"stage": "build", "complete": complete, "errors": [], "log": heard, **more}


# As TensorRT and TensorRT-RTX say them.
IGNORED = {
    "setHardwareCompatibilityLevel() is unsupported in TensorRT-RTX.": "builder-error",
    "onnxOpImporters.cpp:1980: TensorRT supports QuantizeLinear/DequantizeLinear with UINT8"
    " zero_point only on DLA (version >= 3.16). Defaulting to INT8 instead.": "unsigned-qdq",
    "onnxOpImporters.cpp:1988: For zero_point with type int32 TensorRT will use INT8 instead.": (
        "unsigned-qdq"
    ),
    "Flag kTF32 is ignored on this device.": "builder-error",
}
HARMLESS = [
    "CUDA lazy loading is unsupported here. It would significantly reduce device memory usage",
    "Detected layernorm nodes in FP16.",
    "Unignored settings are overridable.",
]
# https://github.com/NVIDIA/TensorRT-LLM/issues/493, https://github.com/ultralytics/ultralytics/issues/22271
_SKIPS = (
    "kipping tactic 0 due to insufficient memory on requested size of 420 detected for tactic 0"
)
SKIPPED = [f"UNSUPPORTED_STATES{_SKIPS}", f"UNSUPPORTED_STATE: S{_SKIPS}"]


@pytest.mark.parametrize("text", IGNORED)
def test_a_warning_that_means_ignored_refuses(text: str) -> None:
    judgement = judge_build(outcome(("WARNING", text)))
    assert [finding.code for finding in judgement.findings] == [IGNORED[text]]
    assert judgement.warnings == ()


@pytest.mark.parametrize("text", HARMLESS)
def test_other_warnings_are_kept_once(text: str) -> None:
    judgement = judge_build(outcome(("WARNING", text), ("WARNING", text)))
    assert judgement.findings == ()
    assert judgement.warnings == (text,)


@pytest.mark.parametrize("text", SKIPPED)
def test_a_kernel_that_was_skipped_is_no_error_of_a_plan(text: str) -> None:
    for severity in ("WARNING", "ERROR"):
        judgement = judge_build(outcome((severity, text), stage="build"))
        assert judgement.findings == ()
        assert judgement.warnings == (text,)
        assert judge_build(outcome((severity, text), stage="build", complete=False)).findings


@pytest.mark.parametrize("stage", ["configure", "build"])
def test_a_profile_that_the_builder_doubts_refuses(stage: str) -> None:
    text = "Profile kMAX values are not self-consistent. tensor volume exceeds 1099511627776."
    (finding,) = judge_build(outcome(("WARNING", text), stage=stage)).findings
    assert finding.code == "profile-inconsistent"


def test_an_error_refuses_though_a_plan_came_out() -> None:
    (finding,) = judge_build(outcome(("ERROR", "Error Code 9: something broke"))).findings
    assert finding.code == "builder-error"
    assert "something broke" in finding.sentence


def test_a_missing_driver_is_no_error_of_the_file() -> None:
    text = (
        "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at"
        " /_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is"
        " insufficient for CUDA runtime version))"
    )
    assert judge_build(outcome(("ERROR", text))).findings == ()


def test_no_plan_and_no_word_is_still_an_error() -> None:
    (finding,) = judge_build(outcome(complete=False)).findings
    assert finding.code == "no-plan"


def test_an_error_of_the_parser_is_said_once_with_its_node() -> None:
    error = {
        "code": "UNSUPPORTED_NODE",
        "node": "layer1/det",
        "operator": "Det",
        "text": "false",
    }
    log = [("ERROR", "ModelImporter.cpp:140: While parsing node number 4 [Det -> y]:")]
    (finding,) = judge_build(outcome(*log, complete=False, errors=[error])).findings
    # Heard without the value that it repeats, it says nothing of its own.
    assert judge_build(outcome(*log, complete=True)).findings == ()
    assert (finding.code, finding.where) == ("unsupported-operator", "layer1/det")
    assert "Det" in finding.problem
