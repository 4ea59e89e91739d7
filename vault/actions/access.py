"""Tell who can read which environment: readers by the policy, and the wrapped copies that are stored."""

from dataclasses import dataclass

from vault.actions import access_plan
from vault.actions.access_plan import MISSING, PRESENT, SURPLUS, Copy
from vault.actions.session import HeldIdentity, Session
from vault.core import layout
from vault.core.names import Environment, Principal
from vault.core.policy import Policy

KEPT = (
    "Whoever could read a model may have kept it, and nothing that is stored afterwards changes that.",
    "Whoever rotates an environment's key holds the new one.",
)


@dataclass(frozen=True, slots=True)
class Reader:
    """What one principal, `recovery`, or a key of a key service can read of one environment.

    `reads` tells whether the policy makes it a reader. `epochs` are those of
    which it has a copy, `missing` those of which a copy is wanted and not there,
    `former` those of which there is a copy for an age key that is not its own now.
    `through` is what holds the key for a reader without an age key.
    """

    environment: Environment
    who: str
    kind: str  # person, service, recovery, kms, transit, or gone: not in the policy
    reads: bool
    epochs: tuple[int, ...]
    missing: tuple[int, ...]
    former: tuple[int, ...]
    garbage: int
    through: tuple[str, ...] | None = None

    @property
    def note(self) -> str:
        """Say in words what is unusual, or nothing."""
        told = []
        if self.through is not None:
            held = " or ".join(self.through)
            told.append(
                f"has no age key; reads through {held}" if held else "has no age key, so can read nothing"
            )
        if self.missing:
            told.append(f"lacks epoch {_listed(self.missing)}: mvault access sync")
        if not self.reads and self.former:
            told.append(
                f"is no reader any more and can still read what was stored under epoch {_listed(self.former)}"
            )
        if self.reads and self.former:
            told.append(
                "an age key that is not theirs any more can still read what was stored under epoch "
                + _listed(self.former)
            )
        if self.garbage:
            told.append(f"{self.garbage} objects among its copies are none")
        return "; ".join(told)


@dataclass(frozen=True, slots=True)
class EnvironmentAccess:
    """An environment's key: its epochs, and whether somebody who is no reader has the newest."""

    environment: Environment
    epochs: tuple[int, ...]
    readers: tuple[Reader, ...]

    @property
    def newest(self) -> int | None:
        """The epoch to which everything new is wrapped; None before there is a key."""
        return self.epochs[-1] if self.epochs else None

    @property
    def leaks(self) -> tuple[Reader, ...]:
        """Those who hold a copy of the newest epoch that the policy does not give them."""
        return tuple(entry for entry in self.readers if self.newest in entry.former)

    @property
    def complete(self) -> bool:
        """Tell whether every reader has every copy that it is to have."""
        return not any(entry.missing for entry in self.readers)


@dataclass(frozen=True, slots=True)
class Access:
    """Who can read what in a vault, environment by environment."""

    environments: tuple[EnvironmentAccess, ...]

    @property
    def complete(self) -> bool:
        """Tell whether nothing is missing anywhere."""
        return all(entry.complete for entry in self.environments)


def show(
    session: Session, environment: Environment | None = None, *, own: HeldIdentity | None = None
) -> Access:
    """Tell who can read which environment, by which epochs; no key is needed.

    The copies of `own` are opened as well; of others' it is only known that they have the form of one.

    Raises:
        NotFound: there is no such environment.
        Refused, Unavailable.
    """
    policy = session.trust().policy
    return Access(
        tuple(
            _environment(session, policy, name, own) for name in access_plan.environments(policy, environment)
        )
    )


def _environment(
    session: Session, policy: Policy, environment: Environment, own: HeldIdentity | None
) -> EnvironmentAccess:
    found = access_plan.copies(session, policy, environment, own=own)
    rule = policy.environments[environment]
    by_name: dict[str, list[Copy]] = {}
    for copy in found:
        by_name.setdefault(copy.who, []).append(copy)
    wanted: set[str] = {holder.name for holder in access_plan.holders(policy, environment)}
    wanted |= {service.key for service in rule.key_services}
    held = tuple(service.key for service in rule.key_services)
    ageless = (
        Reader(environment, member.name, member.kind, True, (), (), (), 0, held)
        for member in access_plan.ageless(policy, environment)
        if member.name not in by_name
    )
    return EnvironmentAccess(
        environment,
        tuple(epoch.number for epoch in rule.epochs),
        (
            *(
                _reader(policy, environment, who, copies, reads=who in wanted)
                for who, copies in by_name.items()
            ),
            *ageless,
        ),
    )


def _reader(policy: Policy, environment: Environment, who: str, copies: list[Copy], *, reads: bool) -> Reader:
    member = policy.members.get(Principal(who))
    kind = "gone" if member is None else member.kind
    service = copies[0].service
    if service is not None:
        kind = service.kind
    return Reader(
        environment,
        who,
        "recovery" if who == layout.RECOVERY else kind,
        reads,
        _epochs(copies, PRESENT),
        _epochs(copies, MISSING),
        _epochs(copies, SURPLUS),
        sum(copy.garbage for copy in copies),
    )


def _epochs(copies: list[Copy], *states: str) -> tuple[int, ...]:
    return tuple(sorted({copy.epoch for copy in copies if copy.state in states}))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
