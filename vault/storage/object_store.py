"""Be a store on top of a bucket's or container's own requests: what the adapters of such services share.

An adapter gives an `ObjectService`, whose calls are single requests; names, order, limits, reading in
parts and the question what became of an upload whose answer was lost are settled here.
"""

import builtins
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.ports import Sink, Source, Stat
from vault.storage import answers, naming
from vault.storage.part_reader import PartReader

HEAD: Final = 256 * limits.KIB  # of an object that is opened, fetched with the answer that tells its size
_ANY: Final = "README.txt"  # asked for where only the answer's date matters
_AT_ONCE: Final = 8  # small objects that are created together
_EMPTY_PAGES: Final = 1_000  # one after the other; services send some, but not without end


@dataclass(frozen=True, slots=True)
class Found:
    """What a service knows of an object.

    `version` names these very bytes to the service; `mark` is that of the upload that made it, and
    empty if it bears none; `checksum` is the service's own, if it has one.
    """

    size: int
    version: str
    mark: str = ""
    checksum: str | None = None


class Upload(Protocol):
    """An object that is being created; nothing is visible before `commit`."""

    @property
    def sink(self) -> Sink:
        """Takes the bytes."""

    @property
    def size(self) -> int:
        """How many bytes were written."""

    @property
    def checksum(self) -> str | None:
        """Of what was written so far, as in `Found`; None where the service has none."""

    def commit(self) -> None:
        """Make the object visible, if its name is free.

        Raises:
            Conflict: it is not.
            Unavailable: the service failed; the object may be there, if its answer was lost.
        """

    def close(self) -> None:
        """End what still runs; without a commit nothing becomes visible afterwards."""


class ObjectService(Protocol):
    """The requests of one service; `path` is a whole name there, `name` what the vault calls it.

    `part` is how many bytes of an object that is read in order are asked for at once.
    """

    part: int

    @property
    def date(self) -> str | None:
        """The date that the last answer bore, as the server wrote it (RFC 9110, section 5.6.7)."""

    def look(self, name: str, path: str) -> Found | None:
        """Tell what is known of an object, or that there is none.

        Raises:
            Unavailable: the service failed, or the bucket is not there.
        """

    def head(self, name: str, path: str, count: int, *, most: int | None = None) -> tuple[Found, bytes]:
        """Give an object's first `count` bytes, or all of them if it has fewer.

        Raises:
            NotFound: there is no such object.
            Malformed: it has more than `most` bytes (`too-large`); none was read.
            Unavailable: the service failed, or its answer is not what it announced.
        """

    def fetch(self, name: str, path: str, version: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from this version of an object; called from several threads.

        Raises:
            Unavailable: the service failed, or that version is there no more.
        """

    def upload(self, name: str, path: str, mark: str, size: int | None) -> Upload:
        """Begin to create an object, marked so that it is known again; `size` is a hint."""

    def pages(self, prefix: str, after: str) -> Iterator[list[str]]:
        """Give the paths that begin with `prefix`, in order; those up to `after` may be left out.

        Raises:
            Unavailable: the service failed.
        """

    def sized_pages(self, prefix: str) -> Iterator[list[tuple[str, int]]]:
        """Give the paths that begin with `prefix`, in order, each with its size in bytes.

        Raises:
            Unavailable: the service failed.
        """

    def folder_pages(self, prefix: str) -> Iterator[list[str]]:
        """Give the paths directly below the folder `prefix`, folders with a `/` at their end.

        Raises:
            Unavailable: the service failed.
        """

    def delete(self, name: str, path: str, version: str = "") -> None:
        """Remove an object, or only this version of it; one that is not there is not an error.

        Raises:
            Unavailable: the service failed or refused.
        """


class ObjectStore:
    """A store in one bucket, or below one folder of it; several threads and processes may use it at once.

    Attributes: `round_trip`, by which callers know that each answer takes a while.
    """

    round_trip: Final = True

    def __init__(self, location: str, prefix: str, service: ObjectService) -> None:
        """Keep objects whose paths begin with `prefix`, which is empty or ends in `/`."""
        self._location = location
        self._prefix = prefix
        self._service = service

    @property
    def location(self) -> str:
        """The URL; no secret can stand in it."""
        return self._location

    @property
    def service(self) -> ObjectService:
        """The requests below, for who reads what is no vault (`vault.storage.foreign`)."""
        return self._service

    @property
    def prefix(self) -> str:
        """What the path of every object begins with; empty, or ending in `/`."""
        return self._prefix

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create `name` when the block ends without an exception, atomically and durably.

        Raises:
            Conflict: the name exists; at entry or at commit, and nothing was changed.
            Unavailable: the service failed or refused (`storage-denied`). Only where its answer was lost
                and it cannot be asked what it has, the object may be there, whole.
        """
        path = self._path(name)
        if self._service.look(name, path) is not None:
            raise answers.conflict(name)
        mark = secrets.token_hex(16)
        upload = self._service.upload(name, path, mark, size)
        try:
            yield upload.sink
            try:
                upload.commit()
            except (Conflict, Unavailable) as failure:
                self._settle(name, path, mark, upload, failure)
        finally:
            upload.close()

    def create_all(self, objects: Mapping[str, bytes]) -> "builtins.list[str]":
        """Create small objects, name → bytes, several at once; return those whose names are taken.

        Raises:
            Unavailable: the service failed or refused; some of the objects may be there, each whole.
        """
        for name in objects:
            naming.check_name(name)

        def attempt(name: str) -> bool:
            try:
                with self.create(name, size=len(objects[name])) as sink:
                    sink.write(objects[name])
            except Conflict:
                return False
            return True

        if not objects:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(objects)), thread_name_prefix="object-store") as pool:
            try:
                return [
                    name for name, made in zip(objects, pool.map(attempt, objects), strict=True) if not made
                ]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _settle(
        self, name: str, path: str, mark: str, upload: Upload, failure: Conflict | Unavailable
    ) -> None:
        """Find out what became of an upload that was told to have failed: its success may have been lost.

        Raises:
            Conflict: somebody else's object has the name.
            Unavailable: nothing was stored, or nobody can tell.
        """
        try:
            found = self._service.look(name, path)
        except Unavailable:
            raise failure from None
        if found is None:
            raise failure
        if not secrets.compare_digest(found.mark.encode(), mark.encode()):
            raise answers.conflict(name) from failure
        wanted = found.checksum if upload.checksum is None else upload.checksum
        if found.size == upload.size and found.checksum in {None, wanted}:
            return
        removed, hint = "it was removed again", "Try again."
        try:
            self._service.delete(name, path, found.version)
        except Unavailable as kept:
            removed, hint = "it could not be removed", f"Have it deleted: {kept.message}"
        raise Unavailable(
            f"The service stored other bytes than were sent for {name}; {removed}.", subject=name, hint=hint
        ) from failure

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open `name` for reading; its first bytes come with the answer that tells its size.

        Raises:
            NotFound: there is no such name.
            Unavailable: the service failed.
        """
        path = self._path(name)
        found, head = self._service.head(name, path, HEAD)
        first = memoryview(head)

        def fetch(offset: int, buffer: memoryview) -> None:
            held = first[offset : offset + len(buffer)]
            if len(held) == len(buffer):
                buffer[:] = held
            else:
                self._service.fetch(name, path, found.version, offset, buffer)

        source = PartReader(fetch, found.size, part=self._service.part)
        try:
            yield source
        finally:
            source.close()

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`, in one request.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`); nothing was read.
            Unavailable: the service failed, or its answer is not what it announced.
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        return self._service.head(name, self._path(name), limit + 1, most=limit)[1]

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
            Unavailable: the service failed.
        """
        found = self._service.look(name, self._path(name))
        if found is None:
            raise answers.not_found(name)
        return Stat(found.size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Raises:
            Unavailable: the service failed, or does not list in order.
        """
        naming.check_prefix(prefix)
        return self._names(prefix, after)

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: as `list`.
        """
        naming.check_prefix(prefix)
        sizes: dict[str, int] = {}

        def pages() -> Iterator[list[str]]:
            for page in self._service.sized_pages(self._prefix + prefix):
                sizes.clear()
                sizes.update(page)
                yield [path for path, _ in page]

        return ((name, sizes[self._prefix + name]) for name in self._checked(pages(), prefix, ""))

    def _names(self, prefix: str, after: str) -> Iterator[str]:
        pages = self._service.pages(self._prefix + prefix, self._prefix + after if after else "")
        return self._checked(pages, prefix, after)

    def _checked(self, pages: "Iterator[builtins.list[str]]", prefix: str, after: str) -> Iterator[str]:
        last = ""
        empty = 0
        for page in pages:
            empty = 0 if page else empty + 1
            if empty > _EMPTY_PAGES:
                raise self._disorder("sends empty pages without end")
            for path in page:
                if path <= last:
                    raise self._disorder("does not list names in order")
                last = path
                name = path[len(self._prefix) :]
                if not path.startswith(self._prefix + prefix):
                    raise self._disorder("lists names that were not asked for")
                if name > after and naming.is_name(name):
                    yield name

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        Raises:
            Unavailable: the service failed, or the folder has more than `limits.LISTED_NAMES` entries.
        """
        naming.check_folder(prefix)
        return self._folders(prefix)

    def _folders(self, prefix: str) -> Iterator[str]:
        found: set[str] = set()
        empty = 0
        for page in self._service.folder_pages(self._prefix + prefix):
            empty = 0 if page else empty + 1
            for path in page:
                if not path.startswith(self._prefix + prefix):
                    raise self._disorder("lists names that were not asked for")
                name = path[len(self._prefix) :]
                if naming.is_name(name.removesuffix("/")):
                    found.add(name[len(prefix) :])
            if empty > _EMPTY_PAGES or len(found) > limits.LISTED_NAMES:
                raise self._disorder(f"lists more than {limits.LISTED_NAMES} entries in one folder")
        yield from sorted(found)

    def _disorder(self, what: str) -> Unavailable:
        return Unavailable(
            f"The service behind {self._location} {what}.",
            hint="A listing of it cannot be relied on: look at what listens there.",
        )

    def delete(self, name: str) -> None:
        """Remove `name`; a name that is not there is not an error.

        Versions and soft-deleted copies that the service keeps are its own business.

        Raises:
            Unavailable: the service failed or refused (`storage-denied`), as under a retention policy.
        """
        self._service.delete(name, self._path(name))

    def server_time(self) -> int | None:
        """Give the server's time in seconds since 1970, or None where it did not say.

        Raises:
            Unavailable: the service failed or refused.
        """
        self._service.look(_ANY, self._path(_ANY))
        try:
            return int(parsedate_to_datetime(self._service.date or "").timestamp())
        except (ValueError, OverflowError):
            return None

    def _path(self, name: str) -> str:
        naming.check_name(name)
        return self._prefix + name
