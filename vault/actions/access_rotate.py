"""Rotate an environment's key: a new epoch by a signed policy, then everything wrapped, or encrypted, anew.

Order: public key → wrapped copies → policy → headers, or payloads and sealing
records. A crash between any two leaves either an epoch that nobody knows of, or
one whose older epochs still open what is not done yet.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vault.actions import (
    access_headers,
    access_plan,
    access_reseal,
    access_sync,
    applying,
    auditing,
    ballots,
    draft_files,
    drafting,
    key_services,
    keyring,
    logged,
    objects,
)
from vault.actions.access_headers import Done, Place, Rewrapped
from vault.actions.access_sync import Synced
from vault.actions.applying import Standing
from vault.actions.draft_files import Draft
from vault.actions.session import Session, Trust
from vault.core import layout, limits
from vault.core.names import Digest, Environment
from vault.core.policy import EnvironmentRule, Epoch
from vault.core.policy import Recipient as RecipientId
from vault.core.stages import Resolved
from vault.core.trust import Skipped
from vault.errors import Conflict, NoUsableKey, Refused
from vault.keys import recipients


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """What a rotation is to do, told before anything is done.

    `epoch` is the one that everything is wrapped to in the end; `begins` tells
    whether it is made now. `copies` are wrapped copies for readers and recovery,
    `headers` key headers of `versions`, counted by their names in storage, `bytes`
    what is written for them: with `deep` the payloads' ciphertext as well.
    `signatures` is how many root holders must sign the policy.
    """

    environment: Environment
    epoch: int
    begins: bool
    deep: bool
    signatures: int
    copies: int
    readers: tuple[str, ...]
    versions: int
    headers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did. `draft` is the file that root holders must sign where one signature is too few.

    `standing` is what that lacks.

    `written` counts headers, or with `deep` payloads, of `versions`; `already`
    those that were there. `problems` did not stop the rest; `skipped` are strangers' objects.
    """

    plan: RotationPlan
    draft: Path | None
    copies: Synced | None
    versions: int
    written: int
    already: int
    problems: tuple[Skipped, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    standing: Standing | None = None

    @property
    def complete(self) -> bool:
        """Tell whether everything that has keys for the environment is at the newest epoch."""
        return self.draft is None and not self.problems and (self.copies is None or self.copies.complete)


def rotate(
    session: Session,
    environment: Environment,
    *,
    deep: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    draft: Path | None = None,
    folder: Path | None = None,
    threads: int = access_headers.THREADS,
    planned: Callable[[RotationPlan], None] | None = None,
) -> Rotated:
    """Give an environment a new key and wrap every file key to it; with `deep`, encrypt every payload anew.

    `resume` makes no new epoch: it does what is missing for the newest, after a
    kill or once a draft was applied. Where one signature makes a policy it is
    applied at once, otherwise it is signed and written to `draft`, or as
    `policy-N.json` into `folder`, and nothing else happens yet.

    Raises:
        NotFound: there is no such environment.
        ValueError: the policy takes others' signatures, and it is not said where its draft is to be.
        NoUsableKey: this identity does not hold the environment's key.
        Conflict: the policy changed meanwhile; or `draft` exists.
        Refused, Unavailable: what was done stays, and `resume` goes on from there.
    """
    with auditing.acting(session, "access", f"rotation of {environment}", environment):
        base = drafting.base_of(session)
        rule = access_plan.rule_of(base.policy, environment)
        with _reading_ahead(session, rule) if not (deep or dry_run) else nullcontext():
            return _rotate(session, base, rule, deep, resume, dry_run, (draft, folder), threads, planned)


def _reading_ahead(session: Session, rule: EnvironmentRule) -> AbstractContextManager[None]:
    inner = layout.inner_folders(rule.name, (epoch.number for epoch in rule.epochs))
    return objects.reading_ahead(session.store, layout.MODELS, inner)


def _rotate(
    session: Session,
    base: Trust,
    rule: EnvironmentRule,
    deep: bool,
    resume: bool,
    dry_run: bool,
    place: tuple[Path | None, Path | None],
    threads: int,
    planned: Callable[[RotationPlan], None] | None,
) -> Rotated:
    direct = may_apply_alone(session, base)
    # The policy that it goes on with is in force, so that what is listed now is all that there is to do.
    places = list(access_headers.places(session, rule)) if resume else None
    todo = plan(session, base, rule, places, deep=deep, resume=resume)
    draft, folder = place
    if todo.begins and not direct and draft is None and not dry_run:
        if folder is None:
            raise ValueError("A policy takes signatures of others here: say where to write its draft.")
        draft = folder / f"policy-{drafting.next_number(session, base)}.json"
    if planned is not None:
        planned(todo)
    if dry_run:
        return Rotated(todo, None, None, 0, 0, 0)
    if todo.begins:
        if direct:
            for epoch in rule.epochs[-1:]:
                keyring.environment_key(session, rule.name, epoch.number)  # without it nothing can follow
            apply(session, begin(session, base, rule))
        elif draft is not None:
            draft_files.check_free(draft)  # before a key is made
            made = ballots.signed(session, [begin(session, base, rule)])
            draft_files.write_new(draft, made.drafts[0])
            return Rotated(todo, draft, None, 0, 0, 0, standing=applying.standings(made)[0])
    return _carry_on(session, todo, places, threads)


def plan(
    session: Session,
    base: Trust,
    rule: EnvironmentRule,
    places: Iterable[Place] | None,
    *,
    deep: bool,
    resume: bool,
) -> RotationPlan:
    """Count what a rotation would do, by names in storage and, with `deep`, by sealing records.

    `places` are the versions if they are listed already.

    Raises:
        NotFound: the environment has no key.
        Refused, Unavailable.
    """
    newest = keyring.newest_epoch(rule)
    people = access_plan.holders(base.policy, rule.name)
    to = keyring.recipient(session, rule.epochs[-1].recipient)
    header = len(recipients.wrap(bytes(16), [to], session.random))
    versions = headers = size = 0
    resolved = session.resolve(rule.name)
    since = access_reseal.began(session, rule.name) if deep and resume else None
    for place in access_headers.places(session, rule) if places is None else places:
        count = place.headers if resume and not deep else place.files
        if deep:
            sealed = access_headers.seal_of(session, resolved, place)
            if isinstance(sealed, Rewrapped) or (since is not None and since.covers(sealed.sealing)):
                continue  # what is wrong is told when its turn comes
            count = len(sealed.sealing.files)
            size += sum(file.cipher_size for file in sealed.sealing.files)
        versions += count > 0
        headers += count
    return RotationPlan(
        environment=rule.name,
        epoch=newest if resume else newest + 1,
        begins=not resume,
        deep=deep,
        signatures=base.root.root.threshold,
        copies=0 if resume else len(people) + len(rule.key_services),
        readers=tuple(dict.fromkeys(str(holder.name) for holder in people)),
        versions=versions,
        headers=headers,
        bytes=size + headers * header,
    )


def may_apply_alone(session: Session, base: Trust) -> bool:
    """Tell whether this identity's signature alone makes a policy."""
    root = base.root.root
    mine = Digest(session.identity.key_id)
    return root.threshold == 1 and any(key.key_id == mine for key in root.keys)


def begin(session: Session, base: Trust, rule: EnvironmentRule) -> Draft:
    """Make an environment's next key, store it wrapped for readers and recovery, and draft the policy.

    A key that lies there already for that epoch is never taken up: whoever can
    write to the storage could have put one there that they know.

    Raises:
        NotFound, Refused, Unavailable: somebody's public age key cannot be had, or a key service does not
            wrap the key; nothing was stored.
        NoUsableKey, MissingLibrary: a key service cannot be asked from here.
        Conflict: the environment has had all the epochs that there may be.
    """
    number = keyring.newest_epoch(rule) + 1
    if len(rule.epochs) >= limits.EPOCHS:
        raise Conflict(f"{rule.name} has had {limits.EPOCHS:,} epochs.", subject=rule.name)
    people = access_plan.holders(base.policy, rule.name)
    to = [access_plan.recipient_of(session, holder) for holder in people]
    private = recipients.generate_identity(
        keyring.recipient(session, rule.epochs[-1].recipient).kind, session.random
    )
    held = key_services.wrap_new(session, rule, number, private.encode())
    public = private.recipient()
    digest = keyring.store_recipient(session.store, public.encode())
    for done, (holder, recipient) in enumerate(zip(people, to, strict=True)):
        keyring.wrap_environment_key(
            session.store, private, rule.name, number, holder.name, recipient, session.random
        )
        session.progress(done + 1, len(people), "copies of the new key")
    for service, copy in held:
        key_services.store_copy(session.store, service, rule.name, number, copy)
    epochs = (*rule.epochs, Epoch(number, RecipientId(public.kind, digest)))
    environments = {**base.policy.environments, rule.name: replace(rule, epochs=epochs)}
    return drafting.next_policy(session, base, replace(base.policy, environments=environments))


def apply(session: Session, draft: Draft) -> None:
    """Sign a policy whose threshold is one, and put it in force.

    It changes no right, only keys, so that no channel can stop for it.

    Raises:
        Conflict: somebody else changed the policy meanwhile.
        UntrustedSigner: this identity's signature is not enough.
        Refused, Unavailable.
    """
    signed = draft_files.with_signature(draft, Digest(session.identity.key_id), session.identity.sign)
    found = ballots.ballot(session, [signed])
    applying.require_signed(found)
    try:
        applying.put(session, found, signed)
    except Conflict:
        raise Conflict(
            "Somebody else changed the policy meanwhile; the new key was not put in force.",
            subject="policy",
            hint="Look at what is in force (mvault policy status), then run the same command again.",
        ) from None


# --- what follows the policy ---


def _carry_on(session: Session, todo: RotationPlan, listed: Iterable[Place] | None, threads: int) -> Rotated:
    resolved = session.resolve(todo.environment)
    copies = access_sync.write(session, access_sync.plan(session, todo.environment))
    versions = written = already = 0
    problems: list[Skipped] = []
    skipped: list[Skipped] = []
    if len(resolved.rule.epochs) > 1:
        _unlock(session, resolved.rule)
        for done, entry in enumerate(_work(session, resolved, todo, listed, threads), start=1):
            session.progress(min(done, todo.versions), todo.versions, f"keys for {todo.environment}")
            if entry.failure is not None:
                problems.append(Skipped(entry.place.subject, entry.failure.message, entry.failure.code))
            if entry.result is not None:
                versions += entry.result.written > 0
                written += entry.result.written
                already += entry.result.already
                problems += entry.result.problems
                skipped += entry.result.skipped
    how = "deep" if todo.deep else "headers"
    what = f"{todo.environment} epoch {todo.epoch}: {written} {how} of {versions} versions"
    logged.change(session, "access", None, session.trust().policy_id.digest, subject=what)
    return Rotated(todo, None, copies, versions, written, already, tuple(problems), tuple(skipped))


def _unlock(session: Session, rule: EnvironmentRule) -> None:
    """Unwrap the environment's keys once, for all threads; one that is lost does not stop the others.

    Raises:
        NoUsableKey, Refused: none of the older ones can be had.
    """
    failures: list[Refused | NoUsableKey] = []
    for epoch in reversed(rule.epochs):
        try:
            keyring.environment_key(session, rule.name, epoch.number)
        except (Refused, NoUsableKey) as error:
            failures += [error] if epoch != rule.epochs[-1] else []
    if len(failures) == len(rule.epochs) - 1:
        raise failures[0]


def _work(
    session: Session,
    resolved: Resolved,
    todo: RotationPlan,
    listed: Iterable[Place] | None,
    threads: int,
) -> Iterator[Done[Rewrapped]]:
    # After a new policy listed once more: what was published before it was in force is to be found.
    places = access_headers.places(session, resolved.rule) if listed is None else iter(listed)
    if not todo.deep:
        return access_headers.rewrap(session, resolved, places, threads)
    everywhere = {name: session.resolve(name) for name in resolved.context.policy.environments}
    since = access_reseal.began(session, todo.environment)
    # One version after the other: each payload is sealed by all cores.
    return access_headers.each(
        places, partial(access_reseal.reseal, session, everywhere, since, resolved.rule), threads=1
    )
