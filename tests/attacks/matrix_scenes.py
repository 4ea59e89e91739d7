"""The vaults of the attack matrix, what people do in them, and what attackers do to them."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pytest

from tests.attacks.matrix import Act, Flow
from tests.attacks.vault_mixing import resigned
from tests.builders import PROD, Built, new_identity
from tests.e2e.team_parts import ONE, TWO, as_, let_in
from tests.e2e.team_parts import released as _released
from vault.core import envelope, layout, policy_document, records
from vault.core.names import Digest, Principal
from vault.core.policy import ApprovalRule, Key, LogHead, Policy, Requirements
from vault.core.trust import Root, RootKey
from vault.core.trust import encode as encode_root
from vault.errors import Refused
from vault.vault import Vault

IN_PROD = "channels/prod/main/churn/@/"
FIRST = "models/churn/@/1/"
SECOND = "models/churn/@/2/"


# --- scenes ---


@cache
def _one() -> Built:
    return _released(ONE)


@cache
def _two() -> Built:
    return _released(ONE, TWO)


@cache
def _candidate() -> Built:
    built = _one().fork()
    built.publish(TWO, who="dora")
    return built


@cache
def _approved() -> Built:
    built = candidate()
    approves("churn:2", "bob", "cat")(built)
    return built


def one() -> Built:
    """Give a team whose churn:1 is in prod; nobody but who made it has looked yet."""
    return _one().fork()


def two() -> Built:
    """Give a team whose prod used churn:1 and uses churn:2."""
    return _two().fork()


def candidate() -> Built:
    """Give a team with churn:1 in prod and churn:2 by dora in dev."""
    return _candidate().fork()


def seen(scene: Callable[[], Built], *flows: Flow) -> Callable[[], Built]:
    """Give a scene whose clients have done something already, and remember it."""

    def build() -> Built:
        built = scene()
        for flow in flows:
            flow(built)
        return built

    return build


def after(scene: Callable[[], Built], *acts: Act) -> Callable[[], Built]:
    """Give a scene in which something happened already, made once."""

    @cache
    def made() -> Built:
        built = scene()
        for act in acts:
            act(built)
        return built

    return lambda: made().fork()


def approved() -> Built:
    """Give a team with churn:1 in prod, and churn:2 approved for it."""
    return _approved().fork()


# --- what the honest do ---


def loads(ref: str, who: str = "server", env: str = "prod") -> Flow:
    """Load a package, every file of it."""

    def flow(built: Built) -> dict[str, bytes]:
        package = as_(built, who, env).load_package(ref)
        return {path: package.read(path) for path in package.files if path != "metadata.json"}

    return flow


def does(who: str, act: Callable[[Vault], object], env: str = "dev") -> Flow:
    """Do something with the vault as one of the team; give "done"."""

    def flow(built: Built) -> str:
        act(as_(built, who, env))
        return "done"

    return flow


def promotes(ref: str = "churn:2", env: str = "prod", who: str = "rex") -> Flow:
    return does(who, lambda vault: vault.promote(ref, env=env))


def approves(ref: str, *people: str, env: str = "prod") -> Act:
    def act(built: Built) -> None:
        for who in people:
            as_(built, who).approve(ref, env=env)

    return act


def lets_in(ref: str, slot: str = "main") -> Act:
    return lambda built: let_in(built, ref, slot)


def publishes(content: dict[str, bytes], who: str = "dora") -> Act:
    return lambda built: built.publish(content, who=who)


def withdraws(ref: str = "churn:2", who: str = "ann", env: str = "prod") -> Act:
    return lambda built: as_(built, who).withdraw(ref, env=env)


def both(*acts: Act) -> Act:
    def act(built: Built) -> None:
        for one_of_them in acts:
            one_of_them(built)

    return act


def tries(*flows: Flow) -> Act:
    """See flows refused, and remember what there was to be seen."""

    def act(built: Built) -> None:
        for flow in flows:
            with pytest.raises(Refused):
                flow(built)

    return act


# --- what attackers do ---


def deletes(*prefixes: str) -> Act:
    """Delete objects from the storage."""

    def act(built: Built) -> None:
        names = [name for name in built.store.objects if name.startswith(prefixes)]
        assert names, prefixes
        for name in names:
            del built.store.objects[name]

    return act


def copies(origin: str, place: str) -> Act:
    """Copy every object below one prefix to another."""

    def act(built: Built) -> None:
        names = [name for name in built.store.objects if name.startswith(origin)]
        assert names, origin
        for name in names:
            built.write(place + name.removeprefix(origin), built.store.objects[name])

    return act


def writes_record(
    who: str,
    seq: int,
    ref: str | None = "churn:2",
    *,
    bars: tuple[str, ...] = (),
    slot: str = "main",
    env: str = "prod",
    prev: int | None = None,
    **fields: object,
) -> Act:
    """Sign a channel record by hand and put it where it belongs; `prev` is the number of another."""

    def act(built: Built) -> None:
        made = built.record(ref, seq, bars=bars, slot=slot, env=env)
        if prev is not None:
            place = layout.channel(made.environment, made.slot, made.model) + layout.numbered(prev)
            sealed = envelope.parse(built.store.objects[place], kind=records.CHANNEL, subject=place)
            made = replace(made, prev=sealed.digest)
        built.write_record(replace(made, **fields), who)  # type: ignore[arg-type]

    return act


def with_keys_of(ref: str) -> Act:
    """Give a version prod's keys, as whoever holds dev's can: a record of it is all that lacks."""

    def act(built: Built) -> None:
        elsewhere = built.fork()
        for who in ("ann", "bob", "cat"):
            elsewhere.approve(ref, who)
        elsewhere.promote(ref, who="rex")
        for name, data in elsewhere.store.objects.items():
            if "/keys/prod-" in name:
                built.write(name, data)

    return act


def forges(name: str, kind: str, change: Callable[[dict[str, object]], object], *who: str) -> Act:
    """Change a stored document and sign it by people of the team."""
    return lambda built: built.write(name, resigned(built, name, kind, change, *who))


def manifest_by(who: str, version: str, **fields: object) -> Act:
    """Sign a copy of churn:1's manifest as another version, as its only publisher."""

    def act(built: Built) -> None:
        named = {"publishers": [built.identities[who].key_id], "version": version, **fields}
        data = resigned(built, f"{FIRST}manifest.json", "manifest", lambda doc: doc.update(named), who)
        built.write(f"models/churn/@/{version}/manifest.json", data)

    return act


def newer_policy(built: Built) -> dict[str, object]:
    """Name a policy that nobody has signed."""
    return {"digest": "0" * 64, "era": 0, "version": built.policy.version + 7}


def amends(*changes: Callable[[Policy], Policy]) -> Act:
    """Let the root's holders sign another policy."""

    def act(built: Built) -> None:
        for change in changes:
            built.amend(change)

    return act


def keys(who: str, **fields: object) -> Callable[[Policy], Policy]:
    """Change every key of somebody, and recipients stay."""

    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        changed = tuple(replace(key, **fields) for key in member.keys)  # type: ignore[arg-type]
        return replace(before, members={**before.members, member.name: replace(member, keys=changed)})

    return change


RETIRED = LogHead("log.example", 5, Digest("0" * 64))
retired = partial(keys, until=RETIRED)


def asks(**fields: object) -> Callable[[Policy], Policy]:
    """Change what prod requires."""

    def change(before: Policy) -> Policy:
        prod = before.environments[PROD]
        require: Requirements = replace(prod.require, **fields)  # type: ignore[arg-type]
        return replace(before, environments={**before.environments, PROD: replace(prod, require=require)})

    return change


def asks_distinct(*names: str) -> Callable[[Policy], Policy]:
    """Let prod's approvers differ from these."""
    return asks(approvals=ApprovalRule(Principal("release-manager"), 2, names))


def second_key(who: str, called: str) -> Act:
    """Give somebody another key, whose identity the vault's builder knows as `called`."""

    def act(built: Built) -> None:
        other = new_identity(who, seed=f"second of {who}")
        built.identities[called] = other

        def change(before: Policy) -> Policy:
            member = before.members[Principal(who)]
            more = (*member.keys, Key(other.public, Digest(other.key_id), revoked=False, until=None))
            return replace(before, members={**before.members, member.name: replace(member, keys=more)})

        built.amend(change)

    return act


# --- roots ---

PEOPLE = ("owner", "zoe", "yan")


@cache
def _shared_root() -> Built:
    built = one()
    for name in ("zoe", "yan", "eve"):
        built.identities[name] = new_identity(name, seed="root")
    write_root(built, 2, 2, PEOPLE, "owner", "zoe")
    write_policy(built, lambda before: before, "owner", "zoe")
    return built


def shared_root() -> Built:
    """Give a team whose root takes two of owner, zoe and yan; eve is a stranger."""
    return _shared_root().fork()


def write_root(built: Built, number: int, threshold: int, people: tuple[str, ...], *who: str) -> None:
    """Sign a successor of the root in force by hand."""
    trusted = built.trusted
    built.write(
        layout.root(number),
        built.sign(
            "root",
            encode_root(
                Root(
                    version=number,
                    vault=built.vault,
                    prev=trusted.digest,
                    created=built.time,
                    expires=None,
                    threshold=threshold,
                    keys=tuple(
                        RootKey(Principal(built.identities[name].name), built.identities[name].public)
                        for name in people
                    ),
                    nonce=bytes(16),
                )
            ),
            *who,
        ),
    )


def write_policy(built: Built, change: Callable[[Policy], Policy], *who: str) -> None:
    """Sign the next policy by hand, under the root that is in force."""
    stored = max(name for name in built.store.objects if name.startswith(layout.POLICIES))
    sealed = envelope.parse(built.store.objects[stored], kind="policy", subject=stored)
    before = policy_document.parse(sealed.payload, stored)
    place = max(name for name in built.store.objects if name.startswith(layout.ROOTS))
    root = envelope.parse(built.store.objects[place], kind="root", subject=place)
    following = replace(
        change(before),
        version=before.version + 1,
        prev=sealed.digest,
        root_version=int(place.removeprefix(layout.ROOTS).removesuffix(".json")),
        root_digest=root.digest,
    )
    built.write(
        layout.policy(following.version), built.sign("policy", policy_document.encode(following), *who)
    )
