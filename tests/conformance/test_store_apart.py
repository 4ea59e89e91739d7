"""Stores of environments that are kept apart keep, put together, the promises of one store."""

import hashlib
from pathlib import Path

import pytest

from tests.conformance import worker
from tests.conformance.creating_suite import get, put
from tests.conformance.crossing_suite import CrossingSuite
from tests.conformance.store_suite import StoreSuite
from tests.conformance.test_store_local import fill_without_syncing
from tests.faults import Fault, FaultyStore, on
from vault.core import envelope, limits
from vault.core.names import Digest, Environment
from vault.errors import Conflict, DigestMismatch, NotFound, Unavailable
from vault.ports import Store
from vault.storage.apart import ApartStore
from vault.storage.apart_names import ACCESS, MAIN, OWN, TRUST, VERSION, place_of
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

DEV, STAGING, PROD = (Environment(name) for name in ("dev", "staging", "prod"))
VERSION_3 = "models/nepse/x/@/3/"


class TestApartStoreOfMemory(StoreSuite):
    in_memory = True

    @pytest.fixture
    def store(self) -> Store:
        return ApartStore(MemoryStore(), {PROD: MemoryStore(), STAGING: MemoryStore()})


class TestApartStoreOfFolders(CrossingSuite):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setenv(worker.APART, str(tmp_path / "prod"))
        return ApartStore(LocalStore(tmp_path / "main"), {PROD: LocalStore(tmp_path / "prod")})

    def fill(self, store: Store, names: list[str]) -> None:
        fill_without_syncing(store, names)


@pytest.mark.parametrize(
    ("name", "kind", "environment"),
    [
        ("README.txt", TRUST, None),
        ("vault.json", TRUST, None),
        ("trust/root/000001.json", TRUST, None),
        ("trust/policy/000001.json", TRUST, None),
        ("trust/recipients/00ff", TRUST, None),
        ("trust/heads/prod/000001.json", OWN, "prod"),
        ("keys/prod/all/1/ann/0-1.age", OWN, "prod"),
        ("channels/prod/main/nepse/x/@/000001.json", OWN, "prod"),
        ("log/env/prod/commit/000001", OWN, "prod"),
        ("log/env/prod/tile/0/000", OWN, "prod"),
        ("log/trust/commit/000001", MAIN, None),
        ("log/access/ann/0123456789abcdef/commit/000001", ACCESS, None),
        (f"{VERSION_3}manifest.json", VERSION, None),
        (f"{VERSION_3}sealed/000001.json", VERSION, None),
        (f"{VERSION_3}files/ab", VERSION, None),
        (f"{VERSION_3}files/ab.units", VERSION, None),
        (f"{VERSION_3}adoptions/ab.json", VERSION, None),
        (f"{VERSION_3}approvals/prod/ab.json", OWN, "prod"),
        (f"{VERSION_3}keys/prod-1/ab-cd", OWN, "prod"),
        (f"{VERSION_3}keys/us-east-1-12/ab-cd", OWN, "us-east-1"),
        (f"{VERSION_3}keys/prod/ab-cd", VERSION, None),
        ("models/prod/@/1/manifest.json", VERSION, None),
        ("models/channels/prod/@/1/manifest.json", VERSION, None),
        ("channels/prod", MAIN, None),
        ("index/1", MAIN, None),
    ],
)
def test_every_name_has_one_place(name: str, kind: str, environment: str | None) -> None:
    place = place_of(name)
    assert (place.kind, place.environment) == (kind, environment)


class Pair:
    """A main store, and prod's."""

    def __init__(self) -> None:
        self.main, self.prod = MemoryStore(), MemoryStore()
        self.store = ApartStore(self.main, {PROD: self.prod})


@pytest.fixture
def pair() -> Pair:
    return Pair()


OWN_NAMES = (
    "keys/prod/all/1/ann/0-1.age",
    f"{VERSION_3}keys/prod-1/ab-cd",
    f"{VERSION_3}approvals/prod/ab.json",
    "channels/prod/main/nepse/x/@/000001.json",
    "trust/heads/prod/000001.json",
    "log/env/prod/commit/000001",
)


@pytest.mark.parametrize("name", OWN_NAMES)
def test_what_is_of_prod_lies_in_prods_store_only(pair: Pair, name: str) -> None:
    put(pair.store, name, b"1")
    assert list(pair.prod.objects) == [name]
    assert not pair.main.objects
    assert get(pair.store, name) == b"1"
    pair.store.delete(name)
    assert not pair.prod.objects


@pytest.mark.parametrize("name", OWN_NAMES)
def test_what_is_planted_in_the_wrong_store_is_not_seen(pair: Pair, name: str) -> None:
    put(pair.main, name, b"planted")
    assert list(pair.store.list("")) == []
    assert list(pair.store.list(name[:-2])) == []
    folder, _, leaf = name.rpartition("/")
    assert leaf not in list(pair.store.list_folders(folder + "/"))
    for look in (pair.store.stat, lambda missing: get(pair.store, missing)):
        with pytest.raises(NotFound):
            look(name)
    put(pair.store, name, b"genuine")
    assert get(pair.store, name) == b"genuine"
    assert pair.main.objects == {name: b"planted"}


def test_what_is_of_other_environments_in_prods_store_is_not_seen(pair: Pair) -> None:
    for name in (
        "channels/dev/main/m/@/000001.json",
        "keys/dev/all/1/a/b.age",
        "log/trust/commit/000001",
        "x",
    ):
        put(pair.prod, name, b"planted")
    assert list(pair.store.list("")) == []


RECIPIENT = f"trust/recipients/{hashlib.sha256(b'trust/recipients/').hexdigest()}"
TRUST_NAMES = ("README.txt", "vault.json", RECIPIENT, "trust/policy/000001.json",
               "trust/root/000001.json")  # fmt: skip


def document(name: str, text: str = "") -> bytes:
    """Give bytes that may be what a name of a trust document says: nobody's, but well made."""
    folder = name.rpartition("/")[0]
    if folder in ("trust/root", "trust/policy"):
        kind = folder.removeprefix("trust/")
        made = envelope.sign(kind, (name + text).encode(), [(Digest("0" * 64), lambda _: bytes(64))])
        return envelope.serialise(made)
    return b"trust/recipients/" if folder == "trust/recipients" else name.encode()


def test_trust_documents_lie_in_every_store_and_are_listed_once(pair: Pair) -> None:
    for name in TRUST_NAMES:
        put(pair.store, name, document(name))
    assert pair.main.objects == pair.prod.objects == {name: document(name) for name in TRUST_NAMES}
    assert list(pair.store.list("")) == sorted(TRUST_NAMES)
    assert list(pair.store.list_folders("trust/")) == ["policy/", "recipients/", "root/"]
    for name in TRUST_NAMES:
        pair.store.delete(name)
    assert not pair.main.objects
    assert not pair.prod.objects


def test_the_main_store_decides_who_was_first(pair: Pair) -> None:
    name = "trust/policy/000002.json"
    put(pair.main, name, document(name, "first"))
    with pytest.raises(Conflict):
        put(pair.store, name, document(name, "second"))
    assert pair.prod.objects[name] == document(name, "first"), "and what was not copied then is now"


def test_a_name_that_only_a_copys_store_has_is_taken_and_listed(pair: Pair) -> None:
    """Else the number of a record would come to mean one thing here and another there."""
    put(pair.prod, "trust/policy/000002.json", b"planted")
    assert list(pair.store.list_folders("trust/policy/")) == ["000002.json"]
    with pytest.raises(Conflict):
        put(pair.store, "trust/policy/000002.json", b"genuine")
    assert not pair.main.objects


def test_other_bytes_in_the_place_of_a_copy_are_an_error_and_stay(pair: Pair) -> None:
    def squat() -> None:
        with pair.store.create("trust/policy/000002.json") as sink:
            put(pair.prod, "trust/policy/000002.json", b"planted meanwhile")
            sink.write(genuine)

    genuine = document("trust/policy/000002.json")

    with pytest.raises(DigestMismatch) as caught:
        squat()
    assert caught.value.subject == "trust/policy/000002.json"
    assert get(pair.store, "trust/policy/000002.json") == genuine
    assert pair.prod.objects["trust/policy/000002.json"] == b"planted meanwhile"


def test_a_record_is_not_written_where_a_trust_document_is_missing(pair: Pair) -> None:
    for name in TRUST_NAMES:
        put(pair.main, name, document(name))
    put(pair.store, "channels/prod/main/m/@/000001.json", b"1")
    assert set(TRUST_NAMES) <= set(pair.prod.objects)


def test_a_record_is_not_written_beside_another_vaults_root(pair: Pair) -> None:
    put(pair.main, "trust/root/000001.json", b"ours")
    put(pair.prod, "trust/root/000001.json", b"theirs")
    with pytest.raises(DigestMismatch):
        put(pair.store, "channels/prod/main/m/@/000001.json", b"1")
    assert list(pair.prod.objects) == ["trust/root/000001.json"]


def test_policies_are_copied_by_number_before_roots() -> None:
    main, prod = MemoryStore(), MemoryStore()
    names = ["trust/root/000001.json", "trust/policy/000002.json", "trust/policy/000010.json",
             "trust/policy/1000000.json", RECIPIENT, "vault.json"]  # fmt: skip
    for name in names:
        put(main, name, document(name))
    made = ApartStore(main, {PROD: prod}).mend(PROD)
    assert made == (RECIPIENT, *names[1:4], "vault.json", names[0])
    assert ApartStore(main, {PROD: prod}).mend(PROD) == ()


def test_a_version_is_copied_only_to_where_it_is_used(pair: Pair) -> None:
    put(pair.store, f"{VERSION_3}manifest.json", b"m")
    put(pair.store, f"{VERSION_3}adoptions/ab.json", b"a")
    assert not pair.prod.objects
    put(pair.prod, f"{VERSION_3}manifest.json", b"m")
    put(pair.store, f"{VERSION_3}sealed/000002.json", b"s")
    assert pair.prod.objects == {f"{VERSION_3}manifest.json": b"m", f"{VERSION_3}sealed/000002.json": b"s"}


def test_what_is_published_straight_into_prod_lies_there_whole_before_its_manifest(pair: Pair) -> None:
    put(pair.store, f"{VERSION_3}files/ab", b"f")
    put(pair.store, f"{VERSION_3}keys/prod-1/ab-cd", b"k")
    put(pair.store, f"{VERSION_3}sealed/000001.json", b"s")
    with pair.store.create(f"{VERSION_3}manifest.json") as sink:
        assert f"{VERSION_3}sealed/000001.json" in pair.prod.objects
        sink.write(b"m")
    assert pair.prod.objects == {**pair.main.objects, f"{VERSION_3}keys/prod-1/ab-cd": b"k"}


def test_a_version_that_the_main_store_lost_is_read_from_where_it_was_brought(pair: Pair) -> None:
    put(pair.prod, f"{VERSION_3}manifest.json", b"m")
    assert get(pair.store, f"{VERSION_3}manifest.json") == b"m"
    with pair.store.open(f"{VERSION_3}manifest.json") as source:
        assert source.size == 1
    assert list(pair.store.list_folders(VERSION_3)) == ["manifest.json"]


def test_an_access_log_is_read_wherever_its_principal_wrote_it(pair: Pair) -> None:
    put(pair.prod, "log/access/web/0123456789abcdef/commit/000001", b"prod")
    put(pair.store, "log/access/ann/0123456789abcdef/commit/000001", b"main")
    put(pair.main, "log/access/web/0123456789abcdef/commit/000001", b"planted by who cannot write to prod's")
    assert list(pair.store.list_folders("log/access/")) == ["ann/", "web/"]
    assert get(pair.store, "log/access/web/0123456789abcdef/commit/000001") == b"prod"
    assert "log/access/ann/0123456789abcdef/commit/000001" in pair.main.objects


def test_a_copy_that_fails_is_told_and_made_by_whoever_tries_again() -> None:
    main, prod = MemoryStore(), MemoryStore()
    failing = FaultyStore(prod, on("commit", Fault.BEFORE))
    name = "trust/policy/000001.json"
    with pytest.raises(Unavailable, match="was not copied to memory:") as caught:
        put(ApartStore(main, {PROD: failing}), name, document(name))
    assert "Until then prod goes by" in caught.value.hint
    assert name in main.objects
    assert not prod.objects
    with pytest.raises(Conflict):
        put(ApartStore(main, {PROD: prod}), name, document(name))
    assert prod.objects == {name: document(name)}


def test_what_cannot_be_a_document_is_not_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can write to the main store does not fill the others."""
    for name, data in (
        ("trust/policy/000001.json", b"garbage"),
        ("trust/root/000001.json", document("trust/policy/000001.json")),
        ("trust/recipients/" + "0" * 64, b"not of that digest"),
        ("trust/policy/notes.txt", b"garbage"),
    ):
        put(pair.main, name, data)
    monkeypatch.setattr(limits, "ENVELOPE_BYTES", 1_000)
    put(pair.main, "trust/policy/000002.json", document("trust/policy/000002.json", "x" * 1_000))
    assert pair.store.mend(PROD) == ()
    assert not pair.prod.objects


def test_two_environments_do_not_share_a_store(tmp_path: Path) -> None:
    one, other = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "other")
    for main, apart in (
        (one, {}),
        (one, {PROD: one}),
        (one, {PROD: other, STAGING: LocalStore(other.location)}),
    ):
        with pytest.raises(ValueError, match="a store of its own"):
            ApartStore(main, apart)
    assert ApartStore(one, {PROD: other}).location == one.location
