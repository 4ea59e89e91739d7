"""Removals: signed records that a version is to go, or stays after all (docs/format.md, "Removals").

They are numbered, so that two writers find out which of them was first: an `undo`
and a `reclaim` of one removal have the same number, and one of them is created.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vault.core import in_force, limits, names, policy, strict_json
from vault.core.fields import Fields, malformed, one_of, time
from vault.core.in_force import Context, Order, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Environment, Model, Principal, Version
from vault.core.policy import PolicyId, Ruled
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, NotFound, Refused, UntrustedSigner

KIND: Final = "removal"
ACTION: Final = "delete"
REMOVE: Final = "remove"  # its payloads may go after `after`
KEEP: Final = "keep"  # it stays after all
RECLAIM: Final = "reclaim"  # its payloads are being deleted, or are gone
STATES: Final = (KEEP, RECLAIM, REMOVE)
ANY_BACKUP: Final = "*"


@dataclass(frozen=True, slots=True)
class Removal:
    """One step in the end of a version.

    `after` is from when its payloads may be deleted, of a `REMOVE` alone. `backup`
    names the backup that must hold it by then, `ANY_BACKUP` where any will do.
    """

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    number: int
    state: str
    after: str | None
    backup: str | None
    reason: str
    created: str

    @property
    def removes(self) -> bool:
        """Tell whether the version counts as removed."""
        return self.state != KEEP


def reason(text: str) -> str:
    """Accept why something is held or removed: one line of printable text.

    Raises:
        Malformed: `malformed-document`.
    """
    if not 0 < len(text) <= limits.REASON_CHARS or not text.isprintable():
        raise malformed("A reason", f"it is one line of 1 to {limits.REASON_CHARS} printable characters")
    return text


def backup(text: str) -> str:
    """Accept the name of a backup, or `ANY_BACKUP`.

    Raises:
        Malformed: `malformed-name`.
    """
    return text if text == ANY_BACKUP else str(names.slot(text))


def encode(removal: Removal) -> bytes:
    """Write the payload of a removal."""
    return strict_json.encode(
        {
            "after": removal.after,
            "backup": removal.backup,
            "created": removal.created,
            "manifest": removal.manifest,
            "model": removal.model,
            "number": removal.number,
            "policy": policy_value(removal.policy),
            "reason": removal.reason,
            "state": removal.state,
            "vault": removal.vault,
            "version": removal.version,
        }
    )


def parse(payload: bytes, subject: str) -> Removal:
    """Parse the payload of a removal, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    found = Removal(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        manifest=fields.text("manifest", names.digest),
        number=fields.integer("number", 1),
        state=fields.text("state", one_of(*STATES)),
        after=fields.optional("after", time),
        backup=fields.optional("backup", backup),
        reason=fields.text("reason", reason),
        created=fields.text("created", time),
    )
    fields.done()
    if (found.state == REMOVE) != (found.after is not None):
        raise malformed(subject, "what is removed, and only that, has a time after which it may go")
    if found.after is not None and names.timestamp(found.after) < names.timestamp(found.created):
        raise malformed(subject, "it may go before it was removed")
    if found.state == KEEP and found.backup is not None:
        raise malformed(subject, "what stays asks for no backup")
    return found


def judge(
    context: Context, model: Model, version: Version, number: int, data: bytes, manifest: Digest | None = None
) -> Signed[Removal] | Skipped:
    """Judge one object of a version's removals: by who may `delete` the model in some environment.

    Raises:
        Rollback: `withheld`.
    """
    subject = f"{model}:{version} removal {number}"
    try:
        signed = in_force.attribute(context, data, KIND, subject)
        found = parse(signed.envelope.payload, subject)
        if (found.vault, found.model, found.version, found.number) != (context.vault, model, version, number):
            raise _misplaced(subject, "its vault, model, version or number is another")
        if manifest is not None and found.manifest != manifest:
            raise _misplaced(subject, "it removes another manifest")
        signers = tuple(
            holder.name
            for holder in signed.holders
            if may_somewhere(context.policy, holder.name, ACTION, model)
        )
        if not signers:
            raise UntrustedSigner(
                f"{subject} is signed, but no signer of it may {ACTION} {model}.", subject=subject
            )
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    in_force.check_policy(context, found.policy, subject)
    return Signed(found, signed.envelope.digest, signers)


def _misplaced(subject: str, what: str) -> DigestMismatch:
    return DigestMismatch(
        f"{subject} is genuine but belongs elsewhere: {what}.", code="misplaced", subject=subject
    )


def may_somewhere(ruled: Ruled, who: Principal, action: str, model: Model) -> bool:
    """Tell whether `who` may do an action with a model in any environment."""
    return any(policy.decide(ruled, who, action, model, name).allowed for name in ruled.environments)


def counts_in(context: Context, entry: Signed[Removal], environment: Environment) -> bool:
    """Tell whether a removal counts in an environment: a signer of it may `delete` the model there.

    Who may delete in dev alone takes nothing away from prod.
    """
    return any(
        policy.decide(context.policy, signer, ACTION, entry.record.model, environment).allowed
        for signer in entry.signers
    )


def order(entry: Signed[Removal]) -> Order:
    """Give a removal's place among those of its version: (era, number)."""
    return entry.record.policy.era, entry.record.number


def latest(
    context: Context, judged: Iterable[Signed[Removal] | Skipped], environment: Environment | None = None
) -> Signed[Removal] | None:
    """Give the removal in force, of those judged from the highest number down; None where there is none.

    With an `environment` only what counts there is looked at. Removals of an
    earlier era come before all of this one, whatever their numbers.
    """
    found: Signed[Removal] | None = None
    for entry in judged:
        if isinstance(entry, Skipped):
            continue
        if environment is not None and not counts_in(context, entry, environment):
            continue
        if found is None or order(entry) > order(found):
            found = entry
        if found.record.policy.era == context.policy_id.era:
            break
    return found


def refuse(removal: Removal) -> NotFound:
    """Say of a version that it was removed, and how to have it back."""
    subject = f"{removal.model}:{removal.version}"
    when = names.day_text(removal.created)
    if removal.after is None:
        message = f"{subject} was removed, and its files were deleted from {when} on: {removal.reason}."
        hint = f"Its number does not come back. Restore it from a backup: mvault restore {subject}"
    else:
        message = f"{subject} was removed on {when}: {removal.reason}."
        hint = (
            f"Its files are kept until {names.day_text(removal.after)}. "
            f"To have it back: mvault retain --undo {subject}"
        )
    return NotFound(message, code="removed", subject=subject, hint=hint)
