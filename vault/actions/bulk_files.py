"""Read what a user lists in a file, of many models: bounded, as UTF-8, with lines to speak of."""

import json
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from vault.core import limits
from vault.errors import NotFound, Unavailable

_COPY = 1 << 20


def read(path: str, limit: int) -> bytes:
    """Read a file, or with `-` standard input, of at most so many bytes.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be read.
        ValueError: it is too large, or a folder or a device.
    """
    if path == "-":
        return _bounded(sys.stdin.buffer, path, limit)
    try:
        # O_NONBLOCK: a pipe without a writer must not hang the reader.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise ValueError(f"{path} is no file.")
            os.set_blocking(descriptor, True)
            return _bounded(file, path, limit)
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=path) from None
    except IsADirectoryError:
        raise ValueError(f"{path} is no file.") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=path) from None


def _bounded(file: BinaryIO, path: str, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while block := file.read(min(_COPY, limit + 1 - size)):
        parts.append(block)
        size += len(block)
        if size > limit:
            raise ValueError(f"{path} has more than {limit:,} bytes.")
    return b"".join(parts)


def text(data: bytes, subject: str) -> str:
    """Decode UTF-8, with or without a mark at its beginning; lines end in LF or CR LF.

    Raises:
        ValueError: it is no such text, or a line is too long, with the line.
    """
    try:
        found = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{subject}, line {line}: it is not UTF-8 text.") from None
    for number, content in enumerate(found.split("\n"), start=1):
        if "\0" in content:
            raise ValueError(f"{subject}, line {number}: it holds a NUL, as no text does.")
        if len(content) > limits.TABLE_LINE_CHARS:
            most = limits.TABLE_LINE_CHARS
            raise ValueError(f"{subject}, line {number}: it has more than {most:,} characters.")
    return found


def lines(path: str) -> Sequence[tuple[int, str]]:
    """Read a list, one entry a line; what begins with `#` is a remark.

    Raises:
        NotFound, Unavailable: it cannot be read.
        ValueError: it is too large, or no text.
    """
    found = []
    for number, line in enumerate(text(read(path, limits.TABLE_BYTES), path).split("\n"), start=1):
        content = line.strip()
        if content and not content.startswith("#"):
            found.append((number, content))
    if len(found) > limits.BULK_ITEMS:
        raise ValueError(f"{path} has more than {limits.BULK_ITEMS:,} lines.")
    return found


def names_in(path: str) -> list[str]:
    """Read names from a file: a JSON list of texts, or one a line.

    Raises:
        NotFound, Unavailable: it cannot be read.
        ValueError: it is neither.
    """
    found: object = None
    content = text(read(path, limits.TABLE_BYTES), path)
    with suppress(ValueError, RecursionError):
        found = json.loads(content) if content.lstrip()[:1] == "[" else content.splitlines()
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{path} is neither a JSON list of names nor text with one name a line.")
    return [name for name in found if name]
