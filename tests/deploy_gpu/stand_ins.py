"""Stand-ins for programs that exist only where there is a GPU or Docker. They only play a part."""

import os
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT


@dataclass
class StandIns:
    """A folder of small programs that goes first on the PATH."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def add_real(self, *names: str) -> None:
        for name in names:
            found = shutil.which(name)
            assert found is not None
            (self.folder / name).symlink_to(found)

    def environment(self, *, alone: bool = False) -> dict[str, str]:
        rest = "" if alone else os.pathsep + os.environ["PATH"]
        return {**os.environ, **self.variables, "PATH": f"{self.folder}{rest}"}

    def run(
        self, script: str, *words: str, alone: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(ROOT / script), *words],
            env=self.environment(alone=alone),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def gone(process: int, within_s: float = 15.0) -> bool:
    """Whether a process ends within a time; one that nobody waits for (a zombie) has ended."""
    state, deadline = Path("/proc", str(process), "stat"), time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if state.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
