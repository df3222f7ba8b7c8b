"""Entry point: errors of ours become one sentence, a hint and an exit code."""

import io
import signal
import sys
from contextlib import suppress
from types import FrameType

_SIGNALLED = 128  # an exit code above it is this and a signal's number, as shells report it
INTERRUPTED = _SIGNALLED + signal.SIGINT


def say(problem: str, hint: str) -> None:
    """Write an error as one sentence on one line, and its hint."""
    line = " ".join(problem.split())
    line = line if line[-1:] in {".", "?", "!"} else f"{line}."
    sys.stderr.write(f"error: {line}\n")
    if hint:
        sys.stderr.write(f"hint: {' '.join(hint.split())}\n")


def _leave(number: int, _frame: FrameType | None) -> None:
    # A closed terminal sends SIGHUP through its shell and itself: the second must not stop the
    # cleaning up.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(_SIGNALLED + number)


def _leave_on_signals() -> None:
    """Leave as an exception when CI cancels or the terminal closes: then every verb cleans up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What is ignored from the start, as `nohup` does it, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def main() -> None:
    """Run the command line and exit."""
    try:
        import typer  # noqa: F401
    except ImportError:
        say("the library 'typer' is not installed", "pip install 'clickclean[cli]'")
        sys.exit(4)
    _leave_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name from a file that this terminal's encoding lacks must not cost the answer.
        sys.stdout.reconfigure(errors="backslashreplace")
    from clickclean.app import app
    from clickclean_client import ClickCleanError

    try:
        app()
    except ClickCleanError as error:
        say(str(error), error.hint)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        from clickclean.extras import missing_extra

        hint = missing_extra(error.name or "")
        if not hint:
            raise
        say(f"the library '{error.name}' is not installed", hint)
        sys.exit(4)
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): that is its choice, not a failure of ours.
        sys.stderr.close()
    except OSError as error:
        if isinstance(error.__context__, SystemExit):
            # On the way out: a terminal that has closed takes no last words.
            raise error.__context__ from None
        # The machine's, not the user's: a full disk, say, also that of our own stdout.
        where = f"{error.filename}: " if error.filename is not None else ""
        say(f"{where}{error.strerror or error}", "")
        with suppress(OSError):
            sys.stdout.close()  # else Python tries again at its end
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
