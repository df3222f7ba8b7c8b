"""The table of failures: what was done, what came back, and what a client should make of it."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from failing_server import Seen, plain

NO = "no"
MAYBE = "maybe"
Reached = Callable[[Seen], bool]
HEAD = """\
# What callers of tritonserver 2.51 and of gRPC get when something fails, measured.
# Made by `python bench/failures.py --out tests/client/measured_failures.toml`; do not edit.
#
# [[failure]]
# case      what failed, and when
# code      name of the gRPC status ("ValueError": gRPC raised that instead of a status)
# text      its whole text; ports are PORT, times TIME, paths PATH
# part      what to recognise the text by: it holds no name, number or address; "" = nothing
# computed  "no": the model cannot have run. "maybe": it may have, so a repetition may be a second
#           execution
# reached   whether this very request was seen by the model here, by the model's own journal;
#           "unknown" where there is no journal
# after_s   from the call to its end
# raises    the class of clickclean_client that fits
# how       how it was made
"""


@dataclass(frozen=True)
class Case:
    """One row."""

    case: str
    seen: Seen
    part: str
    computed: str
    reached: str
    raises: str
    how: str
    expected: str


class Table:
    """Rows in the order in which they were measured."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def note(
        self,
        case: str,
        seen: Seen,
        expected: str,
        part: str,
        *,
        computed: str,
        raises: str,
        how: str,
        reached: Reached | None = None,
    ) -> None:
        """Add a row; `expected` is the code, and `part` should be in the text."""
        seen = plain(seen)
        known = "unknown" if reached is None or not seen.request_id else str(reached(seen)).lower()
        row = Case(case, seen, part, computed, known, raises, how, expected)
        self.cases.append(row)
        print(
            f"{case:52} {seen.code:18} {seen.after_s:6.2f} s  {known:7} {seen.text[:90]!r}",
            file=sys.stderr,
        )

    def surprises(self) -> list[str]:
        """Rows that are not what was expected, or that contradict themselves."""
        return [
            f"{row.case}: {row.seen.code} {row.seen.text!r}, reached: {row.reached}"
            for row in self.cases
            if row.seen.code != row.expected
            or row.part not in row.seen.text
            or (row.computed == NO and row.reached == "true")
        ]

    def as_toml(self, where: dict[str, str]) -> str:
        """The file."""
        lines = [HEAD, "[measured_with]"]
        lines += [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in where.items()]
        for row in self.cases:
            fields = {
                "case": row.case,
                "code": row.seen.code,
                "text": row.seen.text,
                "part": row.part,
                "computed": row.computed,
                "reached": row.reached,
                "raises": row.raises,
                "how": row.how,
            }
            lines += ["", "[[failure]]"]
            lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
            lines.append(f"after_s = {row.seen.after_s:.2f}")
        return "\n".join(lines) + "\n"


def most(seen: Iterable[Seen]) -> dict[tuple[str, str], list[Seen]]:
    """Calls by code and text, the most frequent first."""
    found: dict[tuple[str, str], list[Seen]] = {}
    for one in seen:
        shown = plain(one)
        found.setdefault((shown.code, shown.text), []).append(one)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
