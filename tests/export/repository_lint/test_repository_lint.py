"""The linter finds each planted mistake with its cause, and nothing in the correct twin."""

import re
from pathlib import Path

import pytest

from clickclean_export.repository_lint.catalogue import RULES
from clickclean_export.repository_lint.run import lint_repository
from tests.export.repository_lint.cases import CASES
from tests.export.repository_lint.repositories import Case
from tests.export.repository_lint.trees import write

_THREAD = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+")


def _id(case: Case) -> str:
    return f"{case.code} {case.source.removeprefix('https://github.com/')}"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_planted_mistake_is_found_with_its_cause(case: Case, tmp_path: Path) -> None:
    root = write(case.edit(case.tree), tmp_path)
    report = lint_repository(root, slo_ms=case.slo_ms, fleet=case.fleet)
    assert {finding.code for finding in report.findings} == {case.code}, report.findings
    said = " ".join(f"{finding.problem} {finding.hint}" for finding in report.findings)
    assert case.words in said
    assert all((root / finding.file).parent.is_dir() for finding in report.findings)


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_correct_twin_has_no_finding(case: Case, tmp_path: Path) -> None:
    root = write(case.tree, tmp_path)
    assert lint_repository(root, slo_ms=case.slo_ms, fleet=case.fleet).findings == ()


def test_every_rule_has_a_mistake_that_it_alone_finds() -> None:
    assert {case.code for case in CASES} == {rule.code for rule in RULES}
    assert len({rule.code for rule in RULES}) == len(RULES)


def test_at_least_25_mistakes_come_from_public_threads() -> None:
    threads = {case.source for case in CASES if _THREAD.fullmatch(case.source)}
    assert len(threads) >= 25
