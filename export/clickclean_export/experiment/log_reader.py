"""The rows of one experiment, out of a folder of Parquet files from any number of processes.

Files appear whole, by a rename, so a file that is being written is never seen under its final
name. A file that cannot be read, or is no log, is skipped and named in the result: the guardrails
of a running experiment must not go blind because one process wrote rubbish.

This is the one module of the package that imports pyarrow.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from clickclean_export.errors import IncompatibleError, MissingExtraError
from clickclean_export.experiment.errors import LogError

if TYPE_CHECKING:
    import pyarrow as pa

EXPOSURES, OUTCOMES, SHADOWS = "exposures", "outcomes", "shadows"
CHAMPION, CHALLENGER = "champion", "challenger"
_SHOWN = 3

_TIME, _TEXT, _INT, _FLOAT, _BOOL = "timestamp", "string", "int64", "double", "bool"
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    EXPOSURES: {
        "time": _TIME,
        "experiment": _TEXT,
        "arm": _TEXT,
        "version": _INT,
        "prediction_id": _TEXT,
        "unit": _TEXT,
        "latency_ms": _FLOAT,
        "error": _TEXT,
        "fallback": _BOOL,
    },
    OUTCOMES: {
        "time": _TIME,
        "experiment": _TEXT,
        "prediction_id": _TEXT,
        "name": _TEXT,
        "value": _FLOAT,
    },
    SHADOWS: {
        "time": _TIME,
        "experiment": _TEXT,
        "champion_ms": _FLOAT,
        "challenger_ms": _FLOAT,
        "error": _TEXT,
        "agree": _BOOL,
        "max_difference": _FLOAT,
    },
}


@dataclass(frozen=True, eq=False)
class Exposures:
    """Calls in the order of their time; one row for each prediction.

    Attributes:
        time_us: int64[calls], microseconds since 1970, UTC.
        challenger: bool[calls], the assigned arm.
        version: int64[calls], the version that answered; 0 if none did.
        unit: int64[calls], number of the key's pseudonym, 0..units-1.
        latency_ms: float64[calls].
        error: bool[calls], the assigned arm failed.
        fallback: bool[calls], the challenger failed and the champion answered.
        units: Number of different keys.
    """

    time_us: NDArray[np.int64]
    challenger: NDArray[np.bool_]
    version: NDArray[np.int64]
    unit: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    error: NDArray[np.bool_]
    fallback: NDArray[np.bool_]
    units: int

    def __len__(self) -> int:
        return len(self.time_us)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Values of the metric whose prediction is known, in the order of their time.

    Attributes:
        time_us: int64[outcomes], microseconds since 1970, UTC.
        value: float64[outcomes], finite.
        call: int64[outcomes], row of the prediction in the exposures.
    """

    time_us: NDArray[np.int64]
    value: NDArray[np.float64]
    call: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_us)


@dataclass(frozen=True, eq=False)
class Shadows:
    """Mirrored calls.

    Attributes:
        champion_ms: float64[calls].
        challenger_ms: float64[calls].
        error: bool[calls], the challenger failed.
        agree: bool[calls].
        max_difference: float64[calls], NaN where it failed.
    """

    champion_ms: NDArray[np.float64]
    challenger_ms: NDArray[np.float64]
    error: NDArray[np.bool_]
    agree: NDArray[np.bool_]
    max_difference: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.error)


@dataclass(frozen=True)
class SetAside:
    """Rows and files that do not count, and why.

    Attributes:
        files: A sentence for each file that was skipped.
        incomplete_rows: Exposures with an empty column, or an unknown arm.
        repeated_predictions: Exposures whose prediction id came before; the earliest counts.
        ambiguous_predictions: Prediction ids given by different keys; outcomes of them are
            nobody's.
        outcomes_without_exposure: Outcomes whose prediction is not in the log (yet).
        outcomes_without_number: Outcomes that are empty, infinite or not a number.
    """

    files: tuple[str, ...] = ()
    incomplete_rows: int = 0
    repeated_predictions: int = 0
    ambiguous_predictions: int = 0
    outcomes_without_exposure: int = 0
    outcomes_without_number: int = 0


@dataclass(frozen=True, eq=False)
class ExperimentLog:
    """Everything that the folder says about one experiment and one metric."""

    exposures: Exposures
    outcomes: Outcomes
    shadows: Shadows
    set_aside: SetAside


def read_log(folder: Path, experiment: str, metric: str) -> ExperimentLog:
    """Read the log of one experiment.

    Args:
        folder: With ``exposures/``, ``outcomes/`` and ``shadows/``; each may be absent.
        experiment: Rows of others are left out.
        metric: Outcomes with other names are left out.

    Raises:
        LogError: the folder is absent, or none of its files can be read.
        MissingExtraError: pyarrow is not installed.
        IncompatibleError: pyarrow does not load beside this NumPy.
    """
    if not folder.is_dir():
        raise LogError(folder, "is not a folder", hint="give the folder that clients log to")
    skipped: list[str] = []
    tables = {kind: _table(folder, kind, experiment, skipped) for kind in _COLUMNS}
    if skipped and not any(table.num_rows for table in tables.values()):
        shown = "; ".join(skipped[:_SHOWN])
        raise LogError(folder, f"nothing can be read: {shown}")
    exposures, ids, ambiguous, incomplete, repeated = _exposures(tables[EXPOSURES])
    outcomes, orphans, numberless = _outcomes(tables[OUTCOMES], metric, ids, ambiguous)
    return ExperimentLog(
        exposures,
        outcomes,
        _shadows(tables[SHADOWS]),
        SetAside(
            tuple(skipped),
            incomplete,
            repeated,
            int(ambiguous.sum()),
            orphans,
            numberless,
        ),
    )


def _table(folder: Path, kind: str, experiment: str, skipped: list[str]) -> "pa.Table":
    """Read the rows of one kind; what cannot be read is told in ``skipped``."""
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow", "experiments") from None
    except ImportError as error:  # pyarrow 26 and later refuse NumPy 1
        raise IncompatibleError(
            f"pyarrow does not load: {error}", hint="pip install 'pyarrow<26'"
        ) from error

    types = {
        _TIME: pa.timestamp("us", "UTC"),
        _TEXT: pa.string(),
        _INT: pa.int64(),
        _FLOAT: pa.float64(),
        _BOOL: pa.bool_(),
    }
    schema = pa.schema([(name, types[kind_]) for name, kind_ in _COLUMNS[kind].items()])
    parts = [schema.empty_table()]
    for path in sorted((folder / kind).glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                absent = [name for name in schema.names if name not in file.schema_arrow.names]
                if absent:
                    skipped.append(f"{path}: not a log of {kind}, it has no column '{absent[0]}'")
                    continue
                rows = file.read(schema.names)
            parts.append(rows.filter(pc.equal(rows["experiment"], experiment)).cast(schema))
        except FileNotFoundError:  # merged or pruned since the folder was listed
            continue
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            skipped.append(f"{path}: cannot be read ({reason})")
    return pa.concat_tables(parts)


def _exposures(
    table: "pa.Table",
) -> tuple[Exposures, Any, NDArray[np.bool_], int, int]:
    """Return the calls, their ids (in the same order), which are ambiguous, and two counts."""
    import pyarrow.compute as pc

    rows = table.num_rows
    table = table.filter(pc.is_in(table["arm"], _texts([CHAMPION, CHALLENGER]))).drop_null()
    incomplete = rows - table.num_rows
    # The second key makes the order, and so the judgement, the same for every order of files.
    table = table.sort_by([("time", "ascending"), ("prediction_id", "ascending")])
    identity = _codes(table["prediction_id"])
    unit = _codes(table["unit"])
    known, first = np.unique(identity, return_index=True)
    ambiguous_ids = np.zeros(len(known), np.bool_)
    ambiguous_ids[identity[unit != unit[first][identity]]] = True
    kept = np.sort(first)
    table = table.take(kept)
    _, unit = np.unique(unit[kept], return_inverse=True)
    exposures = Exposures(
        time_us=_array(table["time"].cast("int64")),
        challenger=_array(pc.equal(table["arm"], CHALLENGER)),
        version=_array(table["version"]),
        unit=unit,
        latency_ms=_array(table["latency_ms"]),
        error=_array(pc.not_equal(table["error"], "")),
        fallback=_array(table["fallback"]),
        units=int(unit.max(initial=-1)) + 1,
    )
    return (
        exposures,
        table["prediction_id"],
        ambiguous_ids[identity[kept]],
        incomplete,
        len(identity) - len(kept),
    )


def _outcomes(
    table: "pa.Table", metric: str, ids: Any, ambiguous: NDArray[np.bool_]
) -> tuple[Outcomes, int, int]:
    """Return the outcomes with a prediction, and how many have none, or no number."""
    import pyarrow.compute as pc

    table = table.filter(pc.equal(table["name"], metric))
    rows = table.num_rows
    table = table.drop_null()
    table = table.filter(pc.is_finite(table["value"]))
    numberless = rows - table.num_rows
    table = table.sort_by([("time", "ascending"), ("prediction_id", "ascending")])
    found = pc.index_in(table["prediction_id"], ids.combine_chunks())
    call = _array(pc.fill_null(found, -1)).astype(np.int64)
    orphans = int((call < 0).sum())
    good = call >= 0
    good[good] = ~ambiguous[call[good]]
    return (
        Outcomes(
            _array(table["time"].cast("int64"))[good], _array(table["value"])[good], call[good]
        ),
        orphans,
        numberless,
    )


def _shadows(table: "pa.Table") -> Shadows:
    import pyarrow.compute as pc

    table = table.filter(pc.is_valid(table["error"]))
    return Shadows(
        champion_ms=_array(table["champion_ms"]),
        challenger_ms=_array(table["challenger_ms"]),
        error=_array(pc.not_equal(table["error"], "")),
        agree=_array(pc.fill_null(table["agree"], fill_value=False)),
        max_difference=_array(table["max_difference"]),
    )


def _texts(words: list[str]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(words, pa.string())


def _codes(column: Any) -> NDArray[np.int64]:
    """Number the different texts of a column, 0 for the first that occurs."""
    encoded = column.combine_chunks().dictionary_encode()
    return _array(encoded.indices).astype(np.int64)


def _array(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array: NDArray[Any] = whole.to_numpy(zero_copy_only=False)
    return array
