"""Runs over many models that were killed, failed in part, or met another run: the next one does the rest."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vault
from tests.e2e.bulk_parts import SYMBOLS, Desk, desk, of_all, states
from vault.actions import bulk_journal
from vault.actions.bulk_results import Interrupted
from vault.vault import Vault

FOUR = SYMBOLS[:4]
KILLS = (3, 14)  # objects; a push of four models makes some forty
MORE = tuple(range(1, 60))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        yield found


def journals(place: Desk) -> list[str]:
    return sorted(path.name for path in (place.folder / "state").glob("bulk/*/*.jsonl"))


def versions(opened: Vault) -> dict[str, int]:
    return {row.model.rpartition("/")[2]: row.versions for row in opened.list()}


def push_killed(place: Desk, count: int) -> None:
    table = place.table(*FOUR)
    was_killed = place.killed(count, "push", str(table))
    batch = place.open().push_all(table)
    assert batch.whole
    assert set(states(batch).values()) <= {"done", "already"}
    if was_killed:
        assert {row.model: row.versions for row in place.open().list()} == {
            f"nepse/{name}": 1 for name in FOUR
        }
        assert all(len(place.open().versions(f"nepse/{name}")) == 1 for name in FOUR)
    assert journals(place) == []
    assert place.open().check().whole


@pytest.mark.parametrize("count", KILLS)
def test_a_push_that_was_killed_publishes_the_rest_and_nothing_twice(place: Desk, count: int) -> None:
    push_killed(place, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", MORE)
def test_a_push_may_be_killed_at_any_object(place: Desk, count: int) -> None:
    push_killed(place, count)


def rollback_killed(place: Desk, count: int) -> None:
    place.release(*FOUR, rounds=3)
    was_killed = place.killed(count, "rollback", "nepse/*", "prod")
    between = place.in_use()
    assert set(between.values()) <= {"2", "3"}
    if was_killed:
        batch = place.open().rollback_all("nepse/*", env="prod")
        assert batch.whole
        assert {name for name, state in states(batch).items() if state == "already"} == {
            name for name, version in between.items() if version == "2"
        } or batch.began is None
    assert place.in_use() == of_all(FOUR, "2")
    assert journals(place) == []
    assert place.open().check().whole


@pytest.mark.parametrize("count", KILLS)
def test_a_rollback_that_was_killed_brings_no_model_back_twice(place: Desk, count: int) -> None:
    rollback_killed(place, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", MORE)
def test_a_rollback_may_be_killed_at_any_object(place: Desk, count: int) -> None:
    rollback_killed(place, count)


@pytest.mark.parametrize("count", KILLS)
def test_a_promotion_that_was_killed_is_ended_by_the_next(place: Desk, count: int) -> None:
    opened = place.push(*FOUR)
    opened.promote_all("nepse/*", env="staging").raise_if_failed()
    place.killed(count, "promote", "nepse/*@staging", "prod")
    place.open().promote_all("nepse/*@staging", env="prod").raise_if_failed()
    assert place.in_use() == of_all(FOUR, "1")
    assert all(len(place.open().history(f"nepse/{name}")) == 3 for name in FOUR)


# --- tables ---


def test_a_row_that_was_mended_is_pushed_and_the_others_are_not_pushed_again(place: Desk) -> None:
    table = place.table(*FOUR)
    broken = place.folder / "files" / "NABIL" / "model.json"
    broken.rename(broken.with_suffix(".away"))
    first = place.open().push_all(table)
    assert states(first) == {**of_all(FOUR, "done"), "NABIL": "not-found"}
    assert first.exit_status == 6
    assert len(journals(place)) == 1
    broken.with_suffix(".away").rename(broken)
    second = place.open().push_all(table)
    assert states(second) == {**of_all(FOUR, "already"), "NABIL": "done"}
    assert second.began is not None
    assert journals(place) == []
    assert set(versions(place.open()).values()) == {1}
    assert states(place.open().push_all(table)) == of_all(FOUR, "done")  # another night: the next versions
    assert set(versions(place.open()).values()) == {2}


def test_a_row_whose_file_changed_since_is_pushed_again(place: Desk) -> None:
    table = place.table(*FOUR)
    broken = place.folder / "files" / "NABIL" / "model.json"
    broken.unlink()
    place.open().push_all(table)
    place.write("EBL", "NABIL", weight=2)
    found = states(place.open().push_all(table))
    assert found == {**of_all(FOUR, "already"), "EBL": "done", "NABIL": "done"}


def test_what_a_journal_says_is_believed_of_a_version_that_is_there(place: Desk) -> None:
    table = place.table(*FOUR)
    (place.folder / "files" / "NABIL" / "model.json").unlink()
    place.open().push_all(table)
    (path,) = (place.folder / "state").glob("bulk/*/*.jsonl")
    lines = path.read_text().splitlines()
    for forged in (
        '{"item": "x", "found": {"version": "../../x", "manifest": "y"}}',
        '{"item": "x", "found": []}',
        "not json",
        '{"item": 3}',
    ):
        path.write_text("\n".join([*lines, forged]) + "\n")
        assert states(place.open().push_all(table))["EBL"] == "already"
    changed = [line.replace('"version": "1"', '"version": "7"') for line in lines]
    path.write_text("\n".join(changed) + "\n")
    assert states(place.open().push_all(table))["EBL"] == "done"  # there is no version 7


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir])
def test_something_odd_in_the_place_of_a_journal_neither_hangs_nor_is_read(
    place: Desk, made: Callable[[Path], None]
) -> None:
    table = place.table("EBL")
    path = bulk_journal.place(place.folder / "state", place.open()._session.pin, "push", str(table))
    assert path is not None
    path.parent.mkdir(parents=True)
    made(path)
    if made is not os.mkfifo:
        with pytest.raises(vault.Unavailable, match="cannot be kept"):
            place.open().push_all(table)
    else:
        assert states(place.open().push_all(table)) == {"EBL": "done"}


def test_another_push_of_the_same_table_is_not_begun_meanwhile(place: Desk) -> None:
    table = place.table("EBL")
    opened = place.open()
    path = bulk_journal.place(place.folder / "state", opened._session.pin, "push", str(table))
    with bulk_journal.alone(path, "push"), pytest.raises(vault.Conflict, match="under way"):
        opened.push_all(table)
    assert states(opened.push_all(table)) == {"EBL": "done"}


def test_what_is_trained_is_not_trained_again_in_the_same_run(place: Desk) -> None:
    trained: list[str] = []

    def training(name: str, *, fails: bool = False) -> Callable[[], dict[str, object]]:
        def make() -> dict[str, object]:
            trained.append(name)
            if fails:
                raise ZeroDivisionError("no prices")
            return {"model": {"w": _array()}, "format": "npz"}

        return make

    opened = place.open()
    batch = opened.save_all({"a": training("a"), "b": training("b", fails=True)}, run="monday")
    assert states(batch) == {"a": "done", "b": "usage"}
    assert "ZeroDivisionError: no prices" in str(batch.failed[0].error)
    again = opened.save_all({"a": training("a"), "b": training("b")}, run="monday")
    assert states(again) == {"a": "already", "b": "done"}
    assert trained == ["a", "b", "b"]
    assert states(opened.save_all({"a": training("a")}, run="tuesday")) == {"a": "done"}


def _array() -> object:
    import numpy as np

    return np.arange(3.0)


# --- rollbacks ---


def test_a_rollback_in_which_one_failed_brings_the_others_back_once(place: Desk) -> None:
    opened = place.release(*FOUR, rounds=3)
    place.damage("nepse/GBIME", version=2)
    kept = place.store / "models/nepse/GBIME/@/2/manifest.json"
    whole = kept.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 1  # as it was
    first = opened.rollback_all("nepse/*", env="prod")
    assert states(first)["EBL"] == "done"
    between = place.in_use()
    kept.write_bytes(bytes(data))
    second = place.open().rollback_all("nepse/*", env="prod")
    assert {name for name, state in states(second).items() if state == "already"} >= {"EBL", "NABIL", "NICA"}
    after = place.in_use()
    assert {name: after[name] for name in ("EBL", "NABIL", "NICA")} == of_all(("EBL", "NABIL", "NICA"), "2")
    assert between["EBL"] == "2"


def test_a_channel_that_somebody_changed_since_is_left_as_it_is(place: Desk) -> None:
    opened = place.release(*FOUR, rounds=2)
    opened.push("nepse/NICA", place.write("NICA")["nepse/NICA"])
    assert place.killed(12, "rollback", "nepse/*", "prod")
    opened = place.open()
    opened.promote("nepse/NICA:3", env="staging")
    opened.promote("nepse/NICA:3", env="prod")
    batch = opened.rollback_all("nepse/*", env="prod")
    if batch.began is not None:
        assert states(batch)["NICA"] == "conflict"
        assert place.in_use()["NICA"] == "3"
        assert {name: place.in_use()[name] for name in FOUR if name != "NICA"} == of_all(FOUR[:3], "1")
        anew = opened.rollback_all(["nepse/NICA"], env="prod", anew=True)
        assert states(anew) == {"NICA": "done"}


def test_a_rollback_that_overlaps_one_that_was_stopped_is_not_begun(place: Desk) -> None:
    opened = place.release(*FOUR, rounds=3)
    _stop(opened, place)
    with pytest.raises(vault.Conflict, match="was stopped") as refusal:
        opened.rollback_all(["nepse/EBL", "nepse/NICA"], env="prod")
    assert "mvault rollback 'nepse/*' --env prod" in refusal.value.hint
    assert states(opened.rollback_all("nepse/*", env="staging")) == of_all(FOUR, "done")  # another place
    assert states(opened.rollback_all("nepse/*", env="prod")) == of_all(FOUR, "done")
    assert place.in_use() == of_all(FOUR, "2")
    assert states(opened.rollback_all(["nepse/EBL", "nepse/NICA"], env="prod")) == {
        "EBL": "done",
        "NICA": "done",
    }


def _stop(opened: Vault, place: Desk) -> None:
    """Have a rollback stopped after it was planned, before the first model goes."""
    from vault.actions import bulk_rollback

    original = bulk_rollback._Rollback._go

    def stop(*_: object) -> None:
        raise vault.Unavailable("The disk is full.", code="storage-full")

    bulk_rollback._Rollback._go = stop  # type: ignore[method-assign,assignment]
    try:
        batch = opened.rollback_all("nepse/*", env="prod", threads=1)
    finally:
        bulk_rollback._Rollback._go = original  # type: ignore[method-assign]
    assert batch.stopped is not None
    assert len(journals(place)) == 1


def test_anew_forgets_what_was_planned(place: Desk) -> None:
    opened = place.release(*FOUR, rounds=3)
    _stop(opened, place)
    assert states(opened.rollback_all("nepse/EBL", env="prod", anew=True)) == {"EBL": "done"}
    assert states(opened.rollback_all("nepse/*", env="prod")) == of_all(FOUR, "done")
    # What a channel used before it went back is what it went back from.
    assert place.in_use() == {**of_all(FOUR, "2"), "EBL": "3"}


def test_another_rollback_of_the_same_environment_is_not_begun_meanwhile(place: Desk) -> None:
    opened = place.release("EBL", rounds=2)
    folder = bulk_journal.folder(place.folder / "state", opened._session.pin)
    assert folder is not None
    with bulk_journal.alone(folder / "rollback-prod-main", "x"), pytest.raises(vault.Conflict):
        opened.rollback_all("nepse/*", env="prod")
    assert place.in_use() == {"EBL": "2"}


def test_two_rollbacks_at_once_go_one_version_back(place: Desk) -> None:
    place.release(*FOUR, rounds=3)
    meeting = threading.Barrier(2, timeout=60)
    told: list[object] = []

    def run() -> None:
        opened = place.open()
        meeting.wait()
        try:
            told.append(states(opened.rollback_all("nepse/*", env="prod")))
        except vault.Conflict as conflict:
            told.append(conflict.code)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert of_all(FOUR, "done") in told
    if "conflict" in told:  # else one began after the other had ended, which is twice
        assert place.in_use() == of_all(FOUR, "2")


# --- pulls ---


def test_what_was_pulled_before_is_left_and_the_rest_pulled(place: Desk, tmp_path: Path) -> None:
    opened = place.release(*FOUR)
    into = tmp_path / "out"
    (into / "nepse").mkdir(parents=True)
    (into / "nepse" / "NABIL").write_text("mine")
    first = opened.pull_all("nepse/*@prod", into)
    assert states(first) == {**of_all(FOUR, "done"), "NABIL": "conflict"}
    assert (into / "nepse" / "NABIL").read_text() == "mine"
    (into / "nepse" / "NABIL").unlink()
    (into / "nepse" / ".NICA.part").mkdir()  # of a run that was killed
    second = opened.pull_all("nepse/*@prod", into)
    assert states(second) == {**of_all(FOUR, "already"), "NABIL": "done"}
    assert sorted(path.name for path in (into / "nepse").iterdir() if path.name[0] != ".") == [*FOUR]
    weights = {
        name: json.loads((into / "nepse" / name / "model.json").read_text())["symbol"] for name in FOUR
    }
    assert weights == {name: name for name in FOUR}


def test_a_file_that_was_changed_after_the_pull_is_neither_trusted_nor_overwritten(
    place: Desk, tmp_path: Path
) -> None:
    opened = place.release(*FOUR)
    into = tmp_path / "out"
    (into / "nepse" / "NABIL").mkdir(parents=True)
    (into / "nepse" / "NABIL" / "x").write_text("mine")
    opened.pull_all("nepse/*@prod", into)
    (into / "nepse" / "EBL" / "model.json").write_text("{}")
    found = states(opened.pull_all("nepse/*@prod", into))
    assert found == {**of_all(FOUR, "already"), "EBL": "conflict", "NABIL": "conflict"}
    assert (into / "nepse" / "EBL" / "model.json").read_text() == "{}"


def test_zips_are_pulled_beside_one_another(place: Desk, tmp_path: Path) -> None:
    opened = place.release(*FOUR)
    batch = opened.pull_all("nepse/*@prod", tmp_path / "zips", zip=True)
    assert states(batch) == of_all(FOUR, "done")
    found = sorted(path.name for path in (tmp_path / "zips" / "nepse").iterdir())
    assert found == [f"{name}.zip" for name in FOUR]


def test_two_pulls_into_one_folder_do_not_meet(place: Desk, tmp_path: Path) -> None:
    from vault.actions import bulk_pulling

    opened = place.release("EBL")
    with bulk_pulling._alone(tmp_path / "out"), pytest.raises(vault.Conflict, match="Another run pulls"):
        opened.pull_all("nepse/*@prod", tmp_path / "out")


# --- Ctrl-C ---


def test_ctrl_c_tells_how_far_it_came(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from vault.actions import bulk

    opened = place.push(*FOUR)
    original: Callable[..., object] = bulk.wait  # type: ignore[attr-defined]
    calls = 0

    def wait(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(bulk, "wait", wait)
    with pytest.raises(Interrupted) as caught:
        opened.promote_all("nepse/*", env="staging", threads=1)
    batch = caught.value.batch
    assert len(batch.done) + len(batch.left) == 4
    assert set(place.in_use("staging")) == {entry.model.rpartition("/")[2] for entry in batch.done}
