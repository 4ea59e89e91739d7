"""Find the withdrawals that a change of policy would undo: a bar counts for as long as its signer does."""

from collections.abc import Iterator, Sequence

from vault.actions import checking, resolving, supposing
from vault.actions.session import Session
from vault.core import channels, names
from vault.core.channels import Entry, Slots
from vault.core.in_force import Channel, Order, Signed
from vault.core.names import Digest, Environment, Model, Version
from vault.core.policy import Policy
from vault.core.policy_diff import Lifted
from vault.errors import NotFound, Refused


def lifted(session: Session, proposed: Policy) -> tuple[Lifted, ...]:
    """List what is withdrawn today and would not be under a proposed policy, in all its environments.

    That is so where the signers of every bar since the version was last let in
    lose their key or their right; or where a promotion above the bar, that
    lacked approvals, would hold.

    Raises:
        Unavailable: the store failed.
        Refused, NotFound: the trust documents themselves do not verify.
    """
    today = supposing.unexpired(supposing.today(session))
    then = supposing.unexpired(supposing.then(session, proposed))
    places = [place for place in _places(today) if place[0] in proposed.environments]
    found: list[Lifted] = []
    for done, (environment, model) in enumerate(places):
        found += _of_model(today, then, environment, model)
        session.progress(done + 1, len(places), "withdrawals")
    return tuple(found)


def _places(today: Session) -> list[tuple[Environment, Model]]:
    return list(dict.fromkeys((where.environment, where.model) for where in checking.all_channels(today)))


def _of_model(today: Session, then: Session, environment: Environment, model: Model) -> Iterator[Lifted]:
    before = resolving.slots(today, today.resolve(environment), model)
    bars: dict[Digest, Entry] = {}
    for entry in _genuine(before):
        for digest in entry.record.bars:
            known = bars.get(digest)
            if known is None or _order(before, entry) > _order(before, known):
                bars[digest] = entry
    if not bars:
        return
    after = resolving.slots(then, then.resolve(environment), model)
    for digest, bar in bars.items():
        if _is_out(today, before, environment, digest) and not _is_out(then, after, environment, digest):
            yield Lifted(
                environment, model, _version(before, digest), digest, bar.signers, bar.record.created
            )


def _genuine(among: Slots) -> Iterator[Entry]:
    for place in among.places.values():
        yield from (entry for entry in place if isinstance(entry, Signed))


def _order(among: Slots, entry: Entry) -> Order:
    return channels.order_of(among.context, entry)


def _is_out(session: Session, among: Slots, environment: Environment, digest: Digest) -> bool:
    """Tell whether a bar is at or after every record that names a digest and holds."""
    last: Order = (0, 0)
    for entry in _genuine(among):
        if entry.record.manifest == digest and _order(among, entry) > last and _holds(session, among, entry):
            last = _order(among, entry)
    return among.bar(digest, since=last) is not None


def _holds(session: Session, among: Slots, entry: Entry) -> bool:
    where = Channel(entry.record.environment, entry.record.slot, entry.record.model)
    authorised = resolving.anybody(session.resolve(where.environment), where.model)
    try:
        return resolving.holds(session, authorised, where, entry, among)
    except (Refused, NotFound):
        return False  # what it names does not verify, so that nothing can be loaded through it


def _version(among: Slots, digest: Digest) -> Version | None:
    return next((entry.record.version for entry in _genuine(among) if entry.record.manifest == digest), None)


def again(entry: Lifted) -> str:
    """Give the command that signs a withdrawal once more, by somebody whose key goes on counting."""
    return f"mvault withdraw {entry.subject} --env {entry.environment} --again"


def describe(entry: Lifted) -> str:
    """Say what would come back, and why."""
    who = " and ".join(entry.signers)
    return (
        f"{entry.subject} could be used in {entry.environment} again: it was withdrawn on "
        f"{names.day_text(entry.created)} by {who}, whose record would not keep it out any more"
    )


def refusal(found: Sequence[Lifted]) -> Refused:
    """Say that a change would let withdrawn versions back in."""
    number = "1 withdrawn version" if len(found) == 1 else f"{len(found):,} withdrawn versions"
    return Refused(
        f"This would let {number} back in. Nothing was changed. {describe(found[0])}.",
        code="withdrawal-lapses",
        subject=str(found[0].subject),
        hint=f"Somebody whose key stays first withdraws it once more: {again(found[0])} "
        "(mvault policy status DRAFT lists them all). If they are meant to come back: --lift-withdrawals.",
    )
