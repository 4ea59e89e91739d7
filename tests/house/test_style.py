"""The rules of style: sizes, docstrings, names, no assertion in the product, nothing left unfinished."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.source_tree import PACKAGE, Module, modules, texts

FILE_LINES = 400
FUNCTION_LINES = 70
EMPTY_NAMES = frozenset(
    {"utils", "util", "helpers", "helper", "models", "manager", "managers", "common", "misc"}
)
# Spelled in two parts, so that this file does not break its own rule.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK")))
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(wo" + "rk|ro" + "ot|tmp/" + r"w)(/|\b)")
REGISTRIES = (
    "py" + "pi.org",
    "python" + "hosted",
    "registry." + "npmjs",
    "deb." + "debian",
    "proxy.golang" + ".org",
)
# What fails a test when something else happens than it says; `attempt` lets nothing through but refusals.
CHECKING = ("raises", "fail", "warns", "suppress", "attempt", "check", "assert", "run")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

each_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def definitions(node: ast.AST, *, public: bool = False) -> Iterator[Definition]:
    """Give the classes and functions of a module, in classes too; public ones are seen from outside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            if not public or not child.name.startswith("_"):
                yield child
                if not public or isinstance(child, ast.ClassDef):
                    yield from definitions(child, public=public)
        elif isinstance(child, ast.If | ast.Try):
            yield from definitions(child, public=public)


@each_module
def test_files_are_short(module: Module) -> None:
    assert module.lines <= FILE_LINES


@each_module
def test_functions_are_short(module: Module) -> None:
    for node in definitions(module.tree):
        if not isinstance(node, ast.ClassDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@each_module
def test_security_never_rests_on_an_assertion(module: Module) -> None:
    lines = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]
    assert not lines


def undocumented(module: Module) -> Iterator[str]:
    """Name what is public and has no docstring whose first line is a sentence."""
    found: list[tuple[str, ast.Module | Definition]] = [(module.name, module.tree)]
    for node in definitions(module.tree, public=True):
        properties = [ast.unparse(decorator) for decorator in node.decorator_list]
        if any(text.endswith((".setter", "override", "overload")) for text in properties):
            continue
        found.append((node.name, node))
    for name, documented in found:
        first = (ast.get_docstring(documented) or "").partition("\n")[0]
        if not first.endswith((".", ":", "?")) or len(first) < 5:
            yield name


@each_module
def test_everything_public_says_what_it_does(module: Module) -> None:
    if module.name.endswith("__init__.py") and not module.text.strip():
        return
    assert list(undocumented(module)) == []


def test_no_file_is_named_after_nothing() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not EMPTY_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)


def test_the_whole_tree_was_read() -> None:
    names = {name for name, _ in texts()}
    assert {"README.md", "pyproject.toml", "vault/errors.py", "tests/house/test_style.py"} <= names


def test_nothing_is_left_unfinished() -> None:
    found = [(name, hit[0]) for name, text in texts() if (hit := UNFINISHED.search(text))]
    assert not found


def test_the_tree_names_no_machine_and_no_registry() -> None:
    for name, text in texts():
        found = MACHINE_PATHS.search(text)
        assert found is None, f"{name} contains {text[max(0, found.start() - 20) : found.end() + 20]!r}"
        for wrong in REGISTRIES:
            assert wrong not in text, f"{name} contains {wrong}"


@pytest.mark.parametrize("module", modules("tests"), ids=lambda module: module.name)
def test_every_test_can_fail(module: Module) -> None:
    """A test asserts, names what may be raised, or calls a function of its module that does."""
    helpers = {node.name for node in definitions(module.tree) if not node.name.startswith("test_")}
    for node in definitions(module.tree):
        if isinstance(node, ast.ClassDef) or not node.name.startswith("test_"):
            continue
        checks = any(isinstance(inner, ast.Assert | ast.Try) for inner in ast.walk(node))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                called = inner.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                checks |= name in helpers or name.startswith(CHECKING)
        assert checks, f"{node.name} checks nothing"
