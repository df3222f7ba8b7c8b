"""A model's schema as a file: written, read strictly, and compared with what a server says."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from clickclean_client._exceptions import SchemaError
from clickclean_client._types import BATCH, Axis, ModelMetadata, TensorSpec
from clickclean_client.protocol import NUMPY_DTYPES

FORMAT: Final = 1
"""Of the file. A reader refuses another one: what it does not know may change what is allowed."""

_LARGEST_SIZE: Final = 2**63 - 1  # Triton's sizes are int64
_OPTIONAL: Final = ("versions", "fingerprint")


def load_schema(source: Path | str | ModelMetadata) -> ModelMetadata:
    """The schema in a file that `clickclean schema` or `ModelMetadata.to_json` wrote.

    `source` is a path; metadata are returned as they are, so that a setting may be either.

    Raises:
        SchemaError: the file cannot be read, is no JSON, has an unknown or no known key, or a
            value that is not allowed.
    """
    if isinstance(source, ModelMetadata):
        return source
    if not isinstance(source, str | Path):
        raise SchemaError(f"{source!r} is no path", hint="Give the path of a file, or metadata.")
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SchemaError("it is no UTF-8 text", source=str(source)) from exc
    except (OSError, ValueError) as exc:
        is_text = str(source).lstrip().startswith("{")
        raise SchemaError(
            f"it cannot be read ({getattr(exc, 'strerror', None) or exc})",
            source="" if is_text else str(source),
            hint="ModelMetadata.from_json reads a text; this reads a file." if is_text else "",
        ) from exc
    return schema_from_json(text, source=str(source))


def schema_to_json(metadata: ModelMetadata) -> str:
    """The text of a file: one line for each axis, so that a change shows as one line."""
    head = {
        "format": FORMAT,
        "model": metadata.name,
        "versions": list(metadata.versions),
        "fingerprint": metadata.fingerprint,
        "max_batch": metadata.max_batch,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines += [
        f"  {json.dumps(key)}: {_list_text(map(_tensor_text, specs), '  ')}"
        for key, specs in (("inputs", metadata.inputs), ("outputs", metadata.outputs))
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def schema_from_json(text: str, *, source: str = "") -> ModelMetadata:
    """See `ModelMetadata.from_json`."""
    whole = _Place(source)
    try:
        found = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as exc:
        whole.refuse(f"it is no JSON: {exc.msg}, line {exc.lineno} column {exc.colno}")
    except (TypeError, ValueError, RecursionError) as exc:
        whole.refuse(f"it cannot be read: {exc}")
    # Before the keys, which are others in another format.
    if isinstance(found, dict) and whole.at("format").size(found.get("format", FORMAT)) != FORMAT:
        whole.at("format").refuse(
            f"is {found['format']}, and this client reads {FORMAT}",
            hint="Let the clickclean that reads it write it: clickclean schema MODEL -o FILE",
        )
    fields = whole.table(
        found, ("format", "model", "max_batch", "inputs", "outputs"), optional=_OPTIONAL
    )
    max_batch = whole.at("max_batch").size(fields["max_batch"])
    tensors = {
        key: tuple(
            _tensor(entry, place, batches=bool(max_batch), is_input=key == "inputs")
            for entry, place in whole.at(key).entries(fields[key])
        )
        for key in ("inputs", "outputs")
    }
    for key, specs in tensors.items():
        names = [spec.name for spec in specs]
        if twice := [name for name in names if names.count(name) > 1]:
            whole.at(key).refuse(f"has {twice[0]!r} twice")
    if not tensors["outputs"]:
        whole.at("outputs").refuse("is empty, and a model has at least one")
    return ModelMetadata(
        name=whole.at("model").text(fields["model"]),
        versions=tuple(
            place.text(entry)
            for entry, place in whole.at("versions").entries(fields.get("versions", []))
        ),
        inputs=tensors["inputs"],
        outputs=tensors["outputs"],
        max_batch=max_batch,
        fingerprint=whole.at("fingerprint").text(fields.get("fingerprint", ""), empty=True),
    )


def schema_differences(pinned: ModelMetadata, served: ModelMetadata) -> tuple[str, ...]:
    """See `ModelMetadata.differences`."""
    found = []
    if pinned.max_batch != served.max_batch:
        found.append(f"max_batch is {served.max_batch}, the schema says {pinned.max_batch}")
    for kind, ours, theirs in (
        ("input", pinned.inputs, served.inputs),
        ("output", pinned.outputs, served.outputs),
    ):
        known = {spec.name: spec for spec in theirs}
        for spec in ours:
            there = known.pop(spec.name, None)
            if there is None:
                found.append(f"the {kind} {spec.name!r} is missing, the schema says {spec}")
            else:
                found += _tensor_differences(f"the {kind} {spec.name!r}", spec, there)
        found += [f"the {kind} {name!r} is new, it is {spec}" for name, spec in known.items()]
    return tuple(found)


def _tensor_differences(subject: str, ours: TensorSpec, theirs: TensorSpec) -> Iterator[str]:
    if ours.optional != theirs.optional:
        words = {True: "optional", False: "needed"}
        yield f"{subject} is {words[theirs.optional]}, the schema says {words[ours.optional]}"
    if ours.triton_dtype != theirs.triton_dtype or len(ours.axes) != len(theirs.axes):
        yield f"{subject} is {theirs}, the schema says {ours}"
        return
    for place, (mine, other) in enumerate(zip(ours.axes, theirs.axes, strict=True)):
        if mine.named and other.named and mine.name != other.name:
            yield (
                f"{Axis.unnamed(place)} of {subject} is called {other.name!r}, "
                f"the schema says {mine.name!r}"
            )
        told = [end for end in ("min", "max") if getattr(other, end) is not None]
        ranges_differ = any(getattr(mine, end) != getattr(other, end) for end in told)
        if mine.size != other.size or (other.size < 0 and ranges_differ):
            name = mine if mine.named else other
            called = repr(name.name) if name.named else place
            yield f"axis {called} of {subject} is {_sizes(other)}, the schema says {_sizes(mine)}"


def _sizes(axis: Axis) -> str:
    return str(axis.size) if axis.size >= 0 else axis.bounds or "free"


def _tensor_text(spec: TensorSpec) -> str:
    head = {"name": spec.name, "dtype": spec.triton_dtype}
    lines = [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    if spec.optional:
        lines.append('      "optional": true')
    axes = [json.dumps(_axis_fields(axis)) for axis in spec.axes]
    lines.append(f'      "axes": {_list_text(axes, "      ")}')
    return "{\n" + ",\n".join(lines) + "\n    }"


def _list_text(entries: Iterable[str], indent: str) -> str:
    text = ",".join(f"\n{indent}  {entry}" for entry in entries)
    return f"[{text}\n{indent}]" if text else "[]"


def _axis_fields(axis: Axis) -> dict[str, Any]:
    if axis.size >= 0:
        return {"name": axis.name, "size": axis.size}
    ends = {"min": axis.min, "max": axis.max}
    return {"name": axis.name, **{key: end for key, end in ends.items() if end is not None}}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Somewhere in a file, such as `inputs[0].axes[2].max`, and what may stand there."""

    source: str
    path: str = ""

    def at(self, key: str) -> _Place:
        return _Place(self.source, f"{self.path}.{key}" if self.path else key)

    def refuse(self, problem: str, *, hint: str = "") -> NoReturn:
        raise SchemaError(f"{self.path} {problem}".strip(), source=self.source, hint=hint)

    def table(
        self, value: Any, needed: Iterable[str], *, optional: Iterable[str] = ()
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.refuse(f"is {_shown(value)}, not an object" if self.path else "it is no object")
        known = [*needed, *optional]
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known)}."
                _Place(self.source).refuse(f"{self.at(key).path} is an unknown key", hint=hint)
        for key in needed:
            if key not in value:
                self.at(key).refuse("is missing")
        return value

    def entries(self, value: Any) -> Iterator[tuple[Any, _Place]]:
        if not isinstance(value, list):
            self.refuse(f"is {_shown(value)}, not a list")
        for number, entry in enumerate(value):
            yield entry, _Place(self.source, f"{self.path}[{number}]")

    def text(self, value: Any, *, empty: bool = False) -> str:
        if not isinstance(value, str) or not (value or empty):
            self.refuse(f"is {_shown(value)}, not a text")
        return value

    def size(self, value: Any) -> int:
        # bool is an int for Python.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_SIZE:
            self.refuse(f"is {_shown(value)}, not a whole number from 0")
        return value

    def flag(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self.refuse(f"is {_shown(value)}, not true or false")
        return value


def _tensor(value: Any, place: _Place, *, batches: bool, is_input: bool) -> TensorSpec:
    optional = ("optional",) if is_input else ()
    fields = place.table(value, ("name", "dtype", "axes"), optional=optional)
    dtype = place.at("dtype").text(fields["dtype"])
    if dtype not in NUMPY_DTYPES:
        place.at("dtype").refuse(
            f"is {_shown(dtype)}, which is no dtype of Triton",
            hint=f"There are {', '.join(NUMPY_DTYPES)}.",
        )
    axes = tuple(
        _axis(entry, where, number, is_batch=batches and number == 0)
        for number, (entry, where) in enumerate(place.at("axes").entries(fields["axes"]))
    )
    if batches and not axes:
        place.at("axes").refuse("is empty, and a model with max_batch has a batch axis")
    return TensorSpec(
        place.at("name").text(fields["name"]),
        NUMPY_DTYPES[dtype],
        dtype,
        tuple(axis.size for axis in axes),
        place.at("optional").flag(fields.get("optional", False)),
        axes,
    )


def _axis(value: Any, place: _Place, number: int, *, is_batch: bool) -> Axis:
    fields = place.table(value, (), optional=("name", "size", "min", "max"))
    name = place.at("name").text(fields.get("name", BATCH if is_batch else Axis.unnamed(number)))
    ends = {key: place.at(key).size(fields[key]) for key in ("min", "max") if key in fields}
    if not Axis(name).named and name != Axis.unnamed(number):
        place.at("name").refuse(
            f"is {name!r} for axis {number}", hint="Leave the name out where there is none."
        )
    if is_batch and (ends or "size" in fields):
        place.refuse("is the batch, which is free", hint="max_batch is its limit.")
    if "size" in fields:
        if ends:
            hint = "A fixed axis has size, a free one may have min and max."
            place.refuse("has a size and a range", hint=hint)
        return Axis(name, place.at("size").size(fields["size"]))
    if len(ends) > 1 and ends["min"] > ends["max"]:
        place.refuse(f"has min {ends['min']} above max {ends['max']}")
    return Axis(name, -1, ends.get("min"), ends.get("max"))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
