"""List names of S3 in code-point order, also where a server lists folder by folder.

Amazon S3 lists keys in the order of their UTF-8 bytes. SeaweedFS orders the
names of each folder by themselves (`a/x` before `a-b`, because `a` < `a-b`),
and the directory buckets of S3 Express have no order at all: there a folder is
listed whole if it fits one page, and else level by level.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from vault.core import limits
from vault.errors import Unavailable
from vault.storage import naming
from vault.storage.s3_client import WITH_SIZES, Client
from vault.storage.s3_errors import Failed, distrusted, unavailable

_PAGE: Final = 1_000  # the most that S3 gives
_EMPTY_PAGES: Final = 10_000
_BEFORE_SLASH: Final = frozenset("!\"#$%&'()*+,-.")


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a listing; names are without the vault's own prefix, folders end in `/`."""

    names: list[str]
    sizes: list[object]  # of the names, as the server tells them
    folders: list[str]
    last: bool


class Listing:
    """The names in one bucket below the vault's prefix; remembers how its server orders them."""

    def __init__(self, client: Client) -> None:
        """List through `client`."""
        self._client = client
        self._base = client.location.prefix
        chosen = client.location.listing
        self._unsorted = client.bucket.endswith("--x-s3")  # a directory bucket
        self._by_folder = chosen == "folders" or (not chosen and self._unsorted)
        self._detect = not chosen

    def names(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Raises:
            Unavailable: the store failed, refused, or lists in no order.
        """
        if not self._by_folder:
            for page in self._pages(prefix, after=after):
                if self._by_folder:
                    break  # nothing was yielded yet: its server tells with the first page
                yield from (name for name in page.names if name > after and naming.is_name(name))
            else:
                return
        yield from self._walk(prefix, after)

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, with their sizes in bytes.

        Of a server that lists folder by folder all are fetched, and sorted here.

        Raises:
            Unavailable: the store failed, refused, or lists in no order; or it orders by folders, and has
                more than `limits.LISTED_NAMES` there.
        """
        if not self._by_folder:
            for page in self._pages(prefix, sized=True):
                if self._by_folder:
                    break
                yield from self._sized(page)
            else:
                return
        found: dict[str, int] = {}
        for page in self._pages(prefix, ordered=False, sized=True):
            found.update(self._sized(page))
            if len(found) > limits.LISTED_NAMES:
                raise Unavailable(
                    f"{prefix or 'The store'} has more than {limits.LISTED_NAMES} names.",
                    subject=prefix,
                    hint="Somebody may be flooding it: look at what is there.",
                )
        yield from sorted(found.items())

    def _sized(self, page: _Page) -> Iterator[tuple[str, int]]:
        for name, size in zip(page.names, page.sizes, strict=True):
            if naming.is_name(name):
                if not isinstance(size, int) or size < 0:
                    raise distrusted(name, self._client.bucket, "it lists a name without a size")
                yield name, size

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield, in order and once each, the next path part of the names under the folder `prefix`.

        Raises:
            Unavailable: the store failed, refused, or has more than `limits.LISTED_NAMES` there.
        """
        level = self._whole_level(prefix)
        if level is None:
            level = self._level(prefix, "")
            whole = self._whole_level(prefix) if self._detect else None  # only now it is known to be possible
            level = level if whole is None else whole
        for entry in level:
            if naming.is_name(entry.removesuffix("/")):
                yield entry[len(prefix) :]

    def server_time(self) -> int | None:
        """Give the time in the header of an answer, in seconds since 1970 (RFC 9110, "Date").

        Raises:
            Unavailable: the store failed or refused.
        """
        headers = self._ask({"Prefix": self._base}, 1)["ResponseMetadata"].get("HTTPHeaders", {})
        try:
            return int(parsedate_to_datetime(str(headers.get("date", ""))).timestamp())
        except (ValueError, OverflowError):
            return None

    def _walk(self, prefix: str, after: str) -> Iterator[str]:
        """List folder by folder, sorting each."""
        ahead = [(prefix, False)]
        while ahead:
            entry, is_object = ahead.pop()
            if is_object:
                if entry > after and naming.is_name(entry):
                    yield entry
                continue
            first = next(self._pages(entry, ordered=False))
            if first.last:
                yield from sorted(name for name in first.names if name > after and naming.is_name(name))
                continue
            ahead += [
                (below, not below.endswith("/"))
                for below in reversed(self._level(entry, after))
                if below > after or (below.endswith("/") and after.startswith(below))
            ]

    def _whole_level(self, prefix: str) -> list[str] | None:
        """Give a folder's level from the names below it, if they fit one page and the server goes by folder.

        Such a server may go on to list a folder whose names were all deleted.
        """
        if not self._by_folder:
            return None
        first = next(self._pages(prefix, ordered=False))
        if not first.last:
            return None
        parts = (name[len(prefix) :].partition("/") for name in first.names if naming.is_name(name))
        return sorted({prefix + part + slash for part, slash, _ in parts})

    def _level(self, prefix: str, after: str) -> list[str]:
        """Give the names and folders that start with `prefix` up to the next `/`, sorted.

        What sorts before `after` may be missing.
        """
        found: set[str] = set()
        start = ""
        part = after[len(prefix) :].partition("/")[0] if after.startswith(prefix) else ""
        if part and not self._unsorted:
            start = prefix + part
            # The server goes on after the bare name; folders whose own name is earlier but that sort later.
            shorter = [part[:size] for size in range(1, len(part)) if part[size] in _BEFORE_SLASH]
            for name in (*shorter, part):
                if next(self._pages(f"{prefix}{name}/", most=1, ordered=False)).names:
                    found.add(f"{prefix}{name}/")
        for page in self._pages(prefix, after=start, delimiter="/", ordered=False):
            found.update(page.names, page.folders)
            if len(found) > limits.LISTED_NAMES:
                raise Unavailable(
                    f"The folder {prefix or 'of the store'} holds more than {limits.LISTED_NAMES} entries.",
                    subject=prefix,
                    hint="Somebody may be flooding it: look at what is there.",
                )
        return sorted(name for name in found if name != prefix or not name.endswith("/"))

    def _pages(
        self,
        prefix: str,
        *,
        after: str = "",
        delimiter: str = "",
        most: int = 0,
        ordered: bool = True,
        sized: bool = False,
    ) -> Iterator[_Page]:
        """Ask for page after page; every name is one that was asked for, and in order if it must be."""
        asked = {
            "Prefix": self._base + prefix,
            "StartAfter": self._base + after if after else "",
            "Delimiter": delimiter,
        }
        token, previous, empty = "", "", 0
        while True:
            wanted = WITH_SIZES.set(sized)
            try:
                answer = self._ask({**asked, "ContinuationToken": token}, most or _PAGE)
            finally:
                WITH_SIZES.reset(wanted)
            page = self._parse(answer, prefix)
            if ordered and not self._by_folder:
                previous = self._check_order(page.names, previous)
            yield page
            if page.last:
                return
            empty = 0 if page.names or page.folders else empty + 1
            following = str(answer.get("NextContinuationToken", ""))
            if following in {"", token} or empty > _EMPTY_PAGES:
                raise distrusted(prefix, self._client.bucket, "its pages do not come to an end")
            token = following

    def _ask(self, parameters: dict[str, str], most: int) -> dict[str, Any]:
        given = {name: value for name, value in parameters.items() if value}
        try:
            return self._client.send("list_objects_v2", MaxKeys=most, **given)
        except Failed as failure:
            raise unavailable(failure, "list", parameters["Prefix"], self._client.bucket) from failure

    def _parse(self, answer: dict[str, Any], prefix: str) -> _Page:
        asked = self._base + prefix
        names = [str(entry.get("Key", "")) for entry in answer.get("Contents", [])]
        folders = [str(entry.get("Prefix", "")) for entry in answer.get("CommonPrefixes", [])]
        if "IsTruncated" not in answer:  # an empty page would otherwise pass for an empty bucket
            raise distrusted(prefix, self._client.bucket, "it is no listing")
        if not all(name.startswith(asked) for name in (*names, *folders)):
            raise distrusted(prefix, self._client.bucket, "it lists names that were not asked for")
        server = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("server", "")
        if self._detect and "seaweedfs" in str(server).lower():
            self._by_folder = True
        base = len(self._base)
        return _Page(
            [name[base:] for name in names],
            [entry.get("Size") for entry in answer.get("Contents", [])],
            [folder[base:] for folder in folders],
            not answer["IsTruncated"],
        )

    def _check_order(self, names: list[str], previous: str) -> str:
        for name in names:
            if name < previous:
                raise Unavailable(
                    f"The store of the bucket {self._client.bucket} lists its names out of order.",
                    subject=name,
                    hint="Add listing=folders to the location: then it is asked folder by folder.",
                )
            previous = name
        return previous
