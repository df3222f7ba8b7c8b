"""`verify.py` from end to end, with a stand-in for every program: no figure in here is real."""

import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import verify
import verify_steps
from clickclean_loadtest.verdict import Verdict
from tests.conftest import ROOT
from tests.deploy_gpu.fakes import fake_build, fake_load
from tests.deploy_gpu.stand_ins import StandIns, gone
from verify import Ledger
from verify_steps import Settings, Step

# Notes its own line, ends as it is told to, else does what its part needs.
CLICKCLEAN = """\
echo "$*" >> "$PART/lines"
step="$1"; [[ $1 == engine ]] && step="$1 $2"
if [[ "$FAILING" == "$step="* ]]; then
  echo "a traceback, say" >&2; echo "error: it does not work" >&2; echo "hint: try" >&2
  exit "${FAILING#*=}"
fi
case "$step" in
  publish) mkdir -p "$CLICKCLEAN_REPOSITORY/digits/1"; echo '{"version": 1}' ;;
  "engine build") cat "$PART/build.json" ;;
  "engine preflight") echo '[]' ;;
  loadtest)
    for word in "$@"; do [[ $word == --result=* ]] && cp "$PART/load.json" "${word#--result=}"; done
    exit "$(cat "$PART/load.code")" ;;
esac
"""
SERVER = f"""\
echo "$*" >> "$PART/serve.lines"
[[ "$FAILING" != serve=* ]] || {{ echo "no" >&2; exit "${{FAILING#*=}}"; }}
echo $$ > "$PART/serve.pid"
exec {sys.executable} "$PART/ready.py" "$PORT"
"""
READY = """\
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""
STEPS = ["device", "train", "publish", "engine build", "engine preflight", "serve", "loadtest"]
STEPS += ["trtexec smallest", "trtexec largest"]


@dataclass
class Stage:
    """Where the stand-ins play, and what they said."""

    parts: StandIns
    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    @property
    def part(self) -> Path:
        return Path(self.parts.variables["PART"])

    def failing(self, step: str, code: int) -> None:
        self.parts.variables["FAILING"] = f"{step}={code}"

    def loaded(self, verdict: Verdict) -> None:
        (self.part / "load.json").write_text(json.dumps(fake_load(verdict)), encoding="utf-8")
        (self.part / "load.code").write_text(str(verdict.exit_code), encoding="utf-8")

    def run(self) -> tuple[int, dict[str, Any]]:
        for name, value in self.parts.environment().items():
            self.monkeypatch.setenv(name, value)
        code = verify.verify(self.settings, os.environ)
        return code, self.results

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.settings.out / "results.json").read_text("utf-8"))
        return found

    def lines(self, name: str = "lines") -> list[str]:
        path = self.part / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def stage(stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    part, samples = tmp_path / "part", Path(__file__).parent / "samples"
    part.mkdir()
    stand_ins.variables.update(PART=str(part), FAILING="", PORT=str(port))
    stand_ins.add("clickclean", CLICKCLEAN)
    stand_ins.add("clickclean-serve", SERVER)
    stand_ins.add("nvidia-smi", 'echo "Fake GPU, 999.0, 8.9, 1 MiB"')
    trtexec = stand_ins.add("trtexec", f'cat "{samples}/tensorrt_10_13_0.txt"')
    python = stand_ins.add("trainer", 'echo "$*" > "$PART/trained"')
    monkeypatch.setattr(verify_steps, "TRTEXEC", str(trtexec))
    monkeypatch.setattr(verify_steps, "PYTHON", str(python))
    (part / "ready.py").write_text(READY, encoding="utf-8")
    (part / "build.json").write_text(json.dumps(fake_build()), encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    settings = Settings(out, ROOT / "examples" / "digits", ready_url=f"http://127.0.0.1:{port}/")
    found = Stage(stand_ins, settings, monkeypatch)
    found.loaded(Verdict.MEET)
    return found


def statuses(results: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in results["steps"]}


def note(results: dict[str, Any], name: str) -> str:
    (found,) = [step["note"] for step in results["steps"] if step["name"] == name]
    return str(found)


def test_the_whole_chain(stage: Stage) -> None:
    code, results = stage.run()
    assert statuses(results) == dict.fromkeys(STEPS, "passed")
    assert (code, results["complete"]) == (0, True)
    assert results["device"]["name"] == "Fake GPU"
    assert results["engine"] == fake_build()
    assert results["loadtest"]["verdict"] == "meet"
    assert [measured["batch"] for measured in results["trtexec"]] == [1, 32]
    assert "Every step passed." in (stage.settings.out / "results.md").read_text("utf-8")
    assert stage.lines("trained") == [str(stage.settings.out / "digits" / "train.py")]
    assert (stage.settings.out / "digits" / "recipe.toml").is_file()
    assert [line.split()[0] for line in stage.lines()] == [
        *("publish", "engine", "engine", "loadtest")
    ]
    assert gone(int(stage.lines("serve.pid")[0])), "the server is stopped"


def test_a_second_run_takes_the_version_that_is_there(stage: Stage) -> None:
    stage.run()
    (stage.part / "lines").unlink()
    code, results = stage.run()
    assert code == 0
    assert "publish" not in statuses(results)
    assert not [line for line in stage.lines() if line.startswith("publish")]


def test_a_refused_plan_leaves_results_and_its_exit_code(stage: Stage) -> None:
    stage.failing("engine build", 3)
    code, results = stage.run()
    assert (code, results["exit_code"], results["complete"]) == (3, 3, False)
    passed = ["device", "train", "publish"]
    assert statuses(results) == {
        **dict.fromkeys(passed, "passed"),
        "engine build": "failed",
        **dict.fromkeys(STEPS[4:7], "skipped"),
        **dict.fromkeys(STEPS[7:], "skipped"),
    }
    assert note(results, "engine build") == "error: it does not work hint: try"
    assert note(results, "loadtest") == "needs serve"
    assert results["engine"] is None
    assert stage.lines("serve.lines") == []
    assert "Not complete" in (stage.settings.out / "results.md").read_text("utf-8")


def test_what_an_earlier_run_left_is_not_taken_for_this_ones(stage: Stage) -> None:
    stage.run()
    stage.failing("engine build", 4)
    code, results = stage.run()
    assert code == 4
    assert (results["engine"], results["loadtest"], results["trtexec"]) == (None, None, [])


def test_a_server_that_does_not_come_up_is_explained(stage: Stage) -> None:
    stage.failing("serve", 4)
    code, results = stage.run()
    assert code == 1
    found = statuses(results)
    assert (found["serve"], found["loadtest"]) == ("failed", "skipped")
    assert "ended with exit code 4 before it was ready" in note(results, "serve")
    assert stage.lines()[-1] == f"engine explain {stage.settings.log('serve', 'err')}"
    assert [found[name] for name in STEPS[7:]] == ["passed", "passed"], "the plan itself may work"


def test_a_missed_target_is_the_exit_code_and_the_plan_is_still_measured(stage: Stage) -> None:
    stage.loaded(Verdict.MISS)
    code, results = stage.run()
    assert code == 10
    assert statuses(results)["loadtest"] == "failed"
    assert results["loadtest"]["verdict"] == "miss"
    assert len(results["trtexec"]) == 2


def test_trtexec_that_says_something_else_is_a_failure(stage: Stage) -> None:
    stage.parts.add("trtexec", "echo hello")
    code, results = stage.run()
    assert code == 1
    assert note(results, "trtexec smallest") == "there is no performance summary"
    assert statuses(results)["trtexec largest"] == "failed"


def test_trtexecs_warnings_are_read_from_stderr_too(stage: Stage) -> None:
    sample = Path(__file__).parent / "samples" / "tensorrt_8_4_0.txt"
    stage.parts.add("trtexec", f'cat "{sample}"; echo "[W] * GPU compute time is unstable" >&2')
    _, results = stage.run()
    warnings = [measured["run"]["warnings"] for measured in results["trtexec"]]
    assert warnings == [["GPU compute time is unstable"]] * 2


def test_a_build_that_says_something_else_is_a_failure(stage: Stage) -> None:
    (stage.part / "build.json").write_text('{"version": 1, "record": {}}', encoding="utf-8")
    code, results = stage.run()
    assert code == 1
    assert statuses(results)["trtexec smallest"] == "failed"
    assert "said something else than expected: KeyError('inputs')" in note(
        results, "trtexec largest"
    )


def test_a_missing_program_is_named(stage: Stage) -> None:
    (stage.parts.folder / "nvidia-smi").unlink()
    code, results = stage.run()
    assert code == 1
    assert "nvidia-smi" in note(results, "device")
    assert statuses(results)["train"] == "passed", "what can be told without it is told"
    assert note(results, "engine build") == "needs device"


def test_who_stops_it_gets_what_is_known(stage: Stage) -> None:
    # The load test's part asks for the end of this very process, as `docker stop` would.
    stage.parts.add("clickclean", CLICKCLEAN.replace("loadtest)", "loadtest) kill $PPID; sleep 60"))
    before = signal.signal(signal.SIGTERM, verify._end_by_signal)
    try:
        with pytest.raises(SystemExit) as ended:
            stage.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    found = statuses(stage.results)
    assert (found["serve"], found["loadtest"]) == ("passed", "skipped")
    assert note(stage.results, "loadtest") == "not reached"
    assert not stage.results["complete"]
    assert gone(int(stage.lines("serve.pid")[0]))


def test_a_step_without_end_is_ended_with_its_children(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.logs.mkdir()
    words = ("bash", "-c", "sleep 60 & echo $!; wait")
    step = Step("endless", words, timeout_s=1.0)
    outcome = Ledger(settings, [step]).run(step)
    assert (outcome.status, outcome.code, outcome.note) == ("timed out", None, "more than 1 s")
    assert gone(int(settings.log("endless", "out").read_text("utf-8")))


def test_not_ready_in_time_is_said(tmp_path: Path) -> None:
    settings = Settings(tmp_path, ready_url="http://127.0.0.1:1/")
    settings.logs.mkdir()
    step = Step("serve", ("sleep", "60"), timeout_s=0.6)
    ledger = Ledger(settings, [step])
    with verify.served(ledger, step):
        pass
    (outcome,) = ledger.outcomes
    assert (outcome.status, outcome.note) == ("failed", "not ready within 0.6 s")
