"""Type commands as a user does: in this process, in another one, or at a terminal."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from vault.cli.main import cli

PROGRAM = (sys.executable, "-c", "from vault.cli.main import main; main()")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON value that it must be."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class User:
    """A user with a home, who works in a folder."""

    home: Path
    folder: Path

    def run(self, *arguments: str, given: str | bytes | None = None) -> Answer:
        """Run the command in this process, with its output piped."""
        result = CliRunner().invoke(cli, [*arguments], input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: str, **environment: str) -> Answer:
        """Run the command in a process of its own, with its output piped."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def type(
        self,
        *arguments: str,
        answers: tuple[tuple[str, str], ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run the command at a terminal of 80 columns; each answer is typed when its prompt appears.

        Everything that the terminal shows is in `out`.
        """
        return at_terminal([*PROGRAM, *arguments], answers, {"TERM": "xterm-256color", **(environment or {})})

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file in the user's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def found(self) -> str:
        """Make a vault in models/, without a passphrase; give its fingerprint."""
        answer = self.run("init", "models/", "--no-passphrase", "--name", "anna", "--recipient", "x25519")
        assert answer.status == 0, answer.err
        return answer.out.strip()

    def becomes_somebody_else(self) -> None:
        """Go on with another home, where nothing is trusted and no identity exists."""
        other = self.home.with_name("other-home")
        other.mkdir()
        os.environ["HOME"] = str(other)  # the fixture's monkeypatch puts it back


def at_terminal(
    command: list[str], answers: tuple[tuple[str, str], ...], environment: dict[str, str]
) -> Answer:
    """Run a command in a pseudo-terminal of its own and type answers at its prompts."""
    import fcntl
    import struct
    import termios

    child, screen = pty.fork()
    if child == 0:
        os.execve(command[0], command, {**os.environ, **environment})
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    shown, waiting, seen = "", list(answers), 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([screen], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(screen, 65_536)
        except OSError:  # Linux's way to say that the other side is closed
            piece = b""
        if not piece:
            break
        shown += piece.decode("utf-8", "replace")
        while waiting and waiting[0][0] in shown[seen:]:
            prompt, text = waiting.pop(0)
            seen = shown.index(prompt, seen) + len(prompt)
            os.write(screen, text.encode())
    os.close(screen)
    _, status = os.waitpid(child, 0)
    assert not waiting, f"never asked {waiting[0][0]!r}; it showed:\n{shown}"
    return Answer(os.waitstatus_to_exitcode(status), shown.replace("\r\n", "\n"), "")
