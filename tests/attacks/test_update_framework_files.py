"""The Update Framework's scenarios about what is downloaded: content, names, caches, data without end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.test_freshness import renew
from tests.attacks.update_framework_parts import (
    NEW,
    OLD,
    attested,
    code_of,
    each,
    newcomer,
    number_of,
    remembered,
    scenario,
)
from tests.attacks.vault_mixing import outcome, payloads, resigned
from tests.builders import Built, solo
from tests.e2e.team_parts import as_
from vault.core import layout, limits
from vault.errors import Malformed
from vault.ports import Stat
from vault.storage.memory import MemorySource, MemoryStore

FETCH = "python-tuf/fetch_target::"
UPDATER = "python-tuf/updater::"
FILES = {"model.json": b'{"w":1}', "artifacts/path/to/table.json": b"[1,2]", "notes.txt": "åäö".encode()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@scenario(
    "basic::test_basic_init_and_refresh",
    "file_download::test_client_downloads_expected_file",
    "file_download::test_client_downloads_expected_file_in_sub_dir",
    *each("file_download::test_download_with_hash_algorithms", ["hashes0"]),
    *each(FETCH + "test_fetch_target", ["standard case", "non-asci case", "subdirectory case"]),
    UPDATER + "test_refresh_and_download",
    UPDATER + "test_refresh_with_only_local_root",
    UPDATER + "test_implicit_refresh_with_only_local_root",
    "python-tuf/trusted_set::test_update",
)
def test_client_downloads_expected_file(tmp_path: Path) -> None:
    """With the pin and an identity alone: everything between them is found and verified on the way."""
    built = solo(seed="files")
    built.promote(built.publish(FILES))
    client = newcomer(built)
    assert as_(client, "owner").pull("churn@prod", tmp_path / "out") == tmp_path / "out"
    assert contents(tmp_path / "out") == FILES
    assert [number_of(remembered(client, what)) for what in ("root", "policy", "channel")] == [1, 1, 1]


@scenario(
    "basic::test_implicit_refresh",
    UPDATER + "test_missing_targetinfo",
    UPDATER + "test_non_existing_target_file",
)
def test_implicit_refresh(tmp_path: Path) -> None:
    """Whoever asks for what is not there has looked at the newest state on the way to that answer."""
    built = attested()
    renew(built)
    for ref in ("nothing@prod", "churn:9", f"churn@sha256:{'ab' * 32}", "churn@prod/other"):
        client = newcomer(built)
        found = code_of(lambda ref=ref, client=client: as_(client, "owner").pull(ref, tmp_path / "out"))  # type: ignore[misc]
        assert found == "not-found"
        assert number_of(remembered(client, "policy")) == built.policy.version
    assert not (tmp_path / "out").exists()


@scenario(
    "file_download::test_repository_substitutes_target_file",
    FETCH + "test_invalid_target_download",
    UPDATER + "test_length_hash_mismatch",
)
@pytest.mark.parametrize("how", ["other bytes", "another file's", "shorter", "longer", "empty", "gone"])
def test_repository_substitutes_target_file(how: str, tmp_path: Path) -> None:
    built = solo(seed="files")
    built.promote(built.publish(FILES))
    vault = as_(built, "owner")
    vault.pull("churn@prod", tmp_path / "first")
    places = payloads(built, "churn", 1)
    name = places["model.json"]
    data = built.store.objects[name]
    substitute = {
        "other bytes": bytes(len(data)),
        "another file's": built.store.objects[places["notes.txt"]],
        "shorter": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
    }
    if how == "gone":
        del built.store.objects[name]
    else:
        built.write(name, substitute[how])
    code = code_of(lambda: vault.pull("churn@prod", tmp_path / "second"))
    assert code in ("decrypt-failed", "size-mismatch", "unavailable", "not-found"), code
    assert contents(tmp_path / "second") == {} if (tmp_path / "second").exists() else True
    assert contents(tmp_path / "first") == FILES
    built.write(name, data)
    vault.pull("churn@prod", tmp_path / "second")
    assert contents(tmp_path / "second") == FILES


@scenario(
    "file_download::test_multiple_changes_to_target",
    "file_download::test_artifact_cache",
    FETCH + "test_invalid_target_cache",
)
def test_multiple_changes_to_target() -> None:
    """One client sees every third of ten releases, and payloads are replaced between: nothing is cached."""
    built = solo(seed="files")
    client = newcomer(built)
    client.store = built.store
    for turn in range(1, 11):
        content = {"model.json": b'{"w":%d}' % turn}
        built.promote(built.publish(content))
        if turn % 3:
            continue
        assert outcome(client, "churn@prod") == content
        name = payloads(built, "churn", turn)["model.json"]
        genuine = built.store.objects[name]
        older = payloads(built, "churn", turn - 1)["model.json"]
        built.write(name, built.store.objects[older])
        assert outcome(client, "churn@prod") == "decrypt-failed"
        built.write(name, genuine)
        assert outcome(client, "churn@prod") == content
    assert number_of(remembered(client, "channel")) == 9


# --- names ---

HOSTILE = ["?", "#", "/delegatedrole", "../delegatedrole", ".", "..", "/", "ö", "a/../b", "a//b", "%2e%2e/a"]


@scenario(
    *each("quoting_issues::test_unusual_role_name", ["?", "#", "/delegatedrole", "../delegatedrole"]),
    "python-tuf/graphs::test_safely_encoded_rolenames",
)
@pytest.mark.parametrize("name", HOSTILE)
def test_unusual_role_name(name: str) -> None:
    """Names that would have to be quoted are none: a caller's is a mistake, a document's malformed."""
    built = solo(seed="names")
    built.promote(built.publish(OLD))
    vault = as_(built, "owner")
    with pytest.raises(ValueError, match=r"."):
        vault.promote("churn:1", env=name)
    with pytest.raises(ValueError, match=r"."):
        vault.load_package(f"{name}:1")
    with pytest.raises(ValueError, match=r"."):
        vault.push(name, b"{}")
    before = set(built.store.objects)
    place = layout.manifest(built.manifest("churn:1")[0].model, built.manifest("churn:1")[0].version)
    for field in ("model", "version"):
        genuine = built.store.objects[place]
        built.write(
            place,
            resigned(built, place, "manifest", lambda doc, field=field: doc.update({field: name}), "owner"),  # type: ignore[misc]
        )
        assert outcome(newcomer(built), "churn:1") == "malformed-name"
        built.write(place, genuine)
    assert set(built.store.objects) == before
    assert outcome(newcomer(built), "churn@prod") == OLD


# --- data without end ---


class Endless(MemoryStore):
    """A store in which one object never ends; it counts what is read of it."""

    def __init__(self, built: Built, name: str) -> None:
        super().__init__(built.store.objects)
        self.name = name
        self.given = 0

    def read(self, name: str, *, limit: int) -> bytes:
        """Refuse what is larger than asked for, as a store must."""
        if name == self.name:
            raise Malformed(f"{name} is larger than {limit:,} bytes.", code="too-large", subject=name)
        return super().read(name, limit=limit)

    def stat(self, name: str) -> Stat:
        """Claim an exabyte."""
        return Stat(1 << 60) if name == self.name else super().stat(name)

    @contextmanager
    def open(self, name: str) -> Iterator[MemorySource]:
        """Open a source without end."""
        if name == self.name:
            yield Source(self)
        else:
            with super().open(name) as source:
                yield source


class Source(MemorySource):
    """Zeros for ever."""

    def __init__(self, store: Endless) -> None:
        super().__init__(b"")
        self._store = store

    @property
    def size(self) -> int:
        """An exabyte."""
        return 1 << 60

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer, and count."""
        self._store.given += buffer.nbytes
        return buffer.nbytes


def places(built: Built) -> dict[str, str]:
    model = "models/churn/@/2/"
    return {
        "root": layout.root(1),
        "next root": layout.root(2),
        "policy": layout.policy(built.policy.version),
        "heads": "trust/heads/prod/000002.json",
        "channel": "channels/prod/main/churn/@/000002.json",
        "manifest": f"{model}manifest.json",
        "sealing": f"{model}sealed/000001.json",
        "header": next(name for name in built.store.objects if name.startswith(f"{model}keys/prod-1/")),
        "payload": payloads(built, "churn", 2)["model.json"],
        "environment key": next(
            name for name in built.store.objects if name.startswith("keys/prod/all/1/owner/")
        ),
    }


OUTCOMES: dict[str, object] = {
    "root": "too-large",
    "next root": NEW,  # what can be no root is absent
    "policy": "withheld",
    "heads": NEW,
    "channel": "rollback",
    "manifest": "too-large",
    "sealing": "not-found",
    "header": "key-mismatch",
    "payload": "size-mismatch",
    "environment key": "no-usable-key",
}


@scenario("python-tuf::test_endless_data_attack")
@pytest.mark.parametrize("what", OUTCOMES)
def test_endless_data_attack(what: str) -> None:
    """The size of each kind of object is bounded before it is read: nothing of it is taken in."""
    built = attested()
    renew(built)
    built.promote(built.publish(NEW))
    renew(built)
    name = places(built)[what]
    built.store.objects.setdefault(name, b"")
    store = Endless(built, name)
    client = newcomer(built)
    found: object
    try:
        found = client.read("churn@prod", session=client.session(store=store))
    except Exception as error:
        found = getattr(error, "code", error)
    assert found == OUTCOMES[what]
    assert store.given <= limits.MIB
    if what == "next root":
        del built.store.objects[name]
    assert outcome(newcomer(built), "churn@prod") == NEW
