"""The tables of an experiment's log; the one module that imports pyarrow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints

from clickclean_client._exceptions import ParquetMissing

_TIME: Final = "time"
_ARROW_TYPES: Final = {int: "int64", str: "string", float: "float64", bool: "bool_"}


class Exposure(NamedTuple):
    """One call with a key while an experiment ran.

    `arm` is the assigned one. `version` is the one that answered, 0 if none did. `unit` is the
    key's pseudonym. `error` names the exception of the assigned arm, "" without one; `fallback`
    says that the champion answered for a challenger that failed.
    """

    time_us: int  # since 1970, UTC; the column `time`
    experiment: str
    model: str
    arm: str
    version: int
    prediction_id: str
    unit: str
    latency_ms: float
    error: str
    fallback: bool


class Outcome(NamedTuple):
    """What became of a prediction: a label, a click, any number."""

    time_us: int
    experiment: str
    prediction_id: str
    name: str
    value: float


class Shadow(NamedTuple):
    """One mirrored request. With an `error`, `agree` is false and `max_difference` NaN."""

    time_us: int
    experiment: str
    model: str
    prediction_id: str
    champion_version: int
    challenger_version: int
    champion_ms: float
    challenger_ms: float
    error: str
    agree: bool
    max_difference: float


Row = Exposure | Outcome | Shadow

FOLDERS: Final[dict[type[Any], str]] = {
    Exposure: "exposures",
    Outcome: "outcomes",
    Shadow: "shadows",
}


def number_of(version: str) -> int:
    """A version as the server writes it, as a number; 0 for anything else."""
    return int(version) if version.isascii() and version.isdigit() else 0


def require_parquet() -> None:
    """Load pyarrow now.

    Raises:
        ParquetMissing: it is not installed, or does not load beside what is.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as exc:
        raise ParquetMissing(str(exc)) from exc


def write_table(rows: Sequence[Row], folder: Path, name: str) -> None:
    """Write rows of one kind as `<folder>/<kind>/<name>.parquet`; the file appears whole.

    Raises:
        OSError: the disk does not take it.
        pyarrow.ArrowException: a row is not of its kind.
    """
    import pyarrow
    import pyarrow.parquet

    kind = type(rows[0])
    place = folder / FOLDERS[kind]
    place.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema(
        [
            (_TIME, pyarrow.timestamp("us", tz="UTC"))
            if column == "time_us"
            else (column, getattr(pyarrow, _ARROW_TYPES[hint])())
            for column, hint in get_type_hints(kind).items()
        ]
    )
    columns = [
        pyarrow.array(values, type=entry.type)
        for values, entry in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    # A leading dot hides it from readers of *.parquet until it is whole.
    staged = place / f".{name}.part"
    try:
        with staged.open("wb") as stream:
            pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), stream)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(place / f"{name}.parquet")
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
