"""Calibration and evaluation data: read once, checked, hashed."""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean_export.errors import DataError, nearest
from clickclean_export.recipe import Recipe, Tensor
from clickclean_export.user_code import modules_beside, resolve

Array = NDArray[np.generic]
Feed = Mapping[str, Array]


@dataclass(frozen=True)
class Dataset:
    """Batches as the model takes them, each at most ``serving.max_batch`` rows.

    Attributes:
        source: What the recipe calls it.
        feeds: One mapping from input name to array per batch.
        row_hashes: SHA-256 of every row over all inputs, in order.
    """

    source: str
    feeds: tuple[Feed, ...]
    row_hashes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.row_hashes)

    @property
    def sha256(self) -> str:
        """Fingerprint of the content, independent of the batching."""
        return hashlib.sha256("".join(self.row_hashes).encode()).hexdigest()


@dataclass(frozen=True)
class LabelledDataset(Dataset):
    """Batches with the right answers.

    Attributes:
        labels: int64[rows].
    """

    labels: NDArray[np.int64]

    @property
    def sha256(self) -> str:
        """Fingerprint of content and labels."""
        digest = hashlib.sha256("".join(self.row_hashes).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def load_calibration(recipe: Recipe) -> Dataset:
    """Read the calibration source.

    Raises:
        DataError: empty, too few samples, wrong names, dtypes or shapes, NaN.
        RecipeError: the source cannot be imported.
    """
    source = recipe.data.calibration
    feeds, hashes, _ = _read(recipe, "data.calibration", source, labelled=False)
    data = Dataset(source, feeds, hashes)
    _at_least(data, recipe.data.calibration_samples_min, "calibration_samples_min")
    return data


def load_evaluation(recipe: Recipe) -> LabelledDataset:
    """Read the labelled evaluation source; labels must be classes of the prediction output.

    Raises:
        DataError: as for calibration, or labels missing or out of range.
        RecipeError: the source cannot be imported.
    """
    source = recipe.data.evaluation
    feeds, hashes, labels = _read(recipe, "data.evaluation", source, labelled=True)
    data = LabelledDataset(source, feeds, hashes, np.concatenate(labels))
    _at_least(data, recipe.data.evaluation_samples_min, "evaluation_samples_min")
    classes = next(t.axes[-1] for t in recipe.outputs if t.name == recipe.prediction)
    if isinstance(classes, int):
        low, high = int(data.labels.min()), int(data.labels.max())
        if low < 0 or high >= classes:
            raise DataError(
                data.source,
                f"labels run from {low} to {high}, but output '{recipe.prediction}' has"
                f" {classes} classes (0 to {classes - 1})",
            )
    return data


def labelled_rows(
    recipe: Recipe, source: str, feed: Feed, labels: NDArray[np.int64]
) -> LabelledDataset:
    """Make a data set of rows that a version carries; they were checked when it was published."""
    step = recipe.serving.max_batch
    feeds = tuple(
        {name: array[start : start + step] for name, array in feed.items()}
        for start in range(0, len(labels), step)
    )
    return LabelledDataset(source, feeds, tuple(_row_hashes(feed)), labels)


def refuse_overlap(calibration: Dataset, evaluation: Dataset) -> None:
    """Refuse samples that are in both sets: they would flatter INT8.

    Raises:
        DataError: at least one row is the same, byte for byte.
    """
    shared = set(calibration.row_hashes) & set(evaluation.row_hashes)
    if shared:
        raise DataError(
            calibration.source,
            f"{len(shared)} of its {calibration.rows} samples are also in the evaluation source"
            f" '{evaluation.source}'",
            hint="calibrate on samples that the evaluation never sees",
        )


def _at_least(data: Dataset, minimum: int, key: str) -> None:
    if data.rows < minimum:
        raise DataError(
            data.source,
            f"{data.rows} samples, but data.{key} is {minimum}",
            hint="yield more batches, or lower the minimum in the recipe if you must",
        )


def _read(
    recipe: Recipe, key: str, source: str, *, labelled: bool
) -> tuple[tuple[Feed, ...], tuple[str, ...], list[NDArray[np.int64]]]:
    """Return checked batches, the hash of every row, and the labels of each batch."""
    feeds: list[Feed] = []
    labels: list[NDArray[np.int64]] = []
    hashes: list[str] = []
    for number, batch in enumerate(_batches(recipe, key, source), start=1):
        where = f"batch {number}"
        feed = _checked_feed(recipe, source, where, batch)
        rows = len(next(iter(feed.values())))
        if labelled:
            labels.append(_checked_labels(recipe, source, where, batch, rows))
        hashes += _row_hashes(feed)
        for start in range(0, rows, recipe.serving.max_batch):
            part = slice(start, start + recipe.serving.max_batch)
            feeds.append({name: array[part] for name, array in feed.items()})
    if not feeds:
        raise DataError(source, "yields no batch", hint="yield dictionaries of numpy arrays")
    return tuple(feeds), tuple(hashes), labels


def _batches(recipe: Recipe, key: str, source: str) -> Iterable[Mapping[str, Any]]:
    if source.endswith(".npz"):
        yield _npz(recipe.directory / source, source)
        return
    if ":" not in source:
        raise DataError(
            source,
            "is neither 'module:function' nor an .npz file",
            hint=f"mend {key} in the recipe",
        )
    function = resolve(recipe, key, source)
    try:
        with modules_beside(recipe):
            for batch in function():
                if not isinstance(batch, Mapping):
                    raise DataError(
                        source,
                        f"yields {type(batch).__name__}, not a dictionary of numpy arrays",
                    )
                yield batch
    except DataError:
        raise
    except Exception as error:
        raise DataError(source, f"raised {type(error).__name__}: {error}") from error


def _npz(path: Path, source: str) -> dict[str, Array]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(source, f"{path} is one array, not an .npz", hint="use numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(source, f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            source,
            f"cannot be read as an .npz of plain arrays ({error})",
            hint="write it with numpy.savez; object arrays are refused",
        ) from error


def _checked_feed(recipe: Recipe, source: str, where: str, batch: Mapping[str, Any]) -> Feed:
    expected = {tensor.name for tensor in recipe.inputs}
    extra = sorted(set(batch) - expected - {recipe.data.label})
    missing = sorted(expected - set(batch))
    if missing:
        near = nearest(missing[0], extra)
        raise DataError(
            source,
            f"{where} has no array '{missing[0]}'",
            hint=f"did you mean to name '{near}' so?" if near else "name arrays as the inputs are",
        )
    if extra:
        raise DataError(source, f"{where} has an array '{extra[0]}' that is not an input")
    feed = {t.name: _checked_array(recipe, t, source, where, batch[t.name]) for t in recipe.inputs}
    rows = {name: len(array) for name, array in feed.items()}
    if len(set(rows.values())) > 1:
        raise DataError(source, f"{where}: inputs differ in their number of rows: {rows}")
    return feed


def _checked_array(recipe: Recipe, tensor: Tensor, source: str, where: str, value: Any) -> Array:
    if not isinstance(value, np.ndarray):
        raise DataError(source, f"{where}: '{tensor.name}' is {type(value).__name__}, not an array")
    if value.dtype != np.dtype(tensor.dtype):
        raise DataError(
            source, f"{where}: '{tensor.name}' is {value.dtype}, the recipe says {tensor.dtype}"
        )
    if value.ndim != len(tensor.axes):
        raise DataError(
            source,
            f"{where}: '{tensor.name}' has shape {value.shape}, the recipe says {tensor.axes}",
        )
    if len(value) == 0:
        raise DataError(source, f"{where}: '{tensor.name}' has no rows")
    for position, (axis, size) in enumerate(zip(tensor.axes, value.shape, strict=True)):
        if position == 0:
            continue
        low, high = (axis, axis) if isinstance(axis, int) else _bounds(recipe, axis)
        if not low <= size <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            which = f"'{axis}'" if isinstance(axis, str) else str(position)
            raise DataError(
                source,
                f"{where}: '{tensor.name}' has size {size} on axis {which}, wanted {wanted}",
            )
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        raise DataError(source, f"{where}: '{tensor.name}' contains NaN or infinity")
    return value


def _bounds(recipe: Recipe, axis: str) -> tuple[int, int]:
    found = recipe.axis_range(axis)
    return found.min, found.max


def _checked_labels(
    recipe: Recipe, source: str, where: str, batch: Mapping[str, Any], rows: int
) -> NDArray[np.int64]:
    labels = batch.get(recipe.data.label)
    if labels is None:
        raise DataError(
            source,
            f"{where} has no labels '{recipe.data.label}'",
            hint="accuracy is gated on labelled data; yield an integer array under that name",
        )
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (rows,):
        raise DataError(
            source,
            f"{where}: labels '{recipe.data.label}' are {array.dtype}{list(array.shape)},"
            f" wanted integers [{rows}]",
        )
    return array.astype(np.int64)


def _row_hashes(feed: Feed) -> list[str]:
    arrays = [np.ascontiguousarray(feed[name]) for name in sorted(feed)]
    hashes = []
    for row in range(len(arrays[0])):
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(str((array.dtype, array.shape[1:])).encode())
            digest.update(array[row].tobytes())
        hashes.append(digest.hexdigest())
    return hashes
