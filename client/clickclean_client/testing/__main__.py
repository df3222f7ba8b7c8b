"""A fake server in a process of its own, for callers in other languages and for load tools."""

from __future__ import annotations

import argparse
import os
import re
import signal
import stat
import sys
import threading
from types import FrameType
from typing import Any, Final

from clickclean_client._exceptions import ClickCleanError
from clickclean_client.testing._errors import FakeServerError
from clickclean_client.testing._server import FakeServer

_MODEL: Final = re.compile(r"(?P<name>[^:]+):(?P<inputs>.+?)(?:->(?P<outputs>.+))?")
_TENSOR: Final = re.compile(r"\s*(?P<name>[^=,\[\]]+)=(?P<dtype>\w+)\[(?P<shape>[-0-9, ]*)\]\s*")
_EPILOG: Final = """\
The first line on stdout is the endpoint. The server runs until SIGTERM or Ctrl-C, or until stdin
is closed where that is a pipe. Outputs repeat the input in their place, or are zeros."""


def parse_model(text: str) -> dict[str, Any]:
    """What `FakeServer.serve` takes, from `NAME:input=FP32[-1,3],...->output=FP32[-1,2],...`.

    Raises:
        FakeServerError: it is not written like that.
    """
    match = _MODEL.fullmatch(text)
    if match is None:
        raise _unreadable(text)
    settings: dict[str, Any] = {"model": match["name"], "inputs": _tensors(match["inputs"], text)}
    if match["outputs"]:
        settings["outputs"] = _tensors(match["outputs"], text)
    return settings


def main(words: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m clickclean_client.testing",
        description="A fake Triton that runs no model.",
        epilog=_EPILOG,
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME:INPUT=DTYPE[SHAPE]->OUTPUT=DTYPE[SHAPE]",
        help="commas between tensors; -1 is a free axis; may be repeated",
    )
    parser.add_argument("--max-batch", type=int, default=32, help="0 for models that do not batch")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="every inference takes longer")
    parser.add_argument("--token", default="", help="demand this bearer token")
    options = parser.parse_args(words)
    stop = threading.Event()

    def told(_: int, __: FrameType | None) -> None:
        stop.set()

    try:
        server = FakeServer(options.port, token=options.token, delay_s=options.delay_ms / 1000)
        for text in options.model:
            server.serve(**parse_model(text), max_batch=options.max_batch)
        with server:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, told)
            sys.stdout.write(f"{server.endpoint}\n")
            sys.stdout.flush()
            _stop_when_stdin_closes(stop)
            stop.wait()
    except ClickCleanError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0


def _stop_when_stdin_closes(stop: threading.Event) -> None:
    """Follow whoever holds the other end of a pipe; /dev/null of a background job says nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return

    def wait_for_end() -> None:
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()


def _tensors(text: str, whole: str) -> dict[str, tuple[str, list[int]]]:
    tensors = {}
    place = 0
    while place < len(text):
        match = _TENSOR.match(text, place)
        if match is None:
            raise _unreadable(whole)
        try:
            shape = [int(size) for size in match["shape"].split(",") if size.strip()]
        except ValueError as exc:
            raise _unreadable(whole) from exc
        tensors[match["name"].strip()] = match["dtype"], shape
        place = match.end()
        if text[place : place + 1] == ",":
            place += 1
        elif place < len(text):
            raise _unreadable(whole)
    return tensors


def _unreadable(text: str) -> FakeServerError:
    return FakeServerError(
        f"{text!r} describes no model.",
        hint="Write --model 'digits:image=FP32[-1,1,8,8]->logits=FP32[-1,10]'.",
    )


if __name__ == "__main__":
    sys.exit(main())
