"""The recipe: all choices for one model, in one TOML file, validated and frozen."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from clickclean_client import slots
from clickclean_export.errors import RecipeError, nearest

DType = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
BATCH = "batch"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Axis = Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]


class _Section(BaseModel):
    # Strict: "200ms" is not 200, 1 is not True. Unknown keys are mistakes, never ignored.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        # TOML and JSON have lists; a frozen value holds tuples, which strict mode tells apart.
        if not isinstance(data, dict):
            return data
        return {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }


class ModelSection(_Section):
    """Which module, and the checkpoint that fills it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
    factory: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    checkpoint: str

    @field_validator("name")
    @classmethod
    def _no_slot(cls, name: str) -> str:
        if owner := slots.owner(name):
            raise ValueError(f"such a name stands for a version of '{owner}' in a server")
        return name


class Tensor(_Section):
    """One input or output. ``axes`` are names (free) or integers (fixed); the first is "batch"."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    dtype: DType
    axes: tuple[Axis, ...]

    @model_validator(mode="after")
    def _batch_first(self) -> Self:
        if not self.axes or self.axes[0] != BATCH:
            raise ValueError(f'the first axis must be "{BATCH}"')
        if BATCH in self.axes[1:]:
            raise ValueError(f'"{BATCH}" may stand only first')
        return self

    @property
    def dims(self) -> tuple[int, ...]:
        """Shape without the batch axis as Triton writes it: free axes are -1."""
        return tuple(axis if isinstance(axis, int) else -1 for axis in self.axes[1:])


class AxisRange(_Section):
    """Sizes that a free axis may take; ``opt`` is the one to optimise for."""

    min: Annotated[int, Field(ge=1)] = 1
    opt: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min <= opt <= max is needed, got {self.min}, {self.opt}, {self.max}")
        return self


class DataSection(_Section):
    """Where batches come from: ``module:function`` beside the recipe, or an ``.npz`` file."""

    calibration: str
    evaluation: str
    label: str = "label"
    prediction: str = ""
    calibration_samples_min: Annotated[int, Field(ge=1)] = 100
    evaluation_samples_min: Annotated[int, Field(ge=1)] = 100


class QuantizeSection(_Section):
    """What the quantiser may try; the best by measurement is kept."""

    methods: Annotated[tuple[Literal["max", "entropy"], ...], Field(min_length=1)] = (
        "max",
        "entropy",
    )


class GatesSection(_Section):
    """Numbers below which nothing is published.

    The 99 % of float is MLPerf Inference's accuracy target for quantised models
    (https://github.com/mlcommons/inference_policies, "Model-quality").
    """

    accuracy_min: Fraction = 0.95
    int8_accuracy_ratio_min: Fraction = 0.99
    agreement_min: Fraction = 0.99
    float_tolerance: Annotated[float, Field(gt=0.0)] = 1e-3
    on_inconclusive: Literal["publish", "refuse"] = "publish"


class ServingSection(_Section):
    """How Triton serves the model. Units are in the names.

    ``queue_size`` and ``queue_timeout_ms`` are for the GPU fleet: the CPU fleet's server loses
    wake-ups with any queue policy (docs/decisions/0007).
    """

    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    queue_delay_us: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    queue_size: Annotated[int, Field(ge=0)] = 0
    queue_timeout_ms: Annotated[int, Field(ge=0, le=60_000)] = 100
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    warmup: bool = True


class EngineSection(_Section):
    """How TensorRT builds plans; ``engine.options.BuildOptions`` says what each choice costs.

    Each of ``profiles`` narrows axes by name, the batch included; an axis that it leaves out keeps
    its whole range. Without any, there is one profile of the whole ranges.
    """

    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    workspace_mib: Annotated[int, Field(ge=0)] = 0
    version_compatible: bool = False
    hardware_compatibility: Literal["none", "same_compute_capability", "ampere_plus"] = "none"
    cuda_graphs: bool = True
    profiles: tuple[dict[str, AxisRange], ...] = ()


class TargetSection(_Section):
    """The service-level objective that a load test judges."""

    mean_ms: Annotated[float, Field(gt=0)] = 200.0
    p99_ms: Annotated[float, Field(gt=0)] = 500.0
    error_rate_max: Fraction = 0.001


class Recipe(_Section):
    """A validated recipe. ``load_recipe`` reads one from TOML."""

    model: ModelSection
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    axes: dict[str, AxisRange] = Field(default_factory=dict)
    data: DataSection
    quantize: QuantizeSection = QuantizeSection()
    gates: GatesSection = GatesSection()
    serving: ServingSection = ServingSection()
    engine: EngineSection = EngineSection()
    target: TargetSection = TargetSection()
    path: Path = Field(exclude=True)

    @property
    def directory(self) -> Path:
        """Folder of the recipe; relative paths and modules in it are found here."""
        return self.path.parent

    @property
    def checkpoint(self) -> Path:
        """Absolute path of the checkpoint."""
        return self.directory / self.model.checkpoint

    @property
    def prediction(self) -> str:
        """Name of the output whose largest entry along the last axis is the answer."""
        return self.data.prediction or self.outputs[0].name

    def axis_range(self, axis: str) -> AxisRange:
        """Sizes of a free axis; the batch goes from 1 to ``serving.max_batch``."""
        if axis == BATCH:
            top = self.serving.max_batch
            return AxisRange(min=1, opt=top, max=top)
        return self.axes[axis]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tensor name '{twice[0]}' is used twice")
        if self.data.label in names:
            raise ValueError(f"data.label '{self.data.label}' is also the name of a tensor")
        named = {a for t in self.inputs for a in t.axes if isinstance(a, str)}
        for axis in sorted(named - {BATCH} - set(self.axes)):
            raise ValueError(f"axis '{axis}' has no range: add [axes.{axis}] with min, opt and max")
        for axis in sorted(set(self.axes) - named):
            raise ValueError(f"[axes.{axis}] is given, but no input has an axis '{axis}'")
        known = {tensor.name: tensor for tensor in self.outputs}
        if self.prediction not in known:
            raise ValueError(f"data.prediction '{self.prediction}' is not an output")
        if not known[self.prediction].dtype.startswith("float"):
            raise ValueError(f"data.prediction '{self.prediction}' must be a float output")
        self._check_profiles(named)
        return self

    def _check_profiles(self, axes: set[str]) -> None:
        for number, profile in enumerate(self.engine.profiles):
            for axis, given in profile.items():
                place = f"engine.profiles[{number}].{axis}"
                if axis not in axes:
                    known = ", ".join(sorted(axes))
                    raise ValueError(f"{place} is no free axis of an input; there are: {known}")
                whole = self.axis_range(axis)
                if given.min < whole.min or given.max > whole.max:
                    raise ValueError(
                        f"{place} leaves the range of the axis, {whole.min} to {whole.max}"
                    )
        batches = [p[BATCH].max for p in self.engine.profiles if BATCH in p]
        if batches and len(batches) == len(self.engine.profiles):
            top = self.serving.max_batch
            if max(batches) < top:
                raise ValueError(f"no engine profile reaches serving.max_batch, {top}")


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        RecipeError: the file is missing, is not TOML, or a key is unknown, missing or wrong.
    """
    path = Path(path).absolute()
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except FileNotFoundError:
        raise RecipeError(path, "no such file", hint="give the path of a recipe.toml") from None
    except OSError as error:
        raise RecipeError(path, f"cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(path, f"is not TOML: {error}") from None
    try:
        return Recipe.model_validate({**data, "path": path})
    except ValidationError as error:
        raise _explain(path, error) from None


_ALTERNATIVES = re.compile(r"^(constrained-.*|int|str|function-.*|union.*)$")


def _explain(path: Path, error: ValidationError) -> RecipeError:
    """Word pydantic's first finding; unknown keys first, since they explain missing ones."""
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    first = findings[0]
    spot = _spot(first["loc"])
    more = f" ({len(findings) - 1} more findings after this one)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = nearest(str(first["loc"][-1]), known)
        hint = f"did you mean '{near}'?" if near else f"known keys: {', '.join(known)}"
        return RecipeError(path, f"unknown key '{spot}'{more}", hint=hint)
    if first["type"] == "missing":
        return RecipeError(path, f"key '{spot}' is missing{more}")
    message = first["msg"].removeprefix("Value error, ")
    where = f"'{spot}': " if spot else ""
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
    return RecipeError(
        path, f"{where}{message[0].lower()}{message[1:]}{shown}{more}", hint=_unit_hint(spot, given)
    )


def _spot(location: tuple[int | str, ...]) -> str:
    parts = [part for part in location if not _ALTERNATIVES.match(str(part))]
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _unit_hint(spot: str, given: object) -> str:
    units = {"_ms": "milliseconds", "_us": "microseconds"}
    for suffix, unit in units.items():
        if spot.endswith(suffix) and isinstance(given, str):
            return f"write a bare number; the unit is in the name: {unit}"
    if spot.endswith("dtype"):
        return f"known dtypes: {', '.join(get_args(DType))}"
    return ""


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at ``location`` accepts."""
    section: Any = Recipe
    for part in location:
        if isinstance(part, str):
            annotation = (
                section.model_fields[part].annotation if part in section.model_fields else None
            )
            section = _section_in(annotation) or section
    return [name for name in section.model_fields if name != "path"]


def _section_in(annotation: Any) -> type[_Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, _Section):
        return annotation
    for inner in get_args(annotation):
        found = _section_in(inner)
        if found is not None:
            return found
    return None
