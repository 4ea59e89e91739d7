"""Draft, sign and apply policies and roots in the vaults of `tests.builders`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders import Built, new_identity
from vault import policyfile
from vault.actions import applying, ballots, draft_files, drafting
from vault.actions.applying import Applied
from vault.actions.draft_files import Draft
from vault.actions.init import Joining
from vault.core.names import Principal
from vault.keys.identity_file import Identity

# The policy of `tests.builders.solo`, whose owner is called "owner".
SOLO = policyfile.shipped("solo")


def joining(identity: Identity, name: str | None = None) -> Joining:
    """Give what somebody passes on of an identity."""
    return Joining(Principal(name or identity.name), identity.public, identity.recipient)


def keys_of(*people: Identity) -> dict[Principal, list[Joining]]:
    """Give public identities by name; one name may have several."""
    found: dict[Principal, list[Joining]] = {}
    for identity in people:
        found.setdefault(Principal(identity.name), []).append(joining(identity))
    return found


def draft(
    built: Built,
    text: str,
    *people: Identity,
    expires: str | None = None,
    new_era: bool = False,
    who: str = "owner",
) -> Draft:
    """Draft a policy out of the text of a policy file."""
    source = policyfile.parse(text, "policy.yaml")
    return drafting.policy_draft(
        built.session(who), source, keys_of(*people), expires=expires, new_era=new_era
    )


def signed(built: Built, folder: Path, drafts: Sequence[Draft], *who: str) -> list[Draft]:
    """Let people sign drafts in files, one after another; give what the files hold in the end."""
    paths = [folder / f"{draft.kind}-{draft.document.version}.json" for draft in drafts]
    for path, one in zip(paths, drafts, strict=True):
        if not path.exists():
            draft_files.write_new(path, one)
    for name in who:
        session = built.session(name)
        found = ballots.ballot(session, [draft_files.read(path) for path in paths])
        ballots.sign(found, session.identity, paths)
    return [draft_files.read(path) for path in paths]


def apply(built: Built, *drafts: Draft, who: str = "owner", accept_outage: bool = False) -> Applied:
    """Put drafts in force."""
    return applying.apply(built.session(who), drafts, accept_outage=accept_outage)


def change(
    built: Built,
    folder: Path,
    text: str,
    *people: Identity,
    accept_outage: bool = False,
    new_era: bool = False,
) -> Applied:
    """Draft, sign and apply a policy in a vault whose owner alone holds the root."""
    for identity in people:
        built.identities.setdefault(identity.name, identity)
    made = signed(built, folder, [draft(built, text, *people, new_era=new_era)], "owner")
    return apply(built, *made, accept_outage=accept_outage)


def rotate(
    built: Built, folder: Path, holders: Mapping[str, Sequence[Identity]], threshold: int, *who: str
) -> Applied:
    """Draft a root with these holders, let `who` sign it and the policy with it, and apply both."""
    for name, identities in holders.items():
        for identity in identities:
            built.identities.setdefault(name, identity)
    root, policy = drafting.root_draft(
        built.session("owner"),
        {Principal(name): [entry.public for entry in theirs] for name, theirs in holders.items()},
        threshold=threshold,
    )
    drafts = [one for one in (policy, root) if one is not None]
    return apply(built, *signed(built, folder, drafts, *who))


def person(name: str, seed: str = "drafts") -> Identity:
    """Make somebody's identity."""
    return new_identity(name, seed=seed)
