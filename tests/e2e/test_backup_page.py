"""docs/backup.md works when typed: one machine backs up, another has only the backup and what lay offline."""

import re
from pathlib import Path

from tests.e2e.test_readme import ROOT, blocks, run_in_terminal, stable, steps

PAGE = ROOT / "docs" / "backup.md"
MACHINES = ("office", "new")


def shown(text: str, base: Path) -> str:
    """Put a word in place of what is another each time, and of where this test runs."""
    text = text.replace(str(base), "/mnt")
    for pattern, word in (
        (r"^.*\x1b\[K", ""),  # a progress bar
        (r"in [\d.]+ s:", "in SECONDS:"),
        (r"\bnas-[0-9a-f]{6}\b", "nas-NAME"),
        (r"damaged/[0-9TZ-]+-[0-9a-f]{8}/", "damaged/PLACE/"),
        (r"files/[0-9a-f]{32}", "files/ID"),
        (r"^ {1,2}\d+ {2}[0-9A-Z -]+$", "LINE"),
        (r"^Check: [0-9A-Z]{12}$", "CHECK"),
    ):
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return stable(text)


def test_the_page_gives_what_it_shows(tmp_path: Path) -> None:
    for name in (*MACHINES, "stick"):
        (tmp_path / name).mkdir()
    ran = 0
    for block in blocks(PAGE.read_text()):
        if block.comment.startswith("file: "):
            (tmp_path / "office" / block.comment.removeprefix("file: ")).write_text(block.text)
        if block.language != "console":
            continue
        machine = block.comment.removeprefix("machine: ")
        assert machine in MACHINES
        for command, expected in steps(block):
            ran += 1
            told = run_in_terminal(command, tmp_path / machine, tmp_path / f"home of {machine}")
            assert shown(told, tmp_path) == shown(expected, tmp_path), command
    assert ran >= 25


def test_the_new_machine_begins_with_nothing() -> None:
    """What it is given is what the page says: the backup and what lay offline."""
    new = "".join(block.text for block in blocks(PAGE.read_text()) if block.comment == "machine: new")
    assert set(re.findall(r"\.\./(\w+)", new)) == {"nas", "stick"}
    assert "recovery-models.txt" not in new


def test_the_python_compiles() -> None:
    found = [block for block in blocks(PAGE.read_text()) if block.language == "python"]
    assert len(found) == 2
    for block in found:
        compile(block.text, "backup.md", "exec")
