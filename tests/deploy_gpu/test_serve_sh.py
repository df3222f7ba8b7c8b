"""`clickclean-serve` with stand-ins for `clickclean` and `tritonserver`."""

import re
from pathlib import Path

import pytest

from tests.deploy_gpu.command_lines import verb_of
from tests.deploy_gpu.stand_ins import StandIns

SCRIPT = "deploy/docker/serve.sh"
RESTRICTED = "model-repository,shared-memory,logging,trace:admin-key="


@pytest.fixture
def parts(stand_ins: StandIns, tmp_path: Path) -> StandIns:
    for name in ("clickclean", "tritonserver"):
        note = f'printf "%s\\n" "$@" > "$NOTES/{name}"'
        stand_ins.add(name, f"{note}; exit ${{CODE_{name}:-0}}")
    stand_ins.variables["NOTES"] = str(tmp_path)
    return stand_ins


def told(parts: StandIns, name: str) -> list[str]:
    return Path(parts.variables["NOTES"], name).read_text(encoding="utf-8").splitlines()


def test_it_serves_the_models_that_are_named(parts: StandIns) -> None:
    assert parts.run(SCRIPT, "digits", "strokes").returncode == 0
    assert told(parts, "clickclean") == [
        *("engine", "preflight", "digits", "strokes", "--repository=/models")
    ]
    arguments = told(parts, "tritonserver")
    assert arguments[:6] == [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--load-model=digits",
        "--load-model=strokes",
        "--disable-auto-complete-config",
        "--strict-readiness=false",
    ]
    keys = {word.partition(RESTRICTED)[2] for word in arguments[6:]}
    assert len(arguments) == 8
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)


def test_its_preflight_is_a_line_of_the_real_command(parts: StandIns) -> None:
    parts.variables["CLICKCLEAN_VERSION_COMPATIBLE"] = "1"
    parts.run(SCRIPT, "digits")
    assert verb_of(["clickclean", *told(parts, "clickclean")]) == "engine preflight"


def test_a_key_is_new_at_every_start_unless_given(parts: StandIns) -> None:
    seen = set()
    for _ in range(2):
        parts.run(SCRIPT, "digits")
        seen |= {word.partition(RESTRICTED)[2] for word in told(parts, "tritonserver")[5:]}
    assert len(seen) == 2
    parts.variables["CLICKCLEAN_ADMIN_KEY"] = "given"
    parts.run(SCRIPT, "digits")
    assert told(parts, "tritonserver")[5:] == [
        f"--http-restricted-api={RESTRICTED}given",
        f"--grpc-restricted-protocol={RESTRICTED}given",
    ]


def test_another_repository_and_options_of_tritonserver(parts: StandIns) -> None:
    parts.variables["CLICKCLEAN_REPOSITORY"] = "/srv/my models"
    assert parts.run(SCRIPT, "digits", "--", "--log-verbose=1", "--http-port=1").returncode == 0
    assert "--repository=/srv/my models" in told(parts, "clickclean")
    assert told(parts, "tritonserver")[0] == "--model-repository=/srv/my models"
    assert told(parts, "tritonserver")[-2:] == ["--log-verbose=1", "--http-port=1"]


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("0", False), ("", False)])
def test_code_from_plans_only_when_asked_for(parts: StandIns, value: str, *, allowed: bool) -> None:
    parts.variables["CLICKCLEAN_VERSION_COMPATIBLE"] = value
    parts.run(SCRIPT, "digits")
    option = "--backend-config=tensorrt,version-compatible=true"
    assert (option in told(parts, "tritonserver")) is allowed
    assert ("--version-compatible" in told(parts, "clickclean")) is allowed


@pytest.mark.parametrize("code", [1, 4])
def test_no_server_where_the_preflight_says_no(parts: StandIns, code: int) -> None:
    parts.variables["CODE_clickclean"] = str(code)
    assert parts.run(SCRIPT, "digits").returncode == code
    assert not Path(parts.variables["NOTES"], "tritonserver").exists()


def test_it_becomes_the_server(parts: StandIns) -> None:
    parts.variables["CODE_tritonserver"] = "17"
    assert parts.run(SCRIPT, "digits").returncode == 17


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "error: no model is named"),
        (["--", "--log-verbose=1"], "error: no model is named"),
        (["digits", "--log-verbose=1"], "error: unknown option '--log-verbose=1'"),
    ],
)
def test_a_mistake_is_exit_code_2(parts: StandIns, words: list[str], sentence: str) -> None:
    done = parts.run(SCRIPT, *words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == sentence
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert not Path(parts.variables["NOTES"], "clickclean").exists()


def test_help_names_the_variables(parts: StandIns) -> None:
    done = parts.run(SCRIPT, "--help")
    assert done.returncode == 0
    for name in ("REPOSITORY", "VERSION_COMPATIBLE", "ADMIN_KEY"):
        assert f"CLICKCLEAN_{name}" in done.stdout
