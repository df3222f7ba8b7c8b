"""What happened to a model's live version: one JSON object a line, only ever added to.

Every action writes two lines, one before it touches anything and one after. A command that was
killed leaves the first without the second, and that is how `status` knows. Each line carries the
SHA-256 of the line before it, so a line that was changed or taken out shows.
"""

import getpass
import hashlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clickclean_export.disk import flush, words
from clickclean_export.errors import RepositoryError
from clickclean_export.repository import Repository

RECORDS = Path(".clickclean")
HISTORY = "history.jsonl"
Verdict = Literal["", "done", "refused", "taken back", "not taken back"]


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        id: The same in both lines of an action.
        at: UTC, ISO 8601.
        action: "promote", "rollback", "ab start", "ab ramp", "ab stop".
        phase: "began" or "ended".
        who: user@host, or what the environment variable CLICKCLEAN_WHO says.
        before, after: Live versions; None where there is none.
        why: The operator's words.
        servers: Addresses that the action was about; empty for the repository alone.
        verdict: How it ended: "done"; "refused": nothing was touched; "taken back": some servers
            had changed and the old version is live again; "not taken back": see ``detail``.
        detail: What failed, where.
        fingerprint: Of the manifest of ``after``.
    """

    id: str
    at: str
    action: str
    phase: Literal["began", "ended"]
    who: str
    before: int | None
    after: int | None
    why: str = ""
    servers: tuple[str, ...] = ()
    verdict: Verdict = ""
    detail: str = ""
    fingerprint: str = ""
    previous_line: str = field(default="", repr=False)


class History:
    """The file of one model. Writers hold the lock of the model's folder."""

    def __init__(self, repository: Repository, model: str) -> None:
        # Not in the model's folder: Triton would take the new time stamp for a change of the
        # model, and load it anew with the next call.
        self.path = repository.root / RECORDS / model / HISTORY

    def began(
        self,
        action: str,
        *,
        before: int | None,
        after: int | None,
        why: str = "",
        servers: tuple[str, ...] = (),
    ) -> Entry:
        """Write that an action begins; it is on the disk when this returns.

        Raises:
            RepositoryError: the file cannot be written.
        """
        entry = Entry(
            id=secrets.token_hex(6),
            at=_now(),
            action=action,
            phase="began",
            who=_who(),
            before=before,
            after=after,
            why=why,
            servers=servers,
        )
        self._append(entry)
        return entry

    def ended(
        self, began: Entry, verdict: Verdict, detail: str = "", *, fingerprint: str = ""
    ) -> Entry:
        """Write how it ended.

        Raises:
            RepositoryError: the file cannot be written.
        """
        entry = Entry(
            **{
                **_plain(began),
                "at": _now(),
                "phase": "ended",
                "verdict": verdict,
                "detail": detail,
                "fingerprint": fingerprint,
            }
        )
        self._append(entry)
        return entry

    def entries(self) -> list[Entry]:
        """Return all lines in order; empty before the first.

        Raises:
            RepositoryError: a line is damaged, or was changed or taken out.
        """
        found = []
        previous = ""
        for number, line in enumerate(self._lines(), start=1):
            try:
                tree = json.loads(line)
                entry = Entry(**{**tree, "servers": tuple(tree.get("servers", ()))})
            except (ValueError, TypeError, AttributeError) as error:
                raise self._damaged(number, f"is no entry ({error})") from None
            if entry.previous_line != previous:
                raise self._damaged(number, "does not follow from the line before it")
            previous = _digest(line)
            found.append(entry)
        return found

    def unfinished(self) -> Entry | None:
        """Return the last action if it began and never ended: its command was killed."""
        entries = self.entries()
        last = entries[-1] if entries else None
        return last if last is not None and last.phase == "began" else None

    def previous_live(self, live: int | None) -> int | None:
        """Return the version that was live before ``live``; None if none is known."""
        for entry in reversed(self.entries()):
            if entry.phase == "ended" and entry.verdict == "done" and entry.after != entry.before:
                if entry.after == live and entry.before is not None:
                    return entry.before
                if entry.after is not None and entry.after != live:
                    return entry.after
        return None

    def _append(self, entry: Entry) -> None:
        lines = self._lines()
        tree = {**_plain(entry), "previous_line": _digest(lines[-1]) if lines else ""}
        whole = sum(len(line.encode()) + 1 for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            with os.fdopen(handle, "r+b") as stream:
                # What a machine that stopped left of a line was never an entry.
                stream.truncate(whole)
                stream.seek(whole)
                stream.write(json.dumps(tree).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            flush(self.path.parent)
        except OSError as error:
            raise RepositoryError(self.path, words(error)) from error

    def _lines(self) -> list[str]:
        """Return the complete lines, without their ends."""
        try:
            return self.path.read_bytes().decode().split("\n")[:-1]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise RepositoryError(self.path, str(error)) from error

    def _damaged(self, number: int, problem: str) -> RepositoryError:
        return RepositoryError(
            self.path,
            f"line {number} {problem}",
            hint="the history was edited or the disk is damaged; restore it from a backup, or move"
            " it away to begin a new one; clickclean promote MODEL VERSION does not need it",
        )


def _plain(entry: Entry) -> dict[str, Any]:
    tree = asdict(entry)
    return {one.name: tree[one.name] for one in fields(entry)}


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _who() -> str:
    named = os.environ.get("CLICKCLEAN_WHO", "")
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a bare user id in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
