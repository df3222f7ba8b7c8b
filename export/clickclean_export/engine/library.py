"""Find TensorRT's Python bindings, or TensorRT-RTX's."""

import importlib
import sys
from types import ModuleType

from clickclean_export.engine.options import Flavour


def load(flavour: Flavour) -> ModuleType:
    """Import a library; whoever imports "tensorrt" afterwards (Polygraphy does) gets the same.

    The wheel ``tensorrt-cu13-bindings`` alone, used with a TensorRT that the system has (in the
    Triton image, say), names its module ``tensorrt_bindings``.

    Raises:
        ImportError: it is not installed, or its shared libraries are not there.
    """
    if flavour == "tensorrt":
        try:
            return importlib.import_module("tensorrt")
        except ModuleNotFoundError:
            sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    return importlib.import_module(flavour)
