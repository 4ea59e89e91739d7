"""In which order a vault's objects are copied, so that the copy is a whole vault at every moment.

A record counts only where what it rests on lies, so that comes first: logs
before the policies that name their heads, policies before the records made
under them, a version's payloads before its headers, sealing record and
manifest, versions before the channels that name them, and attested heads last
(docs/format.md, "Backup"). A listing is taken in the opposite order: then
everything that it names was there when what rests on it was listed.
"""

import re
from typing import Final

from vault.core import layout, log_names
from vault.core.names import Version
from vault.errors import Refused

LOG: Final = 0
TRUST: Final = 1
VERSIONS: Final = 2
CHANNELS: Final = 3
OTHER: Final = 4
HEADS: Final = 5
PHASES: Final = (LOG, TRUST, VERSIONS, CHANNELS, OTHER, HEADS)

MARKER: Final = "backup.json"  # says of a store that it holds a vault's backup; never copied, never trusted
ASIDE: Final = "damaged/"  # where damaged objects are kept when others take their place; never copied
RESTORING: Final = "restoring.json"  # and that a vault is being brought back to it

_PREFIXES: Final = (
    (layout.HEADS, HEADS),
    (log_names.LOGS, LOG),
    ("trust/", TRUST),
    ("keys/", TRUST),
    (layout.MODELS, VERSIONS),
    ("channels/", CHANNELS),
)
_VERSION: Final = re.compile(r"models/(.+?)/@/([^/]+)/", re.ASCII)
_DERIVED: Final = re.compile(r"log/.+?/(checkpoint\Z|tile/|proof/)", re.ASCII)
_LOG: Final = re.compile(r"log/(.+?)/(commit|cosigned|checkpoint|tile|proof)(/|\Z)", re.ASCII)
_CHANNEL: Final = re.compile(r"channels/([^/]+)/([^/]+)/(.+)/@/([^/]+)\Z", re.ASCII)
_IN_VERSION: Final = ("files/", "keys/", "sealed/", "manifest.json")
_IN_TRUST: Final = ("trust/recipients/", "keys/", layout.POLICIES, layout.ROOTS)
_IN_LOG: Final = ("commit", "cosigned")


def is_copied(name: str) -> bool:
    """Tell whether an object is backed up: all but what a probe tries, what is damaged, and marks."""
    return not name.startswith((layout.PROBES, ASIDE)) and name not in (MARKER, RESTORING)


def phase(name: str) -> int:
    """Tell in which phase an object is copied."""
    return next((found for prefix, found in _PREFIXES if name.startswith(prefix)), OTHER)


def prefixes(of: int) -> tuple[str, ...]:
    """Give the folders of a phase; `OTHER` is whatever lies outside of all of them."""
    return tuple(prefix for prefix, found in _PREFIXES if found == of)


def version_folder(name: str) -> str:
    """Give the folder of the version that an object lies in, or an empty text."""
    found = _VERSION.match(name)
    return found[0] if found else ""


def place_of(folder: str) -> tuple[str, Version] | None:
    """Give the model and version that a version's folder is named after, or None where it is a stranger's."""
    found = _VERSION.match(folder)
    if found is None:
        return None
    from vault.core import names

    try:
        return names.model(found[1]), names.version(found[2])
    except Refused:
        return None


def is_payload(name: str) -> bool:
    """Tell whether an object is a payload of a version, or the unit digests beside one."""
    folder = version_folder(name)
    return bool(folder) and name.startswith("files/", len(folder))


def is_derived(name: str) -> bool:
    """Tell whether an object follows from others, so that it may be written again in place."""
    return _DERIVED.match(name) is not None


def log_of(name: str) -> str:
    """Give the name of the log that an object belongs to, or an empty text."""
    found = _LOG.match(name)
    return found[1] if found else ""


def group(name: str) -> str:
    """Give what an object is copied together with: objects of one group one after the other.

    Commits of a log and records of a channel follow each other; policies and roots follow all else of
    their phase; everything else has no order.
    """
    if name.startswith((layout.POLICIES, layout.ROOTS)):
        return "trust"
    channel = _CHANNEL.match(name)
    if channel:
        return f"channels/{channel[1]}/{channel[3]}"
    return f"log/{log_of(name)}" if phase(name) == LOG else ""


def rank(name: str) -> tuple[int, int, int, str]:
    """Order the objects of one group: what must be there first is the lowest."""
    found = phase(name)
    step = 0
    if found == VERSIONS:
        step = _place(name[len(version_folder(name)) :], _IN_VERSION)
    elif found == TRUST:
        step = _place(name, _IN_TRUST)
    elif found == LOG:
        kind = _LOG.match(name)
        step = _place(kind[2] if kind else "", _IN_LOG)
    leaf = name.rpartition("/")[2].partition(".")[0]
    number = int(leaf) if leaf.isascii() and leaf.isdigit() and len(leaf) <= 16 else 0
    return found, step, number, name


def _place(text: str, among: tuple[str, ...]) -> int:
    return next((index for index, start in enumerate(among) if text.startswith(start)), len(among))
