"""A withdrawal below newer records is deleted: a client that remembers nothing must not use the version."""

import pytest

from tests.attacks.vault_mixing import revoked
from tests.builders import Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, in_prod, let_in, released

RECORDS = "channels/prod/main/churn/@/"


@pytest.fixture
def withdrawn() -> Built:
    """Prod used churn:1 (record 1), churn:2 (2), which cat withdrew (3), and uses churn:1 again (4)."""
    built = released(ONE, TWO)
    as_(built, "cat").withdraw("churn:2", env="prod")
    as_(built, "rex").rollback("churn", env="prod")
    return built


def new_client(built: Built, ref: str) -> str | dict[str, bytes]:
    return in_prod(built.fork(forgetful=True), ref)


def test_a_withdrawal_that_was_taken_out_from_below_newer_records_is_missed(withdrawn: Built) -> None:
    digest = withdrawn.manifest("churn:2")[1]
    for ref in ("churn:2", f"churn@sha256:{digest}"):
        assert new_client(withdrawn, ref) == "barred"
    del withdrawn.store.objects[f"{RECORDS}000003.json"]
    for ref in ("churn:2", f"churn@sha256:{digest}"):
        assert new_client(withdrawn, ref) == "rollback"
    assert new_client(withdrawn, "churn@prod") == ONE, "what the newest record names stands by itself"


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


def test_versions_of_a_whole_history_load_as_before(withdrawn: Built) -> None:
    let_in(withdrawn, str(withdrawn.publish(THREE, who="dora")), slot="b")
    assert new_client(withdrawn, "churn:1") == ONE
    assert new_client(withdrawn, "churn:3") == THREE
