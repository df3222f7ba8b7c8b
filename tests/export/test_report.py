import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clickclean_export.errors import ExportError
from clickclean_export.report import write_report
from tests.conftest import PublishedModels


@pytest.fixture
def loadtest(tmp_path: Path) -> Path:
    """The fields of a load test's result that a report shows."""
    path = tmp_path / "loadtest.json"
    tree = {
        "verdict": "meet",
        "reasons": ["mean 4.2 ms is within <200> ms"],
        "rate": 50.0,
        "requests": 3,
        "errors": {"WrongAnswer": 1},
        "latency": {"mean_ms": 4.0, "p50_ms": 4.0, "p95_ms": 5.0, "p99_ms": 5.0},
        "target": {"mean_ms": 200.0},
        "duration_s": 18.0,
        "sample_ms": [3.0, 4.0, 5.0],
    }
    path.write_text(json.dumps(tree))
    return path


class Page(HTMLParser):
    """Collects what a browser would fetch, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value
            for name, value in attrs
            if name in {"src", "href", "xlink:href"}
            and value
            and not value.startswith(("#", "data:"))
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_one_file_with_everything_in_it(
    published: PublishedModels, loadtest: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new folder" / "report.html"
    figures = dict(write_report(published.repository, "digits", 1, target, loadtest=loadtest))
    page = Page(target.read_text())
    assert page.fetched == [], "the page must not need the network"
    assert page.tags.count("svg") >= 2
    assert "script" not in page.tags
    assert figures["errors"] == "1 of 3"
    assert figures["accuracy, INT8 (served)"] in page.text
    assert "within <200> ms" in page.text, "texts are escaped, not swallowed"
    assert published.digits["method"] in page.text
    assert re.search(r"is \d, read \d", page.text), "misread digits are drawn"


def test_a_model_that_is_no_image_and_was_not_load_tested(
    published: PublishedModels, tmp_path: Path
) -> None:
    target = tmp_path / "report.html"
    figures = write_report(published.repository, "strokes", None, target)
    page = Page(target.read_text())
    assert "Not load tested in this report" in page.text
    assert "is " in page.text
    assert not [name for name, _ in figures if "latency" in name]


def test_what_a_report_cannot_be_made_of(published: PublishedModels, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    for content, sentence in ((None, "no load test result"), ("[]", "is not a load test result")):
        path = tmp_path / "result.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ExportError, match=sentence):
            write_report(published.repository, "digits", 1, target, loadtest=path)
    assert not target.exists()
    with pytest.raises(ExportError, match="the report cannot be written"):
        write_report(published.repository, "digits", 1, Path("/proc/report.html"))
