"""What records beside a version have in common: which version they are about, and who may sign them."""

from vault.core import policy
from vault.core.in_force import Attributed, Context
from vault.core.names import Digest, Model, Principal, Version
from vault.errors import DigestMismatch, UntrustedSigner

About = tuple[Digest, Model, Version, Digest]  # vault, model, version and manifest


def check_about(named: About, meant: About, subject: str) -> None:
    """See that a record names the version beside which it lies.

    Raises:
        DigestMismatch: `misplaced`.
    """
    if named != meant:
        raise DigestMismatch(
            f"{subject} is genuine but belongs elsewhere: it is about {named[1]}:{named[2]}.",
            code="misplaced",
            subject=subject,
        )


def signers_somewhere(
    context: Context, signed: Attributed, action: str, model: Model, subject: str
) -> tuple[Principal, ...]:
    """Give the signers of a record who may do `action` with a model, in any environment.

    Raises:
        UntrustedSigner: nobody of them may.
    """
    found = tuple(
        holder.name
        for holder in signed.holders
        if policy.may_somewhere(context.policy, holder.name, action, model)
    )
    if not found:
        raise UntrustedSigner(
            f"{subject} is signed, but no signer of it may {action} {model}.", subject=subject
        )
    return found
