"""Hop 1: the filled module as float ONNX, with named free axes, in one file."""

import ast
import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickclean_export.dataset import Feed
from clickclean_export.errors import ConversionError, RecipeError
from clickclean_export.recipe import BATCH, Recipe, Tensor
from clickclean_export.torch_model import named_outputs
from clickclean_export.user_code import modules_beside

if TYPE_CHECKING:
    import onnx
    import torch

# The lowest opset whose Q/DQ and dynamic shapes TensorRT 10+ and OpenVINO both read.
OPSET = 18
_STEP = "export to ONNX"
_SCOPES = "pkg.torch.onnx.name_scopes"


def export_onnx(recipe: Recipe, module: "torch.nn.Module", sample: Feed, path: Path) -> None:
    """Write ``module`` as float ONNX to ``path``.

    Args:
        recipe: Names of inputs, outputs and axes.
        module: In evaluation mode.
        sample: Real input arrays by name; at least one row.
        path: Written only when the export, the ONNX checker and the comparison of the
            signature with the recipe succeed; weights are inside.

    Raises:
        ConversionError: the exporter cannot express the module, or the checker objects.
        RecipeError: outputs differ from the recipe in number, name, dtype or axes.
    """
    import onnx
    import torch

    inputs = {name: torch.from_numpy(_two_rows(array)) for name, array in sample.items()}
    with torch.inference_mode(), modules_beside(recipe):
        outputs = named_outputs(recipe, module(**inputs))
    try:
        with _quiet(), modules_beside(recipe):
            program = torch.onnx.export(
                module,
                args=(),
                kwargs=inputs,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=_dynamic_shapes(recipe),
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
        if program is None:
            raise ConversionError(_STEP, "the exporter returned nothing")
        proto: onnx.ModelProto = program.model_proto
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(
            _STEP,
            _reason(error),
            hint="every operator and every use of a shape must be expressible in ONNX;"
            " see the PyTorch notes on torch.export",
        ) from error
    _compare_signature(recipe, proto)
    _name_nodes(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise ConversionError("the ONNX checker", _reason(error)) from error
    onnx.save_model(proto, path, save_as_external_data=False)


def _two_rows(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # torch.export specialises a traced size of 0 or 1 to a constant
    # (https://pytorch.org/docs/stable/export.html, "0/1 specialization").
    return np.ascontiguousarray(array[:2] if len(array) > 1 else np.repeat(array, 2, axis=0))


def _dynamic_shapes(recipe: Recipe) -> dict[str, dict[int, Any]]:
    import torch

    dims: dict[str, Any] = {}
    for tensor in recipe.inputs:
        for axis in tensor.axes:
            if isinstance(axis, str) and axis not in dims:
                bounds = recipe.axis_range(axis)
                # A free batch of exactly one row is no dimension to the exporter.
                high = max(2, bounds.max)
                dims[axis] = torch.export.Dim(axis, min=bounds.min, max=high)
    return {
        tensor.name: {
            position: dims[axis]
            for position, axis in enumerate(tensor.axes)
            if isinstance(axis, str)
        }
        for tensor in recipe.inputs
    }


def _compare_signature(recipe: Recipe, proto: "onnx.ModelProto") -> None:
    import onnx

    graph_inputs = {value.name: value for value in proto.graph.input}
    graph_outputs = {value.name: value for value in proto.graph.output}
    for tensor, values in [(t, graph_inputs) for t in recipe.inputs] + [
        (t, graph_outputs) for t in recipe.outputs
    ]:
        value = values.get(tensor.name)
        if value is None:
            raise ConversionError(
                _STEP,
                f"'{tensor.name}' is not in the exported graph; does forward use it?",
            )
        exported = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(exported.elem_type)
        if dtype != np.dtype(tensor.dtype):
            raise RecipeError(
                recipe.path,
                f"'{tensor.name}' is exported as {dtype}, the recipe says {tensor.dtype}",
            )
        axes = tuple(d.dim_value or d.dim_param or "?" for d in exported.shape.dim)
        if len(axes) != len(tensor.axes) or not all(map(_axis_agrees, tensor.axes, axes)):
            raise RecipeError(
                recipe.path,
                f"'{tensor.name}' is exported with axes {list(axes)},"
                f" the recipe says {list(tensor.axes)}",
                hint=_axes_hint(tensor, axes),
            )


def _name_nodes(proto: "onnx.ModelProto") -> None:
    """Name every node "00031/mixer.0/Gemm": position, the user's module, operator.

    The position comes first and has a fixed width, so that no name begins with another: ModelOpt
    matches the names of nodes to leave out as regular expressions from the start of a name
    (``expand_node_names_from_patterns``), and leaving out the exporter's "node_linear" would
    leave out "node_linear_1" too.
    """
    for position, node in enumerate(proto.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]")
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
        node.name = f"{position:05d}/{modules[-1] if modules else ''}/{node.op_type}"


def _axis_agrees(wanted: int | str, exported: int | str) -> bool:
    # The exporter may rename a derived axis ("s77"); a free axis must stay free.
    return wanted == exported if isinstance(wanted, int) else isinstance(exported, str)


def _axes_hint(tensor: Tensor, axes: tuple[int | str, ...]) -> str:
    if len(axes) == len(tensor.axes) and tensor.axes[0] == BATCH and isinstance(axes[0], int):
        return f"forward fixes the batch to {axes[0]}; a reshape with a constant size does that"
    return "mend the axes in the recipe, or the module"


def _reason(error: BaseException) -> str:
    """Return the innermost cause's first lines as one line; the exporter wraps it in pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}"


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's prints off stdout, which carries data, and its advice off stderr."""
    onnx_logger = logging.getLogger("torch.onnx")
    level = onnx_logger.level
    onnx_logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnx_logger.setLevel(level)
