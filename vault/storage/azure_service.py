"""The requests that a store sends to a container of Azure Blob Storage.

The REST API: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from azure.core import MatchConditions

from vault.core import limits
from vault.errors import Unavailable
from vault.storage import answers, azure_upload, capped_http
from vault.storage.azure_address import AzureAddress
from vault.storage.azure_session import IN_ONE_REQUEST, MISSING, AzureAnswer, AzureSession
from vault.storage.object_store import HEAD, Found

_T = TypeVar("_T")

_PAGE: Final = 5_000
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})\Z", re.ASCII)


class AzureService:
    """One container; what the requests mean is said by `object_store.ObjectService`."""

    part = 8 * limits.MIB

    def __init__(self, address: AzureAddress) -> None:
        """Send requests to the account and container of `address`."""
        self._address = address
        self._session = AzureSession(address)
        self._is_flat = False

    @property
    def date(self) -> str | None:
        """The date that the last answer bore."""
        return self._session.adapter.date

    def look(self, name: str, path: str) -> Found | None:
        """Ask for a blob's properties."""
        try:
            return self._session.call(
                "look at", name, lambda: _described(self._blob(path).get_blob_properties())
            )
        except AzureAnswer as answer:
            self._if_missing(answer)
            return None

    def head(self, name: str, path: str, count: int, *, most: int | None = None) -> tuple[Found, bytes]:
        """Ask for a blob's first bytes, and then for the rest of those that are wanted."""
        # Of an empty blob Azurite makes up a first byte where no second one is asked for.
        first = memoryview(bytearray(max(2, min(count, HEAD))))

        def request() -> tuple[Found, int]:
            with self._session.adapter.filling(first) as filled:
                self._blob(path).download_blob(offset=0, length=len(first))
            return _announced(filled, 0), filled.count

        try:
            found, came = self._session.call("read", name, request)
        except AzureAnswer as answer:
            if answer.status != 416:  # there is no first byte of an empty blob
                self._if_missing(answer)
                raise answers.not_found(name) from answer
            return self._empty(name, path), b""
        if most is not None and found.size > most:
            raise answers.too_large(name, found.size, most)
        wanted = min(count, found.size)
        if came >= wanted:
            return found, bytes(first[:wanted])
        if came != len(first):
            raise self._bad(name, "sends fewer bytes than there are")
        data = bytearray(wanted)
        data[:came] = first
        for start in range(came, wanted, self.part):
            self.fetch(name, path, found.version, start, memoryview(data)[start : start + self.part])
        return found, bytes(data)

    def _empty(self, name: str, path: str) -> Found:
        described = self.look(name, path)
        if described is None:
            raise answers.not_found(name)
        if described.size:
            raise self._bad(name, "says that it has bytes, and does not send the first")
        return described

    def fetch(self, name: str, path: str, version: str, offset: int, buffer: memoryview) -> None:
        """Ask for a range of the blob that had this ETag."""
        for start in range(0, len(buffer), IN_ONE_REQUEST):
            self._fetch(name, path, version, offset + start, buffer[start : start + IN_ONE_REQUEST])

    def _fetch(self, name: str, path: str, version: str, offset: int, buffer: memoryview) -> None:
        def request() -> None:
            with self._session.adapter.filling(buffer) as filled:
                self._blob(path).download_blob(
                    offset=offset,
                    length=len(buffer),
                    etag=version,
                    match_condition=MatchConditions.IfNotModified,
                )
            if _announced(filled, offset).version != version or filled.count != len(buffer):
                raise capped_http.BadAnswerError("the answer has other bytes than were asked for")

        try:
            self._session.call("read", name, request)
        except AzureAnswer as answer:
            if answer.status == 412 or answer.reason in MISSING:
                raise Unavailable(
                    f"{name} was deleted while it was read.", subject=name, hint="Open it again."
                ) from answer
            raise

    def upload(self, name: str, path: str, mark: str, size: int | None) -> azure_upload.Upload:
        """Prepare an upload; nothing is sent for an object that fits one part before it is committed."""
        self._see_that_it_is_flat(name)
        return azure_upload.Upload(self._session, name, path, mark)

    def _see_that_it_is_flat(self, name: str) -> None:
        """Refuse to write where folders are objects too, which come in no order of names.

        Raises:
            Unavailable: the account has a hierarchical namespace, or the service failed.
        """
        if self._is_flat:
            return

        def request() -> bool:
            return not self._session.container.get_account_information().get("is_hns_enabled")

        try:
            self._is_flat = self._session.call("look at the account of", name, request)
        except AzureAnswer:
            self._is_flat = True  # an emulator that does not know the question
        except Unavailable as failure:
            if failure.code != "storage-denied":  # whoever may not ask may still write
                raise
            self._is_flat = True
        if not self._is_flat:
            raise Unavailable(
                f"The storage account {self._address.account} has a hierarchical namespace.",
                subject=name,
                hint="A vault needs one without: its listings must be in the order of names.",
            )

    def pages(self, prefix: str, after: str) -> Iterator[list[str]]:
        """List paths from the first of `prefix` on: there is no dependable way to begin elsewhere."""
        return self._pages(prefix, "list_blob_names", {}, _name)

    def sized_pages(self, prefix: str) -> Iterator[list[tuple[str, int]]]:
        """List paths with their sizes."""
        return self._pages(prefix, "list_blobs", {}, _sized)

    def folder_pages(self, prefix: str) -> Iterator[list[str]]:
        """List what lies directly below a folder."""
        return self._pages(prefix, "walk_blobs", {"delimiter": "/"}, _name)

    def _pages(
        self, prefix: str, verb: str, options: dict[str, str], read: Callable[[Any], _T]
    ) -> Iterator[list[_T]]:
        def begin() -> Any:
            found = getattr(self._session.container, verb)(
                name_starts_with=prefix or None, results_per_page=_PAGE, **options
            )
            return iter(found.by_page())

        def request() -> list[_T] | None:
            page = next(pages, None)
            if page is None:
                return None
            if pages.container != self._address.container:
                raise capped_http.BadAnswerError("the answer is no listing of this container")
            return [read(item) for item in page]

        pages = self._session.call("list", prefix, begin)
        while (names := self._session.call("list", prefix, request)) is not None:
            yield names

    def delete(self, name: str, path: str, version: str = "") -> None:
        """Delete a blob, or only one that still has this ETag."""
        condition = {"etag": version, "match_condition": MatchConditions.IfNotModified} if version else {}
        try:
            self._session.call("delete", name, lambda: self._blob(path).delete_blob(**condition))
        except AzureAnswer as answer:
            if not (version and answer.status == 412):
                self._if_missing(answer)

    def _blob(self, path: str) -> Any:
        return self._session.container.get_blob_client(path)

    def _if_missing(self, answer: AzureAnswer) -> None:
        """Return if an answer says that there is no such blob.

        Raises:
            Unavailable: it says something else.
        """
        if answer.status != 404:
            raise answer

    def _bad(self, name: str, what: str) -> Unavailable:
        return Unavailable(
            f"Could not read {name}: the service {what}.",
            subject=name,
            hint=f"Look at what listens at {self._address.endpoint}.",
        )


def _described(properties: Any) -> Found:
    """Read the properties of a blob.

    Raises:
        BadAnswerError: it has no size or ETag.
    """
    size, etag = properties.size, properties.etag
    if not isinstance(size, int) or not isinstance(etag, str) or not 0 <= size <= limits.FILE_BYTES:
        raise capped_http.BadAnswerError("the answer is no description of a blob")
    marks = properties.metadata if isinstance(properties.metadata, dict) else {}
    return Found(size, etag, str(marks.get(azure_upload.MARK, "")))


def _announced(filled: capped_http.Filled, offset: int) -> Found:
    """Read what an answer with bytes from `offset` says of them and of the whole blob.

    Raises:
        BadAnswerError: it says that it has other bytes.
    """
    told = _CONTENT_RANGE.match(filled.headers.get("Content-Range", ""))
    etag = filled.headers.get("ETag")
    if told is None or not etag:
        raise capped_http.BadAnswerError("the answer does not say which bytes it has")
    first, last, size = (int(part) for part in told.groups())
    if first != offset or last - first + 1 != filled.count or not last < size <= limits.FILE_BYTES:
        raise capped_http.BadAnswerError("the answer has other bytes than it says")
    return Found(size, etag)


def _name(item: Any) -> str:
    return _text(getattr(item, "name", item))


def _sized(item: Any) -> tuple[str, int]:
    size = getattr(item, "size", None)
    if not isinstance(size, int) or size < 0:
        raise capped_http.BadAnswerError("a listing has a name without a size")
    return _name(item), size


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise capped_http.BadAnswerError("a listing has something else than names")
    return value
