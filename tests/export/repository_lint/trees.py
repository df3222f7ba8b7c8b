"""Tiny model repositories: a tree of files as a value, and edits that break it."""

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

Tree = dict[str, str | bytes]
Edit = Callable[[Tree], Tree]
Dims = list[int | str]


def write(tree: Tree, root: Path) -> Path:
    """Write a tree: a name that ends with / is a folder, a text "-> x" a link to x."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content, encoding="utf-8")
    return root


def swap(name: str, old: str, new: str) -> Edit:
    def edit(tree: Tree) -> Tree:
        text = tree[name]
        assert isinstance(text, str)
        assert old in text, f"{old!r} is not in {name}"
        return {**tree, name: text.replace(old, new)}

    return edit


def put(name: str, content: str | bytes) -> Edit:
    return lambda tree: {**tree, name: content}


def drop(name: str) -> Edit:
    def edit(tree: Tree) -> Tree:
        assert name in tree
        return {key: value for key, value in tree.items() if key != name}

    return edit


def rename(old: str, new: str) -> Edit:
    return lambda tree: {**drop(old)(tree), new: tree[old]}


def both(*edits: Edit) -> Edit:
    def edit(tree: Tree) -> Tree:
        for one in edits:
            tree = one(tree)
        return tree

    return edit


def onnx_bytes(
    inputs: dict[str, Dims] | None = None,
    outputs: dict[str, Dims] | None = None,
    *,
    dtype: int = TensorProto.FLOAT,
    ir_version: int = 10,
    weights: str = "",
    sequence: bool = False,
) -> bytes:
    """An ONNX file with these tensors; its nodes are of no account, no rule looks at them."""
    inputs = inputs or {"x": ["batch", 3, 8]}
    outputs = outputs or {"y": ["batch", 4]}
    results = [helper.make_tensor_value_info(name, dtype, dims) for name, dims in outputs.items()]
    if sequence:
        results = [helper.make_tensor_sequence_value_info(name, dtype, None) for name in outputs]
    graph = helper.make_graph(
        [helper.make_node("Identity", [next(iter(inputs))], [next(iter(outputs))])],
        "net",
        [helper.make_tensor_value_info(name, dtype, dims) for name, dims in inputs.items()],
        results,
    )
    if weights:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": weights, "offset": "0", "length": "16"}.items():
            tensor.external_data.add(key=key, value=value)
        graph.initializer.append(tensor)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = ir_version
    data: bytes = model.SerializeToString()
    assert onnx.load_from_string(data).ir_version == ir_version
    return data
