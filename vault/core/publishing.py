"""Who published a version: every listed publisher, or who adopted it in the place of one that was lost.

A manifest is only parsed once somebody whom the policy knows has signed its
digest: a publisher whose key counts, or a person who adopted it.
"""

from collections.abc import Callable, Iterable

from vault.core import envelope, manifest, policy
from vault.core.in_force import Attributed, Context, Signed
from vault.core.in_force import attribute as attribute_signers
from vault.core.manifest import Manifest
from vault.core.names import Digest, Environment, Principal
from vault.core.records import Adoption
from vault.errors import BadSignature, Unsigned, UntrustedSigner

Adopted = Callable[[Digest], Iterable[Signed[Adoption]]]  # the adoptions in force of a manifest


def nobody(_: Digest) -> tuple[Signed[Adoption], ...]:
    """Give the adoptions of a manifest that nobody adopted."""
    return ()


def attribute(context: Context, data: bytes, subject: str, adopted: Adopted) -> Attributed:
    """Verify a manifest's signatures; without a publisher whose key counts, demand an adoption of it.

    Raises:
        Refused: malformed, unsigned, or neither signed nor adopted by anybody whom the policy knows.
    """
    try:
        return attribute_signers(context, data, manifest.KIND, subject)
    except (Unsigned, UntrustedSigner, BadSignature):
        sealed = envelope.parse(data, kind=manifest.KIND, subject=subject)
        if not any(True for _ in adopted(sealed.digest)):
            raise
        return Attributed(sealed, frozenset(), ())


def publishers(
    context: Context, found: Manifest, signed: Attributed, adopted: Adopted, here: Environment | None
) -> tuple[Principal, ...]:
    """Give who published a version: every listed publisher signed and may publish, or somebody adopted it.

    Where no record stands in, `here` is the environment in which publishers, and
    adopters, need their authority. Who adopted counts as a publisher beside the
    one that was lost, who counts for as long as the policy knows them.

    Raises:
        UntrustedSigner: a signature is missing, or a publisher does not count and nobody adopted it.
    """
    found_names: list[Principal] = []
    adopters: tuple[Principal, ...] | None = None
    for key_id in found.publishers:
        refusal = _refusal(context, found, signed, key_id, here)
        holder = context.policy.holder(key_id)
        if holder is not None:
            found_names.append(holder.name)
        if refusal is None:
            continue
        if adopters is None:
            adopters = _adopters(context, found, adopted(signed.envelope.digest), here)
        if not adopters or _is_stripped(context, signed, key_id):
            raise refusal
        found_names.extend(adopters)
    return tuple(dict.fromkeys(found_names))


def _refusal(
    context: Context, found: Manifest, signed: Attributed, key_id: Digest, here: Environment | None
) -> UntrustedSigner | None:
    """Say why one listed publisher does not count, None where they do."""
    subject = f"{found.model}:{found.version}"
    holder = context.policy.holder(key_id)
    if holder is None or key_id not in signed.keys:
        return UntrustedSigner(
            f"{subject} names a publisher whose signature is missing, or whom the policy does not know.",
            subject=subject,
            hint=f"If its publisher left, who may adopt it can stand in: mvault adopt-version {subject}",
        )
    allowed = (
        policy.may_publish_somewhere(context.policy, holder.name, found.model)
        if here is None
        else policy.decide(context.policy, holder.name, "publish", found.model, here).allowed
    )
    if allowed:
        return None
    return UntrustedSigner(
        f"{subject} is signed by {holder.name}, who may not publish {found.model}"
        + ("." if here is None else f" in {here}."),
        subject=subject,
        hint="A policy change, an adoption, or a publisher with that right can make it loadable.",
    )


def _is_stripped(context: Context, signed: Attributed, key_id: Digest) -> bool:
    """Tell whether the signature of a key that the policy knows is not there, or does not verify."""
    key = context.policy.key(key_id)
    return key is not None and not envelope.signers(signed.envelope, {key_id: key.public})


def _adopters(
    context: Context, found: Manifest, adoptions: Iterable[Signed[Adoption]], here: Environment | None
) -> tuple[Principal, ...]:
    """Give who adopted the manifest and, where it is asked for, may adopt it in this very environment."""
    return tuple(
        dict.fromkeys(
            signer
            for entry in adoptions
            for signer in entry.signers
            if here is None or policy.decide(context.policy, signer, "adopt", found.model, here).allowed
        )
    )
