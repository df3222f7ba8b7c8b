"""One question to a server from the shell."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickclean.files import replacing
from clickclean_client import ClickCleanError, Client

_SHOWN_VALUES = 8


@dataclass(frozen=True)
class Answer:
    """What came back, rows in the order of the file; ``version`` is the one that answered."""

    model: str
    version: str
    outputs: Mapping[str, NDArray[Any]]


class InputsError(ClickCleanError):
    """The file with the inputs cannot be used."""

    exit_code = 2


def ask_once(
    server: str,
    model: str,
    inputs: Path,
    *,
    version: int | None,
    rows: int | None,
    timeout_s: float,
) -> Answer:
    """Send a file's arrays, in as many requests as the model's batch limit demands.

    Raises:
        InputsError: the file is missing, no ``.npz``, or lacks an input.
        ClientError: the call failed.
    """
    arrays = _read(inputs)
    with Client(server, timeout_s=timeout_s) as client:
        metadata = client.metadata(model, version=version)
        names = [spec.name for spec in metadata.inputs]
        feed = {}
        for name in names:
            # A golden.npz calls its inputs so, beside outputs and labels.
            array = arrays.get(name, arrays.get(f"input.{name}"))
            if array is None:
                raise InputsError(
                    f"{inputs} has no array '{name}'",
                    hint=f"model '{model}' takes {', '.join(names)}; the file has"
                    f" {', '.join(arrays) or 'nothing'}",
                )
            feed[name] = array[:rows]
        count = len(next(iter(feed.values())))
        size = metadata.max_batch or max(count, 1)
        parts = [
            client.infer(
                model, {n: a[start : start + size] for n, a in feed.items()}, version=version
            )
            for start in range(0, max(count, 1), size)
        ]
    versions = ", ".join(dict.fromkeys(part.version for part in parts))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Answer(model, versions, outputs)


def save(answer: Answer, path: Path) -> None:
    """Write the outputs as ``.npz``.

    Raises:
        NotWrittenError: the file system refuses.
    """
    with replacing(path) as stream:
        np.savez(stream, **dict(answer.outputs))


def as_tree(answer: Answer) -> dict[str, Any]:
    """Return the answer JSON-ready."""
    return {
        "model": answer.model,
        "version": answer.version,
        "outputs": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape), "data": _plain(array)}
            for name, array in answer.outputs.items()
        },
    }


def as_text(answer: Answer) -> str:
    """Word the answer: every output's shape and first rows, and the largest entry of a row."""
    lines = [f"{answer.model} version {answer.version}"]
    for name, array in answer.outputs.items():
        lines.append(f"{name}  {array.dtype}{list(array.shape)}")
        for number, row in enumerate(array[:_SHOWN_VALUES]):
            flat = np.ravel(row)
            shown = " ".join(_value(value) for value in flat[:10])
            more = " ..." if flat.size > 10 else ""  # noqa: PLR2004
            best = f"  largest at {int(flat.argmax())}" if flat.dtype.kind in "fiu" else ""
            lines.append(f"  row {number}: {shown}{more}{best}")
        if len(array) > _SHOWN_VALUES:
            lines.append(f"  ... {len(array) - _SHOWN_VALUES} more rows (--out keeps them all)")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputsError(f"{path} is one array, not an .npz", hint="use numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputsError(f"{path} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputsError(f"{path} is not an .npz of plain arrays ({error})") from None


def _plain(array: NDArray[Any]) -> Any:
    if array.dtype.kind == "O":
        return [item.decode(errors="replace") for item in array.ravel().tolist()]
    return array.tolist()


def _value(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, np.floating) else str(value)
