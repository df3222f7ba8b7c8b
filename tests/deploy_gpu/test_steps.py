"""The plan of a verification, held against the real command."""

from pathlib import Path

import pytest

import verify
import verify_steps
from tests.conftest import ROOT
from tests.deploy_gpu.command_lines import verb_of
from tests.deploy_gpu.fakes import fake_build
from verify_steps import Settings, Step, explain, planned, trtexec_runs

SETTINGS = Settings(Path("/out"))
STEPS = planned(SETTINGS)
OURS = [step for step in (*STEPS, explain(SETTINGS)) if step.command[0] == "clickclean"]


@pytest.mark.parametrize("step", OURS, ids=lambda step: step.name)
def test_our_lines_are_lines_of_the_real_command(step: Step) -> None:
    assert verb_of(list(step.command)) == step.name


def test_the_whole_chain_is_planned() -> None:
    assert [step.name for step in STEPS] == [
        *("device", "train", "publish", "engine build", "engine preflight"),
        *("serve", "loadtest", "trtexec smallest", "trtexec largest"),
    ]


def test_a_published_version_is_not_published_again() -> None:
    names = {step.name for step in STEPS} - {
        step.name for step in planned(SETTINGS, published=True)
    }
    assert names == {"train", "publish"}


@pytest.mark.parametrize("published", [False, True])
def test_a_step_needs_earlier_steps_only(*, published: bool) -> None:
    before: set[str] = set()
    for step in planned(SETTINGS, published=published):
        assert set(step.needs) <= before
        before.add(step.name)


def test_every_step_is_bounded_and_the_sum_is_below_the_scripts_limit() -> None:
    script = (ROOT / "deploy" / "gpu" / "verify.sh").read_text(encoding="utf-8")
    (line,) = [line for line in script.splitlines() if line.startswith("run_limit=")]
    limit = int(line.partition(":-")[2].rstrip("}"))
    assert all(step.timeout_s > 0 for step in STEPS)
    assert sum(step.timeout_s for step in (*STEPS, explain(SETTINGS))) < limit


def test_nothing_listens_or_asks_beyond_loopback() -> None:
    addresses = [word for step in STEPS for word in step.command if "address=" in word]
    assert len(addresses) == 3
    assert all(word.endswith("-address=127.0.0.1") for word in addresses)
    assert verify_steps.READY.startswith("http://127.0.0.1:")
    assert verify_steps.GRPC.startswith("127.0.0.1:")


def test_paths_are_those_of_the_image() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert f"{verify_steps.PYTHON.removesuffix('/bin/python')}\n" in dockerfile
    assert f"COPY --chmod=0755 examples/digits {verify_steps.EXAMPLE}\n" in dockerfile
    assert "/usr/local/bin/clickclean-serve\n" in dockerfile
    for step in STEPS:
        if step.command[0].startswith("clickclean"):
            assert f"/usr/local/bin/{step.command[0]}" in dockerfile


def test_trtexec_runs_the_plan_at_both_ends_of_its_profile() -> None:
    build = fake_build()
    plan = f"/out/model_repository/digits/1/{build['path']}"
    (one, first), (most, second) = trtexec_runs(SETTINGS, build)
    assert (one, most) == (1, 32)
    assert first.command[1:3] == (f"--loadEngine={plan}", "--shapes=image:1x1x8x8")
    assert second.command[1:3] == (f"--loadEngine={plan}", "--shapes=image:32x1x8x8")
    assert first.needs == second.needs == ("engine build",)


def test_free_axes_are_at_their_optimum_and_inputs_share_the_batch() -> None:
    build = fake_build()
    build["record"]["inputs"]["profiles"] = [
        {
            "ids": {"min": [1, 8], "opt": [4, 64], "max": [16, 128]},
            "mask": {"min": [2, 8], "opt": [4, 64], "max": [8, 128]},
        }
    ]
    shapes = [step.command[2] for _, step in trtexec_runs(SETTINGS, build)]
    assert shapes == ["--shapes=ids:2x64,mask:2x64", "--shapes=ids:8x64,mask:8x64"]


@pytest.mark.parametrize(
    ("version", "asked"), [("10.16.1.11", False), ("11.0.0.114", True), ("11.4.0.106", True)]
)
def test_copies_are_measured_with_every_tensorrt(version: str, *, asked: bool) -> None:
    for _, step in trtexec_runs(SETTINGS, fake_build(version=version)):
        assert ("--includeDataTransfers" in step.command) is asked


def test_a_dry_run_prints_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert verify.main(["--out", str(out), "--rate", "200", "--duration-s", "60", "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(STEPS)
    assert "clickclean loadtest digits --rate=200 --duration=60s" in printed[6]
    assert not out.exists()
