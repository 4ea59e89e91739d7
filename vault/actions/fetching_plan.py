"""What a load is sure to ask a store for, as more and more is known of what it loads.

Nothing here decides anything. What was fetched was verified by nobody; it is
parsed to see where it leads, and what is garbage leads nowhere.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Final

from vault.actions import keyring, logged
from vault.actions.session import Session
from vault.core import envelope, layout, log_names, manifest, names, records
from vault.core.channels import Slots
from vault.core.manifest import METADATA, FileEntry, Manifest
from vault.core.names import Digest, Environment, Reference, Slot, Version
from vault.core.policy import EnvironmentRule
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Authorised, Verified
from vault.core.trust import Skipped
from vault.errors import Refused
from vault.storage.ahead_answers import FOLDERS, LIST, OPEN, READ, Ask
from vault.storage.ahead_look import Look

Wanted = Callable[[EnvironmentRule, Manifest], Collection[FileEntry]]

_RECORDS: Final = 200  # roots, or policies, which are all read
_NEWEST: Final = 2  # records of a channel: the first, and where there are approvals, what they saw
_SLOTS: Final = 16
_VOTES: Final = 16
_COPIES: Final = 2  # of one key
_EPOCHS: Final = 3
_COMMITS: Final = 32
_COSIGNED: Final = 4  # checkpoints
_FILES: Final = 64  # of a package


class Plan:
    """What a load is known to ask for, as more and more is known; any thread may add to it."""

    def __init__(
        self, session: Session, look: Look, reference: Reference, environment: Environment, wanted: Wanted
    ) -> None:
        """Expect nothing yet; `wanted` tells which files of a package will be read."""
        self._session = session
        self._look = look
        self._reference = reference
        self._environment = environment
        self._wanted = wanted
        self._lock = threading.Lock()
        self._authorised: Authorised | None = None
        self._versions: dict[Version, None] = {}
        self._logged: dict[Digest, None] = {}
        self._manifests: dict[Version, Manifest] = {}
        self._sealings: dict[Version, SealingRecord] = {}
        self.found: Verified | None = None
        self.doubted: set[str] = set()

    def begin(self) -> None:
        """Expect what every load asks for, and what its reference names."""
        reference, model, environment = self._reference, self._reference.model, self._environment
        last = self._session.last_trust
        trusted = (layout.ROOTS, layout.POLICIES)  # read again only where others are listed
        self._look.recall(lambda ask: last is None or ask.verb != READ or not ask.name.startswith(trusted))
        known = ((), ()) if last is None else last.listing
        asks = [
            Ask(FOLDERS, layout.ROOTS, then=partial(_records, layout.ROOTS, _RECORDS, known[0])),
            Ask(FOLDERS, layout.POLICIES, then=partial(_records, layout.POLICIES, _RECORDS, known[1])),
            Ask(FOLDERS, layout.slots(environment), then=self._slots),
            *self._channels([names.MAIN, *([reference.slot] if reference.slot else [])]),
        ]
        folder = layout.heads(environment)
        if last is None:  # whether heads are needed is not known yet
            asks.append(Ask(FOLDERS, folder, then=partial(_records, folder, 1, ())))
        elif (rule := last.policy.environments.get(environment)) is not None and rule.require.fresh:
            asks.append(Ask(FOLDERS, folder))
        if reference.environment is None and reference.version is None:
            asks.append(Ask(FOLDERS, layout.versions(model)))
        self._look.expect(asks)
        if reference.version is not None:
            self._version(reference.version)

    def _channels(self, slots: Iterable[Slot]) -> Iterator[Ask]:
        for slot in dict.fromkeys(slots):
            folder = layout.channel(self._environment, slot, self._reference.model)
            yield Ask(FOLDERS, folder, then=partial(_records, folder, _NEWEST, (), then=self._record))

    def _slots(self, listed: list[str]) -> Iterator[Ask]:
        found = []
        for name in listed[:_SLOTS]:
            try:
                found.append(names.slot(name.removesuffix("/")))
            except Refused:
                continue
        return self._channels(found)

    def _record(self, data: bytes) -> Iterable[Ask]:
        sealed = envelope.parse(data, kind=records.CHANNEL, subject="")
        found = records.parse_channel(sealed.payload, "")
        if self._reference.environment is None or found.version is None:
            return
        with self._lock:
            self._logged[sealed.digest] = None
        yield from self._proofs()
        self._version(found.version)

    def _version(self, version: Version) -> None:
        with self._lock:
            if version in self._versions:
                return
            self._versions[version] = None
            known = self._authorised
        model = self._reference.model
        folder = layout.sealed(model, version)
        asks = [
            Ask(READ, layout.manifest(model, version), then=partial(self._manifest, version)),
            Ask(FOLDERS, folder, then=partial(_records, folder, 1, (), then=partial(self._sealing, version))),
        ]
        if self._reference.environment is None:  # what a channel names stays, whatever a removal says
            removed = layout.removals(model, version)
            asks.append(Ask(FOLDERS, removed, then=partial(_records, removed, 1, ())))
        self._look.expect(asks)
        if known is not None:
            self._look.expect(self._folders(known.resolved.rule, version))

    def authorised(self, found: Authorised) -> None:
        """Expect what the policy leads to: the wrapped keys of this identity, and the log."""
        rule = found.resolved.rule
        with self._lock:
            self._authorised = found
            versions = [*self._versions]
        mine = self._session.identity.recipient
        own = "" if mine is None else layout.copies_for(keyring.recipient_digest(mine))
        for epoch in rule.epochs[-_EPOCHS:]:
            if (rule.name, epoch.number) not in self._session.environment_keys:
                folder = layout.environment_keys(rule.name, epoch.number, found.member.name)
                if mine is None:  # it reads what a key service wrapped
                    folder = layout.service_keys(rule.name, epoch.number)
                self._look.expect([Ask(LIST, folder + own, then=partial(_named, _COPIES))])
        for version in versions:
            self._look.expect(self._folders(rule, version))
        self._look.expect(self._proofs())
        if rule.require.witnesses:
            self._look.expect(self._log(rule))

    def _keys(self, found: Authorised) -> Iterator[Ask]:
        """Expect the copies of the environment's key for this identity, and for the services that it asks."""
        rule, recipient = found.resolved.rule, self._session.identity.recipient
        for epoch in rule.epochs[-_EPOCHS:]:
            if (rule.name, epoch.number) in self._session.environment_keys:
                continue
            own = layout.environment_keys(rule.name, epoch.number, found.member.name)
            held = layout.service_keys(rule.name, epoch.number)
            folders = [held + layout.copies_for(service.digest) for service in rule.key_services[:_COPIES]]
            if recipient is not None:
                folders.append(own + layout.copies_for(keyring.recipient_digest(recipient)))
            for folder in folders:
                yield Ask(LIST, folder, then=partial(_named, _COPIES))

    def _proofs(self) -> Iterator[Ask]:
        with self._lock:
            known, digests = self._authorised, [*self._logged]
        if known is not None and known.resolved.rule.require.log is not None:
            log = log_names.environment_log(self._environment)
            for digest in digests:
                yield Ask(READ, logged.proof_name(log, digest))

    def _log(self, rule: EnvironmentRule) -> Iterator[Ask]:
        """Expect what lies beside a log whose proof is older than its witnesses' signatures."""
        log = log_names.environment_log(rule.name)
        mark = self._session.memory.load().logs.get(str(log))
        after = 0 if mark is None else mark.number

        def commits(listed: list[str]) -> Iterator[Ask]:
            return (Ask(READ, name) for name in listed[:_COMMITS])

        def sizes(listed: list[str]) -> Iterator[Ask]:
            for name in sorted(listed)[-_COSIGNED:]:
                yield Ask(FOLDERS, f"{log.folder}cosigned/{name}", then=partial(cosigned, name))

        def cosigned(folder: str, listed: list[str]) -> Iterator[Ask]:
            return (Ask(READ, f"{log.folder}cosigned/{folder}{name}") for name in listed[:_VOTES])

        yield Ask(LIST, log.commits, after=log.commit(after), then=commits)
        yield Ask(FOLDERS, f"{log.folder}cosigned/", then=sizes)

    def _folders(self, rule: EnvironmentRule, version: Version) -> Iterator[Ask]:
        """Expect what of a version is this environment's own: approvals, and headers."""
        if rule.require.approvals is not None:
            votes = layout.approvals(self._reference.model, version, rule.name)
            yield Ask(LIST, votes, then=partial(_named, _VOTES))
        if rule.require.load_test:
            words = layout.attestations(self._reference.model, version)
            yield Ask(LIST, words, then=partial(_named, _VOTES))
        for epoch in rule.epochs[-_EPOCHS:]:
            folder = layout.header_folder(self._reference.model, version, rule.name, epoch.number)
            yield Ask(LIST, folder, then=lambda _: self._files(version))

    def _manifest(self, version: Version, data: bytes) -> Iterable[Ask]:
        sealed = envelope.parse(data, kind=manifest.KIND, subject="")
        with self._lock:
            self._manifests[version] = manifest.parse(sealed.payload, "")
        return self._files(version)

    def _sealing(self, version: Version, data: bytes) -> Iterable[Ask]:
        sealed = envelope.parse(data, kind=records.SEALING, subject="")
        with self._lock:
            self._sealings[version] = records.parse_sealing(sealed.payload, "")
        return self._files(version)

    def _files(self, version: Version) -> Iterator[Ask]:
        """Expect headers and payloads of what is sure to be read, as far as it is known."""
        with self._lock:
            record, found = self._sealings.get(version), self._manifests.get(version)
            known = self._authorised
        if record is None or known is None:
            return
        rule = known.resolved.rule
        entries = () if found is None else self._wanted(rule, found)
        wanted = [record.file(METADATA), *(record.file(entry.path) for entry in entries)][:_FILES]
        files = [file for file in wanted if file is not None]
        yield from headers(record, rule, files)
        yield from payloads(record, files)

    def judged(self, verified: Verified, among: Slots) -> None:
        """Keep what was found to hold, and the folders in which something did not."""
        self.found = verified
        for place in among.places.values():
            if any(isinstance(entry, Skipped) for entry in place.looked_at):
                where = place.where
                self.doubted.add(layout.channel(where.environment, where.slot, where.model))


def _records(
    folder: str,
    most: int,
    known: Collection[int],
    listed: list[str],
    *,
    then: Callable[[bytes], Iterable[Ask]] | None = None,
) -> Iterator[Ask]:
    """Expect the newest records of a folder, unless it has those that are known, and no others."""
    found = (layout.parse_number(name) for name in listed)
    numbers = sorted({number for number in found if number is not None}, reverse=True)
    if known and [*reversed(numbers)] == [*known]:
        return
    for number in numbers[:most]:
        yield Ask(READ, folder + layout.numbered(number), fresh=number == numbers[0], then=then)


def _named(most: int, listed: list[str]) -> Iterator[Ask]:
    return (Ask(READ, name) for name in listed[:most])


def headers(record: SealingRecord, rule: EnvironmentRule, files: Collection[SealedFile]) -> Iterator[Ask]:
    """Expect the headers of files in the folders of an environment's newest epochs."""

    def candidates(folder: str, listed: list[str]) -> Iterator[Ask]:
        for file in files:
            mine = [name for name in listed if name.startswith(f"{folder}{file.name}-")]
            yield from (Ask(READ, name) for name in mine[:_COPIES])

    for epoch in rule.epochs[-_EPOCHS:]:
        folder = layout.header_folder(record.model, record.version, rule.name, epoch.number)
        yield Ask(LIST, folder, then=partial(candidates, folder))


def payloads(record: SealingRecord, files: Iterable[SealedFile | None]) -> Iterator[Ask]:
    """Expect the ciphertext of files; what is large is fetched as it is read."""
    for file in files:
        if file is not None:
            yield Ask(OPEN, layout.payload(record.model, record.version, file.name), file.cipher_size)
