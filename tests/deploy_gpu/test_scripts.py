"""Every shell script of deploy/ is sound, and what never ran says so at its top."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
NEVER_RUN = [
    *SCRIPTS,
    DEPLOY / "docker" / "Dockerfile",
    DEPLOY / "gpu" / "README.md",
    DEPLOY / "gpu" / "verify.py",
    DEPLOY / "k8s" / "engine-build-job.yaml",
]


def test_there_are_scripts() -> None:
    names = {path.relative_to(DEPLOY).as_posix() for path in SCRIPTS}
    assert {"gpu/verify.sh", "docker/serve.sh"} <= names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(
        [str(BIN / "shellcheck"), "--external-sources", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script: Path) -> None:
    done = subprocess.run(["/bin/bash", "-n", str(script)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_stops_at_errors_and_can_be_run(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("path", NEVER_RUN, ids=lambda path: path.name)
def test_what_never_ran_says_so_at_its_top(path: Path) -> None:
    top = " ".join(path.read_text(encoding="utf-8").splitlines()[:6])
    assert "not tested" in top.lower()
