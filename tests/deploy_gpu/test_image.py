"""The image: one place for its base, pins, and nothing that a Dockerfile must not have."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.repo.test_pins import EXTRAS

VERSIONS = ROOT / "deploy" / "versions.env"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
IGNORE = DOCKERFILE.with_name("Dockerfile.dockerignore")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def versions() -> dict[str, str]:
    """As `docker run --env-file` and Python read it: NAME=VALUE, no quotes."""
    lines = VERSIONS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of every instruction, continuation lines joined."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def rests(keyword: str) -> list[str]:
    return [rest for name, rest in instructions() if name == keyword]


def own_text_files() -> list[Path]:
    """Every file that git has or would take, and that is text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def test_bash_and_python_read_the_same_versions() -> None:
    command = f"set -a; . {shlex.quote(str(VERSIONS))}; env -0"
    done = subprocess.run(
        ["/bin/bash", "-c", command], env={}, capture_output=True, text=True, check=True
    )
    seen = dict(item.split("=", 1) for item in done.stdout.split("\0") if item)
    assert {name: seen.get(name) for name in versions()} == versions()
    assert set(seen) - set(versions()) <= {"PWD", "SHLVL", "_"}


def test_the_versions_are_an_image_and_an_exact_tag() -> None:
    assert set(versions()) == {"TRITON_IMAGE", "TRITON_TAG"}
    assert re.fullmatch(r"\d\d\.\d\d-py3", versions()["TRITON_TAG"])


def test_nothing_else_names_a_tag() -> None:
    files = own_text_files()
    assert VERSIONS in files
    tag = re.escape(versions()["TRITON_TAG"])
    named = re.compile(rf"tritonserver:[0-9]|{tag}")
    naming = [path for path in files if named.search(path.read_text(errors="replace"))]
    assert naming == [VERSIONS]


def test_the_base_is_given_and_not_written() -> None:
    assert instructions()[:3] == [
        ("ARG", "TRITON_IMAGE"),
        ("ARG", "TRITON_TAG"),
        ("FROM", "${TRITON_IMAGE}:${TRITON_TAG}"),
    ]
    assert "latest" not in DOCKERFILE.read_text(encoding="utf-8")


def test_it_runs_as_a_user_without_rights_and_keeps_the_bases_entrypoint() -> None:
    assert rests("USER") == ["1000:1000"]
    assert not {"ENTRYPOINT", "EXPOSE", "HEALTHCHECK"} & {name for name, _ in instructions()}


def test_it_holds_no_secret() -> None:
    names = " ".join([*rests("ARG"), *rests("ENV")])
    assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", names, re.IGNORECASE)


def test_tensorrts_bindings_have_the_version_of_the_image() -> None:
    (run,) = [rest for rest in rests("RUN") if "tensorrt-cu13-bindings==" in rest]
    assert '"tensorrt-cu13-bindings==${version}"' in run
    assert 'version="${TRT_VERSION:-}"' in run
    assert run.count("exit 4") == run.count("error: ") == run.count("hint: ") == 3


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("11.4.0.106", 0),
        ("8.5.1.7+cuda11.8.0.065", 0),
        ("", 4),
        ("11.4", 4),
        ("11.4.0.106; touch /tmp/x", 4),
    ],
)
def test_the_version_is_checked_before_it_is_used(given: str, code: int) -> None:
    (run,) = [rest for rest in rests("RUN") if "tensorrt-cu13-bindings==" in rest]
    check = run[run.index("version=") : run.index("if ! /opt/")]
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", check],
        env={"TRT_VERSION": given, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert ("error: the base image does not say its TensorRT version" in done.stderr) is bool(code)


def test_our_extras_are_real_and_pinned() -> None:
    (run,) = [rest for rest in rests("RUN") if "'/src[" in rest]
    extras = re.search(r"'/src\[([\w,]+)\]'", run)
    assert extras is not None
    assert set(extras[1].split(",")) == {"cli", "engine", "export", "loadtest"} <= set(EXTRAS)
    installs = [rest for rest in rests("RUN") if "pip install" in rest]
    assert sum("-c /src/constraints.txt" in rest or "-c /tmp/" in rest for rest in installs) == 2


def test_what_is_copied_is_there() -> None:
    sources = [rest.split()[-2] for rest in rests("COPY")]
    assert sources
    assert all(list(ROOT.glob(source)) for source in sources)


def test_everything_that_the_build_needs_gets_through() -> None:
    lines = IGNORE.read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert lines[lines.index("*") + 1].startswith("!"), "all is shut out first"
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = [
        *packages,
        *PROJECT["project"]["license-files"],
        PROJECT["project"]["readme"],
        *("pyproject.toml", "constraints.txt"),
        *("examples/digits", "deploy/gpu/verify.py", "deploy/docker/serve.sh"),
    ]
    for path in needed:
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        assert set(parents) & set(allowed), path
    assert all((ROOT / path).exists() for path in allowed)
