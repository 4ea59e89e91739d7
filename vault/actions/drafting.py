"""Draft the next policy, out of a policy file, and the next root; people then sign the drafts (`ballots`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vault.actions import (
    checking,
    compiling,
    draft_files,
    key_services,
    keyring,
    objects,
    resolving,
    supposing,
)
from vault.actions.compiling import Compiled, Keys
from vault.actions.draft_files import Draft
from vault.actions.session import Session, Trust
from vault.core import admission, channels, envelope, layout, limits, memory_format, names, policy, trust
from vault.core.channels import Entry
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Principal
from vault.core.policy import ChannelHead, Policy
from vault.core.trust import Root, RootKey
from vault.policyfile import PolicySource

DAY = 86_400
_LASTING = re.compile(r"([1-9][0-9]{0,4})([dwmy])\Z", re.ASCII)
_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}
NEVER = "never"
POLICY_LASTS = "1y"  # where several people hold the root; with one owner nothing expires
ROOT_LASTS = "2y"


def lasting(text: str, now: int) -> str | None:
    """Give when something expires that lasts `90d`, `12w`, `6m` or `1y` from now on; None for `never`.

    Raises:
        ValueError: it is none of these.
    """
    if text == NEVER:
        return None
    found = _LASTING.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no length of time: write 90d, 12w, 6m, 1y or never.")
    return names.time_text(now + int(found[1]) * _DAYS[found[2]] * DAY)


def base_of(session: Session, *, new_era: bool = False) -> Trust:
    """Give what is in force, as a draft begins from it: no older than this client has seen.

    A new era may begin from an older policy: that is the way out of a restored backup.

    Raises:
        Rollback, Refused, NotFound, Unavailable.
    """
    found = session.trust()
    seen = admission.trust_seen(found.root, found.policy_id)
    known = session.memory.load()
    if new_era:
        known, seen = replace(known, policy=None), replace(seen, policy=None)
    memory_format.check(known, seen)
    return found


def policy_draft(
    session: Session,
    source: PolicySource,
    keys: Keys,
    *,
    expires: str | None = None,
    new_era: bool = False,
) -> Draft:
    """Draft the policy that would follow the one in force, out of a policy file.

    Keys of environments that are new are made now, and stored wrapped for who
    reads there and for recovery; without a policy that names them they are nothing.
    `expires` is a length of time, such as `1y`, or `never`.

    Raises:
        NotFound: somebody new has no public identity here.
        ValueError, Malformed: the file does not hold together.
        Refused, Unavailable, NoUsableKey: also by a key service that a new environment names.
    """
    base = base_of(session, new_era=new_era)
    me = None if session.unlock is None else base.policy.holder(Digest(session.identity.key_id))
    compiled = compiling.compile_source(
        session.store, source, base.policy, keys, None if me is None else me.name, session.random
    )
    changed = replace(
        base.policy, roles=source.roles, members=compiled.members, environments=compiled.environments
    )
    draft = next_policy(session, base, changed, expires=expires, new_era=new_era)
    _store_keys(session, draft.document, compiled)
    return draft


def next_policy(
    session: Session, base: Trust, changed: Policy, *, expires: str | None = None, new_era: bool = False
) -> Draft:
    """Draft `changed` as the policy that follows the one in force: number, predecessor, era and times.

    Raises:
        Malformed: it does not hold together.
        Conflict: no number is free.
        Refused, Unavailable: a channel's newest record cannot be judged, for a new era.
    """
    now = session.clock()
    document = replace(
        changed,
        root_version=base.root.root.version,
        root_digest=base.root.digest,
        version=next_number(session, base),
        prev=base.policy_id.digest,
        created=names.time_text(now),
        expires=lasting(expires or _usual(base, POLICY_LASTS, base.policy.expires), now),
    )
    if new_era:
        document = replace(document, era=base.policy.era + 1, continues={})
        document = replace(document, continues=_heads(session, document))
    return draft_files.of_policy(document)


def next_number(session: Session, base: Trust) -> int:
    """Give the number that the next policy will have.

    Raises:
        Conflict: no number is free.
        Unavailable.
    """
    listed = objects.numbers(session.store, layout.POLICIES)
    return objects.lowest_free(listed, base.policy.version, "policies")


def _usual(base: Trust, lasts: str, before: str | None) -> str:
    several = len({key.name for key in base.root.root.keys}) > 1
    return lasts if several or before is not None else NEVER


def _store_keys(session: Session, document: object, compiled: Compiled) -> None:
    """Put public age keys, and wrapped keys of new environments, where the new policy will look for them."""
    for text in compiled.recipients:
        keyring.store_recipient(session.store, text)
    if not isinstance(document, Policy):
        return
    for environment, secret in compiled.private.items():
        rule = document.environments[environment]
        epoch = rule.epochs[-1].number
        for service, held in key_services.wrap_new(session, rule, epoch, secret.encode()):
            key_services.store_copy(session.store, service, environment, epoch, held)
        copies = [
            (member.name, entry)
            for member in policy.readers(document, environment)
            for entry in member.recipients
        ]
        copies += [(layout.RECOVERY, entry) for entry in document.recovery]
        for who, entry in copies:
            to = keyring.recipient(session, entry)
            keyring.wrap_environment_key(session.store, secret, environment, epoch, who, to, session.random)


# --- a new era ---


def _heads(session: Session, proposed: Policy) -> dict[str, ChannelHead]:
    """Give the newest record of every channel that the proposed policy lets stand.

    A record whose number leaves no room for another is what a new era is the way
    out of: the one below it is taken.
    """
    trial = supposing.unexpired(supposing.then(session, proposed))  # what was seen before does not bind
    found: dict[str, ChannelHead] = {}
    listed = [where for where in checking.all_channels(trial) if where.environment in proposed.environments]
    for done, where in enumerate(listed):
        head = _head(trial, where)
        if head is not None:
            found[memory_format.channel_key(where.environment, where.slot, where.model)] = head
        session.progress(done + 1, len(listed), "channels")
    return found


def _head(trial: Session, where: Channel) -> ChannelHead | None:
    """Give where one channel continues: nowhere, where it means nothing, or what another slot withdrew.

    That bar stays behind in the old era: a record lifted over it would be free of it.
    """
    resolved = trial.resolve(where.environment)
    authorised = resolving.anybody(resolved, where.model)
    among = resolving.slots(trial, resolved, where.model)
    newest = resolving.channel(trial, authorised, where, among).head
    if newest is not None and not _has_room(newest):
        listed = resolving.judged(trial, resolved, where)
        genuine = (entry for entry in listed if isinstance(entry, Signed))
        standing = (entry for entry in genuine if _has_room(entry))
        newest = next(
            (entry for entry in standing if resolving.holds(trial, authorised, where, entry, among)), None
        )
    if newest is None:
        return None
    order = channels.order_of(resolved.context, newest)
    elsewhere = (records for slot, records in among.places.items() if slot != where.slot)
    later = (entry for records in elsewhere for entry in records.since(order) if _has_room(entry))
    if any(newest.record.manifest in entry.record.bars for entry in later):
        return None
    return ChannelHead(newest.record.seq, newest.digest)


def _has_room(entry: Entry) -> bool:
    """Tell whether a record's number leaves room for others above it."""
    return entry.record.seq <= limits.NUMBER_MAX - limits.GAP


# --- roots ---


def root_draft(
    session: Session,
    holders: Mapping[Principal, Sequence[bytes]] | None = None,
    *,
    threshold: int | None = None,
    expires: str | None = None,
) -> tuple[Draft, Draft | None]:
    """Draft the root that would follow the one in force, and the policy that must go with it, if any.

    `holders` are all its people: name → Ed25519 keys of 32 bytes, none for those
    that the root or the policy in force knows of them. Without `holders` they stay,
    and without `threshold` it stays: a renewal. The policy in force must verify under
    the new root, so it is drafted anew unless enough of the new holders signed it.

    Raises:
        ValueError: a holder has no key or is a service, or the threshold is higher than their number.
        Refused, NotFound, Unavailable.
    """
    base = base_of(session)
    before = base.root.root
    keys = before.keys
    for name in holders or ():
        if (member := base.policy.members.get(name)) is not None and member.kind == policy.SERVICE:
            raise ValueError(f"{name} is a service, and only people hold the root: a service's owner is one.")
    if holders is not None:
        keys = tuple(
            RootKey(name, public)
            for name, given in holders.items()
            for public in (given or _keys_of(base, name))
        )
    wanted = before.threshold if threshold is None else threshold
    if not 0 < wanted <= len({key.name for key in keys}):
        raise ValueError(f"A threshold of {wanted} among {len({key.name for key in keys})} people cannot be.")
    several = len({key.name for key in keys}) > 1
    lasts = ROOT_LASTS if several or before.expires is not None else NEVER
    listed = objects.numbers(session.store, layout.ROOTS)
    after = Root(
        version=objects.lowest_free(listed, before.version, "roots"),
        vault=base.root.vault,
        prev=base.root.digest,
        created=session.now(),
        expires=lasting(expires or lasts, session.clock()),
        threshold=wanted,
        keys=keys,
        nonce=session.random(16),
    )
    draft = draft_files.of_root(after)
    current = _envelope_in_force(session, base)
    if len(trust.voters(after, current)) >= after.threshold:
        return draft, None
    return draft, next_policy(session, base, base.policy, expires=POLICY_LASTS if several else None)


def _keys_of(base: Trust, name: Principal) -> list[bytes]:
    """Give the keys of a holder that are known: those of the root, else those that count in the policy."""
    found = [key.public for key in base.root.root.keys if key.name == name]
    member = base.policy.members.get(name)
    if not found and member is not None:
        counting = base.policy.counting_keys()
        found = [key.public for key in member.keys if key.key_id in counting]
    if not found:
        raise ValueError(f"{name} has no key that is known here. Give a public identity: {name}=FILE")
    return found


def _envelope_in_force(session: Session, base: Trust) -> envelope.Envelope:
    name = layout.policy(base.policy.version)
    data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
    return envelope.parse(data, kind=policy.KIND, subject=name)
