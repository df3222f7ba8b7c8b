"""Further versions of a published model whose answers tell which version gave them."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from clickclean_client import Golden
from clickclean_export.manifest import MANIFEST, file_record


def add_version(folder: Path, number: int, *, of: int = 1, scale: float | None = None) -> Path:
    """Publish version ``number`` of a model as version ``of`` with all outputs times ``scale``.

    Files, golden answers and manifest agree, as if it had been trained so.
    """
    factor = float(number) if scale is None else scale
    target = folder / str(number)
    shutil.copytree(folder / str(of), target)
    for path in target.iterdir():
        path.chmod(0o644)
    golden = Golden.load(target / "golden.npz")
    for name in ("model.onnx", "fp32.onnx"):
        _scale_outputs(target / name, list(golden.outputs), factor)
    Golden(
        golden.inputs,
        {name: array * np.float32(factor) for name, array in golden.outputs.items()},
        {name: value * factor for name, value in golden.tolerance.items()},
        golden.labels,
        golden.prediction,
    ).save(target / "golden.npz")
    rewrite_manifest(target, number)
    return target


def rewrite_manifest(version_dir: Path, number: int) -> None:
    """Make the manifest fit the files that are there."""
    path = version_dir / MANIFEST
    path.chmod(0o644)
    tree = json.loads(path.read_bytes())
    tree["version"] = number
    for name in tree["files"]:
        record = file_record(version_dir / name)
        tree["files"][name] = {"sha256": record.sha256, "size_bytes": record.size_bytes}
    path.write_text(json.dumps(tree))


def _scale_outputs(path: Path, outputs: list[str], factor: float) -> None:
    model = onnx.load(path)
    for name in outputs:
        for node in model.graph.node:
            node.output[:] = [f"{one}_raw" if one == name else one for one in node.output]
            node.input[:] = [f"{one}_raw" if one == name else one for one in node.input]
        constant = numpy_helper.from_array(np.array(factor, np.float32), f"{name}_factor")
        model.graph.initializer.append(constant)
        model.graph.node.append(
            helper.make_node("Mul", [f"{name}_raw", f"{name}_factor"], [name], f"{name}_scaled")
        )
    onnx.save(model, path)
