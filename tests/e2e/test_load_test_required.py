"""An environment that asks for a load test takes no version without one: at promotion, and at load."""

from dataclasses import replace
from typing import Any

import pytest

from tests import attesting_parts, builders
from tests.attesting_parts import FAILED, PINS, write
from tests.builders import PROD, Built
from tests.core.test_adoption import revoke
from tests.e2e.apart_parts import split
from tests.trips import FarStore
from vault.actions import attesting, checking, listing, loading, pending
from vault.core import envelope, layout, names, requirements
from vault.core.names import Digest
from vault.core.policy import Policy
from vault.errors import NotFound, Refused, Rollback, Unavailable
from vault.storage.ahead import AheadStore

CHURN = names.reference("churn@prod")


@pytest.fixture
def built() -> Built:
    return attesting_parts.tested()


def code_of(built: Built, *, env: str = "prod", ref: str = "churn@prod") -> str:
    try:
        built.find(ref, who="server", env=env)
    except Refused as refusal:
        return refusal.code
    return ""


def test_a_version_without_a_test_is_not_promoted(built: Built) -> None:
    with pytest.raises(Refused, match="mvault load-test churn:1") as caught:
        built.promote("churn:1", who="rex")
    assert caught.value.code == "not-tested"
    assert not [name for name in built.store.objects if name.startswith("channels/")]


@pytest.mark.parametrize("who", ["tess", "lab"])
def test_a_version_that_passed_is_promoted_and_loaded(built: Built, who: str) -> None:
    write(built, who)
    built.promote("churn:1", who="rex")
    assert built.read("churn@prod", who="server", env="prod") == builders.CONTENT
    assert built.read("churn:1", who="server", env="prod") == builders.CONTENT


@pytest.mark.parametrize("change", [{"against": "numpy==3"}, FAILED])
def test_a_test_against_other_versions_or_one_that_failed_is_not_enough(
    built: Built, change: dict[str, Any]
) -> None:
    write(built, "tess", **change)
    with pytest.raises(Refused) as caught:
        built.promote("churn:1", who="rex")
    assert caught.value.code == "not-tested"


def test_a_test_of_another_version_is_not_enough(built: Built) -> None:
    write(built, "tess")
    built.publish({"model.json": b"[2]"}, who="dora")
    with pytest.raises(Refused):
        built.promote("churn:2", who="rex")
    # nor is a genuine one that was copied to where another version's would lie
    for name in [name for name in built.store.objects if "/1/attestations/" in name]:
        built.write(name.replace("/1/", "/2/"), built.store.objects[name])
    with pytest.raises(Refused) as caught:
        built.promote("churn:2", who="rex")
    assert caught.value.code == "not-tested"


def test_the_publishers_own_word_is_not_enough(built: Built) -> None:
    write(built, "dora")
    with pytest.raises(Refused) as caught:
        built.promote("churn:1", who="rex")
    assert caught.value.code == "not-tested"


def test_what_lies_in_prod_stops_loading_when_its_tester_is_revoked(built: Built) -> None:
    write(built, "tess")
    built.promote("churn:1", who="rex")
    assert code_of(built) == ""
    built.amend(revoke("tess"))
    assert code_of(built) == "not-tested"
    assert code_of(built, ref="churn:1") == "not-tested"
    write(built, "tess")  # and again, which is a replay of the same word
    assert code_of(built) == "not-tested"
    write(built, "lab")
    assert code_of(built) == ""


def test_what_a_newer_test_found_stops_loads(built: Built) -> None:
    write(built, "tess")
    built.promote("churn:1", who="rex")
    write(built, "tess", created=names.time_text(built.now + 1), **FAILED)
    assert code_of(built) == "not-tested"
    write(built, "lab")
    assert code_of(built) == ""


def test_strangers_objects_among_attestations_do_no_harm_and_are_told(built: Built) -> None:
    write(built, "tess")
    folder = layout.attestations(names.model("churn"), names.version("1"))
    eve = builders.new_identity("eve")
    built.identities["eve"] = eve
    squatted = write(built, "eve")
    garbage = b"{}"
    named = f"{folder}{envelope.digest(garbage)}.json"
    for name, data in {
        named: garbage,
        f"{folder}{'0' * 64}.json": b"not named after its content",
        f"{folder}README": b"",
        f"{folder}x/y.json": b"",
    }.items():
        built.write(name, data)
    built.promote("churn:1", who="rex")
    assert code_of(built) == ""
    report = checking.check(built.session("rex", env="dev"), None, data=False, resume=False, state=None)
    assert report.whole
    told = {entry.subject: entry.code for entry in report.findings if entry.level == "skipped"}
    assert told.items() >= {squatted: "untrusted-signer", named: "malformed-envelope"}.items()


def test_an_attestation_that_cannot_be_read_is_unavailable_and_not_absent(built: Built) -> None:
    name = write(built, "tess")
    built.promote("churn:1", who="rex")

    class Losing(AheadStore):
        def read(self, wanted: str, *, limit: int) -> bytes:
            if wanted == name:
                raise Unavailable("the store did not answer")
            return super().read(wanted, limit=limit)

    session = built.session("server", env="prod", store=Losing(built.store))
    with pytest.raises(Unavailable, match="did not answer"):
        loading.load_package(session, CHURN, {})


def test_a_word_under_a_policy_that_is_withheld_stops_the_load(built: Built) -> None:
    write(built, "tess")
    built.promote("churn:1", who="rex")
    write(built, "lab", policy=replace(built.policy_id, version=99))
    with pytest.raises(Rollback) as caught:
        built.find("churn@prod", who="server", env="prod")
    assert caught.value.code == "withheld"


def test_it_is_pending_for_testers_until_it_is_tested(built: Built) -> None:
    def waits(who: str) -> list[tuple[str, tuple[str, ...], str]]:
        found = pending.pending(built.session(who, env="dev"))
        return [(entry.step, entry.waiting, entry.command) for entry in found if entry.environment == "prod"]

    assert waits("rex") == [("load-test", ("lab", "tess"), "mvault load-test churn:1")]
    write(built, "tess")
    assert waits("rex") == [("promote", ("rex",), "mvault promote churn:1 --env prod")]


def test_what_testers_said_is_told_in_the_history_of_a_model(built: Built) -> None:
    write(built, "tess")
    write(built, "lab", **FAILED)
    write(built, "lab", against="numpy==3")
    told = listing.history(built.session("rex"), names.model("churn"))
    assert sorted((event.detail, event.who) for event in told if event.action == "test") == [
        ("failed: differs", ("lab",)),
        ("passed", ("tess",)),
        ("passed, against numpy==3", ("lab",)),
    ]


def test_a_policy_that_begins_to_ask_stops_what_was_not_tested() -> None:
    built = builders.solo(seed="asks")
    built.publish()
    built.promote("churn:1")

    def ask(before: Policy) -> Policy:
        prod = before.environments[PROD]
        asked = replace(prod, require=replace(prod.require, load_test=True))
        return replace(before, environments={**before.environments, prod.name: asked})

    built.amend(ask)
    with pytest.raises(Refused) as caught:
        built.find("churn@prod", env="prod")
    assert caught.value.code == "not-tested"
    write(built, "owner")  # solo.yaml lets the owner test
    assert built.read("churn@prod", env="prod") == builders.CONTENT


def test_a_load_from_far_away_takes_no_more_round_trips(built: Built) -> None:
    write(built, "tess")
    built.promote("churn:1", who="rex")
    for away in (0.06, 0.24, 0.6):
        far = FarStore(built.store, away)
        session = built.fork(forgetful=True).session("server", env="prod", store=AheadStore(far))
        loading.load_package(session, CHURN, {})
        assert [name for name in far.names() if "/attestations/" in name]
        if far.depth <= 6:
            return
    pytest.fail(f"{far.depth} round trips one after the other:\n{far.told()}")


def test_a_load_where_no_test_is_asked_for_looks_at_none(built: Built) -> None:
    write(built, "tess")
    far = FarStore(built.store, 0.0)
    loading.load_package(built.session("dora", env="dev", store=far), names.reference("churn:1"), {})
    assert not [name for name in far.names() if "/attestations/" in name]


def test_what_was_pinned_for_a_test_is_found_again_unless_it_was_altered(built: Built) -> None:
    write(built, "tess")
    session = built.session("tess")
    verified = built.find("churn:1", who="dora")
    words = attesting.of(session, verified)
    assert attesting.locked(session, verified, ()) == ()
    with pytest.raises(NotFound, match="--repin"):
        attesting.locked(session, verified, words)
    digest = requirements.digest(PINS)
    name = layout.requirements(names.model("churn"), names.version("1"), digest)
    built.write(name, requirements.encode(PINS))
    assert attesting.locked(session, verified, words) == PINS
    built.write(name, requirements.encode(PINS[:1]))
    with pytest.raises(Refused, match="--repin") as caught:
        attesting.locked(session, verified, words)
    assert caught.value.code == "digest-mismatch"
    # whoever took the name keeps nobody from signing
    with pytest.warns(UserWarning, match="could not be stored"):
        attesting.write(built.session("lab"), builders.DEV, attesting_parts.word(built), PINS)
    assert len(attesting.of(session, verified)) == 2
    assert Digest(digest) == words[0].record.requirements


def test_an_environment_with_a_store_of_its_own_has_what_was_attested_before_and_after() -> None:
    apart = split(attesting_parts.tested())
    write(apart.built, "tess")
    apart.as_("rex").promote("churn:1", env="prod")
    assert apart.served() == builders.CONTENT
    apart.built.amend(revoke("tess"))
    for environment in apart.store.apart:
        apart.store.mend(environment)
    assert apart.served() == "not-tested"
    record = attesting_parts.word(apart.built)
    attesting.write(apart.session("lab"), builders.DEV, record, PINS)
    assert apart.served() == builders.CONTENT
    assert not [name for name in apart.staging.objects if "/attestations/" in name]
