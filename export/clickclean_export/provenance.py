"""With what and where a version was made."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TOOLS = (
    "clickclean",
    "numpy",
    "nvidia-modelopt",
    "nvidia-pytriton",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torch",
    "tritonclient",
)


def tool_versions() -> dict[str, str]:
    """Return the installed versions of everything that took part."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "python": platform.python_version()}


def machine() -> dict[str, str]:
    """Return CPU model, number of cores and operating system."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cpu": model, "cores": str(os.cpu_count()), "system": platform.platform()}
