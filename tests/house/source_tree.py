"""The project's own source, parsed once, on first use, for the tests of its rules."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "vault"
SKIPPED = frozenset({".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "node_modules"})
TEXT = frozenset({".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".sh", ".cfg", ".json", ""})


@dataclass(frozen=True)
class Module:
    """One file; `name` is its path below the project."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Parse it."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Count its lines."""
        return len(self.text.splitlines())


@cache
def modules(folder: str = "vault") -> tuple[Module, ...]:
    """Read every Python file below a folder of the project."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not SKIPPED & set(path.parts):
            text = path.read_text(encoding="utf-8")
            found.append(Module(str(path.relative_to(ROOT)), text))
    return tuple(found)


def imports(tree: ast.AST) -> Iterator[str]:
    """Name every module that is imported anywhere, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Read every text file of the project that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # an unpacked archive of the source
        paths = [path for path in ROOT.rglob("*") if not SKIPPED & set(path.parts)]
    found = []
    for path in sorted(paths):
        if path.is_file() and path.suffix in TEXT:
            found.append((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace")))
    return tuple(found)


@cache
def project() -> dict[str, object]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
