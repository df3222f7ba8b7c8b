"""Rules and findings: what is wrong, where, and what to do about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from clickclean_export.errors import ExportError

Severity = Literal["error", "warning"]

_SERVER = "https://github.com/triton-inference-server/server"
_GUIDE = f"{_SERVER}/blob/main/docs/user_guide"
REPOSITORY_GUIDE = f"{_GUIDE}/model_repository.md"
CONFIG_GUIDE = f"{_GUIDE}/model_configuration.md"
CORE_CHECKS = "https://github.com/triton-inference-server/core/blob/main/src/model_config_utils.cc"
PROTO = "https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto"


def server_issue(number: int) -> str:
    """Return the address of an issue of the Triton server."""
    return f"{_SERVER}/issues/{number}"


@dataclass(frozen=True)
class Rule:
    """One kind of mistake.

    Attributes:
        code: Stable kebab-case name.
        severity: "error" where Triton refuses to load the model or a call fails, "warning" where it
            does what was written, and that is seldom meant.
        cause: What is wrong, in general.
        remedy: What to do about it.
        source: Public address of the thread, page or source that shows it.
    """

    code: str
    severity: Severity
    cause: str
    remedy: str
    source: str


@dataclass(frozen=True)
class LintFinding:
    """One mistake in one place.

    Attributes:
        code, severity: Those of the rule.
        model: Folder of the model; "" for the repository itself.
        file: Path below the repository.
        line: Of the file, from 1; 0 where no line is to blame.
        problem: One sentence with the cause.
        hint: What to do about it.
        source: Public address that shows it.
    """

    code: str
    severity: Severity
    model: str
    file: str
    line: int
    problem: str
    hint: str
    source: str

    @property
    def place(self) -> str:
        """File and line, as compilers write them."""
        return f"{self.file}:{self.line}" if self.line else self.file


class LintError(ExportError):
    """There is nothing here that could be looked at."""

    exit_code: ClassVar[int] = 2

    def __init__(self, path: Path, problem: str, *, hint: str = "") -> None:
        super().__init__(f"model repository {path}: {problem}", hint=hint)
        self.path = path
