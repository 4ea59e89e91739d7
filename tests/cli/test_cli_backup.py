"""mvault backup, restore, recovery and identity backup, as they are typed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.typing_user import User


@pytest.fixture
def kept(owner: User) -> User:
    """Give the owner of a vault that was backed up to `nas`."""
    assert owner.run("backup", "nas").status == 0
    return owner


def recovery_file(user: User) -> Path:
    (found,) = user.home.rglob("recovery-*.txt")
    return found


def test_a_backup_is_told_in_one_line_and_as_json(owner: User) -> None:
    first = owner.run("backup", "nas", "--name", "nightly", "--limit", "100MiB/s", "--limit-requests", "9000")
    assert first.status == 0
    assert "Receipt 1 of nightly is signed." in first.err
    again = json.loads(owner.run("backup", "nas", "--name", "nightly", "--json").out)
    assert (again["copied"], again["whole"], again["receipt"]) == (0, True, 2)
    assert set(again) == {
        *("name", "destination", "objects", "bytes", "copied", "copied_bytes", "pruned", "versions"),
        *("verified_bytes", "receipt", "no_receipt", "dry_run", "whole", "findings"),
    }
    plain = owner.run("backup", "nas", "--no-receipt", "-q")
    assert plain.out == f"0 0 {again['versions']}\n"
    dry = owner.run("backup", "elsewhere", "--dry-run", "--prune")
    assert "Would copy" in dry.err
    assert not (owner.folder / "elsewhere").exists()


def test_a_backup_is_verified_whole_or_in_part(kept: User) -> None:
    assert "verified version" in kept.run("backup", "verify", "nas").err
    part = json.loads(kept.run("backup", "verify", "nas", "--sample", "5%", "--json").out)
    assert (part["whole"], part["receipt"]) == (True, None)
    assert kept.run("backup", "verify", "nowhere").status == 6
    next((kept.folder / "nas").rglob("files/*")).write_bytes(b"damaged")
    answer = kept.run("backup", "verify", "nas")
    assert answer.status == 3
    assert "Warning: churn:1: " in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "nas", "--limit", "fast"),
        ("backup", "nas", "--limit", "0"),
        ("backup", "nas", "--name", "My Backup"),
        ("backup", "verify", "nas", "--sample", "0"),
        ("backup", "models"),
        ("restore",),
        ("restore", "a", "b", "c"),
        ("restore", "--check"),
        ("restore", "churn"),
        ("restore", "--check", "nas", "--root", "sha256:1"),
    ],
)
def test_mistakes_are_told_as_such(arguments: tuple[str, ...], owner: User) -> None:
    assert owner.run(*arguments).status == 2


def test_a_destination_that_holds_something_else_is_left(owner: User) -> None:
    (owner.folder / "nas").mkdir()
    (owner.folder / "nas" / "notes.txt").write_text("mine")
    answer = owner.run("backup", "nas")
    assert answer.status == 9
    assert [path.name for path in (owner.folder / "nas").iterdir()] == ["notes.txt"]


def test_a_vault_is_tried_and_restored(kept: User) -> None:
    key = str(recovery_file(kept))
    tried = json.loads(kept.run("restore", "--check", "nas", "--recovery", key, "--json").out)
    assert tried["whole"]
    assert tried["location"] is None
    assert tried["opened"]["versions"] == 1
    assert "report" not in tried
    held = json.loads(
        kept.run("restore", "--drill", "nas", "--recovery", key, "--report", "r.json", "--json").out
    )
    assert (held["report"]["outcome"], held["report"]["path"]) == ("passed", "r.json")
    checked = json.loads(kept.run("restore", "--check-report", "r.json", "--json").out)
    assert (checked["outcome"], checked["failed"]) == ("passed", 0)
    assert kept.run("restore", "--drill", "nas", "--report", "r.json").status == 9
    done = kept.run("restore", "nas", "again")
    assert done.status == 0
    assert "policy draft in-force --new-era" in done.err
    assert kept.run("--vault", "again", "check").status == 0
    assert kept.run("restore", "nas", "again").status == 9


def test_a_damaged_backup_is_told_when_it_is_tried(kept: User) -> None:
    next((kept.folder / "nas").rglob("files/*")).write_bytes(b"damaged")
    answer = kept.run("restore", "--check", "nas")
    assert answer.status == 3
    assert "did NOT come back whole" in answer.err
    assert kept.run("restore", "--drill", "nas", "--report", "r.json").status == 3
    assert kept.run("restore", "--check-report", "r.json").status == 3


def test_a_backup_that_was_interrupted_does_not_pass_for_all_there_is(kept: User) -> None:
    files = kept.folder / "nas" / "models" / "churn" / "@" / "1" / "files"
    shutil.copytree(files, files.parents[1] / "9" / "files")
    for words in (("backup", "verify", "nas"), ("restore", "--check", "nas")):
        told = kept.run(*words)
        assert told.status == 0, "it may as well be somebody's publication that was"
        assert "1 more have files there and no manifest" in told.err
        assert [entry["level"] for entry in kept.run(*words, "--json").json["findings"]] == ["note"]


def test_one_version_comes_back(kept: User) -> None:
    assert "Nothing of churn:1 is missing" in kept.run("restore", "churn:1").err
    files = kept.folder / "models" / "models" / "churn" / "@" / "1" / "files"
    shutil.rmtree(files)
    dry = json.loads(kept.run("restore", "churn:1", "--dry-run", "--json").out)
    assert dry["restored"]
    assert not files.exists()
    done = kept.run("restore", "churn:1", "--from", "nas")
    assert done.status == 0
    assert "Brought back" in done.err
    assert kept.run("check", "--data").status == 0
    next(files.iterdir()).write_bytes(b"damaged")
    done = kept.run("restore", "churn:1")
    assert "kept below damaged/" in done.err
    assert kept.run("check", "--data").status == 0


def test_keys_go_to_paper_and_back(owner: User) -> None:
    sheet = owner.run("recovery", "print")
    assert sheet.out.startswith("MVAULT KEY SHEET 1\n")
    assert json.loads(owner.run("recovery", "print", "--json").out)["kind"] == "recovery identity"
    owner.write("typed.txt", sheet.out.lower().encode())
    assert owner.run("recovery", "read", "typed.txt", "-o", "key.txt").status == 0
    line = next(line for line in recovery_file(owner).read_text().splitlines() if line.startswith("AGE"))
    assert line in (owner.folder / "key.txt").read_text()
    assert (owner.folder / "key.txt").stat().st_mode & 0o777 == 0o600
    assert owner.run("recovery", "read", "typed.txt", "-o", "key.txt").status == 9
    number = sheet.out.index("  1  AGE-SE") + len("  1  AGE-")
    owner.write("wrong.txt", f"{sheet.out[:number]}X{sheet.out[number + 1 :]}".encode())
    wrong = owner.run("recovery", "read", "wrong.txt", "-o", "other.txt")
    assert wrong.status == 3
    assert "line 1 does not fit its check" in wrong.err
    owner.write("identity.txt", owner.run("identity", "backup").out.encode())
    assert owner.run("recovery", "read", "identity.txt", "-o", "mine.json").status == 0
    (identity,) = owner.home.rglob("identity.json")
    assert (owner.folder / "mine.json").read_bytes() == identity.read_bytes()
    assert owner.run("recovery", "read", "nothing", "-o", "x").status == 6


def test_a_recovery_key_is_printed_of_its_own_vault_only(owner: User) -> None:
    path = recovery_file(owner)
    text = path.read_text()
    assert text.rstrip().rpartition("\n")[2].startswith("# Vault: sha256:")
    owner.write("other.txt", (text.rpartition("# Vault")[0] + f"# Vault: sha256:{'0' * 64}\n").encode())
    assert owner.run("recovery", "print", "other.txt").status == 9
    path.unlink()
    answer = owner.run("recovery", "print")
    assert answer.status == 6
    assert "mvault recovery print FILE" in answer.err


def test_reminders_end_when_somebody_says_that_the_keys_are_kept(owner: User) -> None:
    before = owner.run("doctor")
    assert "recovery confirm" in before.err + before.out
    status = json.loads(owner.run("recovery", "status", "--json").out)
    assert status == {"confirmed": None, "drill": None, "outcome": None}
    assert owner.run("recovery", "confirm").status == 0
    after = owner.run("doctor")
    assert "recovery confirm" not in after.err + after.out
    assert json.loads(owner.run("recovery", "status", "--json").out)["confirmed"] is not None


def test_a_push_at_a_terminal_reminds_once(owner: User) -> None:
    owner.write("again.json", b"[2]")
    told = [owner.type("push", "churn", "again.json").out for _ in range(2)]
    assert "recovery confirm" in told[0]
    assert "recovery confirm" not in told[1]


def test_the_doctor_tells_of_backups_and_drills(owner: User) -> None:
    def found() -> dict[str, tuple[str, str]]:
        rows = json.loads(owner.run("doctor", "--json").out)["findings"]
        return {row["subject"]: (row["level"], row["message"]) for row in rows}

    assert found()["backup"][0] == "warning"
    owner.run("backup", "nas")
    assert found()["backup"][0] == "ok"
    assert found()["drill"] == ("warning", "no recovery drill was ever held on this machine")
    owner.run("restore", "--drill", "nas")
    assert found()["drill"][0] == "ok"


def test_an_era_is_drafted_from_the_policy_in_force(kept: User) -> None:
    owner = kept
    owner.write("again.json", b"[2]")
    owner.run("push", "churn", "again.json")
    owner.run("promote", "churn:2", "--env", "prod")
    (owner.folder / "models").rename(owner.folder / "lost")
    restored = owner.run("restore", "nas", "models")
    assert "This machine has seen more" in restored.err
    assert owner.run("pull", "churn@prod", "out").status == 3
    for words in (
        ("draft", "in-force", "--new-era", "-o", "era.json"),
        ("sign", "era.json"),
        ("apply", "era.json"),
    ):
        assert owner.run("policy", *words).status == 0, words
    assert owner.run("pull", "churn@prod", "out").status == 0
