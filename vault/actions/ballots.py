"""Who must sign a draft before it counts, who has, and whether it follows what is in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vault.actions import draft_files, drafting
from vault.actions.draft_files import Draft
from vault.actions.session import HeldIdentity, Session, Trust
from vault.core import limits, policy, trust
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.core.trust import Root
from vault.errors import AccessDenied, Conflict, DigestMismatch


@dataclass(frozen=True, slots=True)
class Ballot:
    """A policy, a root, or both together, and the roots whose thresholds must have signed each.

    `base` is what is in force, None where a vault is still to be founded.
    """

    base: Trust | None
    policy: Draft | None
    root: Draft | None

    @property
    def vault(self) -> Digest:
        """The vault that the drafts are for."""
        return self.drafts[0].vault if self.base is None else self.base.root.vault

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The drafts on it, the policy first."""
        return tuple(draft for draft in (self.policy, self.root) if draft is not None)

    @property
    def electorates(self) -> tuple[Root, ...]:
        """The root in force, and the one that is to follow it: either's threshold must sign."""
        found = [] if self.base is None else [self.base.root.root]
        if self.root is not None and isinstance(self.root.document, Root):
            found.append(self.root.document)
        return tuple(found)

    @property
    def keys(self) -> Mapping[Digest, bytes]:
        """All keys whose signatures say something."""
        return {key.key_id: key.public for root in self.electorates for key in root.keys}

    def missing(self, draft: Draft) -> tuple["Missing", ...]:
        """Tell whose signatures a draft still lacks, for each root whose threshold it has not met."""
        found = []
        for root in self.electorates:
            signed = trust.voters(root, draft.envelope)
            if len(signed) < root.threshold:
                waiting = sorted({key.name for key in root.keys} - signed)
                found.append(Missing(root.version, root.threshold - len(signed), tuple(waiting)))
        return tuple(found)

    def signed(self, draft: Draft) -> tuple[Principal, ...]:
        """List the root holders who have signed a draft."""
        found = frozenset[Principal]().union(
            *(trust.voters(root, draft.envelope) for root in self.electorates)
        )
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Missing:
    """How many more holders of a root must sign, and which of them have not."""

    root: int
    more: int
    waiting: tuple[Principal, ...]


def ballot(session: Session, drafts: Sequence[Draft]) -> Ballot:
    """Put drafts together that belong together, and see that they follow what is in force.

    Several copies of one draft count as one, with all their signatures.

    Raises:
        DigestMismatch: a draft is another vault's (`misplaced`).
        Conflict: a draft follows a policy or root that is not in force any more.
        Rollback: the store offers something older than this client has seen.
        ValueError: there are two policies, or two roots.
        Refused, NotFound, Unavailable.
    """
    chosen = _sorted(drafts)
    offered = chosen.get(policy.KIND)
    new_era = False
    if offered is not None and isinstance(offered.document, Policy):
        new_era = offered.document.era > session.trust().policy.era
    base = drafting.base_of(session, new_era=new_era)
    found = Ballot(base, offered, chosen.get(trust.KIND))
    for draft in found.drafts:
        if draft.vault != base.root.vault:
            raise DigestMismatch(
                f"{draft.subject} is for another vault, sha256:{draft.vault}.",
                code="misplaced",
                subject=draft.subject,
            )
        _check_follows(base, draft)
    return found


def signed(session: Session, drafts: Sequence[Draft]) -> Ballot:
    """Put drafts together as `ballot` does, signed by this identity where its signature says something.

    Raises:
        As `ballot`; NoUsableKey.
    """
    found = ballot(session, drafts)
    key_id = Digest(session.identity.key_id)
    if key_id not in found.keys:
        return found
    sign = session.identity.sign
    return ballot(session, [draft_files.with_signature(draft, key_id, sign) for draft in found.drafts])


def founding(drafts: Sequence[Draft]) -> Ballot:
    """Put the first root and the first policy of a vault together.

    Raises:
        DigestMismatch: the policy is not this root's (`misplaced`).
        ValueError: there are other drafts among them, or not both.
    """
    chosen = _sorted(drafts)
    found = Ballot(None, chosen.get(policy.KIND), chosen.get(trust.KIND))
    if found.root is None or not is_first(found.root):
        raise ValueError("A vault is founded by the draft of its first root; give that too.")
    if found.policy is not None and found.policy.vault != found.root.digest:
        raise DigestMismatch(
            f"{found.policy.subject} is for another vault, sha256:{found.policy.vault}.",
            code="misplaced",
            subject=found.policy.subject,
        )
    return found


def is_first(draft: Draft) -> bool:
    """Tell whether a draft is the root that founds a vault."""
    return isinstance(draft.document, Root) and draft.document.version == 1


def _sorted(drafts: Sequence[Draft]) -> dict[str, Draft]:
    chosen: dict[str, Draft] = {}
    for draft in drafts:
        known = chosen.get(draft.kind)
        chosen[draft.kind] = draft if known is None else draft_files.merged(known, draft)
    return chosen


def _check_follows(base: Trust, draft: Draft) -> None:
    """Refuse a draft that begins from something else than what is in force, unless it is in force itself."""
    document = draft.document
    if isinstance(document, Policy):
        newest, number, digest = "policy", base.policy.version, base.policy_id.digest
    else:
        newest, number, digest = "root", base.root.root.version, base.root.digest
    if draft.digest == digest:
        return
    if document.prev == digest:
        _check_numbers(base, document, draft.subject)
        return
    raise Conflict(
        f"{draft.subject} does not follow {newest} {number}, which is in force: "
        "another was applied since it was drafted, or it was made from an older state.",
        subject=draft.subject,
        hint="Draft it anew. What is in force now: mvault policy status",
    )


def _check_numbers(base: Trust, document: Policy | Root, subject: str) -> None:
    """Refuse numbers that no draft of ours has, and a root that is not in force: no client could use it."""
    before = base.policy.version if isinstance(document, Policy) else base.root.root.version
    wrong = not before < document.version <= before + 1 + limits.GAP
    if isinstance(document, Policy):
        wrong |= document.era not in (base.policy.era, base.policy.era + 1)
        wrong |= (document.root_version, document.root_digest) != (base.root.root.version, base.root.digest)
    if wrong:
        raise DigestMismatch(
            f"{subject} cannot follow what is in force: its number, era or root is not the next one.",
            code="misplaced",
            subject=subject,
            hint="Draft it anew.",
        )


def sign(found: Ballot, identity: HeldIdentity, paths: Sequence[Path]) -> tuple[Draft, ...]:
    """Add this identity's signature to drafts, in their files; give them as they are now.

    Raises:
        AccessDenied: this identity holds no key of the root.
        Conflict: a file has another draft than was looked at.
        NotFound, Unavailable, Malformed, ValueError: see `draft_files.update`.
    """
    key_id = Digest(identity.key_id)
    if key_id not in found.keys:
        holders = sorted({key.name for root in found.electorates for key in root.keys})
        raise AccessDenied(
            f"{identity.name} holds no key of the root, so this signature would not count.",
            subject=str(identity.name),
            hint=f"Its holders are: {', '.join(holders)}. For a new holder, give the draft of the root too.",
        )
    looked_at = {draft.digest for draft in found.drafts}

    def change(draft: Draft) -> Draft:
        if draft.digest not in looked_at:
            raise Conflict(f"{draft.subject} was changed meanwhile.", subject=draft.subject)
        return draft_files.keeping(draft_files.with_signature(draft, key_id, identity.sign), found.keys)

    return tuple(draft_files.update(path, change) for path in paths)
