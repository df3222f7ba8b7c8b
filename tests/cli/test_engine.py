"""`clickclean engine` as it is typed, on a machine without a GPU."""

import json
import shutil
from pathlib import Path

import pytest

from clickclean.files import NoHomeError, without_tilde
from clickclean.fleet import FleetError, named_targets, targets
from clickclean.options import SubjectError, split_version
from clickclean_export.engine.options import BuildOptions
from clickclean_export.engine.preflight import Target
from tests.conftest import WITHOUT_GPU, Command, PublishedModels
from tests.models.plans import L4, T4, TENSORRT, add_plan

OF_L4 = ("--gpu", "NVIDIA L4=8.9", "--tensorrt-version", TENSORRT)

LOG = (
    "E1123 10:00:00.000000 1 logging.cc:40] IRuntime::deserializeCudaEngine: Error Code 6: The"
    " engine plan file is generated on an incompatible device, expecting compute 8.9 got compute"
    " 8.6, please rebuild.\n"
)


@WITHOUT_GPU
def test_building_needs_a_gpu(clickclean: Command, published: PublishedModels) -> None:
    done = clickclean("engine", "build", "digits", "-r", str(published.repository))
    assert done.code == 4
    assert "no usable NVIDIA GPU" in done.err
    assert "hint: plans are built where they run" in done.err


@WITHOUT_GPU
def test_the_preflight_of_this_machine_needs_a_gpu(
    clickclean: Command, published: PublishedModels
) -> None:
    done = clickclean("engine", "preflight", "-r", str(published.repository))
    assert done.code == 4
    assert "no usable NVIDIA GPU" in done.err


def test_the_preflight_of_a_fleet_needs_none(
    clickclean: Command, published: PublishedModels
) -> None:
    words = ("--gpu", "NVIDIA L4=8.9", "--gpu", "Tesla T4=7.5", "--tensorrt-version", "11.4.0.106")
    done = clickclean("engine", "preflight", "digits", *words, "-r", str(published.repository))
    assert done.code == 4
    assert "NVIDIA L4 (8.9), TensorRT 11.4.0.106: does not fit" in done.out
    assert "do: on a machine with NVIDIA L4: clickclean engine build digits:1" in done.out
    as_json = clickclean(
        "engine", "preflight", *words, "--json", "-r", str(published.repository)
    ).json
    assert {(row["model"], row["compute_capability"]) for row in as_json} == {
        (model, cc) for model in ("digits", "strokes") for cc in ("8.9", "7.5")
    }
    assert all(row["mismatches"][0]["code"] == "no-plan" for row in as_json)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpu", "NVIDIA L4"], "TensorRT version is not known"),
        (["--gpu", "NVIDIA L4", "--tensorrt-version", "11.4.0.106"], "is not a GPU type"),
        (["--gpu", "L4=eight", "--tensorrt-version", "11.4.0.106"], "is not a GPU type"),
        (["--gpu", "", "--tensorrt-version", "11.4.0.106"], "is not a GPU type"),
        (["--gpu", "L4=8.9", "--tensorrt-version", ""], "'' is not major.minor.patch.build"),
        (["--gpu", "L4=8.9", "--tensorrt-version", "11.4"], "is not major.minor.patch.build"),
        (["--gpu", "L4=8.9", "--tensorrt-version", f"{'9' * 5000}.4.0.1"], "is not major"),
    ],
)
def test_a_gpu_that_cannot_be_read(
    words: list[str], sentence: str, clickclean: Command, published: PublishedModels
) -> None:
    for verb in (["engine", "preflight"], ["promote", "digits", "1"]):
        done = clickclean(*verb, *words, "-r", str(published.repository))
        assert done.code == 2
        assert sentence in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--tensorrt-version", TENSORRT], "--tensorrt-version"),
        (["--version-compatible"], "--version-compatible"),
    ],
)
def test_servers_without_a_gpu_are_no_fleet(
    words: list[str], option: str, clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    (repository / "digits" / "configs" / "cpu.pbtxt").unlink()
    done = clickclean("promote", "digits", "1", *words, "-r", str(repository))
    assert done.code == 2
    assert f"error: {option} needs --gpu" in done.err
    assert not (repository / "digits" / "configs" / "cpu.pbtxt").exists()


@pytest.mark.parametrize("version_compatible", [True, False])
def test_every_gpu_named_is_a_target(version_compatible: bool) -> None:
    named = ["NVIDIA L4=8.9", " Tesla T4 = 7.5 "]
    expected = tuple(Target(gpu, TENSORRT, version_compatible) for gpu in (L4, T4))
    assert targets(named, TENSORRT, version_compatible=version_compatible) == expected
    assert named_targets(named, TENSORRT, version_compatible=version_compatible) == expected


def test_no_gpu_is_no_target() -> None:
    assert named_targets(None, None, version_compatible=False) == ()
    with pytest.raises(FleetError):
        named_targets([], TENSORRT, version_compatible=True)


def test_the_preflight_knows_what_version_compatible_servers_load(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    options = BuildOptions(version_compatible=True)
    add_plan(repository / "digits" / "1", L4, tensorrt="11.3.0.1", options=options)
    for verb in (["promote", "digits", "1"], ["engine", "preflight"]):
        done = clickclean(*verb, *OF_L4, "-r", str(repository))
        assert (done.code, "--version-compatible" in done.err) == (4, False)
        done = clickclean(*verb, *OF_L4, "--version-compatible", "-r", str(repository))
        assert done.code == 0, done.err
    assert "digits on NVIDIA L4 (8.9), TensorRT 11.4.0.106: fits" in done.out


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (("digits", "--gpu", "Tesla T4=7.5"), "digits on Tesla T4 (7.5)"),
        ((), "strokes on NVIDIA L4 (8.9)"),
    ],
)
def test_one_that_does_not_fit_is_enough(
    words: tuple[str, ...],
    last: str,
    clickclean: Command,
    published: PublishedModels,
    tmp_path: Path,
) -> None:
    repository = published.copy(tmp_path / "repository")
    add_plan(repository / "digits" / "1", L4)
    assert clickclean("promote", "digits", "1", "-r", str(repository)).code == 0
    done = clickclean("engine", "preflight", *OF_L4, *words, "-r", str(repository))
    assert done.code == 4
    assert done.out.startswith(f"digits on NVIDIA L4 (8.9), TensorRT {TENSORRT}: fits\n")
    assert f"{last}, TensorRT {TENSORRT}: does not fit" in done.out


def test_a_server_with_nothing_to_load_is_not_well(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    (repository / "digits" / "config.pbtxt").unlink()
    shutil.rmtree(repository / "digits" / "configs")
    done = clickclean("engine", "preflight", *OF_L4, "-r", str(repository))
    assert done.code == 4
    assert f"error: nothing is promoted in {repository}" in done.err
    assert "hint: clickclean promote digits VERSION" in done.err
    (tmp_path / "empty").mkdir()
    done = clickclean("engine", "preflight", *OF_L4, "-r", str(tmp_path / "empty"))
    assert done.code == 4
    assert "nothing is promoted" in done.err
    assert "is the right folder mounted?" in done.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digts", "did you mean 'digits'?"),
        ("resnet", "it has digits, strokes; is the right folder mounted?"),
        ("", "it has digits, strokes; is the right folder mounted?"),
        ("../repository", "it has digits, strokes; is the right folder mounted?"),
    ],
)
def test_a_model_that_is_not_there_is_not_well(
    name: str, hint: str, clickclean: Command, published: PublishedModels
) -> None:
    done = clickclean(
        *("engine", "preflight", "digits", name), *OF_L4, "-r", str(published.repository)
    )
    assert done.code == 4
    assert f"error: model '{name}' is not in the repository" in done.err
    assert f"hint: {hint}" in done.err


def test_a_model_whose_versions_are_gone_is_examined(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    shutil.rmtree(repository / "digits" / "1")
    done = clickclean("engine", "preflight", *OF_L4, "-r", str(repository))
    assert done.code == 4
    assert "is missing, but the config promotes it" in done.err


def test_a_version_that_a_fleet_could_not_load_is_not_promoted(
    clickclean: Command, published: PublishedModels, tmp_path: Path
) -> None:
    repository = published.copy(tmp_path / "repository", "digits")
    words = ("--gpu", "NVIDIA L4=8.9", "--tensorrt-version", "11.4.0.106")
    done = clickclean("promote", "digits", "1", *words, "-r", str(repository))
    assert done.code == 4
    assert "no plan for compute capability 8.9" in done.err


def test_a_log_is_explained(clickclean: Command, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"I1123 nothing\n\xff\xfe\n" + LOG.encode() + LOG.encode())
    done = clickclean("engine", "explain", str(log))
    assert done.code == 0
    assert done.out.startswith("line 3, 2 times: ")
    assert "8.6" in done.out
    assert "clickclean engine build" in done.out
    (found,) = json.loads(clickclean("engine", "explain", str(log), "--json").out)
    assert (found["line"], found["times"]) == (3, 2)


def test_a_log_without_known_errors(clickclean: Command, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("I1123 all is well\n")
    done = clickclean("engine", "explain", str(log))
    assert done.code == 1
    assert "nothing in" in done.err
    assert clickclean("engine", "explain", str(log), "--json").json == []


def test_a_log_that_is_not_there(clickclean: Command, tmp_path: Path) -> None:
    done = clickclean("engine", "explain", str(tmp_path / "none.log"))
    assert done.code == 2
    assert "cannot be read" in done.err


@pytest.mark.parametrize(
    "subject", ["digits:", "digits:0", "digits:-1", "digits:²", f"digits:{'9' * 5000}", ":1"]
)
def test_a_version_that_is_no_number_of_one(subject: str) -> None:
    with pytest.raises(SubjectError) as caught:
        split_version(subject)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 120


def test_a_model_with_its_version() -> None:
    assert split_version("digits:012") == ("digits", 12)
    assert split_version("digits") == ("digits", None)


def test_a_home_that_is_not_there(clickclean: Command, published: PublishedModels) -> None:
    words = ("digits", "--cache", "~nobody-has-this-name/engines")
    done = clickclean("engine", "build", *words, "-r", str(published.repository))
    assert done.code == 2
    assert "error: the home folder of ~nobody-has-this-name/engines is not known" in done.err


def test_a_home_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert without_tilde(Path("~/engines")) == Path("/home/somebody/engines")
    with pytest.raises(NoHomeError):
        without_tilde(Path("~nobody-has-this-name"))
