"""Fake figures for a GPU that nobody measured, in the real forms of our own files."""

import json
from typing import Any

from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions, Range
from clickclean_export.engine.record import EngineRecord, PlanInputs, PlanSpeed, record_json
from clickclean_export.gates import Gate, GatedHop
from clickclean_export.hops import PLAN_INT8, HopResult
from clickclean_export.manifest import DataRecord, FileRecord
from clickclean_loadtest.result import LatencySummary, LoadResult
from clickclean_loadtest.target import Target
from clickclean_loadtest.verdict import Verdict

FAKE_GPU = Gpu("Fake GPU", "8.9", "999.0", 1)


def fake_record(*, version: str = "11.4.0.106", fp16_ms: float | None = 0.2) -> EngineRecord:
    """An engine record for the digits example."""
    profile = {"image": Range((1, 1, 8, 8), (32, 1, 8, 8), (32, 1, 8, 8))}
    hop = HopResult(
        hop=PLAN_INT8,
        samples=500,
        right=499,
        agreeing=500,
        finite=True,
        errors={},
        both_right=499,
        float_only=0,
        candidate_only=0,
    )
    return EngineRecord(
        model="digits",
        version=1,
        created="2026-01-01T00:00:00+00:00",
        plan_name="model.plan",
        plan=FileRecord("0" * 64, 1),
        inputs=PlanInputs(
            onnx_sha256="1" * 64,
            flavour="tensorrt",
            library_version=version,
            gpu_name=FAKE_GPU.name,
            compute_capability=FAKE_GPU.compute_capability,
            profiles=(profile,),
            options=BuildOptions(),
        ),
        gpu=FAKE_GPU,
        build_seconds=12.5,
        warnings=("fake warning",),
        data=DataRecord("data:evaluation", 500, "2" * 64),
        hops=(GatedHop(hop, (Gate("accuracy", "share", 0.998, 0.95, 0.99, "pass"),)),),
        speed=(PlanSpeed(1, 0.1, 0.4, fp16_ms),),
        not_done=("something was left out",),
        tools={},
    )


def fake_build(**changes: Any) -> dict[str, Any]:
    """What `clickclean engine build --json` says."""
    record = fake_record(**changes)
    return {
        "model": record.model,
        "version": record.version,
        "path": record.path_in_version,
        "record": json.loads(record_json(record)),
        "from_cache": False,
    }


def fake_load(verdict: Verdict = Verdict.MEET) -> dict[str, Any]:
    """The file of `clickclean loadtest --result`."""
    latency = LatencySummary(1.5, 1.4, 1.8, 1.9, 2.5, 7.0)
    result = LoadResult(
        model="digits",
        endpoint="127.0.0.1:8001",
        versions={"1": 900},
        started_at="2026-01-01T00:00:00+00:00",
        duration_s=18.0,
        warmup_s=2.0,
        warmup_requests=100,
        rate=50.0,
        achieved_rate=49.9,
        users=10,
        requests=900,
        errors={},
        error_examples={},
        latency=latency,
        service_time=latency,
        generator_lag_mean_ms=0.1,
        generator_lag_p99_ms=0.2,
        late_share=0.0,
        checked=1000,
        accuracy=0.998,
        target=Target(mean_ms=200.0),
        verdict=verdict,
        reasons=("a fake reason",),
        sample_stride=1,
        sample_at_s=(0.0,),
        sample_ms=(1.5,),
    )
    tree: dict[str, Any] = json.loads(result.to_json())
    return tree
