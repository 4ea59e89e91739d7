"""What a client remembers of a vault, and the refusal of anything older (docs/format.md, "Client memory").

Numbers only go up. A mark pins a number *and* a digest: the same number with
another digest is a rollback too. Marks are ordered by (era, number), because
only the root threshold can raise the era.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vault.core import limits, log_names, names, strict_json
from vault.core.fields import Fields, malformed
from vault.core.names import Environment, Model, Slot, Version
from vault.core.strict_json import JSONValue
from vault.errors import Refused, Rollback, Unavailable

MEMORY_FORMAT: Final = "mvault-memory-v1"

# Versions are forgotten down to this share of the limit, so that not every new one forgets another.
_KEPT: Final = limits.MEMORY_ENTRIES * 9 // 10
_LOGS: Final = limits.PRINCIPALS // 2
_OF_ACCESS: Final = f"{log_names.ACCESS}/"

_MARK: Final = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{64})\Z", re.ASCII)
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9-]*/[a-z][a-z0-9-]*/[A-Za-z0-9][A-Za-z0-9._/-]*\Z", re.ASCII)
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mark:
    """One numbered document that was in force: era, number (version or seq) and SHA-256 in hexadecimal."""

    era: int
    number: int
    digest: str

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two marks is the newer."""
        return self.era, self.number

    def __str__(self) -> str:
        return f"{self.era}.{self.number}.{self.digest}"


@dataclass(frozen=True, slots=True)
class Memory:
    """What was seen of one vault: by a file, by a process, or by one operation.

    `vault` is the vault's id. `root` has era 0. `channels` go by `channel_key`;
    `versions` go by `version_key` and hold the manifest digest of the first use;
    `heads` go by environment, and whoever reads them compares (`heads.check_remembered`).
    `slots` are those of `channels` by environment, for who asks for them to collect once.
    `logs` go by a log's name: number of the commit, size and root of the tree, compared by who reads the log.
    """

    vault: str
    root: Mark | None = None
    policy: Mark | None = None
    channels: Mapping[str, Mark] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, Mark] = field(default_factory=dict)
    logs: Mapping[str, Mark] = field(default_factory=dict)
    slots: dict[str, set[Slot]] = field(default_factory=dict, init=False, compare=False, repr=False)


def parse_mark(value: JSONValue) -> Mark:
    """Parse a mark, `era.number.digest`.

    Raises:
        Malformed: `malformed-document`.
    """
    found = _MARK.match(_text(value))
    if found is None:
        raise malformed("A mark", "it is era.number.digest")
    return Mark(int(found[1]), int(found[2]), found[3])


def channel_key(environment: Environment, slot: Slot, model: Model) -> str:
    """Name a channel in `Memory.channels`."""
    return f"{environment}/{slot}/{model}"


def version_key(model: Model, version: Version) -> str:
    """Name a version in `Memory.versions`."""
    return f"{model}:{version}"


def check(known: Memory, seen: Memory) -> None:
    """Compare what an operation saw with what was known *before* it read the store.

    Raises:
        Rollback: a number in `seen` is lower than the known one, or equal with another
            digest, or a known version has another manifest now.
        ValueError: the two are of different vaults.
    """
    _same_vault(known, seen)
    _forward("the root", known.root, seen.root)
    _forward("the policy", known.policy, seen.policy)
    for key, mark in seen.channels.items():
        _forward(_channel(key), known.channels.get(key), mark)
    for key, digest in seen.versions.items():
        if known.versions.get(key, digest) != digest:
            raise _other(key)


def check_channel(known: Memory, key: str, seen: Mark | None, *, lost_before: int = 0) -> None:
    """Compare one channel's record in force, None if the store has none, with what is known.

    A channel may be gone that was last seen in an era before `lost_before`: the
    root holders have continued without it.

    Raises:
        Rollback: as `check`; also where there is none although one is known.
    """
    before = known.channels.get(key)
    if seen is None and before is not None and before.era >= lost_before:
        raise _older(_channel(key), f"number {before.number} was there before, now there is none")
    _forward(_channel(key), before, seen)


def in_era(known: Memory, era: int) -> Memory:
    """Give what still counts of a memory under a policy of `era`.

    Versions and logs have no era of their own: what a client saw in an earlier one may
    be lost, a version's number given to another model, and the end of a log cut off.
    """
    if known.policy is None or known.policy.era >= era:
        return known
    return replace(known, versions={}, logs={})


def merge(known: Memory, seen: Memory) -> Memory:
    """Return the later of each; `known` itself if `seen` adds nothing.

    A lower number is no error here: another process may have gone ahead since
    `check`. When versions fill the memory the lowest are forgotten, and of access
    logs the shortest. Of two that
    saw policies of different eras, only the later one's versions are kept.

    Raises:
        Rollback: the same number, or the same version, with two digests.
        Unavailable: `storage-full`: there are more channels than a memory may hold.
        ValueError: the two are of different vaults.
    """
    _same_vault(known, seen)
    root = _later("the root", known.root, seen.root)
    policy = _later("the policy", known.policy, seen.policy)
    if policy is not None:
        known, seen = in_era(known, policy.era), in_era(seen, policy.era)
    channels = _news(known.channels, seen.channels, _channel)
    heads = _news(known.heads, seen.heads, lambda environment: f"the heads of {environment}")
    logs = _news(known.logs, seen.logs, lambda log: f"log {log}", _longer)
    versions = {key: digest for key, digest in seen.versions.items() if key not in known.versions}
    for key in seen.versions.keys() - versions.keys():
        if known.versions[key] != seen.versions[key]:
            raise _other(key)
    same = root is known.root and policy is known.policy
    if same and not (channels or versions or heads or logs):
        return known
    after = _bounded(
        replace(
            known,
            root=root,
            policy=policy,
            channels={**known.channels, **channels} if channels else known.channels,
            versions={**known.versions, **versions} if versions else known.versions,
            heads={**known.heads, **heads} if heads else known.heads,
            logs={**known.logs, **logs} if logs else known.logs,
        )
    )
    carry_slots(known, after, channels)
    return after


def carry_slots(before: Memory, after: Memory, added: Iterable[str]) -> None:
    """Give a memory the slots that were collected of the one before it: each load would collect all again."""
    found = before.slots
    for key in added if found else ():
        environment, slot, _ = key.split("/", 2)
        there = found.get(environment, set())
        if slot not in there:  # others may be looking at what was collected: it is left as it is
            found = {**found, environment: there | {Slot(slot)}}
    after.slots.update(found)


def parse(data: bytes, vault: str, subject: str) -> Memory:
    """Parse the memory of the vault with the id `vault`; messages call it `subject`.

    Raises:
        Refused: `memory-damaged`.
    """
    try:
        fields = Fields(strict_json.parse(data, limit=limits.MEMORY_BYTES), "The memory")
        if fields.text("format", str) != MEMORY_FORMAT or fields.text("vault", str) != vault:
            raise malformed("The memory", "it is of another format or another vault")
        return read_marks(fields, vault)
    except Refused as refusal:
        raise damaged(subject, refusal.message) from None


def read_marks(fields: Fields, vault: str) -> Memory:
    """Read what a memory holds, and nothing else that is in the fields.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    root, policy = fields.optional("root", parse_mark), fields.optional("policy", parse_mark)
    channels = fields.mapping("channels", _channel_text, limits.MEMORY_ENTRIES)
    versions = fields.mapping("versions", _version_text, limits.MEMORY_ENTRIES)
    heads = fields.mapping("heads", names.environment, limits.PRINCIPALS)
    logs = fields.mapping("log", _log_text, limits.PRINCIPALS)
    fields.done()
    return Memory(
        vault,
        root,
        policy,
        {key: parse_mark(value) for key, value in channels.items()},
        {key: names.digest(_text(value)) for key, value in versions.items()},
        {environment: parse_mark(value) for environment, value in heads.items()},
        {log: parse_mark(value) for log, value in logs.items()},
    )


def encode(memory: Memory) -> bytes:
    """Write the memory; `parse` reads it back."""
    return strict_json.encode({**values(memory), "format": MEMORY_FORMAT, "vault": memory.vault})


def values(memory: Memory) -> dict[str, JSONValue]:
    """Give what a memory holds as `read_marks` reads it."""
    return {
        "channels": {key: str(mark) for key, mark in memory.channels.items()},
        "heads": {environment: str(mark) for environment, mark in memory.heads.items()},
        "log": {log: str(mark) for log, mark in memory.logs.items()},
        "policy": None if memory.policy is None else str(memory.policy),
        "root": None if memory.root is None else str(memory.root),
        "versions": dict(memory.versions),
    }


def damaged(subject: str, reason: str) -> Refused:
    """Build the refusal of a memory that cannot be read."""
    return Refused(
        f"{subject}, what this client remembers, cannot be read, so an old state of the vault could not be "
        f"told from the newest. {reason}",
        code="memory-damaged",
        subject=subject,
        hint="Restore that file. Before you remove it, compare what the vault offers with a colleague.",
    )


def _bounded(memory: Memory) -> Memory:
    """Forget the lowest versions, over all models, once there are too many entries; channels are kept."""
    if len(memory.channels) > limits.MEMORY_ENTRIES:
        raise Unavailable(
            f"This client has seen more than {limits.MEMORY_ENTRIES:,} channels, and can remember no more.",
            code="storage-full",
            hint="Give each service an identity and a state folder of its own.",
        )
    if len(memory.logs) > _LOGS:
        memory = replace(memory, logs=_fewer(memory.logs))
    if len(memory.channels) + len(memory.versions) <= limits.MEMORY_ENTRIES:
        return memory
    kept = max(0, _KEPT - len(memory.channels))
    newest_first = sorted(memory.versions, key=_age, reverse=True)
    return replace(memory, versions={key: memory.versions[key] for key in newest_first[:kept]})


def _fewer(logs: Mapping[str, Mark]) -> dict[str, Mark]:
    """Forget the shortest access logs: anybody may begin as many as they like of their own."""
    by_length = sorted(logs, key=lambda log: (log.startswith(_OF_ACCESS), -logs[log].number, log))
    return {log: logs[log] for log in by_length[: _LOGS * 9 // 10]}


def _age(key: str) -> names.VersionOrder:
    return names.version_order(key.rpartition(":")[2])


def _forward(what: str, known: Mark | None, seen: Mark | None) -> None:
    if known is None or seen is None or seen == known:
        return
    if seen.order == known.order:
        raise _other(what)
    if seen.order < known.order:
        raise _older(what, f"number {known.number} was there before, now it is {seen.number}")


def log_order(mark: Mark) -> tuple[int, int]:
    """Give what decides which of two marks of a log is the later: its size; then the number of its commit.

    Which commit brought a log to a size a proof does not tell: its mark has number 0.
    """
    return mark.number, mark.era


def _news(
    known: Mapping[str, Mark],
    seen: Mapping[str, Mark],
    called: Callable[[str], str],
    choose: Callable[[str, Mark | None, Mark | None], Mark | None] | None = None,
) -> dict[str, Mark]:
    """Give the marks that are later than the known ones."""
    found = {}
    for key, mark in seen.items():
        before = known.get(key)
        later = (choose or _later)(called(key), before, mark)
        if later is not None and later is not before:
            found[key] = later
    return found


def _later(what: str, known: Mark | None, seen: Mark | None) -> Mark | None:
    if seen is None or known is None:
        return seen or known
    if seen.order == known.order:
        if seen.digest != known.digest:
            raise _other(what)
        return known
    return max(known, seen, key=lambda mark: mark.order)


def _longer(what: str, known: Mark | None, seen: Mark | None) -> Mark | None:
    if seen is None or known is None:
        return seen or known
    if seen.number == known.number and seen.digest != known.digest:
        raise _other(what)
    return known if log_order(known) >= log_order(seen) else seen


def _older(what: str, reason: str) -> Rollback:
    return Rollback(
        f"The store offers an older state of {what} than this client has seen: {reason}.",
        subject=what,
        hint="Somebody put back an old copy, or a backup was restored. Ask the vault's owner.",
    )


def _other(what: str) -> Rollback:
    return Rollback(
        f"Under the same number, the store offers other content for {what} than this client has seen.",
        subject=what,
        hint="One of the two is not genuine. Ask the vault's owner.",
    )


def _channel(key: str) -> str:
    environment, slot, model = key.split("/", 2)
    return f"{model}@{environment}" if slot == names.MAIN else f"{model}@{environment}/{slot}"


def _same_vault(known: Memory, seen: Memory) -> None:
    if known.vault != seen.vault:
        raise ValueError("These are memories of two vaults")


def _text(value: JSONValue) -> str:
    if not isinstance(value, str):
        raise malformed("An entry", "it is a string")
    return value


def _channel_text(text: str) -> str:
    if not _CHANNEL.match(text):
        raise malformed("A key", "it is environment/slot/model")
    return text


def _log_text(text: str) -> str:
    log_names.parse(text)
    return text


def _version_text(text: str) -> str:
    model, _, version = text.rpartition(":")
    if not _MODEL.match(model):
        raise malformed("A key", "it is model:version")
    names.version(version)
    return text
