"""Environments in stores of their own: prod's loaders need prod's store, and see nothing else."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import CONTENT, PROD
from tests.e2e.apart_parts import BIG, STAGING, Apart, empty, released
from tests.faults import Fault, FaultyStore, at
from tests.log_vaults import client
from vault.actions import access_rotate, carrying, checking, teaming
from vault.actions.reading import find_sealing
from vault.core import layout, limits
from vault.core.names import Model, Principal, Version
from vault.core.policy import Policy, Rule
from vault.errors import DigestMismatch, NotFound, Unavailable, VaultError
from vault.storage import apart_copies
from vault.storage.apart_names import OWN, VERSION, place_of
from vault.storage.local import LocalStore

TWO = {"model.json": b'{"w":2}'}


def of_environment(names: dict[str, bytes], environment: str) -> list[str]:
    places = ((name, place_of(name)) for name in names)
    return [name for name, place in places if place.kind == OWN and place.environment == environment]


def first(objects: dict[str, bytes], prefix: str) -> str:
    return min(name for name in objects if name.startswith(prefix))


# --- what lies where ---


def test_a_loader_needs_prods_store_and_nothing_else() -> None:
    apart = released()
    assert apart.served() == CONTENT
    assert apart.served("churn:1") == CONTENT


def test_nothing_of_prod_lies_in_the_main_store_and_nothing_of_dev_in_prods() -> None:
    apart = released()
    assert not of_environment(apart.built.store.objects, "prod")
    assert not of_environment(apart.built.store.objects, "staging")
    assert not of_environment(apart.prod.objects, "dev")
    assert not of_environment(apart.prod.objects, "staging")
    for kind in ("keys/prod/", "channels/prod/", "models/churn/@/1/keys/prod-1/",
                 "models/churn/@/1/approvals/prod/"):  # fmt: skip
        assert of_environment({name: b"" for name in apart.prod.objects if name.startswith(kind)}, "prod")


def test_prods_store_has_of_models_what_was_promoted_and_byte_for_byte() -> None:
    apart = released()
    apart.publish(TWO)
    shared = {
        name: data
        for name, data in apart.built.store.objects.items()
        if place_of(name).version == "models/churn/@/1/" and place_of(name).kind == VERSION
    }
    assert len(shared) == 5  # three payloads, a sealing record, a manifest
    assert {name for name in apart.prod.objects if place_of(name).kind == VERSION} == set(shared)
    assert all(apart.prod.objects[name] == data for name, data in shared.items())


def test_who_is_not_among_prods_readers_reads_nothing_from_prods_store() -> None:
    apart = released()
    assert apart.served(who="dora") == "access-denied"


def test_a_loader_of_staging_needs_stagings_store_alone() -> None:
    apart = empty()
    apart.as_("rex").promote(apart.publish(), env="staging")
    session = apart.session("dora", env="staging", store=apart.staging)
    assert apart.built.read("churn@staging", session=session) == CONTENT
    assert not [name for name in apart.prod.objects if name.startswith("models/")]


def test_the_whole_is_one_vault_to_whoever_has_all_stores() -> None:
    apart = released()
    for ref, env in (("churn@prod", "prod"), ("churn@staging", "staging"), ("churn", "dev")):
        assert apart.built.read(ref, session=apart.session("owner", env=env)) == CONTENT
    (row,) = apart.as_("owner").list()
    assert "prod" in str(row)
    assert checking.check(apart.session("owner"), None, data=False).whole


def test_payloads_of_several_units_arrive_with_their_digests() -> None:
    apart = empty()
    apart.let_in(apart.publish(BIG))
    assert apart.served() == BIG
    assert [name for name in apart.prod.objects if name.endswith(".units")]
    report = checking.check(apart.session("server", env="prod", store=apart.prod), None, data=False)
    assert report.whole, [entry for entry in report.findings if entry.level == "bad"]


# --- what comes later ---


def test_a_later_version_and_going_back_need_nothing_more() -> None:
    apart = released()
    apart.let_in(apart.publish(TWO))
    assert apart.served() == TWO
    apart.as_("rex").rollback("churn", env="prod")
    assert apart.served() == CONTENT


def test_a_withdrawal_reaches_prods_loaders() -> None:
    apart = released()
    apart.as_("ann").withdraw("churn:1", env="prod")
    assert apart.served() == "barred"


def test_an_approval_that_is_given_later_lies_with_prod() -> None:
    apart = released()
    apart.as_("cat").approve("churn:1", env="prod")
    assert len([name for name in apart.prod.objects if "/approvals/prod/" in name]) == 3


def test_a_policy_that_is_changed_later_reaches_every_store() -> None:
    apart = released()
    version = apart.built.policy.version
    change_policy(apart)
    name = layout.policy(version + 1)
    assert apart.prod.objects[name] == apart.staging.objects[name] == apart.built.store.objects[name]
    assert apart.served() == "access-denied"


def change_policy(apart: Apart) -> None:
    """Take the service `server` out of the vault, through all stores."""
    session = client(apart.built, "owner", store=apart.store)
    teaming.remove(session, Principal("server"), accept_outage=True)


def test_a_deep_rotation_reaches_prods_store() -> None:
    apart = released()
    before = set(apart.prod.objects)
    done = access_rotate.rotate(apart.session("owner"), PROD, deep=True)
    assert done.complete
    assert layout.sealed(Model("churn"), Version("1")) + layout.numbered(2) in apart.prod.objects
    for name in before:
        if "/files/" in name:
            del apart.prod.objects[name]  # what was encrypted before is not needed any more
    assert apart.served() == CONTENT


def test_the_work_of_somebody_who_retired_loads_from_prods_store_alone() -> None:
    """What tells that they signed in time is copied there before the policy that asks for it."""
    apart = empty()
    apart.built.amend(with_logs)
    ref = str(apart.built.publish(session=client(apart.built, "dora", store=apart.store)))
    apart.let_in(ref)
    assert not [name for name in apart.prod.objects if name.startswith(("log/trust/", "log/env/dev/"))]
    teaming.retire(client(apart.built, "owner", store=apart.store), Principal("dora"))
    assert apart.served() == CONTENT
    for name in [name for name in apart.prod.objects if name.startswith("log/env/dev/commit/")]:
        del apart.prod.objects[name]
    assert apart.served() == "untrusted-signer"


def with_logs(before: Policy) -> Policy:
    """Let dora and the owner write to logs."""
    rule = Rule(("log",), (), None, None, None, own=False)
    changed = {name: (*before.roles[name], rule) for name in map(Principal, ("owner", "data-scientist"))}
    return replace(before, roles={**before.roles, **changed})


# --- what is wrong in prod's store ---


@pytest.mark.parametrize(
    ("prefix", "altered", "withheld"),
    [
        ("models/churn/@/1/files/", "decrypt-failed", "not-found"),
        ("models/churn/@/1/manifest.json", "malformed-json", "not-found"),
        ("models/churn/@/1/sealed/", "not-found", "not-found"),
        ("models/churn/@/1/approvals/prod/", "rollback", "rollback"),
        ("channels/prod/", "rollback", "rollback"),
        ("trust/root/", "malformed-json", "no-such-vault"),
        ("trust/policy/", "not-found", "not-found"),
        ("keys/prod/all/1/server/", "malformed-header", "no-usable-key"),
    ],
)
def test_a_copy_that_was_altered_or_withheld_is_refused(prefix: str, altered: str, withheld: str) -> None:
    apart = released()
    assert apart.served() == CONTENT  # and its client remembers
    for delete, code in ((False, altered), (True, withheld)):
        copy = apart.fork()
        names = [name for name in copy.prod.objects if name.startswith(prefix)]
        assert names
        for name in names:
            data = copy.prod.objects.pop(name)
            if not delete:
                copy.prod.objects[name] = data[:20] + bytes([data[20] ^ 0x80]) + data[21:]
        assert copy.served() == code, "altered" if not delete else "withheld"


def test_a_record_under_a_policy_that_prods_store_lacks_is_withheld() -> None:
    apart = released()
    version = apart.built.policy.version
    apart.built.amend(lambda before: before)
    apart.let_in(apart.publish(TWO))
    assert apart.served() == TWO
    del apart.prod.objects[layout.policy(version + 1)]
    copy = apart.fork()
    copy.built.forgetful = True  # a client that has seen nothing is told as well
    assert copy.served() == "withheld"


def test_a_policy_that_somebody_applied_to_the_main_store_alone_comes_with_the_next_record() -> None:
    apart = released()
    version = apart.built.policy.version
    apart.built.amend(lambda before: before)
    assert apart.served() == CONTENT, "prod goes by what it has"
    apart.as_("cat").approve("churn:1", env="prod")
    assert layout.policy(version + 1) in apart.prod.objects
    assert apart.served() == CONTENT


def test_what_is_planted_in_prods_store_alone_counts_for_nothing() -> None:
    apart = released()
    record = min(name for name in apart.prod.objects if name.startswith("channels/prod/"))
    apart.prod.objects["channels/prod/main/churn/@/000009.json"] = b"garbage"
    apart.prod.objects["channels/prod/b/churn/@/000001.json"] = apart.prod.objects[record]
    apart.prod.objects["models/churn/@/9/manifest.json"] = b"garbage"
    apart.prod.objects["trust/policy/000099.json"] = b"garbage"
    apart.prod.objects["models/churn/@/1/files/" + "0" * 32] = b"garbage"
    assert apart.served() == CONTENT
    assert apart.served("churn@prod/b") == "not-found"
    assert apart.built.read("churn@prod", session=apart.session("owner", env="prod")) == CONTENT
    apart.let_in(apart.publish(TWO))
    assert apart.served() == TWO


def test_a_record_of_prod_in_the_main_store_counts_for_nothing() -> None:
    """Whoever may write to dev's bucket does not even disturb prod."""
    apart = released()
    record = first(apart.prod.objects, "channels/prod/")
    ref = apart.publish(TWO)
    for number in range(2, 9):
        apart.built.store.objects[f"channels/prod/main/churn/@/{number:06d}.json"] = b"garbage"
    apart.built.store.objects[record] = b"garbage"
    apart.let_in(ref)
    assert layout.numbered(2) in {name.rpartition("/")[2] for name in apart.prod.objects}
    assert apart.served() == TWO


def test_a_version_that_was_altered_in_the_main_store_is_not_brought_to_prod() -> None:
    apart = empty()
    ref = apart.publish()
    name = first(apart.built.store.objects, "models/churn/@/1/files/")
    data = apart.built.store.objects[name]
    apart.built.store.objects[name] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(DigestMismatch):
        apart.let_in(ref)
    assert not [known for known in apart.prod.objects if known.startswith(("models/", "channels/"))]
    apart.built.store.objects[name] = data
    apart.let_in(ref)
    assert apart.served() == CONTENT


def test_other_bytes_in_prods_store_stop_a_promotion_before_its_record() -> None:
    apart = empty()
    ref = apart.publish()
    name = first(apart.built.store.objects, "models/churn/@/1/files/")
    apart.prod.objects[name] = b"x" * len(apart.built.store.objects[name])
    with pytest.raises(DigestMismatch):
        apart.let_in(ref)
    assert not [known for known in apart.prod.objects if known.startswith("channels/")]
    del apart.prod.objects[name]
    apart.let_in(ref)
    assert apart.served() == CONTENT


def test_a_version_whose_files_were_deleted_from_dev_can_be_gone_back_to_in_prod() -> None:
    apart = released()
    apart.let_in(apart.publish(TWO))
    lost = [name for name in apart.built.store.objects if place_of(name).version == "models/churn/@/1/"]
    for name in [name for name in lost if "/keys/" not in name]:
        del apart.built.store.objects[name]
    apart.as_("rex").rollback("churn", env="prod")
    assert apart.served() == CONTENT


# --- who has not named the stores ---


def test_without_prods_store_nothing_is_promoted_or_withdrawn_into_the_void() -> None:
    apart = released()
    ref = apart.publish(TWO)
    for who in ("ann", "bob"):
        apart.as_(who).approve(ref, env="prod")
    main = apart.built.store
    for act in (
        lambda: apart.as_("rex", store=main).promote("churn:1", env="staging"),
        lambda: apart.as_("ann", store=main).withdraw("churn:1", env="prod"),
    ):
        with pytest.raises(VaultError) as caught:
            act()
        assert caught.value.code in {"not-found", "rollback", "approvals-missing"}
    assert not [name for name in main.objects if name.startswith("channels/")]


def test_who_has_seen_nothing_is_told_where_an_environment_may_be() -> None:
    apart = empty()
    ref = apart.publish()
    with pytest.raises(NotFound, match="holds nothing of staging") as caught:
        apart.as_("rex", store=apart.built.store).promote(ref, env="staging")
    assert "MVAULT_STORES=staging=" in caught.value.hint


# --- what is checked ---


def test_a_check_compares_the_copies_with_the_original() -> None:
    apart = released()
    apart.built.amend(lambda before: before)
    apart.prod.objects[first(apart.prod.objects, "models/churn/@/1/manifest.json")] += b" "
    del apart.built.store.objects[first(apart.built.store.objects, "models/churn/@/1/sealed/")]
    report = checking.check(apart.session("owner"), None, data=False)
    told = {(entry.level, entry.code, entry.subject.rpartition("/")[2]) for entry in report.findings}
    assert ("bad", "not-found", layout.numbered(apart.built.policy.version)) in told
    assert ("bad", "digest-mismatch", "manifest.json") in told
    assert ("skipped", "not-found", "000001.json") in told
    assert not report.whole


def test_what_strangers_put_into_one_store_fails_no_check() -> None:
    apart = released()
    for store in (apart.built.store, apart.prod):
        store.objects["trust/policy/000099.json"] = b"garbage"
        store.objects["trust/recipients/" + "0" * 64] = b"garbage"
        store.objects["channels/prod/main/churn/@/000099.json"] = b"garbage"
    apart.prod.objects["models/churn/@/9/manifest.json"] = b"garbage"
    assert checking.check(apart.session("owner"), None, data=False).whole


# --- ends in the middle ---


def promotion(apart: Apart) -> Apart:
    """Bring a vault to just before churn:2 is promoted to prod."""
    ref = apart.publish(TWO)
    apart.as_("rex").promote(ref, env="staging")
    for who in ("ann", "bob"):
        apart.as_(who).approve(ref, env="prod")
    return apart


def steps(which: str) -> int:
    apart = promotion(released())
    store = FaultyStore(apart.prod if which == "prod" else apart.built.store)
    apart.as_("rex", store=apart.over(**{which: store})).promote("churn:2", env="prod")
    return len(store.operations)


@pytest.mark.parametrize("which", ["prod", "main"])
def test_a_promotion_that_ends_at_any_step_leaves_what_was_and_is_taken_up_again(which: str) -> None:
    base = promotion(released())
    count = steps(which)
    assert count > 30
    seen = set()
    for step in range(count):
        for fault in (Fault.BEFORE, Fault.AFTER, Fault.MIDDLE):
            apart = base.fork()
            failing = FaultyStore(apart.prod if which == "prod" else apart.built.store, at(step, fault))
            try:
                apart.as_("rex", store=apart.over(**{which: failing})).promote("churn:2", env="prod")
            except (Unavailable, NotFound):
                seen.add("what was" if apart.served() == CONTENT else "what is new")
            assert apart.served() in (CONTENT, TWO)
            apart.as_("rex").promote("churn:2", env="prod")
            assert apart.served() == TWO
    assert seen == {"what was", "what is new"} or (which, seen) == ("main", {"what was"})


def test_a_copy_takes_little_memory(tmp_path: Path) -> None:
    main, prod = (LocalStore(tmp_path / name) for name in ("main", "prod"))
    with main.create("a", size=32 * limits.MIB) as sink:
        for number in range(32):
            sink.write(bytes([number]) * limits.MIB)
    tracemalloc.start()
    try:
        assert apart_copies.copy("a", main, prod)
        assert not apart_copies.copy("a", main, prod)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * limits.MIB
    assert prod.stat("a").size == 32 * limits.MIB


def test_heads_lie_with_their_environment_and_keep_prod_fresh() -> None:
    apart = released()

    def asks(before: Policy) -> Policy:
        rule = before.environments[PROD]
        fresh = replace(rule, require=replace(rule.require, fresh="refuse"))
        attest = Rule(("attest",), (PROD,), None, None, None, own=False)
        owner = Principal("owner")
        roles = {**before.roles, owner: (*before.roles[owner], attest)}
        return replace(before, environments={**before.environments, PROD: fresh}, roles=roles)

    apart.built.amend(asks)
    apart.store.mend(PROD)
    assert apart.served() == "heads-expired"
    apart.as_("owner").renew("prod")
    assert [name for name in apart.prod.objects if name.startswith("trust/heads/prod/")]
    assert not of_environment(apart.built.store.objects, "prod")
    assert apart.served() == CONTENT


def test_a_version_published_straight_into_an_environment_is_there_whole() -> None:
    apart = empty()

    def lets(before: Policy) -> Policy:
        rule = Rule(("publish",), (STAGING,), None, None, None, own=False)
        role = Principal("data-scientist")
        return replace(before, roles={**before.roles, role: (*before.roles[role], rule)})

    apart.built.amend(lets)
    apart.store.mend(STAGING)
    session = apart.session("dora", env="staging")
    ref = str(apart.built.publish(session=session))
    alone = apart.session("dora", env="staging", store=apart.staging)
    assert apart.built.read(ref, session=alone) == CONTENT


def test_nothing_of_a_model_goes_to_a_store_of_another_vault() -> None:
    """Such as where the wrong location was written into the settings."""
    apart = empty()
    ref = apart.publish()
    apart.prod.objects[layout.root(1)] = b"another vault's"
    session = apart.session("rex")
    verified = apart.built.find(ref, session=session)
    record = find_sealing(session, verified).sealing
    with pytest.raises(DigestMismatch) as caught:
        carrying.carry(session, record, PROD)
    assert caught.value.subject == layout.root(1)
    assert not [name for name in apart.prod.objects if name.startswith("models/")]
