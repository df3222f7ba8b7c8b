"""A schema as a file: the same after a round trip, read strictly, compared with a server's."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickclean_client import (
    Axis,
    ClickCleanError,
    Client,
    InvalidRequest,
    ModelMetadata,
    SchemaError,
    TensorSpec,
    load_schema,
)
from clickclean_client._checks import check_inputs
from clickclean_client._exceptions import Call
from clickclean_client.protocol import NUMPY_DTYPES
from clickclean_client.testing import FakeServer

CALL = Call("127.0.0.1:1", "m")


def spec(name: str, dtype: str, *axes: Axis, optional: bool = False) -> TensorSpec:
    shape = tuple(axis.size for axis in axes)
    return TensorSpec(name, NUMPY_DTYPES[dtype], dtype, shape, optional, axes)


IMAGES = ModelMetadata(
    "images",
    ("3",),
    (
        spec(
            "image",
            "FP32",
            Axis("batch"),
            Axis("channels", 3),
            Axis("height", -1, 32, 512),
            Axis("width", -1, 32, 512),
        ),
        spec("mask", "BOOL", Axis("batch"), Axis("axis 1"), optional=True),
    ),
    (spec("logits", "FP32", Axis("batch"), Axis("axis 1", 10)),),
    32,
    "ab" * 32,
)
SCALARS = ModelMetadata(
    "배치 <&>",
    (),
    (spec("k", "INT32"), spec("text/0", "BYTES", Axis("axis 0"), Axis("n", -1, None, 7))),
    (spec('y"', "BF16"), spec("z", "UINT8", Axis("axis 0", -1, 0))),
    0,
)
NO_INPUTS = ModelMetadata("n", ("1", "2"), (), (spec("y", "FP64", Axis("axis 0", 0)),), 0)


@pytest.mark.parametrize("metadata", [IMAGES, SCALARS, NO_INPUTS], ids=lambda m: m.name)
def test_a_round_trip(metadata: ModelMetadata, tmp_path: Path) -> None:
    text = metadata.to_json()
    assert ModelMetadata.from_json(text) == metadata
    assert ModelMetadata.from_json(text).to_json() == text
    file = tmp_path / "schema.json"
    for encoding in ("utf-8", "utf-8-sig"):  # some editors begin a file with a mark
        file.write_text(text, encoding=encoding)
        assert load_schema(file) == load_schema(str(file)) == metadata
    assert load_schema(metadata) is metadata


def test_a_round_trip_of_what_a_server_says(fake: FakeServer, client: Client) -> None:
    for dtype in NUMPY_DTYPES:
        fake.serve(dtype, inputs={"x": (dtype, (-1, -1, 3))}, optional=["x"])
        found = client.metadata(dtype)
        assert ModelMetadata.from_json(found.to_json()) == found


def test_values_survive_a_process_pool_also_after_a_check() -> None:
    image = np.zeros((2, 3, 32, 32), np.float32)
    assert check_inputs({"image": image}, IMAGES, CALL) == 2
    copied = pickle.loads(pickle.dumps(IMAGES))  # noqa: S301
    assert copied == IMAGES
    assert check_inputs({"image": image}, copied, CALL) == 2


def test_an_axis_is_one_line() -> None:
    lines = [line.strip().rstrip(",") for line in IMAGES.to_json().splitlines()]
    assert '{"name": "height", "min": 32, "max": 512}' in lines
    assert '{"name": "channels", "size": 3}' in lines
    assert '"versions": ["3"]' in lines


def test_axes_that_do_not_fit_the_shape_are_no_spec() -> None:
    with pytest.raises(ValueError, match="the axes of 'x' do not have the sizes"):
        TensorSpec("x", NUMPY_DTYPES["FP32"], "FP32", (-1, 3), axes=(Axis("batch"),))


def test_a_schema_edited_by_hand_is_what_is_checked() -> None:
    tree = json.loads(IMAGES.to_json())
    tree["inputs"][0]["axes"][2] = {"name": "rows of pixels", "min": 64}
    tree["inputs"][0]["axes"][3] = {"max": 64}
    tree["max_batch"] = 2
    edited = ModelMetadata.from_json(json.dumps(tree))
    wanted = "FP32[batch, 3, rows of pixels 64.., any ..64]"
    assert str(edited.inputs[0]) == wanted
    for shape, sentence in (
        ((1, 3, 63, 64), "axis 'rows of pixels' of input 'image' is 63, at least 64 is allowed"),
        ((1, 3, 64, 65), "axis 3 of input 'image' is 65, at most 64 is allowed"),
        ((1, 4, 64, 64), "axis 'channels' of input 'image' is 4, it must be 3"),
        ((3, 3, 64, 64), "the batch of 3 is over the model's limit of 2"),
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            check_inputs({"image": np.zeros(shape, np.float32)}, edited, CALL)
    assert check_inputs({"image": np.zeros((2, 3, 99, 1), np.float32)}, edited, CALL) == 2


def test_what_may_be_left_out() -> None:
    text = """{"format": 1, "model": "m", "max_batch": 4,
      "inputs": [{"name": "x", "dtype": "FP32", "axes": [{}, {"size": 3}, {}]}],
      "outputs": [{"name": "y", "dtype": "FP32", "axes": [{}]}]}"""
    x = spec("x", "FP32", Axis("batch"), Axis("axis 1", 3), Axis("axis 2"))
    y = spec("y", "FP32", Axis("batch"))
    assert ModelMetadata.from_json(text) == ModelMetadata("m", (), (x,), (y,), 4)


Change = Callable[[dict[str, Any]], Any]


def put(*path: Any, to: Any) -> Change:
    """Change one place of the tree."""

    def change(tree: Any) -> None:
        for part in path[:-1]:
            tree = tree[part]
        tree[path[-1]] = to

    return change


def drop(*path: Any) -> Change:
    def change(tree: Any) -> None:
        for part in path[:-1]:
            tree = tree[part]
        del tree[path[-1]]

    return change


AXES = "inputs", 0, "axes"
KEYS = "max_batch, inputs, outputs"


@pytest.mark.parametrize(
    ("change", "sentence", "hint"),
    [
        (put("format", to=2), "format is 2, and this client reads 1", "clickclean schema MODEL"),
        (put("format", to="1"), 'format is "1", not a whole number', "writes one"),
        (drop("format"), "format is missing", "clickclean schema MODEL -o FILE"),
        (put("max_bach", to=1), "max_bach is an unknown key", "Did you mean 'max_batch'?"),
        (put("zzz", to=1), "zzz is an unknown key", f"Known are format, model, {KEYS}"),
        (drop("model"), "model is missing", "writes one"),
        (put("model", to=""), 'model is "", not a text', "writes one"),
        (put("model", to=None), "model is null, not a text", "writes one"),
        (put("versions", to="3"), 'versions is "3", not a list', "writes one"),
        (put("versions", to=[3]), "versions[0] is 3, not a text", "writes one"),
        (put("fingerprint", to=1), "fingerprint is 1, not a text", "writes one"),
        (put("max_batch", to=-1), "max_batch is -1, not a whole number from 0", "writes one"),
        (put("max_batch", to=1.0), "max_batch is 1.0, not a whole number", "writes one"),
        (put("max_batch", to=True), "max_batch is true, not a whole number", "writes one"),
        (put("max_batch", to=2**63), "max_batch is 9223372036854775808, not a", "writes one"),
        (put("inputs", to={}), "inputs is {}, not a list", "writes one"),
        (put("inputs", 0, to="x"), 'inputs[0] is "x", not an object', "writes one"),
        (put("inputs", 1, "nmae", to="x"), "inputs[1].nmae is an unknown key", "'name'"),
        (drop("inputs", 1, "name"), "inputs[1].name is missing", "writes one"),
        (put("inputs", 1, "name", to="image"), "inputs has 'image' twice", "writes one"),
        (put("inputs", 0, "dtype", to="float32"), 'inputs[0].dtype is "float32"', "FP32, FP64"),
        (put("inputs", 0, "dtype", to=[]), "inputs[0].dtype is [], not a text", "writes one"),
        (put("inputs", 0, "optional", to=1), "inputs[0].optional is 1, not true", "writes one"),
        (put("outputs", 0, "optional", to=True), "outputs[0].optional is an unknown", "name, dt"),
        (put("outputs", to=[]), "outputs is empty", "writes one"),
        (drop(*AXES), "inputs[0].axes is missing", "writes one"),
        (put(*AXES, to=[]), "inputs[0].axes is empty, and a model with max_batch", "writes one"),
        (put(*AXES, 2, to=-1), "inputs[0].axes[2] is -1, not an object", "writes one"),
        (put(*AXES, 2, "maximum", to=1), "inputs[0].axes[2].maximum is an", "'max'"),
        (put(*AXES, 2, "max", to="512"), 'inputs[0].axes[2].max is "512", not', "writes one"),
        (put(*AXES, 2, "max", to=None), "inputs[0].axes[2].max is null, not", "writes one"),
        (put(*AXES, 2, "min", to=513), "inputs[0].axes[2] has min 513 above max 512", "writes"),
        (put(*AXES, 2, "size", to=64), "axes[2] has a size and a range", "min and max"),
        (put(*AXES, 2, "name", to="axis 3"), "axes[2].name is 'axis 3' for axis 2", "Leave"),
        (put(*AXES, 2, "name", to=""), 'axes[2].name is "", not a text', "writes one"),
        (put(*AXES, 0, "max", to=8), "inputs[0].axes[0] is the batch, which is free", "max_batch"),
        (put(*AXES, 0, "size", to=8), "inputs[0].axes[0] is the batch, which", "max_batch"),
    ],
)
def test_a_file_is_read_strictly(change: Change, sentence: str, hint: str, tmp_path: Path) -> None:
    tree = json.loads(IMAGES.to_json())
    change(tree)
    file = tmp_path / "images.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(SchemaError) as caught:
        load_schema(file)
    assert str(caught.value).startswith(f"The schema {file} cannot be used: ")
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.source == str(file)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is no JSON: Expecting value, line 1 column 1"),
        ('{"format": 1,\n "model" "m"}', "it is no JSON: Expecting ':' delimiter, line 2"),
        ("[" * 100_000, "it cannot be read: maximum recursion depth"),
        ("9" * 10_000, "it cannot be read: Exceeds the limit (4300 digits)"),
        ("[]", "it is no object"),
        ("null", "it is no object"),
        ('{"format": 1, "format": 1}', "it cannot be read: an object has the key 'format' twice"),
        ('{"format": NaN}', "format is NaN, not a whole number"),
        ('{"format": 1e400}', "format is Infinity, not a whole number"),
        ("{}", "format is missing"),
    ],
)
def test_a_text_that_is_no_schema(text: str, problem: str) -> None:
    with pytest.raises(SchemaError) as caught:
        ModelMetadata.from_json(text)
    assert str(caught.value).startswith(f"The schema cannot be used: {problem}")
    assert caught.value.hint
    with pytest.raises(SchemaError, match=r"The schema a\.json cannot be used"):
        ModelMetadata.from_json(text, source="a.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'{"model": "\xe4"}')
    for source, problem in (
        (tmp_path / "nothing", "it cannot be read (No such file or directory)"),
        (tmp_path, "it cannot be read (Is a directory)"),
        (str(tmp_path / "a\0b"), "it cannot be read (embedded null byte)"),
        (tmp_path / "latin", "it is no UTF-8 text"),
    ):
        with pytest.raises(SchemaError) as caught:
            load_schema(source)
        assert str(caught.value) == f"The schema {source} cannot be used: {problem}."
        assert caught.value.hint
    with pytest.raises(SchemaError) as caught:
        load_schema(IMAGES.to_json())
    assert "ModelMetadata.from_json reads a text" in caught.value.hint
    with pytest.raises(SchemaError, match="3 is no path"):
        load_schema(3)  # type: ignore[arg-type]
    assert issubclass(SchemaError, ClickCleanError)


def changed(*changes: Change) -> ModelMetadata:
    tree = json.loads(IMAGES.to_json())
    for change in changes:
        change(tree)
    return ModelMetadata.from_json(json.dumps(tree))


@pytest.mark.parametrize(
    ("served", "sentences"),
    [
        (IMAGES, ()),
        (
            changed(put("model", to="other"), put("versions", to=["4"]), put("fingerprint", to="")),
            (),
        ),
        (changed(put("inputs", to=json.loads(IMAGES.to_json())["inputs"][::-1])), ()),
        (changed(put("max_batch", to=16)), ("max_batch is 16, the schema says 32",)),
        (
            changed(drop("inputs", 1)),
            ("the input 'mask' is missing, the schema says BOOL[batch, any]",),
        ),
        (
            changed(put("inputs", 1, "name", to="mask2")),
            (
                "the input 'mask' is missing, the schema says BOOL[batch, any]",
                "the input 'mask2' is new, it is BOOL[batch, any]",
            ),
        ),
        (
            changed(put("inputs", 1, "optional", to=False)),
            ("the input 'mask' is needed, the schema says optional",),
        ),
        (
            changed(put("outputs", 0, "dtype", to="FP16")),
            ("the output 'logits' is FP16[batch, 10], the schema says FP32[batch, 10]",),
        ),
        (
            changed(put("outputs", 0, "axes", to=[{}])),
            ("the output 'logits' is FP32[batch], the schema says FP32[batch, 10]",),
        ),
        (
            changed(put("outputs", 0, "axes", 1, to={"size": 11})),
            ("axis 1 of the output 'logits' is 11, the schema says 10",),
        ),
        (
            changed(put("outputs", 0, "axes", 1, to={})),
            ("axis 1 of the output 'logits' is free, the schema says 10",),
        ),
        (
            changed(put(*AXES, 2, "max", to=256)),
            ("axis 'height' of the input 'image' is 32..256, the schema says 32..512",),
        ),
        (
            changed(put(*AXES, 3, "name", to="w")),
            ("axis 3 of the input 'image' is called 'w', the schema says 'width'",),
        ),
        # What a server does not tell is no difference.
        (changed(put(*AXES, 2, to={}), put(*AXES, 3, to={"max": 512})), ()),
        (changed(put(*AXES, 2, to={"name": "height"})), ()),
    ],
)
def test_differences(served: ModelMetadata, sentences: tuple[str, ...]) -> None:
    assert IMAGES.differences(served) == sentences


def test_a_range_that_is_new_is_a_difference() -> None:
    pinned = changed(put(*AXES, 2, to={}))
    assert pinned.differences(IMAGES) == (
        "axis 'height' of the input 'image' is 32..512, the schema says free",
    )
