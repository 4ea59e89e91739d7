"""What people of the attack matrix do with policies, roots and drafts of them, rightly or not."""

from collections.abc import Callable
from dataclasses import replace

from tests.attacks.matrix import Act
from tests.attacks.matrix_scenes import (
    PEOPLE,
    amends,
    asks,
    deletes,
    forges,
    keys,
    loads,
    manifest_by,
    write_policy,
    write_root,
)
from tests.attacks.vault_mixing import twin
from tests.builders import Built, new_identity
from vault.actions import applying, draft_files, drafting
from vault.actions.draft_files import Draft
from vault.core import envelope, layout
from vault.core.names import Digest, Principal
from vault.core.policy import ChannelHead, Key, Member, Policy

NEWEST = loads("churn", "dora", "dev")


# --- what they do ---


def lets_eve_in(before: Policy) -> Policy:
    """Give a stranger every role of the owner's."""
    owner = before.members[Principal("owner")]
    eve = new_identity("eve", seed="root")
    key = Key(eve.public, Digest(eve.key_id), revoked=False, until=None)
    member: Member = replace(owner, name=Principal("eve"), keys=(key,), recipients=())
    return replace(before, members={**before.members, member.name: member})


def without_approvals(before: Policy) -> Policy:
    """Ask prod for nothing."""
    return asks(approvals=None)(before)


def same(before: Policy) -> Policy:
    return before


def policy_by(change: Callable[[Policy], Policy], *who: str) -> Act:
    return lambda built: write_policy(built, change, *who)


def root_by(people: tuple[str, ...], threshold: int, *who: str) -> Act:
    return lambda built: write_root(built, 3, threshold, people, *who)


def root_and_policy(people: tuple[str, ...], threshold: int, *who: str) -> Act:
    """Sign the next root and a policy under it that lets eve in."""

    def act(built: Built) -> None:
        write_root(built, 3, threshold, people, *who)
        write_policy(built, lets_eve_in, *who)

    return act


def eve_publishes(built: Built) -> None:
    """Let eve sign churn:2, which counts only where a policy that counts knows her."""
    manifest_by("eve", "2")(built)


def higher_era(before: Policy) -> Policy:
    """Raise the era, and continue from nothing."""
    return replace(before, era=before.era + 1, continues={})


def continues_from_one(before: Policy) -> Policy:
    """Raise the era, and continue prod from a record that is not its newest."""
    head = ChannelHead(1, Digest("1" * 64))
    return replace(before, era=before.era + 1, continues={"prod/main/churn": head})


def owners_laptop(built: Built) -> None:
    """Revoke the owner's key, which was stolen."""
    write_policy(built, keys("owner", revoked=True), "zoe", "yan")


def signs_churn_2_backdated(who: str) -> Act:
    """Sign a version as if under the first policy, long ago."""
    first = {"digest": "0" * 64, "era": 0, "version": 1}
    return manifest_by(who, "2", policy=first, created="2020-01-01T00:00:00Z")


# --- drafts, which lie in the storage here to be found by who applies them ---


def policy_draft(built: Built, change: Callable[[Policy], Policy] = same) -> Draft:
    base = drafting.base_of(built.session("owner"))
    return drafting.next_policy(built.session("owner"), base, change(base.policy))


def root_drafts(built: Built, holders: tuple[str, ...], threshold: int) -> list[Draft]:
    """Draft the next root, and the policy that goes with it."""
    people = {Principal(name): [built.identities[name].public] for name in holders}
    root, policy = drafting.root_draft(built.session("owner"), people, threshold=threshold)
    return [draft for draft in (policy, root) if draft is not None]


def signed(built: Built, draft: Draft, *who: str) -> Draft:
    for name in who:
        identity = built.identities[name]
        draft = draft_files.with_signature(draft, Digest(identity.key_id), identity.sign)
    return draft


def hands_on(built: Built, *drafts: Draft) -> None:
    """Leave drafts for whoever applies them."""
    for number, draft in enumerate(drafts):
        built.write(f"drafts/{number}.json", envelope.serialise(draft.envelope))


def policy_signed(*who: str, change: Callable[[Policy], Policy] = same) -> Act:
    return lambda built: hands_on(built, signed(built, policy_draft(built, change), *who))


def root_signed(holders: tuple[str, ...], threshold: int, *who: str) -> Act:
    return lambda built: hands_on(
        built, *(signed(built, draft, *who) for draft in root_drafts(built, holders, threshold))
    )


def edited_between(change: Callable[[Policy], Policy]) -> Act:
    """Change what a draft says after the owner signed it; zoe signs what she is shown."""

    def act(built: Built) -> None:
        first = signed(built, policy_draft(built), "owner")
        edited = policy_draft(built, change)
        kept = replace(edited, envelope=replace(edited.envelope, signatures=first.envelope.signatures))
        hands_on(built, signed(built, kept, "zoe"))

    return act


def with_two_keys(*who: str) -> Act:
    """Draft a root that lists another key of the owner's beside the first."""

    def act(built: Built) -> None:
        built.identities["owner-too"] = new_identity("owner", seed="second")
        people = {Principal(name): [built.identities[name].public] for name in PEOPLE}
        people[Principal("owner")].append(built.identities["owner-too"].public)
        root, policy = drafting.root_draft(built.session("owner"), people, threshold=2)
        drafts = [draft for draft in (policy, root) if draft is not None]
        hands_on(built, *(signed(built, draft, *who) for draft in drafts))

    return act


def without_owner(built: Built) -> None:
    """Let the root go on without the owner."""
    root_signed(("zoe", "yan", "eve"), 2, "zoe", "yan")(built)
    applies(built)
    deletes("drafts/")(built)


def twice_by_one(built: Built) -> None:
    """Put one holder's signature on a draft twice."""
    draft = signed(built, policy_draft(built, lets_eve_in), "owner")
    both = draft.envelope.signatures * 2
    hands_on(built, replace(draft, envelope=replace(draft.envelope, signatures=both)))


def for_another_vault(built: Built) -> None:
    """Hand on a draft for a vault of the same owner, with the same key of theirs."""
    other = twin(built)
    base = drafting.base_of(other.session("owner"))
    draft = drafting.next_policy(other.session("owner"), base, base.policy)
    hands_on(built, signed(built, draft, "owner", "zoe"))


def made_before(built: Built) -> None:
    """Hand on a draft that both signed before another was applied."""
    policy_signed("owner", "zoe")(built)
    write_policy(built, same, "owner", "yan")


def applies(built: Built) -> str:
    """Apply what was handed on."""
    found = sorted(name for name in built.store.objects if name.startswith("drafts/"))
    drafts = [draft_files.parse(built.store.objects[name], name) for name in found]
    applying.apply(built.session("owner"), drafts, accept_outage=True)
    return "applied"


def another_policy_of_that_number(built: Built) -> None:
    """Let the holders sign a second policy under the number of the one in force."""
    name = max(name for name in built.store.objects if name.startswith(layout.POLICIES))
    forges(name, "policy", lambda doc: doc.update(created="2026-01-01T00:00:00Z"), "owner", "zoe")(built)


def asks_for_a_log(mode: str, witnesses: int | None = None) -> Act:
    return amends(asks(log=mode, witnesses=witnesses))
