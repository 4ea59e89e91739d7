"""A stranger with write access may put anything where a name is free: it is skipped and blocks nobody."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.vault_mixing import check, headers, only, outcome, skipped, twin
from tests.builders import Built, solo
from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.keys import recipients
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

FIRST = {"model.json": b'{"w":1}'}
SECOND = {"model.json": b'{"w":2}'}
IN_PROD = "channels/prod/main/churn/@/"
HUGE = bytes(limits.ENVELOPE_BYTES + 1)


def vault(*, forgetful: bool = False) -> Built:
    built = solo(seed="squatting")
    built.promote(built.publish(FIRST))
    return built.fork(forgetful=forgetful)


def works(built: Built) -> None:
    """See that loading, publishing, promoting and checking go on as if nothing were there."""
    assert outcome(built, "churn@prod") == FIRST
    assert outcome(built, "churn") == FIRST
    again = built.promote("churn:1")
    assert again.already
    ref = built.publish(SECOND)
    assert outcome(built, "churn") == SECOND
    assert not built.promote(ref).already
    assert outcome(built, "churn@prod") == SECOND
    report = check(built)
    assert report.whole, [entry for entry in report.findings if entry.level == "bad"]
    assert report.versions == 2


GARBAGE = {
    "nothing": b"",
    "zero": b"\x00",
    "text": b"not a record",
    "an empty object": b"{}",
    "brackets": b"[" * 10_000,
    "an unsigned envelope": b'{"payload":"e30=","payloadType":"text/plain","signatures":[]}',
    "more than any document": HUGE,
}
# Where a stranger squats, and what `check` calls it; `N` is a number.
PLACES = {
    "the next versions": ("models/churn/@/N/manifest.json", "churn:N"),
    "the next records": (f"{IN_PROD}00000N.json", "churn@prod record N"),
    "the next roots": ("trust/root/00000N.json", "root N"),
    "the next policies": ("trust/policy/00000N.json", "policy N"),
    "the last records": (f"{IN_PROD}999999999999999N.json", "churn@prod record 999999999999999N"),
    "the last roots": ("trust/root/999999999999999N.json", "root 999999999999999N"),
    "the last policies": ("trust/policy/999999999999999N.json", "policy 999999999999999N"),
    "the last versions": ("models/churn/@/99999999999999N/manifest.json", "churn:99999999999999N"),
    "more sealing records": ("models/churn/@/1/sealed/00000N.json", "churn:1 sealing record N"),
    "a slot": ("channels/prod/b/churn/@/00000N.json", "churn@prod/b record N"),
}


@pytest.mark.parametrize("place", PLACES)
def test_garbage_at_numbers_is_skipped_and_reported_and_blocks_nobody(place: str) -> None:
    template, reported = PLACES[place]
    built = vault()
    for number, garbage in enumerate(GARBAGE.values(), start=2):
        built.write(template.replace("N", str(number)), garbage)
    assert outcome(built.fork(forgetful=True), "churn@prod") == FIRST
    found = skipped(check(built))
    for number in range(2, len(GARBAGE) + 2):
        name = template.replace("N", str(number))
        assert {name, reported.replace("N", str(number))} & found
    works(built)


def test_garbage_in_the_sealing_records_of_the_next_version_is_reported_once_it_exists() -> None:
    built = vault()
    for number, garbage in enumerate(GARBAGE.values(), start=1):
        built.write(f"models/churn/@/2/sealed/{number:06d}.json", garbage)
    works(built)
    assert len([name for name in skipped(check(built)) if "sealing record" in name or "sealed/" in name]) == 7


@pytest.mark.parametrize("place", PLACES)
def test_a_genuine_object_of_another_vault_at_a_number_is_skipped(place: str) -> None:
    name = PLACES[place][0].replace("N", "2")
    built = vault()
    other = twin(built)
    other.promote(other.publish(FIRST))
    kind = name.rpartition("/")[0].split("/")
    wanted = {
        "trust": "/".join(kind[:2]) + "/",
        "channels": "channels/",
        "models": "models/churn/@/1/sealed/" if "sealed" in name else "models/churn/@/1/manifest",
    }[kind[0]]
    built.write(name, other.store.objects[only(other, wanted)])
    works(built)


def test_many_squatted_numbers_cost_only_numbers() -> None:
    built = vault()
    for number in range(2, 200):
        built.write(f"{IN_PROD}{number:06d}.json", b"garbage")
        built.write(f"models/churn/@/{number}/manifest.json", b"garbage")
    works(built)
    assert f"{IN_PROD}000200.json" in built.store.objects
    assert "models/churn/@/200/manifest.json" in built.store.objects


def test_more_squatted_numbers_than_a_writer_skips_are_a_conflict_and_loads_go_on() -> None:
    built = vault()
    for number in range(2, limits.GAP + 3):
        built.write(f"{IN_PROD}{number:06d}.json", b"garbage")
    built.publish(SECOND)
    with pytest.raises(Conflict) as caught:
        built.promote("churn:2")
    assert "check" in caught.value.hint
    assert outcome(built, "churn@prod") == FIRST


BELOW_RECORDS = (
    "2.json", "000000.json", "0000002.json", "00000000000000000002.json", "99999999999999999.json",
    "-00002.json", "000002.JSON", "000002", "000002.json.bak", "000002.json/deeper", "x/y/z",
)  # fmt: skip
BELOW_VERSIONS = (
    "0/manifest.json", "01/manifest.json", "-1/manifest.json", "1.0/manifest.json", "v2/manifest.json",
    "1e9/manifest.json", "9999999999999999/manifest.json", "99999999999999999999999/manifest.json",
    "@/2/manifest.json", "2", "x", "2/manifest.json/x", "2/sealed/000001.json/x", "1/files/x", "1/keys/x/y",
    "1/keys/prod-1/x", "1/keys/prod-1/x-y", "1/approvals/prod/x",
)  # fmt: skip
ELSEWHERE = (
    "channels/prod/MAIN/churn/@/000002.json", "channels/prod/@/@/@/000001.json", "channels/prod/b",
    "channels/nowhere/main/churn/@/000001.json", "channels/prod/main", "channels/prod", "models/@",
    "models/@/1/manifest.json", "models/..churn/@/1/manifest.json", "models/con/@/1/manifest.json",
    "models/a/b/c/d/e/f/g/h/i/j/@/1/manifest.json", "models/churn/1/manifest.json", "garbage", ".hidden",
    "trust/root/000002", "trust/root/2.json", "trust/policy/latest.json", "trust/policy/000002.json/x",
    "trust/heads/prod/000001.json", "keys/prod/all/1/owner/x/y", "keys/prod/all/2/owner/x",
    "keys/prod/all/zero/owner/x", "keys/prod/x",
)  # fmt: skip
ODD_NAMES = (
    *(f"{IN_PROD}{name}" for name in BELOW_RECORDS),
    *(f"models/churn/@/{name}" for name in BELOW_VERSIONS),
    *ELSEWHERE,
)  # fmt: skip


def test_objects_under_absurd_names_block_nobody() -> None:
    built = vault()
    for name in ODD_NAMES:
        built.write(name, b"garbage")
    works(built)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_object_under_an_absurd_name_blocks_nobody(name: str) -> None:
    built = vault()
    built.write(name, b"garbage")
    works(built)


# The others would be in the way of what is there already.
LOCAL_NAMES = tuple(name for name in ODD_NAMES if name not in {"channels/prod", "channels/prod/main"})


def test_files_under_absurd_names_block_nobody_in_a_folder(tmp_path: Path) -> None:
    built = on_disk(vault(), tmp_path)
    for name in LOCAL_NAMES:
        place = tmp_path / name
        if not any(above.is_file() for above in place.parents) and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"garbage")
    works(built)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_an_object_under_an_absurd_name_blocks_nobody_in_a_folder(name: str, tmp_path: Path) -> None:
    built = on_disk(vault(), tmp_path)
    place = tmp_path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"garbage")
    works(built)


def on_disk(built: Built, folder: Path) -> Built:
    """Write the vault into a folder, and use it there."""
    for name, data in built.store.objects.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    built.store = _OnDisk(folder)
    return built


class _OnDisk(MemoryStore):
    """A local store where a store in memory is asked for by type."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._inner = LocalStore(folder)
        for verb in ("create", "open", "read", "list", "list_folders", "delete", "stat"):
            setattr(self, verb, getattr(self._inner, verb))


# --- keys ---


def test_up_to_63_strangers_headers_before_the_genuine_one_change_nothing() -> None:
    built = vault(forgetful=True)
    other = twin(built)
    other.promote(other.publish(FIRST))
    lent = [other.store.objects[name] for name in headers(other, "churn", 1, "prod-1").values()]
    for file in headers(built, "churn", 1, "prod-1"):
        for number in range(limits.KEY_CANDIDATES - 1):
            data = [b"garbage", b"", bytes(1 << 20), *lent][number % (3 + len(lent))]
            built.write(f"models/churn/@/1/keys/prod-1/{file}-{number:032x}", data)
    assert outcome(built, "churn@prod") == FIRST
    works(vault())


def test_up_to_63_strangers_copies_before_the_genuine_environment_key_change_nothing() -> None:
    built = vault(forgetful=True)
    mine = only(built, "keys/prod/all/1/owner/")
    wrapped = [built.store.objects[only(built, "keys/dev/all/1/owner/")], built.store.objects[mine]]
    for number in range(limits.KEY_CANDIDATES - 1):
        data = [b"garbage", b"", bytes(1 << 20), wrapped[0], wrapped[1][:-1]][number % 5]
        built.write(f"keys/prod/all/1/owner/{number:016x}-{number:032x}.age", data)
    assert outcome(built, "churn@prod") == FIRST


def copies(data: list[bytes], prefix: str) -> dict[str, bytes]:
    """Name wrapped copies as genuine ones are named, after their content."""
    return {f"{prefix}-{hashlib.sha256(entry).hexdigest()[:32]}.age": entry for entry in data}


def test_strangers_copies_under_other_names_hide_nothing_however_many() -> None:
    built = vault(forgetful=True)
    folder = "keys/prod/all/1/owner/"
    other = built.store.objects[only(built, "keys/dev/all/1/owner/")]
    for number in range(20):
        data = [b"%d %d" % (number, index) for index in range(20)]
        for name, entry in copies([*data, other], f"{number:016x}").items():
            built.write(folder + name, entry)
    for number in range(limits.KEY_NAMES + 10):
        built.write(f"{folder}0{number}", b"no name of a copy")
    assert outcome(built, "churn@prod") == FIRST


def test_strangers_copies_that_are_named_after_this_identity_and_not_their_content_hide_nothing() -> None:
    built = vault(forgetful=True)
    genuine = only(built, "keys/prod/all/1/owner/")
    own = genuine.rpartition("-")[0]
    for number in range(10 * limits.KEY_CANDIDATES):
        built.write(f"{own}-{number:032x}.age", built.store.objects[genuine][:-1])
    assert outcome(built, "churn@prod") == FIRST


def test_so_many_well_made_copies_for_this_identity_are_refused_and_cost_no_more_than_64_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a stranger reaches with these is what they reach by deleting the genuine one."""
    built = vault(forgetful=True)
    genuine = only(built, "keys/prod/all/1/owner/")
    own, _, leaf = genuine.rpartition("-")
    data = [b"%d" % number for number in range(2_000)]
    first = [name for name in copies(data, own.rpartition("/")[2]) if name.rpartition("-")[2] < leaf]
    assert len(first) > limits.KEY_CANDIDATES
    for name, entry in copies(data, own.rpartition("/")[2]).items():
        built.write(f"keys/prod/all/1/owner/{name}", entry)
    attempts = []
    real = recipients.decrypt_bytes

    def count(*arguments: Any, **options: Any) -> bytes:
        attempts.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(recipients, "decrypt_bytes", count)
    assert outcome(built, "churn@prod") == "malformed-header"
    assert len(attempts) == limits.KEY_CANDIDATES


def test_strangers_headers_that_are_not_named_after_their_content_hide_nothing() -> None:
    built = vault(forgetful=True)
    for file in headers(built, "churn", 1, "prod-1"):
        for number in range(10 * limits.KEY_CANDIDATES):
            built.write(f"models/churn/@/1/keys/prod-1/{file}-{number:032x}", b"garbage")
        for number in range(limits.KEY_NAMES + 10):
            built.write(f"models/churn/@/1/keys/prod-1/{file}-0{number}", b"no name of a header")
    assert outcome(built, "churn@prod") == FIRST


def test_a_header_that_lies_there_before_a_promotion_does_not_keep_the_genuine_one_out() -> None:
    built = vault()
    ref = built.publish(SECOND)
    for name in headers(built, "churn", 2, "dev-1").values():
        built.write(name.replace("dev-1", "prod-1"), b"garbage")
    built.promote(ref)
    assert outcome(built, "churn@prod") == SECOND


def test_a_promotion_again_repairs_headers_that_were_destroyed() -> None:
    built = vault(forgetful=True)
    for name in headers(built, "churn", 1, "prod-1").values():
        del built.store.objects[name]
    assert outcome(built, "churn@prod") == "not-found"
    assert built.promote("churn:1").already
    assert outcome(built, "churn@prod") == FIRST


def test_a_promotion_again_repairs_headers_that_were_replaced_by_garbage() -> None:
    built = vault(forgetful=True)
    for name in headers(built, "churn", 1, "prod-1").values():
        built.write(name, b"garbage")
    assert outcome(built, "churn@prod") == "key-mismatch"
    assert built.promote("churn:1").already
    assert outcome(built, "churn@prod") == FIRST


# --- things in a folder that are no objects ---


KINDS = ("symbolic link", "dangling link", "folder", "pipe")


@pytest.mark.parametrize(
    "name", [f"{IN_PROD}000002.json", "trust/policy/000002.json", "trust/root/000002.json"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_under_a_number_blocks_nobody(name: str, kind: str, tmp_path: Path) -> None:
    built = on_disk(vault(), tmp_path)
    make(kind, tmp_path / name)
    works(built)


def make(kind: str, place: Path) -> None:
    """Put something there that is no regular file."""
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(__file__ if kind == "symbolic link" else "nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_folder_in_place_of_the_next_version_is_told_of_and_another_number_serves(
    kind: str, tmp_path: Path
) -> None:
    built = on_disk(vault(), tmp_path)
    make(kind, tmp_path / "models/churn/@/2")
    assert outcome(built, "churn") == FIRST
    if kind == "folder":
        assert str(built.publish(SECOND)) == "churn:2"
        return
    with pytest.raises(Unavailable) as caught:
        built.publish(SECOND)
    assert caught.value.hint
    assert str(built.publish(SECOND, version="3")) == "churn:3"
    assert outcome(built, "churn") == SECOND
    assert check(built).whole
