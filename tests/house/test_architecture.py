"""The direction of imports, the purity of the core, and who may name a pickle."""

import ast
import subprocess
import sys

import pytest

from tests.house.source_tree import PACKAGE, ROOT, Module, imports, modules

CORE = [module for module in modules() if module.name.startswith("vault/core/")]

# Everything of the standard library that the core may use: nothing that reads, writes, waits or draws.
CORE_MAY_IMPORT = frozenset(
    {
        "base64", "binascii", "bz2", "collections", "contextlib", "copy", "dataclasses", "datetime",
        "decimal", "enum", "functools", "hashlib", "hmac", "itertools", "json", "lzma", "math", "re",
        "struct", "tomllib", "types", "typing", "unicodedata", "zlib",
    }
)  # fmt: skip
# Where it is installed, one more that unpacks bytes as those do.
CORE_MAY_IMPORT_IF_INSTALLED = ("lz4.frame",)
# Of the one library it uses: computations, and no generator of keys or nonces.
CORE_MAY_IMPORT_OF_CRYPTOGRAPHY = (
    "cryptography.exceptions",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.hashes",
    "cryptography.hazmat.primitives.kdf",
)
CORE_MAY_NOT_CALL = frozenset(
    {
        "__import__",
        "breakpoint",
        "compile",
        "eval",
        "exec",
        "globals",
        "help",
        "input",
        "locals",
        "open",
        "print",
    }
)
CORE_MAY_NOT_READ = frozenset(
    {"now", "today", "utcnow", "urandom", "generate", "generate_key", "environ", "fromfile"}
)
PICKLERS = frozenset({"pickle", "_pickle", "cPickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"})
# The gate, and what only a confined process runs (docs/decisions/0012).
PICKLE_HOLDERS = frozenset({"vault/loaders/pickle_gate/__init__.py", "vault/loaders/pickle_confined.py"})
CODE_RUNNERS = frozenset({"eval", "exec", "compile", "__import__"})


def test_import_linter_keeps_every_contract() -> None:
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    ended = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


def test_the_core_was_found() -> None:
    assert len(CORE) > 30


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.name)
def test_the_core_imports_only_what_cannot_touch_the_world(module: Module) -> None:
    for name in imports(module.tree):
        top = name.partition(".")[0]
        allowed = (
            name == "vault"
            or top in CORE_MAY_IMPORT
            or name.startswith(
                (
                    "vault.core",
                    "vault.errors",
                    *CORE_MAY_IMPORT_OF_CRYPTOGRAPHY,
                    *CORE_MAY_IMPORT_IF_INSTALLED,
                )
            )
        )
        assert allowed, f"{module.name} imports {name}"


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.name)
def test_the_core_calls_nothing_that_reads_writes_runs_or_tells_the_time(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            assert node.id not in CORE_MAY_NOT_CALL, f"{module.name}:{node.lineno} names {node.id}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in CORE_MAY_NOT_READ, f"{module.name}:{node.lineno} reads .{node.attr}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_only_the_gate_names_a_pickle_library(module: Module) -> None:
    named = {name.partition(".")[0] for name in imports(module.tree)} & PICKLERS
    assert not named or module.name in PICKLE_HOLDERS


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_nothing_runs_text_as_code(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in CODE_RUNNERS, f"{module.name}:{node.lineno}"


def test_modules_that_are_imported_by_name_are_named_in_three_places() -> None:
    """The public names, the table of commands, and the gate, which finds what a pickle names."""
    users = set()
    for module in modules():
        for node in ast.walk(module.tree):
            named = getattr(node, "attr", getattr(node, "id", getattr(node, "name", "")))
            if named == "import_module":
                users.add(module.name)
    assert users == {"vault/__init__.py", "vault/cli/command.py", "vault/loaders/pickle_gate/host.py"}


def test_every_folder_of_modules_is_a_package() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), path
