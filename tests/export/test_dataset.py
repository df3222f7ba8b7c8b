from pathlib import Path

import numpy as np
import pytest

from clickclean_export.dataset import load_calibration, load_evaluation, refuse_overlap
from clickclean_export.errors import DataError
from clickclean_export.recipe import load_recipe
from tests.export.conftest import DATA_PY, Write


def test_batches_are_cut_to_what_the_server_takes(write: Write) -> None:
    data = load_evaluation(load_recipe(write({"max_batch = 32": "max_batch = 8"})))
    assert data.rows == 140
    assert max(len(feed["image"]) for feed in data.feeds) == 8
    assert len(data.labels) == 140


def test_the_fingerprint_is_of_the_content_not_of_the_batching(write: Write) -> None:
    first = load_evaluation(load_recipe(write()))
    second = load_evaluation(load_recipe(write(data=DATA_PY.replace("35", "70"))))
    assert first.sha256 == second.sha256
    other = load_evaluation(load_recipe(write(data=DATA_PY.replace("200, 340", "201, 341"))))
    assert first.sha256 != other.sha256


def test_an_npz_is_a_source(write: Write) -> None:
    recipe = write({"data:evaluation": "held_out.npz"})
    image = np.random.default_rng(0).random((120, 1, 8, 8), dtype=np.float32)
    label = np.zeros(120, np.int32)
    np.savez(recipe.parent / "held_out.npz", image=image, label=label)
    data = load_evaluation(load_recipe(recipe))
    assert data.rows == 120
    assert [len(feed["image"]) for feed in data.feeds] == [32, 32, 32, 24]


def test_npz_errors(write: Write) -> None:
    recipe = write({"data:calibration": "calibration.npz"})
    path = recipe.parent / "calibration.npz"
    with pytest.raises(DataError, match="no such file"):
        load_calibration(load_recipe(recipe))
    np.savez(path, image=np.array([{"not": "numbers"}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration(load_recipe(recipe))
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataError, match="is one array, not an"):
        load_calibration(load_recipe(recipe))
    path.write_bytes(b"PK broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration(load_recipe(recipe))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("images[start : start + 30]}", "images[:0]}", "has no rows"),
        ("    for start in range(0, 120, 30):\n        yield", "    return\n    yield",
         "yields no batch"),
        ("images, _ = rows(0, 120)", "images, _ = rows(0, 120); images[5, 0, 2, 2] = np.nan",
         "contains NaN"),
        ("images[start : start + 30]}", "images[start : start + 30, :, :7]}",
         "has size 7 on axis 2, wanted 8"),
        ("images[start : start + 30]}", "images[start : start + 30, 0]}", "has shape"),
        ("images[start : start + 30]}", "images[start : start + 30].astype(np.float64)}",
         "is float64, the recipe says float32"),
        ('{"image": images[start : start + 30]}', '{"img": images[start : start + 30]}',
         "no array 'image'"),
        ('{"image": images[start : start + 30]}',
         '{"image": images[start : start + 30], "mask": images}', "'mask' that is not an input"),
        ('{"image": images[start : start + 30]}', "images[start : start + 30]",
         "yields ndarray, not a dictionary"),
        ("images[start : start + 30]}", "images[start : start + 30].tolist()}", "is list, not"),
        ("images, _ = rows(0, 120)", "raise OSError('no disk')", "raised OSError: no disk"),
        ("range(0, 120, 30)", "range(0, 60, 30)", "60 samples, but data.calibration_samples_min"),
    ],
)  # fmt: skip
def test_bad_calibration_is_explained(write: Write, old: str, new: str, sentence: str) -> None:
    assert old in DATA_PY
    recipe = load_recipe(write(data=DATA_PY.replace(old, new)))
    with pytest.raises(DataError) as caught:
        load_calibration(recipe)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (', "label": labels[start : start + 35]', "", "has no labels"),
        ("labels[start : start + 35]}", "labels[start : start + 35] + 1}",
         "labels run from 1 to 10"),
        ("labels[start : start + 35]}", "labels[start : start + 35] - 1}",
         "labels run from -1 to 8"),
        ("labels[start : start + 35]}", "labels[start : start + 35] / 1}", "wanted integers"),
        ("labels[start : start + 35]}", "labels[:5]}", "wanted integers [35]"),
    ],
)  # fmt: skip
def test_bad_labels_are_explained(write: Write, old: str, new: str, sentence: str) -> None:
    assert old in DATA_PY
    recipe = load_recipe(write(data=DATA_PY.replace(old, new)))
    with pytest.raises(DataError) as caught:
        load_evaluation(recipe)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("shared", [1, 120])
def test_calibrating_on_evaluation_data_is_refused(write: Write, shared: int) -> None:
    start = 340 - shared
    text = DATA_PY.replace("rows(0, 120)", f"rows({start}, {start + 120})")
    recipe = load_recipe(write(data=text))
    with pytest.raises(DataError, match=f"{shared} of its 120 samples are also in the evaluation"):
        refuse_overlap(load_calibration(recipe), load_evaluation(recipe))


def test_a_free_axis_is_bounded_by_name(strokes_folder: Path) -> None:
    text = (strokes_folder / "recipe.toml").read_text().replace("max = 64", "max = 25")
    (strokes_folder / "short.toml").write_text(text)
    with pytest.raises(DataError, match="on axis 'length', wanted 1 to 25"):
        load_evaluation(load_recipe(strokes_folder / "short.toml"))
