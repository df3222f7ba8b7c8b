import re
from pathlib import Path

import pytest

from clickclean_export.engine.explain import Explanation, explain
from clickclean_export.engine.known_errors import GENERIC, SPECIFIC, KnownError

LOGS = Path(__file__).with_name("logs")
ALL = SPECIFIC + GENERIC
EACH = pytest.mark.parametrize("known", ALL, ids=lambda known: known.code)
OTHER_GPU = (
    "The engine plan file is generated on an incompatible device, expecting compute {running}"
    " got compute {plan}, please rebuild."
)
NO_ENGINE = (
    "E0101 12:00:00.123456 1 model_lifecycle.cc:621] failed to load 'a' version 1: Internal:"
)


def _log(code: str) -> str:
    return (LOGS / f"{code}.log").read_text(encoding="utf-8")


def _only(text: str) -> Explanation:
    (explanation,) = explain(text)
    return explanation


def test_codes_are_distinct_and_stable_names() -> None:
    codes = [known.code for known in ALL]
    assert len(codes) == len(set(codes)) >= 18
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_every_recorded_log_belongs_to_an_entry() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {known.code for known in ALL}


@EACH
def test_entry_explains_its_recorded_text_and_nothing_else(known: KnownError) -> None:
    assert [found.code for found in explain(_log(known.code))] == [known.code]


@pytest.mark.parametrize(
    ("code", "times"),
    [
        ("other-tensorrt", 2),
        ("not-a-plan", 2),
        ("plugin-missing", 2),
        ("driver-too-old", 2),
        ("no-gpu", 2),
        ("out-of-gpu-memory", 3),
        ("no-profile", 2),
        ("unknown-operator", 2),
        ("asymmetric-qdq", 2),
        ("quantized-bias", 2),
        ("size-outside-profile", 2),
        ("other-gpu-model", 2),
    ],
)
def test_every_wording_that_was_recorded_is_known(code: str, times: int) -> None:
    assert _only(_log(code)).times == times


@EACH
def test_source_is_public_and_named_in_the_recording(known: KnownError) -> None:
    assert known.source.startswith("https://")
    assert _log(known.code).startswith("# ")
    assert known.source in _log(known.code)


@EACH
def test_remedy_names_something_to_type(known: KnownError) -> None:
    commands = r"clickclean (engine (build|check|preflight) MODEL|promote MODEL|publish RECIPE)"
    assert re.search(rf"{commands}|--gpus all|nvidia-smi", known.remedy)


@EACH
def test_cause_and_remedy_use_only_groups_that_the_pattern_has(known: KnownError) -> None:
    blank = dict.fromkeys(re.compile(known.pattern).groupindex, "-")
    assert known.cause.format(**blank)
    assert known.remedy.format(**blank)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (
            "other-compute-capability",
            "the plan was built on a GPU of compute capability 8.6; this GPU has 6.1",
        ),
        (
            "other-tensorrt",
            "the plan was built by TensorRT 8.2.3; the library that loads it is 8.2.4",
        ),
        ("other-plan-format", "has the number 239, that of the library that loads it 236"),
        ("batch-too-large", "the config wants batches of up to 4; the plan takes at most 1"),
        ("config-outside-profile", "prepare input 'input_id' for [8,10,128]"),
        ("tensor-name", "the config names the input 'data'; the plan's inputs are: input"),
        ("tensor-dtype", "the plan's input 'ref_seq' is TYPE_INT64; the config says TYPE_INT32"),
        ("tensor-dims", "has the shape [1,3,224,224] in the plan and [1,3,224,244] in the config"),
        (
            "driver-older-than-image",
            "needs the NVIDIA driver 470.57 or later; this machine runs 460.84",
        ),
        ("cuda-does-not-start", "error 2 "),
        ("libnvinfer-missing", "linked with libnvinfer.so.8,"),
        ("plugin-missing", "registers: BatchTilePlugin_TRT"),
        ("shape-outside-profile", "'x' was given the shape [0,2]; the plan takes [1,2] to [8,2]"),
        ("size-outside-profile", "axis 0 of tensor number 0 was given the size 10; the plan takes"),
        ("request-outside-profile", "axis 0 of input 'images' the size 32; the plan takes 1 to 1"),
        ("plan-not-read", "could not load /tmp/folder6QdWaa/1/model.plan,"),
        ("plan-missing", "no plan at /models/digits/3/engines/8.9-0a1b2c3d4e5f/model.plan:"),
    ],
)
def test_numbers_and_names_are_put_on_the_right_side(code: str, cause: str) -> None:
    assert cause in _only(_log(code)).cause


def test_shape_in_the_config_is_read_with_its_batch_axis() -> None:
    cause = _only(
        "model 'a', tensor 'x': the model expects 4 dimensions (shape [-1,1,8,8]) but the model"
        " configuration specifies 3 dimensions (an initial batch dimension because max_batch_size"
        " > 0 followed by the explicit tensor shape, making complete shape [-1,8,8])"
    ).cause
    assert cause == "'x' has the shape [-1,1,8,8] in the plan and [-1,8,8] in the config"


def test_remedy_says_which_gpu_must_build() -> None:
    remedy = _only(OTHER_GPU.format(running="8.9", plan="9.0")).remedy
    assert "compute capability 8.9" in remedy
    assert "9.0" not in remedy


def test_version_that_the_log_leaves_out_is_said_to_be_missing() -> None:
    said = "expecting library version 10.12.0.36 got .)"
    cause = _only(f"(The engine plan file is not compatible with this version of TensorRT, {said}")
    assert cause.cause == (
        "the plan was built by TensorRT (not said); the library that loads it is 10.12.0.36"
    )


def test_plan_of_tensorrt_rtx_is_told_from_other_files_by_its_first_bytes() -> None:
    text = (
        "(Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.Trying to load an"
    )
    text += " engine created with incompatible serialization version ({} != 1953657958). Check that"
    assert _only(text.format(1953657974)).code == "plan-of-tensorrt-rtx"
    assert _only(text.format(1795)).code == "not-a-plan"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (35, "driver-too-old"),
        (100, "no-gpu"),
        (999, "cuda-does-not-start"),
        (803, "driver-too-old"),
    ],
)
def test_cuda_errors_are_told_apart_by_number(number: int, code: str) -> None:
    text = (
        f"[TRT] [E] createInferRuntime: (CUDA initialization failure with error: {number} In check"
    )
    assert _only(text).code == code


@pytest.mark.parametrize(
    "line",
    [
        "E0101 12:00:00.123456 1 logging.cc:43] 6: {}",
        'E0101 12:00:00.123456 1 logging.cc:40] "6: {}"',
        "2024-07-25T08:30:40Z 1 logging.cc:40 ERROR 6: {}",
        "[07/25/2024-08:30:40] [TRT] [E] 6: {}",
        "[07/25/2024-08:30:40] [E] [TRT] 6: {}",
        "[TensorRT] ERROR: INVALID_CONFIG: {}",
        "\x1b[1;31m[E] 6: {}\x1b[0m",
        '{{"log":"E0101 12:00:00.123456 1 logging.cc:43] 6: {}\\n","stream":"stderr"}}',
        "triton-1  | E0101 12:00:00.123456 1 logging.cc:43] 6: {}",
        "caf\ufffd\ufffd {}",
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_prefixes_colours_and_line_ends_do_not_matter(line: str, end: str) -> None:
    text = OTHER_GPU.format(running="8.9", plan="8.6")
    before = f"I0101 12:00:00.000001 1 server.cc:1] noise{end or chr(10)}"
    found = _only(before + line.format(text) + end)
    assert (found.code, found.line) == ("other-compute-capability", 2)
    assert text in found.text
    assert not re.search(r"[\x00-\x1f]", found.text)


def test_colours_inside_of_a_message_do_not_matter() -> None:
    text = OTHER_GPU.format(running="\x1b[31m8.9\x1b[0m", plan="\x1b[31m8.6\x1b[0m")
    assert "compute capability 8.6; this GPU has 8.9" in _only(text).cause


def test_similar_lines_are_one_explanation_with_their_number() -> None:
    first, second = (OTHER_GPU.format(running="8.9", plan=plan) for plan in ("8.6", "7.5"))
    found = _only(f"start\n{first}\nnoise\n{second}\n")
    assert (found.line, found.times) == (2, 2)
    assert "8.6" in found.cause


def test_status_table_of_triton_repeats_and_is_not_counted() -> None:
    found = _only(_log("no-tensorrt-backend"))
    assert found.times == 2
    assert "'digits2'" in found.text


def test_status_table_counts_where_it_is_all_there_is() -> None:
    rows = [line for line in _log("no-tensorrt-backend").split("\n") if line.startswith("|")]
    assert _only("\n".join(rows)).times == 2


def test_explanations_come_in_order_of_appearance() -> None:
    texts = [OTHER_GPU.format(running="8.9", plan="8.6"), "libnvinfer.so.10: cannot open shared"]
    texts[1] += " object file: No such file or directory"
    codes = ["other-compute-capability", "libnvinfer-missing"]
    assert [found.code for found in explain("\n".join(texts))] == codes
    assert [found.code for found in explain("\n".join(reversed(texts)))] == codes[::-1]


def test_reason_in_the_same_line_wins_over_the_consequence() -> None:
    reason = OTHER_GPU.format(running="8.9", plan="8.6")
    text = f"{NO_ENGINE} unable to create TensorRT engine: {reason}"
    assert _only(text).code == "other-compute-capability"


@pytest.mark.parametrize(("noise", "codes"), [(9, 1), (10, 2)])
def test_consequence_is_left_out_only_near_its_reason(noise: int, codes: int) -> None:
    lines = [OTHER_GPU.format(running="8.9", plan="8.6"), *["noise"] * noise]
    lines.append(f"{NO_ENGINE} unable to create TensorRT engine")
    assert len(explain("\n".join(lines))) == codes


def test_consequence_before_any_reason_is_explained() -> None:
    lines = [f"{NO_ENGINE} unable to create TensorRT engine", "noise"]
    lines.append(OTHER_GPU.format(running="8.9", plan="8.6"))
    codes = [found.code for found in explain("\n".join(lines))]
    assert codes == ["engine-not-created", "other-compute-capability"]


def test_status_table_far_below_does_not_bring_a_consequence_back() -> None:
    row = (
        "| det | 1 | UNAVAILABLE: Internal: unable to load plan file to auto complete config: /m |"
    )
    assert _only("\n".join([_log("other-plan-format"), *["noise"] * 50, row])).times == 1


def test_healthy_log_and_warnings_of_a_server_without_a_gpu_give_nothing() -> None:
    assert explain("") == ()
    assert (
        explain(
            'W1123 16:43:47.671573 1 pinned_memory_manager.cc:273] "Unable to allocate pinned'
            " system memory, pinned memory pool will not be available: CUDA driver version is"
            ' insufficient for CUDA runtime version"\n'
            'I1123 16:43:47.671665 1 cuda_memory_manager.cc:117] "CUDA memory pool disabled"\n'
            "I1123 16:43:48.000000 1 logging.cc:46] Loaded engine size: 39 MiB\n"
            "W1123 16:43:48.000001 1 logging.cc:43] CUDA lazy loading is not enabled.\n"
            "[TRT] [W] Skipping tactic 3 due to insufficient memory on requested size of 9385\n"
            "I1123 16:43:48.000002 1 model_lifecycle.cc:849] \"successfully loaded 'digits'\"\n"
            "unexpected inference input 'x' for model 'digits'\n"
            "unable to find backend library for backend 'onnxruntime', try specifying runtime\n"
        )
        == ()
    )


def test_long_lines_are_cut_and_blanks_collapsed() -> None:
    reason = OTHER_GPU.format(running="8.9", plan="8.6")
    found = _only(f"  a \t b  {reason} {'x' * 1000}")
    assert found.text.startswith("a b The engine")
    assert len(found.text) == 300
    assert found.text.endswith("…")


def test_braces_in_a_log_are_text() -> None:
    found = _only("unexpected inference input '{plan}', allowed inputs are: {0}")
    assert "'{plan}'; the plan's inputs are: {0}" in found.cause
