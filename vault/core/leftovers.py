"""Notices of leftovers: when somebody saw what an interrupted publication left (docs/format.md, "Leftovers").

A store does not tell how old an object is, and nobody else's word for it counts. So
who may `delete` signs what they saw, and it is swept once that is long enough ago.
"""

from dataclasses import dataclass
from typing import Final

from vault.core import in_force, layout, limits, names, removal, strict_json
from vault.core.fields import Fields, malformed, plain, time
from vault.core.in_force import Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Refused, UntrustedSigner

KIND: Final = "leftovers"


@dataclass(frozen=True, slots=True)
class Notice:
    """What lay in the folder of a version that has no manifest, when somebody looked."""

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    names: tuple[str, ...]  # ascending, whole names
    created: str


def encode(notice: Notice) -> bytes:
    """Write the payload of a notice."""
    return strict_json.encode(
        {
            "created": notice.created,
            "model": notice.model,
            "names": list(notice.names),
            "policy": policy_value(notice.policy),
            "vault": notice.vault,
            "version": notice.version,
        }
    )


def parse(payload: bytes, subject: str) -> Notice:
    """Parse the payload of a notice, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape, or a name lies in another folder.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    found = Notice(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        names=fields.texts("names", plain, limits.LEFTOVER_NAMES),
        created=fields.text("created", time),
    )
    fields.done()
    folder = layout.version(found.model, found.version)
    if not found.names or list(found.names) != sorted(set(found.names)):
        raise malformed(subject, "its names are some, different and in order")
    if not all(
        name.startswith(folder) and may_be_swept(name, found.model, found.version) for name in found.names
    ):
        raise malformed(subject, f"its names are objects in {folder} that may be swept")
    return found


def may_be_swept(name: str, model: Model, version: Version) -> bool:
    """Tell whether an object may ever be a leftover: the manifest itself, and removals, are none."""
    kept = layout.manifest(model, version), layout.removals(model, version)
    return not name.startswith(kept)


def judge(context: Context, name: str, data: bytes) -> Signed[Notice] | Skipped:
    """Judge a notice: by who may `delete` the model in some environment.

    Raises:
        Rollback: `withheld`.
    """
    try:
        signed = in_force.attribute(context, data, KIND, name)
        found = parse(signed.envelope.payload, name)
        if found.vault != context.vault:
            raise DigestMismatch(
                f"{name} is genuine but belongs elsewhere: it is another vault's.",
                code="misplaced",
                subject=name,
            )
        signers = tuple(
            holder.name
            for holder in signed.holders
            if removal.may_somewhere(context.policy, holder.name, removal.ACTION, found.model)
        )
        if not signers:
            raise UntrustedSigner(f"{name} is signed, but no signer of it may delete.", subject=name)
    except Refused as refusal:
        return Skipped(name, refusal.message, refusal.code)
    in_force.check_policy(context, found.policy, name)
    return Signed(found, signed.envelope.digest, signers)
