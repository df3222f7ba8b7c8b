"""What an import costs in a fresh interpreter, in CPU time.

On a busy machine the time by the clock depends on the others. Measured here is all that the
import computes, with warm files; the first import after a boot also waits for the disk.
"""

import subprocess
import sys
from collections.abc import Sequence

_PROGRAM = """
import sys, time
began = time.process_time()
exec(sys.argv[1])
print(time.process_time() - began)
"""


def import_s(statement: str) -> float:
    """CPU seconds of an import in an interpreter of its own, without that one's start.

    Raises:
        ImportError: it fails there.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, statement], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImportError(f"`{statement}` fails: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def alternate(statements: Sequence[str], *, rounds: int) -> list[tuple[float, ...]]:
    """Time each statement once a round, in turning order.

    The first round, which reads the files from disk, is thrown away.

    Returns:
        For each round the seconds of each statement, in the order of ``statements``.
    """
    found = []
    for number in range(rounds + 1):
        turn = number % len(statements)
        order = [*statements[turn:], *statements[:turn]]
        seconds = {statement: import_s(statement) for statement in order}
        found.append(tuple(seconds[statement] for statement in statements))
    return found[1:]
