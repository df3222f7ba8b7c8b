"""Entry point: errors of ours become one sentence, a hint and an exit code."""

import signal
import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
TERMINATED = 143  # 128 + SIGTERM


def say(problem: str, hint: str) -> None:
    """Write an error as one sentence on one line, and its hint."""
    line = " ".join(problem.split())
    line = line if line[-1:] in {".", "?", "!"} else f"{line}."
    sys.stderr.write(f"error: {line}\n")
    if hint:
        sys.stderr.write(f"hint: {' '.join(hint.split())}\n")


def main() -> None:
    """Run the command line and exit."""
    try:
        import typer  # noqa: F401
    except ImportError:
        say("the library 'typer' is not installed", "pip install 'clickclean[cli]'")
        sys.exit(4)
    # CI systems cancel with SIGTERM; leaving as an exception lets every verb clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
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
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
