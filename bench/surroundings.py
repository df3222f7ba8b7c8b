"""Where the figures come from: machine and versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("openvino", "nvidia-pytriton", "tritonclient", "grpcio", "fastapi", "uvicorn", "numpy")


def surroundings() -> dict[str, str]:
    """Return CPU, usable cores, load, Python, versions, and what uvicorn runs on."""
    found = {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    # uvicorn takes the faster loop and parser when they are installed.
    loop = "uvloop" if find_spec("uvloop") else "asyncio"
    parser = "httptools" if find_spec("httptools") else "h11"
    found["uvicorn on"] = f"{loop} and {parser}"
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
