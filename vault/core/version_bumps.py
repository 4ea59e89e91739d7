"""Choose the next version after all that are known (docs/format.md, "Names"): integers, semantic, timestamps.

A bump goes up from the highest version that is known, released or not. So what
it gives is above everything that was ever there, deleted versions included.
"""

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from vault.core import names
from vault.core.names import Version, VersionOrder
from vault.errors import Malformed

MAJOR: Final = "major"
MINOR: Final = "minor"
PATCH: Final = "patch"
PRERELEASE: Final = "prerelease"
TIMESTAMP: Final = "timestamp"
BUMPS: Final = (MAJOR, MINOR, PATCH, PRERELEASE, TIMESTAMP)
LABEL: Final = "rc"  # of the first pre-release after a release

_INTEGER, _SEMANTIC, _TIMESTAMP = range(3)  # as `names.VersionOrder.kind` has them
_KINDS: Final = ("plain integers", "semantic versions", "timestamps")
_LAST_NUMBER: Final = re.compile(r"(.*\.)?(0|[1-9][0-9]*)\Z", re.ASCII)


def candidates(known: Collection[Version], bump: str | None, now: int) -> Iterator[Version]:
    """Yield, best first, the versions that may come next; the caller takes the first that is free.

    `bump` is one of `BUMPS`, or None for the next integer; `now` is in seconds
    since 1970. Each is above every known version of its kind, and above the
    ones before it.

    Raises:
        ValueError: the known versions are of a kind that does not go on so, or
            the numbers have come to their end.
    """
    highest = max(known, key=names.version_order, default=None)
    order = None if highest is None else names.version_order(highest)
    if bump is None:
        return _integers(order)
    if bump == TIMESTAMP:
        return _timestamps(order, now)
    if bump in BUMPS:
        return _semantic(highest, order, bump)
    raise ValueError(f"A bump is one of {', '.join(BUMPS)}, not {bump!r}.")


def _integers(order: VersionOrder | None) -> Iterator[Version]:
    if order is not None and order.kind != _INTEGER:
        raise _goes_on(order, "say which comes next (version=, --version) or how to go on (bump=, --bump)")
    number = 1 if order is None else order.numbers[0] + 1
    return _counted(number)


def _counted(number: int) -> Iterator[Version]:
    while True:
        yield _version(str(number))
        number += 1


def _timestamps(order: VersionOrder | None, now: int) -> Iterator[Version]:
    after = order.numbers[0] + 1 if order is not None and order.kind == _TIMESTAMP else 0
    return _moments(max(now, after))


def _moments(seconds: int) -> Iterator[Version]:
    while True:
        try:
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise _ended("timestamp") from None
        yield _version(f"{moment:%Y%m%dT%H%M%SZ}")
        seconds += 1


def _semantic(highest: Version | None, order: VersionOrder | None, bump: str) -> Iterator[Version]:
    if highest is None or order is None:
        highest, order = Version("0.0.0"), names.version_order("0.0.0")
    if order.kind != _SEMANTIC:
        raise _goes_on(order, f"a {bump} bump goes up from a semantic version: give the first one (version=)")
    return _bumped(highest, bump)


def _bumped(version: Version, bump: str) -> Iterator[Version]:
    while True:
        version = _after(version, bump)
        yield version


def _after(version: Version, bump: str) -> Version:
    """Give the next semantic version: a pre-release is first followed by the release that it is one of."""
    core, _, labels = version.partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    if bump == PRERELEASE:
        if not labels:
            return _version(f"{major}.{minor}.{patch + 1}-{LABEL}.1")
        found = _LAST_NUMBER.match(labels)
        more = f"{labels}.1" if found is None else f"{found[1] or ''}{int(found[2]) + 1}"
        return _version(f"{core}-{more}")
    if bump == MAJOR:
        due = labels and minor == patch == 0
        return _version(core if due else f"{major + 1}.0.0")
    if bump == MINOR:
        due = labels and patch == 0
        return _version(core if due else f"{major}.{minor + 1}.0")
    return _version(core if labels else f"{major}.{minor}.{patch + 1}")


def _version(text: str) -> Version:
    try:
        return names.version(text)
    except Malformed:
        raise _ended(text) from None


def _ended(what: str) -> ValueError:
    return ValueError(f"There is no version after the last one ({what}): say which comes next (version=).")


def _goes_on(order: VersionOrder, advice: str) -> ValueError:
    return ValueError(f"The newest version is one of {_KINDS[order.kind]}: {advice}.")
