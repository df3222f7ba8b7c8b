"""What a caller gets when something fails: ``python bench/failures.py --out FILE.toml``.

Makes a real, unsupervised tritonserver fail in every way that can be made here, asks it through
plain gRPC meanwhile, and writes down code and text of what came back, after how long, and whether
the request had reached the model (the model keeps a journal). What Triton cannot show is shown by
sockets that never answer and by gRPC servers of Python.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import failures_at_work
import failures_of_connections
import failures_of_life
import failures_of_requests
import failures_on_the_way
from failing_table import Table
from surroundings import surroundings

PARTS = {
    "requests": failures_of_requests.measure,
    "work": failures_at_work.measure,
    "life": failures_of_life.measure,
    "connections": failures_of_connections.measure,
    "way": failures_on_the_way.measure,
}
SHOWN = ("Python", "nvidia-pytriton", "tritonclient", "grpcio")


def main() -> int:
    """Measure and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.toml")
    parser.add_argument("--only", choices=PARTS, help="one part")
    chosen = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="failures-") as name:
        folder = Path(name)
        table = Table()
        for part, measure in PARTS.items():
            if chosen.only in (None, part):
                (folder / part).mkdir()
                measure(folder / part, table)
    where = {name: value for name, value in surroundings().items() if name in SHOWN}
    if chosen.out is not None:
        chosen.out.write_text(table.as_toml(where), encoding="utf-8")
    surprises = table.surprises()
    for text in surprises:
        print(f"not as expected: {text}", file=sys.stderr)
    print(json.dumps({"cases": len(table.cases), "surprises": len(surprises), **where}))
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
