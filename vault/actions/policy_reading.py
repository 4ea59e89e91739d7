"""Ask about policies: the one in force, a file that is to follow it, and what the change would stop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vault import policyfile
from vault.actions import checking, resolving
from vault.actions.init import OWNER
from vault.actions.session import Session, Trust
from vault.core import names, policy_analysis, policy_check, policy_diff, policy_view
from vault.core.in_force import Channel
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment, Model, Principal, Reference, Version
from vault.core.policy import Policy, PolicyId
from vault.core.policy_analysis import Explanation, Holder, Verdict
from vault.core.policy_check import Finding
from vault.core.policy_diff import Difference, Stop
from vault.core.policy_view import View
from vault.core.trust import Skipped
from vault.errors import AccessDenied, NotFound, Refused

IN_FORCE = "in-force"  # in place of a file's name: the policy of the vault
_NOT_SIGNED = Digest("0" * 64)


def file_view(path: Path) -> View:
    """Read a policy file.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
        Malformed: it is no policy file; the message names the line.
    """
    return policyfile.view(policyfile.parse(policyfile.read(path), str(path)))


def check_file(path: Path, now: int) -> tuple[Finding, ...]:
    """Look for mistakes in a policy file.

    Raises:
        As `file_view`.
    """
    return policy_check.check(file_view(path), now=now)


def tests_of(path: Path) -> Path:
    """Name the file of expected decisions that belongs to a policy file: `team.test.yaml` to `team.yaml`."""
    return path.with_name(f"{path.stem}.test{path.suffix}")


def judge(view: View, tests: Path) -> tuple[Verdict, ...]:
    """Compare a policy with a file of expected decisions.

    Raises:
        NotFound, Unavailable, Malformed: as `file_view`, of the tests.
    """
    return policy_analysis.judge(view, policyfile.parse_tests(policyfile.read(tests), str(tests)))


class PolicyInForce:
    """The policy of an opened vault, to be asked; every method may raise what `Session.trust` does."""

    def __init__(self, session: Session) -> None:
        """Take the session; the trust documents are read when something is asked."""
        self._session = session

    @property
    def view(self) -> View:
        """The policy in force, in the form that `vault.core.policy_analysis` takes."""
        return policy_view.of_policy(self._session.trust().policy)

    def check(self) -> tuple[Finding, ...]:
        """Look for mistakes in it, and for what expires soon."""
        root = self._session.trust().root.root
        return policy_check.check(self.view, now=self._session.clock(), root_expires=root.expires)

    def holder(self, key_id: str) -> Principal:
        """Give the principal whose key this is, if it counts.

        Raises:
            AccessDenied: nobody's, or it was revoked or retired.
        """
        policy = self._session.trust().policy
        member = policy.holder(Digest(key_id))
        if member is None or key_id not in policy.counting_keys():
            raise AccessDenied(
                "This identity is not in the vault's policy, or is no longer.",
                subject=key_id,
                hint="Ask the vault's owner to add it, or ask about somebody by name: --as NAME",
            )
        return member.name

    def who_can(self, action: str, model: Model, environment: Environment) -> tuple[Holder, ...]:
        """List who may do something."""
        return policy_analysis.who_can(self.view, action, model, environment)

    def explain(
        self,
        action: str,
        model: Model,
        environment: Environment,
        *,
        who: Principal | None = None,
        source: Environment | None = None,
    ) -> Explanation:
        """Say whether somebody may do something, why, and what enforces it; None is this session's identity.

        Raises:
            AccessDenied: this identity is not in the policy.
            NoUsableKey: there is no identity.
        """
        asked = who or self.holder(self._session.identity.key_id)
        return policy_analysis.explain(self.view, asked, action, model, environment, source)

    def change(self, after: View, me: Principal | None = None) -> Difference:
        """Compare with a file that is to follow; tell which channels it would stop.

        `owner` in the file stands for `me`, unless somebody of that name is in force.
        """
        known = self._session.trust().policy
        if me is not None and OWNER in after.members and OWNER not in known.members:
            after = policy_view.standing_for(after, OWNER, me)
        proposed = policy_view.as_policy(after, known)
        keyed = replace(after, members=proposed.members)
        return policy_diff.diff(self.view, keyed, stopped(self._session, proposed))


# --- what a change would do ---


def stopped(session: Session, proposed: Policy) -> tuple[Stop, ...]:
    """Find what loads today and would not, or would be another version, under a proposed policy.

    Every place is looked at twice, by the very steps of a load: once under the
    policy in force, once as if the proposed one were. Nothing is remembered of it.

    Raises:
        Unavailable: the store failed.
        Refused, NotFound: the trust documents themselves do not verify.
    """
    trust = session.trust()
    today = _under(session, trust.policy, trust.policy_id)
    then = _under(session, proposed, PolicyId(proposed.era, proposed.version, _NOT_SIGNED))
    places = list(_places(session))
    found = []
    for done, where in enumerate(places):
        before = _loadable(today, where)
        if isinstance(before, _Loaded):
            after = _loadable(then, where)
            if isinstance(after, Skipped):
                found.append(Stop(where, before.version, _why(then, where, before) or after.reason))
            elif after.version != before.version:
                found.append(
                    Stop(
                        where,
                        before.version,
                        f"it would go back to {where.model}:{after.version}, which loaders that saw the "
                        f"newer one refuse: {_why(then, where, before)}",
                    )
                )
        session.progress(done + 1, len(places), "channels")
    return tuple(found)


def _places(session: Session) -> Iterator[Channel]:
    """List every channel with records, and every model where publishing alone makes it loadable."""
    seen = set()
    for where in checking.all_channels(session):
        seen.add(where)
        yield where
    policy = session.trust().policy
    for name, rule in policy.environments.items():
        if rule.require.none:
            for model in checking.models(session):
                where = Channel(name, names.MAIN, model)
                if where not in seen:
                    yield where


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a load of a channel would take, and the number of the record that says so, if one does."""

    version: Version
    seq: int | None


def _loadable(session: Session, where: Channel) -> _Loaded | Skipped:
    """Go through every step of a load but those of its content; say what it would take, or why nothing.

    Raises:
        Unavailable: the store failed.
    """
    slot = None if where.slot == names.MAIN else where.slot
    reference = Reference(where.model, environment=where.environment, slot=slot)
    try:
        authorised = resolving.anybody(session.resolve(where.environment), where.model)
        verified = resolving.find_authorised(session, authorised, reference).verified
    except (Refused, NotFound) as refusal:
        return Skipped(str(where), refusal.message.rstrip("."), refusal.code)
    via = verified.target.via
    return _Loaded(verified.manifest.version, None if via is None else via.record.seq)


def _why(session: Session, where: Channel, before: _Loaded) -> str:
    """Say why the record that is in force today would not be; nothing where it still would."""
    if where.environment not in session.trust().policy.environments:
        return ""
    authorised = resolving.anybody(session.resolve(where.environment), where.model)
    try:
        skipped = resolving.channel(session, authorised, where).skipped
    except (Refused, NotFound):
        return ""
    name = f"{where} record {before.seq}"
    return next((entry.reason.rstrip(".") for entry in skipped if entry.name == name), "")


class _Forgetful:
    """A memory that knows nothing and keeps nothing: what might be is no observation."""

    def __init__(self, vault: Digest) -> None:
        self._vault = vault

    def load(self) -> Memory:
        """Remember nothing."""
        return Memory(self._vault)

    def advance(self, seen: Memory) -> None:
        """Keep nothing."""


def _under(session: Session, policy: Policy, policy_id: PolicyId) -> Session:
    """Give a session like this one in which another policy is in force."""
    trust = session.trust()
    return replace(
        session,
        memory=_Forgetful(trust.root.vault),
        _trust=Trust(trust.root, policy, policy_id, trust.skipped, trust.listing),
    )
