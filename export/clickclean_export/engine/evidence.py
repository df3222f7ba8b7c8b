"""What a plan is worth on its GPU: accuracy on labelled rows, and speed beside FP16 and FP32."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from clickclean_client import Golden
from clickclean_export.dataset import LabelledDataset, labelled_rows, load_evaluation
from clickclean_export.engine.record import PlanSpeed
from clickclean_export.errors import DataError
from clickclean_export.gates import GatedHop, enforce, judge
from clickclean_export.hops import ONNX, PLAN_FP16, PLAN_FP32, PLAN_INT8, answer_all, compare
from clickclean_export.manifest import GOLDEN, DataRecord, Manifest
from clickclean_export.progress import Progress
from clickclean_export.recipe import Recipe, load_recipe
from clickclean_export.runners import OnnxRuntimeRunner, Runner
from clickclean_export.samples import one_row_and_full
from clickclean_export.speed import time_in_turn


@dataclass(frozen=True)
class Evidence:
    """Fields of an engine record, which describes them."""

    data: DataRecord
    hops: tuple[GatedHop, ...]
    speed: tuple[PlanSpeed, ...]


def labelled_data(
    directory: Path, manifest: Manifest, recipe: Recipe, recipe_path: Path | None
) -> tuple[LabelledDataset, list[str]]:
    """Return the labelled rows to ask, and in sentences what that leaves undone.

    Args:
        directory: The version's folder.
        manifest: Its manifest.
        recipe: The recipe in it.
        recipe_path: Where its evaluation data come from; None: its golden rows have to do.

    Raises:
        DataError: the data are others than those that the version was published with (exit 2).
        RecipeError: the recipe cannot be read (exit 2).
    """
    wanted = manifest.data["evaluation"]
    if recipe_path is not None:
        data = load_evaluation(load_recipe(recipe_path))
        if data.sha256 != wanted.sha256:
            raise DataError(
                data.source,
                f"is not the evaluation data of {manifest.model} version {manifest.version}: its"
                " content differs",
                hint="give the recipe and data that the version was published with",
            )
        return data, []
    golden = Golden.load(directory / GOLDEN)
    if golden.labels is None:
        raise DataError(GOLDEN, "has no labels", hint="give the recipe with --recipe")
    data = labelled_rows(recipe, GOLDEN, dict(golden.inputs), golden.labels)
    rows = f"{data.rows} golden rows, not its {wanted.rows} evaluation rows"
    return data, [f"asked the version's {rows}: --recipe gives them"]


def gather(
    recipe: Recipe,
    float_onnx: Path,
    runners: Mapping[str, Runner],
    data: LabelledDataset,
    progress: Progress,
) -> Evidence:
    """Ask every plan all rows, gate the INT8 one, and time them in turn.

    Args:
        recipe: Gates and outputs.
        float_onnx: Answers as the float model does, in ONNX Runtime on the CPU.
        runners: By hop; INT8 and FP32 at least. Only the INT8 plan's gates can refuse.
        data: Labelled rows.
        progress: Told about every step.

    Raises:
        GateRefused: the INT8 plan lost too much (exit 3).
        ConversionError: a plan cannot be asked (exit 1).
    """
    reference = answer_all(recipe, ONNX, OnnxRuntimeRunner(float_onnx), data)
    hops = []
    for hop, runner in runners.items():
        progress.begin(f"gate: {hop}")
        result = compare(hop, answer_all(recipe, hop, runner, data), reference, data.labels)
        gated = judge(result, recipe.gates)
        progress.end(gated.summary)
        if hop == PLAN_INT8:
            enforce(gated, recipe.gates)
        hops.append(gated)
    progress.begin("compare speed")
    speed = _compare_speed(runners, data)
    progress.end("; ".join(one.sentence for one in speed))
    return Evidence(DataRecord(data.source, data.rows, data.sha256), tuple(hops), speed)


def _compare_speed(runners: Mapping[str, Runner], data: LabelledDataset) -> tuple[PlanSpeed, ...]:
    speeds = []
    for feed in one_row_and_full(data):
        by_form = np.array(time_in_turn(list(runners.values()), feed)).T
        milliseconds = {
            hop: median(seconds) * 1e3 for hop, seconds in zip(runners, by_form, strict=True)
        }
        speeds.append(
            PlanSpeed(
                batch=len(next(iter(feed.values()))),
                int8_ms=milliseconds[PLAN_INT8],
                fp32_ms=milliseconds[PLAN_FP32],
                fp16_ms=milliseconds.get(PLAN_FP16),
            )
        )
    return tuple(speeds)
