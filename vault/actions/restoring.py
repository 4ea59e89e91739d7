"""Bring a vault back from a backup into an empty place, and prove what came back.

Nothing is believed of a backup but the pin: what does not verify is not copied,
or is told. Neither the vault that was lost nor this machine's memory is needed.
"""

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vault import memory
from vault.actions import (
    backing_up,
    backing_up_places,
    backing_up_plan,
    backing_up_verify,
    log_writers,
    resolving,
    restoring_recovery,
    trusting,
)
from vault.actions.backing_up_run import Backup, Run
from vault.actions.backing_up_throttle import Throttle
from vault.actions.backing_up_verify import Examined
from vault.actions.check_report import Finding
from vault.actions.restoring_recovery import Fresh, Opened, RecoveryKey
from vault.actions.session import Remembering, Session
from vault.core import backup_order, log_names
from vault.core.allowance import Allowance
from vault.core.in_force import Channel
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment, Model, Slot, Version
from vault.core.policy import LogHead, PolicyId
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.ports import Clock, Progress, Random, Store, no_progress
from vault.settings import Settings
from vault.storage.local import LocalStore


@dataclass(frozen=True, slots=True)
class Here:
    """What a restore uses of this machine: clock, randomness, what to report to, the operator's allowance."""

    clock: Clock
    random: Random
    progress: Progress = no_progress
    allowance: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True, slots=True)
class Asked:
    """How to restore: `sample` percent of the versions are decrypted, and loaded as `fresh` says."""

    recovery: RecoveryKey | None = None
    sample: float = 5.0
    fresh: Fresh | None = None
    limit: int | None = None
    limit_requests: int | None = None
    threads: int | None = None


@dataclass(slots=True)
class Restored:
    """What came back, and what it was proved to be.

    `location` is where it lies, None where it was only tried. `opened` is what a
    recovery identity opened, None where none was given. `behind` says what this
    machine has seen that the backup does not have; empty where that is nothing.
    """

    vault: Digest
    policy: PolicyId
    source: str
    location: str | None
    copied: Backup
    examined: Examined
    logs: list[LogHead]
    opened: Opened | None = None
    findings: list[Finding] = field(default_factory=list)
    behind: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Tell whether everything came back and holds."""
        return not any(entry.level == "bad" for entry in self.findings)


def pin_of(source: Store, settings: Settings, root: Digest | None, recovery: RecoveryKey | None) -> Digest:
    """Decide by whose word a backup is the vault's: a fingerprint, the recovery file's, or a pin here.

    Raises:
        NotFound: there is no vault in the backup.
        Refused: `not-trusted`: nothing says so; or it is another vault's (`digest-mismatch`).
    """
    claimed = trusting.fingerprint(source)
    told = root or (None if recovery is None else recovery.vault)
    if told is None:
        pins = memory.Pins(settings.config_dir).all().values()
        told = next((Digest(pin.root) for pin in pins if pin.root == claimed), None)
    if told is None:
        raise Refused(
            f"Nothing here says that {source.location} is the backup of your vault.",
            code="not-trusted",
            subject=source.location,
            hint=f"It says that it is sha256:{claimed}. Compare that with what you wrote down, or with the "
            "printed sheet of the recovery key, then add: --root sha256:…",
        )
    if told != claimed:
        raise Refused(
            f"{source.location} is of another vault: sha256:{claimed}, not sha256:{told}.",
            code="digest-mismatch",
            subject=source.location,
            hint="Look at which backup you meant.",
        )
    return told


def open_copy(store: Store, pin: Digest, here: Here, remembering: Remembering | None = None) -> Session:
    """Open a copy of a vault as a client that remembers nothing, unless it is given a memory."""
    session = Session(
        store=store,
        pin=pin,
        memory=remembering or memory.ClientMemory(pin, None),
        unlock=None,
        environment=Environment("dev"),
        allowance=here.allowance,
        clock=here.clock,
        random=here.random,
        progress=here.progress,
    )
    environments = session.trust().policy.environments
    if session.environment not in environments:
        session.environment = next(iter(environments))
    return session


def restore(source: Store, target: Store, pin: Digest, asked: Asked, here: Here) -> Restored:
    """Copy a backup into an empty place and prove it there; what does not verify is not copied.

    A restore that was interrupted goes on where it was.

    Raises:
        ValueError: the two places lie in one another.
        Conflict: something lies at `target`.
        NotFound: there is no backup of this vault at `source`.
        Refused: its trust documents do not verify.
        Unavailable: a store failed or is full.
    """
    backing_up_places.demand_apart(source, target)
    if not backing_up_places.is_vault(source, pin):
        raise NotFound(
            f"There is no backup at {source.location}.", code="no-such-vault", subject=source.location
        )
    there = open_copy(source, pin, here)
    there.trust()  # what does not verify here is not worth a byte
    backing_up_places.claim(target, pin, backup_order.RESTORING)
    plan = backing_up_plan.compare(source, target)
    _demand_room(target, plan.bytes)
    copied = Backup(backing_up_places.name_of(source), source.location, plan.objects, plan.size)
    for name in plan.altered:
        copied.bad(
            name, "the backup and what was restored before have it in different sizes", "digest-mismatch"
        )
    run = Run(there, source, target, Throttle(asked.limit, asked.limit_requests), asked.threads)
    run.copy(plan, founded=False, into=copied)
    session = open_copy(target, pin, here)
    examined = backing_up_verify.examine(session, threads=run.threads)
    heads, doubts = backing_up.log_heads(session)
    found = Restored(
        pin, session.trust().policy_id, source.location, target.location, copied, examined, heads
    )
    found.findings = [*copied.findings, *examined.findings, *doubts]
    if asked.recovery is not None:
        _open(session, asked, found)
    target.delete(backup_order.RESTORING)
    return found


def _demand_room(target: Store, size: int) -> None:
    """Refuse to begin what cannot fit.

    Raises:
        Unavailable: `storage-full`.
    """
    try:
        room = target.free_space() if isinstance(target, LocalStore) else None
    except Unavailable:
        return  # the folder is not there yet
    if room is not None and room < size:
        raise Unavailable(
            f"{target.location} has room for {room:,} bytes; the backup has {size:,}.",
            code="storage-full",
            subject=target.location,
            hint="Make room there, or give a place on a larger disk; for --check and --drill: --into DIR.",
        )


def _open(session: Session, asked: Asked, found: Restored) -> None:
    if asked.recovery is None:
        return
    try:
        environments, findings = restoring_recovery.unlock(session, asked.recovery.identity)
        opened, more = restoring_recovery.open_sample(
            session,
            found.examined.covered,
            percent=asked.sample,
            seed=session.random(16).hex(),
            fresh=asked.fresh,
        )
        opened.environments = environments
        found.opened = opened
        found.findings += [*findings, *more]
    except VaultError as error:
        found.findings.append(Finding("bad", "recovery identity", error.message, error.code))


def try_out(source: Store, place: Path | None, pin: Digest, asked: Asked, here: Here) -> Restored:
    """Restore into a folder of its own, prove it, and take it away again: a drill.

    `place` is a folder in which the temporary one is made; by default the system's.

    Raises:
        As `restore`.
    """
    with ExitStack() as stack:
        try:
            folder = tempfile.mkdtemp(prefix="mvault-restore-", dir=place)
        except OSError as error:
            raise Unavailable(
                f"No folder can be made in {place or tempfile.gettempdir()}: {error.strerror}."
            ) from None
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = restore(source, LocalStore(Path(folder) / "vault"), pin, asked, here)
    found.location = None
    return found


def settle(found: Restored, target: Store, settings: Settings, here: Here) -> None:
    """Trust what was restored at its place on this machine, and compare it with what was seen before.

    Raises:
        Conflict: another vault is trusted at that place.
        Refused, Unavailable.
    """
    trusting.pin(settings, target, found.vault)
    found.behind = behind(target, found.vault, settings, here)


def behind(store: Store, pin: Digest, settings: Settings, here: Here) -> str:
    """Say what this machine has seen of a vault that a copy does not have; empty where that is nothing.

    Nothing is remembered by looking.

    Raises:
        Refused: this machine's memory is damaged.
        Unavailable: the store failed.
    """
    remembered = memory.ClientMemory(pin, settings.state_dir)
    known = remembered.load()
    session = open_copy(store, pin, here, _Looking(remembered))
    try:
        for rule in session.trust().policy.environments.values():
            resolved = session.resolve(rule.name)
            for key in known.channels:
                environment, slot, model = key.split("/", 2)
                if environment == rule.name:
                    where = Channel(rule.name, Slot(slot), Model(model))
                    found = resolving.channel(session, resolving.anybody(resolved, where.model), where)
                    session.remember(resolved, (where, found.head))
        for key in known.logs:
            log = log_names.parse(key)
            log_writers.verified_head(session, log, session.trust().policy, log_writers.known(session, log))
        for key in known.versions:
            model, _, version = key.rpartition(":")
            resolving.read_manifest(session, Model(model), Version(version))
    except (Refused, NotFound) as error:
        return error.message
    return ""


class _Looking:
    """A memory that is compared with, and not added to."""

    def __init__(self, inner: memory.ClientMemory) -> None:
        self._inner = inner

    def load(self) -> Memory:
        """Give what is remembered."""
        return self._inner.load()

    def advance(self, seen: Memory) -> None:
        """Forget what was seen."""
