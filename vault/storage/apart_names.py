"""Say in which of several stores an object lies, by its name alone (docs/format.md, "Layout").

Nothing here is read or verified: a name goes where its place in the layout says,
whoever wrote it. Names that the layout does not know belong to the main store.
"""

import re
from dataclasses import dataclass
from typing import Final

OWN: Final = "own"  # of one environment: in its store, and nowhere else
TRUST: Final = "trust"  # made in the main store, with a copy in every other
VERSION: Final = "version"  # of a version: made in the main store, copied to where the version is used
ACCESS: Final = "access"  # of an access log: wherever its principal writes
MAIN: Final = "main"  # in the main store alone

_EPOCH: Final = re.compile(r"(.+)-[0-9]+\Z", re.ASCII)
_TRUST_FILES: Final = frozenset({"README.txt", "vault.json"})
_TRUST_FOLDERS: Final = ("trust/root/", "trust/policy/", "trust/recipients/")
_TRUST_LOG: Final = "log/trust/"
_MARK: Final = "@"


@dataclass(frozen=True, slots=True)
class Place:
    """What a name is of: its kind, and the environment that alone it concerns (`OWN`).

    `version` is the folder of the version that it belongs to (`VERSION`, and what is `OWN` in one).
    """

    kind: str
    environment: str | None = None
    version: str | None = None


def place_of(name: str) -> Place:
    """Tell what a name, or a prefix that ends in `/`, is of."""
    match name.split("/"):
        case ["channels" | "keys", environment, _, *_] | ["trust", "heads", environment, _, *_]:
            return Place(OWN, environment)
        case ["log", "env", environment, _, *_]:
            return Place(OWN, environment)
        case ["log", "access", _, *_]:
            return Place(ACCESS)
        case ["models", *rest]:
            return _of_model(rest)
    return Place(TRUST if _is_trust(name) else MAIN)


def _is_trust(name: str) -> bool:
    return name in _TRUST_FILES or name.startswith(_TRUST_FOLDERS)


def names_policy(name: str) -> bool:
    """Tell whether a name of one environment (`OWN`) is that of a record, which names the policy in force."""
    return name.startswith(("channels/", "trust/heads/")) or "/approvals/" in name


def is_settled(folder: str) -> bool:
    """Tell whether every name in a folder, which is empty or ends in `/`, is of the folder's own place."""
    place = place_of(folder)
    if place.kind == VERSION and place.version is not None:
        return folder.removeprefix(place.version) not in {"", "keys/", "approvals/"}
    return place.kind in {OWN, TRUST, ACCESS} or folder.startswith(_TRUST_LOG)


def _of_model(rest: list[str]) -> Place:
    if _MARK not in rest or rest.index(_MARK) + 2 >= len(rest):
        return Place(VERSION)
    at = rest.index(_MARK) + 2
    version = "/".join(["models", *rest[:at]]) + "/"
    match rest[at:]:
        case ["approvals", environment, _, *_]:
            return Place(OWN, environment, version)
        case ["keys", folder, _, *_] if (found := _EPOCH.match(folder)) is not None:
            return Place(OWN, found[1], version)
    return Place(VERSION, None, version)
