"""Keep environments in stores of their own: one vault over a main store and one for each such environment.

Which name lies where: `apart_names`. By itself each environment's store is a vault
that a loader of that environment opens like any other: it has copies of the trust
documents, of the versions that were brought there, and whatever is of that
environment alone. So a loader needs credentials for that one store only.

Every name has one store that decides who was first to create it: the
environment's for what is of the environment, the main store for everything else.
Copies follow the original; where one is missing, it is made before anything is
written that relies on it. Nothing that is copied is believed here: readers verify.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from vault.core.names import Environment
from vault.errors import Conflict, NotFound, Unavailable
from vault.ports import ListsSizes, Sink, Source, Stat, Store
from vault.storage import answers, apart_copies, apart_trust, naming
from vault.storage.apart_names import ACCESS, OWN, TRUST, VERSION, Place, is_settled, names_policy, place_of

_MANIFEST: Final = "manifest.json"

_T = TypeVar("_T")


class ApartStore:
    """A main store and the stores of environments that are kept apart from it, as one store.

    What is planted in a store under a name that does not belong there is not seen.
    """

    def __init__(self, main: Store, apart: Mapping[Environment, Store]) -> None:
        """Use `apart[environment]` for that environment, and `main` for everything else.

        Raises:
            ValueError: no environment is given, or two of the stores are one.
        """
        places = [main.location, *(store.location for store in apart.values())]
        if not apart or (len(set(places)) < len(places) and "memory:" not in places):
            raise ValueError("Each environment that is kept apart has a store of its own.")
        self._main = main
        self._apart = dict(apart)
        self._all = (main, *self._apart.values())

    @property
    def location(self) -> str:
        """The location of the main store, by which the vault is trusted."""
        return self._main.location

    @property
    def main(self) -> Store:
        """The main store."""
        return self._main

    @property
    def apart(self) -> Mapping[Environment, Store]:
        """The stores of the environments that are kept apart."""
        return self._apart

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create `name` where it belongs, then its copies.

        Raises:
            Conflict: the name exists; at entry or at commit. Copies that were missing were made.
            DigestMismatch: it was created, but another store has other bytes under the name of a copy.
            Unavailable: a store failed; or it was created, and a copy could not be made.
        """
        naming.check_name(name)
        place = place_of(name)
        if place.kind == OWN:
            environment = self._environment(place)
            if environment is not None and names_policy(name):
                self.mend(environment)
            with self._own(place).create(name, size=size) as sink:
                yield sink
            return
        self._begin(name, place)
        try:
            with self._main.create(name, size=size) as sink:
                yield sink
        except Conflict:
            if _is_object(self._main, name):
                self._copy(name, place)
            raise
        self._copy(name, place)

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open `name` for reading, the original before a copy.

        Raises:
            NotFound: there is no such name.
            Unavailable: a store failed.
        """
        with ExitStack() as stack:
            yield self._first(name, lambda store: stack.enter_context(store.open(name)))

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`, the original's before a copy's.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`).
            Unavailable: a store failed.
        """
        return self._first(name, lambda store: store.read(name, limit=limit))

    def stat(self, name: str) -> Stat:
        """Return the size of `name`, the original's before a copy's.

        Raises:
            NotFound: there is no such name.
            Unavailable: a store failed.
        """
        return self._first(name, lambda store: store.stat(name))

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Raises:
            Unavailable: a store failed, at any point of the iteration.
        """
        naming.check_prefix(prefix)
        return _once(heapq.merge(*(self._names(store, prefix, after) for store in self._candidates(prefix))))

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: a store failed, at any point of the iteration.
        """
        naming.check_prefix(prefix)
        sized = (self._sized(store, prefix) for store in self._candidates(prefix))
        last = ""
        for name, size in heapq.merge(*sized, key=lambda entry: entry[0]):
            if name != last:
                yield name, size
            last = name

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        A folder of the vault's layout is told where a store has one, whatever lies in it.

        Raises:
            Unavailable: a store failed.
        """
        naming.check_folder(prefix)
        return _once(heapq.merge(*(self._parts(store, prefix) for store in self._candidates(prefix))))

    def delete(self, name: str) -> None:
        """Remove `name` and its copies, these first; a name that is not there is not an error.

        Raises:
            Unavailable: a store failed or refused.
        """
        naming.check_name(name)
        for store in reversed(self._readers(place_of(name))):
            store.delete(name)

    # --- copies ---

    def mend(self, environment: Environment) -> tuple[str, ...]:
        """Copy the trust documents that an environment's store lacks; give their names.

        Raises:
            DigestMismatch: that store has another document in the place of one, or is another vault's.
            Unavailable: a store failed.
        """
        return apart_trust.mend(self._main, self._apart[environment], self._apart)

    def holds(self, environment: Environment, version: str) -> bool:
        """Tell whether a version, given as its folder, was brought to an environment's store.

        Raises:
            Unavailable: the store failed.
        """
        return _has(self._apart[environment], f"{version}{_MANIFEST}")

    def _begin(self, name: str, place: Place) -> None:
        """Look before something is created in the main store that others have copies of.

        A name that only a copy's store has would come to mean another object. Before a manifest that is
        published straight into an environment with a store of its own, the rest of the version goes there.

        Raises:
            Conflict, DigestMismatch, Unavailable.
        """
        if place.kind not in {TRUST, VERSION}:
            return
        if not _has(self._main, name) and any(_has(store, name) for store in self._apart.values()):
            raise answers.conflict(name)
        if place.version is not None and name == f"{place.version}{_MANIFEST}":
            for store in self._apart.values():
                if _is_begun(store, place.version):
                    for other in self._names(self._main, place.version, ""):
                        apart_copies.copy(other, self._main, store)

    def _copy(self, name: str, place: Place) -> None:
        """Copy what lies in the main store to wherever it belongs besides."""
        for environment, store in self._apart.items():
            try:
                if place.kind == TRUST:
                    apart_trust.copy(name, self._main, store, self._apart)
                elif place.version is not None and self._wants(environment, place.version, name):
                    apart_copies.copy(name, self._main, store)
            except Unavailable as error:
                raise Unavailable(
                    f"{name} is in {self._main.location}, and was not copied to {store.location}: "
                    f"{error.message}",
                    code=error.code,
                    subject=name,
                    hint=f"Try again. Until then {environment} goes by what its store had before.",
                ) from error

    def _wants(self, environment: Environment, version: str, name: str) -> bool:
        if name == f"{version}{_MANIFEST}":
            return _is_begun(self._apart[environment], version)
        return self.holds(environment, version)

    # --- places ---

    def _environment(self, place: Place) -> Environment | None:
        return next((name for name in self._apart if name == place.environment), None)

    def _own(self, place: Place) -> Store:
        environment = self._environment(place)
        return self._main if environment is None else self._apart[environment]

    def _readers(self, place: Place) -> tuple[Store, ...]:
        """Give the stores in which a name may lie, in the order in which they are asked."""
        if place.kind == OWN:
            return (self._own(place),)
        if place.kind == ACCESS:  # written where its principal is; fewer can write to an environment's store
            return (*self._apart.values(), self._main)
        return self._all if place.kind in {TRUST, VERSION} else (self._main,)

    def _candidates(self, prefix: str) -> tuple[Store, ...]:
        """Give the stores that may have names under a prefix."""
        folder = prefix[: prefix.rfind("/") + 1]
        return self._readers(place_of(folder)) if is_settled(folder) else self._all

    def _first(self, name: str, ask: Callable[[Store], _T]) -> _T:
        """Ask the stores in which a name may lie until one has it."""
        naming.check_name(name)
        *others, last = self._readers(place_of(name))
        for store in others:
            try:
                return ask(store)
            except NotFound:
                continue
        return ask(last)

    def _names(self, store: Store, prefix: str, after: str) -> Iterator[str]:
        """List what lies in a store under names that belong there."""
        for name in store.list(prefix, after=after):
            if store in self._readers(place_of(name)):
                yield name

    def _sized(self, store: Store, prefix: str) -> Iterator[tuple[str, int]]:
        if not isinstance(store, ListsSizes):
            yield from ((name, store.stat(name).size) for name in self._names(store, prefix, ""))
            return
        for name, size in store.list_sizes(prefix):
            if store in self._readers(place_of(name)):
                yield name, size

    def _parts(self, store: Store, prefix: str) -> Iterator[str]:
        for part in store.list_folders(prefix):
            name = prefix + part
            if store in (self._candidates(name) if part.endswith("/") else self._readers(place_of(name))):
                yield part


def _has(store: Store, name: str) -> bool:
    try:
        store.stat(name)
    except NotFound:
        return False
    return True


def _is_object(store: Store, name: str) -> bool:
    """Tell whether a name that is taken is an object's: in a folder it may be a folder's."""
    try:
        return _has(store, name)
    except Unavailable:
        return False


def _is_begun(store: Store, version: str) -> bool:
    """Tell whether keys of a version lie in an environment's store."""
    return next(iter(store.list_folders(f"{version}keys/")), None) is not None


def _once(names: Iterator[str]) -> Iterator[str]:
    last = ""
    for name in names:
        if name != last:
            yield name
        last = name
