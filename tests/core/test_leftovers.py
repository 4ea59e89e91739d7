"""A notice of leftovers counts by who may delete, and names nothing that is no leftover."""

from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from tests.core.retention_parts import KEEPERS, notice, signed_notice
from vault.core import leftovers, strict_json
from vault.core.in_force import Signed
from vault.core.names import Digest
from vault.core.trust import Skipped
from vault.errors import Malformed, Rollback

NAME = "leftovers/" + "0" * 64 + ".json"


@pytest.fixture(scope="module")
def keepers() -> Built:
    built = builders.solo(policy=KEEPERS, seed="leftovers")
    built.add("hal", "holder")
    return built


@pytest.fixture
def built(keepers: Built) -> Built:
    return keepers.fork(forgetful=True)


def test_a_notice_is_read_as_it_is_written(built: Built) -> None:
    made = notice(built, "files/" + "0" * 32, "keys/dev-1/x", "sealed/000001.json")
    assert leftovers.parse(leftovers.encode(made), "it") == made


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("models/churn/@/9/files/b", "models/churn/@/9/files/a"),
        ("models/churn/@/9/files/a", "models/churn/@/9/files/a"),
        ("models/churn/@/8/files/a",),
        ("models/churn/@/9/manifest.json",),
        ("models/churn/@/9/removals/000001.json",),
        ("trust/root/000001.json",),
    ],
)
def test_a_notice_names_what_may_be_swept_in_order(built: Built, names: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        leftovers.parse(leftovers.encode(notice(built, names=names)), "it")


def test_unknown_fields_are_refused(built: Built) -> None:
    value = strict_json.parse(leftovers.encode(notice(built, "files/a")), subject="it")
    assert isinstance(value, dict)
    with pytest.raises(Malformed):
        leftovers.parse(strict_json.encode({**value, "more": 1}), "it")


def test_a_notice_counts_by_who_may_delete(built: Built) -> None:
    made = notice(built, "files/a")
    found = leftovers.judge(built.context, NAME, signed_notice(built, made, "owner"))
    assert isinstance(found, Signed)
    assert found.record == made
    assert found.signers == ("owner",)
    for data in (
        signed_notice(built, made, "hal"),
        b"garbage",
        signed_notice(built, replace(made, vault=Digest("0" * 64)), "owner"),
    ):
        assert isinstance(leftovers.judge(built.context, NAME, data), Skipped)


def test_a_notice_under_a_newer_policy_says_that_the_policy_is_withheld(built: Built) -> None:
    newer = replace(built.policy_id, version=99)
    data = signed_notice(built, notice(built, "files/a", policy=newer), "owner")
    with pytest.raises(Rollback):
        leftovers.judge(built.context, NAME, data)
