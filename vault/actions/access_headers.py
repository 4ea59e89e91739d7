"""Wrap file keys to an environment's newest epoch: every version that was given to the environment."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final, Generic, TypeVar

from vault.actions import checking, keyring, objects, resolving
from vault.actions.reading import find_sealing
from vault.actions.session import Session
from vault.core import layout, memory_format
from vault.core.names import Model, Version
from vault.core.policy import EnvironmentRule
from vault.core.stages import Resolved, Sealed, Target, Verified
from vault.core.trust import Skipped
from vault.errors import NotFound, NoUsableKey, Refused, Rollback, Unavailable
from vault.ports import CreatesTogether, is_far

THREADS: Final = 8
_TOGETHER: Final = 128  # versions whose headers are made durable at once
_PATIENCE: Final = 8  # so many versions may be unreadable before the store itself is taken to be

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """A version for which keys of an environment lie in storage; nothing about it is verified yet.

    `headers` counts the payloads with a header under an older epoch and none
    under the newest, by their names; `files` all that have one. `listed` are the
    names of the headers by epoch, as the store listed them.
    """

    model: Model
    version: Version
    headers: int
    files: int
    listed: Mapping[int, Sequence[str]]

    @property
    def subject(self) -> str:
        """The version as messages name it."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What became of one version: headers written, headers that were there, and what was wrong.

    `skipped` says why a version is a stranger's, and no version at all.
    """

    place: Place
    written: int
    already: int
    problems: tuple[Skipped, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def places(session: Session, rule: EnvironmentRule) -> Iterator[Place]:
    """List the versions that have keys for an environment, in any of its epochs, by names alone.

    Raises:
        Unavailable: the store failed.
    """
    folders = {f"{rule.name}-{epoch.number}/": epoch.number for epoch in rule.epochs}
    newest = keyring.newest_epoch(rule)
    for model in checking.models(session):
        for version in resolving.version_names(session, model):
            base = layout.version_keys(model, version)
            here = [name for name in session.store.list_folders(base) if name in folders]
            listed = {folders[name]: [*session.store.list_folders(base + name)] for name in here}
            old: set[str] = set()
            new: set[str] = set()
            for number, leaves in listed.items():
                told = (layout.parse_header(leaf) for leaf in leaves)
                (new if number == newest else old).update(name for name in told if name is not None)
            if here:
                yield Place(model, version, len(old - new), len(old | new), listed)


def seal_of(session: Session, resolved: Resolved, place: Place) -> Sealed | Rewrapped:
    """Verify a version's manifest and find its sealing record; nothing is decrypted. Or say what is wrong.

    What has no manifest that verifies is a stranger's, unless this client has seen the version.

    Raises:
        Rollback: the store offers another version, or an older policy, than was seen.
        Unavailable: the store failed.
    """
    authorised = resolving.anybody(resolved, place.model)
    target = Target(place.version, None, None, open=False)
    verified: Verified | None = None
    try:
        data = resolving.read_manifest(session, place.model, place.version)
        verified = resolving.verify(session, authorised, target, data)
        return find_sealing(session, verified)
    except Rollback:
        raise
    except (Refused, NotFound) as error:
        reason = (Skipped(place.subject, error.message, error.code),)
        seen = memory_format.version_key(place.model, place.version) in resolved.remembered.versions
        if verified is None and not seen:
            return Rewrapped(place, 0, 0, skipped=reason)
        return Rewrapped(place, 0, 0, problems=reason)


def rewrap(
    session: Session, resolved: Resolved, todo: Iterator[Place], threads: int
) -> Iterator["Done[Rewrapped]"]:
    """Wrap versions' file keys to the newest epoch, those that are not there yet; say what became of each.

    A store at hand that creates objects together is served by one thread: there is no answer to wait for,
    and more of them would only fight for the interpreter.

    Raises:
        Unavailable: the store is full, or failed again and again.
    """
    if not isinstance(session.store, CreatesTogether):
        return each(todo, partial(_rewrap_one, session, resolved), threads=threads)
    threads = threads if is_far(session.store) else 1
    return _in_batches(session, each(todo, partial(_wrapped, session, resolved), threads=threads))


def _rewrap_one(session: Session, resolved: Resolved, place: Place) -> Rewrapped:
    wrapped = _wrapped(session, resolved, place)
    objects.create_all(session.store, wrapped.headers)
    return wrapped.told


def _in_batches(session: Session, found: Iterator["Done[_Wrapped]"]) -> Iterator["Done[Rewrapped]"]:
    ahead: deque[list[Done[_Wrapped]]] = deque()

    def headers() -> Iterator[Mapping[str, bytes]]:
        while batch := list(islice(found, _TOGETHER)):
            ahead.append(batch)
            done = [entry.result for entry in batch if entry.result is not None]
            yield {name: data for one in done for name, data in one.headers.items()}

    for _ in objects.create_stream(session.store, headers()):
        for entry in ahead.popleft():
            told = None if entry.result is None else entry.result.told
            yield Done(entry.place, told, entry.failure)


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A version's new headers, name → bytes, and what there is to tell of it once they are stored."""

    told: Rewrapped
    headers: Mapping[str, bytes]


def _wrapped(session: Session, resolved: Resolved, place: Place) -> _Wrapped:
    """Wrap one version's file keys that have no header for the newest epoch yet.

    A header counts as there when it opens and yields the key that was signed
    for; to who does not hold the newest key, when it is named after its content.

    Raises:
        Unavailable: the store failed.
    """
    rule = resolved.rule
    newest = replace(rule, epochs=rule.epochs[-1:])
    older = replace(rule, epochs=rule.epochs[:-1])
    sealed = seal_of(session, resolved, place)
    if isinstance(sealed, Rewrapped):
        return _Wrapped(sealed, {})
    record = sealed.sealing
    there = keyring.search_file_keys(session, record, newest, record.files, place.listed)
    have = there.seen if isinstance(there.locked, NoUsableKey) else frozenset(there.found)
    lacking = [file for file in record.files if file.file_id not in have]
    search = keyring.search_file_keys(session, record, older, lacking, place.listed)
    problems = []
    headers = []
    for file in lacking:
        key = search.found.get(file.file_id)
        if key is None:
            reason = search.locked or keyring.missing_key(search, record, rule, file)
            problems.append(Skipped(f"{place.subject} {file.path}", reason.message, reason.code))
            continue
        headers.append(keyring.header_for(session, place.model, place.version, file.file_id, key, rule))
    return _Wrapped(Rewrapped(place, len(headers), len(have), tuple(problems)), dict(headers))


@dataclass(frozen=True, slots=True)
class Done(Generic[_T]):
    """What came of one place: a result, or the store's failure."""

    place: Place
    result: _T | None
    failure: Unavailable | None


def each(todo: Iterator[Place], act: Callable[[Place], _T], *, threads: int = THREADS) -> Iterator[Done[_T]]:
    """Act on places by several threads; give what came of each as it is done, in the caller's thread.

    Few places are begun ahead, so that memory does not grow with their number.
    One that the store does not give is not the end of the others, unless the
    disk is full or it is the rule.

    Raises:
        Unavailable: the store is full, or failed again and again.
        Exception: whatever else `act` raises; what was begun has then ended.
    """
    failed = 0
    for done in _completed(todo, act, threads):
        if done.failure is not None:
            failed += 1
            if failed == _PATIENCE or done.failure.code == "storage-full":
                raise done.failure
        yield done


def _completed(todo: Iterator[Place], act: Callable[[Place], _T], threads: int) -> Iterator[Done[_T]]:
    if threads == 1:
        for place in todo:
            yield _attempt(act, place)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="access") as pool:
        running: set[Future[Done[_T]]] = set()
        try:
            while True:
                ahead = islice(todo, 4 * threads - len(running))
                running |= {pool.submit(_attempt, act, place) for place in ahead}
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _attempt(act: Callable[[Place], _T], place: Place) -> Done[_T]:
    try:
        return Done(place, act(place), None)
    except Unavailable as failure:
        return Done(place, None, failure)
