"""Releases in words, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickclean_export.release.history import Entry
    from clickclean_export.release.status import ModelStatus


def status_text(status: "ModelStatus") -> str:
    """Word one model: what the repository says, a line for each server, then the problems."""
    promoted = f"version {status.promoted}" if status.promoted else "nothing"
    print_ = f" ({status.fingerprint[:12]})" if status.fingerprint else ""
    lines = [
        f"{status.model}  {promoted} promoted{print_}  "
        + ("DEGRADED" if status.degraded else "well")
    ]
    for server in status.servers:
        live = f"version {server.live}" if server.live else "no answer"
        golden = "golden" if server.golden else "NOT golden"
        beside = "".join(
            f", beside it {slot.name} (version {', '.join(map(str, slot.versions))},"
            f" {slot.requests} requests)"
            for slot in server.slots
        )
        lines.append(f"  {server.endpoint}  {live}  {golden}  {server.fingerprint[:12]}{beside}")
    if not status.servers:
        lines.append("  no server was asked (--server, or a running clickclean serve)")
    if status.unfinished is not None and status.under_way:
        lines.append(f"  under way: {status.unfinished.action} by {status.unfinished.who}")
    lines += [f"  problem: {problem}" for problem in status.problems]
    return "\n".join(lines)


def history_text(entries: "Sequence[Entry]", last: int) -> str:
    """Word the last changes, the newest at the end; one that never ended says so."""
    ended = {entry.id for entry in entries if entry.phase == "ended"}
    shown = [entry for entry in entries if entry.phase == "ended" or entry.id not in ended]
    if not shown:
        return "nothing was promoted yet"
    lines = []
    for entry in shown[-last:]:
        verdict = entry.verdict or "NEVER ENDED"
        why = f"  why: {entry.why}" if entry.why else ""
        detail = f"  {entry.detail}" if entry.detail else ""
        servers = f"{len(entry.servers)} servers" if entry.servers else "repository"
        lines.append(
            f"{entry.at}  {entry.action}  {entry.before or '-'} -> {entry.after or '-'}"
            f"  {servers}  {entry.who}  {verdict}{detail}{why}"
        )
    return "\n".join(lines)
