"""An old state of the store, shown to a client that cannot know better, is told by heads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import builders
from tests.attacks.vault_mixing import check, outcome, revoked, twin
from tests.builders import NOW, PROD, Built, solo
from vault.actions import renewing, resolving
from vault.actions.renewing import Renewal
from vault.core import heads, layout, limits, names, policy
from vault.core.heads import DAY, Heads
from vault.core.memory_format import Mark
from vault.core.names import Environment, Principal
from vault.core.policy import Policy, Rule
from vault.errors import Conflict, Expired, Refused
from vault.storage.memory import MemorySink, MemoryStore

OLD = {"model.json": b'{"w":1}'}
NEW = {"model.json": b'{"w":2}'}
HEADS = "trust/heads/prod/"
CHANNEL = "channels/prod/main/churn/@/"


def asking(mode: str | None) -> Callable[[Policy], Policy]:
    """Change the policy: prod asks for heads, and the role `clock` may attest it."""

    def change(before: Policy) -> Policy:
        prod = before.environments[PROD]
        prod = replace(prod, require=replace(prod.require, fresh=mode))
        clock = (Rule((heads.ACTION,), (PROD,), None, None, None, own=False),)
        return replace(
            before,
            environments={**before.environments, PROD: prod},
            roles={**before.roles, Principal("clock"): clock},
        )

    return change


@cache
def _made(mode: str, seed: str = "") -> Built:
    built = solo(seed=seed)
    built.amend(asking(mode))
    built.add("renewer", "clock", kind=policy.SERVICE, owners=("owner",))
    built.add("second", "clock", kind=policy.SERVICE, owners=("owner",))
    built.add("stranger", "loader", kind=policy.SERVICE, owners=("owner",))
    built.promote(built.publish(OLD))
    return built


def made(mode: str = "refuse") -> Built:
    """Build a vault with churn 1 in prod that nobody has attested yet; clients remember nothing."""
    built = _made(mode).fork()
    built.memories = {}
    return built


def renew(built: Built, who: str = "renewer") -> Renewal:
    with TemporaryDirectory() as folder:  # for the draft of a policy that is due
        return renewing.renew(built.session(who), folder=Path(folder))


def in_prod(built: Built) -> str | dict[str, bytes]:
    return outcome(built, "churn@prod")


def anew(built: Built) -> str | dict[str, bytes]:
    """Load as a client that remembers nothing."""
    return in_prod(built.fork(forgetful=True))


def put_back(built: Built, then: dict[str, bytes], *prefixes: str) -> None:
    """Put the objects below these prefixes back to what they were."""
    now = built.store.objects
    for name in [name for name in now if name.startswith(prefixes)]:
        del now[name]
    now.update({name: data for name, data in then.items() if name.startswith(prefixes)})


def statement(built: Built, **change: object) -> Heads:
    found = Heads(
        vault=built.vault,
        environment=PROD,
        number=9,
        root=(1, built.trusted.digest),
        policy=built.policy_id,
        channels={},
        created=built.time,
        expires=names.time_text(built.now + DAY),
    )
    return replace(found, **change)  # type: ignore[arg-type]


def forge(built: Built, found: Heads, who: str, number: int | None = None) -> None:
    name = HEADS + layout.numbered(number or found.number)
    built.write(name, built.sign(heads.KIND, heads.encode(found), who))


# --- honest flows ---


@pytest.mark.parametrize("mode", ["warn", "stale", "refuse"])
def test_what_was_attested_loads_until_the_heads_expire(mode: str) -> None:
    built = made(mode)
    renew(built)
    assert anew(built) == OLD
    built.now += 7 * DAY - 1
    assert anew(built) == OLD


def test_what_is_newer_than_the_heads_loads() -> None:
    built = made()
    renew(built)
    built.promote(built.publish(NEW))
    assert in_prod(built) == anew(built) == NEW


def test_renewing_makes_a_lapsed_environment_load_again() -> None:
    built = made()
    assert in_prod(built) == "heads-expired"
    renew(built)
    built.now += 8 * DAY
    assert in_prod(built) == "heads-expired"
    renew(built)
    assert in_prod(built) == OLD


def test_nothing_in_a_one_owner_vault_ever_stops_by_itself() -> None:
    built = solo()
    built.promote(built.publish(OLD))
    built.now += 10_000 * DAY
    assert in_prod(built) == OLD
    assert renewing.renew(built.session()) == Renewal((), ())


# --- once they lapsed ---


def test_warn_goes_on() -> None:
    built = made("warn")
    assert anew(built) == OLD
    renew(built)
    built.now += 100 * DAY
    assert anew(built) == OLD


def test_refuse_stops_even_what_this_client_used_before() -> None:
    built = made()
    renew(built)
    assert in_prod(built) == OLD
    built.now += 7 * DAY
    assert in_prod(built) == "heads-expired"
    assert outcome(built, "churn:1", env="prod") == "heads-expired"
    with pytest.raises(Expired, match="mvault renew"):
        built.read("churn@prod")


def test_stale_loads_what_this_client_used_before_and_nothing_else() -> None:
    built = made("stale")
    renew(built)
    assert in_prod(built) == OLD
    built.now += 7 * DAY
    assert in_prod(built) == OLD
    assert outcome(built, "churn:1", env="prod") == OLD
    assert anew(built) == "heads-expired"
    built.promote(built.publish(NEW), session=built.session())
    assert in_prod(built) == "heads-expired"
    assert outcome(built, "churn:2", env="prod") == "heads-expired"
    renew(built)
    assert in_prod(built) == NEW


def test_stale_does_not_take_what_was_only_looked_at_for_used() -> None:
    built = made("stale")
    renew(built)
    assert outcome(built, "churn@prod", who="owner") == OLD
    built.now += 7 * DAY
    second = built.publish(NEW)
    built.promote(second)
    looking = built.session()
    looked = looking.resolve(PROD)
    where = builders.channel()
    head = resolving.channel(looking, resolving.anybody(looked, where.model), where).head
    looking.remember(looked, (where, head))
    assert in_prod(built) == "heads-expired"


# --- attacks ---


def test_freeze_old_channel_beside_fresh_heads() -> None:
    built = made("warn")
    then = dict(built.store.objects)
    built.promote(built.publish(NEW))
    renew(built)
    assert anew(built) == NEW
    put_back(built, then, CHANNEL)
    assert anew(built) == "rollback"
    built.now += 100 * DAY
    assert anew(built) == "rollback"  # a floor for ever, in every mode


def test_freeze_everything_put_back_lasts_as_long_as_the_old_heads() -> None:
    built = made()
    renew(built)
    then = dict(built.store.objects)
    built.now += DAY
    built.promote(built.publish(NEW))
    renew(built)
    assert in_prod(built) == NEW
    put_back(built, then, CHANNEL, HEADS)
    assert anew(built) == OLD  # this is what "valid for a week" means
    assert in_prod(built) == "rollback"  # not for a client that has seen more
    built.now += 6 * DAY
    assert anew(built) == "heads-expired"


@pytest.mark.parametrize("mode", ["warn", "stale", "refuse"])
def test_old_heads_replayed_to_a_client_that_has_seen_newer(mode: str) -> None:
    built = made(mode)
    renew(built)
    then = dict(built.store.objects)
    renew(built)
    assert in_prod(built) == OLD
    put_back(built, then, HEADS)
    assert in_prod(built) == "rollback"
    put_back(built, {}, HEADS)
    assert in_prod(built) == "rollback"


def test_heads_withheld_from_a_client_that_has_seen_none_are_missing() -> None:
    built = made()
    renew(built)
    put_back(built, {}, HEADS)
    assert anew(built) == "heads-expired"


def test_a_withdrawal_withheld_in_one_slot_is_noticed_in_another() -> None:
    built = made("warn")
    built.promote("churn:1", slot="b")
    then = dict(built.store.objects)
    built.write_record(built.record(None, 3, model="churn", bars=("churn:1",)))
    renew(built)
    assert outcome(built.fork(forgetful=True), "churn@prod/b") == "barred"
    put_back(built, then, CHANNEL)
    for ref in ("churn@prod/b", "churn@prod"):
        assert outcome(built.fork(forgetful=True), ref) == "rollback"
    assert outcome(built.fork(forgetful=True), "churn:1", env="prod") == "rollback"


def test_a_slot_that_vanished_altogether_is_noticed() -> None:
    built = made("warn")
    built.promote("churn:1", slot="b")
    renew(built)
    put_back(built, {}, "channels/prod/b/")
    assert outcome(built.fork(forgetful=True), "churn:1", env="prod") == "rollback"


def test_a_policy_withheld_beside_newer_heads() -> None:
    built = made("warn")
    then = dict(built.store.objects)
    built.amend(lambda before: before)
    renew(built)
    put_back(built, then, "trust/policy/")
    assert anew(built) == "withheld"


@pytest.mark.parametrize("who", ["stranger", "owner"])
def test_heads_by_somebody_who_may_not_attest_count_for_nothing(who: str) -> None:
    built = made()
    forge(built, statement(built), who)
    assert anew(built) == "heads-expired"
    renew(built)
    forge(built, statement(built, channels={"main/churn": Mark(0, 99, "0" * 64)}), who)
    assert anew(built) == OLD


def test_heads_of_another_environment_vault_or_number_count_for_nothing() -> None:
    built = made()
    other = twin(built)
    forge(built, statement(built, environment=Environment("dev")), "renewer")
    forge(built, statement(built, number=8, vault=other.vault), "renewer")
    forge(built, statement(built, number=7), "renewer", number=6)
    assert anew(built) == "heads-expired"


def test_a_revoked_key_attests_nothing_and_no_client_is_stopped_by_that() -> None:
    built = made("warn")
    renew(built)
    assert in_prod(built) == OLD
    built.amend(revoked("renewer"))
    assert in_prod(built) == OLD  # the heads lie there as they were: nothing is withheld
    assert renew(built, "second").heads[0].number == 2
    assert in_prod(built) == OLD


def test_fast_forward_by_who_may_attest_ends_with_the_key_and_the_era() -> None:
    built = made()
    top = limits.NUMBER_MAX
    wedged = statement(built, number=top, channels={"main/churn": Mark(0, top, "0" * 64)})
    forge(built, wedged, "renewer")
    assert anew(built) == "rollback"
    with pytest.raises(Conflict):
        renew(built, "second")
    built.amend(revoked("renewer"))
    fresh = built.fork(forgetful=True)
    assert renew(fresh, "second").heads[0].number == 1
    assert in_prod(fresh) == OLD


def test_a_new_era_frees_a_client_that_has_seen_heads_of_a_wedged_number() -> None:
    built = made()
    renew(built)
    known = statement(built, number=limits.NUMBER_MAX, channels={})
    forge(built, known, "renewer")
    assert in_prod(built) == OLD
    built.amend(lambda before: replace(revoked("renewer")(before), era=1))
    assert in_prod(built) == "heads-expired"
    assert renew(built, "second").heads[0].number == 1 + 1  # the first heads' number is taken
    assert in_prod(built) == OLD


def test_heads_valid_for_years_are_malformed() -> None:
    built = made()
    forge(built, statement(built, expires=names.time_text(NOW + 91 * DAY)), "renewer")
    assert anew(built) == "heads-expired"
    later, end = names.time_text(NOW + 30 * DAY), names.time_text(NOW + 31 * DAY)
    forge(built, statement(built, created=later, expires=end), "renewer")
    assert anew(built) == "heads-expired"


def test_squatted_and_garbage_names_cost_a_number_and_nothing_else() -> None:
    built = made()
    for number in (1, 2, 4):
        built.write(HEADS + layout.numbered(number), b"garbage")
    built.write(f"{HEADS}000005.json/below", b"a folder where a record belongs")
    built.write(f"{HEADS}notes.txt", b"")
    assert renew(built).heads[0].number == 3
    assert anew(built) == OLD
    assert renew(built).heads[0].number in (5, 6)
    assert anew(built) == OLD


def test_check_reports_heads_that_lapsed_and_what_does_not_count() -> None:
    built = made()
    (entry,) = (entry for entry in check(built).findings if entry.subject == "heads of prod")
    assert (entry.level, entry.code) == ("bad", "heads-expired")
    renew(built)
    built.write(f"{HEADS}000007.json", b"garbage")
    found = {entry.subject: (entry.level, entry.code) for entry in check(built).findings}
    assert found["heads of prod"] == ("ok", "")
    assert found["heads 7 of prod"] == ("skipped", "malformed-json")
    put_back(built, {}, HEADS)
    (entry,) = (entry for entry in check(built).findings if entry.subject == "heads of prod")
    assert (entry.level, entry.code) == ("bad", "rollback")


def test_a_tampered_channel_is_attested_as_it_was_and_stops_no_other() -> None:
    built = made()
    built.promote(built.publish(OLD, model="fraud"))
    renew(built)
    before = dict(built.store.objects)
    built.promote(built.publish(NEW))
    renew(built)
    put_back(built, before, CHANNEL)
    (renewed,) = renew(built).heads
    assert [(entry.name, entry.code) for entry in renewed.kept] == [("churn@prod", "rollback")]
    assert outcome(built.fork(forgetful=True), "fraud@prod") == OLD
    assert anew(built) == "rollback"


def test_heads_never_follow_a_store_back_for_a_job_without_memory() -> None:
    built = made()
    before = dict(built.store.objects)
    built.promote(built.publish(NEW))
    renew(built)
    put_back(built, before, CHANNEL)
    job = built.fork(forgetful=True)
    (renewed,) = renew(job).heads
    assert [entry.code for entry in renewed.kept] == ["rollback"]
    assert in_prod(job) == "rollback"


def test_two_jobs_at_once_take_two_numbers() -> None:
    built = made()
    store = Racing(built)
    (renewed,) = renewing.renew(built.session("renewer", store=store)).heads
    assert (store.others, renewed.number) == ([1], 2)
    assert anew(built) == OLD


class Racing(MemoryStore):
    """Lets the other job write its heads just before ours are created."""

    def __init__(self, built: Built) -> None:
        super().__init__()
        self.objects = built.store.objects
        self.others: list[int] = []
        self._built = built

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[MemorySink]:
        if name.startswith(HEADS) and not self.others:
            self.others += [entry.number for entry in renew(self._built, "second").heads]
        with super().create(name, size=size) as sink:
            yield sink


def test_who_may_not_attest_is_told_before_anything_is_written() -> None:
    built = made()
    for who in ("stranger", "owner"):
        with pytest.raises(Refused, match="may not attest prod") as caught:
            renew(built, who)
        assert caught.value.code == "access-denied"
    assert not any(name.startswith("trust/heads/") for name in built.store.objects)
