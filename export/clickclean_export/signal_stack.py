"""Keep OpenVINO from leaving a thread with a signal stack that no longer exists.

Compiling a model on a CPU with AMX, OpenVINO gives the calling thread an alternate signal stack and
puts the previous one back when the compiled model is destroyed. When two models are destroyed in
the order of their creation, the second puts back the first one's, which is freed by then; Python's
handlers run on that stack, so the next Ctrl-C or SIGTERM would be a segmentation fault (seen with
OpenVINO 2026.4.1).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2)."""

    _fields_ = (
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    )


@contextmanager
def unchanged_signal_stack() -> Iterator[None]:
    """Put the calling thread's alternate signal stack back to what it was before the block."""
    libc = ctypes.CDLL(None)
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
