"""Note what a look asked for, so that the next one of its kind can ask for all of it at once.

A note decides nothing. It may be old, and one that lies in a cache may be
anybody's: then something is fetched that nobody asks for.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Final

from vault.core import limits
from vault.storage import cached_names, naming
from vault.storage.ahead_answers import FOLDERS, LIST, READ, Ask
from vault.storage.cached import FolderCache

_KEPT: Final = 256  # kinds of looks
_ASKED: Final = 512  # questions of one look
_LINE: Final = re.compile(r"(read|list|list_folders|open) ([0-9]{1,16}) ([!-~]{1,900})(?: ([!-~]{1,900}))?\Z")


class Traces:
    """Notes by the kind of look, in memory, and in the cache if there is one."""

    def __init__(self, cache: FolderCache | None) -> None:
        """Begin without any."""
        self._cache = cache
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[Ask, ...]] = OrderedDict()

    def get(self, key: str) -> tuple[Ask, ...]:
        """Give what the last look of a kind asked for, as far as it may be asked ahead."""
        with self._lock:
            found = self._known.get(key)
        if found is None and self._cache is not None:
            found = _parsed(self._cache.trace(key) or b"")
        return found or ()

    def put(self, key: str, asked: Iterable[Ask]) -> None:
        """Note what a look asked for."""
        data = "\n".join(_line(ask) for ask in islice(asked, _ASKED)).encode()
        found = _parsed(data)
        with self._lock:
            known = self._known.pop(key, None)
            self._known[key] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        if self._cache is not None and known != found:
            self._cache.note(key, data)


def _line(ask: Ask) -> str:
    return f"{ask.verb} {ask.limit} {ask.name} {ask.after}".rstrip(" ")


def _parsed(data: bytes) -> tuple[Ask, ...]:
    """Read a note; a line that is none is passed over, and so is what follows the first 512.

    The newest of each series of numbered records is not taken from the cache.
    """
    found = []
    newest: dict[str, int] = {}
    for line in data.decode("ascii", "replace").split("\n")[:_ASKED]:
        match = _LINE.match(line)
        if match is None:
            continue
        ask = Ask(match[1], match[3], min(int(match[2]), limits.FILE_BYTES), after=match[4] or "")
        if _may_be_asked(ask):
            found.append(ask)
            place = cached_names.series(ask.name)
            if place is not None and ask.verb == READ:
                newest[place[0]] = max(place[1], newest.get(place[0], 0))
    return tuple(replace(ask, fresh=_is_newest(ask.name, newest)) for ask in found)


def _is_newest(name: str, newest: dict[str, int]) -> bool:
    place = cached_names.series(name)
    return place is not None and newest.get(place[0]) == place[1]


def _may_be_asked(ask: Ask) -> bool:
    """Tell whether a store takes such a name as the argument of the verb."""
    try:
        if ask.verb == LIST:
            naming.check_prefix(ask.name)
        elif ask.verb == FOLDERS:
            naming.check_folder(ask.name)
        else:
            naming.check_name(ask.name)
    except ValueError:
        return False
    return True
