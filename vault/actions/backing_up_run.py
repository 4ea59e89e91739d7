"""Run a backup or a restore: what it is asked, what it did, and its copying by several threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from vault.actions import archived, backing_up_plan, backing_up_versions
from vault.actions.backing_up_copy import COPIED, FAILED, GONE, TOGETHER, Ciphertext, Copied, Copier, Item
from vault.actions.backing_up_plan import Groups, Plan
from vault.actions.backing_up_throttle import Throttle
from vault.actions.check_report import Finding
from vault.actions.session import Session
from vault.core import backup_order, limits
from vault.core.names import Slot
from vault.errors import Unavailable, VaultError
from vault.ports import Store, is_far

NEAR_THREADS: Final = 4
FAR_THREADS: Final = 16
_PATIENCE: Final = 8  # so many in a row may fail before the store itself is taken to be failing
_TOLD: Final = 1_000  # findings of one kind that are listed
_BATCH: Final = 256
_BATCH_BYTES: Final = 4 * limits.MIB


@dataclass(frozen=True, slots=True)
class Options:
    """How to back up: `limit` in bytes and `limit_requests` in requests a second; `name` of the backup."""

    name: Slot | None = None
    limit: int | None = None
    limit_requests: int | None = None
    threads: int | None = None
    prune: bool = False
    dry_run: bool = False
    receipt: bool = True


@dataclass(slots=True)
class Backup:
    """What a run did. `objects` and `size` are the vault's; `versions` are verified at the destination.

    `receipt` is the number of the receipt that was signed; where none was, `no_receipt` says why.
    """

    name: Slot
    destination: str
    objects: int = 0
    size: int = 0
    copied: int = 0
    copied_bytes: int = 0
    pruned: int = 0
    versions: int = 0
    verified_bytes: int = 0  # read and compared in this run
    findings: list[Finding] = field(default_factory=list)
    receipt: int | None = None
    no_receipt: str = ""
    dry_run: bool = False

    @property
    def whole(self) -> bool:
        """Tell whether the destination has all that the vault has, as it was signed."""
        return not any(entry.level == "bad" for entry in self.findings)

    def bad(self, subject: str, message: str, code: str) -> None:
        """Note what is not as it should be; of many alike the first are told."""
        if len(self.findings) < _TOLD:
            self.findings.append(Finding("bad", subject, message, code))


class Run:
    """Copies what a plan says, stage after stage, each stage by several threads."""

    def __init__(
        self, session: Session, source: Store, target: Store, throttle: Throttle, threads: int | None
    ) -> None:
        """Copy from `source` to `target`; more threads where each answer takes a while."""
        self.session = session
        self.target = target
        self.source = source
        self.throttle = throttle
        self.threads = threads or (FAR_THREADS if is_far(source) or is_far(target) else NEAR_THREADS)
        self.touched: set[str] = set()  # folders of versions whose payloads, records or manifest were copied
        self.broken: set[str] = set()
        self._expected: dict[str, Ciphertext] = {}
        self._prepared: set[str] = set()
        self._copier = Copier(source, target, throttle, self._expected)
        self._failed_in_a_row = 0

    def copy(self, plan: Plan, *, founded: bool, into: Backup) -> None:
        """Copy everything that is missing.

        Raises:
            Unavailable: a store failed again and again, is full, or refuses; or a trust document
                cannot be copied.
        """
        done, total = 0, plan.bytes
        with ThreadPoolExecutor(self.threads, thread_name_prefix="backup") as pool:
            for stage in backing_up_plan.stages(plan, self.source, founded=founded):
                groups = self._wanted(stage)
                self._prepare(pool, groups)
                for copied in self._stage(pool, groups):
                    self._note(copied, plan, into)
                    done += copied.item.size
                    self.session.progress(min(done, total), total, "backup")

    def _wanted(self, groups: Groups) -> Groups:
        """Leave out what rests on something that could not be copied."""
        if not self.broken:
            return groups
        models = {place[0] for folder in self.broken if (place := backup_order.place_of(folder))}

        def rests(item: Item) -> bool:
            phase = backup_order.phase(item.name)
            if phase == backup_order.VERSIONS:
                return backup_order.version_folder(item.name) in self.broken
            return phase == backup_order.HEADS or (
                phase == backup_order.CHANNELS and any(f"/{model}/@/" in item.name for model in models)
            )

        kept = ([item for item in group if not rests(item)] for group in groups)
        return [group for group in kept if group]

    def _prepare(self, pool: ThreadPoolExecutor, groups: Groups) -> None:
        """Learn from verified sealing records what the payloads of a stage must be."""
        folders = {
            backup_order.version_folder(item.name)
            for group in groups
            for item in group
            if backup_order.is_payload(item.name)
        } - self._prepared
        if not folders:
            return
        self._prepared |= folders
        resolved = backing_up_versions.resolved_of(self.session)
        session = replace(self.session, store=self.source, allowance=backing_up_versions.EVERY_SIZE)
        for found in pool.map(
            lambda folder: backing_up_versions.ciphertext(session, resolved, folder), sorted(folders)
        ):
            self._expected.update(found)

    def _stage(self, pool: ThreadPoolExecutor, groups: Groups) -> Iterator[Copied]:
        tasks = iter([*_batches(groups)])
        while window := [pool.submit(self._task, task) for task in islice(tasks, 4 * self.threads)]:
            try:
                for future in window:
                    yield from future.result()
            finally:
                for future in window:
                    future.cancel()

    def _task(self, items: list[Item]) -> list[Copied]:
        loose = len(items) > 1 and not backup_order.group(items[0].name)
        if loose:
            return [*self._copier.together(items)]
        found = []
        for item in items:
            found.append(self._copier.one(item))
            if found[-1].state == FAILED:
                break  # what follows rests on it
        return found

    def _note(self, copied: Copied, plan: Plan, into: Backup) -> None:
        item, folder = copied.item, backup_order.version_folder(copied.item.name)
        if copied.error is not None:
            self._fail(item, copied.error, into)
            return
        self._failed_in_a_row = 0
        if copied.state == GONE:
            return
        if copied.state == COPIED:
            into.copied += 1
            into.copied_bytes += item.size
        backing_up_plan.added(plan, item)
        below = item.name[len(folder) :]
        if folder and (below.startswith(("files/", "sealed/")) or below == "manifest.json"):
            self.touched.add(folder)

    def _fail(self, item: Item, error: VaultError, into: Backup) -> None:
        phase = backup_order.phase(item.name)
        if phase == backup_order.TRUST:
            raise error
        if error.code == archived.COLD:  # its version is whole, and not here
            into.findings.append(Finding("skipped", item.name, error.message, error.code))
            return
        into.bad(item.name, error.message, error.code)
        if phase == backup_order.VERSIONS:
            self.broken.add(backup_order.version_folder(item.name))
        self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(error, Unavailable) else 0
        if self._failed_in_a_row == _PATIENCE:
            raise error


def _batches(groups: Groups) -> Iterator[list[Item]]:
    """Put small objects that have no order among them together; leave every other group as it is."""
    batch: list[Item] = []
    size = 0
    for group in groups:
        item = group[0]
        if len(group) > 1 or item.size > TOGETHER or item.again or backup_order.group(item.name):
            yield group
            continue
        batch.append(item)
        size += item.size
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
