"""List the names that a store holds of its models, for the index: what did not change is not read."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from vault.actions.session import Session
from vault.core import layout, names
from vault.core.names import Environment, Model, Slot, Version
from vault.errors import Refused

_AT: Final = f"/{layout.MARK}/"
_BULK: Final = "files/"
_KEYS: Final = "keys/"
_SEALED: Final = "sealed/"


@dataclass(slots=True)
class Listed:
    """The names below one version. `seen` stands for all but its payloads, keys and sealing records.

    `keys` are the environments for which it has wrapped keys, `folders` those of its records.
    """

    published: bool = False
    keys: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def take(self, name: str) -> None:
        """Take the next name, in order, as it is below the version's folder."""
        if name.startswith(_KEYS):
            self.keys.add(name[len(_KEYS) :].partition("/")[0].rpartition("-")[0])
        elif not name.startswith((_BULK, _SEALED)):
            self.published |= name == "manifest.json"
            self.folders.add(name.rpartition("/")[0])
            self._hash.update(f"{name}\n".encode())

    def seen(self, under: str) -> str:
        """Stand for the names, under one policy: whose signature counts changes with that."""
        return hashlib.sha256(f"{under} {self._hash.hexdigest()}".encode()).hexdigest()[:32]


Versions = dict[tuple[Model, Version], Listed]


@dataclass(slots=True)
class ModelListed:
    """The names of a model's channel records, and where they are."""

    places: set[tuple[Environment, Slot]] = field(default_factory=set)
    names: list[str] = field(default_factory=list)


def versions(session: Session, of: Collection[Model] | None = None) -> Versions:
    """List the names below every version, or those of some models.

    Raises:
        Unavailable: the store failed.
    """
    found: Versions = {}
    prefixes = [layout.MODELS] if of is None else [layout.versions(model) for model in of]
    last: tuple[str, str] | None = None
    listed: Listed | None = None
    count = 0
    for prefix in prefixes:
        for name in session.store.list(prefix):
            model, _, rest = name[len(layout.MODELS) :].partition(_AT)
            version, _, inner = rest.partition("/")
            if (model, version) != last:
                last, listed = (model, version), _new(found, model, version)
            if listed is not None:
                listed.take(inner)
            count += 1
            if count % 10_000 == 0:
                session.progress(count, 0, "names in the store")
    return {key: entry for key, entry in found.items() if entry.published}


def _new(found: Versions, model: str, version: str) -> Listed | None:
    """Begin a version, unless its name is a stranger's."""
    try:
        return found.setdefault((names.model(model), names.version(version)), Listed())
    except Refused:
        return None


def channels(session: Session, of: Collection[Model] | None = None) -> dict[Model, ModelListed]:
    """List the channel records of all models, or of some, in the environments that there are.

    Raises:
        Refused, NotFound: the trust documents do not verify. Unavailable.
    """
    found: dict[Model, ModelListed] = {}
    for environment in session.trust().policy.environments:
        for prefix in _prefixes(session, environment, of):
            for name in session.store.list(prefix):
                slot, _, rest = name[len(layout.slots(environment)) :].partition("/")
                model, _, number = rest.partition(_AT)
                try:
                    place, known = (environment, names.slot(slot)), names.model(model)
                except Refused:
                    continue
                if layout.parse_number(number) is not None:
                    entry = found.setdefault(known, ModelListed())
                    entry.places.add(place)
                    entry.names.append(name)
    return found


def _prefixes(session: Session, environment: Environment, of: Collection[Model] | None) -> Iterator[str]:
    if of is None:
        yield layout.slots(environment)
        return
    for name in session.store.list_folders(layout.slots(environment)):
        try:
            slot = names.slot(name.removesuffix("/"))
        except Refused:
            continue
        for model in of:
            yield layout.channel(environment, slot, model)


def model_seen(under: str, listed: ModelListed | None, of_versions: Collection[str]) -> str:
    """Stand for a model's channel records, and for what is known of its versions, on which they depend."""
    told = [under, *sorted(of_versions), *(listed.names if listed is not None else ())]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
