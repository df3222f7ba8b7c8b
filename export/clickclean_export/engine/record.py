"""What is known of a plan: written once beside it, never changed.

Plans are added to a version after it was published, without touching what was published:
``<version>/engines/<id>/`` holds one plan and its ``record.json``, and appears by one rename. The
id begins with the compute capability and goes on with the start of the cache key and of the hash of
the rows that its gate asked, so plans of different TensorRT versions, GPUs or options stand side by
side, and a plan that was gated again on more rows has a second record.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from clickclean_export.engine.device import Gpu
from clickclean_export.engine.options import BuildOptions, Flavour, Profile
from clickclean_export.errors import IntegrityError
from clickclean_export.gates import GatedHop
from clickclean_export.manifest import ENGINES, DataRecord, FileRecord

RECORD = "record.json"
FORMAT: Literal[1] = 1


@dataclass(frozen=True)
class PlanInputs:
    """Everything that goes into a plan; equal inputs, same cache entry.

    Plans themselves are never equal byte by byte, so a cache can only be keyed by what goes in.

    Attributes:
        onnx_sha256: Of the ONNX file that is compiled.
        flavour: The library that compiles.
        library_version: Its version, such as "11.4.0.106".
        gpu_name: As the driver says it.
        compute_capability: Such as "8.9".
        profiles: Optimization profiles, in order.
        options: The builder's settings.
    """

    onnx_sha256: str
    flavour: Flavour
    library_version: str
    gpu_name: str
    compute_capability: str
    profiles: tuple[Profile, ...]
    options: BuildOptions

    @property
    def key(self) -> str:
        """SHA-256 of all inputs, as 64 hexadecimal digits."""
        return hashlib.sha256(_INPUTS.dump_json(self)).hexdigest()

    @property
    def max_batch(self) -> int:
        """The largest batch that a profile allows."""
        return max(shape.max[0] for profile in self.profiles for shape in profile.values())


@dataclass(frozen=True)
class PlanSpeed:
    """Median latency of one batch through plans on the GPU, copies to and from it included.

    Attributes:
        batch: Rows per call.
        int8_ms, fp16_ms, fp32_ms: Milliseconds; ``fp16_ms`` is None where no FP16 plan was built.
    """

    batch: int
    int8_ms: float
    fp32_ms: float
    fp16_ms: float | None

    @property
    def sentence(self) -> str:
        """The figures with the ratio that matters."""
        half = "" if self.fp16_ms is None else f", FP16 {self.fp16_ms:.3f} ms"
        ratio = (self.fp16_ms or self.fp32_ms) / self.int8_ms
        other = "FP32" if self.fp16_ms is None else "FP16"
        return (
            f"batch {self.batch}: INT8 {self.int8_ms:.3f} ms{half}, FP32 {self.fp32_ms:.3f} ms"
            f" (INT8 is {ratio:.2f} x as fast as {other})"
        )


@dataclass(frozen=True)
class EngineRecord:
    """One registered plan; ``record.json`` beside it.

    Attributes:
        format: Of this file.
        model, version: Whose plan it is.
        created: UTC, ISO 8601, of the registration.
        plan_name: File name beside the record.
        plan: Fingerprint of the plan.
        inputs: What went in.
        gpu: Where it was built and gated.
        build_seconds: Compiling alone; of the first build where it came from the cache.
        warnings: What the builder said that is no error.
        data: Labelled rows that the gate asked.
        hops: The gate's numbers: INT8, and FP32 and FP16 where they were built.
        speed: INT8 : FP16 : FP32 by batch size.
        not_done: What was left out, in sentences.
        tools: Versions of the libraries that took part.
    """

    model: str
    version: int
    created: str
    plan_name: str
    plan: FileRecord
    inputs: PlanInputs
    gpu: Gpu
    build_seconds: float
    warnings: tuple[str, ...]
    data: DataRecord
    hops: tuple[GatedHop, ...]
    speed: tuple[PlanSpeed, ...]
    not_done: tuple[str, ...]
    tools: dict[str, str]
    format: Literal[1] = field(default=FORMAT)

    @property
    def id(self) -> str:
        """Name of its folder: for what GPUs, what went in, and what it was asked."""
        return f"{self.inputs.compute_capability}-{self.inputs.key[:12]}-{self.data.sha256[:6]}"

    @property
    def path_in_version(self) -> str:
        """The plan as ``cc_model_filenames`` names it: relative to the version's folder.

        Triton joins the version's folder with this text (tensorrt_backend, src/model_state.cc,
        "AutoCompleteConfig"; src/instance_state.cc, "Create"), so a subfolder is fine.
        """
        return f"{ENGINES}/{self.id}/{self.plan_name}"


_INPUTS = TypeAdapter(PlanInputs)
_RECORD = TypeAdapter(EngineRecord)


def record_json(record: EngineRecord) -> bytes:
    """Return the record as the bytes of ``record.json``."""
    return _RECORD.dump_json(record, indent=1) + b"\n"


def read_record(folder: Path) -> EngineRecord:
    """Read the record of one plan.

    Raises:
        IntegrityError: it is missing or not a record (exit 3).
    """
    path = folder / RECORD
    try:
        return _RECORD.validate_json(path.read_bytes())
    except FileNotFoundError:
        problem = "is missing"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValidationError as error:
        first = error.errors()[0]
        spot = ".".join(map(str, first["loc"]))
        problem = f"is not an engine record ({spot}: {first['msg']})"
    raise IntegrityError(path, problem, hint=f"rm -r {folder}, then clickclean engine build again")


def readable_records(
    version_dir: Path,
) -> tuple[tuple[EngineRecord, ...], tuple[IntegrityError, ...]]:
    """Read the records of a version: the good ones, oldest first, and what could not be read."""
    records, damaged = [], []
    for folder in sorted(p for p in (version_dir / ENGINES).glob("[!.]*") if p.is_dir()):
        try:
            records.append(read_record(folder))
        except IntegrityError as error:
            damaged.append(error)
    return tuple(sorted(records, key=lambda record: record.created)), tuple(damaged)
