"""What a backup holds comes back, proved by nothing but the fingerprint and a recovery identity."""

from dataclasses import replace
from pathlib import Path

import pytest

import vault
from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built
from tests.e2e.drafting_parts import SOLO, change
from tests.e2e.test_backup import at, made, run
from vault import memory
from vault.actions import drilling, restoring, restoring_recovery, restoring_version, trusting
from vault.actions.restoring import Asked, Here, Restored
from vault.core import backup_order, layout, names
from vault.errors import (
    Conflict,
    DigestMismatch,
    Malformed,
    NotFound,
    NoUsableKey,
    Refused,
    Rollback,
    Unavailable,
    Unsigned,
    UntrustedSigner,
)
from vault.settings import Settings
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore


def here(built: Built) -> Here:
    return Here(lambda: built.now, built.draws)


def with_key(built: Built) -> Asked:
    key = restoring_recovery.parse(f"{built.recovery}\n# Vault: sha256:{built.vault}\n".encode(), "it")
    return Asked(key, sample=100.0)


def backed_up() -> tuple[Built, MemoryStore]:
    built, target = made(), MemoryStore()
    run(built, target)
    return built, target


def restore(built: Built, source: MemoryStore, target: MemoryStore) -> Restored:
    return restoring.restore(source, target, built.vault, with_key(built), here(built))


# --- a whole vault ---


def test_it_comes_back_byte_for_byte_and_is_proved() -> None:
    built, source = backed_up()
    target = MemoryStore()
    found = restore(built, source, target)
    assert found.whole
    assert target.objects == dict(built.store.objects)
    assert found.opened is not None
    assert (found.opened.environments, found.opened.versions) == (("dev", "prod"), 3)
    assert found.examined.channels == 1
    assert outcome(at(target, built), "churn@prod") == {"model.json": b'{"w":[1]}'}


def test_it_goes_into_empty_places_only() -> None:
    built, source = backed_up()
    for objects in ({"notes": b"mine"}, dict(source.objects), dict(built.store.objects)):
        with pytest.raises(Conflict):
            restore(built, source, MemoryStore(objects))
    with pytest.raises(NotFound):
        restore(built, MemoryStore(), MemoryStore())


def test_nothing_is_believed_without_a_fingerprint(tmp_path: Path) -> None:
    built, source = backed_up()
    settings = Settings(config_dir=tmp_path)
    with pytest.raises(Refused) as caught:
        restoring.pin_of(source, settings, None, None)
    assert caught.value.code == "not-trusted"
    assert "--root" in caught.value.hint
    assert restoring.pin_of(source, settings, built.vault, None) == built.vault
    assert restoring.pin_of(source, settings, None, with_key(built).recovery) == built.vault
    memory.Pins(tmp_path).add("elsewhere", built.vault, now=0)
    assert restoring.pin_of(source, settings, None, None) == built.vault
    with pytest.raises(Refused, match="another vault"):
        restoring.pin_of(source, settings, names.digest("0" * 64), None)


@pytest.mark.parametrize("text", ["", "AGE-SECRET-KEY-1\nAGE-SECRET-KEY-1", "hello"])
def test_a_file_that_is_no_recovery_identity_is_refused(text: str) -> None:
    with pytest.raises((NoUsableKey, Malformed)):
        restoring_recovery.parse(text.encode(), "it")


def test_another_vaults_recovery_identity_opens_nothing() -> None:
    built, source = backed_up()
    from vault.keys import recipients

    other = recipients.generate_identity("x25519", built.draws)
    asked = Asked(restoring_recovery.RecoveryKey(other, None), sample=100.0)
    found = restoring.restore(source, MemoryStore(), built.vault, asked, here(built))
    assert not found.whole
    assert [entry.code for entry in found.findings] == ["no-usable-key"]


def test_a_key_that_a_stranger_wrapped_for_the_recovery_identity_hides_none() -> None:
    from vault.actions import keyring
    from vault.keys import recipients

    built, source = backed_up()
    key = with_key(built).recovery
    assert key is not None
    other = recipients.generate_identity("x25519", built.draws)
    for _ in range(3):
        to = key.identity.recipient()
        keyring.wrap_environment_key(
            source, other, names.environment("dev"), 1, layout.RECOVERY, to, built.draws
        )
    assert restore(built, source, MemoryStore()).whole


def damaged(source: MemoryStore, part: str) -> str:
    name = next(name for name in sorted(source.objects) if part in name)
    data = source.objects[name]
    source.objects[name] = data[:-1] + bytes([data[-1] ^ 1])
    return name


@pytest.mark.parametrize("part", ["models/churn/@/1/files/", "models/nepse/NABIL/@/1/files/"])
def test_a_payload_that_was_damaged_in_the_backup_is_told_and_not_restored(part: str) -> None:
    built, source = backed_up()
    name = damaged(source, part)
    target = MemoryStore()
    found = restore(built, source, target)
    assert not found.whole
    assert name not in target.objects
    assert name in {entry.subject for entry in found.findings}
    assert check(at(target, built)).whole


@pytest.mark.parametrize(
    "part", ["models/churn/@/1/manifest.json", "channels/prod", "keys/prod/all/1/recovery"]
)
def test_whatever_was_damaged_in_the_backup_is_told(part: str) -> None:
    built, source = backed_up()
    name = damaged(source, part)
    found = restore(built, source, MemoryStore())
    told = " ".join(f"{entry.subject} {entry.message}" for entry in found.findings)
    assert (not found.whole) or "churn:1" in told or "churn@prod record 1" in told, name


def test_a_poisoned_root_or_policy_stops_everything() -> None:
    built, source = backed_up()
    for name in (layout.root(1), layout.policy(1)):
        poisoned = MemoryStore({**source.objects, name: b'{"payload":""}'})
        with pytest.raises((Refused, NotFound)):
            restore(built, poisoned, MemoryStore())


def test_garbage_beside_is_restored_as_it_is_and_harms_nothing() -> None:
    built, source = backed_up()
    source.objects |= {
        "models/churn/@/1/sealed/000009.json": b"x",
        "stray": b"y",
        "channels/prod/main/churn/@/9": b"",
    }
    found = restore(built, source, MemoryStore())
    assert found.whole


def test_a_place_without_room_is_refused_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, source = backed_up()
    target = LocalStore(tmp_path / "models")
    monkeypatch.setattr(LocalStore, "free_space", lambda _: 1_000)
    with pytest.raises(Unavailable) as caught:
        restoring.restore(source, target, built.vault, Asked(), here(built))
    assert caught.value.code == "storage-full"
    assert "--check" in caught.value.hint, "--into is not for a restore"


def test_records_that_the_logs_tell_of_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    opened = vault.init(tmp_path / "models", no_passphrase=True)
    (tmp_path / "model.json").write_bytes(b"[1]")
    for _ in range(2):
        opened.promote(opened.push("churn", tmp_path / "model.json"), env="prod")
    assert opened.backup(tmp_path / "copies").receipt == 1
    assert opened.verify_backup(tmp_path / "copies", receipt=False).whole
    last = tmp_path / "copies" / "channels/prod/main/churn/@/000002.json"
    kept = last.read_bytes()
    for content in (None, b"{}", last.with_name("000001.json").read_bytes()):
        last.unlink(missing_ok=True)
        if content is not None:
            last.write_bytes(content)
        found = vault.restore(tmp_path / "copies", tmp_path / f"out {content is None} {len(content or b'')}")
        assert not found.whole
        assert [(entry.subject, entry.code) for entry in found.findings if entry.level == "bad"] == [
            ("churn@prod", "rollback")
        ]
    last.write_bytes(kept)
    commit = sorted((tmp_path / "copies" / "log/env/prod/commit").iterdir())[-1]
    commit.unlink()
    found = vault.restore(tmp_path / "copies", tmp_path / "cut")
    assert "log-inconsistent" in {entry.code for entry in found.findings if entry.level == "bad"}


# --- an older backup, and clients that have seen more ---


def test_an_older_backup_is_a_rollback_until_the_root_begins_an_era(tmp_path: Path) -> None:
    built, source = backed_up()
    built.promote(built.publish({"model.json": b'{"w":[3]}'}))
    assert built.read("churn@prod", env="prod") == {"model.json": b'{"w":[3]}'}
    target = MemoryStore()
    assert restore(built, source, target).whole
    after = built.fork()
    after.store = target
    with pytest.raises(Rollback):
        after.read("churn@prod", env="prod")
    change(after, tmp_path, SOLO, new_era=True)
    assert after.read("churn@prod", env="prod") == {"model.json": b'{"w":[1]}'}
    after.promote(after.publish({"model.json": b'{"w":[4]}'}))
    assert after.read("churn@prod", env="prod") == {"model.json": b'{"w":[4]}'}


def test_what_this_machine_has_seen_and_the_backup_lacks_is_told(tmp_path: Path) -> None:
    built, source = backed_up()
    settings = Settings(config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    target = MemoryStore()
    restore(built, source, target)
    assert restoring.behind(target, built.vault, settings, here(built)) == ""
    known = memory.ClientMemory(built.vault, settings.state_dir)
    session = replace(built.session(env="prod"), memory=known)
    built.promote(built.publish({"model.json": b'{"w":[3]}'}))
    from vault.actions import resolving

    resolving.find(session, names.reference("churn@prod"), "load")
    assert "churn" in restoring.behind(target, built.vault, settings, here(built))


# --- a drill ---


def test_a_drill_leaves_nothing_behind_and_is_reported(tmp_path: Path) -> None:
    built, source = backed_up()
    held = drilling.drill(source, tmp_path, built.vault, with_key(built), here(built), built.owner)
    assert held.report.outcome == "passed"
    assert held.restored.location is None
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "report.json"
    assert drilling.keep(held, path).path == path
    with pytest.raises(Conflict):
        drilling.keep(held, path)
    checked = drilling.check(built.session(), path)
    assert checked.report == held.report
    assert checked.signers == ("owner",)
    assert checked.report.opened is not None
    assert checked.report.opened.versions == 3


def test_a_drill_of_a_damaged_backup_fails_and_says_so(tmp_path: Path) -> None:
    built, source = backed_up()
    damaged(source, "models/churn/@/1/files/")
    held = drilling.drill(source, tmp_path, built.vault, with_key(built), here(built), None)
    assert held.report.outcome == "failed"
    assert held.report.failures


def test_a_report_counts_by_its_signature_and_vault(tmp_path: Path) -> None:
    built, source = backed_up()
    path = tmp_path / "report.json"
    drilling.keep(drilling.drill(source, tmp_path, built.vault, Asked(), here(built), None), path)
    with pytest.raises(Unsigned):
        drilling.check(built.session(), path)
    from tests.builders import new_identity, solo

    stranger = new_identity("mallory")
    other = tmp_path / "other.json"
    drilling.keep(drilling.drill(source, tmp_path, built.vault, Asked(), here(built), stranger), other)
    with pytest.raises(UntrustedSigner):
        drilling.check(built.session(), other)
    mine = tmp_path / "mine.json"
    drilling.keep(drilling.drill(source, tmp_path, built.vault, Asked(), here(built), built.owner), mine)
    again = solo(seed="another")
    again.identities["owner"] = built.owner
    with pytest.raises((DigestMismatch, UntrustedSigner)):
        drilling.check(again.session(), mine)
    with pytest.raises(NotFound):
        drilling.check(built.session(), tmp_path / "nothing")


def test_models_are_loaded_in_fresh_environments_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fresh environment is, tests/e2e of load tests tell; here it answers as they would."""
    from vault.actions import load_testing

    asked: list[object] = []

    class Done:
        passed, rows, detail = True, 7, "it differs"

    def unsigned(session: object, verified: object, options: load_testing.Options) -> Done:
        asked.append(options)
        return Done()

    monkeypatch.setattr(load_testing, "unsigned", unsigned)
    monkeypatch.setattr(restoring_recovery, "model_of", lambda *_: ["a model"])
    built, source = backed_up()
    fresh = restoring_recovery.Fresh(tmp_path)
    trying = replace(with_key(built), fresh=fresh)
    found = restoring.restore(source, MemoryStore(), built.vault, trying, here(built))
    assert found.opened is not None
    assert (found.whole, found.opened.loaded, found.opened.rows) == (True, 3, 21)
    assert [getattr(options, "wheels", None) for options in asked] == [tmp_path] * 3
    assert not any(getattr(options, "record", True) for options in asked)
    Done.passed = False
    found = restoring.restore(source, MemoryStore(), built.vault, trying, here(built))
    assert {entry.code for entry in found.findings} == {"digest-mismatch"}


# --- one version ---


def mend(
    built: Built, source: MemoryStore, monkeypatch: pytest.MonkeyPatch, ref: str = "churn:1"
) -> restoring_version.Mended:
    monkeypatch.setattr(restoring_version, "open_store", lambda _: source)
    return restoring_version.restore(built.session(), names.reference(ref), None, dry_run=False)


@pytest.mark.parametrize("part", ["files/", "keys/", "sealed/", "manifest.json"])
@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_what_one_version_lost_comes_back_and_what_is_damaged_is_kept_aside(
    part: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, source = backed_up()
    before = dict(built.store.objects)
    touched = [name for name in before if name.startswith(f"models/churn/@/1/{part}")]
    for name in touched:
        if how == "lost":
            del built.store.objects[name]
        else:
            built.store.objects[name] = before[name][:-1] + bytes([before[name][-1] ^ 1])
    spoilt = {name: built.store.objects.get(name) for name in touched}
    done = mend(built, source, monkeypatch)
    assert sorted(done.restored) == sorted(touched)
    assert {name: built.store.objects[name] for name in before} == before
    if how == "damaged":
        assert {name: built.store.objects[kept] for name, kept in done.aside.items()} == spoilt
    assert outcome(at(built.store, built), "churn:1") == {"model.json": b'{"w":[1]}'}
    assert mend(built, source, monkeypatch).restored == []


def test_nothing_is_replaced_by_what_the_backup_has_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    built, source = backed_up()
    name = damaged(source, "models/churn/@/1/files/")
    del built.store.objects[name]
    with pytest.raises(Refused):
        mend(built, source, monkeypatch)
    assert name not in built.store.objects
    damaged(source, "models/churn/@/1/manifest.json")
    with pytest.raises(Refused):
        mend(built, source, monkeypatch)


def test_a_dry_run_says_what_would_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    built, source = backed_up()
    name = damaged(built.store, "models/churn/@/1/files/")
    objects = dict(built.store.objects)
    monkeypatch.setattr(restoring_version, "open_store", lambda _: source)
    done = restoring_version.restore(built.session(), names.reference("churn:1"), None, dry_run=True)
    assert done.restored == [name]
    assert dict(built.store.objects) == objects


def test_without_a_receipt_the_backup_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    built, source = made(), MemoryStore()
    run(built, source, who=None)
    with pytest.raises(NotFound, match="No receipt"):
        mend(built, source, monkeypatch)
    with pytest.raises(ValueError, match="Say which version"):
        mend(built, source, monkeypatch, "churn")


def test_marks_of_backups_are_not_restored() -> None:
    built, source = backed_up()
    target = MemoryStore()
    restore(built, source, target)
    assert not {backup_order.MARKER, backup_order.RESTORING} & target.objects.keys()
    assert trusting.fingerprint(target) == built.vault
