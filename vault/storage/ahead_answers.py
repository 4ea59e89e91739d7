"""What a store will be asked, asked ahead: the questions of one look, and their answers."""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from vault.core import limits
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.ports import Store
from vault.storage.ahead_pool import Pool

READ: Final = "read"
LIST: Final = "list"
FOLDERS: Final = "list_folders"
OPEN: Final = "open"
SMALL: Final = 4 * limits.MIB  # the largest object that is fetched ahead
HELD: Final = 64 * limits.MIB  # of them together, for one look
PAGE: Final = (
    1_000  # names: what remote stores give in one answer, and the longest listing that is made ahead
)

Key = tuple[str, str, str]  # verb, name, and after which name a listing begins
Then = Callable[[Any], Iterable["Ask"]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that will come: a verb of the port and a name.

    `limit` is how many bytes a `read` may bring, and for `open` the size. `fresh`
    says that the cache does not know. `then` is told the answer, which
    nobody has verified, and gives the questions that follow from it.
    """

    verb: str
    name: str
    limit: int = SMALL
    fresh: bool = False
    after: str = ""
    then: Then | None = None

    @property
    def key(self) -> Key:
        """What tells questions apart."""
        return self.verb, self.name, self.after


class Answer:
    """What a store says, or will say: `taken` by whoever fetches it, `done` when it is there."""

    __slots__ = ("done", "error", "result", "taken", "waiting")

    def __init__(self) -> None:
        """Begin without an answer."""
        self.waiting: list[Callable[[Any], Iterable[Any]]] = []  # what is to be told the answer
        self.taken = False
        self.done = threading.Event()
        self.result: Any = None
        self.error: VaultError | None = None


class Answers:
    """The answers of one look; any thread may expect some, and one asks."""

    def __init__(self, store: Store, pool: Pool | None, known: Callable[[Ask], bool]) -> None:
        """Fetch from `store` by the threads of `pool`, or nothing ahead; what is `known` is not fetched."""
        self._store = store
        self._pool = pool
        self._known = known
        self._lock = threading.Lock()
        self._answers: dict[Key, Answer] = {}
        self._held = 0
        self.early = False  # an answer was there before it was asked for

    def expect(self, asks: Iterable[Ask]) -> None:
        """Begin to fetch what is not known yet, and go on to what follows from it."""
        if self._pool is None:
            return
        for ask in asks:
            if (ask.verb == OPEN and ask.limit > SMALL) or self._known(ask):
                continue
            known = self._begin(self._pool, ask)
            if known is not None and ask.then is not None and known.result is not None:
                self._follow(ask.then, known.result)

    def _begin(self, pool: Pool, ask: Ask) -> Answer | None:
        """Begin to fetch one thing; give the answer if it is there already."""
        key = ask.key
        with self._lock:
            known = self._answers.get(key)
            if known is not None and known.done.is_set():
                return known
            if known is not None:
                known.waiting += [] if ask.then is None else [ask.then]
                return None
            if self._held >= HELD:
                return None
            answer = self._answers[key] = Answer()
            answer.waiting += [] if ask.then is None else [ask.then]
        if not pool.submit(lambda: self._fetch(ask, answer)):
            with self._lock:
                if not answer.taken:
                    answer.taken = True
                    self._answers.pop(key, None)
        return None

    def _follow(self, then: Then, result: Any) -> None:
        try:
            self.expect([*then(result)])
        except Refused:
            return  # it is garbage: whoever asks for it finds out

    def _fetch(self, ask: Ask, answer: Answer) -> None:
        with self._lock:
            if answer.taken:
                return
            answer.taken = True
        result: Any = None
        error: VaultError | None = None
        with suppress(Exception):  # a fault of ours: whoever asks for it asks the store, and meets it there
            try:
                result = self._ahead(ask)
            except VaultError as failure:
                error = failure
        self._answer(answer, result, error)

    def _ahead(self, ask: Ask) -> Any:
        inner = self._store
        if ask.verb in (READ, OPEN):
            return inner.read(ask.name, limit=min(ask.limit, SMALL))
        names = inner.list(ask.name, after=ask.after) if ask.verb == LIST else inner.list_folders(ask.name)
        found = [*islice(names, PAGE + 1)]
        return found if len(found) <= PAGE else None

    def _answer(self, answer: Answer, result: Any, error: VaultError | None) -> None:
        with self._lock:
            answer.result, answer.error = result, error
            self._held += len(result) if isinstance(result, bytes) else 0
            waiting, answer.waiting = answer.waiting, []
            answer.done.set()
        if result is not None:
            for then in waiting:
                self._follow(then, result)

    def wait(self, key: Key, *, forget: bool = False) -> Any:
        """Wait for what is being fetched; None where nobody has begun, or it was not to be had ahead.

        Raises:
            NotFound, Unavailable: that is the answer.
        """
        with self._lock:
            answer = self._answers.get(key)
            if answer is None:
                return None
            if not answer.taken:
                answer.taken = forget  # the caller asks now, and so does nobody else
                if forget:
                    del self._answers[key]
                return None
        answer.done.wait()
        self.early = True
        if forget or answer.error is not None:
            self.forget(key)
        if isinstance(answer.error, NotFound | Unavailable):
            raise answer.error
        return answer.result

    def ask(self, key: Key, now: Callable[[], Any]) -> Any:
        """Give an answer that was fetched, or ask now; either way it stays.

        Raises:
            Exception: whatever `now` raises, or what fetching it raised.
        """
        found = self.wait(key)
        if found is not None:
            return found
        with self._lock:
            answer = self._answers.setdefault(key, Answer())
            answer.taken = True
        try:
            result = now()
        except BaseException:
            self.forget(key)
            raise
        if isinstance(result, bytes | list) and len(result) <= SMALL:
            self._answer(answer, result, None)
        else:
            self.forget(key)
        return result

    def forget(self, key: Key) -> None:
        """Let go of an answer."""
        with self._lock:
            answer = self._answers.pop(key, None)
            if answer is not None:
                self._held -= len(answer.result) if isinstance(answer.result, bytes) else 0
                answer.done.set()

    def listed(self, folder: str) -> list[str]:
        """Give what a listing of a folder gave, if it was asked for."""
        with self._lock:
            answer = self._answers.get((FOLDERS, folder, ""))
        return answer.result if answer is not None and isinstance(answer.result, list) else []

    def outdate(self, name: str) -> None:
        """Let go of what was said of an object before it was written or removed."""
        with self._lock:
            known = [*self._answers]
        for verb, about, after in known:
            if about == name or (verb in (LIST, FOLDERS) and name.startswith(about)):
                self.forget((verb, about, after))

    def close(self) -> None:
        """Fetch nothing more."""
        if self._pool is not None:
            self._pool.close()
