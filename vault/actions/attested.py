"""Compare what was found of a model with what the heads of its environment say."""

from collections.abc import Callable

from vault.actions.session import Observation, mark_of
from vault.core import heads, memory_format
from vault.core.channels import Entry, Records
from vault.core.in_force import Channel, Signed
from vault.core.stages import Resolved, Verified


def compare(
    verified: Verified, seen: tuple[Observation, ...], judged: Callable[[Resolved, Channel], Records]
) -> bool:
    """Hold every slot of a model against the heads; tell whether this client knew the channel as it is.

    Every slot, because a record that is withheld in one may bar what another
    names. `seen` are the channels that were looked at, and are compared where
    they are remembered; `judged` gives the records of another.

    Raises:
        Rollback: a channel is older than the heads say.
        Unavailable.
    """
    resolved = verified.authorised.resolved
    state = resolved.freshness
    if state is None:
        return True
    newest: dict[Channel, Entry | None] = dict(entry for entry in seen if isinstance(entry, tuple))
    for slot in heads.slots_of(state, verified.manifest.model):
        where = Channel(resolved.rule.name, slot, verified.manifest.model)
        if where not in newest:
            genuine = (entry for entry in judged(resolved, where) if isinstance(entry, Signed))
            entry = next(genuine, None)
            mark = None if entry is None else mark_of(resolved.context, entry)
            heads.check_channel(state, where, mark)
    via = verified.target.via
    if not newest and via is not None:
        newest = {Channel(resolved.rule.name, via.record.slot, via.record.model): via}
    known = resolved.remembered.channels
    return any(
        head is not None
        and known.get(memory_format.channel_key(where.environment, where.slot, where.model))
        == mark_of(resolved.context, head)
        for where, head in newest.items()
    )
