"""Holds: signed words that versions must stay, until others release them (docs/format.md, "Holds").

A hold errs on the side of keeping: it counts for as long as somebody whom the
policy knows signed it, even with a key that was retired since. A stranger's hold,
and one by a key that was revoked, is none; whoever reads holds is told of those.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import envelope, in_force, names, policy, removal, strict_json
from vault.core.fields import Fields, malformed, time
from vault.core.in_force import Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Refused, Rollback, UntrustedSigner

HOLD: Final = "hold"
RELEASE: Final = "release"
ACTION: Final = "hold"


@dataclass(frozen=True, slots=True)
class Hold:
    """That what `pattern` means must not be removed: every version of it, or one by its manifest."""

    vault: Digest
    policy: PolicyId
    pattern: str
    version: Version | None
    manifest: Digest | None
    reason: str
    created: str

    @property
    def subject(self) -> str:
        """What is held, as a person writes it."""
        return self.pattern if self.version is None else f"{self.pattern}:{self.version}"

    def covers(self, model: Model, manifest: Digest) -> bool:
        """Tell whether a version is held, given its model and the digest of its manifest."""
        if self.manifest is not None:
            return manifest == self.manifest and model == self.pattern
        return policy.covers((self.pattern,), model)


@dataclass(frozen=True, slots=True)
class Release:
    """That a hold, given by its digest, ends."""

    vault: Digest
    policy: PolicyId
    hold: Digest
    reason: str
    created: str


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds and releases in force, and what of them does not count, with why."""

    holds: tuple[Signed[Hold], ...]
    releases: Mapping[Digest, tuple[Signed[Release], ...]]  # by the digest of the hold
    skipped: tuple[Skipped, ...] = ()

    def on(self, context: Context, model: Model, manifest: Digest) -> tuple[Signed[Hold], ...]:
        """Give the holds that keep a version: those nobody released who may `hold` its model."""
        return tuple(
            entry
            for entry in self.holds
            if entry.record.covers(model, manifest) and not self.released(context, entry, model)
        )

    def released(self, context: Context, entry: Signed[Hold], model: Model) -> bool:
        """Tell whether a hold was ended, for a model or pattern, by somebody who may `hold` it."""
        return any(
            removal.may_somewhere(context.policy, signer, ACTION, model)
            for release in self.releases.get(entry.digest, ())
            for signer in release.signers
        )

    def standing(self, context: Context) -> tuple[Signed[Hold], ...]:
        """Give the holds that are not released as a whole."""
        return tuple(
            entry for entry in self.holds if not self.released(context, entry, Model(entry.record.pattern))
        )


def encode_hold(hold: Hold) -> bytes:
    """Write the payload of a hold."""
    return strict_json.encode(
        {
            "created": hold.created,
            "manifest": hold.manifest,
            "pattern": hold.pattern,
            "policy": policy_value(hold.policy),
            "reason": hold.reason,
            "vault": hold.vault,
            "version": hold.version,
        }
    )


def parse_hold(payload: bytes, subject: str) -> Hold:
    """Parse the payload of a hold, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    found = Hold(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        pattern=fields.text("pattern", policy.pattern),
        version=fields.optional("version", names.version),
        manifest=fields.optional("manifest", names.digest),
        reason=fields.text("reason", removal.reason),
        created=fields.text("created", time),
    )
    fields.done()
    if (found.version is None) != (found.manifest is None):
        raise malformed(subject, "a version and its manifest are named together")
    if found.version is not None and found.pattern.endswith("*"):
        raise malformed(subject, "a version is one model's")
    return found


def encode_release(release: Release) -> bytes:
    """Write the payload of a release."""
    return strict_json.encode(
        {
            "created": release.created,
            "hold": release.hold,
            "policy": policy_value(release.policy),
            "reason": release.reason,
            "vault": release.vault,
        }
    )


def parse_release(payload: bytes, subject: str) -> Release:
    """Parse the payload of a release, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    found = Release(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        hold=fields.text("hold", names.digest),
        reason=fields.text("reason", removal.reason),
        created=fields.text("created", time),
    )
    fields.done()
    return found


def judge(context: Context, objects: Iterable[tuple[str, bytes]]) -> Holds:
    """Judge what lies among the holds: name → bytes, each named after its own SHA-256.

    Raises:
        Rollback: `withheld`.
    """
    holds: list[Signed[Hold]] = []
    releases: dict[Digest, tuple[Signed[Release], ...]] = {}
    skipped: list[Skipped] = []
    for name, data in objects:
        try:
            if _is_release(data, name):
                release = _release(context, name, data)
                releases[release.record.hold] = (*releases.get(release.record.hold, ()), release)
            else:
                holds.append(_hold(context, name, data))
        except Rollback:
            raise
        except Refused as refusal:
            skipped.append(Skipped(name, refusal.message, refusal.code))
    return Holds(tuple(sorted(holds, key=_age)), releases, tuple(skipped))


def _age(entry: Signed[Hold]) -> tuple[str, Digest]:
    return entry.record.created, entry.digest


def _is_release(data: bytes, name: str) -> bool:
    """Tell a release from a hold by its payload type; what is neither is refused as no hold."""
    try:
        envelope.parse(data, kind=RELEASE, subject=name)
    except Refused:
        return False
    return True


def _hold(context: Context, name: str, data: bytes) -> Signed[Hold]:
    """Judge a hold: by whoever may `hold` what it means, with a key that was not revoked.

    Raises:
        Refused: it does not hold.
        Rollback: `withheld`.
    """
    sealed = envelope.parse(data, kind=HOLD, subject=name)
    members = context.policy.members.values()
    known = {key.key_id: key.public for member in members for key in member.keys if not key.revoked}
    keys = envelope.require_signer(sealed, known, name)
    found = parse_hold(sealed.payload, name)
    holders = {holder.name for key_id in keys if (holder := context.policy.holder(key_id)) is not None}
    model = Model(found.pattern)
    signers = [who for who in sorted(holders) if removal.may_somewhere(context.policy, who, ACTION, model)]
    _check(context, found, signers, name)
    return Signed(found, sealed.digest, tuple(signers))


def _release(context: Context, name: str, data: bytes) -> Signed[Release]:
    """Judge a release by its signature; whether its signer may `hold` a model is asked for each model.

    A retired key releases nothing, unless a log had the release before.

    Raises:
        Refused: it releases nothing.
        Rollback: `withheld`.
    """
    signed = in_force.attribute(context, data, RELEASE, name)
    found = parse_release(signed.envelope.payload, name)
    signers = [holder.name for holder in signed.holders]
    _check(context, found, signers, name)
    return Signed(found, signed.envelope.digest, tuple(signers))


def _check(context: Context, found: Hold | Release, signers: list[Principal], name: str) -> None:
    if found.vault != context.vault:
        raise DigestMismatch(
            f"{name} is genuine but belongs elsewhere: it is another vault's.", code="misplaced", subject=name
        )
    if not signers:
        raise UntrustedSigner(f"{name} is signed, but no signer of it may {ACTION}.", subject=name)
    in_force.check_policy(context, found.policy, name)
