"""One look at a store that is far away: what one operation sees of it, and what of that a cache may keep."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from typing import Any, Final

from vault.core import limits
from vault.errors import NotFound, Refused
from vault.ports import Source, Store
from vault.storage import answers, cached_names
from vault.storage.ahead_answers import LIST, OPEN, READ, Answers, Ask, Key
from vault.storage.ahead_pool import Pool
from vault.storage.ahead_source import KeptSource
from vault.storage.ahead_traces import Traces
from vault.storage.cached import CachedDraft, FolderCache
from vault.storage.memory import MemorySource

NAMES: Final = 10_000  # of one listing that is kept for the look


class Look:
    """One look at a store; what it answers, and not what it expects, belongs to the thread that looks.

    `state` is whatever the operation wants to find again.
    """

    def __init__(
        self, store: Store, cache: FolderCache | None, traces: Traces, pool: Pool | None, key: str
    ) -> None:
        """Expect nothing yet; looks with one key are alike."""
        self.state: Any = None
        self.over = False  # nothing is answered from here any more
        self._store = store
        self._cache = cache
        self._traces = traces
        self._key = key
        self._answers = Answers(store, pool, self._is_cached)
        self._early = False
        self._newest: dict[str, int] = {}  # the highest number that each folder of records was listed with
        self._asked: dict[Key, int] = {}
        self._read: dict[str, bytes] = {}  # what came from the store and may be kept
        self._cached: dict[str, bytes | None] = {}  # what came from the cache; None for a payload
        self._altered: list[str] = []  # what the cache had under the name of other content
        self._drafts: dict[str, CachedDraft] = {}

    @property
    def early(self) -> bool:
        """Whether something was answered from before it was asked for, or from the cache."""
        return self._early or self._answers.early

    @property
    def folder(self) -> str:
        """The folder of the cache, for messages; empty without one."""
        return "" if self._cache is None else str(self._cache.folder)

    @property
    def names_read(self) -> tuple[str, ...]:
        """The objects that were read as a whole."""
        return tuple(name for verb, name, _ in self._asked if verb == READ)

    def recall(self, still: Callable[[Ask], bool]) -> None:
        """Expect what the last look with this key asked for, as far as it `still` will be."""
        self.expect(filter(still, self._traces.get(self._key)))

    def expect(self, asks: Iterable[Ask]) -> None:
        """Begin to fetch what will be asked, unless it is at hand, and go on to what follows from it."""
        if not self.over:
            self._answers.expect(asks)

    def _is_cached(self, ask: Ask) -> bool:
        cache = self._cache
        if cache is None or ask.fresh or ask.verb not in (READ, OPEN):
            return False
        return cached_names.may_be_kept(ask.name) and cache.has(ask.name)

    # --- the verbs ---

    def read(self, name: str, limit: int) -> bytes:
        """Answer a read.

        Raises:
            As `Store.read`.
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        self._asked[READ, name, ""] = limit
        data: bytes = self._answers.ask((READ, name, ""), lambda: self._read_now(name, limit))
        if len(data) > limit:
            raise answers.too_large(name, len(data), limit)
        if self._cache is not None and name not in self._cached and cached_names.may_be_kept(name):
            self._read[name] = data
        return data

    def list(self, verb: str, prefix: str, after: str = "") -> Iterator[str]:
        """Answer a listing.

        Raises:
            As `Store.list`.
        """
        key = (verb, prefix, after)
        self._asked[key] = 0
        yield from self._answers.ask(key, lambda: self._list_now(*key))

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open an object.

        Raises:
            As `Store.open`.
        """
        cache = self._cache if cached_names.may_be_kept(name) else None
        with nullcontext() if cache is None else cache.open(name) as kept:
            if kept is not None:
                self._early, self._cached[name] = True, None
                self._asked[OPEN, name, ""] = kept.size
                yield kept
                return
        data = self._answers.wait((OPEN, name, ""), forget=True)
        with nullcontext(MemorySource(data)) if isinstance(data, bytes) else self._store.open(name) as source:
            self._asked[OPEN, name, ""] = source.size
            draft = None if cache is None or name in self._drafts else cache.draft(name, source.size)
            if draft is None:
                yield source
                return
            try:
                if isinstance(data, bytes):
                    draft.fill(name, data)
                    yield source
                else:
                    yield KeptSource(source, draft)
            finally:
                if draft.whole:
                    draft.rest()
                    self._drafts[name] = draft
                else:
                    draft.discard()

    def _read_now(self, name: str, limit: int) -> bytes:
        cache = self._cache
        if cache is not None and cached_names.may_be_kept(name) and not self._is_newest(name):
            found = cache.get(name, limit)
            by_content = cached_names.is_named_after_content(name)
            if found is not None and by_content and not cached_names.fits_content(name, found):
                cache.drop(name)
                self._altered.append(name)
            elif found is not None:
                self._early, self._cached[name] = True, found
                return found
        return self._store.read(name, limit=limit)

    def _is_newest(self, name: str) -> bool:
        """Tell whether no higher number was listed in the folder of a numbered record."""
        place = cached_names.series(name)
        if place is None:
            return False
        folder, number = place
        if folder not in self._newest:
            found = (cached_names.series(folder + leaf) for leaf in self._answers.listed(folder))
            self._newest[folder] = max((entry[1] for entry in found if entry is not None), default=0)
        return number >= self._newest[folder]

    def _list_now(self, verb: str, prefix: str, after: str) -> Any:
        names = self._store.list(prefix, after=after) if verb == LIST else self._store.list_folders(prefix)
        found = [*islice(names, NAMES + 1)]
        return found if len(found) <= NAMES else chain(found, names)

    def forget(self, name: str) -> None:
        """Answer nothing from before about what was written or removed in the look."""
        self._answers.outdate(name)
        for kept in (self._read, self._cached):
            kept.pop(name, None)

    # --- the end ---

    def keep(self, vouched: Callable[[str], bool]) -> tuple[str, ...]:
        """Note what was asked, and keep in the cache what was verified.

        `vouched` tells that of objects that are not named after their content. Gives what
        the cache had that the store has not, among what did not hold: it is taken out.
        """
        self._traces.put(
            self._key,
            (Ask(verb, name, limit, after=after) for (verb, name, after), limit in self._asked.items()),
        )
        cache = self._cache
        if cache is None:
            return ()
        for name, data in self._read.items():
            if cached_names.is_named_after_content(name):
                verified = cached_names.fits_content(name, data)
            else:
                verified = vouched(name)
            if verified and cache.get(name, len(data)) != data:
                cache.put(name, data)
        for name, draft in self._drafts.items():
            if vouched(name):
                draft.keep()
            else:
                draft.discard()
        self._drafts.clear()

        def doubted(name: str) -> bool:
            return not cached_names.is_named_after_content(name) and not vouched(name)

        found = self.differing(doubted)
        for name in filter(doubted, self._cached):
            cache.drop(name)  # it is what the store holds, and does not count any more
        return found

    def differing(self, doubted: Callable[[str], bool]) -> tuple[str, ...]:
        """Name what came from the cache, is doubted, and is not what the store holds; it is taken out.

        A payload is taken out without comparing, since that would take as long as fetching it.
        """
        cache = self._cache
        found = list(self._altered)
        for name, data in self._cached.items():
            if cache is not None and doubted(name) and (data is None or not self._holds(name, data)):
                cache.drop(name)
                found.append(name)
        return tuple(found)

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self._store.read(name, limit=limits.ENVELOPE_BYTES) == data
        except (NotFound, Refused):
            return False

    def leave(self) -> None:
        """Answer nothing from here any more: what is asked from now on, the store is asked."""
        self.over = True
        self._answers.close()

    def close(self) -> None:
        """Let go of everything."""
        self.leave()
        for draft in self._drafts.values():
            draft.discard()
        self._drafts.clear()
