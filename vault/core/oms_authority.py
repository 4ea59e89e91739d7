"""Decide whether those who signed a model are enough: known, not revoked, in time, for this model.

Persons count, each once however many of their keys signed. Key ids in a bundle are claims: what is
given here are keys under which a signature of the bundle verified.
"""

from collections.abc import Collection
from dataclasses import dataclass

from vault.core import names
from vault.core.oms_bundle import Bundle
from vault.core.oms_signers import NAMESPACE, Trusted, TrustedKey, matches
from vault.core.oms_statement import Statement
from vault.errors import BadSignature, DigestMismatch, Expired, Refused, UntrustedSigner


@dataclass(frozen=True, slots=True)
class Demands:
    """What a verifier asks for.

    `model` is the name that must have been signed, None for any; `digest` the SHA-256 of the payload
    in hexadecimal, None for any; `at` is the time, in seconds since 1970.
    """

    at: int
    threshold: int = 1
    model: str | None = None
    digest: str | None = None
    strict: bool = True


def require_known(bundle: Bundle, trusted: Trusted, verified: Collection[str], subject: str) -> None:
    """Refuse a bundle that no trusted key has signed, before anything in it is read.

    `verified` are the ids of the keys under which a signature verified.

    Raises:
        BadSignature: it names a trusted key, and the signature is not that key's over this content.
        UntrustedSigner: it names none.
    """
    if verified:
        return
    named = {entry.key_id for entry in bundle.signatures} | {bundle.hint}
    if named & trusted.by_id.keys():
        raise BadSignature(
            f"{subject} was altered: its signature does not fit its content.",
            subject=subject,
            hint="Get the model and its signature again from where they come from.",
        )
    raise UntrustedSigner(
        f"{subject} is not signed by anybody whom you trust for it.",
        subject=subject,
        hint="If the signer is known to you, list their key: --trusted FILE; see docs/signing.md.",
    )


def people(
    statement: Statement, trusted: Trusted, verified: Collection[str], demands: Demands, subject: str
) -> tuple[str, ...]:
    """Give the people whose signatures count, in order; at least as many as are demanded.

    Raises:
        UntrustedSigner: nobody's signature counts for this model, or too few (`threshold-not-met`).
        Expired: a key that signed is past its time.
    """
    found: set[str] = set()
    reasons: list[Refused] = []
    for key_id in sorted(verified):
        entry = trusted.by_id[key_id]
        reason = _objection(entry, statement.model, demands.at, subject)
        if reason is None:
            found.add(entry.person)
        else:
            reasons.append(reason)
    if len(found) >= demands.threshold:
        return tuple(sorted(found))
    if reasons and not found:
        raise reasons[0]
    aside = f" {reasons[0].message}" if reasons else ""
    raise UntrustedSigner(
        f"{subject} is signed by {len(found)} of {demands.threshold} people whom you demand"
        f" ({', '.join(sorted(found)) or 'nobody'}).{aside}",
        code="threshold-not-met",
        subject=subject,
        hint="Another one signs it with: mvault sign PATH --add",
    )


def _objection(entry: TrustedKey, model: str, now: int, subject: str) -> Refused | None:
    """Say why a key that signed does not count, or None."""
    who = f"{entry.person} ({entry.key.key_id[:12]}…)"
    if entry.revoked:
        return UntrustedSigner(f"The key of {who} was revoked.", subject=subject, hint="Trust nothing of it.")
    if entry.namespaces is not None and not matches(entry.namespaces, NAMESPACE):
        return UntrustedSigner(
            f"The key of {who} is not listed for models.",
            subject=subject,
            hint=f'Its line may say: namespaces="{NAMESPACE}"',
        )
    if not entry.covers(model):
        return UntrustedSigner(
            f"{who} may not sign {model}.",
            subject=subject,
            hint="Their line in the file of trusted keys lists other models.",
        )
    if entry.before is not None and now >= entry.before:
        time = names.time_text(entry.before)
        return Expired(f"The key of {who} counted until {time}.", subject=subject)
    if entry.after is not None and now < entry.after:
        return Expired(f"The key of {who} counts from {names.time_text(entry.after)}.", subject=subject)
    return None


def require_asked_for(statement: Statement, bundle: Bundle, demands: Demands, subject: str) -> None:
    """Refuse a genuine signature over something else than what was asked for.

    Raises:
        DigestMismatch: it is about another model (`misplaced`), or another content of it.
    """
    if demands.model is not None and statement.model != demands.model:
        raise DigestMismatch(
            f"{subject} signs {statement.model!r}, and {demands.model!r} was asked for.",
            code="misplaced",
            subject=subject,
            hint=f"If that is the model that you want: --model {statement.model}",
        )
    if demands.digest is not None and bundle.digest != demands.digest:
        raise DigestMismatch(
            f"{subject} is genuine and signs sha256:{bundle.digest}, which is not the one asked for.",
            subject=subject,
            hint="Get the version that was meant.",
        )
