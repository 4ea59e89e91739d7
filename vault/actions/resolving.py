"""From a reference to a verified manifest: admission steps 2 to 6 with their reading."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

from vault.actions import attested, attesting, auditing, chain, fetching, logged, objects, removing
from vault.actions.auditing import Act
from vault.actions.session import Observation, Session
from vault.core import admission, channels, in_force, layout, limits, memory_format, names
from vault.core.channels import Entry, Evidence, InForce, Records, Slots
from vault.core.in_force import Channel, Signed
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment, Model, Reference, Version
from vault.core.records import Adoption, Approval, ChannelRecord
from vault.core.stages import Authorised, Resolved, Target, Verified
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused, Rollback, UntrustedSigner

DEV = Environment("dev")


@dataclass(frozen=True, slots=True)
class Found:
    """A verified version, and what was skipped on the way to it."""

    verified: Verified
    skipped: tuple[Skipped, ...]


def environment_of(session: Session, reference: Reference) -> Environment:
    """Give the one environment in which a reference is used: its own, else the vault's."""
    return reference.environment or session.environment


def find(session: Session, reference: Reference, action: str, act: Act | None = None) -> Found:
    """Find and verify what a reference means, for an action in its environment; `act` is told what it is.

    Raises:
        ValueError: a bare name under an environment other than dev.
        Refused: a step of the admission failed.
        NotFound, Unavailable, NoUsableKey.
    """
    resolved = session.resolve(environment_of(session, reference))
    authorised = admission.authorise(resolved, Digest(session.identity.key_id), action, reference.model)
    fetching.authorised(session, authorised)
    auditing.demand(act, resolved)  # of what is denied nothing is given out, recorded or not
    try:
        found = find_authorised(session, authorised, reference)
    except Rollback as refusal:
        if refusal.code != "withheld" or session.trust().policy_id == resolved.context.policy_id:
            raise
    else:
        if act is not None:
            act.learn(found.verified)
        return found
    return find(session, reference, action, act)  # a policy was signed, and used, between our two looks


def find_authorised(session: Session, authorised: Authorised, reference: Reference) -> Found:
    """Do steps 4 to 6 for somebody who is authorised.

    Raises:
        As `find`.
    """
    resolved = authorised.resolved
    if reference.environment is not None:
        return _by_channel(session, authorised, reference)
    if reference.version is None and reference.digest is None:
        if (here := resolved.rule.name) != DEV:
            raise ValueError(
                f"{reference} alone means the newest version in dev. In {here}, say {reference.model}@{here} "
                f"or {reference.model}:VERSION."
            )
        return _newest(session, authorised, ())
    return _by_version(session, authorised, reference)


def anybody(resolved: Resolved, model: Model) -> Authorised:
    """Stand in for step 3 where nothing is decrypted: anybody may verify what anybody can read."""
    return Authorised(resolved, next(iter(resolved.context.policy.members.values())), "verify", model)


def identify(session: Session, resolved: Resolved, reference: Reference) -> Verified:
    """Verify what a reference means in an environment, for anybody.

    Raises:
        Refused, NotFound, Unavailable, ValueError: as `find`.
    """
    return find_authorised(session, anybody(resolved, reference.model), reference).verified


def _finish(
    session: Session, verified: Verified, skipped: tuple[Skipped, ...], among: Slots, *seen: Observation
) -> Found:
    admission.require(verified, session.clock())
    attesting.demand(session, verified)
    attested.recall(session, verified.authorised.resolved, verified.manifest.model, among)
    admission.fresh(verified, held=attested.compare(session, verified, among, seen))
    session.remember(verified.authorised.resolved, verified, *seen)
    fetching.judged(session, verified, among)
    return Found(verified, skipped)


# --- by channel ---


def _by_channel(session: Session, authorised: Authorised, reference: Reference) -> Found:
    resolved = authorised.resolved
    where = Channel(resolved.rule.name, reference.slot or names.MAIN, reference.model)
    among = slots(session, resolved, reference.model)
    found = channel(session, authorised, where, among)
    if found.head is None:
        session.remember(resolved, (where, None))
        if reference.slot is None and resolved.rule.require.none and _open(resolved):
            return _newest(session, authorised, found.skipped)
    try:
        logged.demand_counted(where, found)
        target = channels.target_of_channel(where, found)
        chain.unbroken_so_far(session.store, among)
        data = read_manifest(session, reference.model, target.version)
        verified = verify(session, authorised, target, data)
        return _finish(session, verified, found.skipped, among, (where, found.head))
    except (NotFound, Refused) as refusal:
        attested.keep(session, resolved, found.bar)
        if not isinstance(refusal, Rollback):  # it was seen, whatever became of what it names
            session.remember(resolved, (where, found.head))
        raise


def _open(resolved: Resolved) -> bool:
    """Tell whether anybody may publish straight into this environment."""
    return any(
        "publish" in rule.actions and resolved.rule.name in rule.environments
        for rules in resolved.context.policy.roles.values()
        for rule in rules
    )


def channel(session: Session, authorised: Authorised, where: Channel, among: Slots | None = None) -> InForce:
    """Give what a channel's records come to; `among` are the environment's, where they were looked at before.

    Raises:
        Refused: a record that is otherwise in force is final in its failures.
        Unavailable: a listed record cannot be read.
    """
    found = among or slots(session, authorised.resolved, where.model)
    if where.slot not in found.places:
        own = judged(session, authorised.resolved, where)
        found = Slots(found.context, {**found.places, where.slot: own})
    evidence = partial(_evidence, session, authorised, where)
    return channels.channel_in_force(authorised.resolved, where, found, evidence)


def judged(session: Session, resolved: Resolved, where: Channel) -> Records:
    """Give a channel's records, newest first, judged by everything but their approvals."""
    folder = layout.channel(where.environment, where.slot, where.model)
    return Records(
        resolved.context,
        where,
        lambda: objects.numbers(session.store, folder),
        lambda number: objects.read_listed(
            session.store, folder + layout.numbered(number), limit=limits.ENVELOPE_BYTES
        ),
    )


def slots(session: Session, resolved: Resolved, model: Model) -> Slots:
    """Give a model's records in every slot that an environment has a folder for; `main` is always one."""
    environment = resolved.rule.name
    found = {names.MAIN}
    for name in session.store.list_folders(layout.slots(environment)):
        try:
            found.add(names.slot(name.removesuffix("/")))
        except Refused:
            continue  # a stranger's folder
    return Slots(
        resolved.context,
        {slot: judged(session, resolved, Channel(environment, slot, model)) for slot in sorted(found)},
    )


def verify(session: Session, authorised: Authorised, target: Target, data: bytes) -> Verified:
    """Do step 5, reading a version's adoptions where a publisher of it does not count any more.

    Raises:
        Refused: as `admission.verify`.
        Unavailable: an adoption cannot be read.
    """
    adopted = partial(adoptions, session, authorised.resolved, authorised.model, target.version)
    return admission.verify(authorised, target, data, adopted)


def _evidence(session: Session, authorised: Authorised, where: Channel, record: ChannelRecord) -> Evidence:
    """Read what approvals are judged by: the manifest's publishers, and the approvals of its digest."""
    if record.version is None or record.manifest is None:
        return Evidence((), ())
    resolved = authorised.resolved
    found = approvals(session, resolved, where, record.version, record.manifest)
    rule = resolved.rule.require.approvals
    if rule is not None:
        most = in_force.approvers(resolved.context, rule, found, publishers=(), promoters=(), bar=(0, 0))
        if len(most) < rule.threshold:
            return Evidence((), found)  # too few, whoever published it: what it names need not even exist
    target = Target(record.version, record.manifest, None, open=False)
    data = read_manifest(session, where.model, record.version)
    return Evidence(verify(session, authorised, target, data).publishers, found)


def approvals(
    session: Session, resolved: Resolved, where: Channel, version: Version, manifest: Digest
) -> tuple[Signed[Approval], ...]:
    """Read the approvals of a manifest for an environment; what does not hold is no vote."""
    return tuple(
        entry
        for name, data in objects.votes(
            session.store, layout.approvals(where.model, version, where.environment)
        )
        if isinstance(entry := in_force.approval(resolved.context, where, manifest, data, name), Signed)
    )


def adoptions(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest
) -> tuple[Signed[Adoption], ...]:
    """Read the adoptions of a manifest; what does not hold is none."""
    return tuple(
        entry
        for name, data in objects.votes(session.store, layout.adoptions(model, version))
        if isinstance(
            entry := in_force.adoption(resolved.context, model, version, manifest, data, name), Signed
        )
    )


# --- by version, digest, or newest ---


def _by_version(session: Session, authorised: Authorised, reference: Reference) -> Found:
    resolved = authorised.resolved
    version = reference.version or version_of(session, authorised, reference)
    data = read_manifest(session, reference.model, version)
    found = verify(session, authorised, Target(version, reference.digest, None, open=False), data)
    removing.demand(session, found)
    among = slots(session, resolved, reference.model)
    records = history(session, authorised, among, found.digest)
    attested.keep(session, resolved, *records)
    target = channels.target_of_version(resolved, version, found.digest, records, str(reference))
    if target.via is not None:
        return _finish(session, replace(found, target=target), (), among)
    try:
        return _finish(session, verify(session, authorised, target, data), (), among)
    except UntrustedSigner:
        # Its publishers may publish it, only not straight into this environment.
        raise channels.not_promoted(resolved, str(reference)) from None


def version_of(session: Session, authorised: Authorised, reference: Reference) -> Version:
    """Find the version whose manifest has the digest that a reference names, newest first.

    Raises:
        NotFound: there is none that verifies.
        Unavailable.
    """
    for version in version_names(session, reference.model):
        try:
            data = read_manifest(session, reference.model, version)
            target = Target(version, None, None, open=False)
            if verify(session, authorised, target, data).digest == reference.digest:
                return version
        except (Refused, NotFound):
            continue
    raise NotFound(f"There is no version {reference}.", subject=str(reference))


def holds(session: Session, authorised: Authorised, where: Channel, entry: Entry, among: Slots) -> bool:
    """Tell whether a genuine record has the approvals that its environment asks for.

    Raises:
        Refused, NotFound: what it names does not verify.
        Unavailable.
    """
    evidence = partial(_evidence, session, authorised, where)
    return channels.unmet(authorised.resolved, where, entry, among, evidence) is None


def history(session: Session, authorised: Authorised, among: Slots, digest: Digest) -> list[Entry]:
    """Give the records that name a digest, and hold or once held, and those that bar it; no others matter.

    Raises:
        Rollback: a record that another one follows is gone.
    """
    found = []
    for records in among.places.values():
        for entry in chain.unbroken(session.store, records):
            if entry.record.manifest == digest:
                if holds(session, authorised, records.where, entry, among):
                    found.append(entry)
            elif digest in entry.record.bars:
                found.append(entry)
    return found


def _newest(session: Session, authorised: Authorised, skipped: tuple[Skipped, ...]) -> Found:
    """Give the newest version that its publishers may publish here and no record bars."""
    resolved, model = authorised.resolved, authorised.model
    passed = list(skipped)
    among = slots(session, resolved, model)
    excluded: set[Version] = set()
    for version in version_names(session, model):
        if not names.version_order(version).released:
            continue
        subject = f"{model}:{version}"
        data = b""
        try:
            data = read_manifest(session, model, version)
            verified = verify(session, authorised, Target(version, None, None), data)
            removing.demand(session, verified)
            records = history(session, authorised, among, verified.digest)
            attested.keep(session, resolved, *records)
            channels.target_of_version(resolved, version, verified.digest, records, subject)
        except Rollback:
            raise
        except (Refused, NotFound) as error:
            passed.append(Skipped(subject, error.message, error.code))
            seen = resolved.remembered.versions.get(memory_format.version_key(model, version))
            if seen is not None and in_force.offers(resolved.context, data, Digest(seen), subject):
                excluded.add(version)  # it is there as it was; the policy or a record keeps it out
            continue
        _check_newest(resolved.remembered, model, version, excluded)
        return _finish(session, verified, tuple(passed), among)
    _check_newest(resolved.remembered, model, None, excluded)
    raise NotFound(
        f"There is no version of {model} in {resolved.rule.name}.",
        subject=model,
        hint="See what there is: mvault ls"
        if all(entry.code == "removed" for entry in passed)
        else "Something lies there that does not verify: mvault check",
    )


def _check_newest(
    remembered: Memory, model: Model, newest: Version | None, excluded: Collection[Version]
) -> None:
    """Refuse where this client has seen a newer version than the store offers now."""
    order = None if newest is None else names.version_order(newest)
    prefix = f"{model}:"
    for key in remembered.versions:
        if key.startswith(prefix) and key.removeprefix(prefix) not in excluded:
            known = names.version_order(key.removeprefix(prefix))
            if known.released and (order is None or known > order):
                raise Rollback(
                    f"{key} was there before, and now the newest version of {model} is {newest or 'none'}.",
                    subject=key,
                    hint="Somebody deleted or withholds it. Restore it from a backup.",
                )


def version_names(session: Session, model: Model) -> list[Version]:
    """List the versions that the store has folders for, newest first; verified by nobody yet."""
    found = []
    for name in session.store.list_folders(layout.versions(model)):
        if not name.endswith("/"):
            continue  # a stranger's object: a version is a folder
        try:
            found.append(names.version(name[:-1]))
        except Refused:
            continue  # a stranger's folder
    return sorted(found, key=names.version_order, reverse=True)


def read_manifest(session: Session, model: Model, version: Version) -> bytes:
    """Read a version's manifest.

    Raises:
        NotFound: there is none.
        Unavailable: the store failed.
        Malformed: it is too large.
    """
    try:
        return session.store.read(layout.manifest(model, version), limit=limits.ENVELOPE_BYTES)
    except NotFound:
        raise NotFound(
            f"There is no {model}:{version}.",
            subject=f"{model}:{version}",
            hint="See what there is: mvault ls. If it was there, it was deleted: restore it from a backup.",
        ) from None
