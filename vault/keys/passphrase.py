"""Get a passphrase: from a prompt, a file, a descriptor or a command.

Never from an argument or the value of an environment variable: other
processes can read both. A passphrase is UTF-8 in Unicode normal form C, so
that it is the same bytes whatever keyboard wrote it.
"""

import getpass
import os
import selectors
import subprocess
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vault.core import limits
from vault.errors import NoUsableKey

_COMMAND_SECONDS: Final = 120.0
_ATTEMPTS: Final = 3
_OTHER_SOURCES: Final = (
    "Set MVAULT_PASSPHRASE_FILE, MVAULT_PASSPHRASE_FD or MVAULT_PASSPHRASE_COMMAND, or run it in a terminal."
)


class PassphraseSource(Protocol):
    """Gives the passphrase of `subject`, which is the name to ask for."""

    def __call__(self, subject: str) -> bytes:
        """Return the passphrase of something that exists.

        Raises:
            NoUsableKey: there is none to be had.
        """

    def create(self, subject: str) -> bytes:
        """Return the passphrase for something new; empty means that its owner wants none.

        Raises:
            NoUsableKey: there is none to be had.
        """


def source(
    *,
    file: Path | None = None,
    descriptor: int | None = None,
    command: Sequence[str] | None = None,
) -> PassphraseSource:
    """Choose the source that is configured; without one, the prompt.

    Raises:
        ValueError: more than one is given.
    """
    given: list[PassphraseSource] = []
    if file is not None:
        given.append(FromFile(file))
    if descriptor is not None:
        given.append(FromDescriptor(descriptor))
    if command is not None:
        given.append(FromCommand(tuple(command)))
    if len(given) > 1:
        raise ValueError("A passphrase comes from one place: a file, a descriptor or a command")
    return given[0] if given else Prompt()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ask the person at the terminal or notebook; for something new, twice."""

    ask: Callable[[str], str] | None = None

    def __call__(self, subject: str) -> bytes:
        """Ask once.

        Raises:
            NoUsableKey: nobody can be asked, or what was typed is no passphrase.
        """
        return normalised(self._asked(f"Passphrase for {subject}: "), "What was typed")

    def create(self, subject: str) -> bytes:
        """Ask twice; empty is allowed, and means no passphrase.

        Raises:
            NoUsableKey: nobody can be asked, or the two differed three times.
        """
        for _ in range(_ATTEMPTS):
            first = self._asked(f"New passphrase for {subject} (empty for none): ")
            if first == self._asked("The same again: "):
                return normalised(first, "What was typed")
        raise NoUsableKey(
            "The two passphrases differed.", subject=subject, hint="Nothing was written. Start again."
        )

    def _asked(self, text: str) -> str:
        if self.ask is not None:
            return self.ask(text)
        if not _somebody_there():
            raise NoUsableKey("A passphrase is needed, and nobody can be asked.", hint=_OTHER_SOURCES)
        try:
            with warnings.catch_warnings():
                # Otherwise getpass would fall back to a prompt that shows what is typed.
                warnings.simplefilter("error", getpass.GetPassWarning)
                return getpass.getpass(text)
        except (EOFError, OSError, RuntimeError, getpass.GetPassWarning):
            raise NoUsableKey("No passphrase was typed.", hint=_OTHER_SOURCES) from None


@dataclass(frozen=True, slots=True)
class FromFile:
    """Read the passphrase from a file, such as a container's mounted secret."""

    path: Path

    def __call__(self, subject: str) -> bytes:
        """Read the file.

        Raises:
            NoUsableKey: it cannot be read, is empty, too long or no UTF-8 text.
        """
        what = f"The passphrase file {self.path}"
        try:
            # A pipe is as good as a file here, as in MVAULT_PASSPHRASE_FILE=<(pass show vault).
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = _drain(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NoUsableKey(
                f"{what} cannot be read: {error.strerror}.",
                subject=str(self.path),
                hint="Check MVAULT_PASSPHRASE_FILE, and who may read that file.",
            ) from None
        return _required(data, what)

    def create(self, subject: str) -> bytes:
        """Read the file, as for something that exists."""
        return self(subject)


@dataclass(frozen=True, slots=True)
class FromDescriptor:
    """Read the passphrase from an open descriptor, to its end, once; later calls get the same."""

    descriptor: int
    _read: list[bytes] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, subject: str) -> bytes:
        """Read the descriptor.

        Raises:
            NoUsableKey: it is not open for reading, or gave nothing that is a passphrase.
        """
        what = f"Descriptor {self.descriptor}"
        if not self._read:
            try:
                data = _drain(self.descriptor)
            except (OSError, OverflowError, ValueError):
                raise NoUsableKey(
                    f"{what} cannot be read for the passphrase.",
                    hint="Open it for reading, as in: MVAULT_PASSPHRASE_FD=3 mvault … 3< file",
                ) from None
            self._read.append(_required(data, what))
        return self._read[0]

    def create(self, subject: str) -> bytes:
        """Read the descriptor, as for something that exists."""
        return self(subject)


@dataclass(frozen=True, slots=True)
class FromCommand:
    """Run the user's own command, without a shell, and take what it prints."""

    arguments: tuple[str, ...]
    seconds: float = _COMMAND_SECONDS

    def __call__(self, subject: str) -> bytes:
        """Run the command; it keeps the terminal, so that it may ask for a touch or a PIN.

        Raises:
            NoUsableKey: it cannot be run, failed, took too long, or printed no passphrase.
        """
        if not self.arguments:
            raise self._failed("is empty")
        try:
            # The user's own command, from their own configuration or environment, and no shell.
            process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE)  # noqa: S603
        except (OSError, ValueError) as error:
            raise self._failed(f"cannot be run ({type(error).__name__})") from None
        with process:
            try:
                data = self._output(process)
                status = process.wait(timeout=self.seconds)
            except (TimeoutError, subprocess.TimeoutExpired):
                raise self._failed(f"gave no answer in {self.seconds:g} seconds") from None
            finally:
                process.kill()
        if status != 0:
            raise self._failed(f"ended with status {status}")
        return _required(data, f"The passphrase command {self.arguments[0]}")

    def create(self, subject: str) -> bytes:
        """Run the command, as for something that exists."""
        return self(subject)

    def _output(self, process: "subprocess.Popen[bytes]") -> bytes:
        """Read to the end of the output, the limit or the deadline.

        Reads stop at the deadline even if a child of the command still holds the pipe.
        """
        if process.stdout is None:
            return b""
        deadline = time.monotonic() + self.seconds
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(data) <= limits.PASSPHRASE_BYTES + 2:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), limits.PASSPHRASE_BYTES + 3)
                if not piece:
                    break
                data += piece
        if len(data) > limits.PASSPHRASE_BYTES + 2:
            raise self._failed(f"printed more than {limits.PASSPHRASE_BYTES:,} bytes")
        return data

    def _failed(self, reason: str) -> NoUsableKey:
        name = self.arguments[0] if self.arguments else ""
        return NoUsableKey(
            f"The passphrase command {name} {reason}.",
            subject=name,
            hint="Run it by hand; it is set by MVAULT_PASSPHRASE_COMMAND or your own configuration.",
        )


def normalised(text: str, what: str) -> bytes:
    """Return a passphrase as bytes: UTF-8 in Unicode normal form C, at most 4 KiB.

    Raises:
        NoUsableKey: it is too long, or holds half a character.
    """
    try:
        data = unicodedata.normalize("NFC", text).encode("utf-8")
    except UnicodeEncodeError:
        raise _unusable(what, "is not valid Unicode text") from None
    if len(data) > limits.PASSPHRASE_BYTES:
        raise _unusable(what, f"is longer than {limits.PASSPHRASE_BYTES:,} bytes")
    return data


def _required(data: bytes, what: str) -> bytes:
    """Take one line end off, which editors and `echo` add, and require something before it."""
    if len(data) > limits.PASSPHRASE_BYTES + 2:
        raise _unusable(what, f"gave more than {limits.PASSPHRASE_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _unusable(what, "gave something that is not UTF-8 text") from None
    line_end = "\r\n" if text.endswith("\r\n") else "\n"
    phrase = normalised(text.removesuffix(line_end), what)
    if not phrase:
        raise _unusable(what, "gave an empty passphrase")
    return phrase


def _unusable(what: str, reason: str) -> NoUsableKey:
    return NoUsableKey(f"{what} {reason}.", hint="Check where the passphrase comes from.")


def _drain(descriptor: int) -> bytes:
    """Read to the end, or a little past the limit."""
    data = b""
    while len(data) <= limits.PASSPHRASE_BYTES + 2:
        piece = os.read(descriptor, limits.PASSPHRASE_BYTES + 3)
        if not piece:
            break
        data += piece
    return data


def _somebody_there() -> bool:
    """Tell whether a person can be asked: on a terminal, or by a notebook, which puts in its own getpass."""
    if getattr(getpass.getpass, "__module__", "getpass") != "getpass":
        return True
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # standard input was closed
        return False
