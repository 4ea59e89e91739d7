"""Read a whole copy of a vault and say whether it holds: signatures, channels, ciphertext, logs; no key."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

from vault.actions import (
    backing_up,
    backing_up_logged,
    backing_up_places,
    backing_up_plan,
    backing_up_versions,
    checking,
    removing,
    resolving,
    reviewing_replaying,
    reviewing_verifying,
)
from vault.actions.backing_up_run import Backup, Options, Run
from vault.actions.backing_up_throttle import Throttle
from vault.actions.check_report import Finding
from vault.actions.session import Session
from vault.core import backup_order, limits
from vault.core.backup_receipt import Covered
from vault.core.in_force import Channel
from vault.core.stages import Resolved, Target
from vault.errors import Expired, NotFound, Refused, VaultError
from vault.ports import Store


@dataclass(slots=True)
class Examined:
    """What a copy of a vault was found to be.

    `covered` are the versions that hold; `read` of them were read to the last byte; `channels` is how
    many name a version that holds. `logs` says of the audit logs `yes`, `no` or `not checkable`.
    """

    covered: list[Covered] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    read: int = 0
    read_bytes: int = 0
    channels: int = 0
    logs: str = reviewing_verifying.YES

    @property
    def whole(self) -> bool:
        """Tell whether everything that was looked at holds."""
        return not any(entry.level == "bad" for entry in self.findings)

    def bad(self, subject: str, error: VaultError) -> None:
        """Note what does not hold."""
        self.findings.append(Finding("bad", subject, error.message, error.code))


def examine(there: Session, *, percent: float = 100.0, threads: int = 4, seed: str = "") -> Examined:
    """Verify a copy by its own trust documents; of `percent` of the versions every byte is read.

    Which versions these are `seed` decides. Time matters to none of it: a copy is looked at, not used.

    Raises:
        Refused, NotFound: the trust documents do not verify.
        Unavailable: the store failed.
    """
    found = Examined()
    resolved = backing_up_versions.resolved_of(there)
    listed = backing_up_plan.folders(there.store)
    folders = {folder: payloads for folder, payloads in listed.items() if payloads.published}
    begun = sum(1 for payloads in listed.values() if payloads.objects and not payloads.published)
    if begun:
        told = f"{begun:,} more have files there and no manifest: a backup or publication was interrupted"
        found.findings.append(Finding("note", "versions", told))
    chosen = _chosen(sorted(folders), percent, seed)

    def look(folder: str) -> Covered | Finding | None:
        return backing_up.look_at(there, resolved, folder, folders[folder], read=folder in chosen)

    with ThreadPoolExecutor(threads, thread_name_prefix="backup-verify") as pool:
        looked = zip(sorted(folders), pool.map(look, sorted(folders)), strict=True)
        for done, (folder, entry) in enumerate(looked, start=1):
            there.progress(done, len(folders), "versions verified")
            if isinstance(entry, Covered):
                found.covered.append(entry)
                if folder in chosen:
                    found.read, found.read_bytes = found.read + 1, found.read_bytes + entry.size
            elif entry is not None:
                found.findings.append(entry)
    for where in checking.all_channels(there):
        _channel(there, resolved, where, found)
    _heads(there, found)
    _logs(there, found)
    found.findings += backing_up_logged.missing(there)
    return found


def _chosen(folders: list[str], percent: float, seed: str) -> frozenset[str]:
    """Choose so many percent of the versions, at least one if there are any."""
    if percent >= 100:
        return frozenset(folders)
    wanted = min(len(folders), max(1, round(len(folders) * percent / 100)))
    return frozenset(random.Random(seed).sample(folders, wanted))  # noqa: S311 (which to look at, no secret)


def _channel(there: Session, resolved: Resolved, where: Channel, found: Examined) -> None:
    """Find what a channel's records come to, and that the version which it names verifies."""
    here = replace(resolved, rule=resolved.context.policy.environments[where.environment])
    authorised = resolving.anybody(here, where.model)
    try:
        state = resolving.channel(there, authorised, where)
        found.findings += [
            Finding("skipped", entry.name, entry.reason, entry.code) for entry in state.skipped
        ]
        if state.naming is None or state.manifest is None or state.naming.record.version is None:
            return
        version = state.naming.record.version
        data = resolving.read_manifest(there, where.model, version)
        target = Target(version, state.manifest, state.naming)
        removing.demand_payloads(there, resolving.verify(there, authorised, target, data))
    except VaultError as error:
        found.bad(str(where), error)
        return
    found.channels += 1


def _heads(there: Session, found: Examined) -> None:
    """Compare the attested heads with what the copy holds; that they lapsed since is in the nature of it."""
    for rule in there.trust().policy.environments.values():
        if rule.require.fresh is not None:
            try:
                there.resolve(rule.name)
            except Expired:
                continue
            except VaultError as error:
                found.bad(f"heads of {rule.name}", error)


def _logs(there: Session, found: Examined) -> None:
    try:
        verified = reviewing_verifying.verify(there)
    except NotFound:
        return  # nothing was ever recorded
    found.logs = verified.whole
    found.findings += [
        Finding("bad", f"log {entry.log}", entry.message, entry.code)
        for entry in verified.findings
        if entry.level == reviewing_replaying.BAD and not entry.derived
    ]


def verify(session: Session, target: Store, options: Options, *, percent: float = 100.0) -> Backup:
    """Read everything at a backup's destination, or a part of it, and verify it; sign a receipt of it.

    A receipt is signed where every byte was read and this identity may.

    Raises:
        NotFound: there is no backup of this vault.
        Conflict: it is another vault's.
        Refused, Unavailable.
    """
    if not backing_up_places.is_vault(target, session.pin):
        raise NotFound(
            f"There is no backup of this vault at {target.location}.",
            code="no-such-vault",
            subject=target.location,
            hint="Make one, or go on with one that was interrupted: mvault backup LOCATION",
        )
    there = backing_up_versions.session_for(session, target)
    there.progress = session.progress
    name = options.name or backing_up_places.name_of(target)
    source = backing_up.behind(session.store)
    run = Run(session, source, target, Throttle(options.limit, options.limit_requests), options.threads)
    heads, _ = backing_up.log_heads(there)
    seed = session.random(16).hex()
    result = Backup(name, target.location)
    for result.objects, size in enumerate(_everything(target), start=1):
        result.size += size
    found = examine(there, percent=percent, threads=run.threads, seed=seed)
    result.findings = [*found.findings, *_other_than(source, target, run.threads)]
    result.versions, result.verified_bytes = len(found.covered), found.read_bytes
    if percent < 100:
        result.no_receipt = "only a part was read"
    else:
        result.no_receipt = backing_up.why_none(session, options)
    if not result.no_receipt:
        covered = found.covered
        result.receipt = backing_up.receipt(session, run, covered, heads, result, read=True).record.number
    return result


def _other_than(source: Store, target: Store, threads: int) -> list[Finding]:
    """Compare documents and keys with those of the vault, byte by byte, where both have them."""

    def differs(name: str) -> Finding | None:
        try:
            ours = source.read(name, limit=limits.ENVELOPE_BYTES)
            theirs = target.read(name, limit=limits.ENVELOPE_BYTES)
        except NotFound:
            return None  # one does not have it: the next backup copies it, or it was deleted
        except Refused as refusal:
            return Finding("bad", name, refusal.message, refusal.code)
        if ours == theirs:
            return None
        return Finding("bad", name, "the vault and the backup have other bytes under it", "digest-mismatch")

    wanted = (
        name
        for name, _ in backing_up_plan.sizes(target, "")
        if backup_order.is_copied(name)
        and not backup_order.is_payload(name)
        and not backup_order.is_derived(name)
    )
    with ThreadPoolExecutor(threads, thread_name_prefix="backup-verify") as pool:
        found = [entry for batch in _batches(wanted) for entry in pool.map(differs, batch)]
    return [entry for entry in found if entry is not None]


def _batches(names: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(names, 1_000)):
        yield batch


def _everything(store: Store) -> Iterator[int]:
    return (size for name, size in backing_up_plan.sizes(store, "") if backup_order.is_copied(name))
