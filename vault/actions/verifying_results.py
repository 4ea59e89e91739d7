"""What verification gives: who signed what, and the very bytes that were verified, as files in memory."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO

from vault.core.strict_json import JSONValue


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """What a signature turned out to say of files that are here.

    `signers` are the people whose signatures count, `digest` the SHA-256 of what they signed: of
    every name and digest, not OMS's root digest. `annotations` are remarks of theirs, checked by
    nobody. `left_out` are places that were not looked at, `outside` links that lead out of the model.
    """

    model: str
    signers: tuple[str, ...]
    digest: str
    files: tuple[str, ...]
    size: int
    profile: str
    hash_type: str
    annotations: Mapping[str, JSONValue] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class VerifiedFiles(Mapping[str, memoryview]):
    """Files in memory, exactly as verified, by their paths; read-only. A context that lets go of them."""

    def __init__(self, model: VerifiedModel, held: dict[str, memoryview]) -> None:
        """Hold files; `model` tells what was verified."""
        self.model = model
        self._held = held

    def __getitem__(self, path: str) -> memoryview:
        return self._held[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def open(self, path: str | None = None) -> BinaryIO:
        """Open a file for reading, as `open(…, "rb")` would; without a path the only one.

        Raises:
            KeyError: there is no such file.
            ValueError: there are several.
        """
        if path is None:
            if len(self._held) != 1:
                raise ValueError("There are several files: say which.")
            path = next(iter(self._held))
        return io.BufferedReader(_View(self._held[path]))

    def __enter__(self) -> "VerifiedFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()


class _View(io.RawIOBase):
    """Memory as a file; nothing is copied until it is read."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise ValueError("A file has no place before its beginning.")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
