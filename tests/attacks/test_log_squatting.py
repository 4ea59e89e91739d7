"""Garbage in a log's folders, and records that were never logged: neither stops, nor passes for, anything."""

from collections.abc import Callable

import pytest

from tests.builders import CONTENT, Built
from tests.log_vaults import PROD_LOG, client, cosign, log_objects, logged
from tests.logs import squat
from vault.actions import reviewing_verifying
from vault.audit import tiles
from vault.audit.reading import LogReader
from vault.core import limits
from vault.errors import AccessDenied, Conflict, NotFound, Refused

OTHER = {"model.json": b'{"weights":[6,6,6]}'}
MODES = ("unwitnessed", "witnessed")


def in_prod(mode: str) -> Built:
    """Build a vault with churn:1 in prod and churn:2 in dev; wes has seen the log."""
    built = logged(mode)
    session = client(built)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    cosign(built)
    built.publish(OTHER, session=session)
    return built


def goes_on(built: Built) -> None:
    """Demand that what is in prod loads, that churn:2 can enter, and that it loads then."""
    assert built.read("churn@prod", who="server", session=client(built, "server")) == CONTENT
    assert built.promote("churn:2", session=client(built)).seq >= 2
    cosign(built)
    for view in (built, built.fork(forgetful=True)):
        assert view.read("churn@prod", who="server", session=client(view, "server")) == OTHER


# --- squatting ---


def squat_commits(built: Built) -> None:
    """Take the next numbers, also with copies of genuine commits and with commits of another log."""
    genuine = [data for name, data in sorted(log_objects(built).items()) if "/commit/" in name]
    for at, data in enumerate((b"", b"garbage", b"mvault-commit-v1\n", genuine[0], genuine[-1][:-1]), 1):
        squat(built.store, PROD_LOG.commit(len(genuine) + at), data)
    squat(built.store, f"{PROD_LOG.commits}9999999999999999")
    squat(built.store, f"{PROD_LOG.commits}not-a-number")
    squat(built.store, f"{PROD_LOG.commits}000999/below")


def squat_a_thousand(built: Built) -> None:
    first = 1 + sum("/commit/" in name for name in log_objects(built))
    for number in range(first, first + 990):
        squat(built.store, PROD_LOG.commit(number))


def squat_tiles(built: Built) -> None:
    """Put garbage wherever a tile, a bundle or a checkpoint lies, or will."""
    for name in log_objects(built):
        if "/tile/" in name or name == PROD_LOG.checkpoint:
            built.store.objects[name] = b"garbage"
    for width in range(1, 20):
        for name in (PROD_LOG.tile(0, 0, width), PROD_LOG.bundle(0, width)):
            built.store.objects[name] = b"garbage"


def remove_tiles(built: Built) -> None:
    for name in list(log_objects(built)):
        if "/tile/" in name or name == PROD_LOG.checkpoint:
            del built.store.objects[name]


def squat_cosignatures(built: Built) -> None:
    """Put garbage and strangers' notes among the cosignatures of each size that there is, or will be."""
    for size in range(1, 12):
        squat(built.store, f"{PROD_LOG.cosigned(size)}wes-{'0' * 32}")
        squat(built.store, f"{PROD_LOG.cosigned(size)}wes-{'f' * 32}", bytes(limits.NOTE_BYTES + 1))
        squat(built.store, f"{PROD_LOG.cosigned(size)}garbage")
    squat(built.store, f"{PROD_LOG.folder}cosigned/not-a-size/wes")


ATTACKS = [squat_commits, squat_a_thousand, squat_tiles, remove_tiles, squat_cosignatures]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_who_can_only_write_to_the_store_stops_nobody(attack: Callable[[Built], None], mode: str) -> None:
    built = in_prod(mode)
    attack(built)
    goes_on(built)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_was_written_there_is_reported_and_the_record_is_whole(attack: Callable[[Built], None]) -> None:
    built = in_prod("unwitnessed")
    attack(built)
    goes_on(built)
    found = reviewing_verifying.verify(built.session(), PROD_LOG)
    assert found.whole == "yes"
    reader = LogReader(built.store, PROD_LOG, built.policy)
    tiles.repair(reader)
    assert tiles.repair(reader, write=False) == ()
    assert reviewing_verifying.verify(built.session(), PROD_LOG).status == 0


def test_more_squatted_numbers_than_may_be_missing_are_told_to_the_writer() -> None:
    """The limit of it: a promotion says who fills the store; nothing is lost, and loads go on."""
    built = in_prod("unwitnessed")
    first = 1 + sum("/commit/" in name for name in log_objects(built))
    for number in range(first, first + limits.GAP + 1):
        squat(built.store, PROD_LOG.commit(number))
    with pytest.raises(Conflict, match="taken by other objects"):
        built.promote("churn:2", session=client(built))
    assert built.read("churn@prod", who="server", session=client(built, "server")) == CONTENT


# --- never logged ---


@pytest.mark.parametrize("mode", MODES)
def test_a_record_that_was_never_logged_does_not_load(mode: str) -> None:
    built = in_prod(mode)
    built.write_record(built.record("churn:2", 2), "max")  # who may promote, and may not log
    built.write_record(built.record("churn:2", 3), "owner")
    for view in (built, built.fork(forgetful=True)):
        assert view.read("churn@prod", who="server", session=client(view, "server")) == CONTENT
        with pytest.raises((Refused, NotFound)):
            view.read("churn:2", who="server", env="prod", session=client(view, "server", env="prod"))
    goes_on(built)


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_else_was_promoted_the_message_says_that_it_is_not_logged(mode: str) -> None:
    built = logged(mode)
    built.publish(session=client(built))
    built.write_record(built.record("churn:1", 1), "owner")
    with pytest.raises(Refused) as caught:
        built.read("churn@prod", who="server", session=client(built, "server"))
    assert caught.value.code == "not-logged"
    assert "not in the log of prod" in caught.value.message


def test_who_may_promote_and_not_log_is_stopped_before_anything_is_written() -> None:
    built = in_prod("unwitnessed")
    before = dict(built.store.objects)
    with pytest.raises(AccessDenied) as caught:
        built.promote("churn:2", who="max", session=client(built, "max"))
    assert caught.value.code == "no-audit-record"
    assert built.store.objects == before


def test_what_no_witness_has_seen_yet_waits_and_the_message_says_so() -> None:
    built = logged("witnessed")
    session = client(built)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    with pytest.raises(Refused) as caught:
        built.read("churn@prod", who="server", session=client(built, "server"))
    assert "0 of the 1 witnesses" in caught.value.message
    assert "mvault audit witness" in caught.value.hint
    cosign(built)
    assert built.read("churn@prod", who="server", session=client(built, "server")) == CONTENT


def test_a_log_that_was_deleted_takes_what_it_held_out_of_prod_and_a_writer_refuses_to_begin_anew() -> None:
    built = in_prod("unwitnessed")
    for name in list(log_objects(built)):
        del built.store.objects[name]
    with pytest.raises(Refused):
        built.read("churn@prod", who="server", session=client(built.fork(forgetful=True), "server"))
    with pytest.raises(Refused) as caught:
        built.promote("churn:2", session=client(built))
    assert caught.value.code in {"log-inconsistent", "rollback"}


def test_the_kind_of_a_record_is_what_was_signed() -> None:
    """A genuine commit is no channel record, nor the other way round, wherever it is put."""
    built = in_prod("unwitnessed")
    commit = built.store.objects[PROD_LOG.commit(1)]
    built.store.objects["channels/prod/main/churn/@/000002.json"] = commit
    squat(built.store, PROD_LOG.commit(50), built.store.objects["channels/prod/main/churn/@/000001.json"])
    goes_on(built)
