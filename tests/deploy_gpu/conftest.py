"""Puts `deploy/gpu` where its own scripts have it: on the import path."""

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy_gpu.stand_ins import StandIns

sys.path.insert(0, str(ROOT / "deploy" / "gpu"))


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    return StandIns(folder)
