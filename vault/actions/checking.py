"""Check what is stored: signatures, places and ciphertext without any key; plaintext with `data`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from vault import sealing
from vault.actions import (
    archived,
    attesting,
    carrying,
    check_journal,
    check_report,
    holding,
    labelling,
    objects,
    removing,
    resolving,
)
from vault.actions.check_memory import GatheringMemory
from vault.actions.check_report import Finding, Report
from vault.actions.journal import Journal
from vault.actions.reading import Package, judged
from vault.actions.session import Session
from vault.core import admission, ciphertext_tree, layout, limits, memory_format, names
from vault.core.in_force import Channel, Signed
from vault.core.manifest import METADATA
from vault.core.names import Digest, Environment, Model, Reference, Version
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Target, Verified
from vault.core.trust import Skipped
from vault.errors import Expired, NotFound, Refused, Unavailable, VaultError

Look = Callable[["_Checker"], None]

_PATIENCE: Final = 8  # so many in a row may not be readable before the store itself is taken to be


def check(
    session: Session,
    reference: Reference | None,
    *,
    data: bool,
    resume: bool = False,
    state: Path | None = None,
) -> Report:
    """Check one version, or the whole vault; with `data` every file is decrypted and compared too.

    What was looked at of a whole vault is kept in the folder `state` until all of it has been read;
    `resume` goes on where one was stopped, under the same policy and with the same `data`.

    Raises:
        Refused, NotFound: the trust documents themselves do not verify.
        Unavailable: they cannot be read; or nothing can any more, of a whole vault.
    """
    report = Report()
    trust = session.trust()
    report.skip(session.trust_skipped())
    report.ok("trust", f"root {trust.root.root.version} and policy {trust.policy.version} are in force")
    if reference is not None:
        _Checker(session, report, data=data).reference(reference)
        return report
    what = {"vault": session.pin, "policy": trust.policy_id.digest, "data": data, "as": session.environment}
    kept = check_journal.place(state, session.pin)
    journal = check_journal.begin(kept, what, resume=resume, now=session.clock())
    report.since = journal.began
    gathered = GatheringMemory(session.memory, session.pin)
    ended = False
    try:
        try:
            _everything(replace(session, memory=gathered), report, journal, data=data)
        finally:
            gathered.flush()
        ended = not report.unread
    finally:
        journal.end(whole=ended)
    return report


def of_reference(session: Session, reference: Reference, *, data: bool) -> Report:
    """Check one of many: what a reference means, or of a name alone all versions and channels of the model.

    Raises:
        NotFound: there is nothing of it.
        Refused, Unavailable: the trust documents do not verify.
    """
    report = Report()
    checker = _Checker(session, report, data=data)
    if (reference.version, reference.digest, reference.environment) != (None, None, None):
        checker.reference(reference)
        return report
    model = reference.model
    listed = resolving.version_names(session, model)
    if not listed:
        raise NotFound(f"There is no model {model}.", subject=model, hint="See what there is: mvault ls")
    for version in listed:
        checker.version(model, version)
    for where in all_channels(session, [model]):
        checker.channel(where)
    return report


def _everything(session: Session, report: Report, journal: Journal, *, data: bool) -> None:
    for rule in session.trust().policy.environments.values():
        if rule.require.fresh is not None:
            _Checker(session, report, data=data).heads(rule.name)
    listed = [
        (model, version) for model in models(session) for version in resolving.version_names(session, model)
    ]
    known_versions, known_channels = _remembered(session)
    versions = list(dict.fromkeys([*listed, *known_versions]))
    channels = list(dict.fromkeys([*all_channels(session), *known_channels]))
    todo: list[tuple[str, Look]] = [
        *((f"{model}:{version}", partial(_version, model, version)) for model, version in versions),
        *((str(where), partial(_channel, where)) for where in channels),
    ]
    silent = 0
    for done, (name, look) in enumerate(todo, start=1):
        session.progress(done, len(todo), "versions and channels")
        found = _item(report, journal, name, partial(_looked, session, look, data=data))
        unanswered = [entry for entry in found.findings if entry.code == Unavailable.default_code]
        silent = silent + 1 if unanswered else 0
        if silent == _PATIENCE:
            raise Unavailable(
                f"The store does not answer: {unanswered[0].message}",
                subject=name,
                hint="Once it does: mvault check --all --continue",
            )
    report.skip(holding.read(session, session.trust().context).skipped)
    for copy in carrying.differences(session):
        level = "skipped" if copy.harmless else "bad"
        report.findings.append(Finding(level, copy.name, copy.reason, copy.code))


def _item(report: Report, journal: Journal, name: str, look: Callable[[], Report]) -> Report:
    """Look at one version or channel, unless that was done; what could not be read is looked at again."""
    earlier = journal.done.get(name)
    found = None if earlier is None else check_report.reported(earlier)
    if found is not None:
        report.earlier += 1
    else:
        found = look()
        if not found.unread:
            journal.add(name, check_report.kept(found))
    report.add(found)
    return found


def _looked(session: Session, look: "Look", *, data: bool) -> Report:
    found = Report()
    look(_Checker(session, found, data=data))
    return found


def _version(model: Model, version: Version, checker: "_Checker") -> None:
    checker.version(model, version)


def _channel(where: Channel, checker: "_Checker") -> None:
    checker.channel(where)


def _remembered(session: Session) -> tuple[list[tuple[Model, Version]], list[Channel]]:
    """Give what this client has seen: a version or channel that is gone altogether is listed nowhere."""
    known = session.memory.load()
    versions = [
        (names.model(model), names.version(version))
        for model, _, version in (key.rpartition(":") for key in known.versions)
    ]
    channels = [
        Channel(names.environment(environment), names.slot(slot), names.model(model))
        for environment, slot, model in (key.split("/", 2) for key in known.channels)
        if environment in session.trust().policy.environments
    ]
    return versions, channels


def models(session: Session, below: str = "") -> Iterator[Model]:
    """List the models that the store has folders for, in order; `below` narrows to one and those under it."""
    yield from _models(session, f"{below}/" if below else "", below.count("/") + 1 if below else 0)


def _models(session: Session, below: str, depth: int) -> Iterator[Model]:
    if depth > limits.MODEL_PARTS:
        return
    for name in session.store.list_folders(layout.MODELS + below):
        if name == f"{layout.MARK}/":
            if below:
                yield names.model(below.removesuffix("/"))
        elif name.endswith("/"):
            try:
                names.model(below + name.removesuffix("/"))
            except Refused:
                continue  # a stranger's folder
            yield from _models(session, below + name, depth + 1)


def all_channels(session: Session, of: Sequence[Model] | None = None) -> Iterator[Channel]:
    """List the channels of all models, or `of`, that the store has folders for in the environments."""
    listed = [*models(session)] if of is None else of
    for environment in session.trust().policy.environments:
        for name in session.store.list_folders(f"channels/{environment}/"):
            try:
                slot = names.slot(name.removesuffix("/"))
            except Refused:
                continue
            for model in listed:
                folder = layout.channel(environment, slot, model)
                if objects.numbers(session.store, folder):
                    yield Channel(environment, slot, model)


class _Checker:
    def __init__(self, session: Session, report: Report, *, data: bool) -> None:
        self._session = session
        self._report = report
        self._data = data

    def reference(self, reference: Reference) -> None:
        """Check the version that a reference means."""
        model = reference.model
        if reference.version is not None:
            self.version(model, reference.version, asked=True)
            return
        if reference.environment is not None:
            where = Channel(reference.environment, reference.slot or names.MAIN, model)
            version = self.channel(where)
            if version is not None:
                self.version(model, version)
                return
            raise NotFound(f"Nothing is in force in {where}.", subject=str(where))
        listed = resolving.version_names(self._session, model)
        if not listed:
            raise NotFound(f"There is no model {model}.", subject=model, hint="See what there is: mvault ls")
        ranked = sorted(listed, key=lambda version: not names.version_order(version).released)
        for version in ranked if reference.digest is not None else ranked[:1]:
            self.version(model, version)

    def heads(self, environment: Environment) -> None:
        """Check the heads of an environment that asks for them; a lapse is bad where it stops loads."""
        subject = f"heads of {environment}"
        try:
            state = self._session.resolve(environment).freshness
        except VaultError as error:
            self._report.bad(error, subject)
            return
        self._report.skip(self._session.heads_skipped(environment))
        if state is None or state.fresh or state.mode == "warn":
            self._report.ok(subject, "fresh" if state is None or state.fresh else state.lapse)
        else:
            self._report.bad(Expired(f"Loads may stop: {state.lapse}.", code="heads-expired"), subject)

    def channel(self, where: Channel) -> Version | None:
        """Check a channel's records; give the version in force."""
        try:
            resolved = self._session.resolve(where.environment)
            authorised = resolving.anybody(resolved, where.model)
            found = resolving.channel(self._session, authorised, where)
            self._session.remember(resolved, (where, found.head))
        except VaultError as error:
            self._report.bad(error, str(where))
            return None
        self._report.skip(found.skipped)
        if found.head is None:
            return None
        version = None if found.naming is None or found.manifest is None else found.naming.record.version
        if version is None:
            self._report.ok(str(where), "names nothing: withdrawn")
            return None
        try:
            target = Target(version, found.manifest, found.naming)
            data = resolving.read_manifest(self._session, where.model, version)
            verified = resolving.verify(self._session, authorised, target, data)
            removing.demand_payloads(self._session, verified)
        except VaultError as error:
            self._report.bad(error, str(where))
            return None
        self._report.ok(str(where), f"names {version}")
        return version

    def version(self, model: Model, version: Version, *, asked: bool = False) -> None:
        """Check one version: manifest, sealing record, ciphertext, and plaintext where that is wanted.

        A manifest that does not verify may be a stranger's, which does no harm;
        it counts where the version was asked for or was seen to be genuine before.
        """
        subject = f"{model}:{version}"
        report = self._report
        resolved = self._session.resolve(self._session.environment)
        try:
            data = resolving.read_manifest(self._session, model, version)
        except NotFound as error:
            if asked or self._known(model, version):
                report.bad(error, subject)
            else:
                report.skip([Skipped(subject, "it has no manifest: it was never finished", "not-found")])
            return
        except Refused as refusal:
            self._refused(refusal, subject, counts=asked or self._known(model, version))
            return
        try:
            verified = resolving.verify(
                self._session,
                resolving.anybody(resolved, model),
                Target(version, None, None, open=False),
                data,
            )
        except Refused as refusal:
            self._refused(refusal, subject, counts=asked or self._known(model, version))
            return
        report.versions += 1
        try:
            self._session.remember(resolved, verified)
            report.skip(labelling.skipped(self._session, resolved, verified))
            report.skip(attesting.skipped(self._session, verified))
            gone, passed = removing.told(self._session, verified)
            report.skip(passed)
            if gone:
                report.ok(subject, f"signatures verified; {gone}")
                return
            away = self._sealing(verified)
            if self._data and away is None:
                self._plaintext(verified)
        except VaultError as error:
            report.bad(error, subject)
            return
        report.ok(subject, "verified" if away is None else f"signatures verified; {away.message}")

    def _refused(self, refusal: Refused, subject: str, *, counts: bool) -> None:
        if counts:
            self._report.bad(refusal, subject)
        else:
            self._report.skip([Skipped(subject, refusal.message, refusal.code)])

    def _known(self, model: Model, version: Version) -> bool:
        return memory_format.version_key(model, version) in self._session.memory.load().versions

    def _sealing(self, verified: Verified) -> VaultError | None:
        """Check the ciphertext of the sealing record in force; say where it is if it was archived.

        It needs no key.
        """
        found: Signed[SealingRecord] | None = None
        for entry in judged(self._session, verified):
            if isinstance(entry, Skipped):
                self._report.skip([entry])
            elif found is None:
                found = entry
        sealed = admission.seal(verified, [found] if found else [], self._session.allowance)
        self._report.skip(
            entry for entry in archived.judged(self._session, verified) if isinstance(entry, Skipped)
        )
        away: VaultError | None = None
        for file in sealed.sealing.files:
            name = layout.payload(sealed.sealing.model, sealed.sealing.version, file.name)
            try:
                self._scrub(name, file)
            except (NotFound, Unavailable) as error:
                away = archived.explained(self._session, verified, file, error)
                if away.code != archived.CODE:
                    raise
                continue
            if file.cipher_size > limits.UNIT_CIPHER + limits.AGE_NONCE:
                units = self._session.store.read(
                    layout.units(name), limit=ciphertext_tree.units_size(file.cipher_size)
                )
                ciphertext_tree.parse_units(units, cipher_size=file.cipher_size, expected_root=file.root)
            self._report.files += 1
            self._report.bytes += file.cipher_size
        return away

    def _scrub(self, name: str, file: SealedFile) -> None:
        with self._session.store.open(name) as source:
            sealing.scrub(
                source,
                cipher_size=file.cipher_size,
                root=file.root,
                progress=self._session.progress,
                what=file.path,
            )

    def _plaintext(self, verified: Verified) -> None:
        """Decrypt every file and compare it with what was signed; nothing is kept."""
        key_id = Digest(self._session.identity.key_id)
        resolved = verified.authorised.resolved
        authorised = admission.authorise(resolved, key_id, "pull", verified.manifest.model)
        mine = Verified(authorised, verified.target, verified.manifest, verified.digest, verified.publishers)
        package = Package(self._session, mine)
        for entry in verified.manifest.files:
            if entry.path != METADATA:
                sha256 = package.write(entry, _Nowhere())
                admission.check_plaintext(package.opened, entry, entry.size, sha256)


class _Nowhere:
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop what was decrypted."""
