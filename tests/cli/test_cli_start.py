"""Starting the command: it imports little, its help has examples, and its documents cannot drift."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.typing_user import User
from vault.cli.audit import COMMANDS as AUDIT_COMMANDS
from vault.cli.command import Family, Verb
from vault.cli.main import COMMANDS, cli
from vault.cli.options import common_options
from vault.cli.policy import COMMANDS as POLICY_COMMANDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
HEAVY = ("cryptography", "numpy", "sklearn", "onnx", "onnxruntime", "skops", "yaml", "rich")


def walk(command: click.Command = cli, path: str = "mvault") -> Iterator[tuple[str, click.Command]]:
    """Give every command that is not hidden, with what a user types for it."""
    yield path, command
    if isinstance(command, Family):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            if not found.hidden:
                yield from walk(found, f"{path} {name}")


TREE = dict(walk())
SECTIONS = dict(re.findall(r"^## (mvault [a-z -]+)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S))


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_no_heavy_library_and_no_command() -> None:
    loaded = loaded_after(
        "from vault.cli.main import main\nsys.argv = ['mvault', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert "vault.cli.main" in loaded
    assert not loaded & {*HEAVY, "vault.vault", "vault.starting", "vault.cli.publishing", "vault.cli.reading"}


@pytest.mark.parametrize("path", [path for path in TREE if path != "mvault"])
def test_the_help_of_a_command_imports_no_heavy_library(path: str) -> None:
    arguments = [*path.split(), "--help"]
    loaded = loaded_after(
        f"from vault.cli.main import main\nsys.argv = {arguments!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert not loaded & {*HEAVY, "vault.vault", "vault.starting"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not loaded_after("import vault") & {
        *HEAVY,
        "click",
        "vault.vault",
        "vault.starting",
        "vault.errors",
    }


def test_the_tree_has_the_commands_of_this_release() -> None:
    assert set(TREE) == {
        "mvault",
        *(f"mvault {name}" for name in COMMANDS),
        "mvault trust export",
        *(f"mvault identity {name}" for name in ("new", "show", "list", "export", "import", "passphrase")),
        *(f"mvault policy {name}" for name in POLICY_COMMANDS),
        *(f"mvault audit {name}" for name in AUDIT_COMMANDS),
        "mvault audit report verify",
        "mvault root draft",
        "mvault identity backup",
        "mvault backup verify",
        *(f"mvault index {name}" for name in ("status", "update", "rebuild")),
        *(f"mvault recovery {name}" for name in ("print", "read", "confirm", "status")),
        *(f"mvault team {name}" for name in ("list", "add", "remove", "retire")),
        *(f"mvault access {name}" for name in ("show", "sync", "rotate")),
    }


@pytest.mark.parametrize("path", TREE)
def test_every_help_has_examples_that_fit_a_terminal(path: str, user: User) -> None:
    answer = user.run(*path.split()[1:], "--help")
    assert answer.status == 0
    head, _, examples = answer.out.partition("\nExamples:\n")
    assert path in examples
    assert max(len(line) for line in answer.out.splitlines()) <= 80
    assert "Usage: mvault" in head


@pytest.mark.parametrize("path", [path for path in TREE if path != "mvault"])
def test_every_command_and_option_is_documented(path: str) -> None:
    section = SECTIONS[path]
    shared = {name for option in common_options() for name in option.opts}
    for parameter in TREE[path].params:
        for name in parameter.opts if isinstance(parameter, click.Option) else ():
            if name not in shared:
                assert f"`{name}" in section, f"{path} {name}"


def test_the_document_has_no_command_that_is_not_there() -> None:
    assert {f"{path}" for path in SECTIONS} == set(TREE) - {"mvault"}


def test_the_common_options_are_documented() -> None:
    text = DOCUMENT.read_text()
    for option in common_options():
        for name in option.opts:
            assert f"`{name}" in text


@pytest.mark.parametrize("path", TREE)
def test_the_common_options_stand_on_every_command(path: str) -> None:
    command = TREE[path]
    assert isinstance(command, Verb | Family)
    names = {name for parameter in command.params for name in parameter.opts}
    assert {name for option in common_options() for name in option.opts} <= names


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_of_a_command_is_the_beginning_of_its_own(name: str) -> None:
    """The texts in COMMANDS stand apart from the commands, so that help imports none of them."""
    path = TREE[f"mvault {name}"]
    assert path.name == name
    assert path.help
    assert COMMANDS[name][1].endswith(".")


def test_version(user: User) -> None:
    from vault import __version__

    answer = user.run("--version")
    assert (answer.status, answer.out) == (0, f"mvault {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(shell: str, user: User) -> None:
    answer = user.run("completion", shell)
    assert answer.status == 0
    assert f"_MVAULT_COMPLETE={shell}_complete" in answer.out


def test_a_shell_completes_commands_options_and_references(owner: User) -> None:
    def complete(*words: str) -> list[str]:
        answer = owner.start(
            COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1), _MVAULT_COMPLETE="bash_complete"
        )
        return [line.partition(",")[2] for line in answer.out.splitlines() if line]

    assert "promote" in complete("mvault", "pro")
    assert "--slot" in complete("mvault", "promote", "--s")
    assert complete("mvault", "show", "chu") == ["churn", "churn:1", "churn@prod"]
    assert complete("mvault", "ls", "chu") == ["churn"]
    assert complete("mvault", "--vault", "nowhere/", "show", "chu") == []


def test_without_arguments_the_help_is_a_mistake_that_is_told_on_stderr(user: User) -> None:
    for arguments in ((), ("trust",), ("identity",)):
        answer = user.run(*arguments)
        assert answer.status == 2
        assert answer.out == ""
        assert "Examples:" in answer.err
