"""Whoever can write to a loader's cache gets nothing loaded that the vault's people did not sign.

What lies in a cache passes the same checks as what lies in a store. What does not hold is refused, once,
with the cache named; it is taken out, so that the next load has it from the store. What is
merely damaged is fetched again, and what is new in the store is never hidden by what is old in the cache.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests import builders
from tests.builders import CHURN, MAIN, PROD, Built
from tests.trips import FarStore
from vault.actions import loading, pulling
from vault.actions.session import Session
from vault.core import layout, limits, names
from vault.core.names import Version
from vault.errors import AccessDenied, NotFound, Refused, Rollback
from vault.storage.ahead import AheadStore
from vault.storage.cached import HEADER, FolderCache

REFERENCE = names.reference("churn@prod")
MODEL = b'{"weights":[1,2,3]}'
LARGE = b'{"a":"' + b"x" * (4 * limits.MIB) + b'"}'  # larger than what is fetched ahead
FILES = {"model.json": MODEL, "features.json": b'["age","income"]', "large.json": LARGE}


@cache
def _scene() -> Built:
    built = builders.team(seed="cache")
    for _ in range(2):
        ref = built.publish(FILES, who="dora")
        for who in ("ann", "bob"):
            built.approve(ref, who)
        built.promote(ref, who="rex")
    return built


@pytest.fixture
def built() -> Built:
    return _scene().fork(forgetful=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(built: Built, folder: Path) -> FolderCache:
    return FolderCache(folder, built.vault, built.store.location)


def client(built: Built, folder: Path | None, *, who: str = "server", far: bool = True) -> Session:
    """Start a process anew: it remembers nothing, and has the cache if there is one."""
    inner = FarStore(built.store) if far else built.store
    store = AheadStore(inner, None if folder is None else kept(built, folder))
    return built.fork(forgetful=True).session(who, env="prod", store=store)


def read(session: Session) -> tuple[str, dict[str, bytes]]:
    package = loading.load_package(session, REFERENCE, {})
    found = package.reference, {path: package.read(path) for path in FILES}
    assert isinstance(session.store, AheadStore)
    if session.store.cache is not None:
        session.store.cache.settle()
    return found


def fill(built: Built, folder: Path) -> dict[str, Path]:
    """Load once; give the entries by the names of their objects."""
    assert read(client(built, folder)) == ("churn:2", FILES)
    here = kept(built, folder)
    found = {name: here._path(name) for name in built.store.objects if here.has(name)}
    assert len(found) == len([*folder.glob("*/??/*")])
    return found


def entry(name: str, data: bytes, *, checked: bool = True) -> bytes:
    """Make an entry as the cache itself would."""
    digest = hashlib.sha256(name.encode() + b"\n" + data).digest() if checked else bytes(32)
    return HEADER.pack(b"mvault-cache-1\n\0", len(data), digest) + data


def one(found: dict[str, Path], part: str) -> str:
    return next(name for name in found if part in name)


def outcome(built: Built, folder: Path) -> tuple[str, dict[str, bytes]] | Refused | NotFound:
    try:
        return read(client(built, folder))
    except (Refused, NotFound) as refusal:
        return refusal


def test_a_load_keeps_what_it_verified(built: Built, folder: Path) -> None:
    found = fill(built, folder)
    kinds = {
        "trust/root/": 1,
        "trust/policy/": len([name for name in built.store.objects if name.startswith("trust/policy/")]),
        "channels/prod/main/churn/": 2,
        "manifest.json": 1,
        "/sealed/": 1,
        "/approvals/": 2,
        "/keys/prod-1/": 4,
        "keys/prod/all/": 1,
        "/files/": 4,
    }
    told = {kind: sum(kind in name for name in found) for kind in kinds}
    assert told == kinds
    assert sum(told.values()) == len(found)


def test_nothing_of_the_plaintext_or_of_anybodys_keys_lies_in_a_cache(built: Built, folder: Path) -> None:
    fill(built, folder)
    alone = builders.solo(seed="cache")
    alone.promote(alone.publish(FILES))
    pulling.pull(client(alone, folder, who="owner"), REFERENCE, folder.parent / "out", zipped=False)
    kept(alone, folder).settle()
    secrets = [*FILES.values(), b"income", b"x" * 64, b"built by a test", b"AGE-SECRET-KEY-"]
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [secret for secret in secrets if secret in data], path


def test_a_restart_reads_from_the_cache_what_does_not_change(built: Built, folder: Path) -> None:
    fill(built, folder)
    session = client(built, folder)
    assert isinstance(session.store, AheadStore)
    far = session.store.inner
    assert isinstance(far, FarStore)
    assert read(session) == ("churn:2", FILES)
    asked = far.names("read", "open", "read_into")
    newest = [name for name in asked if name.rpartition("/")[0] in (
        "trust/root", "trust/policy", "channels/prod/main/churn/@", "models/churn/@/2/sealed")]  # fmt: skip
    assert asked == newest, "the newest records alone"
    assert len(asked) == 4


# --- poisoned: well made, and something else ---


def _poisons(built: Built, found: dict[str, Path]) -> Iterator[tuple[str, bytes]]:
    """Give each entry with other content: changed, another object of its kind, garbage."""
    for name in found:
        data = built.store.objects[name]
        others = [
            other for other in found if other != name and other.partition("/")[0] == name.partition("/")[0]
        ]
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        yield name, bytes(changed)
        yield name, b'{"payload":"e30=","payloadType":"x","signatures":[]}'
        if others:
            yield name, built.store.objects[others[0]]


def test_no_poisoned_entry_is_ever_believed_and_none_lasts(built: Built, folder: Path) -> None:
    found = fill(built, folder)
    refused: set[str] = set()
    for name, poison in _poisons(built, found):
        found[name].write_bytes(entry(name, poison, checked="/files/" not in name))
        result = outcome(built, folder)
        if isinstance(result, tuple):
            assert result == ("churn:2", FILES), name
        else:
            refused.add(name)
            assert str(folder) in result.message, (name, result)
            assert "try again" in result.hint
        assert outcome(built, folder) == ("churn:2", FILES), f"{name}: it was taken out"
        found[name].write_bytes(entry(name, built.store.objects[name], checked="/files/" not in name))
    kinds = {name.rpartition("/")[0] for name in refused}
    assert "models/churn/@/2/files" in kinds
    assert "models/churn/@/2" in kinds, "the manifest"
    assert "models/churn/@/2/approvals/prod" in kinds
    assert "keys/prod/all/1/server" in kinds


@pytest.mark.parametrize("part", ["/files/", "manifest.json"])
def test_a_refusal_tells_the_same_as_of_a_poisoned_store(built: Built, folder: Path, part: str) -> None:
    found = fill(built, folder)
    name = one(found, part)
    poison = bytearray(built.store.objects[name])
    poison[len(poison) // 2] ^= 1
    other = built.fork(forgetful=True)
    other.write(name, bytes(poison))
    with pytest.raises((Refused, NotFound)) as store:
        read(client(other, None))
    found[name].write_bytes(entry(name, bytes(poison), checked="/files/" not in name))
    with pytest.raises((Refused, NotFound)) as caught:
        read(client(built, folder))
    assert (type(caught.value), caught.value.code) == (type(store.value), store.value.code)


def test_a_policy_that_is_hidden_by_garbage_in_the_cache_is_noticed(built: Built, folder: Path) -> None:
    """An older record would count, if garbage could stand for a newer one."""
    found = fill(built, folder)
    newest = max(name for name in found if name.startswith("trust/policy/"))
    older = max(name for name in found if name.startswith("trust/policy/") and name != newest)
    found[older].write_bytes(entry(older, b"garbage"))
    with pytest.raises(Refused, match="cache") as caught:
        read(client(built, folder))
    assert older in caught.value.message
    found[newest].write_bytes(entry(newest, b"garbage"))
    assert read(client(built, folder)) == ("churn:2", FILES), "the newest is read from the store"


def test_a_newer_version_that_is_hidden_by_garbage_in_the_cache_is_noticed(folder: Path) -> None:
    """The newest version in dev would be an older one, if garbage could stand for its manifest."""
    built = builders.solo(seed="cache dev")
    for _ in range(2):
        built.publish(FILES)

    def newest() -> str:
        session = client(built, folder, who="owner")
        session.environment = builders.DEV
        return loading.load_package(session, names.reference("churn"), {}).reference

    assert newest() == "churn:2"
    name = layout.manifest(CHURN, Version("2"))
    assert kept(built, folder).has(name)
    kept(built, folder).put(name, b"garbage")
    with pytest.raises(Refused, match="cache"):
        newest()
    assert newest() == "churn:2"


def test_a_pull_that_is_refused_for_its_cache_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    built = builders.solo(seed="cache")
    built.amend(lambda policy: policy)
    built.promote(built.publish(FILES))
    for place in (tmp_path / "one", tmp_path / "two", tmp_path / "three"):
        session = client(built, folder, who="owner")
        if place.name == "two":
            kept(built, folder).put(layout.policy(1), b"garbage")
            with pytest.raises(Refused, match="cache"):
                pulling.pull(session, REFERENCE, place, zipped=False)
            assert [*place.glob("*")] == []
        else:
            pulling.pull(session, REFERENCE, place, zipped=False)
            assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
        kept(built, folder).settle()


def test_a_store_that_is_poisoned_too_is_told_as_the_store(built: Built, folder: Path) -> None:
    found = fill(built, folder)
    name = one(found, "manifest.json")
    built.write(name, b"garbage")
    found[name].write_bytes(entry(name, b"garbage"))
    with pytest.raises(Refused) as caught:
        read(client(built, folder))
    assert "cache" not in caught.value.message


def test_a_trace_that_somebody_wrote_decides_nothing(built: Built, folder: Path) -> None:
    fill(built, folder)
    for path in folder.glob("*/traces/*"):
        for lines in (
            b"garbage",
            b"read 5 README.txt\nlist 0 models/\nopen 5 models/x/@/1/files/" + b"0" * 32,
        ):
            (key,) = [f"load package prod {REFERENCE}"]
            path.write_bytes(entry(key, lines))
            assert read(client(built, folder)) == ("churn:2", FILES)


# --- damaged: not even well made ---


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b"x" * 1000),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_cache_never_stops_a_load(
    built: Built, folder: Path, damage: Callable[[Path], object]
) -> None:
    for path in fill(built, folder).values():
        damage(path)
    assert read(client(built, folder)) == ("churn:2", FILES)
    assert fill(built, folder)


def test_a_flipped_bit_in_any_small_entry_is_damage_and_is_fetched_again(built: Built, folder: Path) -> None:
    for name, path in fill(built, folder).items():
        data = bytearray(path.read_bytes())
        if len(data) < limits.MIB:
            data[-1] ^= 1
            path.write_bytes(data)
            assert read(client(built, folder)) == ("churn:2", FILES), name


def test_a_payload_that_the_disk_cannot_read_is_taken_out(
    built: Built, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(built, folder)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.preadv", fail)
    with pytest.raises(Refused, match="cache"):
        read(client(built, folder))
    monkeypatch.undo()
    assert read(client(built, folder)) == ("churn:2", FILES)


def test_a_folder_that_is_emptied_meanwhile_stops_nothing(built: Built, folder: Path) -> None:
    fill(built, folder)
    session = client(built, folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert read(session) == ("churn:2", FILES)


# --- old: it held once ---


def test_a_withdrawal_is_seen_through_a_full_cache(built: Built, folder: Path) -> None:
    fill(built, folder)
    head = built.record("churn:2", 2)
    built.write_record(replace(head, seq=3, manifest=None, version=None, bars=(head.manifest,)), "ann")  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        read(client(built, folder))
    assert caught.value.code == "barred"
    assert "cache" not in caught.value.message


def test_a_revoked_loader_reads_nothing_from_its_cache(built: Built, folder: Path) -> None:
    fill(built, folder)
    gone = names.principal("server")
    built.amend(
        lambda before: replace(
            before, members={name: who for name, who in before.members.items() if name != gone}
        )
    )
    with pytest.raises(AccessDenied):
        read(client(built, folder))


def test_what_was_cleaned_up_in_the_store_is_not_hidden_by_a_cache(built: Built, folder: Path) -> None:
    """Garbage lay under the next number while a loader filled its cache; then the number was used."""
    place = layout.channel(PROD, MAIN, CHURN) + layout.numbered(3)
    built.write(place, b"garbage")
    found = fill(built, folder)
    assert place not in found
    del built.store.objects[place]
    ref = built.publish(FILES, who="dora")
    for who in ("ann", "bob"):
        built.approve(ref, who)
    built.promote(ref, who="rex")
    assert place in built.store.objects
    assert read(client(built, folder))[0] == "churn:3"


@pytest.mark.parametrize("far", [True, False])
def test_a_vault_that_was_put_back_and_went_on_is_read_as_it_is_now(
    built: Built, folder: Path, far: bool
) -> None:
    """Under one number the cache has the policy that was lost, and the store the one made instead."""
    before = dict(built.store.objects)
    built.amend(lambda policy: policy)
    fill(built, folder)
    built.store.objects.clear()
    built.store.objects.update(before)
    gone = names.principal("server")
    built.amend(
        lambda policy: replace(
            policy, members={name: who for name, who in policy.members.items() if name != gone}
        )
    )
    with pytest.raises(AccessDenied):
        read(client(built, folder, far=far))


def test_what_was_deleted_from_the_store_is_not_brought_back_by_a_cache(built: Built, folder: Path) -> None:
    fill(built, folder)
    for name in [name for name in built.store.objects if name.startswith("channels/")]:
        del built.store.objects[name]
    with pytest.raises(NotFound):
        read(client(built, folder))
    session = built.session(
        "server", env="prod", store=AheadStore(FarStore(built.store), kept(built, folder))
    )
    session.memory = _scene().session("server").memory
    with pytest.raises((NotFound, Rollback)):
        read(session)


def test_a_payload_that_only_a_cache_has_is_loaded_while_its_records_are_there(
    built: Built, folder: Path
) -> None:
    fill(built, folder)
    for name in [name for name in built.store.objects if "/files/" in name]:
        del built.store.objects[name]
    assert read(client(built, folder)) == ("churn:2", FILES)
    with pytest.raises(NotFound):
        read(client(built, None))


def test_two_vaults_in_one_folder_do_not_mix(built: Built, folder: Path) -> None:
    other = builders.team(seed="other cache")
    ref = other.publish({**FILES, "model.json": b'{"weights":[9]}'}, who="dora")
    for who in ("ann", "bob"):
        other.approve(ref, who)
    other.promote(ref, who="rex")
    assert read(client(built, folder))[1]["model.json"] == MODEL
    assert read(client(other, folder))[1]["model.json"] == b'{"weights":[9]}'
    assert read(client(built, folder))[1]["model.json"] == MODEL


def test_many_loaders_fill_and_use_one_cache_at_once(built: Built, folder: Path) -> None:
    found: list[object] = []
    sessions = [client(built, folder) for _ in range(6)]
    threads = [threading.Thread(target=lambda own=own: found.append(read(own))) for own in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("churn:2", FILES)] * 6
    assert Version("2") in str(found[0])
