"""`verify.sh` with a stand-in for docker: what it asks for, in which order, and how it ends."""

import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy_gpu.stand_ins import StandIns, gone

SCRIPT = "deploy/gpu/verify.sh"
DOCKER = """\
printf '%q ' "$@" >> "$DOCKER_LOG"; echo >> "$DOCKER_LOG"
if [[ -n ${DOCKER_FAILS:-} && "$*" == *"$DOCKER_FAILS"* ]]; then exit "$DOCKER_CODE"; fi
if [[ -n ${DOCKER_HANGS:-} && "$*" == *"$DOCKER_HANGS"* ]]; then echo "hangs $$"; exec sleep 60; fi
if [[ "$1 $2" == "image inspect" ]]; then echo "sha256:stand-in"; fi
"""


@pytest.fixture
def docker(stand_ins: StandIns, tmp_path: Path) -> StandIns:
    stand_ins.add("docker", DOCKER)
    stand_ins.variables["DOCKER_LOG"] = str(tmp_path / "docker.log")
    return stand_ins


def asked(docker: StandIns) -> list[list[str]]:
    log = Path(docker.variables["DOCKER_LOG"])
    return [shlex.split(line) for line in log.read_text(encoding="utf-8").splitlines()]


def failing(docker: StandIns, at: str, code: int) -> None:
    docker.variables.update(DOCKER_FAILS=at, DOCKER_CODE=str(code))


def container_of(words: list[str]) -> str:
    return words[words.index("--name") + 1]


def test_help_names_every_option(docker: StandIns) -> None:
    done = docker.run(SCRIPT, "--help")
    assert done.returncode == 0
    for option in ("--gpu N", "--out DIR", "--image NAME", "--torch-index-url URL", "--dry-run"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpus"], "error: unknown option '--gpus'"),
        (["now"], "error: unknown option 'now'"),
        (["--gpu"], "error: --gpu needs a value"),
        (["--dry-run", "--out"], "error: --out needs a value"),
    ],
)
def test_a_mistake_is_exit_code_2(docker: StandIns, words: list[str], sentence: str) -> None:
    done = docker.run(SCRIPT, *words)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [sentence, "hint: deploy/gpu/verify.sh --help"]


def test_no_docker_is_exit_code_4(stand_ins: StandIns) -> None:
    stand_ins.add_real("dirname", "date")
    done = stand_ins.run(SCRIPT, alone=True)
    assert done.returncode == 4
    assert done.stderr.startswith("error: docker is not installed\nhint: install Docker")


@pytest.mark.parametrize(
    ("at", "code", "sentence"),
    [
        ("info", 4, "error: docker does not answer"),
        ("nvidia-smi", 4, "error: a container cannot use GPU 0"),
        ("build", 1, "error: the image cannot be built"),
    ],
)
def test_what_is_missing_is_said(
    docker: StandIns, tmp_path: Path, at: str, code: int, sentence: str
) -> None:
    failing(docker, at, 125)
    done = docker.run(SCRIPT, "--out", str(tmp_path / "out"))
    assert done.returncode == code
    told, hint = done.stderr.splitlines()[-2:]
    assert told == sentence
    assert hint.startswith("hint: ")


def test_an_image_that_cannot_be_had_is_said(docker: StandIns) -> None:
    failing(docker, "nvcr.io", 1)
    done = docker.run(SCRIPT)
    assert done.returncode == 1
    assert "error: the image nvcr.io/nvidia/tritonserver:" in done.stderr
    assert [words[0] for words in asked(docker)] == ["info", "image", "pull"]


def test_the_order_of_everything(docker: StandIns, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = docker.run(SCRIPT, "--gpu", "1", "--out", str(out), "--", "--rate", "200")
    assert done.returncode == 0, done.stderr
    lines = asked(docker)
    assert [words[0] for words in lines] == [
        *("info", "image", "run", "build", "image", "image", "run", "stop", "rm")
    ]
    smi, build, run, stop, remove = (lines[i] for i in (2, 3, 6, 7, 8))
    assert smi[-1] == "nvidia-smi"
    assert build[build.index("--tag") + 1] == "clickclean-triton:verify"
    assert build[-1] == str(ROOT)
    assert run[run.index("clickclean-triton:verify") + 1 :] == [
        *("/opt/clickclean/venv/bin/python", "/opt/clickclean/gpu/verify.py"),
        *("--out", "/out", "--rate", "200"),
    ]
    assert f"type=bind,source={out},target=/out" in run
    for words in (smi, run):
        assert words[words.index("--gpus") + 1] == "device=1"
        assert words[words.index("--network") + 1] == "none"
        assert "--rm" in words
        assert not {"-p", "--publish", "--privileged"} & set(words)
    assert container_of(smi) == container_of(run) == stop[-1] == remove[-1]
    assert out.is_dir()


def test_a_built_image_is_taken_as_it_is(docker: StandIns, tmp_path: Path) -> None:
    done = docker.run(SCRIPT, "--image", "mine:1", "--out", str(tmp_path))
    assert done.returncode == 0
    assert "build" not in [words[0] for words in asked(docker)]
    assert "mine:1" in asked(docker)[-3]


@pytest.mark.parametrize(
    ("code", "seen"), [(0, 0), (1, 1), (3, 3), (4, 4), (10, 10), (12, 12), (125, 1), (137, 1)]
)
def test_the_containers_exit_code_counts(
    docker: StandIns, tmp_path: Path, code: int, seen: int
) -> None:
    failing(docker, "verify.py", code)
    assert docker.run(SCRIPT, "--out", str(tmp_path)).returncode == seen
    assert [words[0] for words in asked(docker)][-2:] == ["stop", "rm"]


def test_a_run_without_end_is_ended(docker: StandIns, tmp_path: Path) -> None:
    docker.variables.update(DOCKER_HANGS="verify.py", VERIFY_RUN_LIMIT="1")
    done = docker.run(SCRIPT, "--out", str(tmp_path))
    assert done.returncode == 1
    assert "error: more than 1 s: docker run --rm" in done.stderr
    assert [words[0] for words in asked(docker)][-2:] == ["stop", "rm"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("at", ["build", "verify.py"])
def test_whoever_stops_it_finds_nothing_left(
    docker: StandIns, tmp_path: Path, at: str, number: signal.Signals, code: int
) -> None:
    docker.variables["DOCKER_HANGS"] = at
    process = subprocess.Popen(
        ["/bin/bash", str(ROOT / SCRIPT), "--out", str(tmp_path)],
        env=docker.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("hangs"):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(20) == code
    assert gone(int(line.split()[1]))
    (container,) = {container_of(words) for words in asked(docker) if words[0] == "run"}
    assert asked(docker)[-2:] == [["stop", "-t", "45", container], ["rm", "--force", container]]


def test_a_dry_run_prints_the_same_and_does_nothing(docker: StandIns, tmp_path: Path) -> None:
    out = tmp_path / "out"
    docker.run(SCRIPT, "--out", str(out))
    real = [words for words in asked(docker) if words[0] in {"run", "build"}]
    Path(docker.variables["DOCKER_LOG"]).unlink()
    out.rmdir()
    done = docker.run(SCRIPT, "--out", str(out), "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [shlex.split(line) for line in done.stdout.splitlines()]
    assert shown[0][:2] == ["docker", "pull"]
    assert [_timeless(words) for words in shown[1:]] == [_timeless(words) for words in real]
    assert not out.exists()
    assert not Path(docker.variables["DOCKER_LOG"]).exists()


def _timeless(words: list[str]) -> list[str]:
    """Without what only a run knows: process number, digests; and without "env ... docker"."""
    start = words.index("docker") + 1 if "docker" in words else 0
    known = ("VERIFY_BASE_DIGEST=", "VERIFY_IMAGE_ID=", "clickclean-gpu-verify-")
    return [word for word in words[start:] if not word.startswith(known)]
