"""Tag versions and note things about them: signed labels beside a manifest, each under a name of its own."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vault.actions import auditing, logged, objects, parentage
from vault.actions.session import Session
from vault.core import admission, envelope, layout, limits, policy
from vault.core.in_force import Signed
from vault.core.labels import KIND, Label, Labels, come_to, encode, judge
from vault.core.names import Digest, Model, Reference, Version
from vault.core.stages import Authorised, Resolved, Verified
from vault.core.trust import Skipped


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a label did: the version, its tags and notes now, and those tags that were changed."""

    reference: Reference
    digest: Digest
    labels: Labels
    changed: tuple[str, ...]


def labels(session: Session, resolved: Resolved, verified: Verified) -> Labels:
    """Give the tags and notes of a verified version.

    Raises:
        Rollback: a label names a policy that is withheld.
        Unavailable: a label cannot be read.
    """
    found = verified.manifest
    return come_to(signed(session, resolved, found.model, found.version, verified.digest))


def signed(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest
) -> list[Signed[Label]]:
    """Give the labels of a version that count, by the digest of its verified manifest.

    Raises:
        As `labels`.
    """
    found = _judged(session, resolved, model, version, manifest)
    return [entry for entry in found if isinstance(entry, Signed)]


def skipped(session: Session, resolved: Resolved, verified: Verified) -> list[Skipped]:
    """Give what lies among the labels of a verified version and does not count, for `check`.

    Raises:
        As `labels`.
    """
    about = verified.manifest.model, verified.manifest.version, verified.digest
    found = _judged(session, resolved, *about)
    return [entry for entry in found if isinstance(entry, Skipped)]


def _judged(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest
) -> Iterator[Signed[Label] | Skipped]:
    found = objects.votes(session.store, layout.labels(model, version), limit=limits.LABEL_BYTES)
    for name, data in found:
        yield judge(resolved.context, model, version, manifest, data, name)


def look(session: Session, reference: Reference) -> Labelled:
    """Give the tags and notes of the version that a reference means, for anybody.

    Raises:
        Refused, NotFound, Unavailable, ValueError.
    """
    verified = parentage.find(session, reference)
    return _labelled(verified, labels(session, verified.authorised.resolved, verified), ())


def tag(session: Session, reference: Reference, tags: Collection[str]) -> Labelled:
    """Give a version tags; those that it has already are left as they are.

    Raises:
        AccessDenied: no environment allows this identity to `tag` the model.
        ValueError: it has `limits.LABELS` labels, or too many tags are given at once.
        Refused, NotFound, Unavailable, NoUsableKey.
    """
    _check_count(tags)
    with _writer(session, reference) as found:
        new = tuple(sorted(set(tags) - found.now.tags))
        return found.write(new, tags=new) if new else found.unchanged()


def untag(session: Session, reference: Reference, tags: Collection[str]) -> Labelled:
    """Take tags back, whoever gave them; one that somebody gives again meanwhile stays.

    Raises:
        As `tag`.
    """
    _check_count(tags)
    with _writer(session, reference) as found:
        gone = tuple(sorted(set(tags) & found.now.tags))
        taken = {name: found.now.given[name] for name in gone}
        return found.write(gone, untags=taken) if gone else found.unchanged()


def note(session: Session, reference: Reference, text: str) -> Labelled:
    """Note something about a version, for everybody who can read the storage; notes are not taken back.

    Raises:
        As `tag`.
    """
    with _writer(session, reference) as found:
        return found.write((), note=text)


def _check_count(tags: Collection[str]) -> None:
    if not 0 < len(tags) <= limits.LABEL_TAGS:
        raise ValueError(f"From one to {limits.LABEL_TAGS} tags are given or taken at once.")


def _labelled(verified: Verified, now: Labels, changed: tuple[str, ...]) -> Labelled:
    reference = Reference(verified.manifest.model, version=verified.manifest.version)
    return Labelled(reference, verified.digest, now, changed)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Who writes a label, about what, and what is there already."""

    session: Session
    authorised: Authorised
    verified: Verified
    now: Labels
    there: list[Signed[Label]]

    def unchanged(self) -> Labelled:
        return _labelled(self.verified, self.now, ())

    def write(self, changed: tuple[str, ...], **words: Any) -> Labelled:
        """Sign and store one label; give what the labels come to with it."""
        session, found = self.session, self.verified
        if len(self.there) >= limits.LABELS:
            raise ValueError(f"{found.subject} has {limits.LABELS:,} tags and notes; no more are kept.")
        resolved = self.authorised.resolved
        label = Label(
            vault=resolved.context.vault,
            policy=resolved.context.policy_id,
            model=found.manifest.model,
            version=found.manifest.version,
            manifest=found.digest,
            created=session.now(),
            **words,
        )
        payload = encode(label)
        identity = session.identity
        signed_by = [(Digest(identity.key_id), identity.sign)]
        data = envelope.serialise(envelope.sign(KIND, payload, signed_by))
        objects.create(session.store, layout.label(label.model, label.version, envelope.digest(data)), data)
        digest = envelope.digest(payload)
        logged.change(
            session,
            "tag",
            resolved.rule.name,
            digest,
            model=label.model,
            version=label.version,
            manifest=label.manifest,
        )
        mine = Signed(label, digest, (self.authorised.member.name,))
        return _labelled(found, come_to([*self.there, mine]), changed)


@contextmanager
def _writer(session: Session, reference: Reference) -> Iterator[_Writer]:
    with auditing.acting(session, "tag", reference, session.environment) as act:
        authorised = _authorise(session, reference)
        act.learn(authorised.resolved)
        verified = parentage.find(session, reference)
        about = verified.manifest.model, verified.manifest.version, verified.digest
        there = signed(session, authorised.resolved, *about)
        yield _Writer(session, authorised, verified, come_to(there), there)


def _authorise(session: Session, reference: Reference) -> Authorised:
    """See that this identity may tag the model in some environment; here, if it may here.

    Raises:
        AccessDenied.
    """
    here = session.resolve(session.environment)
    key_id = Digest(session.identity.key_id)
    current = here.context.policy
    member = current.holder(key_id)
    if member is not None:
        for environment in (here.rule.name, *current.environments):
            if policy.decide(current, member.name, "tag", reference.model, environment).allowed:
                resolved = here if environment == here.rule.name else session.resolve(environment)
                return admission.authorise(resolved, key_id, "tag", reference.model)
    return admission.authorise(here, key_id, "tag", reference.model)
