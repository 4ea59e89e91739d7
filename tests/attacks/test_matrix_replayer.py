"""The attack matrix: an outsider who shows old state of the storage, all of it or parts."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks import matrix_scenes as scenes
from tests.attacks.matrix import Act, Attack, Flow, Row, attacks, run
from tests.attacks.matrix_scenes import (
    IN_PROD,
    SECOND,
    after,
    both,
    candidate,
    copies,
    deletes,
    loads,
    one,
    seen,
    two,
)
from tests.attacks.test_freshness import forge, renew, statement
from tests.attacks.test_freshness import made as attested
from tests.builders import DEV, Built
from tests.e2e.team_parts import ONE, THREE, TWO
from vault import memory
from vault.core import envelope, layout, names
from vault.core.policy import ChannelHead
from vault.errors import Expired, Rollback

OLD = {"model.json": b'{"w":1}'}


def old_copy_of(scene: Callable[[], Built], *prefixes: str) -> Act:
    """Put back what lay below these prefixes in an earlier scene, and nothing newer."""

    def act(built: Built) -> None:
        then = scene().store.objects
        for name in [name for name in built.store.objects if name.startswith(prefixes or ("",))]:
            del built.store.objects[name]
        built.store.objects.update(
            {name: data for name, data in then.items() if name.startswith(prefixes or ("",))}
        )

    return act


def container(flow: Flow) -> Flow:
    """Run a flow as a container would: read-only, new, with a trust file that was exported of churn:2."""

    def run_there(built: Built) -> object:
        exported = two()
        loads("churn@prod")(exported)
        floor = exported.memory("server").load()
        built.memories["server"] = memory.ClientMemory(built.vault, None, floor=floor)
        return flow(built)

    return run_there


def republished(built: Built) -> None:
    """Delete churn:2; somebody who remembers nothing of it publishes another under its number."""
    deletes(SECOND)(built)
    job = built.fork(forgetful=True)
    assert str(job.publish(THREE, who="dora")) == "churn:2"
    built.store.objects.update(job.store.objects)


def loser_of_the_race(built: Built) -> None:
    """Serve another genuine record of the number that this client has seen."""
    scenes.writes_record("rex", 2, "churn:1", created=names.time_text(built.now + 1))(built)


def fresh() -> Built:
    """Give a vault in which prod refuses what nobody attests, attested once."""
    built = attested()
    renew(built)
    return built


def fresh_twice() -> Built:
    built = fresh()
    renew(built)
    return built


def new_era(built: Built) -> None:
    """Let the owner raise the era, continuing from prod's newest record."""
    head = built.store.objects[f"{IN_PROD}000002.json"]
    digest = envelope.parse(head, kind="channel", subject="it").digest
    continues = {"prod/main/churn": ChannelHead(2, digest)}
    built.amend(lambda before: replace(before, era=before.era + 1, continues=continues))


def expired(built: Built) -> None:
    built.now += 200


def short_lived() -> Built:
    built = two()
    built.amend(lambda before: replace(before, expires=names.time_text(built.now + 100)))
    return built


def heads_of_dev(built: Built) -> None:
    """Serve what the renewing service signed of dev as heads of prod."""
    forge(built, statement(built, environment=DEV, number=1), "renewer")


ATTACKS = (
    Attack(
        "a whole older copy of the storage",
        Row.REPLAYER, ("rollback",), seen(two, loads("churn@prod")),
        strike=old_copy_of(one), flow=loads("churn@prod"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a whole older copy shown to a new, read-only container with a trust file",
        Row.REPLAYER, ("rollback",), two,
        strike=old_copy_of(one), flow=container(loads("churn@prod")), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "an older copy of the channel alone",
        Row.REPLAYER, ("rollback", "mixed versions"), seen(two, loads("churn@prod")),
        strike=old_copy_of(one, IN_PROD), flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "the policy from before a change",
        Row.REPLAYER, ("rollback", "a delegator that has changed"),
        seen(after(two, lambda built: built.amend(lambda p: p)), loads("churn@prod")),
        strike=old_copy_of(two, layout.POLICIES), flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "the loser's signed record, after the race",
        Row.REPLAYER, ("the loser of a race",), seen(two, loads("churn@prod")),
        strike=loser_of_the_race, flow=loads("churn@prod"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "another version under a number that was deleted",
        Row.REPLAYER, ("rollback", "another version or model served"),
        seen(candidate, loads("churn:2", "dora", "dev")),
        strike=republished, flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a deleted newest version, for a publisher who remembers it",
        Row.REPLAYER, ("rollback",), seen(candidate, loads("churn", "dora", "dev")),
        strike=deletes(SECOND), flow=loads("churn", "dora", "dev"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "an old root, after a rotation",
        Row.REPLAYER, ("rollback", "a delegator that has changed"),
        seen(scenes.shared_root, loads("churn@prod")),
        strike=deletes(layout.root(2)), flow=loads("churn@prod"), gives=ONE, refused=(Rollback, "rollback"),
    ),
    Attack(
        "the record withheld from which a new era continues",
        Row.REPLAYER, ("eras", "rollback"), seen(after(two, new_era), loads("churn@prod")),
        strike=deletes(f"{IN_PROD}000002.json"), flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "the era before the newest",
        Row.REPLAYER, ("eras", "rollback"), seen(after(two, new_era), loads("churn@prod")),
        strike=old_copy_of(two, layout.POLICIES), flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "a policy that has expired",
        Row.REPLAYER, ("expired documents",), short_lived,
        strike=expired, flow=loads("churn@prod"), gives=TWO, refused=(Expired, "expired"),
    ),
    Attack(
        "heads that have expired, beside the channel of their time",
        Row.REPLAYER, ("stale heads",), fresh,
        strike=lambda built: setattr(built, "now", built.now + 8 * 86_400),
        flow=loads("churn@prod", "owner"), gives=OLD, refused=(Expired, "heads-expired"),
    ),
    Attack(
        "heads of another environment",
        Row.REPLAYER, ("stale heads",), attested,
        strike=heads_of_dev, honest=renew, flow=loads("churn@prod", "owner"), gives=OLD,
        refused=(Expired, "heads-expired"),
    ),
    Attack(
        "old heads under a newer number",
        Row.REPLAYER, ("stale heads", "rollback"), seen(fresh_twice, loads("churn@prod", "owner")),
        strike=both(
            copies("trust/heads/prod/000001.json", "trust/heads/prod/000003.json"),
            deletes("trust/heads/prod/000002.json"),
        ),
        flow=loads("churn@prod", "owner"), gives=OLD, refused=(Rollback, "rollback"),
    ),
)  # fmt: skip


@attacks(ATTACKS)
def test_what_was_seen_is_not_taken_back(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
