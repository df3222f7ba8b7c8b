"""`python -m clickclean_server`: the supervisor as a process of its own."""

import argparse
import json
import sys
from pathlib import Path

from clickclean_client import ClickCleanError
from clickclean_server.errors import ServerError


def parser() -> argparse.ArgumentParser:
    """The options, which are those of `clickclean_server.serve`."""
    found = argparse.ArgumentParser(prog="python -m clickclean_server", description=__doc__)
    found.add_argument("--repository", type=Path, required=True)
    found.add_argument(
        "--model", action="append", metavar="NAME", help="only this one (repeatable)"
    )
    found.add_argument("--config-name", default="cpu", metavar="FLEET")
    for service in ("grpc", "http", "metrics"):
        found.add_argument(f"--{service}-port", type=int, metavar="PORT")
    found.add_argument("--log", type=Path, metavar="FILE")
    found.add_argument("--parent", type=int, metavar="PID", help="stop when it is gone")
    found.add_argument("--json", action="store_true", help="one JSON line on stdout")
    found.add_argument("--quiet", action="store_true", help="no events on stderr")
    found.add_argument("--print-command", action="store_true", help="print a shell line and exit")
    return found


def main() -> int:
    """Serves; returns the exit code."""
    args = parser().parse_args()
    shared = {
        "models": args.model,
        "grpc_port": args.grpc_port,
        "http_port": args.http_port,
        "metrics_port": args.metrics_port,
        "config_name": args.config_name,
    }
    try:
        from clickclean_server.foreground import serve, shell_command

        if args.print_command:
            sys.stdout.write(shell_command(args.repository, **shared) + "\n")
            return 0
        serve(
            args.repository,
            **shared,
            log=args.log,
            as_json=args.json,
            quiet=args.quiet,
            parent=args.parent,
        )
    except ClickCleanError as exc:
        if args.json and isinstance(exc, ServerError):
            from clickclean_server.background import error_message

            sys.stdout.write(json.dumps({"error": error_message(exc)}) + "\n")
        sys.stderr.write(f"error: {exc}\n" + (f"hint: {exc.hint}\n" if exc.hint else ""))
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
