"""Plans of arbitrary bytes, registered as real ones: what is tested around them never runs one."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions
from clickclean_export.engine.profiles import recipe_profiles
from clickclean_export.engine.record import EngineRecord, PlanInputs
from clickclean_export.engine.register import register
from clickclean_export.manifest import MODEL, DataRecord, file_record, read_manifest

TENSORRT = "11.4.0.106"
T4, A100 = Gpu("Tesla T4", "7.5"), Gpu("NVIDIA A100-SXM4-80GB", "8.0")
L4, H100 = Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA H100 80GB HBM3", "9.0")
ANYWHERE = BuildOptions(hardware_compatibility="ampere_plus")


def add_plan(
    version_dir: Path,
    gpu: Gpu,
    *,
    tensorrt: str = TENSORRT,
    options: BuildOptions | None = None,
) -> EngineRecord:
    """Register a plan for a GPU type; no config is written."""
    manifest = read_manifest(version_dir)
    inputs = PlanInputs(
        onnx_sha256=manifest.files[MODEL].sha256,
        flavour="tensorrt",
        library_version=tensorrt,
        gpu_name=gpu.name,
        compute_capability=gpu.compute_capability,
        profiles=recipe_profiles(manifest.recipe_of(version_dir)),
        options=options or BuildOptions(),
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan"
        plan.write_bytes(inputs.key.encode() * 100)
        record = EngineRecord(
            model=manifest.model,
            version=int(version_dir.name),
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            plan_name=f"model.{gpu.compute_capability}.plan",
            plan=file_record(plan),
            inputs=inputs,
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
    return record
