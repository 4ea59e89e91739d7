"""Locks and A/B: a lock narrows what may be loaded and never widens it; slots are chosen by key."""

from pathlib import Path

import pytest

from tests.builders import Built, solo
from tests.e2e.archive_parts import content, pulled
from vault.core import lockfile
from vault.errors import DigestMismatch, Malformed, NotFound, Refused
from vault.settings import Settings
from vault.vault import Vault


@pytest.fixture
def built() -> Built:
    """Give a vault with churn 1 and 2, of which 1 is in prod and 2 in prod/b, and two stocks in prod."""
    made = solo(seed="locks")
    for number in (1, 2):
        made.publish(content(number))
    made.promote("churn:1")
    made.promote("churn:2", slot="b")
    for model in ("nepse/NABIL", "nepse/NICA", "nepse/UPPER"):
        made.publish(content(3), model=model)
    made.promote("nepse/NABIL:1")
    made.promote("nepse/NICA:1")
    return made


def opened(built: Built, env: str = "dev") -> Vault:
    return Vault(built.session(env=env), Settings())


def weight(model: object) -> float:
    return float(model["w"][0])  # type: ignore[index]


def test_a_lock_names_what_channels_name_now(built: Built) -> None:
    vault = opened(built)
    data = vault.lock("nepse/*@prod", "churn@prod", "churn@prod/b", "churn@prod/main", "churn@dev")
    found = lockfile.parse(data, "it")
    assert {name: entry.version for name, entry in found.entries.items()} == {
        "churn@dev": "2",
        "churn@prod": "1",
        "churn@prod/b": "2",
        "nepse/NABIL@prod": "1",
        "nepse/NICA@prod": "1",
    }
    assert found.vault == built.vault
    assert found.entries["churn@prod"].manifest == built.manifest("churn:1")[1]
    assert vault.lock("*@prod") == opened(built).lock("*@prod"), "the same bytes again"


def test_a_locked_load_takes_exactly_the_locked_version(built: Built, tmp_path: Path) -> None:
    lock = opened(built).lock("churn@prod")
    built.promote("churn:2")
    vault = opened(built)
    assert weight(vault.load_model("churn@prod")) == 2
    assert weight(vault.load_model("churn@prod", lock=lock)) == 1
    assert vault.load_package("churn@prod", lock=lock).reference == "churn:1"
    assert vault.load_package("churn@prod/main", lock=lock).reference == "churn:1"
    place = tmp_path / "models.lock"
    place.write_bytes(lock)
    assert pulled(vault.pull("churn@prod", tmp_path / "out", lock=place)) == content(1)
    assert weight(opened(built, env="prod").load_model("churn@prod", lock=str(place))) == 1


def test_a_lock_allows_nothing_that_its_environment_does_not(built: Built) -> None:
    """Neither what was withdrawn, nor what was never promoted there."""
    vault = opened(built)
    lock = vault.lock("churn@prod")
    vault.withdraw("churn:1", env="prod")
    with pytest.raises(Refused) as caught:
        vault.load_model("churn@prod", lock=lock)
    assert caught.value.code == "barred"
    built.publish(content(3))
    digest = built.manifest("churn:3")[1]
    forged = lock.replace(b" 1 ", b" 3 ").replace(built.manifest("churn:1")[1].encode(), digest.encode())
    with pytest.raises(Refused) as caught:
        vault.load_model("churn@prod", lock=forged)
    assert caught.value.code == "not-promoted"


def test_another_manifest_than_the_locked_one_is_refused(built: Built) -> None:
    vault = opened(built)
    lock = vault.lock("churn@prod")
    other = lock.replace(built.manifest("churn:1")[1].encode(), built.manifest("churn:2")[1].encode())
    with pytest.raises(DigestMismatch):
        vault.load_model("churn@prod", lock=other)
    (row,) = vault.check_lock(other)
    assert row.state == "refused"


def test_a_lock_of_another_vault_and_a_channel_that_is_not_in_it_are_refused(built: Built) -> None:
    vault = opened(built)
    lock = vault.lock("churn@prod")
    for reference, data in (
        ("churn@dev", lock),
        ("churn@prod", lock.replace(built.vault.encode(), b"0" * 64)),
    ):
        with pytest.raises(Refused) as caught:
            vault.load_model(reference, lock=data)
        assert caught.value.code == "lock-mismatch"
    with pytest.raises(Refused) as caught:
        vault.check_lock(lock.replace(built.vault.encode(), b"0" * 64))
    assert caught.value.code == "lock-mismatch"


def test_a_mistake_of_the_caller_s_is_a_value_error(built: Built, tmp_path: Path) -> None:
    vault = opened(built)
    lock = vault.lock("churn@prod")
    for reference in ("churn", "churn:1"):
        with pytest.raises(ValueError, match="holds channels"):
            vault.load_model(reference, lock=lock)
    for text in ("churn", "churn:1", "churn@", "@prod", "churn@prod/", "churn@Prod", "ch*rn@prod"):
        with pytest.raises(ValueError, match="no channel"):
            vault.lock(text)
    with pytest.raises(ValueError, match="Say what"):
        vault.lock()
    with pytest.raises(TypeError, match="lock"):
        vault.watch("churn@prod", on_change=print, lock=lock)
    with pytest.raises(Malformed):
        vault.load_model("churn@prod", lock=b"garbage")
    with pytest.raises(NotFound, match=r"no lock"):
        vault.load_model("churn@prod", lock=tmp_path / "none.lock")
    with pytest.raises(Exception, match="cannot be read"):
        vault.load_model("churn@prod", lock=tmp_path)


def test_what_is_not_there_cannot_be_locked(built: Built) -> None:
    vault = opened(built)
    for text in ("nepse/UPPER@prod", "nepse/*@prod/b", "none/*@prod", "none@dev"):
        with pytest.raises(NotFound):
            vault.lock(text)


def test_a_lock_is_compared_with_the_vault(built: Built) -> None:
    vault = opened(built)
    lock = vault.lock("*@prod", "churn@prod/b")
    assert {row.state for row in vault.check_lock(lock)} == {"current"}
    built.promote("churn:2")
    vault.withdraw("nepse/NICA:1", env="prod")
    rows = {row.reference: row for row in vault.check_lock(lock)}
    assert (rows["churn@prod"].state, rows["churn@prod"].now) == ("behind", "2")
    assert (rows["nepse/NICA@prod"].state, rows["nepse/NICA@prod"].code) == ("refused", "barred")
    assert rows["nepse/NABIL@prod"].state == "current"


def test_a_channel_that_names_nothing_any_more_leaves_a_locked_version_loadable(built: Built) -> None:
    """Another version was withdrawn that had taken its place."""
    vault = opened(built)
    lock = vault.lock("churn@prod")
    built.promote("churn:2")
    vault.withdraw("churn:2", env="prod")
    (row,) = vault.check_lock(lock)
    assert (row.state, row.now) == ("behind", "")
    assert weight(vault.load_model("churn@prod", lock=lock)) == 1


def test_a_slot_is_chosen_by_key_and_loads(built: Built) -> None:
    vault = opened(built)
    weights = {"main": 90, "b": 10}
    chosen = {str(vault.choose("churn@prod", key=number, weights=weights)) for number in range(200)}
    assert chosen == {"churn@prod", "churn@prod/b"}
    assert vault.choose("churn@prod", key="7", weights=weights) == vault.choose(
        "churn@prod", key=7, weights=weights
    )
    for reference in sorted(chosen):
        assert weight(vault.load_model(reference)) in (1, 2)
    for reference in ("churn", "churn:1", "churn@prod/b"):
        with pytest.raises(ValueError, match="Name an environment"):
            vault.choose(reference, key="k", weights=weights)
