"""What a log of tritonserver, trtexec or TensorRT complains of, with cause and remedy."""

import re
from bisect import bisect_right
from dataclasses import dataclass

from clickclean_export.engine.known_errors import GENERIC, SPECIFIC, KnownError

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_TABLE_ROW = re.compile(r"\s*(?:\S+\s+\|\s*)?\|")  # docker compose puts "name | " before it
_NEAR_LINES = 10
_SHOWN = 300
_UNSAID = "(not said)"


@dataclass(frozen=True)
class Explanation:
    """One known error that a log holds.

    Attributes:
        code: Of the known error.
        line: Number of the first line that says it, from 1.
        text: That line, blanks collapsed and cut at 300 characters.
        cause: What is wrong, with the numbers of that line.
        remedy: What to do about it.
        source: URL of a public place that shows the text.
        times: How many lines say it. Triton repeats errors in a table of models; those rows count
            only where no line of the log says the same.
    """

    code: str
    line: int
    text: str
    cause: str
    remedy: str
    source: str
    times: int


def explain(text: str) -> tuple[Explanation, ...]:
    """Return each known error of a log once, in the order of appearance.

    Args:
        text: A whole log or a part: tritonserver's old and new format, trtexec, TensorRT's Python
            logger; with colours, with lines that end in CR LF, with replaced bytes.

    Returns:
        Nothing where no text is known, which does not mean that all is well. Of a failure that is
        logged with its reason and again without, only the reason.
    """
    clean = _COLOUR.sub("", text).replace("\r\n", "\n")
    lines = clean.split("\n")
    first: dict[str, tuple[int, KnownError, re.Match[str]]] = {}
    times: dict[str, int] = {}
    said: set[str] = set()
    last_shown = -_NEAR_LINES - 1
    for index, (known, match) in sorted(_hits(clean).items()):
        is_row = _TABLE_ROW.match(lines[index]) is not None
        if is_row and known.code in said:
            continue
        if not is_row:
            said.add(known.code)
        if known in GENERIC and index - last_shown <= _NEAR_LINES:
            continue
        last_shown = index
        first.setdefault(known.code, (index, known, match))
        times[known.code] = times.get(known.code, 0) + 1
    return tuple(
        _explanation(known, match, lines[index], index + 1, times[code])
        for code, (index, known, match) in first.items()
    )


def _hits(clean: str) -> dict[int, tuple[KnownError, re.Match[str]]]:
    """Return by line, from 0, the first entry of the table that matches there."""
    starts = [0, *(match.end() for match in re.finditer("\n", clean))]
    hits: dict[int, tuple[KnownError, re.Match[str]]] = {}
    for known in SPECIFIC + GENERIC:
        for match in re.finditer(known.pattern, clean):
            hits.setdefault(bisect_right(starts, match.start()) - 1, (known, match))
    return hits


def _explanation(
    known: KnownError, match: re.Match[str], line: str, number: int, times: int
) -> Explanation:
    fields = {name: value or _UNSAID for name, value in match.groupdict().items()}
    shown = " ".join(line.split())
    return Explanation(
        code=known.code,
        line=number,
        text=shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…",
        cause=known.cause.format(**fields),
        remedy=known.remedy.format(**fields),
        source=known.source,
        times=times,
    )
