"""Passphrases come from a prompt, a file, a descriptor or a command, and from nowhere else."""

import getpass
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.core import limits
from vault.errors import NoUsableKey
from vault.keys import passphrase
from vault.keys.passphrase import FromCommand, FromDescriptor, FromFile, Prompt


def typing(*answers: str) -> Prompt:
    """A prompt whose user types these, one after another."""
    left: Iterator[str] = iter(answers)
    return Prompt(ask=lambda text: next(left))


def printing(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def from_descriptor(data: bytes) -> FromDescriptor:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return FromDescriptor(read)


def test_a_new_passphrase_is_typed_twice() -> None:
    assert typing("one", "two", "three", "three").create("ana") == b"three"


def test_after_three_differences_nothing_is_made() -> None:
    with pytest.raises(NoUsableKey, match="differed"):
        typing("a", "b", "c", "d", "e", "f").create("ana")


def test_an_empty_new_passphrase_at_the_prompt_means_none() -> None:
    assert typing("", "").create("ana") == b""


def test_an_existing_passphrase_is_typed_once_and_the_prompt_names_what_for() -> None:
    seen: list[str] = []

    def ask(text: str) -> str:
        seen.append(text)
        return "phrase"

    assert Prompt(ask=ask)("ana (id.json)") == b"phrase"
    assert seen == ["Passphrase for ana (id.json): "]


def test_the_same_characters_are_the_same_passphrase_however_they_are_composed() -> None:
    assert typing("e\u0301t\u00e9")("a") == "\u00e9t\u00e9".encode() == typing("\u00e9te\u0301")("a")


def test_spaces_are_part_of_a_passphrase() -> None:
    assert typing(" two words ")("a") == b" two words "


def test_half_a_character_is_refused() -> None:
    with pytest.raises(NoUsableKey):
        typing("\ud800")("a")


def test_where_nobody_can_be_asked_the_other_sources_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (io.StringIO("typed\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(NoUsableKey) as refusal:
            Prompt()("ana")
        for name in ("MVAULT_PASSPHRASE_FILE", "MVAULT_PASSPHRASE_FD", "MVAULT_PASSPHRASE_COMMAND"):
            assert name in refusal.value.hint


def test_a_notebook_prompts_by_its_own_getpass(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(prompt: str = "", stream: object = None) -> str:
        return f"typed for {prompt}"

    ask.__module__ = "ipykernel.kernelbase"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(getpass, "getpass", ask)
    assert Prompt()("ana") == b"typed for Passphrase for ana: "


def test_a_prompt_that_would_show_what_is_typed_is_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO("typed\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", getpass.fallback_getpass)  # type: ignore[attr-defined]
    with pytest.raises(NoUsableKey):
        Prompt()("ana")


@pytest.mark.parametrize("data", [b"phrase", b"phrase\n", b"phrase\r\n"])
def test_one_line_end_is_taken_off(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secret").write_bytes(data)
    assert FromFile(tmp_path / "secret")("ana") == b"phrase"
    assert from_descriptor(data)("ana") == b"phrase"
    assert FromCommand(printing(f"import os; os.write(1, {data!r})"))("ana") == b"phrase"


@pytest.mark.parametrize(
    ("data", "phrase"), [(b"a\n\n", b"a\n"), (b"a\r", b"a\r"), (b" a ", b" a "), (b"a\nb\n", b"a\nb")]
)
def test_and_nothing_else(tmp_path: Path, data: bytes, phrase: bytes) -> None:
    (tmp_path / "secret").write_bytes(data)
    assert FromFile(tmp_path / "secret").create("ana") == phrase


BAD = [b"", b"\n", b"\r\n", b"\xff\xfe", b"x" * (limits.PASSPHRASE_BYTES + 1), b"x" * 50_000]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_empty_long_and_binary_ones_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secret").write_bytes(data)
    code = f"import sys; sys.stdout.buffer.write(open({str(tmp_path / 'secret')!r}, 'rb').read())"
    for source in (FromFile(tmp_path / "secret"), from_descriptor(data), FromCommand(printing(code))):
        with pytest.raises(NoUsableKey) as refusal:
            source("ana")
        assert refusal.value.code == "no-usable-key"
        assert "xxxx" not in str(refusal.value)


def test_the_longest_one_is_accepted(tmp_path: Path) -> None:
    longest = b"x" * limits.PASSPHRASE_BYTES
    (tmp_path / "secret").write_bytes(longest + b"\r\n")
    assert FromFile(tmp_path / "secret")("ana") == longest


def test_an_endless_source_is_not_read_to_its_end() -> None:
    with pytest.raises(NoUsableKey):
        FromFile(Path("/dev/zero"))("ana")
    endless = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
    with pytest.raises(NoUsableKey, match="more than"):
        FromCommand(printing(endless))("ana")


def test_a_file_that_is_not_there_or_a_folder_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(NoUsableKey) as refusal:
            FromFile(path)("ana")
        assert refusal.value.subject == str(path)


def test_a_descriptor_is_read_once_and_remembered() -> None:
    source = from_descriptor(b"phrase\n")
    assert [source("ana"), source("bob")] == [b"phrase", b"phrase"]
    assert "phrase" not in repr(source)


def test_a_descriptor_that_is_not_open_is_said() -> None:
    for descriptor in (987_654, -1, 2**40):
        with pytest.raises(NoUsableKey):
            FromDescriptor(descriptor)("ana")


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    source = FromCommand(("/bin/echo", f"$(touch {tmp_path / 'marker'}); a"))
    assert source("ana") == f"$(touch {tmp_path / 'marker'}); a".encode()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "command", [("/nonexistent/program",), ("/bin/false",), (), ("/bin/echo\0",), printing("exit(7)")]
)
def test_a_command_that_fails_is_said(command: tuple[str, ...]) -> None:
    with pytest.raises(NoUsableKey, match="command"):
        FromCommand(command)("ana")


def test_what_a_failing_command_printed_is_not_shown() -> None:
    with pytest.raises(NoUsableKey) as refusal:
        FromCommand(printing("print('half a secret'); exit(1)"))("ana")
    assert "half a secret" not in repr(refusal.value)


def test_a_command_that_hangs_is_ended() -> None:
    for code in ("import time; time.sleep(60)", "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(3)"):
        start = time.monotonic()
        with pytest.raises(NoUsableKey, match="no answer"):
            FromCommand(printing(code), seconds=0.5)("ana")
        assert time.monotonic() - start < 2.5


def test_the_configured_source_is_chosen_and_the_prompt_without_one() -> None:
    assert passphrase.source() == Prompt()
    assert passphrase.source(file=Path("f")) == FromFile(Path("f"))
    assert passphrase.source(descriptor=3) == FromDescriptor(3)
    assert passphrase.source(command=["pass", "show"]) == FromCommand(("pass", "show"))
    with pytest.raises(ValueError, match="one place"):
        passphrase.source(file=Path("f"), descriptor=3)


def test_a_passphrase_file_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"phrase\n",))
    writer.start()
    try:
        assert FromFile(tmp_path / "pipe")("ana") == b"phrase"
    finally:
        writer.join()
