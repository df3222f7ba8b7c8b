"""The repository as text: its modules, its pages, and what they say."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "clickclean": ROOT / "cli" / "clickclean",
    "clickclean_client": ROOT / "client" / "clickclean_client",
    "clickclean_export": ROOT / "export" / "clickclean_export",
    "clickclean_loadtest": ROOT / "loadtest" / "clickclean_loadtest",
    "clickclean_server": ROOT / "deploy" / "clickclean_server",
}
CODE_FOLDERS = ("bench", "cli", "client", "deploy", "examples", "export", "loadtest", "tests")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, and whether at the module's top level."""

    package: str
    module: Path
    name: str
    at_top: bool

    @property
    def top(self) -> str:
        """The first part of the imported name."""
        return self.name.partition(".")[0]

    @property
    def place(self) -> str:
        """The importing module as a path in the repository."""
        return self.module.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    language: str
    text: str


def modules(*folders: Path) -> list[Path]:
    """Every Python file below the folders, without what was built."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*.py")
        if not {"build", "__pycache__"} & set(path.parts)
    )


def imports() -> Iterator[Import]:
    """Every import of the five packages."""
    for package, folder in PACKAGES.items():
        for path in modules(folder):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            at_top = {id(node) for node in _run_at_import(tree)}
            for node in ast.walk(tree):
                for name in _imported(node):
                    yield Import(package, path, name, id(node) in at_top)


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    folders = (ROOT / "docs", ROOT / "examples", ROOT / "model_repository", ROOT / "deploy")
    found = [page for folder in folders for page in folder.rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *found])


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(language, body) for language, body in _FENCE.findall(text)]


def commands(page: Path) -> list[str]:
    """The lines that a reader may type: those that begin with `$ ` in `console` blocks."""
    joined = (
        block.text.replace("\\\n", " ") for block in blocks(page) if block.language == "console"
    )
    return [
        line.removeprefix("$ ")
        for text in joined
        for line in text.splitlines()
        if line.startswith("$ ")
    ]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []


def _run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements that run when the module is imported: not those of functions."""
    waiting: list[ast.AST] = [
        node for node in tree.body if not (isinstance(node, ast.If) and _for_types_only(node))
    ]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _for_types_only(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
