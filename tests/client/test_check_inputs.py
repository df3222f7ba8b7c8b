"""The checks of inputs by themselves: rows, limits, names of axes, and the quick pass."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clickclean_client import Axis, InvalidRequest, ModelMetadata, TensorSpec
from clickclean_client._checks import _REFUSED, _careful, _prepare, _quick, check_inputs
from clickclean_client._exceptions import Call
from clickclean_client.protocol import NUMPY_DTYPES

CALL = Call("127.0.0.1:1", "m")


def spec(name: str, dtype: str, *axes: Axis, optional: bool = False) -> TensorSpec:
    shape = tuple(axis.size for axis in axes)
    return TensorSpec(name, NUMPY_DTYPES[dtype], dtype, shape, optional, axes)


def model(*inputs: TensorSpec, max_batch: int = 4) -> ModelMetadata:
    return ModelMetadata("m", ("1",), inputs, (spec("y", "FP32", Axis("axis 0")),), max_batch)


PLAIN = spec("x", "FP32", Axis("axis 0"), Axis("axis 1", 3))


def rows(count: int) -> dict[str, NDArray[Any]]:
    return {"x": np.zeros((count, 3), np.float32)}


def test_the_number_of_rows() -> None:
    batching, single = model(PLAIN), model(PLAIN, max_batch=0)
    assert check_inputs(rows(3), batching, CALL) == 3
    assert check_inputs(rows(0), batching, CALL) == 0
    assert check_inputs(rows(0), single, CALL) is None
    assert check_inputs(rows(9), single, CALL) is None
    assert check_inputs({}, model(spec("x", "FP32", Axis("n"), optional=True)), CALL) is None
    assert check_inputs(rows(0), model(spec("x", "FP32", *PLAIN.axes, optional=True)), CALL) == 0


def test_more_rows_than_the_limit_pass_only_if_they_are_split() -> None:
    with pytest.raises(InvalidRequest, match="the batch of 5 is over the model's limit of 4"):
        check_inputs(rows(5), model(PLAIN), CALL)
    assert check_inputs(rows(5), model(PLAIN), CALL, split=True) == 5
    assert check_inputs(rows(5), model(PLAIN, max_batch=0), CALL, split=True) is None


def test_batches_that_differ_are_refused_also_if_they_are_split() -> None:
    other = spec("z", "FP32", *PLAIN.axes)
    with pytest.raises(InvalidRequest, match=r"differ in batch size \(x: 5, z: 6\)"):
        check_inputs({**rows(5), "z": rows(6)["x"]}, model(PLAIN, other), CALL, split=True)


def test_one_part_must_fit_into_a_message() -> None:
    wide = spec("x", "FP32", Axis("axis 0"), Axis("axis 1"))
    row = np.broadcast_to(np.float32(0), (16, 2**26))  # 256 MiB for each row
    with pytest.raises(InvalidRequest, match="larger than one message"):
        check_inputs({"x": row}, model(wide), CALL)
    assert check_inputs({"x": row}, model(wide), CALL, split=True) == 16
    with pytest.raises(InvalidRequest, match="larger than one message"):
        check_inputs({"x": row}, model(wide, max_batch=8), CALL, split=True)
    with pytest.raises(InvalidRequest, match="larger than one message"):
        check_inputs({"x": row}, model(wide, max_batch=0), CALL, split=True)


def test_axes_without_a_name_have_nothing_to_do_with_each_other() -> None:
    axes = Axis("axis 0"), Axis("axis 1")
    both = model(spec("a", "FP32", *axes), spec("b", "FP32", *axes))
    inputs = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((1, 3), np.float32)}
    assert check_inputs(inputs, both, CALL) == 1


def test_a_name_on_the_first_axis_counts_where_the_model_does_not_batch() -> None:
    both = model(spec("a", "FP32", Axis("n")), spec("b", "FP32", Axis("n")), max_batch=0)
    inputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    with pytest.raises(InvalidRequest, match="axis 'n' of input 'b' is 3, and of input 'a' it"):
        check_inputs(inputs, both, CALL)


def test_a_scalar_where_a_server_says_that_the_model_batches() -> None:
    odd = model(spec("k", "INT32"))
    assert check_inputs({"k": np.zeros((), np.int32)}, odd, CALL) == 0


def test_what_the_quick_pass_takes_is_right() -> None:
    """Random inputs around what models take: it accepts nothing that the full checks refuse."""
    dice = np.random.default_rng(7)
    axes = [Axis("axis 1", 3), Axis("axis 1"), Axis("n", -1, 2, 4), Axis("n", -1, None, 3)]
    accepted = refused = 0
    for _ in range(3000):
        metadata = model(
            *(
                spec(
                    name,
                    str(dice.choice(["FP32", "INT64", "BYTES"])),
                    Axis("axis 0"),
                    *dice.choice(np.array(axes, object), dice.integers(0, 3)),
                    optional=bool(dice.random() < 0.3),
                )
                for name in ("a", "b")
            ),
            max_batch=int(dice.integers(0, 3)),
        )
        inputs = {}
        batch = int(dice.integers(0, 4))
        for entry in metadata.inputs:
            sizes = [batch, *(3 if axis.size >= 0 else 2 for axis in entry.axes[1:])]
            if dice.random() < 0.4:
                sizes[dice.integers(len(sizes))] = int(dice.integers(0, 6))
            if dice.random() < 0.1:
                sizes.append(1)
            dtype = entry.dtype if dice.random() < 0.9 else np.dtype("f4")
            if dice.random() < 0.9:
                inputs[entry.name] = np.zeros(sizes, dtype)
        split = bool(dice.random() < 0.3)
        found = _quick(inputs, _prepare(metadata), split=split)
        if found == _REFUSED:
            refused += 1
        else:
            assert _careful(inputs, metadata, CALL, split=split) == found
            accepted += 1
    assert accepted > 500
    assert refused > 500
