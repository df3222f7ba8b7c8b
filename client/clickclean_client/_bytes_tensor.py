"""BYTES tensors: each element is a little-endian uint32 length and that many bytes, in C order.

Source: "Raw tensor data" of the KServe v2 binary tensor extension, which gRPC's
raw_input_contents follows.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")


def encode_bytes_tensor(array: NDArray[Any]) -> bytes:
    """The wire form of an array of `bytes` or `str` (UTF-8); TypeError for anything else."""
    parts = []
    # tolist() because the iterators of numpy would hand out numpy scalars for S and U arrays.
    for item in array.ravel().tolist():
        if isinstance(item, str):
            data = item.encode()
        elif isinstance(item, bytes | bytearray):
            data = bytes(item)
        else:
            raise TypeError(f"{item!r} is neither bytes nor str")
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def decode_bytes_tensor(raw: bytes, count: int) -> NDArray[np.object_]:
    """`count` elements as an object array of `bytes`; ValueError unless `raw` is exactly those."""
    items = np.empty(count, dtype=np.object_)
    offset = 0
    for index in range(count):
        start = offset + _LENGTH.size
        if start > len(raw):
            raise ValueError(f"it ends within element {index} of {count}")
        offset = start + _LENGTH.unpack_from(raw, start - _LENGTH.size)[0]
        if offset > len(raw):
            raise ValueError(f"it ends within element {index} of {count}")
        items[index] = raw[start:offset]
    if offset != len(raw):
        raise ValueError(f"{len(raw) - offset} bytes follow the last of {count} elements")
    return items
