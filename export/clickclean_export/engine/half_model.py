"""The FP16 form of a model, only made to compare INT8 with it."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from clickclean_export.dataset import Dataset
from clickclean_export.disk import replace_bytes
from clickclean_export.errors import ConversionError, MissingExtraError
from clickclean_export.manifest import file_record
from clickclean_export.worker_process import WorkerDied, run_worker

_TIMEOUT_S = 1800.0
_ROWS = 64


def half_model(source: Path, data: Dataset, work: Path, known: Path) -> Path:
    """Return the FP16 form of a float ONNX file; the same bytes every time.

    Args:
        source: Float ONNX; not changed.
        data: Real rows; operators whose values leave FP16's range on them stay in FP32.
        work: Folder for what is needed on the way.
        known: Folder of results, by what went in; made when missing.

    Raises:
        MissingExtraError: ModelOpt is not installed (exit 4).
        ConversionError: it failed (exit 1).
        OSError: a folder cannot be written.
    """
    try:
        tool = version("nvidia-modelopt")
    except PackageNotFoundError as error:
        raise MissingExtraError("nvidia-modelopt") from error
    parts = (file_record(source).sha256, data.sha256, tool)
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    for path in known.glob(f"{key}.*.onnx"):
        # Its own hash is in its name: a damaged one is made anew.
        if path.name == _name(key, file_record(path).sha256):
            return path
    content = _convert(source, data, work).read_bytes()
    target = known / _name(key, hashlib.sha256(content).hexdigest())
    replace_bytes(target, content)
    return target


def _name(key: str, sha256: str) -> str:
    return f"{key}.{sha256[:16]}.onnx"


def _convert(source: Path, data: Dataset, work: Path) -> Path:
    feeds, target = work / "half-feeds", work / "fp16.onnx"
    feeds.mkdir()
    rows = 0
    for number, feed in enumerate(data.feeds):
        np.savez(feeds / f"{number:06d}.npz", **dict(feed))
        rows += len(next(iter(feed.values())))
        if rows >= _ROWS:
            break
    job = {"source": str(source), "target": str(target), "feeds": str(feeds)}
    try:
        run_worker(
            "clickclean_export.engine.half_worker",
            job,
            log=work / "autocast.log",
            timeout_s=_TIMEOUT_S,
        )
    except WorkerDied as death:
        raise ConversionError("FP16 conversion", death.last_line[:300]) from None
    return target
