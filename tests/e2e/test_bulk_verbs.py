"""Many models at once: what is done, what is told of those that fail, and what a second run does."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vault
from tests.e2e.bulk_parts import SYMBOLS, Desk, desk, of_all, states
from vault.actions import bulk
from vault.core import layout

FOUR = SYMBOLS[:4]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        yield found


def test_a_pattern_goes_through_all_environments_and_one_version_back(place: Desk) -> None:
    opened = place.release(*SYMBOLS, rounds=2)
    assert place.in_use("staging") == of_all(SYMBOLS, "2")
    assert place.in_use() == of_all(SYMBOLS, "2")
    assert states(opened.rollback_all("nepse/*", env="prod")) == of_all(SYMBOLS, "done")
    assert place.in_use() == of_all(SYMBOLS, "1")
    assert place.in_use("staging") == of_all(SYMBOLS, "2")
    assert opened.check().whole


def test_a_second_run_finds_everything_done(place: Desk) -> None:
    opened = place.release(*FOUR)
    seqs = {name: len(opened.history(f"nepse/{name}")) for name in FOUR}
    assert states(opened.promote_all("nepse/*", env="staging")) == of_all(FOUR, "already")
    assert states(opened.promote_all("nepse/*@staging", env="prod")) == of_all(FOUR, "already")
    assert {name: len(opened.history(f"nepse/{name}")) for name in FOUR} == seqs


def test_one_damaged_one_denied_and_one_done_already_are_told_apart(place: Desk) -> None:
    opened = place.push(*FOUR)
    opened.push("nyse/IBM", place.write("IBM")["nepse/IBM"])
    opened.promote_all("nepse/*", env="staging").raise_if_failed()
    opened.promote("nepse/NABIL@staging", env="prod")
    place.damage("nepse/GBIME")
    (place.folder / "narrow.yaml").write_text(
        (place.folder / "policy.yaml")
        .read_text()
        .replace("from: staging, to: prod", f"from: staging, to: prod, models: {json.dumps(mine(FOUR))}")
    )
    draft = opened.changes.draft(place.folder / "narrow.yaml", place.folder / "narrow.json")
    opened.changes.sign(draft.path)
    opened.changes.apply(draft.path)
    batch = place.open().promote_all("nepse/*@staging", env="prod")
    assert states(batch) == {
        "EBL": "access-denied",
        "GBIME": "bad-signature",
        "NABIL": "already",
        "NICA": "done",
    }
    assert batch.exit_status == 3
    assert not batch.whole
    assert place.in_use() == {"NABIL": "1", "NICA": "1"}
    with pytest.raises(vault.AccessDenied):
        batch.raise_if_failed()


def mine(symbols: tuple[str, ...]) -> list[str]:
    return [f"nepse/{symbol}" for symbol in symbols if symbol != "EBL"]


def test_a_dry_run_judges_everything_and_writes_nothing(place: Desk) -> None:
    opened = place.push(*FOUR)
    opened.promote_all("nepse/*", env="staging")
    opened.promote("nepse/NABIL@staging", env="prod")
    place.damage("nepse/GBIME")
    before = sorted(place.store.rglob("*"))
    expected = {"EBL": "would", "GBIME": "bad-signature", "NABIL": "already", "NICA": "would"}
    assert states(opened.promote_all("nepse/*@staging", env="prod", dry_run=True)) == expected
    assert states(opened.rollback_all("nepse/NABIL", env="prod", dry_run=True)) == {"NABIL": "not-found"}
    assert states(opened.withdraw_all("nepse/NABIL@prod", env="prod", dry_run=True)) == {"NABIL": "would"}
    assert states(opened.approve_all("nepse/NABIL", env="prod", dry_run=True)) == {"NABIL": "would"}
    assert states(opened.push_all(place.table(*FOUR), dry_run=True)) == of_all(FOUR, "would")
    assert sorted(place.store.rglob("*")) == before


def test_approvals_and_withdrawals_of_many(place: Desk) -> None:
    opened = place.release(*FOUR)
    assert states(opened.approve_all("nepse/*@staging", env="prod")) == of_all(FOUR, "done")
    assert states(opened.approve_all("nepse/*@staging", env="prod")) == of_all(FOUR, "already")
    assert states(opened.withdraw_all("nepse/*@prod", env="prod")) == of_all(FOUR, "done")
    assert place.in_use() == {}
    assert states(opened.withdraw_all("nepse/*:1", env="prod")) == of_all(FOUR, "already")
    assert states(opened.load_all("nepse/*@prod").batch) == of_all(FOUR, "barred")


def test_models_are_loaded_by_name_and_a_refused_one_is_not_missed_in_silence(place: Desk) -> None:
    opened = place.open()
    for number, name in enumerate(FOUR):
        opened.save_model(f"nepse/{name}", {"weights": np.arange(4.0) + number}, format="npz")
    opened.promote_all("nepse/*", env="staging")
    place.damage("nepse/GBIME")
    models = opened.load_all("nepse/*@staging")
    assert list(models) == ["nepse/EBL", "nepse/NABIL", "nepse/NICA"]
    assert models["nepse/NICA"]["weights"].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert set(models.failed) == {"nepse/GBIME"}
    with pytest.raises(vault.BadSignature):
        models["nepse/GBIME"]
    with pytest.raises(KeyError):
        models["nepse/SCB"]
    packages = opened.load_all(["nepse/EBL:1", "nepse/NICA:1"], package=True)
    assert packages["nepse/EBL"].reference == "nepse/EBL:1"


def test_a_check_of_many_looks_at_all_versions_and_channels_of_each(place: Desk) -> None:
    opened = place.release(*FOUR, rounds=2)
    batch = opened.check_all("nepse/*")
    assert [entry.result.versions for entry in batch.done if entry.result] == [2, 2, 2, 2]
    place.damage("nepse/GBIME")
    found = {entry.model: entry.result for entry in opened.check_all("nepse/*", data=True).done}
    assert [name for name, report in found.items() if report is not None and not report.whole] == [
        "nepse/GBIME"
    ]


# --- what is meant ---


@pytest.mark.parametrize(
    "text", ["ne*", "nepse/**", "*/x", "nepse/*@", "nepse/*@Prod", "nepse/*:0", "", "@prod"]
)
def test_what_is_no_pattern_is_refused_before_anything_is_done(place: Desk, text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        place.open().promote_all(text, env="staging")


def test_a_pattern_means_what_is_in_that_channel_and_nothing_else(place: Desk) -> None:
    opened = place.push(*FOUR)
    opened.promote_all(["nepse/EBL", "nepse/NICA:1"], env="staging").raise_if_failed()
    batch = opened.promote_all("*@staging", env="prod")
    assert states(batch) == {"EBL": "done", "NICA": "done"}
    assert batch.whole
    with pytest.raises(vault.NotFound, match="No model is meant"):
        opened.promote_all("nyse/*", env="staging")


def test_a_model_may_be_meant_once_where_the_last_one_would_win(place: Desk) -> None:
    opened = place.push("EBL", rounds=2)
    with pytest.raises(ValueError, match=r"nepse/EBL:1 and nepse/EBL:2 are both asked for"):
        opened.promote_all(["nepse/EBL:1", "nepse/EBL:2"], env="staging")
    assert len(opened.approve_all(["nepse/EBL:1", "nepse/EBL:2"], env="prod").done) == 2


def test_a_strangers_folders_are_skipped_and_fail_nothing(place: Desk) -> None:
    opened = place.release(*FOUR)
    junk = place.store / "models" / "nepse" / "EVIL" / "@" / "1" / "manifest.json"
    junk.parent.mkdir(parents=True)
    junk.write_bytes(b"{}")
    squat = place.store / layout.channel("staging", "main", "nepse/EVIL") / layout.numbered(1)  # type: ignore[arg-type]
    squat.parent.mkdir(parents=True)
    squat.write_bytes(b"{}")
    for batch in (
        opened.promote_all("nepse/*", env="staging"),
        opened.promote_all("nepse/*@staging", env="prod"),
    ):
        assert states(batch) == of_all(FOUR, "already")
        assert len(batch.skipped) == 1
        assert batch.whole
    known = opened.promote_all(["nepse/EVIL"], env="staging")  # who names it, wants to know
    assert states(known) == {"EVIL": "not-found"}


def test_a_model_that_was_seen_and_is_gone_is_no_strangers_folder(place: Desk) -> None:
    opened = place.release(*FOUR)
    (place.store / "models" / "nepse" / "EBL" / "@" / "1" / "manifest.json").unlink()
    found = states(opened.promote_all("nepse/*@staging", env="prod"))
    assert found == {**of_all(FOUR, "already"), "EBL": "not-found"}


# --- threads ---


def test_eight_threads_with_one_vault_publish_and_promote_and_the_logs_tell_all_of_it(place: Desk) -> None:
    opened = place.open()
    names = [f"t/{number:02d}" for number in range(32)]
    file = place.write("EBL")["nepse/EBL"]
    ready = bulk.worker(opened._session)
    shared = vault.Vault(ready, opened._settings)
    meeting = threading.Barrier(8, timeout=60)

    def work(name: str) -> None:
        if name < "t/08":
            meeting.wait()
        reference = shared.push(name, file)
        shared.promote(reference, env="staging")
        shared.promote(f"{name}@staging", env="prod")

    outcomes = [*bulk.run(names, work, threads=8)]
    assert [one.error for one in outcomes if one.error] == []
    assert place.open().check().whole
    told = opened.audit.verify()
    findings = [entry for log in told.logs for entry in log.findings]
    assert [entry for entry in findings if entry.level == "bad"] == []
    by_log = {str(log.log): log.head.size for log in told.logs if log.head is not None}
    assert by_log["env/dev"] == 64  # manifest and sealing record
    assert by_log["env/staging"] == 32
    assert by_log["env/prod"] == 64  # each manifest before its record
    loaded = opened.load_all([f"{name}@prod" for name in names], package=True)
    assert len(loaded) == 32


def test_threads_that_log_at_the_same_time_share_a_commit(place: Desk) -> None:
    place.push(*SYMBOLS)
    opened = place.open()
    opened.promote_all("nepse/*", env="staging", threads=6).raise_if_failed()
    log = next(log for log in opened.audit.verify().logs if str(log.log) == "env/staging")
    assert log.head is not None
    assert log.head.size == 6
    assert log.commits < 6


def test_two_runs_at_once_leave_every_model_promoted_once(place: Desk) -> None:
    place.push(*SYMBOLS)
    batches = []
    meeting = threading.Barrier(2, timeout=60)

    def run() -> None:
        opened = place.open()
        meeting.wait()
        batches.append(opened.promote_all("nepse/*", env="staging"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [batch.failed for batch in batches] == [(), ()]
    assert place.in_use("staging") == of_all(SYMBOLS, "1")
    # Who made the very same record in the same second, finds it there, and has promoted as well.
    opened = place.open()
    assert opened.check().whole
    assert [len(opened.history(f"nepse/{name}")) for name in SYMBOLS] == [2] * 6  # published, promoted


def test_a_check_of_many_asks_for_no_passphrase(place: Desk) -> None:
    place.push(*FOUR)
    opened = place.open()
    opened._session.unlock = lambda: pytest.fail("it was unlocked")
    assert opened.check_all("nepse/*").whole


def test_a_model_stands_in_a_run_once_unless_its_versions_are_named(place: Desk) -> None:
    opened = place.open()
    file = place.write("EBL")["nepse/EBL"]
    for rows in (
        [{"name": "a", "source": file}, {"name": "a", "source": file}],
        [{"name": "a", "source": file}, {"name": "a", "source": file, "version": 3}],
        [{"name": "a", "source": file, "version": "3"}, {"name": "a", "source": file, "version": 3}],
    ):
        with pytest.raises(ValueError, match="a is there twice"):
            opened.push_all(rows)
    rows = [{"name": "a", "source": file, "version": version} for version in (7, 3)]
    assert [entry.reference for entry in opened.push_all(rows, run="x").done] == ["a:7", "a:3"]
    saved = [{"name": "b", "model": {"w": np.ones(2)}, "format": "npz", "version": n} for n in (1, 2)]
    assert [entry.state for entry in opened.save_all(saved, run="x").done] == ["done", "done"]
    with pytest.raises(ValueError, match="'source' is missing"):
        opened.push_all([{"name": "a"}])


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_number_of_threads_that_makes_no_sense_is_refused(place: Desk, threads: int) -> None:
    place.push("EBL")
    with pytest.raises(ValueError, match="threads="):
        place.open().promote_all("*", env="staging", threads=threads)
