"""What trtexec prints, from public reports (samples/README.md names them)."""

from pathlib import Path

import pytest

from trtexec_output import Times, TrtexecOutputError, parse_trtexec, tensorrt_version

SAMPLES = Path(__file__).parent / "samples"
FAILED = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec --loadEngine=other.plan
[09/25/2026-10:00:02] [E] Error[1]: Version tag does not match.
[09/25/2026-10:00:02] [E] Engine deserialization failed
&&&& FAILED TensorRT.trtexec [TensorRT v110100] [b106] # trtexec --loadEngine=other.plan
"""


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")


def test_every_figure_of_a_run_of_tensorrt_10() -> None:
    run = parse_trtexec(sample("tensorrt_10_13_0"))
    assert run.tensorrt_version == "10.13.0.35"
    assert run.throughput_qps == 0.562059
    assert run.latency == Times(1656.22, 1674.64, 1666.9, 1667.89, 1673.26, 1674.64, 1674.64)
    assert run.enqueue == Times(1650.99, 1672.49, 1663.95, 1663.63, 1672.08, 1672.49, 1672.49)
    assert run.h2d == Times(0.631348, 0.640015, 0.635217, 0.635742, 0.63623, 0.640015, 0.640015)
    assert run.compute == Times(1655.52, 1673.94, 1666.2, 1667.19, 1672.56, 1673.94, 1673.94)
    assert run.d2h == Times(
        0.0585938, 0.0664062, 0.0639648, 0.0644531, 0.0654297, 0.0664062, 0.0664062
    )
    (warning,) = run.warnings
    assert warning.startswith("Throughput may be bound by Enqueue Time")


def test_tensorrt_8_tells_one_percentile() -> None:
    run = parse_trtexec(sample("tensorrt_8_4_0"))
    assert run.tensorrt_version == "8.4.0"
    assert run.throughput_qps == 41087.7
    assert run.latency == Times(0.387207, 0.447357, 0.402238, 0.401947, None, None, 0.420288)
    assert run.compute.mean_ms == 0.388221
    assert run.warnings == ()


def test_end_to_end_latency_is_not_taken_for_latency() -> None:
    run = parse_trtexec(sample("tensorrt_8_end_to_end"))
    assert run.latency.mean_ms == 0.573891
    assert run.tensorrt_version == ""


def test_of_several_runs_the_last_counts() -> None:
    run = parse_trtexec(sample("tensorrt_8_end_to_end") + sample("tensorrt_8_4_0"))
    assert run.throughput_qps == 41087.7


def test_small_numbers_as_c_prints_them() -> None:
    text = sample("tensorrt_8_4_0").replace("min = 0.00195312 ms", "min = 9.53674e-07 ms")
    assert parse_trtexec(text).d2h.min_ms == 9.53674e-07


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec", "8.6.1"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100200] # trtexec", "10.2.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # trtexec", "10.16.2.10"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec", "11.1.0.106"),
        (sample("tensorrt_11_0_0_cut_off"), "11.0.0.114"),
        ("trtexec", ""),
    ],
)
def test_version_in_the_banner(banner: str, version: str) -> None:
    assert tensorrt_version(banner) == version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no performance summary"),
        ("\x00\xff garbage", "no performance summary"),
        (sample("tensorrt_8_old_form"), "no performance summary"),
        (sample("tensorrt_11_0_0_cut_off"), "no performance summary"),
        (FAILED, "trtexec failed: Error[1]: Version tag does not match."),
        (sample("tensorrt_8_4_0") + FAILED, "trtexec failed"),
        (sample("tensorrt_8_4_0").replace("41087.7 qps", "nan qps"), "no throughput"),
        (sample("tensorrt_8_4_0").replace("D2H Latency: min =", "D2H Latency: nim ="), "no min"),
        (
            "\n".join(
                line
                for line in sample("tensorrt_8_4_0").splitlines()
                if "GPU Compute Time: min" not in line
            ),
            "'GPU Compute Time' has no min, max, mean, median",
        ),
        ("[E] no such file\n", "no performance summary: no such file"),
    ],
)
def test_anything_else_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(TrtexecOutputError) as caught:
        parse_trtexec(text)
    assert words in str(caught.value)
