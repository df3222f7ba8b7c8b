"""Finds the real `tritonserver` in the `nvidia-pytriton` wheel and checks what it runs on.

Nothing is imported to find out: an incompatible package must be named, not crash us.
"""

import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from clickclean_server.errors import PlatformError

INSTALL = "Run `pip install 'clickclean[server]'`"


@dataclass(frozen=True)
class Wheel:
    """The parts of the wheel that serve models on this machine."""

    tritonserver: Path
    python_backend: Path  # folder with libtriton_python.so
    stub: Path  # built for this interpreter's version
    library_dir: Path  # holds libpython
    interpreter_dir: Path  # the stub takes site-packages from the first python3 on PATH
    release: str


def installed(package: str) -> str:
    """The version of an installed package; raises PlatformError when it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise PlatformError(f"The package {package} is not installed", remedy=INSTALL) from None


def find_wheel() -> Wheel:
    """Locates everything; raises PlatformError with what to install."""
    release = installed("nvidia-pytriton")
    installed("openvino")
    numpy = installed("numpy")
    if int(numpy.split(".")[0]) >= 2:  # noqa: PLR2004
        raise PlatformError(
            f"NumPy {numpy} is installed, and this server reads its arrays as zeros",
            remedy="Run `pip install 'numpy>=1.26,<2'`",
        )
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise PlatformError("The package nvidia-pytriton is damaged", remedy=INSTALL)
    home = Path(next(iter(spec.submodule_search_locations))).resolve() / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise PlatformError(
            f"nvidia-pytriton {release} has no model process for Python {python}",
            remedy="Use Python 3.11 or 3.12",
        )
    tritonserver = home / "bin" / "tritonserver"
    python_backend = home / "backends" / "python"
    for part in (tritonserver, python_backend / "libtriton_python.so"):
        if not part.is_file():
            raise PlatformError(f"nvidia-pytriton {release} lacks {part}", remedy=INSTALL)
    # Not resolved: a virtual environment's python3 is a link, and its place is what counts.
    interpreter_dir = Path(sys.executable).parent
    if not (interpreter_dir / "python3").exists():
        raise PlatformError(
            f"There is no python3 beside {sys.executable}",
            remedy="Run from a virtual environment (python3 -m venv .venv)",
        )
    return Wheel(
        tritonserver=tritonserver,
        python_backend=python_backend,
        stub=stub,
        library_dir=find_libpython(),
        interpreter_dir=interpreter_dir,
        release=release,
    )


def find_libpython() -> Path:
    """The folder of this interpreter's shared library.

    Without it on LD_LIBRARY_PATH the stub may silently take another libpython of the machine.
    """
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for candidate in (folder, folder / multiarch):
        if ".so" in name and (candidate / name).is_file():
            return candidate
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise PlatformError(
        f"The shared library of Python {python} was not found in {folder}",
        remedy=f"Install libpython{python}, or use a Python built with --enable-shared",
    )
