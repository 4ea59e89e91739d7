"""Archive: old payloads move away, verified at both places, and come back; nothing that is used moves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import Built
from tests.e2e.archive_parts import (
    DAY,
    content,
    move,
    opened,
    payloads,
    pulled,
    three,
    verified,
)
from vault.actions import archived, archiving, resolving, retrieving
from vault.actions.archiving import ALREADY, ARCHIVED, FAILED, KEPT, PLANNED
from vault.core import archives, envelope, layout
from vault.core.names import Model, Version
from vault.errors import AccessDenied, Conflict, DigestMismatch, NotFound, Refused, Unavailable
from vault.storage.local import LocalStore
from vault.storage.memory import MemorySource, MemoryStore

CHURN, ONE = Model("churn"), Version("1")


@pytest.fixture
def built() -> Built:
    return three()


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    return tmp_path / "cold"


def test_payloads_move_and_metadata_and_records_stay(built: Built, cold: Path) -> None:
    names_of = payloads(built, "churn:1")
    before = dict(built.store.objects)
    (row,) = opened(built).archive("churn:1", to=str(cold))
    assert (row.reference, row.state, row.where, row.files) == ("churn:1", ARCHIVED, str(cold), 3)
    assert row.size == sum(len(before[name]) for name in names_of)
    assert not any(name in built.store.objects for name in names_of)
    there = LocalStore(cold)
    assert all(there.read(name, limit=1 << 30) == before[name] for name in names_of), "ciphertext as it is"
    gone = set(before) - set(built.store.objects)
    assert gone == set(names_of), "nothing else was removed"
    assert opened(built).show("churn:1").metadata is not None, "what it is can still be seen"


def test_a_load_and_a_pull_of_an_archived_version_say_what_they_take(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    for read in (
        lambda: vault.load_model("churn:1"),
        lambda: vault.load_package("churn:1").read("data.bin"),
        lambda: vault.pull("churn:1", cold.parent / "out"),
    ):
        with pytest.raises(Unavailable) as caught:
            read()
        assert caught.value.code == "archived"
        assert caught.value.exit_status == 7
        for part in (str(cold), "churn:1 is archived", "owner", "bytes"):
            assert part in caught.value.message
        assert "mvault archive --back churn:1" in caught.value.hint
        assert "--wait" in caught.value.hint
    assert not (cold.parent / "out").exists() or not any((cold.parent / "out").iterdir())


@pytest.mark.parametrize("how", ["wait", "request"])
def test_a_pull_reads_from_the_archive_when_it_is_told_to(built: Built, cold: Path, how: str) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    out = vault.pull("churn:1", cold.parent / "out", wait=how == "wait", request=how == "request")
    assert pulled(out) == content(1)
    assert not any(name in built.store.objects for name in payloads(built, "churn:1")), "nothing came back"
    assert pulled(vault.pull("churn:2", cold.parent / "two", wait=True)) == content(2), "of any version"


def test_a_pull_from_an_archive_believes_nothing_that_lies_there(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    for name in payloads(built, "churn:1"):
        data = bytearray((cold / name).read_bytes())
        data[len(data) // 2] ^= 1
        (cold / name).chmod(0o600)
        (cold / name).write_bytes(data)
    with pytest.raises(DigestMismatch):
        vault.pull("churn:1", cold.parent / "out", wait=True)
    assert not (cold.parent / "out").exists() or not any((cold.parent / "out").iterdir())
    with pytest.raises(DigestMismatch):
        vault.unarchive("churn:1")
    assert not any(name in built.store.objects for name in payloads(built, "churn:1"))


def test_an_archived_version_is_brought_back_verified_and_signed(built: Built, cold: Path) -> None:
    vault = opened(built)
    before = dict(built.store.objects)
    vault.archive("churn:1", to=str(cold))
    row = vault.unarchive("churn:1")
    assert (row.state, row.where) == (retrieving.RETURNED, str(cold))
    assert {name: built.store.objects[name] for name in before} == before
    assert built.read("churn:1") == content(1)
    session = built.session()
    record = archived.in_force(session, verified(session, "churn:1"))
    assert record is not None
    assert (record.record.state, record.record.number) == (archives.RETURNED, 2)
    assert vault.unarchive("churn:1").state == retrieving.HERE, "again changes nothing"
    del built.store.objects[payloads(built, "churn:1")[0]]
    with pytest.raises(NotFound, match="gone"):
        vault.unarchive("churn:1")
    report = vault.check("churn:1")
    assert not report.whole, "what was brought back and is missing now was not archived"


def test_a_version_can_be_archived_again_after_it_came_back(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    vault.unarchive("churn:1")
    assert vault.archive("churn:1", to=str(cold))[0].state == ARCHIVED
    session = built.session()
    record = archived.in_force(session, verified(session, "churn:1"))
    assert record is not None
    assert (record.record.state, record.record.number) == (archives.ARCHIVED, 3)


def test_archiving_again_changes_nothing_and_elsewhere_is_refused(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    objects = dict(built.store.objects)
    assert vault.archive("churn:1", to=str(cold))[0].state == ALREADY
    (row,) = vault.archive("churn:1", to=str(cold.parent / "other"))
    assert row.state == KEPT
    assert str(cold) in row.reason
    assert built.store.objects == objects


# What is never archived.


def test_what_a_channel_names_and_the_newest_version_are_never_archived(built: Built, cold: Path) -> None:
    vault = opened(built)
    for reference, why in (("churn:2", "in use in prod"), ("churn:3", "the newest version")):
        with pytest.raises(Conflict, match=why):
            vault.archive(reference, to=str(cold))
    rows = vault.archive("churn", to=str(cold), keep_last=0)
    assert {row.reference: (row.state, row.reason) for row in rows} == {
        "churn:1": (ARCHIVED, ""),
        "churn:2": (KEPT, "in use in prod"),
        "churn:3": (KEPT, "the newest version"),
    }
    assert built.read("churn@prod") == content(2)


def test_slots_count_and_what_was_withdrawn_does_not(built: Built, cold: Path) -> None:
    built.promote("churn:1", slot="b")
    vault = opened(built)
    with pytest.raises(Conflict, match="in use in prod/b"):
        vault.archive("churn:1", to=str(cold))
    vault.withdraw("churn:1", env="prod")
    assert vault.archive("churn:1", to=str(cold))[0].state == ARCHIVED


def test_a_channel_that_does_not_verify_keeps_everything_that_it_ever_named(
    built: Built, cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever made it so: in doubt nothing moves."""

    def refused(*_: object) -> None:
        raise Refused("altered", code="bad-signature")

    built.promote("churn:1")
    built.promote("churn:2")
    monkeypatch.setattr(resolving, "channel", refused)
    with pytest.raises(Conflict, match="in use in prod"):
        opened(built).archive("churn:1", to=str(cold))


def test_a_version_that_comes_into_use_meanwhile_stays_here(built: Built) -> None:
    """Promoted by somebody else while its payloads are copied."""

    class Racing(MemoryStore):
        raced = False

        @contextmanager
        def open(self, name: str) -> Iterator[MemorySource]:
            if not self.raced:
                self.raced = True
                built.promote("churn:1", slot="b")
            with super().open(name) as source:
                yield source

    row = move(built.session(), Racing())
    assert row.state == KEPT
    assert "in use in prod/b" in row.reason
    assert built.read("churn@prod/b") == content(1)


def test_an_archived_version_is_not_promoted_before_it_is_back(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    with pytest.raises(Unavailable) as caught:
        vault.promote("churn:1", env="prod")
    assert caught.value.code == "archived"
    assert built.read("churn@prod") == content(2)
    vault.unarchive("churn:1")
    vault.promote("churn:1", env="prod")
    assert built.read("churn@prod") == content(1)


# Rules.


def test_rules_choose_by_number_and_age(built: Built, cold: Path) -> None:
    built.promote("churn:3")
    vault = opened(built)
    planned = vault.archive("churn", to=str(cold), keep_last=1, older_than="150d", dry_run=True)
    assert [(row.reference, row.state) for row in planned] == [("churn:2", PLANNED), ("churn:1", PLANNED)]
    assert vault.archive("churn", to=str(cold), older_than="250d", dry_run=True)[0].reference == "churn:1"
    assert vault.archive("churn", to=str(cold), keep_last=2, dry_run=True)[0].reference == "churn:1"
    assert list(vault.archive("churn", to=str(cold), older_than="2y", dry_run=True)) == []
    assert not cold.exists(), "a plan writes nothing"
    built.now += 3 * 365 * DAY
    assert len(opened(built).archive("churn", to=str(cold), older_than="2y", dry_run=True)) == 3


def test_a_pattern_takes_models_and_one_failure_stops_no_other(built: Built, cold: Path) -> None:
    for model in ("nepse/NABIL", "nepse/NICA", "other"):
        for number in (1, 2):
            built.publish(content(number), model=model)
    broken = next(name for name in payloads(built, "nepse/NABIL:1"))
    built.write(broken, b"x" * len(built.store.objects[broken]))
    rows = {row.reference: row for row in opened(built).archive("nepse/*", to=str(cold), keep_last=1)}
    assert set(rows) == {"nepse/NABIL:1", "nepse/NICA:1"}
    assert (rows["nepse/NABIL:1"].state, rows["nepse/NABIL:1"].code) == (FAILED, "digest-mismatch")
    assert rows["nepse/NICA:1"].state == ARCHIVED
    assert archiving.failures(list(rows.values())) == [rows["nepse/NABIL:1"]]
    assert broken in built.store.objects, "what does not verify is not removed"
    with pytest.raises(NotFound):
        opened(built).archive("none/*", to=str(cold), keep_last=1)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("churn", {}),
        ("churn@prod", {"keep_last": 1}),
        ("churn:1", {"keep_last": 1}),
        ("churn", {"keep_last": -1}),
        ("churn", {"older_than": "soon"}),
        ("no such name!", {"keep_last": 1}),
        ("churn:1", {"to": None}),
        ("churn:1", {"storage_class": "GLACIER"}),
        ("churn:1", {"to": None, "storage_class": "GLACIER"}),
        ("churn:1", {"to": None, "storage_class": "SLOW"}),
    ],
)
def test_a_mistake_of_the_caller_s_is_a_value_error(
    built: Built, cold: Path, what: str, options: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        opened(built).archive(what, **{"to": str(cold), **options})  # type: ignore[arg-type]


def test_nobody_archives_into_a_vault(built: Built, tmp_path: Path) -> None:
    there = LocalStore(tmp_path)
    with there.create(layout.root(1)) as sink:
        sink.write(b"x")
    with pytest.raises(ValueError, match="holds a vault"):
        opened(built).archive("churn:1", to=str(tmp_path))


# Who may.


def test_only_who_may_archive_a_model_does(built: Built, cold: Path) -> None:
    built.add("zoe", "loader")
    with pytest.raises(AccessDenied):
        opened(built, "zoe").archive("churn:1", to=str(cold))
    with pytest.raises(AccessDenied):
        opened(built, "zoe").archive("churn", to=str(cold), keep_last=1)
    opened(built).archive("churn:1", to=str(cold))
    with pytest.raises(AccessDenied):
        opened(built, "zoe").unarchive("churn:1")


def test_a_stranger_s_records_say_nothing_and_check_tells_of_them(built: Built) -> None:
    """Whoever writes to the store cannot pass off a deletion as an archive."""
    session = built.session()
    found = verified(session, "churn:1")
    folder = layout.archives(CHURN, ONE)
    stranger = built.add("zoe", "loader")
    assert stranger.name == "zoe"
    record = archiving.value(
        session, found, None, archives.ARCHIVED, (archives.STORE, "/elsewhere"), (b"\1" * 16,), 1
    )
    built.write(folder + "000001.json", built.sign(archives.KIND, archives.encode(record), "zoe"))
    built.write(folder + "000002.json", b"garbage")
    built.write(folder + "000003.json", built.sign(archives.KIND, archives.encode(record), "owner"))
    assert archived.in_force(session, found) is None
    gone = payloads(built, "churn:1")[0]
    held = built.store.objects.pop(gone)
    report = opened(built).check("churn:1")
    assert {entry.level for entry in report.findings if "archive record" in entry.subject} == {"skipped"}
    assert len([entry for entry in report.findings if "archive record" in entry.subject]) == 3
    assert not report.whole
    with pytest.raises(NotFound):
        opened(built).load_package("churn:1").read("data.bin")
    built.write(gone, held)
    row = move(built.session(), MemoryStore())
    assert row.state == ARCHIVED
    assert folder + "000004.json" in built.store.objects, "above what lies there"


def test_check_tells_of_an_archived_version_and_finds_nothing_missing(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    for data in (False, True):
        report = vault.check("churn:1", data=data)
        assert report.whole
        (told,) = [entry for entry in report.findings if entry.subject == "churn:1"]
        assert told.level == "ok"
        assert str(cold) in told.message
    assert vault.check().whole


def test_the_archive_is_logged_with_who_when_and_where(built: Built, cold: Path) -> None:
    row = move(built.session(), LocalStore(cold))
    session = built.session()
    found = archived.in_force(session, verified(session, "churn:1"))
    assert found is not None
    assert found.signers == ("owner",)
    assert found.record.where == row.where == str(cold)
    assert found.record.created == built.time
    data = built.store.objects[layout.archives(CHURN, ONE) + "000001.json"]
    assert envelope.parse(data, kind=archives.KIND, subject="it").digest == found.digest
    assert json.loads(envelope.parse(data, kind=archives.KIND, subject="it").payload)["state"] == "archived"


def test_a_deep_rotation_leaves_what_is_archived_and_says_so(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    done = vault.rotate_access("dev", deep=True)
    problems = [problem for problem in done.problems if "churn:1" in problem.name]
    assert [problem.code for problem in problems] == ["archived"]
    assert built.read("churn:3") == content(3)
    vault.unarchive("churn:1")
