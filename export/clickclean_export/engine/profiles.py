"""Optimization profiles: for which shapes a plan is built, and whether they fit the file."""

import re
from collections.abc import Iterable, Mapping, Sequence

from clickclean_export.engine.lint import LARGEST_AXIS, GraphInput
from clickclean_export.engine.options import BuildOptions, Profile, Range
from clickclean_export.errors import ExportError
from clickclean_export.findings import Finding
from clickclean_export.recipe import AxisRange, Recipe, Tensor

# Exporters name free axes as they like, "=" and ":" included.
_AXIS = re.compile(r"(?P<name>.+)=(?P<min>[0-9]+)(:(?P<opt>[0-9]+):(?P<max>[0-9]+))?", re.DOTALL)
_TOO_LARGE = f"a size is {LARGEST_AXIS} at most"
_SHOWN = 60
_RANGES = "give every free axis a range: [axes.NAME] in the recipe, --axis NAME=MIN:OPT:MAX here"


class AxisError(ExportError):
    """An ``--axis`` that cannot be read."""

    exit_code = 2

    def __init__(
        self, given: str, problem: str, *, hint: str = "write NAME=MIN:OPT:MAX or NAME=SIZE"
    ) -> None:
        shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
        super().__init__(f"axis '{shown}': {problem}", hint=hint)


def parse_axis(text: str) -> tuple[str, AxisRange]:
    """Read ``NAME=MIN:OPT:MAX``, or ``NAME=SIZE`` for one size only.

    Raises:
        AxisError: it is written otherwise, or no sizes that an axis can have (exit 2).
    """
    match = _AXIS.fullmatch(text)
    if match is None:
        raise AxisError(text, "is not a range")
    sizes = [match["min"], match["opt"] or match["min"], match["max"] or match["min"]]
    # Python refuses to read numbers of thousands of digits.
    if max(len(size.lstrip("0")) for size in sizes) > len(str(LARGEST_AXIS)):
        raise AxisError(text, _TOO_LARGE)
    low, usual, high = map(int, sizes)
    if max(low, usual, high) > LARGEST_AXIS:
        raise AxisError(text, _TOO_LARGE)
    if not 1 <= low <= usual <= high:
        raise AxisError(text, "1 <= MIN <= OPT <= MAX is needed")
    return match["name"], AxisRange(min=low, opt=usual, max=high)


def parse_axes(texts: Iterable[str]) -> dict[str, AxisRange]:
    """Read several, as ``parse_axis`` does one.

    Raises:
        AxisError: one is written otherwise, or a name is given twice (exit 2).
    """
    ranges: dict[str, AxisRange] = {}
    for text in texts:
        name, sizes = parse_axis(text)
        if name in ranges:
            raise AxisError(text, "given twice", hint="give every axis one range")
        ranges[name] = sizes
    return ranges


def build_options(recipe: Recipe) -> BuildOptions:
    """Return the recipe's choices as the builder takes them."""
    chosen = recipe.engine
    return BuildOptions(
        optimization_level=chosen.optimization_level,
        workspace_mib=chosen.workspace_mib,
        version_compatible=chosen.version_compatible,
        hardware_compatibility=chosen.hardware_compatibility,
    )


def recipe_profiles(recipe: Recipe) -> tuple[Profile, ...]:
    """Return one profile of the whole ranges, or those that ``[[engine.profiles]]`` lists."""

    def shape(tensor: Tensor, narrowed: Mapping[str, AxisRange]) -> Range:
        ranges = [
            AxisRange(min=axis, opt=axis, max=axis)
            if isinstance(axis, int)
            else narrowed.get(axis, recipe.axis_range(axis))
            for axis in tensor.axes
        ]
        return _range(ranges)

    return tuple(
        {tensor.name: shape(tensor, narrowed) for tensor in recipe.inputs}
        for narrowed in recipe.engine.profiles or ({},)
    )


def axis_profile(
    inputs: Sequence[GraphInput], ranges: Mapping[str, AxisRange]
) -> tuple[tuple[Profile, ...], tuple[Finding, ...]]:
    """Return the profile of a bare file from ranges by axis name, and what is missing for it."""
    free = {axis for item in inputs for axis in item.dims if isinstance(axis, str)}
    findings = [
        Finding(
            "axis-without-range", item.name, f"its axis '{axis}' is free and has no range", _RANGES
        )
        for item in inputs
        for axis in item.dims
        if isinstance(axis, str) and axis not in ranges
    ]
    findings += [
        Finding(
            "unknown-axis",
            axis,
            "no input has such a free axis",
            f"free axes: {', '.join(sorted(free)) or 'none'}",
        )
        for axis in ranges
        if axis not in free
    ]
    if findings:
        return (), tuple(findings)
    profile = {
        item.name: _range(
            [
                AxisRange(min=axis, opt=axis, max=axis) if isinstance(axis, int) else ranges[axis]
                for axis in item.dims
            ]
        )
        for item in inputs
    }
    return (profile,), ()


def unfit(inputs: Sequence[GraphInput], profiles: Sequence[Profile]) -> tuple[Finding, ...]:
    """Say where profiles do not fit the inputs of a file; empty when they do."""
    known = {item.name: item for item in inputs}
    findings = []
    for number, profile in enumerate(profiles):
        findings += [
            _misfit(number, name, "has no range in it")
            for name in sorted(known.keys() - profile.keys())
        ]
        findings += [
            _misfit(number, name, "is no input of the file")
            for name in sorted(profile.keys() - known.keys())
        ]
        for name, item in known.items():
            if name not in profile:
                continue
            shape = profile[name]
            if len(shape.opt) != len(item.dims):
                text = f"has {len(item.dims)} axes, the profile {len(shape.opt)}"
                findings.append(_misfit(number, name, text))
                continue
            for index, axis in enumerate(item.dims):
                low, high = shape.min[index], shape.max[index]
                if isinstance(axis, int) and not low == high == axis:
                    text = (
                        f"axis {index} is fixed at {axis} in the file, and {low} to {high} wanted"
                    )
                    findings.append(_misfit(number, name, text))
    return tuple(findings)


def _misfit(number: int, name: str, problem: str) -> Finding:
    return Finding(
        "profile-misfit", f"profile {number}, input '{name}'", problem, f"{_RANGES}, and no other"
    )


def _range(ranges: Sequence[AxisRange]) -> Range:
    return Range(
        min=tuple(one.min for one in ranges),
        opt=tuple(one.opt for one in ranges),
        max=tuple(one.max for one in ranges),
    )
