"""The log of an experiment: what its files hold, and what a bad disk may not do."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from clickclean_client import Client, ExperimentError, ExperimentLog, ParquetMissing
from clickclean_client.experiments.tables import Exposure, Shadow
from clickclean_client.testing import FakeServer
from tests.client.challengers import IN_CHALLENGER, IN_CHAMPION, NAME, ROW, start, until

STAMP = pyarrow.timestamp("us", tz="UTC")
TEXT, WHOLE, REAL, YES = pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_()
NO = False
EXPOSURE = Exposure(1_700_000_000_000_001, "e", "m", "champion", 1, "p", "u", 2.5, "", NO)
SHADOW = Shadow(0, "e", "m", "p", 1, 2, 1.5, 2.5, "", agree=True, max_difference=float("nan"))
SCHEMAS = {
    "exposures": [
        ("time", STAMP),
        ("experiment", TEXT),
        ("model", TEXT),
        ("arm", TEXT),
        ("version", WHOLE),
        ("prediction_id", TEXT),
        ("unit", TEXT),
        ("latency_ms", REAL),
        ("error", TEXT),
        ("fallback", YES),
    ],
    "outcomes": [
        ("time", STAMP),
        ("experiment", TEXT),
        ("prediction_id", TEXT),
        ("name", TEXT),
        ("value", REAL),
    ],
    "shadows": [
        ("time", STAMP),
        ("experiment", TEXT),
        ("model", TEXT),
        ("prediction_id", TEXT),
        ("champion_version", WHOLE),
        ("challenger_version", WHOLE),
        ("champion_ms", REAL),
        ("challenger_ms", REAL),
        ("error", TEXT),
        ("agree", YES),
        ("max_difference", REAL),
    ],
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ExperimentLog]:
    with ExperimentLog(tmp_path / "log") as opened:
        yield opened


def read(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((folder / kind).glob("*.parquet"))
    return [row for file in files for row in parquet.ParquetFile(file).read().to_pylist()]


def test_the_schemas(log: ExperimentLog) -> None:
    log.add(EXPOSURE)
    log.add(SHADOW)
    log.outcome("p", 1, experiment="e")
    log.flush()
    for kind, columns in SCHEMAS.items():
        (file,) = (log.folder / kind).iterdir()
        assert parquet.ParquetFile(file).schema_arrow.equals(pyarrow.schema(columns))
    (row,) = read(log.folder, "exposures")
    assert row["time"] == datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(microseconds=1)
    assert list(row.values())[1:] == list(EXPOSURE)[1:]
    assert np.isnan(read(log.folder, "shadows")[0]["max_difference"])


@pytest.mark.parametrize(
    ("value", "number"),
    [(True, 1), (False, 0), (3, 3), (-0.5, -0.5), (np.float32(0.5), 0.5), (np.ones(1, bool)[0], 1)],
)
def test_outcomes(value: Any, number: float, log: ExperimentLog) -> None:
    log.outcome("p", value, "click", experiment="e")
    log.flush()
    (row,) = read(log.folder, "outcomes")
    assert (row["name"], row["value"], row["prediction_id"]) == ("click", number, "p")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), None, "1", np.zeros(2), 10**400, np.array(["a"])]
)
def test_what_is_no_outcome(value: Any, log: ExperimentLog) -> None:
    with pytest.raises(ExperimentError, match="no finite number"):
        log.outcome("p", value, experiment="e")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prediction_id": ""}, "prediction_id"),
        ({"prediction_id": "\ud800"}, "prediction_id"),
        ({"name": None}, "name"),
        ({"experiment": 3}, "experiment"),
    ],
)
def test_what_is_no_text(given: dict[str, Any], message: str, log: ExperimentLog) -> None:
    wanted: dict[str, Any] = {"prediction_id": "p", "value": 1, "experiment": "e", **given}
    with pytest.raises(ExperimentError, match=message):
        log.outcome(**wanted)


def test_an_outcome_of_no_experiment_is_not_written(log: ExperimentLog) -> None:
    log.outcome("p", 1, experiment="")
    log.close()
    assert not log.folder.exists()


@pytest.mark.parametrize("setting", [{"flush_s": 0}, {"flush_s": "1"}, {"flush_rows": 0}])
def test_what_is_no_setting(setting: Any, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="flushed"):
        ExperimentLog(tmp_path, **setting)


def test_rows_are_written_by_time_and_by_number(tmp_path: Path) -> None:
    with ExperimentLog(tmp_path / "time", flush_s=0.01) as log:
        log.add(EXPOSURE)
        until(lambda: read(log.folder, "exposures"))
    with ExperimentLog(tmp_path / "rows", flush_s=3600, flush_rows=3) as log:
        for _ in range(3):
            log.add(EXPOSURE)
        until(lambda: len(read(log.folder, "exposures")) == 3)


def test_every_file_is_whole_at_all_times(tmp_path: Path) -> None:
    def write(log: ExperimentLog) -> None:
        for _ in range(3000):
            log.add(EXPOSURE)

    with ExperimentLog(tmp_path, flush_s=0.001) as log:
        writers = [threading.Thread(target=write, args=(log,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        until(lambda: len(read(tmp_path, "exposures")) == 6000)
        for writer in writers:
            writer.join()
    assert log.lost == 0
    assert not list(tmp_path.rglob("*.part"))


def test_two_logs_share_a_folder(tmp_path: Path) -> None:
    with ExperimentLog(tmp_path) as one, ExperimentLog(tmp_path) as two:
        one.add(EXPOSURE)
        two.add(EXPOSURE)
    assert len(read(tmp_path, "exposures")) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_costs_rows_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        return real(Path("/dev/full") if path.suffix == ".part" else path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with caplog.at_level(logging.WARNING), ExperimentLog(tmp_path) as log:
        for _ in range(2):
            log.add(EXPOSURE)
            log.add(EXPOSURE)
            log.flush()
    assert log.lost == 4
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_folder_that_cannot_be_made(tmp_path: Path, fake: FakeServer) -> None:
    (tmp_path / "file").write_text("")
    start(fake)
    with (
        ExperimentLog(tmp_path / "file" / "log", flush_rows=1) as log,
        Client(fake.endpoint, timeout_s=20, experiment_log=log) as client,
    ):
        for _ in range(5):
            assert client.infer("m", x=ROW, key=IN_CHALLENGER).version == "2"
    assert log.lost == 5


def test_a_disk_that_hangs_costs_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(ExperimentLog, "_write", lambda *_: released.wait(30))
    with ExperimentLog(tmp_path, flush_rows=2) as log:
        for _ in range(100):
            log.add(EXPOSURE)
        assert log.lost >= 100 - 2 * 10 - 2 * 10
        released.set()


def test_without_a_thread_rows_wait_for_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExperimentLog(tmp_path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            log.add(EXPOSURE)
        assert log.lost == 0
    assert len(read(tmp_path, "exposures")) == 1


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_after_close_rows_are_lost(log: ExperimentLog) -> None:
    log.close()
    log.close()
    log.add(EXPOSURE)
    assert log.lost == 1
    assert repr(log) == f"ExperimentLog({str(log.folder)!r})"


def test_a_client_writes_exposures(fake: FakeServer, log: ExperimentLog) -> None:
    start(fake)
    with Client(fake.endpoint, timeout_s=20, experiment_log=log) as client:
        client.infer("m", x=ROW)
        answers = [client.infer("m", x=ROW, key=key) for key in (IN_CHALLENGER, IN_CHAMPION)]
        for answer in answers:
            log.outcome(answer.prediction_id, 1, experiment=answer.experiment)
    log.close()
    exposures, outcomes = read(log.folder, "exposures"), read(log.folder, "outcomes")
    assert [(row["arm"], row["version"]) for row in exposures] == [
        ("challenger", 2),
        ("champion", 1),
    ]
    assert [row["prediction_id"] for row in exposures] == [row["prediction_id"] for row in outcomes]
    assert {row["experiment"] for row in exposures + outcomes} == {NAME}


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    head = (
        "import os, sys\n"
        "from clickclean_client import ExperimentLog\n"
        "log = ExperimentLog(sys.argv[1], flush_s=3600)\n"
        "log.outcome('parent', 1, experiment='e')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_what_waits_is_written_when_the_interpreter_ends(tmp_path: Path) -> None:
    run("", tmp_path)
    assert [row["prediction_id"] for row in read(tmp_path, "outcomes")] == ["parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_starts_anew(tmp_path: Path) -> None:
    program = (
        "pid = os.fork()\n"
        "log.outcome('child' if pid == 0 else 'later', 1, experiment='e')\n"
        "if pid: os.waitpid(pid, 0)\n"
    )
    run(program, tmp_path)
    found = sorted(row["prediction_id"] for row in read(tmp_path, "outcomes"))
    assert found == ["child", "later", "parent"]
    assert len(list((tmp_path / "outcomes").iterdir())) == 2


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ParquetMissing) as caught:
        ExperimentLog(tmp_path)
    assert caught.value.exit_code == 4
    assert caught.value.hint == "pip install 'clickclean[experiments]'"
