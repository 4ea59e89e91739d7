"""Look at a vault as it would be if another policy were in force; nothing of it is remembered."""

from dataclasses import replace

from vault.actions import log_proofs
from vault.actions.session import Session, Trust
from vault.core.memory_format import Memory
from vault.core.names import Digest
from vault.core.policy import Policy, PolicyId

UNSIGNED = Digest("0" * 64)  # stands for the digest of a policy that is no document yet


class _Forgetful:
    """A memory that knows nothing and keeps nothing: what might be is no observation."""

    def __init__(self, vault: Digest) -> None:
        self._vault = vault

    def load(self) -> Memory:
        """Remember nothing."""
        return Memory(self._vault)

    def advance(self, seen: Memory) -> None:
        """Keep nothing."""


def today(session: Session) -> Session:
    """Give a session like this one that remembers nothing, so that two policies are judged alike.

    Raises:
        Refused, NotFound, Unavailable: the trust documents do not verify.
    """
    trust = session.trust()
    return _under(session, trust.policy, trust.policy_id)


def then(session: Session, proposed: Policy) -> Session:
    """Give a session like this one in which a proposed policy is in force.

    It counts as newer than the policy in force, whatever number it has so far,
    so that records made under that one are older ones, as they will be.

    Raises:
        Refused, NotFound, Unavailable: the trust documents do not verify.
    """
    number = max(proposed.version, session.trust().policy.version + 1)
    return _under(session, proposed, PolicyId(proposed.era, number, UNSIGNED))


def unexpired(supposed: Session) -> Session:
    """Give a supposed session in which root and policy never expire: what records say does not end with them.

    Raises:
        Refused, NotFound, Unavailable: the trust documents do not verify.
    """
    trust = supposed.trust()
    root = replace(trust.root, root=replace(trust.root.root, expires=None))
    return replace(supposed, _trust=replace(trust, root=root, policy=replace(trust.policy, expires=None)))


def _under(session: Session, policy: Policy, policy_id: PolicyId) -> Session:
    trust = session.trust()
    supposed = replace(session, memory=_Forgetful(trust.root.vault), audit=None)
    proofs = log_proofs.of_session(supposed, policy)
    supposed._trust = Trust(trust.root, policy, policy_id, trust.skipped, trust.listing, proofs)
    return supposed
