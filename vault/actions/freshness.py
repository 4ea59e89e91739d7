"""Read the heads of an environment: which are in force, and what they come to now."""

from collections.abc import Sequence
from dataclasses import dataclass

from vault.actions import objects
from vault.core import envelope, heads, layout, limits, policy, policy_document
from vault.core.heads import Heads
from vault.core.in_force import Context, Signed
from vault.core.memory_format import Mark
from vault.core.names import Digest, Environment
from vault.core.policy import PolicyId
from vault.core.trust import Skipped, TrustedRoot
from vault.errors import NotFound, Refused
from vault.ports import Store


@dataclass(frozen=True, slots=True)
class HeadsFound:
    """The heads in force as they were last read, and all that they were judged by."""

    heads: Signed[Heads] | None
    skipped: tuple[Skipped, ...]
    listing: Sequence[int]
    root: Digest
    policy: PolicyId


def read(
    store: Store, context: Context, root: TrustedRoot, environment: Environment, known: HeadsFound | None
) -> HeadsFound:
    """Give the heads in force, reading again only where the store, the root or the policy changed.

    Raises:
        Rollback: `withheld`.
        Unavailable: the store failed.
    """
    folder = layout.heads(environment)
    listing = objects.numbers(store, folder)
    if known is not None and (known.listing, known.root, known.policy) == (
        listing,
        root.digest,
        context.policy_id,
    ):
        return known
    found, skipped = heads.heads_in_force(
        context,
        root,
        environment,
        listing,
        lambda number: objects.read_listed(
            store, folder + layout.numbered(number), limit=limits.ENVELOPE_BYTES
        ),
    )
    return HeadsFound(found, skipped, listing, root.digest, context.policy_id)


def offered(store: Store, environment: Environment, mark: Mark) -> bool:
    """Tell whether the heads that a client remembers still lie in the store, signed as they were.

    That is judged by the policy under which they were made: their signer may have left since. Without it,
    whoever strips the signature could pass newer heads off as those of somebody who lost the right.

    Raises:
        Unavailable: the store failed.
    """
    name = layout.heads(environment) + layout.numbered(mark.number)
    try:
        sealed = envelope.parse(_read(store, name), kind=heads.KIND, subject=name)
        if sealed.digest != mark.digest:
            return False
        made_under = heads.parse(sealed.payload, name).policy
        place = layout.policy(made_under.version)
        document = envelope.parse(_read(store, place), kind=policy.KIND, subject=place)
        if document.digest != made_under.digest:
            return False
        then = policy_document.parse(document.payload, place)
    except (NotFound, Refused):
        return False
    signers = [then.holder(key_id) for key_id in envelope.signers(sealed, then.counting_keys())]
    return any(signer and heads.may_attest(then, signer.name, environment) for signer in signers)


def _read(store: Store, name: str) -> bytes:
    return store.read(name, limit=limits.ENVELOPE_BYTES)
