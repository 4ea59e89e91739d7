"""A withdrawal below newer records is deleted: a client that remembers nothing must not use the version."""

from functools import cache

import pytest

from tests.attacks.vault_mixing import only, revoked
from tests.builders import Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, in_prod, let_in, released

RECORDS = "channels/prod/main/churn/@/"


@cache
def _withdrawn() -> Built:
    built = released(ONE, TWO)
    as_(built, "cat").withdraw("churn:2", env="prod")
    as_(built, "rex").rollback("churn", env="prod")
    return built


@pytest.fixture
def withdrawn() -> Built:
    """Prod used churn:1 (record 1), churn:2 (2), which cat withdrew (3), and uses churn:1 again (4)."""
    return _withdrawn().fork()


def new_client(built: Built, ref: str) -> str | dict[str, bytes]:
    return in_prod(built.fork(forgetful=True), ref)


def test_a_withdrawal_that_was_taken_out_from_below_newer_records_is_missed(withdrawn: Built) -> None:
    digest = withdrawn.manifest("churn:2")[1]
    for ref in ("churn:2", f"churn@sha256:{digest}"):
        assert new_client(withdrawn, ref) == "barred"
    del withdrawn.store.objects[f"{RECORDS}000003.json"]
    for ref in ("churn:2", f"churn@sha256:{digest}"):
        assert new_client(withdrawn, ref) == "rollback"
    assert new_client(withdrawn, "churn@prod") == "rollback", "what is gone may have withdrawn churn:1 too"


def test_another_record_in_its_place_does_not_fill_the_gap(withdrawn: Built) -> None:
    objects = withdrawn.store.objects
    for data in (b"garbage", objects[f"{RECORDS}000002.json"], objects[f"{RECORDS}000004.json"]):
        other = withdrawn.fork(forgetful=True)
        other.write(f"{RECORDS}000003.json", data)
        assert in_prod(other, "churn:2") == "rollback"


def test_a_record_whose_signer_left_fills_its_place_though_it_does_not_count(withdrawn: Built) -> None:
    as_(withdrawn, "bob").withdraw("churn:2", env="prod", again=True)
    withdrawn.amend(revoked("cat"))
    assert new_client(withdrawn, "churn:2") == "barred"
    let_in(withdrawn, str(withdrawn.publish(THREE, who="dora")))
    assert new_client(withdrawn, "churn:3") == THREE
    del withdrawn.store.objects[f"{RECORDS}000003.json"]
    assert new_client(withdrawn, "churn:3") == "rollback"


@pytest.mark.parametrize("slot", ["main", "b"])
def test_a_promoter_and_the_store_cannot_revive_approvals_from_before_a_withdrawal_that_they_took_out(
    slot: str, withdrawn: Built
) -> None:
    del withdrawn.store.objects[f"{RECORDS}000003.json"]
    promoter = withdrawn.fork(forgetful=True)
    as_(promoter, "rex").promote("churn:2", env="prod", slot=slot)
    assert new_client(promoter, "churn@prod" if slot == "main" else "churn@prod/b") == "rollback"


def test_a_withdrawal_that_was_taken_out_from_another_slot_is_missed_too(withdrawn: Built) -> None:
    """Prod's slot b used churn:1 (5), which cat withdrew from main (6) and b (7), and uses churn:3 (8)."""
    let_in(withdrawn, "churn:1", slot="b")
    as_(withdrawn, "cat").withdraw("churn:1", env="prod")
    let_in(withdrawn, str(withdrawn.publish(THREE, who="dora")), slot="b")
    for name in (f"{RECORDS}000006.json", only(withdrawn, "channels/prod/b/", "000007.json")):
        assert new_client(withdrawn, "churn@prod") == "barred"
        del withdrawn.store.objects[name]
    assert new_client(withdrawn, "churn@prod") == "rollback"


def test_what_lies_below_the_newest_approvals_is_not_read_for_a_channel(withdrawn: Built) -> None:
    for number in range(3, 7):
        let_in(withdrawn, str(withdrawn.publish({"model.json": b"%d" % number}, who="dora")))
    read: list[str] = []
    client = withdrawn.fork(forgetful=True)
    store = client.store
    whole = store.read

    def reading(name: str, **limits: int) -> bytes:
        read.append(name)
        return whole(name, **limits)

    store.read = reading  # type: ignore[method-assign]
    client.read("churn@prod", who="server", env="prod")
    assert [name for name in read if name.startswith(RECORDS)] == [f"{RECORDS}000008.json"]


def test_versions_of_a_whole_history_load_as_before(withdrawn: Built) -> None:
    let_in(withdrawn, str(withdrawn.publish(THREE, who="dora")), slot="b")
    assert new_client(withdrawn, "churn:1") == ONE
    assert new_client(withdrawn, "churn:3") == THREE
