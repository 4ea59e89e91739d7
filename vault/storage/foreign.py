"""Read buckets that are no vault: their objects may be called anything, and nothing is ever written there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from vault.core import limits
from vault.errors import Unavailable
from vault.ports import Source
from vault.storage import answers, s3_location, s3_reading
from vault.storage.object_store import HEAD, ObjectService, ObjectStore
from vault.storage.part_reader import PartReader
from vault.storage.s3_client import Client, check_library
from vault.storage.s3_errors import Failed, distrusted, unavailable
from vault.storage.s3_reading import S3Source

SCHEMES: Final = ("s3", "gs", "az")
_PAGE: Final = 1_000
_EMPTY_PAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a bucket tells of an object: bytes, seconds since 1970 if it says when, and a mark of its content.

    The mark changes when the object is replaced; it is no digest.
    """

    size: int
    modified: int | None
    mark: str


class Bucket(Protocol):
    """The objects below one prefix of a bucket; keys are relative to it, and may be any text."""

    @property
    def location(self) -> str:
        """Its URL; no secret can stand in it."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in any order; markers of empty folders are left out.

        Raises:
            Unavailable: the store failed or refused, at any point of the iteration.
        """

    def look(self, key: str) -> ObjectFacts:
        """Tell what is known of an object.

        Raises:
            NotFound, Unavailable.
        """

    def open(self, key: str) -> Any:
        """Open an object as a `Source`, in a `with` block: what replaced it meanwhile is not read.

        Raises:
            NotFound, Unavailable.
        """


def open_bucket(url: str) -> Bucket:
    """Open the bucket at an `s3://`, `gs://` or `az://` URL, written as that of a vault there.

    Nothing is asked of it yet.

    Raises:
        ValueError: it is no such URL.
        MissingLibrary: the library for this kind of storage is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "s3":
        location = s3_location.parse(url)
        check_library()
        return _S3Bucket(Client(location))
    if scheme == "gs":
        from vault.storage.gcs import open_gcs

        return _ServiceBucket(open_gcs(url))
    if scheme == "az":
        from vault.storage.azure import open_azure

        return _ServiceBucket(open_azure(url))
    raise ValueError(f"{url[:80]!r} is no bucket: write s3://, gs:// or az://.")


class _S3Bucket:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._base = client.location.prefix

    @property
    def location(self) -> str:
        return self._client.location.url

    def keys(self, prefix: str) -> Iterator[str]:
        token, empty = "", 0
        while True:
            more = {"ContinuationToken": token} if token else {}
            try:
                answer = self._client.send(
                    "list_objects_v2", Prefix=self._base + prefix, MaxKeys=_PAGE, **more
                )
            except Failed as failure:
                raise unavailable(failure, "list", prefix, self._client.bucket) from failure
            found = [str(entry.get("Key", "")) for entry in answer.get("Contents", [])]
            if "IsTruncated" not in answer or not all(key.startswith(self._base + prefix) for key in found):
                raise distrusted(prefix, self._client.bucket, "it is no listing of what was asked for")
            yield from (key[len(self._base) :] for key in found if not key.endswith("/"))
            following = str(answer.get("NextContinuationToken", ""))
            empty = 0 if found else empty + 1
            if not answer["IsTruncated"]:
                return
            if following in {"", token} or empty > _EMPTY_PAGES:
                raise distrusted(prefix, self._client.bucket, "its pages do not come to an end")
            token = following

    def look(self, key: str) -> ObjectFacts:
        told = s3_reading.look_at(self._client, key, self._base + key)
        size, modified = told.get("ContentLength"), told.get("LastModified")
        if not isinstance(size, int) or size < 0:
            raise distrusted(key, self._client.bucket, "it does not say how long the object is")
        seconds = int(modified.timestamp()) if isinstance(modified, datetime) else None
        return ObjectFacts(size, seconds, str(told.get("ETag", ""))[: limits.PATH_CHARS])

    @contextmanager
    def open(self, key: str) -> Iterator[Source]:
        source = S3Source(self._client, key, self._base + key)
        try:
            yield source
        finally:
            source.close()


class _ServiceBucket:
    """A bucket of a service that `object_store` speaks to; those tell no time that it would pass on."""

    def __init__(self, store: ObjectStore) -> None:
        self._location = store.location
        self._service: ObjectService = store.service
        self._base = store.prefix

    @property
    def location(self) -> str:
        return self._location

    def keys(self, prefix: str) -> Iterator[str]:
        asked, empty = self._base + prefix, 0
        for page in self._service.pages(asked, ""):
            empty = 0 if page else empty + 1
            if empty > _EMPTY_PAGES or not all(path.startswith(asked) for path in page):
                raise Unavailable(f"The service behind {self._location} lists what was not asked for.")
            yield from (path[len(self._base) :] for path in page if not path.endswith("/"))

    def look(self, key: str) -> ObjectFacts:
        found = self._service.look(key, self._base + key)
        if found is None:
            raise answers.not_found(key)
        return ObjectFacts(found.size, None, found.version)

    @contextmanager
    def open(self, key: str) -> Iterator[Source]:
        path = self._base + key
        found, head = self._service.head(key, path, HEAD)
        first = memoryview(head)

        def fetch(offset: int, buffer: memoryview) -> None:
            held = first[offset : offset + len(buffer)]
            if len(held) == len(buffer):
                buffer[:] = held
            else:
                self._service.fetch(key, path, found.version, offset, buffer)

        source = PartReader(fetch, found.size, part=self._service.part)
        try:
            yield source
        finally:
            source.close()
