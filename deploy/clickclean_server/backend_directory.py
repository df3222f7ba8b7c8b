"""The folder that `tritonserver --backend-directory` gets: the wheel's parts and our backend.

`libtriton_python.so` is copied, because Triton refuses a library whose real path lies outside the
backend directory. The stub is linked, because a copied one does not find the wheel's libraries.
The folder depends on nothing but the wheel and this package, so all servers of a user share it.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from clickclean_server.errors import PlatformError
from clickclean_server.places import cache_dir
from clickclean_server.wheel import Wheel

BACKENDS = Path(__file__).parent / "backends"


def backend_directory(wheel: Wheel) -> Path:
    """Builds the folder unless it is there; raises PlatformError when it cannot be written."""
    sources = "\n".join(str(part) for part in (wheel.release, wheel.stub, BACKENDS))
    key = hashlib.sha256(sources.encode()).hexdigest()[:16]
    folder = cache_dir() / f"backends-{key}"
    if not folder.is_dir():
        try:
            build(wheel, folder)
        except OSError as exc:
            raise PlatformError(
                f"The backend folder {folder} cannot be written: {exc.strerror}",
                remedy="Set XDG_CACHE_HOME to a folder that can be written",
            ) from exc
    return folder


def build(wheel: Wheel, folder: Path) -> None:
    """Fills a folder beside `folder` and renames it, so that nobody sees it half built."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".backends-", dir=folder.parent))
    try:
        python = staging / "python"
        python.mkdir()
        shutil.copy2(wheel.python_backend / "libtriton_python.so", python)
        utils = "triton_python_backend_utils.py"
        (python / utils).symlink_to(wheel.python_backend / utils)
        (python / wheel.stub.name).symlink_to(wheel.stub)
        (staging / "openvino").mkdir()
        (staging / "openvino" / "model.py").symlink_to(BACKENDS / "openvino" / "model.py")
        try:
            os.rename(staging, folder)  # noqa: PTH104 - Path.rename adds nothing
        except OSError:
            # Another server of the same user was faster.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
