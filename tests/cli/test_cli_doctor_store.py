"""`mvault doctor` tries what the store honours, and looks at credentials, clock, room and rights."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import vault
from tests.cli.typing_user import User
from tests.conformance import unsafe_stores
from tests.faults import Fault, FaultyStore, on
from vault.actions import doctor_store, opening, probing
from vault.core import layout, limits
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.local_mount import Mount
from vault.storage.memory import MemoryStore

Found = list[dict[str, Any]]


def findings(user: User, subject: str, *arguments: str) -> Found:
    found: Found = user.run("doctor", *arguments, "--json").json["findings"]
    return [entry for entry in found if entry["subject"] == subject]


def files(user: User) -> dict[str, float]:
    return {
        str(path.relative_to(user.folder)): path.stat().st_mtime_ns
        for path in (user.folder / "models").rglob("*")
        if path.is_file()
    }


@pytest.fixture
def store_of(monkeypatch: pytest.MonkeyPatch) -> list[Store]:
    """Let commands find the last store of a list in place of the folder, once there is one."""
    instead: list[Store] = []
    real = opening.locate
    monkeypatch.setattr(opening, "locate", lambda found: instead[-1] if instead else real(found))
    return instead


def copied(user: User, kind: type[MemoryStore] = MemoryStore) -> MemoryStore:
    """Give the user's vault in a store of another kind, under the location that is trusted."""

    class There(kind):  # type: ignore[misc, valid-type]
        location = str(user.folder / "models")

    store: MemoryStore = There()
    local = LocalStore(user.folder / "models")
    store.objects.update({name: local.read(name, limit=limits.GIB) for name in local.list("")})
    return store


# --- the probe ---


def test_init_tries_the_store_and_writes_down_what_it_found(owner: User) -> None:
    found = probing.recorded(LocalStore(owner.folder / "models"))
    assert found is not None
    assert found.probe.faults == ()
    assert found.probe.deletes == "done"
    assert not (owner.folder / "models/probe").exists()


def test_init_refuses_a_store_that_cannot_hold_a_vault_before_it_writes_anything_there(
    user: User, store_of: list[Store]
) -> None:
    store = unsafe_stores.Overwriting()
    store_of.append(store)
    answer = user.run("init", "models/", "--no-passphrase", "--recipient", "x25519")
    assert answer.status == 3
    assert "cannot hold a vault: it overwrites a name that exists" in answer.err
    assert store.objects == {}
    assert not list(user.home.rglob("recovery*")), "there is nothing to recover"


def test_the_owners_doctor_tries_the_store_again_and_leaves_nothing(owner: User) -> None:
    before = files(owner)
    (found,) = findings(owner, "probe")
    assert (found["level"], "of 3 writers one won" in found["message"]) == ("ok", True)
    (large,) = findings(owner, "probe", "--large")
    assert "also of large objects" in large["message"]
    assert files(owner) == before


def test_with_no_write_nothing_is_tried_and_that_is_said(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "survey", lambda *_, **__: pytest.fail("the store was written to"))
    (found,) = findings(owner, "probe", "--no-write")
    assert (found["level"], found["message"]) == (
        "ok",
        "What the store honours was not tried, as you asked",
    )


def test_who_may_not_write_to_the_vault_does_not_try(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    new = ("identity", "new", "web", "-o", "web.json", "--no-passphrase", "--recipient", "x25519")
    assert owner.run(*new).status == 0
    assert owner.run("identity", "export", "web.pub", "--identity", "web.json").status == 0
    made = owner.run("init", "second/", "--service", "web=web.pub", "--recipient", "x25519")
    assert made.status == 0, made.err
    monkeypatch.setattr(probing, "survey", lambda *_, **__: pytest.fail("the store was written to"))
    (loader,) = findings(owner, "probe", "--vault", "second/", "--identity", "web.json")
    assert (loader["level"], "may not write" in loader["message"]) == ("ok", True)


def test_without_an_identity_the_store_is_not_tried_unless_asked(owner: User) -> None:
    fingerprint = vault.open("models/").id
    owner.becomes_somebody_else()
    owner.run("trust", "models/", "--root", fingerprint)
    (nobody,) = findings(owner, "probe", "--vault", "models/")
    assert nobody["message"].endswith("as there is no identity here")
    (asked,) = findings(owner, "probe", "--vault", "models/", "--write")
    assert "one won" in asked["message"]


def test_a_store_that_became_unsafe_is_an_error(owner: User, store_of: list[Store]) -> None:
    store_of.append(copied(owner, unsafe_stores.Overwriting))
    answer = owner.run("doctor")
    assert answer.status == 3
    (found,) = findings(owner, "probe")
    assert (found["level"], found["code"]) == ("error", "unsafe-store")
    assert "docs/storage.md" in found["hint"]


def test_credentials_that_may_only_read_are_told_and_are_no_error(owner: User, store_of: list[Store]) -> None:
    store_of.append(FaultyStore(copied(owner), on("create", Fault.DENIED)))
    answer = owner.run("doctor")
    assert answer.status == 0, answer.out
    (found,) = findings(owner, "probe")
    assert (found["level"], found["code"]) == ("warning", "storage-denied")
    assert "docs/storage.md" in found["hint"]


@pytest.mark.parametrize("verb", ["list_folders", "stat"])
def test_credentials_that_may_not_list_or_read_are_an_error(
    owner: User, store_of: list[Store], verb: str
) -> None:
    inner = copied(owner)
    store_of.append(
        FaultyStore(inner, on(verb, Fault.DENIED, name="trust/root/000001.json" if verb == "stat" else ""))
    )
    (found,) = findings(owner, "store")
    assert (found["level"], found["code"]) == ("error", "storage-denied")
    assert owner.run("doctor").status == 7


def test_where_nothing_is_deleted_it_is_tried_only_when_asked(owner: User, store_of: list[Store]) -> None:
    store = copied(owner, unsafe_stores.KeepingAll)
    store_of.append(store)
    first = findings(owner, "probe")
    assert "4 objects stay under probe/" in first[0]["message"]
    assert "When the vault was made" in first[1]["message"]
    assert first[1]["level"] == "warning"
    store.objects[layout.PROBE] = store.objects[layout.PROBE].replace(b'"done"', b'"denied"')
    (again,) = findings(owner, "probe")
    assert "--write" in again["message"]
    (asked,) = findings(owner, "probe", "--write")
    assert "4 objects stay" in asked["message"]


def test_a_record_of_the_probe_that_is_none_is_told_and_trusted_by_nobody(owner: User) -> None:
    path = owner.folder / "models" / layout.PROBE
    path.chmod(0o600)
    for data in (b"garbage", b"{}", b"x" * (limits.PROBE_BYTES + 1)):
        path.write_bytes(data)
        tried, wrong = findings(owner, "probe")
        assert tried["level"] == "ok"
        assert (wrong["level"], wrong["code"]) == ("error", wrong["code"])
        assert wrong["code"] in {"malformed-json", "malformed-document", "too-large"}
    path.unlink()
    (tried,) = findings(owner, "probe")
    assert tried["level"] == "ok"


# --- clock, room, mount, rights, versions ---


class Remote(MemoryStore):
    """A store on a server that tells the time and how much room it has."""

    ahead = 0
    room: int | None = None

    def server_time(self) -> int | None:
        """Tell the time."""
        return int(time.time()) - self.ahead

    def free_space(self) -> int | None:
        """Tell the room."""
        return self.room


@pytest.mark.parametrize(
    ("ahead", "level", "said"),
    [(0, "ok", "agrees"), (290, "ok", "agrees"), (900, "warning", "ahead of"), (-900, "warning", "behind")],
)
def test_the_clock_is_compared_with_the_servers(ahead: int, level: str, said: str) -> None:
    store = Remote()
    store.ahead = ahead
    (found,) = doctor_store.clock(store, int(time.time()))
    assert (found.level, said in found.message) == (level, True)
    assert not list(doctor_store.clock(MemoryStore(), 0)), "a store without a server has no clock"


@pytest.mark.parametrize(
    ("room", "level", "said"),
    [
        (None, "ok", "not known"),
        (0, "warning", "0 MiB left"),
        (limits.GIB - 1, "warning", "1,024 MiB left"),
        (5 * limits.GIB, "ok", "5 GiB left"),
    ],
)
def test_little_room_is_told(room: int | None, level: str, said: str) -> None:
    store = Remote()
    store.room = room
    (found,) = doctor_store.space(store)
    assert (found.level, said in found.message) == (level, True)
    (unknown,) = doctor_store.space(MemoryStore())
    assert "not known" in unknown.message


def test_the_room_of_a_folder_is_that_of_its_file_system(tmp_path: Path) -> None:
    left = LocalStore(tmp_path).free_space()
    assert left is not None
    there = os.statvfs(tmp_path)
    assert abs(left - there.f_bavail * there.f_frsize) < limits.GIB


@pytest.mark.parametrize(
    ("mount", "level"),
    [
        (Mount("ext4"), None),
        (Mount("nfs4", frozenset({"hard", "rw"})), "ok"),
        (Mount("nfs", frozenset({"soft", "rw"})), "warning"),
        (Mount("nfs4", frozenset({"softerr"})), "warning"),
    ],
)
def test_a_soft_mount_is_told(tmp_path: Path, mount: Mount, level: str | None) -> None:
    store = LocalStore(tmp_path)
    store._mount = mount
    tmp_path.chmod(0o700)
    assert [entry.level for entry in doctor_store.folders(store)] == ([] if level is None else [level])


def test_a_folder_that_everybody_may_write_to_is_told(owner: User) -> None:
    assert findings(owner, "permissions") == []
    (owner.folder / "models").chmod(0o777)
    (found,) = findings(owner, "permissions")
    assert (found["level"], "chmod o-w" in found["hint"]) == ("warning", True)
    (owner.folder / "models").chmod(0o1777)
    assert findings(owner, "permissions") == []


def test_an_identity_that_others_may_read_is_told(owner: User) -> None:
    path = owner.home / ".config/mvault/identity.json"
    path.chmod(0o640)
    (found,) = findings(owner, "permissions")
    assert (found["level"], found["hint"]) == ("warning", f"chmod 600 {path}")


def test_versions_and_the_format_are_told(owner: User) -> None:
    (found,) = findings(owner, "versions")
    assert found["level"] == "ok"
    assert f"mvault {vault.__version__}, Python 3." in found["message"]
    assert "cryptography " in found["message"]
    assert found["message"].endswith("the vault's format is 1")
    path = owner.folder / "models/vault.json"
    path.chmod(0o600)
    path.write_bytes(b'{"format":2}')
    (newer,) = findings(owner, "versions")
    assert newer["level"] == "warning"
    path.unlink()
    (gone,) = findings(owner, "versions")
    assert gone["level"] == "warning"
    assert owner.run("doctor").status == 0
