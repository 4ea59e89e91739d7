"""Compare what two stores list, by names and sizes alone, and say what is to be copied in which order.

Both listings are read as streams side by side, so that time is linear in the
number of objects and memory in the number of those that are missing.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vault.actions.backing_up_copy import Item
from vault.core import backup_order, layout, limits, strict_json
from vault.errors import NotFound, VaultError
from vault.ports import ListsSizes, Store

_BATCH_BYTES: Final = 256 * limits.MIB
_BATCH_OBJECTS: Final = 1_000
_LATEST: Final = limits.NUMBER_MAX  # of what cannot be read: after every policy


@dataclass(slots=True)
class Payloads:
    """What a store lists of a version: payload objects, their bytes, and whether it has the manifest."""

    objects: int = 0
    size: int = 0
    published: bool = False


@dataclass(slots=True)
class Plan:
    """What a comparison found.

    `missing` are the objects to copy by phase; `altered` those of which the two
    stores have other sizes, and that never change; `extra` those that only the
    target has. `versions` are the target's, by folder.
    """

    missing: dict[int, list[Item]] = field(default_factory=dict)
    altered: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    versions: dict[str, Payloads] = field(default_factory=dict)
    objects: int = 0  # at the source
    size: int = 0
    there: int = 0  # of them at the target

    @property
    def items(self) -> int:
        """How many objects are to be copied."""
        return sum(map(len, self.missing.values()))

    @property
    def bytes(self) -> int:
        """How many bytes are to be copied."""
        return sum(item.size for items in self.missing.values() for item in items)


def sizes(store: Store, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield names and sizes in code-point order; one request a page where the store lists sizes.

    Raises:
        Unavailable: the store failed.
    """
    if isinstance(store, ListsSizes):
        yield from store.list_sizes(prefix)
        return
    for name in store.list(prefix):
        yield from _size(store, name)


def compare(
    source: Store,
    target: Store,
    *,
    phases: Sequence[int] = backup_order.PHASES,
    seen: Callable[[int], None] = lambda _: None,
) -> Plan:
    """Compare two stores; `seen` is told how many objects were looked at so far.

    The phases are listed from the last to the first (`backup_order`).

    Raises:
        Unavailable: a store failed.
    """
    plan = Plan()
    for phase in reversed(phases):
        ours, theirs = (_listed(store, phase) for store in (source, target))
        for name, size, there in _merged(ours, theirs):
            _note(plan, phase, name, size, there)
            if plan.objects % 1_000 == 0:
                seen(plan.objects)
    _refresh(plan)
    return plan


def _listed(store: Store, phase: int) -> Iterator[tuple[str, int]]:
    parts: Iterable[str] = sorted(backup_order.prefixes(phase))
    if phase == backup_order.OTHER:  # whatever else there is, in order
        parts = (part for part in store.list_folders("") if backup_order.phase(part) == phase)
    for part in parts:
        for name, size in sizes(store, part) if part.endswith("/") else _size(store, part):
            if backup_order.phase(name) == phase and backup_order.is_copied(name):
                yield name, size


def _size(store: Store, name: str) -> Iterator[tuple[str, int]]:
    try:
        yield name, store.stat(name).size
    except NotFound:
        return  # it was deleted since it was listed


def _merged(
    ours: Iterator[tuple[str, int]], theirs: Iterator[tuple[str, int]]
) -> Iterator[tuple[str, int | None, int | None]]:
    """Join two listings by name: the size here and there, None where a name is not."""
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if left is not None and (right is None or left[0] < right[0]):
            yield left[0], left[1], None
            left = next(ours, None)
        elif right is not None and (left is None or right[0] < left[0]):
            yield right[0], None, right[1]
            right = next(theirs, None)
        elif left is not None and right is not None:
            yield left[0], left[1], right[1]
            left, right = next(ours, None), next(theirs, None)


def _note(plan: Plan, phase: int, name: str, size: int | None, there: int | None) -> None:
    if there is not None and phase == backup_order.VERSIONS:
        _count(plan.versions, name, there)
    if size is None:
        plan.extra.append(name)
        return
    plan.objects += 1
    plan.size += size
    if there is None:
        plan.missing.setdefault(phase, []).append(Item(name, size))
    elif there == size:
        plan.there += 1
    elif backup_order.is_derived(name):
        plan.missing.setdefault(phase, []).append(Item(name, size, again=True))
    else:
        plan.altered.append(name)


def _count(versions: dict[str, Payloads], name: str, size: int) -> None:
    folder = backup_order.version_folder(name)
    if not folder:
        return
    found = versions.setdefault(folder, Payloads())
    if backup_order.is_payload(name):
        found.objects += 1
        found.size += size
    elif name == f"{folder}manifest.json":
        found.published = True


def added(plan: Plan, item: Item) -> None:
    """Count an object that was copied to the target."""
    _count(plan.versions, item.name, item.size)


def folders(store: Store) -> dict[str, Payloads]:
    """Give what a store lists of each version, also of those whose manifest is not there, by folder.

    Raises:
        Unavailable: the store failed.
    """
    found: dict[str, Payloads] = {}
    for name, size in sizes(store, layout.MODELS):
        _count(found, name, size)
    return found


def _refresh(plan: Plan) -> None:
    """Copy the checkpoint of each log that grew again: its size may be the same."""
    items = plan.missing.get(backup_order.LOG, [])
    grown = {backup_order.log_of(item.name) for item in items} - {""}
    have = {item.name for item in items}
    for log in sorted(grown):
        name = f"log/{log}/checkpoint"
        if name not in have:
            items.append(Item(name, limits.LOG_CHECKPOINT_BYTES, again=True))


# --- in which order ---


Groups = list[list[Item]]  # each is copied one after the other, all of them at once


def stages(plan: Plan, source: Store, *, founded: bool) -> Iterator[Groups]:
    """Give what is to be copied, stage after stage; each is begun when the one before it is done.

    `founded` says that the target is a vault already: then records come between the policies that they
    were made before and after, since a policy may let in, or keep out, what others stand in for.

    Raises:
        Unavailable: the source failed.
    """
    yield _grouped(plan, backup_order.LOG)
    trust = plan.missing.get(backup_order.TRUST, [])
    chain = [item for item in trust if backup_order.group(item.name)]
    yield [[item] for item in trust if not backup_order.group(item.name)]
    policies = sorted(item.name for item in chain if item.name.startswith(layout.POLICIES))
    if not founded or not policies:
        yield [sorted(chain, key=_rank)] if chain else []
        yield from _records(plan.missing)
        return
    yield from _rounds(plan, source, chain)


def _rounds(plan: Plan, source: Store, chain: list[Item]) -> Iterator[Groups]:
    """Give records round by round: those made under a policy before the next one is copied."""
    later = {phase: plan.missing.get(phase, []) for phase in backup_order.PHASES[backup_order.VERSIONS :]}
    under = {
        item.name: _made_under(source, item)
        for phase, items in later.items()
        for item in items
        if phase != backup_order.OTHER
    }
    left = sorted(chain, key=_rank)
    for item in [entry for entry in left if entry.name.startswith(layout.POLICIES)]:
        number, root = _number(item.name), _root_of(source, item)
        first = [
            entry for entry in left if entry.name.startswith(layout.ROOTS) and _number(entry.name) <= root
        ]
        yield [first] if first else []
        yield from _records(
            {
                phase: [entry for entry in items if under.get(entry.name, _LATEST) < number]
                for phase, items in later.items()
            }
        )
        later = {
            phase: [entry for entry in items if under.get(entry.name, _LATEST) >= number]
            for phase, items in later.items()
        }
        yield [[item]]
        left = [entry for entry in left if entry not in first and entry != item]
    yield [left] if left else []
    yield from _records(later)


def _records(missing: Mapping[int, list[Item]]) -> Iterator[Groups]:
    yield from _versions(missing.get(backup_order.VERSIONS, []))
    for phase in (backup_order.CHANNELS, backup_order.OTHER, backup_order.HEADS):
        yield _grouped_items(missing.get(phase, []))


def _versions(items: list[Item]) -> Iterator[Groups]:
    """Give versions in batches: of each batch all payloads, then all headers, and so on to the manifests."""
    batch: list[Item] = []
    size = 0
    folder = ""
    for item in items:
        here = backup_order.version_folder(item.name)
        if here != folder and (size > _BATCH_BYTES or len(batch) > _BATCH_OBJECTS):
            yield from _by_step(batch)
            batch, size = [], 0
        folder = here
        batch.append(item)
        size += item.size
    yield from _by_step(batch)


def _by_step(batch: list[Item]) -> Iterator[Groups]:
    steps: dict[int, Groups] = {}
    for item in batch:
        steps.setdefault(_rank(item)[1], []).append([item])
    for step in sorted(steps):
        yield steps[step]


def _grouped(plan: Plan, phase: int) -> Groups:
    return _grouped_items(plan.missing.get(phase, []))


def _grouped_items(items: list[Item]) -> Groups:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(backup_order.group(item.name) or item.name, []).append(item)
    return [sorted(group, key=_rank) for group in groups.values()]


def _rank(item: Item) -> tuple[int, int, int, str]:
    return backup_order.rank(item.name)


# --- what a document says of its place in time: a hint, since nobody has verified it here ---


def _made_under(source: Store, item: Item) -> int:
    """Give the policy that a record names; what is none comes with the first round, or with the last."""
    if backup_order.is_payload(item.name) or not item.name.endswith(".json"):
        return 0
    return _named(source, item, "policy")


def _root_of(source: Store, item: Item) -> int:
    found = _named(source, item, "root")
    return 0 if found == _LATEST else found


def _named(source: Store, item: Item, what: str) -> int:
    """Read the version of the root or policy that a document names."""
    try:
        data = source.read(item.name, limit=limits.ENVELOPE_BYTES)
        outer = strict_json.parse(data, limit=limits.ENVELOPE_BYTES)
        payload = outer.get("payload") if isinstance(outer, dict) else None
        told = payload if isinstance(payload, str) else ""
        inner = strict_json.parse(base64.b64decode(told, validate=True))
        named = inner.get(what) if isinstance(inner, dict) else None
        version = named.get("version") if isinstance(named, dict) else None
    except (VaultError, binascii.Error, ValueError):
        return _LATEST
    return version if isinstance(version, int) else _LATEST


def _number(name: str) -> int:
    return layout.parse_number(name.rpartition("/")[2]) or 0
