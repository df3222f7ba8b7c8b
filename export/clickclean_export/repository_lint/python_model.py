"""The model.py of the Python backend, parsed and never run."""

import ast
from collections.abc import Iterator
from typing import Final

from clickclean_export.repository_lint.backends import artefact
from clickclean_export.repository_lint.finding import LintFinding, Rule, server_issue
from clickclean_export.repository_lint.reading import Subject

_GUIDE = "https://github.com/triton-inference-server/python_backend/blob/main/README.md"
_CLASS: Final = "TritonPythonModel"

SYNTAX = Rule(
    "python-syntax",
    "error",
    "model.py is not valid Python.",
    "correct the line; the server's Python may also be older than yours",
    server_issue(6534),
)
NO_CLASS = Rule(
    "python-class-missing",
    "error",
    "model.py has no class TritonPythonModel.",
    "the class must have exactly this name",
    f"{_GUIDE}#usage",
)
NO_EXECUTE = Rule(
    "python-execute-missing",
    "error",
    "TritonPythonModel has no method execute, so every request fails.",
    "def execute(self, requests), returning one response for each request",
    f"{_GUIDE}#execute",
)
RULES: Final = (SYNTAX, NO_CLASS, NO_EXECUTE)


def check_python(subject: Subject) -> Iterator[LintFinding]:
    """Look at the script of every version that is to be loaded."""
    for version in subject.loads:
        folder = subject.version_path(version)
        wanted = artefact(subject.message, folder)
        path = folder / (wanted.file or "model.py")
        if wanted.backend != "python" or subject.message.runtime or not path.is_file():
            continue
        try:
            module = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            words = error.msg if isinstance(error, SyntaxError) else str(error)
            line = (error.lineno or 0) if isinstance(error, SyntaxError) else 0
            yield subject.find(SYNTAX, f"'{path.name}': {words}", path=path, line=line)
            continue
        definition = next(
            (n for n in ast.walk(module) if isinstance(n, ast.ClassDef) and n.name == _CLASS), None
        )
        if definition is None:
            if not _may_come_from_elsewhere(module):
                yield subject.find(NO_CLASS, f"'{path.name}' has no {_CLASS}", path=path)
        elif not definition.bases and not _defines_execute(definition):
            problem = f"{_CLASS} has no execute"
            yield subject.find(NO_EXECUTE, problem, path=path, line=definition.lineno)


def _may_come_from_elsewhere(module: ast.Module) -> bool:
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            if any((name.asname or name.name) in {_CLASS, "*"} for name in node.names):
                return True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == _CLASS:
            return True
    return False


def _defines_execute(definition: ast.ClassDef) -> bool:
    # A decorated class may have been given the method.
    if definition.decorator_list or definition.keywords:
        return True
    for node in ast.walk(definition):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "execute":
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "execute":
            return True
    return False
