import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from clickclean_loadtest import LoadSpec, LoadTestError, Target, parse_duration
from clickclean_loadtest.errors import BadLoadError
from clickclean_loadtest.options import add_arguments, from_options, to_arguments
from clickclean_loadtest.spec import users_for
from clickclean_loadtest.target import target_of_version


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20s", 20.0), ("2m", 120.0), ("500ms", 0.5), ("1h", 3600.0), (" 1.5 m ", 90.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "s", "-5s", "1e3s", "nan", "20 sec", "1s2m", "٣s\n."])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LoadTestError, match="is not a duration") as caught:
        parse_duration(text)
    assert caught.value.exit_code == 2
    assert "20s" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": 5001.0}, "at most 5000"),
        ({"duration_s": 0.0}, "duration is 0.0"),
        ({"duration_s": 3601.0}, "at most 3600"),
        ({"duration_s": float("inf")}, "duration is inf"),
        ({"rate": 0.01}, "rate x duration is 0"),
        ({"rate": 5000.0, "duration_s": 3600.0}, "rate x duration is 18000000"),
        ({"batch": 0}, "batch is 0"),
        ({"users": 0}, "users is 0"),
        ({"timeout_s": 0.0}, "timeout is 0.0"),
        ({"model": "../etc"}, "model is '../etc'"),
        ({"model": ""}, "model is ''"),
        ({"mean_ms": -1.0}, "mean_ms is -1.0"),
        ({"error_rate_max": 2.0}, "error_rate_max is 2.0"),
        ({"accuracy_min": 95.0}, "accuracy_min is 95.0"),
    ],
)
def test_a_load_outside_its_limits_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadTestError, match=says) as caught:
        LoadSpec(**{"model": "digits", "rate": 50.0, "duration_s": 20.0, **wrong})
    assert caught.value.exit_code == 2


def test_users_are_enough_for_three_times_the_target() -> None:
    assert users_for(50, Target(mean_ms=200.0)) == 30
    assert users_for(50, Target(mean_ms=200.0, p99_ms=500.0)) == 75
    assert users_for(1, Target()) == 10
    assert users_for(5000, Target(p99_ms=1000.0)) == 1000


def test_the_flags_say_everything_that_a_spec_says() -> None:
    spec = LoadSpec(
        model="digits",
        rate=12.5,
        duration_s=0.75,
        endpoint="10.0.0.7:9001",
        version="4",
        repository=Path("a folder/repository"),
        inputs=Path("rows.npz"),
        batch=2,
        timeout_s=1.25,
        users=7,
        mean_ms=100.0,
        p99_ms=0.5,
        error_rate_max=0.0,
        accuracy_min=0.95,
    )
    assert from_options(parsed([*to_arguments(spec), "--users=7"])) == spec
    plain = LoadSpec(model="digits", rate=50.0, duration_s=20.0)
    assert from_options(parsed(to_arguments(plain))) == plain


def test_without_a_duration_a_run_is_bounded_all_the_same() -> None:
    assert from_options(parsed(["--cc-model=m", "--cc-rate=10"])).duration_s == 3600
    assert from_options(parsed(["--cc-model=m", "--cc-rate=4000"])).duration_s == 500


def test_the_only_published_model_needs_no_name(tmp_path: Path) -> None:
    flags = [f"--cc-repository={tmp_path}", "--cc-rate=10"]
    with pytest.raises(BadLoadError, match="--cc-model is missing"):
        from_options(parsed(flags))
    for model in ("digits", "strokes"):
        (tmp_path / model / "1").mkdir(parents=True)
        (tmp_path / model / "1" / "golden.npz").touch()
        if model == "digits":
            assert from_options(parsed(flags)).model == "digits"
    with pytest.raises(BadLoadError, match="one of digits, strokes"):
        from_options(parsed(flags))


def parsed(arguments: list[str]) -> Any:
    class Parser(ArgumentParser):
        def add_argument(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.pop("include_in_web_ui", None)  # Locust's own
            return super().add_argument(*args, **kwargs)

    parser = Parser()
    parser.add_argument("--host")
    parser.add_argument("--users", dest="num_users", type=int)
    parser.add_argument("--run-time", type=int)
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_target_comes_from_the_manifest_and_can_be_overridden(repository: Path) -> None:
    target = target_of_version(repository, "double", "3")
    assert target == Target(200.0, 300.0, 0.001, source="manifest of version 3")
    stricter = target.overridden(mean_ms=None, p99_ms=50.0, error_rate_max=None)
    assert (stricter.mean_ms, stricter.p99_ms) == (200.0, 50.0)
    assert target_of_version(repository, "double", "4") == Target(mean_ms=200.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"recipe": 3}', json.dumps({"recipe": {"target": {"mean_ms": "fast"}}}),
     json.dumps({"recipe": {"target": {"mean_ms": -5}}})],
)  # fmt: skip
def test_a_broken_manifest_is_refused_not_ignored(repository: Path, text: str) -> None:
    path = repository / "double" / "3" / "manifest.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LoadTestError, match="manifest") as caught:
        target_of_version(repository, "double", "3")
    assert str(path) in str(caught.value)
