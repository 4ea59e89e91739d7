"""What a terminal shows: colour, widths, progress; what a pipe gets instead; a home that is read-only."""

import os
import re
import shutil
import subprocess

import pytest

from tests.cli.typing_user import PROGRAM, User
from vault.cli import progress

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_what_is_piped_has_no_escape_sequences(owner: User) -> None:
    for arguments in (("ls",), ("show", "churn"), ("history", "churn"), ("check", "-v"), ("ls", "nothing")):
        answer = owner.start(*arguments, TERM="xterm-256color")
        assert "\x1b" not in answer.out + answer.err


@pytest.mark.parametrize("off", ["NO_COLOR", "--no-color", "TERM"])
def test_colour_is_for_terminals_and_can_be_switched_off(off: str, owner: User) -> None:
    assert "\x1b[1m" in owner.type("ls").out
    if off.startswith("--"):
        plain = owner.type("ls", off)
    else:
        plain = owner.type("ls", environment={off: {"TERM": "dumb"}.get(off, "1")})
    assert plain.status == 0
    assert not ANSI.search(plain.out)
    assert "MODEL" in plain.out


@pytest.mark.parametrize("rich", [True, False])
def test_tables_fit_a_terminal_of_80_columns(rich: bool, owner: User) -> None:
    name = "/".join(["a-long-name-for-a-folder-of-models"] * 4)
    owner.run("push", name, "model.json", "--note", "word " * 60)
    if not rich:
        blocked = owner.write("blocked/rich/__init__.py", "raise ImportError").parents[1]
    for arguments in (
        ("ls",),
        ("ls", name),
        ("show", name),
        ("history", name),
        ("check", "-v"),
        ("identity", "list"),
    ):
        answer = owner.type(*arguments, environment={} if rich else {"PYTHONPATH": str(blocked)})
        assert answer.status == 0, answer.out
        body = [line for line in ANSI.sub("", answer.out).splitlines() if "/config" not in line]
        assert max(len(line) for line in body if " (" not in line) <= 80
    assert "Traceback" not in answer.out


def test_a_terminal_is_told_times_and_sizes_as_people_do(owner: User) -> None:
    assert owner.run("push", "churn", "model.json").status == 0
    shown = owner.type("ls", "churn").out
    assert "just now" in shown
    assert "19 B" in shown


def test_quiet_leaves_data_and_errors(owner: User) -> None:
    assert owner.run("push", "churn", "model.json", "-q").err == ""
    assert owner.run("-q", "show", "nothing").err.startswith("Error: ")
    typed = owner.type("push", "churn", "model.json", "-q")
    assert ANSI.sub("", typed.out) == "churn:3\n"


def test_verbose_tells_where_settings_came_from(owner: User) -> None:
    told = owner.run("ls", "-v").err
    assert f"vault: {owner.folder}/models/ ({owner.folder}/mvault.toml)" in told or "mvault.toml)" in told
    assert "(default)" in told
    assert owner.run("ls", "-v", "--vault", "models/").err.startswith("vault: models/ (--vault)\n")
    assert "[not-found]" in owner.run("show", "nothing", "-v").err


def test_a_read_only_home_is_no_hindrance(owner: User) -> None:
    """Root may write anywhere, so it gives that up first."""
    command = [*PROGRAM, "pull", "churn@prod", "out"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv (util-linux) to give that up")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--", *command]
    before = sorted(owner.home.rglob("*"))
    folders = [path for path in owner.home.rglob("*") if path.is_dir()]
    for path in [*folders, owner.home]:
        path.chmod(0o500)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        kept = sorted(owner.home.rglob("*"))
    finally:
        for path in [*folders, owner.home]:
            path.chmod(0o700)
    assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr
    assert kept == before, "nothing was written there"


# --- progress ---


def test_a_progress_bar_waits_a_second_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = progress.Bar()
    bar.report(1, 10, "model.skops")
    assert capsys.readouterr().err == ""
    now[0] += 1.5
    bar.report(5, 10, "model.skops")
    assert " 50%" in capsys.readouterr().err
    bar.clear()
    assert capsys.readouterr().err == "\r\x1b[K"
    bar.clear()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_a_progress_line_fits(columns: int) -> None:
    for what in ("model.skops", "x" * 300, "evil\x1b[2J"):
        shown = progress.line(3_000_000, 9_000_000, what, 4.0, columns)
        assert len(shown) < columns
        assert "\x1b" not in shown
