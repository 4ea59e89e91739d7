"""docs/audit.md cannot drift: a reviewer who has never seen the tool types its commands and sees the same."""

import re
import sqlite3
from pathlib import Path

from tests.e2e.test_readme import blocks, run_in_terminal, stable, steps
from tests.house.source_tree import ROOT

PAGE = ROOT / "docs" / "audit.md"


def settled(text: str) -> str:
    """Put a word in place of what is another in each vault and on each machine, as `stable` does."""
    for pattern, word in (
        (r"\d{8}T\d{6}Z", "MOMENT"),
        (r"\d{4}-\d\d-\d\dT[\d:]+Z", "MOMENT"),
        (r"(?<=access/web/)[0-9a-f]{16}\b", "INSTANCE"),
        (r"\b[0-9a-f]{16}…", "ROOT"),
        (r"^Host .*$", "Host HOST"),
        (r"^Key +mvault/v1/.*?(?=^Id )", "Key KEY\n"),
        (r"sha256:[0-9a-f]{24,64}\s+[0-9a-f]*", "DIGEST "),
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{32}$", "ID"),
        (r"\b[0-9a-f]{8}$", "ID"),
    ):
        text = re.sub(
            pattern, word, text, flags=re.MULTILINE | re.DOTALL if ".*?" in pattern else re.MULTILINE
        )
    return stable(text)


def test_a_reviewer_sees_what_the_page_shows(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    said: list[str] = []
    ran = 0
    for block in blocks(PAGE.read_text()):
        if block.language != "console":
            continue
        for command, shown in steps(block):
            if command.startswith("export "):
                said.append(command)
                continue
            ran += 1
            told = run_in_terminal("; ".join([*said, command]), folder, home)
            assert settled(told) == settled(shown), command
    assert ran >= 15
    ask_the_index(folder / "review.sqlite")


def ask_the_index(index: Path) -> None:
    """Put the page's questions in SQL to the copy of the index that its reader has made."""
    (block,) = [block for block in blocks(PAGE.read_text()) if block.language == "sql"]
    with sqlite3.connect(index) as opened:
        answers = [opened.execute(query).fetchall() for query in block.text.split(";") if query.strip()]
    denied, first, unfinished = answers
    assert denied == unfinished == []
    assert {actor for actor, *_ in first} == {"anna", "web"}


def test_the_page_shows_each_answer_that_verifying_has() -> None:
    shown = "".join(block.text for block in blocks(PAGE.read_text()) if block.language == "console")
    answers = set(re.findall(r"Record whole: (yes|not checkable|no)\b", shown))
    assert answers == {"yes", "not checkable", "no"}
    assert "exit status 3" in shown
