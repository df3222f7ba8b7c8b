"""Plans for several GPU types lie in a version while a CPU server serves it."""

from pathlib import Path

import pytest

from clickclean_client import Client, Golden
from clickclean_client.protocol import parse_model_config
from clickclean_export.engine.register import configure
from clickclean_export.promote import promote
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from clickclean_server import serving
from tests.conftest import PublishedModels
from tests.models.plans import H100, L4, T4, add_plan


@pytest.fixture
def repository(published: PublishedModels, tmp_path: Path) -> Path:
    return published.copy(tmp_path / "repository", "digits")


def test_a_cpu_server_serves_beside_plans(repository: Path) -> None:
    records = [add_plan(repository / "digits" / "1", gpu) for gpu in (T4, L4, H100)]
    promote(repository, "digits", 1)
    config = parse_model_config((repository / "digits" / GPU_CONFIG).read_text())
    assert config.platform == "tensorrt_plan"
    assert dict(config.cc_model_filenames) == {
        record.inputs.compute_capability: record.path_in_version for record in records
    }
    assert_served(repository)


def test_registering_a_plan_does_not_touch_a_running_cpu_server(repository: Path) -> None:
    cpu_config = repository / "digits" / CPU_CONFIG
    before = cpu_config.stat()
    with serving(repository, models=["digits"]) as endpoint:
        assert_right(repository, endpoint.grpc)
        configure(Repository(repository), add_plan(repository / "digits" / "1", L4))
        assert_right(repository, endpoint.grpc)
    after = cpu_config.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert "model.8.9.plan" in (repository / "digits" / GPU_CONFIG).read_text()


def assert_served(repository: Path) -> None:
    with serving(repository, models=["digits"]) as endpoint:
        assert_right(repository, endpoint.grpc)


def assert_right(repository: Path, endpoint: str) -> None:
    golden = Golden.load(repository / "digits" / "1" / "golden.npz").head(32)
    with Client(endpoint, timeout_s=30) as client:
        answer = client.infer("digits", dict(golden.inputs))
    assert answer.version == "1"
    assert golden.compare(dict(answer)).ok
