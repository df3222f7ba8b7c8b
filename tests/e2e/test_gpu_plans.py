"""Plans for several GPU types lie in a version while a CPU server serves it."""

from pathlib import Path

import pytest

from clickclean_client import Client, Golden
from clickclean_client.protocol import parse_model_config
from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions
from clickclean_export.engine.profiles import recipe_profiles
from clickclean_export.engine.record import EngineRecord, PlanInputs
from clickclean_export.engine.register import configure, register
from clickclean_export.manifest import DataRecord, file_record, read_manifest
from clickclean_export.promote import promote
from clickclean_export.repository import CPU_CONFIG, GPU_CONFIG, Repository
from clickclean_server import serving
from tests.conftest import PublishedModels

GPUS = (Gpu("Tesla T4", "7.5"), Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA H100 80GB HBM3", "9.0"))


def add_plan(repository: Path, gpu: Gpu, folder: Path) -> EngineRecord:
    """Register a plan of arbitrary bytes: a CPU server must never open it."""
    version_dir = repository / "digits" / "1"
    manifest = read_manifest(version_dir)
    plan = folder / f"{gpu.compute_capability}.plan"
    plan.write_bytes(gpu.name.encode() * 100)
    record = EngineRecord(
        model="digits",
        version=1,
        created=f"2026-11-0{len(list(folder.iterdir()))}T10:00:00+00:00",
        plan_name=f"model.{gpu.compute_capability}.plan",
        plan=file_record(plan),
        inputs=PlanInputs(
            onnx_sha256=manifest.files["model.onnx"].sha256,
            flavour="tensorrt",
            library_version="11.4.0.106",
            gpu_name=gpu.name,
            compute_capability=gpu.compute_capability,
            profiles=recipe_profiles(manifest.recipe_of(version_dir)),
            options=BuildOptions(),
        ),
        gpu=gpu,
        build_seconds=1.0,
        warnings=(),
        data=DataRecord("golden.npz", 64, "0" * 64),
        hops=(),
        speed=(),
        not_done=(),
        tools={},
    )
    register(version_dir, record, plan)
    configure(Repository(repository), record)
    return record


@pytest.fixture
def repository(published: PublishedModels, tmp_path: Path) -> Path:
    return published.copy(tmp_path / "repository", "digits")


def test_a_cpu_server_serves_beside_plans(repository: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    plans.mkdir()
    records = [add_plan(repository, gpu, plans) for gpu in GPUS]
    promote(repository, "digits", 1)
    config = parse_model_config((repository / "digits" / GPU_CONFIG).read_text())
    assert config.platform == "tensorrt_plan"
    assert dict(config.cc_model_filenames) == {
        record.inputs.compute_capability: record.path_in_version for record in records
    }
    assert_served(repository)


def test_registering_a_plan_does_not_touch_a_running_cpu_server(
    repository: Path, tmp_path: Path
) -> None:
    plans = tmp_path / "plans"
    plans.mkdir()
    cpu_config = repository / "digits" / CPU_CONFIG
    before = cpu_config.stat()
    with serving(repository, models=["digits"]) as endpoint:
        assert_right(repository, endpoint.grpc)
        add_plan(repository, GPUS[1], plans)
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
