"""Keep objects in a bucket of Amazon S3, or of a store that speaks its protocol and honours conditions.

Every object is created under the condition that its name is free, which S3
decides atomically; so of several writers one wins, and an object is there
whole or not at all. What is read is read by ranges, in parallel when that is
faster, and only the very object that was opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from vault.errors import NotFound, Unavailable
from vault.ports import Stat
from vault.storage import answers, naming, s3_archive, s3_location, s3_reading, s3_sweeping
from vault.storage.s3_archive import ArchiveState
from vault.storage.s3_client import Client, check_library
from vault.storage.s3_errors import Failed, unavailable
from vault.storage.s3_listing import Listing
from vault.storage.s3_location import S3Location
from vault.storage.s3_reading import S3Source
from vault.storage.s3_writing import PART, Upload


def open_s3(url: str) -> "S3Store":
    """Open the store at an `s3://BUCKET/PREFIX?OPTION=VALUE` URL; nothing is asked of it yet.

    Raises:
        ValueError: the URL or one of its options is malformed, or there is no such option.
        MissingLibrary: boto3 is not installed.
    """
    location = s3_location.parse(url)
    check_library()
    return S3Store(location)


class S3Store:
    """A store in one bucket, below one prefix; several threads and processes may use it at once.

    Attributes: `round_trip`, by which callers know that each answer takes a while.
    """

    round_trip: Final = True

    def __init__(self, location: S3Location) -> None:
        """Use the bucket and the prefix of `location`; credentials are found by the SDK's own chain."""
        self._where = location
        self._client = Client(location)
        self._listing = Listing(self._client)

    @property
    def location(self) -> str:
        """The store's URL; credentials are never in it."""
        return self._where.url

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Upload]:
        """Create `name` when the block ends without an exception, atomically and durably.

        Raises:
            Conflict: something has that name; at entry or at commit, and nothing was changed.
            Unavailable: the store failed, is full (`storage-full`) or refused (`storage-denied`).
        """
        key = self._key(name)
        if size is None or size > PART:  # a small object of known size is refused soon enough by its PUT
            self._refuse_taken(name, key)
        upload = Upload(self._client, name, key, size=size)
        try:
            yield upload
            upload.commit()
        finally:
            upload.close()

    def _refuse_taken(self, name: str, key: str) -> None:
        """See that the name is free before anything is sent, if that may be known."""
        try:
            self._client.send("head_object", Key=key)
        except Failed as failure:
            if not failure.is_missing and failure.status != 403:  # whoever may only create may not look
                raise unavailable(failure, "store", name, self._client.bucket) from failure
        else:
            raise answers.conflict(name)

    @contextmanager
    def open(self, name: str) -> Iterator[S3Source]:
        """Open `name` for reading.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed or refused, or the object must be restored (`storage-archived`).
        """
        source = S3Source(self._client, name, self._key(name))
        try:
            yield source
        finally:
            source.close()

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`); its content was not read.
            Unavailable: the store failed or refused, or its answer cannot be used.
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        return s3_reading.read_whole(self._client, name, self._key(name), limit)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Raises:
            Unavailable: the store failed or refused, at any point of the iteration.
        """
        naming.check_prefix(prefix)
        return self._listing.names(prefix, after)

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: as `list`.
        """
        naming.check_prefix(prefix)
        return self._listing.sizes(prefix)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        Raises:
            Unavailable: the store failed or refused.
        """
        naming.check_folder(prefix)
        return self._listing.folders(prefix)

    def delete(self, name: str) -> None:
        """Remove `name`; a name that is not there is not an error.

        In a versioned bucket the name is gone and the version stays until a lifecycle rule removes it.

        Raises:
            Unavailable: the store failed or refused, or the object is locked (`storage-denied`).
        """
        key = self._key(name)
        try:
            found = s3_reading.look_at(self._client, name, key)
        except NotFound:
            return
        except Unavailable as error:
            if error.code != "storage-denied":  # whoever may delete need not be one who may look
                raise
            found = {}
        until = found.get("ObjectLockRetainUntilDate")
        held = found.get("ObjectLockLegalHoldStatus") == "ON"
        if held or (isinstance(until, datetime) and until > datetime.now(UTC)):
            raise Unavailable(
                f"{name} is locked in the bucket {self._client.bucket} "
                + ("by a legal hold." if held else f"until {until:%Y-%m-%d}."),
                code="storage-denied",
                subject=name,
                hint="Wait until the lock has ended, or ask whoever owns the bucket.",
            )
        try:
            self._client.send("delete_object", Key=key)
        except Failed as failure:
            if not failure.is_missing:
                raise unavailable(failure, "delete", name, self._client.bucket) from failure

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed or refused.
        """
        return Stat(size=s3_reading.size_of(self._client, name, self._key(name)))

    def server_time(self) -> int | None:
        """Give the server's time in seconds since 1970, or None where it did not say.

        Raises:
            Unavailable: the store failed or refused.
        """
        return self._listing.server_time()

    def archive_state(self, name: str) -> ArchiveState:
        """Tell whether `name` lies in an archive class, and whether it can be read now.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed or refused.
        """
        return s3_archive.archive_state(self._client, name, self._key(name))

    def request_restore(self, name: str, days: int = 7, tier: str = "Standard") -> ArchiveState:
        """Ask for `name` back from an archive class, readable for so many days; it takes minutes to two days.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed or refused.
            ValueError: `days` or `tier` is not one that S3 knows.
        """
        return s3_archive.request_restore(self._client, name, self._key(name), days=days, tier=tier)

    def set_class(self, name: str, storage_class: str) -> bool:
        """Put `name` into a storage class, such as DEEP_ARCHIVE or STANDARD; tell whether it was in another.

        In a versioned bucket the version before stays until a lifecycle rule removes it.

        Raises:
            NotFound: there is no such name.
            Unavailable: the store failed or refused, or the object must be restored (`storage-archived`).
        """
        return s3_archive.set_class(self._client, name, self._key(name), storage_class=storage_class)

    def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
        """End multipart uploads that began more than `older_than_seconds` before `now`; return how many.

        Raises:
            Unavailable: the store failed or refused.
        """
        return s3_sweeping.sweep(self._client, self._where.prefix, now - older_than_seconds)

    def _key(self, name: str) -> str:
        naming.check_name(name)
        return self._where.prefix + name
