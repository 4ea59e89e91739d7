"""README.md cannot drift: its commands are extracted as CI does it, and its tour is run and compared."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COLUMNS = 100


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and what the HTML comment before it says of it."""

    language: str
    text: str
    comment: str


def blocks(markdown: str) -> list[Block]:
    """Give the fenced blocks of a page, in order."""
    found = re.finditer(
        r"(?:^<!-- (?P<comment>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
        markdown,
        re.MULTILINE | re.DOTALL,
    )
    return [Block(entry["language"], entry["text"], entry["comment"] or "") for entry in found]


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Give the commands of a console block, each with the output that the page shows."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def run_in_terminal(command: str, folder: Path, home: Path) -> str:
    """Run a command as at a terminal of 100 columns without colours; give what appears there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    home.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "TERM": "xterm",
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    try:
        while data := os.read(master, 65_536):
            written += data
    except OSError:  # how a terminal says that nobody has it open any more
        pass
    finally:
        os.close(master)
    process.wait(timeout=120)
    return written.decode().replace("\r\n", "\n")


def stable(text: str) -> str:
    """Put a word in place of everything that is another on each machine and at each time."""
    for pattern, word in (
        (r"^Libraries .*?\n\n", "Libraries LIBRARIES\n\n"),
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r"\b[0-9a-f]{12}…", "DIGEST"),
        (r"(?<=access/anna/)[0-9a-f]{16}\b", "INSTANCE"),
        (r"\b[0-9a-f]{8}$", "ID"),
        (r"\d{4}-\d\d-\d\d|\d+ [A-Z][a-z]+ 20\d\d", "DAY"),
        (r"just now|\d+ \w+ ago", "AGO"),
        (r"\d[\d.,]* (k|M)?B\b", "SIZE"),
        (r"Python +\d[\d.]+", "Python VERSION"),
        (r"0\.\d+", "FRACTION"),
        (r" +", " "),
        (r" $", ""),
    ):
        text = re.sub(pattern, word, text, flags=re.MULTILINE | re.DOTALL)
    return text


def tour() -> list[Block]:
    """Give the blocks that are run: console blocks, and the files that they use."""
    found = blocks(README.read_text())
    return [block for block in found if block.language == "console" or block.comment.startswith("file: ")]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("demo", "python3 -m venv .venv && .venv/bin/pip install '.[all]' && .venv/bin/mvault demo"),
        ("tests", "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"),
    ],
)
def test_the_two_commands_are_there_to_be_extracted(name: str, command: str) -> None:
    found = [block for block in blocks(README.read_text()) if block.comment == f"command: {name}"]
    assert [(block.language, block.text) for block in found] == [("sh", command + "\n")]


def test_there_are_exactly_two_commands() -> None:
    assert [block.comment for block in blocks(README.read_text()) if block.language == "sh"] == [
        "command: demo",
        "command: tests",
    ]


def test_the_tour_gives_what_the_page_shows(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    ran = 0
    for block in tour():
        if block.comment:
            (folder / block.comment.removeprefix("file: ")).write_text(block.text)
            continue
        for command, shown in steps(block):
            ran += 1
            assert stable(run_in_terminal(command, folder, home)) == stable(shown), command
    assert ran >= 12


def test_the_tour_shows_refusals(tmp_path: Path) -> None:
    del tmp_path
    shown = "".join(block.text for block in tour())
    assert "exit status 3" in shown
    assert "was altered in storage" in shown
    assert "is a pickle, which is a program" in shown
    assert "refused: decrypt-failed" in shown


def test_python_snippets_compile_and_the_short_one_runs(tmp_path: Path) -> None:
    found = [block for block in blocks(README.read_text()) if block.language == "python"]
    assert len(found) >= 3
    for block in found:
        compile(block.text, "README.md", "exec")
    (short,) = [block for block in found if block.comment == "snippet"]
    before = (
        "from sklearn.datasets import make_classification\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "X, y = make_classification(600, 8, random_state=0)\n"
        "pipeline = LogisticRegression().fit(X, y)\n"
        "import vault\n"
        "vault.init('models/', no_passphrase=True)\n"
    )
    (tmp_path / "snippet.py").write_text(before + short.text + "print(type(model).__name__)\n")
    (tmp_path / "work").mkdir()
    told = run_in_terminal("python ../snippet.py", tmp_path / "work", tmp_path / "home")
    assert told == "LogisticRegression\n"


def test_links_lead_somewhere() -> None:
    for page in [README, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_exit_statuses_are_those_of_the_code() -> None:
    from vault import errors

    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", README.read_text(), re.MULTILINE))
    assert {str(number) for number in range(10)} <= table.keys()
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.VaultError):
            assert str(kind.exit_status) in table, kind
