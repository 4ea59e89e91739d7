"""Ask about policies: the one in force, a file that is to follow it, and what the change would stop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vault import policyfile
from vault.actions import checking, lapsing, resolving, supposing
from vault.actions.init import OWNER
from vault.actions.session import Session
from vault.core import admission, names, policy, policy_analysis, policy_check, policy_diff, policy_view
from vault.core.in_force import Channel
from vault.core.names import Digest, Environment, Model, Principal, Reference, Version
from vault.core.policy import Policy
from vault.core.policy_analysis import Explanation, Holder, Verdict
from vault.core.policy_check import Finding
from vault.core.policy_diff import Difference, Stop
from vault.core.policy_view import View
from vault.core.stages import Authorised, Target
from vault.core.trust import Skipped
from vault.errors import AccessDenied, NotFound, Refused

_LOOKS = 4
IN_FORCE = "in-force"  # in place of a file's name: the policy of the vault


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

    def onward(self, model: Model, source: str, *, who: Principal | None = None) -> Environment | None:
        """Give the first environment into which anybody, or `who`, may promote a model from another one."""
        current = self._session.trust().policy
        for name in current.environments:
            asked = current.members if who is None else (who,)
            if any(source in policy.sources(current, one, model, name) for one in asked):
                return name
        return None

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
        """Compare with a file that is to follow; tell what it would stop, and which withdrawals would lapse.

        `owner` in the file stands for `me`, unless somebody of that name is in force.
        """
        known = self._session.trust().policy
        if me is not None and OWNER in after.members and OWNER not in known.members:
            after = policy_view.standing_for(after, OWNER, me)
        proposed = policy_view.as_policy(after, known)
        keyed = replace(after, members=proposed.members)
        return policy_diff.diff(
            self.view, keyed, stopped(self._session, proposed), lapsing.lifted(self._session, proposed)
        )


# --- what a change would do ---


def stopped(session: Session, proposed: Policy) -> tuple[Stop, ...]:
    """Find what loads today and would not, or would be another version, under a proposed policy.

    Every place is looked at twice, by the very steps of a load: once under the
    policy in force, once as if the proposed one were. Nothing is remembered of it.

    Raises:
        Unavailable: the store failed.
        Refused, NotFound: the trust documents themselves do not verify.
    """
    today, then = supposing.today(session), supposing.then(session, proposed)
    places = list(_places(session))
    found = []
    for done, where in enumerate(places):
        before = _loadable(today, where)
        after: _Loaded | Skipped = before
        for _ in range(_LOOKS):
            after = _loadable(then, where)
            again = before if after == before else _loadable(today, where)
            if again == before:
                break
            before = again  # somebody promoted between the two looks
        if isinstance(before, _Loaded):
            if isinstance(after, Skipped):
                found.append(Stop(where, before.version, _why(then, where, before) or after.reason))
            elif after.version != before.version:
                back = f"it would go back to {where.model}:{after.version}"
                why = _why(then, where, before)
                told = f"{back}, which loaders that saw the newer one refuse{f': {why}' if why else ''}"
                found.append(Stop(where, before.version, told))
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
    """Say why the record, or the version itself, that counts today would not; nothing where it would."""
    if where.environment not in session.trust().policy.environments:
        return ""
    authorised = resolving.anybody(session.resolve(where.environment), where.model)
    if before.seq is None:
        return _why_version(session, authorised, where.model, before.version)
    try:
        skipped = resolving.channel(session, authorised, where).skipped
    except (Refused, NotFound):
        return ""
    name = f"{where} record {before.seq}"
    return next((entry.reason.rstrip(".") for entry in skipped if entry.name == name), "")


def _why_version(session: Session, authorised: Authorised, model: Model, version: Version) -> str:
    """Say why a version that publishing alone makes loadable would not be any more."""
    if not authorised.resolved.rule.require.none:
        return f"publishing would not be enough in {authorised.resolved.rule.name}, and nobody promoted it"
    try:
        data = resolving.read_manifest(session, model, version)
        verified = resolving.verify(session, authorised, Target(version, None, None), data)
        admission.require(verified, session.clock())
    except (Refused, NotFound) as refusal:
        return refusal.message.rstrip(".")
    return ""
