"""Write the tables of docs/lint.md from the rules.

Run it: python -m tests.export.repository_lint.lint_page
"""

from clickclean_export.repository_lint.catalogue import as_markdown
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "lint.md"
HEADING = "## The rules\n"


def page() -> str:
    """Return the page with the tables as the rules are now."""
    text, _, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    return f"{text}{HEADING}\n{as_markdown()}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
