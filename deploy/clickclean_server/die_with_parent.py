"""Runs a program that the kernel kills when the process that started it dies.

    python -I -S die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]

A program of its own, because `preexec_fn` may deadlock in a parent with threads. The parent's
*thread* counts for the kernel: start this from one that lives as long as the process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Sets the signal, then becomes the program."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(sys.argv[1]):
        # The parent died before the signal was set.
        sys.exit(1)
    # Python ignores this one, and an ignored signal stays ignored in the new program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming the program is what this is for


if __name__ == "__main__":
    main()
